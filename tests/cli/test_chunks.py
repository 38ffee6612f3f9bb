"""`--store` and `--part`: what is said, what goes on, and what is refused."""

import os
import signal
import subprocess
import sys
import time

import pytest

from samflow.cli import run
from samflow.records import load_dataset

pytest.importorskip("zarr")

SWEEP = ["sweep", "--loss", "-y**2/2 + y**4/4", "--rule", "sam", "--rho", "0.05,0.4"]
SWEEP += ["--lr", "0.05,0.5", "--start", "1.001", "--of", "orbit", "--steps", "60"]
SWEEP += ["--resolution", "6"]
BASINS = ["basins", "--loss", "quartic", "--rule", "gd", "--lr", "0.05", "--box", "-2,2"]
BASINS += ["--resolution", "12"]


def said(capsys):
    """Return the lines of stdout and of stderr."""
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


def test_parts_of_a_sweep_and_the_whole(capsys, tmp_path):
    store, path = str(tmp_path / "s.zarr"), str(tmp_path / "s.nc")
    command = [*SWEEP, "--store", store, "--chunk-cells", "6"]
    assert run([*command, "--part", "2/3", "-o", path]) == 0
    _, err = said(capsys)
    assert err[0].startswith("4 of 6 chunks are missing. They are computed by: samflow sweep")
    assert err[0].endswith(f"--chunk-cells 6 -o {path}, or with --part 1/3, 3/3")
    assert err[1] == f"{path} is written when no chunk is missing."
    assert run([*command, "--part=2/3"]) == 0
    out, err = said(capsys)
    assert out == ["orbit over rho (6) × lr (6): final, status, stopped_at"]
    assert err[0] == f"2 of 6 chunks were there in {store}"
    assert run([*command, "-o", path]) == 0
    assert said(capsys)[1] == [f"2 of 6 chunks were there in {store}", f"Wrote {path}"]
    assert run([*SWEEP, "-o", str(tmp_path / "t.nc")]) == 0
    assert load_dataset(path).identical(load_dataset(tmp_path / "t.nc"))


def test_parts_of_basins_draw_what_is_there(capsys, tmp_path):
    command = [*BASINS, "--store", str(tmp_path / "b.zarr"), "--chunk-cells", "24"]
    assert run([*command, "--part", "1/2", "-o", str(tmp_path / "b.svg")]) == 0
    assert said(capsys)[1][0].startswith("3 of 6 chunks are missing. They are computed by: ")
    assert "missing (3 of 6 chunks)" in (tmp_path / "b.svg").read_text()
    assert run([*command, "-o", str(tmp_path / "b.svg")]) == 0
    assert "missing" not in (tmp_path / "b.svg").read_text()


@pytest.mark.parametrize("more", [["--zoom", "-1,1"], ["--refine"]])
def test_what_takes_no_store(more, capsys, tmp_path):
    assert run([*BASINS, "--store", str(tmp_path / "b.zarr"), *more]) == 2
    assert "store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--part", "1/2"], "need a `--store`"),
        (["--store", "s", "--part", "3/2"], "with i from 1 to n, but is '3/2'"),
        (["--store", "s", "--part", "half"], "must be i/n, such as 2/8"),
        (["--store", "/proc/nothing"], "that can be written, but '/proc/nothing' cannot"),
        (["--rho", "0.4,0.1"], "the lower first"),
        (["--rho", "0.1", "--lr", "0.1"], "must be a range"),
        (["--of", "perid"], "Did you mean period"),
        (["--start", "1,2"], "must be 1 numbers"),
        (["--resolution", "0"], "resolution"),
    ],
)
def test_misuse(more, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run([*SWEEP, *more]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_interrupt_says_what_is_there_and_the_same_command_goes_on(tmp_path):
    store = tmp_path / "b.zarr"
    command = [*BASINS, "--resolution", "300", "--store", str(store), "--chunk-cells", "300"]
    process = subprocess.Popen(
        [sys.executable, "-m", "samflow", *command],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        text=True,
    )
    while not (store / "chunk_done" / "c" / "3").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("Interrupted. ")
    assert f"of 300 chunks are in '{store}'. The same call or command computes the others." in err
