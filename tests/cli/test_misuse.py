"""Misuse: one line that says what, what was received and what to do; exit code 2; no file."""

import json
import os
import stat

import pytest
from rich.text import Text

from samflow.cli import run
from samflow.cli.output import deliver, say, table_of
from samflow.records import write_whole

SADDLE = ["saddle", "--loss", "beale"]
VALLEY = ["two-phase", "--loss", "valley", "--start", "2,0.1"]
PORTRAIT = ["portrait", "--loss", "quartic", "-o", "quartic.pdf"]

MISUSE = {
    "no loss": (["saddle"], ["--loss", "--help"]),
    "unknown loss": (["saddle", "--loss", "bealle"], ["bealle", "beale"]),
    "unknown loss with a hyphen": (
        ["saddle", "--loss", "matrix-factorization"],
        ["matrix_factorization", "matrix_factorisation"],
    ),
    "no formula": (["saddle", "--loss", "x**2 +"], ["x**2 +"]),
    "code for a formula": (["saddle", "--loss", "__import__('os')"], ["__import__"]),
    "no variable": (["saddle", "--loss", "3"], ["3", "no variable"]),
    "empty loss": (["saddle", "--loss", ""], ["non-empty", "''"]),
    "unknown rule": ([*SADDLE, "--rule", "samm"], ["samm", "sam", "usam"]),
    "rule that is no formula": (
        [*SADDLE, "--rule", "g(w + rho)"],
        ["`w` is a vector", "norm(...)"],
    ),
    "code for a rule": ([*SADDLE, "--rule", "g.__class__"], ["column 1", "a dot"]),
    "number of a rule": ([*SADDLE, "--rule", "beta*g"], ["`beta`", "...; beta = 0.1"]),
    "formula in a portrait": (
        [*PORTRAIT, "--rule", "usam,dot(g, w)"],
        ["dot(g, w)", "this is a number"],
    ),
    "unknown rule beside all": ([*SADDLE, "--rule", "all", "--rule", "foo"], ["foo", "usam"]),
    "negative rho": ([*SADDLE, "--rho", "-1"], ["--rho", "at least 0", "-1"]),
    "rho not a number": ([*SADDLE, "--rho", "nan"], ["--rho", "finite", "nan"]),
    "rho of letters": ([*SADDLE, "--rho", "abc"], ["--rho", "number", "'abc'"]),
    "lr of zero": ([*SADDLE, "--lr", "0"], ["--lr", "greater than 0", "0"]),
    "negative lr": ([*SADDLE, "--lr", "-0.1"], ["--lr", "greater than 0", "-0.1"]),
    "infinite lr": ([*SADDLE, "--lr", "inf"], ["--lr", "finite", "inf"]),
    "momentum of one": ([*SADDLE, "--momentum", "1"], ["--momentum", "[0, 1)", "1"]),
    "negative momentum": ([*SADDLE, "--momentum", "-0.5"], ["--momentum", "[0, 1)", "-0.5"]),
    "momentum not a number": ([*SADDLE, "--momentum", "nan"], ["--momentum", "nan"]),
    "empty box": ([*SADDLE, "--box", "1,1"], ["--box", "low < high", "(1, 1)", "empty"]),
    "box upside down": ([*SADDLE, "--box", "2,1"], ["--box", "low < high", "(2, 1)"]),
    "endless box": ([*SADDLE, "--box", "0,inf"], ["--box", "finite", "inf"]),
    "box of three numbers": ([*SADDLE, "--box", "1,2,3"], ["--box", "2 weights", "1,2,3"]),
    "box of letters": ([*SADDLE, "--box", "a,b"], ["--box", "numbers", "a,b"]),
    "dim where there is one": ([*SADDLE, "--dim", "3"], ["--dim", "rosenbrock", "beale"]),
    "dim too small": (["saddle", "--loss", "rosenbrock", "--dim", "1"], ["dim", "2", "1"]),
    "dim of a half": (["saddle", "--loss", "rosenbrock", "--dim", "2.5"], ["--dim", "'2.5'"]),
    "eigenvalues of another loss": (
        [*SADDLE, "--eigenvalues", "1,2"],
        ["--eigenvalues", "saddle", "beale"],
    ),
    "eigenvalue not a number": (
        ["saddle", "--loss", "saddle", "--eigenvalues", "1,nan"],
        ["eigenvalues", "finite", "nan"],
    ),
    "eigenvalues and dim": (
        ["saddle", "--loss", "saddle", "--eigenvalues", "1,2", "--dim", "2"],
        ["--dim", "--eigenvalues"],
    ),
    "no start": (["two-phase", "--loss", "valley"], ["--start", "2 numbers"]),
    "start of one number": (
        ["two-phase", "--loss", "valley", "--start", "2"],
        ["--start", "2 numbers", "'2'"],
    ),
    "start not a number": (
        ["two-phase", "--loss", "valley", "--start", "2,nan"],
        ["--start", "finite", "nan"],
    ),
    "start outside the domain": (
        ["two-phase", "--loss", "beale", "--start", "100,0"],
        ["--start", "domain", "100"],
    ),
    "start of the digits": (
        ["two-phase", "--loss", "digits", "--start", "1,2"],
        ["--start", "digits", "1,2"],
    ),
    "two-phase of SAM": ([*VALLEY, "--rule", "sam"], ["sam", "USAM"]),
    "a switch that changes nothing": ([*VALLEY, "--rho", "0"], ["rho >", "lr"]),
    "no step": ([*VALLEY, "--steps", "0"], ["50", "0"]),
    "a picture without a file": (["portrait", "--loss", "beale"], ["-o", "--help"]),
    "a picture of one weight": (
        ["portrait", "--loss", "double_well", "-o", "x.pdf"],
        ["two weights", "double_well", "1"],
    ),
    "a flow with a step size": ([*PORTRAIT, "--flow", "--lr", "0.1"], ["--flow", "--lr"]),
    "half a step": ([*PORTRAIT, "--length", "10.5"], ["--length", "whole", "10.5"]),
    "start of a portrait": ([*PORTRAIT, "--start", "1"], ["--start", "2 numbers", "'1'"]),
    "unknown command": (["sadle"], ["sadle", "--help"]),
    "unknown option": ([*SADDLE, "--pho", "1"], ["--pho", "--help"]),
}

