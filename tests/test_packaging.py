"""What is published: the wheel, the sdist and the recipe, which say the same as pyproject.toml."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import samflow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = yaml.safe_load(
    re.sub(r"\$\{\{.*\}\}", samflow.__version__, (ROOT / "packaging/conda/recipe.yaml").read_text())
)
CONDA_NAMES = {"matplotlib": "matplotlib-base"}
"""Where conda-forge calls a package otherwise."""


LARGE = canonicalize_name("torch")
"""Gigabytes a version: the lowest is that of constraints.txt (docs/releasing.md)."""


def requirements(without=()):
    """Each dependency with its bounds, without those of the extras that are named."""
    extras = PROJECT["optional-dependencies"].items()
    texts = [each for name, extra in extras if name not in without for each in extra]
    found = [Requirement(each) for each in PROJECT["dependencies"] + texts]
    return {canonicalize_name(each.name): each for each in found if each.specifier}


def pins(name):
    """The versions in a file of constraints, which says nothing else."""
    text = (ROOT / name).read_text()
    assert re.fullmatch(r"([\w.-]+==[\w.]+\n)+", text)
    found = (line.split("==") for line in text.split())
    return {canonicalize_name(name): Version(version) for name, version in found}


def run(*command, cwd=None, **environment):
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_version_is_the_same_everywhere():
    version = samflow.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == version
    assert f"version = {{{version}}}" in (ROOT / "README.md").read_text()
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version
    assert RECIPE["context"]["version"] == version


def test_conda_recipe_has_the_dependencies_of_the_project():
    wanted = {
        f"{CONDA_NAMES.get(name, name)} {bound}"
        for name, bound in (re.split(r"(?=>=)", each) for each in PROJECT["dependencies"])
    }
    assert set(RECIPE["requirements"]["run"]) == wanted | {"python " + PROJECT["requires-python"]}


def test_every_dependency_has_a_lower_bound_and_no_upper_one():
    extras = [each for extra in PROJECT["optional-dependencies"].values() for each in extra]
    for each in PROJECT["dependencies"] + extras:
        own = each.startswith("samflow[") or "[cuda" in each  # bounded where jax is
        assert own or re.fullmatch(r"[\w-]+(\[\w+\])?>=[\d.]+\w*", each), each


def test_lowest_versions_are_the_lower_bounds():
    lowest = pins("constraints-lowest.txt")
    wanted = requirements(without=["peers"])  # that no test of the quick tier needs
    bounds = {
        name: [Version(bound.version) for bound in each.specifier] for name, each in wanted.items()
    }
    bounds[LARGE] = [pins("constraints.txt")[LARGE]]
    assert bounds == {name: [lowest[name]] for name in wanted}
    assert wanted[LARGE].specifier.contains(lowest[LARGE])


def test_newest_versions_are_within_the_bounds():
    newest, wanted = pins("constraints.txt"), requirements()
    assert not set(wanted) - set(newest)
    outside = [str(each) for name, each in wanted.items() if newest[name] not in each.specifier]
    assert outside == []


def test_each_python_that_is_named_is_one_of_the_tests():
    start = "Programming Language :: Python :: "
    named = {each.removeprefix(start) for each in PROJECT["classifiers"] if start in each}
    assert f">={min(named, key=Version)}" == PROJECT["requires-python"]
    listed = re.search(r"^PYTHONS \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed is not None
    assert {each.removeprefix("python") for each in listed[1].split()} == named


def test_types_are_marked_and_python_finds_the_command():
    assert (ROOT / "samflow/py.typed").is_file()
    assert run(sys.executable, "-m", "samflow", "--version", cwd=ROOT) == (
        f"samflow {samflow.__version__}\n"
    )


def test_shell_completes_commands():
    told = run(
        sys.executable,
        *("-m", "samflow"),
        cwd=ROOT,
        _SAMFLOW_COMPLETE="complete_bash",
        COMP_WORDS="samflow tw",
        COMP_CWORD="1",
    )
    assert told.split() == ["two-phase"]


@pytest.mark.slow  # builds, and makes a virtual environment
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_what_is_built_runs_from_an_environment_of_its_own(kind, tmp_path):
    run(sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "-o", tmp_path, cwd=ROOT)
    (built,) = tmp_path.iterdir()
    if kind == "wheel":
        names = zipfile.ZipFile(built).namelist()
        assert "samflow/py.typed" in names
        assert not [name for name in names if not name.startswith("samflow")]
    else:
        with tarfile.open(built) as archive:
            names = [name.partition("/")[2] for name in archive.getnames()]
        assert {"samflow/py.typed", "LICENSE", "CITATION.cff", "tests/units.py"} <= set(names)
    run(sys.executable, "-m", "venv", tmp_path / "env")
    python = tmp_path / "env/bin/python"
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # The dependencies are those of this environment, found after what is installed here.
    libraries = sysconfig.get_path("purelib")
    (Path(own) / "dependencies.pth").write_text(f"{libraries}\n")
    run(
        *(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
        *("--no-build-isolation", built),
        cwd=tmp_path,
    )
    where = run(python, "-c", "import samflow; print(samflow.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(tmp_path)
    command = tmp_path / "env/bin/samflow"
    told = run(command, "saddle", "--loss", "x**2 - y**2", "--rho", "0.05", cwd=tmp_path)
    assert "saddle" in told
