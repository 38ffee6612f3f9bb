"""`samflow train`: what is printed, resumption from a file, and misuse."""

import json

import pytest

from samflow import networks
from samflow.cli import run
from samflow.records import load_dataset

VALLEY = ["train", "--loss", "valley", "--start", "2,0.1", "--lr", "0.3", "--every", "10"]


def test_the_answer_comes_first_and_a_line_for_each_row(capsys):
    assert run([*VALLEY, "--steps", "30"]) == 0
    lines = capsys.readouterr().out.splitlines()
    sharpness = float(lines[0].removeprefix("At the end the sharpness ").split()[0])
    assert 4.9 < sharpness < 5  # 1 + u² = 5 at the start, and less after a few steps of v = 0.1
    assert "is below the edge of gd, 6.667: 0.7" in lines[0]
    assert [line.split()[0] for line in lines[-4:]] == ["0", "10", "20", "30"]


def test_a_training_goes_on_from_its_file_with_the_same_rows(tmp_path, capsys):
    state, one, two = (str(tmp_path / name) for name in ("run.npz", "one.nc", "two.nc"))
    assert run([*VALLEY, "--rule", "usam", "--steps", "40", "-o", one]) == 0
    assert run([*VALLEY, "--rule", "usam", "--steps", "20", "--state", state, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == [0, 10, 20]
    assert run([*VALLEY, "--rule", "usam", "--steps", "40", "--state", state, "-o", two]) == 0
    assert load_dataset(one).identical(load_dataset(two))
    assert run([*VALLEY, "--rule", "gd", "--steps", "40", "--state", state]) == 2
    assert "settings" in capsys.readouterr().err


def test_a_training_that_diverges_says_so_and_fails(capsys):
    diverging = ["train", "--loss", "x**2", "--start", "1", "--lr", "3", "--steps", "50"]
    assert run([*diverging, "--every", "10"]) == 1
    captured = capsys.readouterr()
    assert "is above the edge of gd" in captured.out
    assert "ended early" in captured.err


def test_an_interrupt_says_how_a_training_is_kept(monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(networks, "train", interrupted)
    assert run(VALLEY) == 130
    assert "Give --state FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--loss", "valley"], "--start"),
        ([*VALLEY[1:], "--batch-size", "4"], "--batch-size"),
        (["--start", "1,2"], "random weights"),
        ([*VALLEY[1:], "--steps", "0"], "--steps"),
        ([*VALLEY[1:], "-o", "run.xyz"], "-o"),
    ],
)
def test_misuse_is_named(options, said, capsys):
    assert run(["train", *options]) == 2
    assert said in capsys.readouterr().err
