"""Imports go downwards only."""

import ast
import subprocess
import sys
from pathlib import Path

import samflow

ROOT = Path(samflow.__file__).parent
LAYERS = [
    {"_status", "_components", "_types", "_text", "_extras"},
    {"_checks"},
    {"_random"},
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
    {"networks"},
    {"switching"},
    {"plots"},
    {"cli"},
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
        bad = upward(home, imported(ast.parse(path.read_text())))
        if bad:
            wrong[str(path.relative_to(ROOT))] = bad
    assert wrong == {}


def test_every_module_has_a_layer():
    homes = {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in ROOT.rglob("*.py")}
    assert homes - {"__init__"} <= set(LEVEL)


def test_an_upward_import_is_seen():
    tree = ast.parse("from samflow.cli import main\nimport samflow.losses")
    assert upward("rules", imported(tree)) == ["samflow.cli.main"]


def test_samflow_imports_neither_analysis_nor_figures():
    for path in ROOT.rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
        assert not tops & {"analysis", "figures"}, path


def test_import_is_light():
    """`import samflow` loads no plotting, no symbolic algebra and no solver."""
    heavy = ("matplotlib", "sympy", "diffrax", "xarray", "scipy", "typer", "torch")
    code = f"import sys, samflow; print([m for m in {heavy} if m in sys.modules])"
    code += "; import samflow.losses.pytorch, samflow.networks; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["[]", "False"]


def test_every_public_name_resolves():
    for name in dir(samflow):
        assert getattr(samflow, name) is not None
    assert not hasattr(samflow, "no_such_name")
