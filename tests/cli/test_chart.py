"""`samflow chart`: what it draws, writes and prints, and what it refuses."""

import json

import pytest
import xarray

from samflow.cli import run

BEALE = ["chart", "--loss", "beale", "--resolution", "3", "--rho", "0.02,0.05", "--lr", "0.01,0.02"]


def test_pictures_tables_and_text(capsys, tmp_path):
    files = [tmp_path / f"chart{suffix}" for suffix in (".png", ".csv", ".nc", ".tex")]
    outputs = [word for path in files for word in ("-o", str(path))]
    assert run([*BEALE, "--point", "0,1", *outputs, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["what"][0][0] == "saddle"
    assert found["what"][2][0] == "attracting"  # beyond 4/111
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert files[1].read_text().startswith("rho,lr,what,")
    with xarray.open_dataset(files[2]) as data:
        assert str(data["what"].sel(rho=0.05, lr=0.01).values) == "attracting"
    assert "toprule" in files[3].read_text()
    assert run([*BEALE, "--point", "0,1"]) == 0  # without a file the summary is printed
    assert "saddle 66.7%; attracting 33.3%" in capsys.readouterr().out


def test_other_numbers(capsys, tmp_path):
    picture = tmp_path / "a.svg"
    arguments = ["chart", "--loss", "beale", "--point", "0,1", "--resolution", "3"]
    others = [
        "--rule",
        "practical-sam",
        "--rho",
        "0.05",
        "--set",
        "eps=0.5,2",
        "--lr",
        "0.001,0.01",
    ]
    assert run([*arguments, *others, "-o", str(picture)]) == 0
    # 27.75 rho > eps where it attracts, for small lr: 1.3875 is between
    assert "λ = -27.75 passes +1" in capsys.readouterr().out
    assert picture.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--point", "0,1.5"], "Argument `--point` must be a critical point"),
        (["--point", "0"], "--point"),
        (["--point", "0,1", "--box", "-1,1"], "--box"),
        (["--momentum", "0,0.9"], "there are 3"),
        (["--lr", "0.01"], "there are 1"),
        (["--lr", "0,0.01"], "--lr"),
        (["--rho", "-1,0.01"], "--rho"),
        (["--momentum", "1"], "--momentum"),
        (["--set", "eps"], "name=value"),
        (["--point", "0,1", "--set", "epss=1"], "epss"),
        (["--resolution", "1"], "--resolution"),
        (["--gradient-norm", "-1"], "--gradient-norm"),
        (["-o", "a.gif"], "-o"),
    ],
)
def test_misuse(capsys, tmp_path, arguments, words):
    picture = tmp_path / "a.png"
    assert run([*BEALE, "-o", str(picture), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not picture.exists()
