"""The report: claims hold, a planted wrong constant fails, and the exit code says so."""

import inspect
import json
import math
import os
from dataclasses import asdict

import numpy as np
import pytest
import sympy
import typer
from typer.testing import CliRunner

import analysis
from analysis import work
from analysis.__main__ import main, verify
from analysis.claims import Study
from analysis.size import Size, reduction
from figures import FIGURES
from samflow._checks import ArgumentError

FAST = ("map-window", "sam-cycle", "valley-drift")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return verify(FAST, folder, draw=False), folder


def test_claims_hold_and_are_written(report):
    code, folder = report
    assert code == 0
    content = json.loads((folder / "claims.json").read_text())
    assert content["summary"]["failed"] == 0
    assert content["summary"]["claims"] == len(content["claims"]) > 20
    for claim in content["claims"]:
        assert all(claim[field] for field in ("statement", "source", "predicted", "reason"))


def test_several_processes_report_the_same(report, tmp_path):
    assert verify(FAST[:2], tmp_path, draw=False, jobs=2) == 0
    alone, together = (
        [
            claim
            for claim in json.loads((folder / "claims.json").read_text())["claims"]
            if claim["study"] in FAST[:2]
        ]
        for folder in (report[1], tmp_path)
    )
    assert together == alone


def test_the_page_is_self_contained(report):
    page = (report[1] / "index.html").read_text()
    assert "claims hold" in page
    assert "<script" not in page
    assert "src=" not in page or 'src="data:' in page
    assert "href=" not in page


@pytest.mark.parametrize(
    ("study", "constant", "wrong"),
    [
        ("beale-threshold", "THRESHOLD", sympy.Rational(4, 110)),
        ("valley-phases", "_PREDICTED_ESCAPE", sympy.log(3)),
    ],
)
def test_a_planted_wrong_constant_fails(study, constant, wrong, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(analysis.STUDIES[study], constant, wrong)
    assert verify([study], tmp_path, draw=False) == 1
    assert "FAILS" in capsys.readouterr().out
    assert "fails" in (tmp_path / "index.html").read_text()
    assert json.loads((tmp_path / "claims.json").read_text())["summary"]["failed"] > 0


def test_every_study_is_listed_with_a_title():
    for name, study in analysis.STUDIES.items():
        assert name == study.NAME
        assert study.TITLE


def test_nan_never_holds():
    study = Study("s", "here")
    numbers = {"rel": 0.75, "absolute": 0.75, "reason": "none"}
    assert study.close("a", "b", predicted=1.0, measured=1.5, **numbers).holds
    assert not study.close("a", "b", predicted=1.0, measured=2.5, **numbers).holds
    assert not study.close("a", "b", predicted=1.0, measured=math.nan, **numbers).holds
    assert not study.close("a", "b", predicted=math.nan, measured=1.0, **numbers).holds
    assert not study.below("a", "b", bound=1.0, measured=math.nan, reason="none").holds
    assert not study.below("a", "b", bound=1.0, measured=1.0, reason="none").holds
    assert not study.fact("a", "b", predicted=True, measured=False, reason="none").holds


def test_misuse():
    with pytest.raises(ArgumentError, match="Did you mean sam-cycle"):
        verify(["sam-cycl"], None, draw=False)


def test_an_output_that_cannot_be_made_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="must be a folder that can be made"):
        verify(FAST, tmp_path / "file" / "report", draw=False)


@pytest.mark.parametrize("found", [True, np.True_, np.False_])
def test_verdicts_are_plain_whatever_was_compared(found):
    study = Study("s", "a source")
    claims = [
        study.fact("f", "a fact", predicted=True, measured=found, reason="r"),
        study.close("c", "a number", predicted=1.0, measured=np.float64(1.0), reason="r"),
        study.below("b", "a bound", bound=np.float64(2.0), measured=np.float64(1.0), reason="r"),
    ]
    assert [type(claim.holds) for claim in claims] == [bool] * 3
    assert claims[0].holds == bool(found)
    assert claims[0].measured == ("yes" if found else "no")
    json.dumps([asdict(claim) for claim in claims])


def test_the_report_says_its_size(report, tmp_path, monkeypatch, capsys):
    assert json.loads((report[1] / "claims.json").read_text())["about"]["size"] == "full"
    study = analysis.STUDIES["valley-drift"]
    asked = []
    monkeypatch.setattr(study, "SMALL_SIZE", "one claim is left out.", raising=False)
    monkeypatch.setattr(study, "measure", lambda progress, size: asked.append(size))
    monkeypatch.setattr(study, "judge", lambda record: [])
    verify(["valley-drift"], tmp_path, draw=False, size=Size.small, verbose=True)
    assert asked == [Size.small]
    written = json.loads((tmp_path / "claims.json").read_text())
    assert written["about"]["size"] == "small"
    assert written["reduced"] == {"valley-drift": "one claim is left out."}
    assert "Small size: one claim is left out." in (tmp_path / "index.html").read_text()
    printed = capsys.readouterr().out
    assert "Small size: one claim is left out." in printed
    assert "0 of 0 claims hold" in printed


def test_a_study_with_one_size_is_the_same_in_both(report, tmp_path):
    assert verify(FAST[:2], tmp_path, draw=False, size=Size.small) == 0
    full, small = (json.loads((f / "claims.json").read_text()) for f in (report[1], tmp_path))
    assert small["reduced"] == {}
    assert small["claims"] == [c for c in full["claims"] if c["study"] in FAST[:2]]


@pytest.mark.parametrize("module", [*analysis.STUDIES.values(), *FIGURES.values()])
def test_whatever_takes_a_size_says_what_it_reduces(module):
    made = next(
        getattr(module, name) for name in ("run", "measure", "draw") if hasattr(module, name)
    )
    assert ("size" in inspect.signature(made).parameters) == hasattr(module, "SMALL_SIZE")
    assert reduction(module, Size.full) == ""
    assert isinstance(reduction(module, Size.small), str)


def test_an_unknown_size_is_misuse(tmp_path):
    command = typer.Typer()
    command.command()(main)
    result = CliRunner().invoke(command, ["--size", "tiny", "--output", str(tmp_path / "new")])
    assert result.exit_code == 2
    assert all(word in result.stderr for word in ("--size", "tiny", "small", "full"))
    assert not (tmp_path / "new").exists()


def test_processes_that_work_side_by_side_share_the_cores(monkeypatch):
    monkeypatch.setenv("NPROC", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with work._threads(1):
        assert os.environ["NPROC"] == "3"
        assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert os.environ["NPROC"] == "3"
    assert "OPENBLAS_NUM_THREADS" not in os.environ
