"""`samflow portrait`: pictures and films, of one rule and of several, and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image

from samflow import plots
from samflow.cli import run
from samflow.cli.output import FILM_SUFFIXES, PICTURE_SUFFIXES
from samflow.plots import _animate

QUARTIC = ["portrait", "--loss", "x**2/2 - y**2/2 + y**4/4", "--box", "-1.5,1.5"]


def test_the_suffixes_are_those_that_the_library_writes():
    assert {suffix[1:] for suffix in PICTURE_SUFFIXES} == set(plots.FORMATS)
    assert set(FILM_SUFFIXES) == set(_animate.ENDINGS)


def kinds(record):
    return sorted(each["kind"] for each in record["stability"])


def test_rules_beside_each_other(tmp_path, capsys):
    path = tmp_path / "rules.png"
    arguments = ["--rule", "gd,usam", "--rho", "0,1.25", "--flow", "--size", "4,3"]
    arguments += ["--title", "Two rules", "--legend", "right", "--greys"]
    assert run([*QUARTIC, *arguments, "-o", str(path), "--json"]) == 0
    gd, usam = json.loads(capsys.readouterr().out)
    # GD has the critical points alone; USAM has saddles at y² = 1 − 1/ρ, and (0, 0) attracts.
    assert kinds(gd) == ["attracting", "attracting", "saddle"]
    assert kinds(usam) == ["attracting"] * 3 + ["saddle"] * 2
    with Image.open(path) as image:
        assert image.size == (1200, 900)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert np.ptp(pixels, axis=-1).max() <= 1  # greys alone


def test_basins_of_a_bowl(tmp_path, capsys):
    path = tmp_path / "bowl.png"
    arguments = ["portrait", "--loss", "x**2/2 + y**2", "--box", "-1,1", "--rule", "gd"]
    arguments += ["--lr", "0.2", "--basins", "--manifolds", "--layers", "fixed points"]
    assert run([*arguments, "--legend", "none", "-o", str(path)]) == 0
    assert capsys.readouterr().out.startswith("1 fixed point")
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    most = "#{:02X}{:02X}{:02X}".format(*colours[counts.argmax()])
    assert most == plots.COLOURS["basins"][0]  # it fills the box


@pytest.mark.slow
def test_basins_and_separatrices(tmp_path, capsys):
    path = tmp_path / "gd.png"
    arguments = ["--rule", "gd", "--lr", "0.2", "--basins", "--manifolds", "--size", "3.3,3"]
    assert run([*QUARTIC, *arguments, "-o", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("3 fixed points (all, proved)")
    assert err == f"Wrote {path}\n"
    with Image.open(path) as image:
        colours = set(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()))
    for basin in plots.COLOURS["basins"][:2]:
        wanted = [int(basin[i : i + 2], 16) for i in (1, 3, 5)]
        assert min(max(map(abs, np.subtract(c, wanted))) for c in colours) <= 3  # of 256 colours


def test_a_film_in_which_rho_passes_the_threshold(tmp_path, capsys):
    path = tmp_path / "quartic.gif"
    arguments = ["--flow", "--range", "0.8,1.2", "--frames", "2", "--layers", "fixed points"]
    assert run([*QUARTIC, *arguments, "--size", "2,2", "-o", str(path), "--json"]) == 0
    first, last = json.loads(capsys.readouterr().out)
    assert kinds(first) == ["attracting", "attracting", "saddle"]
    assert kinds(last) == ["attracting"] * 3 + ["saddle"] * 2
    with Image.open(path) as film:
        assert film.n_frames == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rule", "gd,usam", "--rho", "1,2,3"], "one for each of 2 rule(s)"),
        (["--rule", "gd,,usam"], "Unknown rule"),
        (["--rho", "-1"], "--rho` must be finite and at least 0"),
        (["--rho", "abc"], "`--rho` must be numbers"),
        (["--manifolds", "--momentum", "0.9"], "`--manifolds` cannot be given with `--momentum`"),
        (["--size", "3"], "`--size` must be width and height"),
        (["--size", "3,nan"], "`--size` must be width and height"),
        (["--legend", "left"], "Unknown --legend"),
        (["--layers", "arrows"], "Unknown layer"),
        (["--range", "0,1"], "`--range` is for films"),
    ],
)
def test_misuse(capsys, tmp_path, arguments, words):
    picture = tmp_path / "a.png"
    assert run([*QUARTIC, *arguments, "-o", str(picture)]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("a.gif", [], "`--start` or `--range` must say what moves"),
        ("a.gif", ["--rule", "gd,usam", "--start", "1,1"], "one rule for a film"),
        ("a.gif", ["--range", "1,0"], "the lower first"),
        ("a.gif", ["--range", "0,1", "--parameter", "roh"], "Unknown"),
        ("a.gif", ["--range", "0,1", "--frames", "1"], "`--frames` must be a whole number"),
        ("a.mp4", ["--range", "0,1"], "no ffmpeg is on the PATH"),
        ("a.pgf", [], "PGF needs LaTeX"),
        ("a.jpg", [], "must end in .pdf or .svg"),
    ],
)
def test_misuse_of_films_and_formats(capsys, tmp_path, monkeypatch, name, arguments, words):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run([*QUARTIC, *arguments, "-o", str(tmp_path / name)]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
