"""`samflow bifurcation`: what it draws and prints, and what it refuses."""

import json

import pytest

from samflow.cli import run

WELL = ["bifurcation", "--loss", "-y**2/2 + y**4/4", "--rho", "0.5", "--lr", "0.1"]


def test_pitchfork_and_picture(capsys, tmp_path):
    picture = tmp_path / "branches.pdf"
    arguments = ["--range", "0.1,2", "--start", "0", "-o", str(picture), "--json"]
    assert run([*WELL, *arguments]) == 0
    out, _ = capsys.readouterr()
    assert picture.read_bytes().startswith(b"%PDF")
    kinds = [point["kind"] for branch in json.loads(out) for point in branch["special"]]
    assert set(kinds) == {"pitchfork"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--range", "2,1"], "lower first"),
        (["--range", "1,2"], "must hold the map's own rho"),
        (["--parameter", "momentumm"], "Unknown"),
        (["--weight", "3"], "--weight"),
    ],
)
def test_misuse(capsys, tmp_path, arguments, words):
    picture = tmp_path / "a.png"
    assert run([*WELL, "--start", "0", "-o", str(picture), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not picture.exists()
