"""`samflow basins`: what it prints and draws, and what it refuses."""

import json

from samflow.cli import run

QUARTIC = ["basins", "--loss", "quartic", "--rule", "gd", "--lr", "0.05", "--box", "-2,2"]


def test_shares_and_picture(capsys, tmp_path):
    picture = tmp_path / "basins.png"
    assert run([*QUARTIC, "--resolution", "16", "-o", str(picture), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [share["fraction"] for share in found["shares"].values()] == [0.5, 0.5]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_needs_two_weights(capsys, tmp_path):
    picture = tmp_path / "basins.png"
    arguments = ["basins", "--loss", "x**2 + y**2 + z**2", "--box", "-1,1", "-o", str(picture)]
    assert run(arguments) == 2
    assert "two weights" in capsys.readouterr().err
