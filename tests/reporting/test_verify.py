"""The report: claims hold, a planted wrong constant fails, and the exit code says so."""

import inspect
import json
import math
import os
import re
from dataclasses import asdict

import numpy as np
import pytest
import sympy
import typer
from typer.testing import CliRunner

from analysis.claims import Evidence, Study
from analysis.size import Size
from reporting import control, work
from reporting.command import main, verify
from reporting.headlines import HEADLINES
from reporting.page import ControlHeld
from reporting.registry import FIGURES, STUDIES, home, reduction, studies_of
from samflow._checks import ArgumentError
from tests.tiers import slow

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
    assert set(re.findall(r'\bsrc="([^"]{5})', page)) <= {"data:"}
    targets = re.findall(r'href="([^"]*)"', page)
    assert targets
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    assert "url(" not in page
    assert "@import" not in page


def test_the_page_shows_a_wrong_claim_failing_and_counts_it_nowhere(report):
    page = (report[1] / "index.html").read_text()
    content = json.loads((report[1] / "claims.json").read_text())
    assert content["control"]["verdict"] == "fails"
    assert 'class="holds-banner' not in page
    assert "holds-banner" in page
    assert page.count('data-verdict="fails"') == 1
    assert content["summary"]["failed"] == 0


def test_a_wrong_claim_that_holds_stops_the_report(monkeypatch, tmp_path):
    monkeypatch.setattr(control, "WRONG", 4 / 111)
    with pytest.raises(ControlHeld, match="held"):
        verify(["sam-cycle"], tmp_path, draw=False)
    assert not (tmp_path / "index.html").exists()


def test_the_page_says_of_what_and_where_it_was_made(report):
    content = json.loads((report[1] / "claims.json").read_text())["about"]
    assert {"commit", "date", "machine", "size", "seconds"} <= content.keys()
    page = (report[1] / "index.html").read_text()
    assert all(str(value) in page for value in content.values())


def test_every_headline_is_a_claim_of_a_study_with_a_figure_and_a_text_for_who_does_not_see_it():
    for headline in HEADLINES:
        assert headline.study in STUDIES
        assert headline.figure in FIGURES
    for figure in FIGURES.values():
        assert home(figure) in STUDIES
        assert len(figure.ALT) > 60  # it says what is seen, not what the figure is called
        assert "\n" not in figure.ALT


@pytest.mark.parametrize(
    ("study", "constant", "wrong"),
    [
        slow("beale-threshold", "THRESHOLD", sympy.Rational(4, 110)),
        ("valley-phases", "_PREDICTED_ESCAPE", sympy.log(3)),
    ],
)
def test_a_planted_wrong_constant_fails(study, constant, wrong, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(STUDIES[study], constant, wrong)
    assert verify([study], tmp_path, draw=False) == 1
    assert "FAILS" in capsys.readouterr().out
    assert "fails" in (tmp_path / "index.html").read_text()
    assert json.loads((tmp_path / "claims.json").read_text())["summary"]["failed"] > 0


def test_every_study_is_listed_with_a_title():
    for name, study in STUDIES.items():
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


def test_misuse(tmp_path):
    with pytest.raises(ArgumentError, match="Did you mean sam-cycle"):
        verify(["sam-cycl"], tmp_path, draw=False)


def test_an_output_that_cannot_be_made_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="must be a folder that can be created"):
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
    study = STUDIES["valley-drift"]
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


@pytest.mark.parametrize("module", [*STUDIES.values(), *FIGURES.values()])
def test_whatever_takes_a_size_says_what_it_reduces(module):
    made = module.measure if hasattr(module, "measure") else module.draw
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


PLANTED = Study("planted", "a paper")


def planted(**verdicts):
    """Return one claim of each class, with what is given for the numerical one."""
    return [
        PLANTED.fact("proof", "a proof", predicted="yes", measured="yes", reason="exact"),
        PLANTED.close("rate", "a rate", rel=0.1, reason="rounding", **verdicts),
        PLANTED.sampled("mean", "a mean", predicted=1.0, measured=1.1, error=0.05, reason="noise"),
        *(
            PLANTED.beside(
                name,
                "an arm beside another",
                paper="higher",
                found="lower",
                agrees=agrees,
                reason="ten seeds",
                error_probability=0.05,
                source="[Z]",
            )
            for name, agrees in (("against", False), ("open", None))
        ),
    ]


@pytest.fixture
def plant(monkeypatch):
    """Return how to put claims in the place of a study's."""

    def put(claims):
        study = STUDIES["valley-drift"]
        monkeypatch.setattr(study, "measure", lambda progress: None)
        monkeypatch.setattr(study, "judge", lambda record: claims)

    return put


@pytest.mark.parametrize(("measured", "code"), [(1.05, 0), (1.2, 1)])
def test_claims_are_counted_by_class_and_only_a_failure_fails(
    plant, measured, code, tmp_path, capsys
):
    plant(planted(predicted=1.0, measured=measured))
    assert verify(["valley-drift"], tmp_path, draw=False) == code
    summary = json.loads((tmp_path / "claims.json").read_text())["summary"]
    assert summary == {
        "claims": 5,
        "failed": code,
        "hold": {"exact": 1, "numerical": 1 - code, "statistical": 1},
        "fail": {"exact": 0, "numerical": code, "statistical": 0},
        "disagreements": 1,
        "undecided": 1,
        "error_probability": pytest.approx(6.33e-5, rel=1e-3),  # four standard errors
    }
    printed = capsys.readouterr().out
    page = (tmp_path / "index.html").read_text()
    assert f"{3 - code} of 5 claims hold" in printed
    assert f"{3 - code} of 5 claims hold" in page
    assert "disagreement with a paper: 1" in page
    assert "undecided: 1" in page
    assert "against: disagrees with [Z]: higher; found lower" in printed
    assert "open: undecided about [Z]" in printed
    assert ("FAILS" in printed) == bool(code)
    assert ('class="card fails-banner"' in page) == bool(code)