PATHS = {
    "no such folder": ("missing/result.json", ["missing", "Make"]),
    "a folder": (".", ["'.'"]),
    "unknown suffix": ("result.xlsx", ["result.xlsx", ".json"]),
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _assert_refused(arguments, expected, capsys, folder):
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for piece in expected:
        assert piece in err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("arguments", "expected"), MISUSE.values(), ids=MISUSE.keys())
def test_misuse_is_one_line_and_code_2(arguments, expected, capsys, tmp_path):
    _assert_refused(arguments, expected, capsys, tmp_path)


@pytest.mark.parametrize("command", [SADDLE, VALLEY, ["losses"], ["rules"]], ids=lambda c: c[0])
@pytest.mark.parametrize(("path", "expected"), PATHS.values(), ids=PATHS.keys())
def test_a_path_that_cannot_be_written_is_refused(command, path, expected, capsys, tmp_path):
    _assert_refused([*command, "-o", path], ["-o", *expected], capsys, tmp_path)


@pytest.mark.parametrize("command", [SADDLE, PORTRAIT[:3]], ids=lambda c: c[0])
def test_a_pipe_or_a_device_is_not_replaced(command, capsys, tmp_path):
    suffix = "pdf" if command[0] == "portrait" else "json"
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    (tmp_path / f"null.{suffix}").symlink_to("/dev/null")
    for name in (f"pipe.{suffix}", f"null.{suffix}"):
        assert run([*command, "-o", name]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "is a pipe or a device, which would be replaced" in err
    assert stat.S_ISFIFO((tmp_path / f"pipe.{suffix}").stat().st_mode)
    with pytest.raises(FileExistsError, match="the path is a folder, a pipe or a device"):
        write_whole(tmp_path / f"pipe.{suffix}", "content")


def test_names_from_outside_cannot_speak_to_the_terminal(capsys, tmp_path):
    """Escape sequences, C1 controls and marks of direction, in tables, JSON and messages."""
    hostile = "a\x1b[31mb\x9b2J\u202ec\x07"
    rows = table_of("name")
    rows.add_row(Text(hostile))
    deliver([Text(hostile), rows], json.dumps(hostile, ensure_ascii=False), form="text", path=None)
    text = capsys.readouterr().out
    say(hostile)
    message = capsys.readouterr().err
    for shown in (*text.splitlines(), *message.splitlines()):
        assert shown.isprintable()
    assert text.count("a\\x1b[31mb\\x9b2J\\u202ec") == 2
    deliver([], json.dumps(hostile, ensure_ascii=False), form="json", path=None)
    text = capsys.readouterr().out
    assert text.strip().isprintable()
    assert json.loads(text) == hostile
    deliver([Text(hostile)], "{}", form="text", path=tmp_path / "x.txt")
    assert (tmp_path / "x.txt").read_text().strip().isprintable()


def test_a_path_is_refused_before_any_work_is_done(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("samflow.equilibria.saddle_report.survey", lambda *_, **__: 1 / 0)
    _assert_refused([*SADDLE, "-o", "missing/x.json"], ["missing"], capsys, tmp_path)


def test_a_disk_that_fails_leaves_nothing_behind(capsys, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    _assert_refused(["rules", "-o", "rules.json"], ["-o", "No space left"], capsys, tmp_path)


@pytest.mark.parametrize("output", ["found.json", "found.txt"])
def test_an_internal_error_is_one_line_code_1_and_no_file(output, capsys, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("lost\nthe thread")

    monkeypatch.setattr("samflow.equilibria.saddle_report.survey", broken)
    assert run([*SADDLE, "-o", output]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "RuntimeError: lost the thread" in err
    assert "SAMFLOW_TRACEBACK=1" in err
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_is_there_for_who_asks(monkeypatch):
    monkeypatch.setattr("samflow.equilibria.saddle_report.survey", lambda *_, **__: 1 / 0)
    monkeypatch.setenv("SAMFLOW_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        run(SADDLE)


def test_ctrl_c_is_one_line_and_code_130(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("samflow.equilibria.saddle_report.survey", interrupted)
    assert run(SADDLE) == 130
    assert capsys.readouterr() == ("", "Interrupted.\n")
