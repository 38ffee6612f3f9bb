"""What a person who waits is told, and what a command leaves behind."""

import io
import json
from typing import ClassVar

import equinox as eqx
import numpy as np
import pytest

from samflow.cli import output
from samflow.records import AbstractRecord, Names, Provenance, axes


@pytest.fixture
def told(monkeypatch):
    """Return what is said on a terminal, with a clock that stands where `clock[0]` says."""
    clock, lines = [0.0], []
    monkeypatch.setattr(output.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(output, "progress", lines.append)
    return clock, lines


def test_the_rest_is_estimated_at_the_rate_of_what_is_done(told):
    clock, lines = told
    meter = output.Meter(4)
    meter("gd")
    clock[0] = 6.0
    meter("usam")  # one of four took 6 s: 18 more
    meter("paths", 3)  # three did: 2 more
    meter("all", 4)
    assert lines == [
        "gd (0 of 4 done)",
        "usam (1 of 4 done, about 18 s left)",
        "paths (3 of 4 done, about 2 s left)",
        "all (4 of 4 done)",
    ]


def test_what_may_end_earlier_is_estimated_from_above(told):
    clock, lines = told
    meter = output.Meter(10, at_most=True)
    clock[0] = 3.0
    meter("steps", 5)
    assert lines == ["steps (5 of at most 10 done, at most 3 s left)"]


def test_a_log_file_is_spared(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(output.sys, "stderr", stream)
    output.Meter(2)("gd")
    assert stream.getvalue() == ""


class Counted(AbstractRecord):
    rows: ClassVar[Names] = ("item",)
    number: np.ndarray = eqx.field(metadata=axes("item"))
    provenance: Provenance = (("system", "counting"), ("samflow", "0"))


@pytest.mark.parametrize(
    ("suffix", "begins"),
    [
        (".json", b'{\n  "number": ['),
        (".txt", b"told\n"),
        (".csv", b"number\n1\n2\n"),
        (".tex", b"\\begin{tabular}{r}\n"),
        (".nc", b"\x89HDF"),
    ],
)
def test_a_record_is_written_in_the_format_of_the_suffix(suffix, begins, tmp_path, capsys):
    path = tmp_path / f"found{suffix}"
    output.deliver(["told"], Counted(np.array([1, 2])), form="text", path=path)
    assert path.read_bytes().startswith(begins)
    assert capsys.readouterr().out == ""


def test_the_json_of_a_record_is_printed(capsys):
    output.deliver(["told"], Counted(np.array([1, 2])), form="json", path=None)
    assert json.loads(capsys.readouterr().out)["number"] == [1, 2]
