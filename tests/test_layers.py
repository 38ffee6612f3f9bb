"""Imports go downwards only."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import samflow

ROOT = Path(samflow.__file__).parent
LAYERS = [
    {"_status", "_components", "_types", "_text", "_extras", "_axes", "_memory"},
    {"_checks"},
    {"_kernel"},
    {"_random", "_schedule"},
    {"records"},
    {"theory"},
    {"losses"},
    {"rules"},
    {"systems"},
    {"spectra"},
    {"orbits"},
    {"proofs"},
    {"equilibria"},
    {"attractors"},
    {"noise"},
    {"landscapes"},
    {"networks"},
    {"switching"},
    {"plots"},
    {"explorer"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(tree: ast.AST) -> set[str]:
    """Return the modules of samflow that a module imports, as dotted names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@functools.cache  # several tests ask
def imports_of(path: Path) -> set[str]:
    return imported(ast.parse(path.read_text()))


def upward(home: str, names: set[str]) -> list[str]:
    """Return the imports in `names` that lie above the layer `home`."""
    parts = [name.split(".") for name in names if name.startswith("samflow.")]
    return [".".join(part) for part in parts if LEVEL.get(part[1], LEVEL[home]) > LEVEL[home]]


def test_every_module_imports_downwards():
    wrong = {}
    for path in ROOT.rglob("*.py"):
        home = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if home == "__init__":
            continue  # the public face is above everything
        bad = upward(home, imports_of(path))
        if bad:
            wrong[str(path.relative_to(ROOT))] = bad
    assert wrong == {}


def test_every_module_has_a_layer():
    homes = {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in ROOT.rglob("*.py")}
    assert homes - {"__init__"} <= set(LEVEL)


def test_an_upward_import_is_seen():
    tree = ast.parse("from samflow.cli import main\nimport samflow.losses")
    assert upward("rules", imported(tree)) == ["samflow.cli.main"]


OUTSIDE = {"samflow": set(), "analysis": {"samflow"}, "figures": {"samflow"}}
OUTSIDE["reporting"] = {"samflow", "analysis", "figures"}
"""What each package may import besides itself; the report alone knows studies and figures."""


def outward(package: str, names: set[str]) -> set[str]:
    """Return the packages of the project in `names` that `package` may not import."""
    return {name.split(".")[0] for name in names} & (OUTSIDE.keys() - OUTSIDE[package] - {package})


@pytest.mark.parametrize("package", OUTSIDE)
def test_studies_figures_and_the_report_are_layers_too(package):
    for path in ROOT.with_name(package).rglob("*.py"):
        wrong = outward(package, imports_of(path))
        if path.name == "__main__.py":  # the report's own commands bear these names
            wrong -= {"reporting"}
        assert not wrong, path


def test_an_import_of_a_figure_by_a_study_is_seen():
    names = imported(ast.parse("import samflow\nfrom figures import beale\nimport analysis.claims"))
    assert outward("analysis", names) == {"figures"}
    assert outward("figures", names) == {"analysis"}
    assert outward("reporting", names) == set()


def circles(modules: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of modules of which each imports, through others, every other of its set."""
    reach = {name: names & modules.keys() for name, names in modules.items()}
    for through in modules:
        for name in modules:
            if through in reach[name]:
                reach[name] = reach[name] | reach[through]
    found = {
        frozenset({name} | {other for other in reach[name] if name in reach[other]})
        for name in modules
        if name in reach[name]
    }
    return [set(circle) for circle in found]


def test_no_circles():
    modules = {}
    for package in OUTSIDE:
        for path in ROOT.with_name(package).rglob("*.py"):
            parts = path.relative_to(ROOT.parent).with_suffix("").parts
            modules[".".join(parts).removesuffix(".__init__")] = imports_of(path)
    modules.pop("samflow")  # `samflow.__version__`; the face imports rooms at first use
    found = {  # what is no module is a name in one
        name: {each if each in modules else each.rpartition(".")[0] for each in imports}
        for name, imports in modules.items()
    }
    assert circles(found) == []


def test_a_circle_is_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]


def test_import_is_light():
    """`import samflow` loads no plotting, no symbolic algebra and no solver."""
    heavy = ("matplotlib", "sympy", "diffrax", "xarray", "scipy", "typer", "torch", "bokeh")
    code = f"import sys, samflow; print([m for m in {heavy} if m in sys.modules])"
    code += "; import samflow.losses.pytorch, samflow.networks; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["[]", "False"]


def test_a_survey_of_a_formula_waits_for_no_statistics():
    """`samflow saddle` has 2.5 times the time of the imports of JAX and sympy."""
    code = "import sys, samflow.equilibria; print('scipy.stats' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False"]


def test_every_public_name_resolves():
    for name in dir(samflow):
        assert getattr(samflow, name) is not None
    assert not hasattr(samflow, "no_such_name")