def test_a_failure_is_printed_in_full_and_what_holds_only_if_asked(plant, tmp_path, capsys):
    plant(planted(predicted=1.0, measured=1.2))
    for verbose in (False, True):
        verify(["valley-drift"], tmp_path, draw=False, verbose=verbose)
        printed = capsys.readouterr().out
        assert all(word in printed for word in ("a rate", "predicted", "±0.1", "rounding"))
        assert ("a proof" in printed) == verbose


def test_lines_fit_a_page_and_hold_no_control_characters(plant, tmp_path, capsys):
    words = "a statement of many words " * 20
    plant([PLANTED.fact("n" * 60, words, predicted=1, measured=2, reason=words)])
    verify(["valley-drift"], tmp_path, draw=False, verbose=True)
    printed = capsys.readouterr().out
    assert "report" in printed.lower()
    assert not [
        line for line in printed.splitlines() if len(line) > 80 and str(tmp_path) not in line
    ]
    assert not [c for c in printed if c != "\n" and not c.isprintable()]
    assert printed.count("a statement of many words") + printed.count("a statement\n") > 20


def test_an_error_loses_its_study_and_not_the_others(monkeypatch, tmp_path, capsys):
    def stop(progress):
        raise ArithmeticError("no root")

    monkeypatch.setattr(STUDIES["map-window"], "measure", stop)
    assert verify(["map-window", "sam-cycle"], tmp_path, draw=False) == 1
    content = json.loads((tmp_path / "claims.json").read_text())
    assert content["stopped"] == {"map-window": "ArithmeticError: no root"}
    assert {claim["study"] for claim in content["claims"]} == {"sam-cycle"}
    assert "map-window: stopped by ArithmeticError: no root" in capsys.readouterr().out
    assert "map-window stopped by ArithmeticError" in (tmp_path / "index.html").read_text()


def test_an_interrupt_says_what_is_left(monkeypatch, tmp_path):
    def stop(progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(STUDIES["map-window"], "measure", stop)
    with pytest.raises(KeyboardInterrupt, match=r"after 0 of 1 studies[^$]*--only map-window"):
        verify(["map-window"], tmp_path, draw=False)


def test_every_study_and_figure_is_done_once_and_a_quick_task_comes_first():
    todo = work.tasks(STUDIES, FIGURES)
    assert sorted(name for task in todo for name in task.studies) == sorted(STUDIES)
    assert sorted(name for task in todo for name in task.figures) == sorted(FIGURES)
    for task in todo:
        assert all(set(studies_of(FIGURES[name])) <= set(task.studies) for name in task.figures)
    first, *others = todo
    assert first.studies
    assert first.cost == min(task.cost for task in todo if task.studies)
    assert [task.cost for task in others] == sorted((t.cost for t in others), reverse=True)
    assert set(work.COSTS) == {*STUDIES, *(f"figure {name}" for name in FIGURES)}


def test_a_figure_is_left_out_without_its_study():
    assert work.tasks(["sam-cycle"], ["two_phases"]) == [work.Task(("sam-cycle",), ())]
    assert work.tasks(["valley-phases"], ["two_phases"])[0].figures == ("two_phases",)


def test_a_claim_that_could_not_fail_fails():
    """A tolerance that takes in 0 or the other sign, no cases at all, and no spread."""
    within = {"predicted": 7.3e-16, "measured": 7.4e-16, "reason": "r"}
    assert PLANTED.close("a", "b", absolute=8.3e-16, **within).fails
    assert PLANTED.close("a", "b", rel=1.0, **within).fails
    assert PLANTED.close("a", "b", rel=0.1, **within).holds
    assert PLANTED.close("a", "b", predicted=0.0, measured=0.01, absolute=0.1, reason="r").holds
    mean = {"predicted": 1.0, "measured": 1.0, "reason": "r"}
    assert PLANTED.sampled("a", "b", error=0.3, **mean).fails
    assert PLANTED.sampled("a", "b", error=0.0, **mean).fails
    assert PLANTED.sampled("a", "b", error=0.1, **mean).holds
    # An error from eight values: P(|t₇| > 4) = 0.52 %, where a normal deviate has 0.0063 %.
    few = PLANTED.sampled("a", "b", error=0.1, freedom=7, **mean)
    assert few.error_probability == pytest.approx(0.0052, rel=0.01)
    whole = PLANTED.sampled("a", "b", error=0.1, **mean)
    assert whole.error_probability == pytest.approx(6.33e-5, rel=0.01)
    cases = {"what": "agree", "reason": "r", "evidence": Evidence.numerical}
    assert PLANTED.every("a", "b", holding=0, of=0, **cases).fails
    assert PLANTED.every("a", "b", holding=3, of=4, **cases).fails
    assert PLANTED.every("a", "b", holding=4, of=4, **cases).holds


def test_statistical_claims_and_no_others_name_their_error_probability():
    fact = {"predicted": 1, "measured": 1, "reason": "r"}
    with pytest.raises(ValueError, match="error probability"):
        PLANTED.fact("a", "b", evidence=Evidence.statistical, **fact)
    with pytest.raises(ValueError, match="error probability"):
        PLANTED.fact("a", "b", error_probability=0.1, **fact)
