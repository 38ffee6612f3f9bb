"""`samflow landscape`: the library's record of a formula, of files, and misuse."""

import json

import equinox as eqx
import jax.random as jr
import numpy as np
import pytest

from samflow import networks
from samflow.cli import run
from samflow.losses import network

CODE = """
import equinox as eqx
import jax.random as jr
import numpy as np
from samflow.losses import network

def loss():
    x = np.sqrt(2) * np.diag([2.0, 1.0])
    model = eqx.nn.Linear(2, 1, use_bias=False, key=jr.key(0))
    return network(model, x, x @ np.array([[3.0], [-1.0]]), name="linear")
"""
"""H = diag(4, 1), with the minimum at (3, −1)."""


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "landscape_models.py").write_text(CODE)
    x = np.sqrt(2) * np.diag([2.0, 1.0])
    model = eqx.nn.Linear(2, 1, use_bias=False, key=jr.key(0))
    loss = network(model, x, x @ np.array([[3.0], [-1.0]]))
    states = {"before": [0.0, -1.0], "after": [3.0, -1.0]}
    for name, w in states.items():
        networks.save_checkpoint(f"{name}.safetensors", loss, np.array(w))
    return [f"{name}.safetensors" for name in states]


def test_a_formula(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["landscape", "--loss", "x**2 - y**2/2 + y**4/4", "--point", "0,0"]
    arguments += ["--resolution", "5", "-o", "picture.png", "-o", "found.nc", "--json"]
    assert run(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["names"] == ["sharpest", "lowest"]
    assert found["curvatures"] == pytest.approx([2, -1])
    assert (tmp_path / "picture.png").stat().st_size > 0
    assert (tmp_path / "found.nc").stat().st_size > 0


def test_the_line_between_two_files_and_one_direction_at_one(files, capsys):
    assert run(["landscape", *files, "--model", "landscape_models:loss"]) == 0
    text = capsys.readouterr().out
    assert "the line between both ends" in text
    assert "v·Hv = 4" in text or "λ = 4" in text
    assert "no barrier" in text
    one = [files[1], "--model", "landscape_models:loss", "--along", "lowest", "--json"]
    assert run(["landscape", *one]) == 0
    assert json.loads(capsys.readouterr().out)["curvatures"] == pytest.approx([1])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--loss", "beale"], "`--loss` and `--point` must be given"),
        (["a.safetensors"], "given together"),
        (["--loss", "beale", "--point", "0,1", "--along", "sharpst"], "Did you mean sharpest"),
        (["--loss", "beale", "--point", "0,1", "--along", "line"], "at least 2 states"),
    ],
)
def test_misuse_is_one_line(arguments, text, capsys):
    assert run(["landscape", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert text in said.err
    assert said.err.strip().count("\n") == 0
