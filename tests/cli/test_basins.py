"""`samflow basins`: what it prints and draws, and what it refuses."""

import json

from samflow.cli import run
from samflow.records import load_dataset

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


def test_a_refined_zoom_and_its_files(capsys, tmp_path):
    """The upper half plane is the basin of (0, 1), which keeps number 1 of the whole box."""
    files = [tmp_path / f"shares{suffix}" for suffix in (".csv", ".tex", ".nc")]
    arguments = [*QUARTIC, "--resolution", "64", "--refine", "--zoom", "-1,1,0.5,1.5", "--json"]
    assert run([*arguments, *(part for file in files for part in ("-o", str(file)))]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["labels"]) == {1}
    assert found["refinement"]["followed"] < 64**2
    rows = files[0].read_text().splitlines()
    assert rows[0].split(",")[:3] == ["outcome_label", "outcome_name", "outcome_fraction"]
    assert [row.split(",")[-3] for row in rows[1:]] == ["0.0", "1.0"]
    assert "toprule" in files[1].read_text()
    assert load_dataset(files[2])["labels"].size == 64**2


def test_a_zoom_is_a_box(capsys):
    assert run([*QUARTIC, "--zoom", "1,0"]) == 2
    assert "--zoom" in capsys.readouterr().err
