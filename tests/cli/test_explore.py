"""`samflow explore`: what it refuses before it serves anything, and how it ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from samflow.cli import run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rho", "-1"], "`--rho`"),
        (["--lr", "0"], "`--lr`"),
        (["--momentum", "1"], "`--momentum`"),
        (["--loss", "x**2 +"], "Cannot read"),
        (["--loss", "x**2"], "two weights"),
        (["--rule", "muon"], "Unknown rule"),
        (["--rule", "g(w + rho)"], "have no sum"),
        (["--rule", "vasso", "--flow"], "must have no memory"),
        (["--box", "1,0"], "low < high"),
        (["--port", "70000"], "`port`"),
        (["--link", "http://127.0.0.1:1/?token=x&rho=-1"], "`rho`"),
        (["--link", "http://127.0.0.1:1/?colour=red"], "Unknown part of the link"),
    ],
)
def test_misuse_is_said_in_one_line(arguments, said, capsys):
    assert run(["explore", "--no-browser", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_without_bokeh_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    assert run(["explore"]) == 2
    assert "pip install 'samflow[explorer]'" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupt_ends_the_server_and_what_it_started():
    command = [sys.executable, "-m", "samflow", "explore", "--no-browser"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        time.sleep(5)
        children = _children(process.pid)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    for _ in range(100):
        if not any(map(_runs, children)):
            break
        time.sleep(0.1)
    assert not any(map(_runs, children))


def _children(pid):
    """Return the processes that a process has started, on Linux; none elsewhere."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(each) for each in file.read().split()]
    except OSError:
        return []


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
