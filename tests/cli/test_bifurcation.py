"""`samflow bifurcation`: what it draws and prints, and what it refuses."""

import json

import numpy as np
import pytest

import samflow as sf
from samflow.cli import run

WELL = ["bifurcation", "--loss", "-y**2/2 + y**4/4", "--rho", "0.5", "--lr", "0.1"]


def test_pitchfork_and_picture(capsys, tmp_path):
    picture = tmp_path / "branches.pdf"
    table, arrays = tmp_path / "events.csv", tmp_path / "branches.nc"
    arguments = ["--range", "0.1,2", "--start", "0", "-o", str(picture), "--json"]
    assert run([*WELL, *arguments, "-o", str(table), "-o", str(arrays)]) == 0
    out, _ = capsys.readouterr()
    assert picture.read_bytes().startswith(b"%PDF")
    found = json.loads(out)
    kinds = [point["kind"] for branch in found["branches"] for point in branch["special"]]
    assert set(kinds) == {"pitchfork"}
    assert [event["point"]["kind"] for event in found["events"]] == kinds
    assert table.read_text().splitlines()[0].startswith("branch,period,kind,parameter,")
    assert len(table.read_text().splitlines()) == 1 + len(kinds)
    data = sf.load_dataset(arrays)
    assert data["orbit_states"].dims == ("value", "start", "kept", "state")
    np.testing.assert_allclose(data["parameter"], 1, atol=1e-8)  # of every pitchfork
    assert run([*WELL, *arguments[:4]]) == 0  # without a file the summary is printed
    assert "subcritical pitchfork at 1 ±" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--range", "2,1"], "lower first"),
        (["--range", "1,2"], "must hold the map's own rho"),
        (["--parameter", "momentumm"], "Unknown"),
        (["--weight", "3"], "--weight"),
        (["--start", "0.5"], "Argument `--start` must be near a fixed point of the map, but 0.5"),
    ],
)
def test_misuse(capsys, tmp_path, arguments, words):
    picture = tmp_path / "a.png"
    assert run([*WELL, "--start", "0", "-o", str(picture), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not picture.exists()
