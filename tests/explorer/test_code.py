"""The code that a page gives: it runs, and makes the page's file to the byte."""

import pytest

from samflow.explorer.code import source
from samflow.explorer.slow import picture
from samflow.explorer.state import State

BOWL = State(
    loss="x**2/2 + y**2",
    rule="gd",
    lr=0.1,
    box=((-2.0, 2.0), (-1.0, 1.0)),
    starts=((1.0, 0.5),),
    steps=7,
)
SADDLE = BOWL.changed(loss="x**2/2 - y**2/2 + y**4/4", lr=0.2, layers=("basins", "manifolds"))


def run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "portrait.py", "exec"), {"__name__": "__main__"})
    return (tmp_path / "portrait.pdf").read_bytes()


def test_the_code_runs_and_makes_the_same_file(tmp_path, monkeypatch):
    made = run(source(BOWL), tmp_path, monkeypatch)
    assert made.startswith(b"%PDF")
    assert made == picture(BOWL)


@pytest.mark.slow
def test_the_code_of_basins_and_curves_makes_the_same_file(tmp_path, monkeypatch):
    assert run(source(SADDLE), tmp_path, monkeypatch) == picture(SADDLE)


def test_the_code_says_all_that_is_not_by_default():
    text = source(State(rule="usam", rho=0.05, momentum=0.5, starts=((1.0, 2.0),)))
    assert "sf.rule('usam', rho=0.05)" in text
    assert "momentum=0.5" in text
    assert "starts=[[1.0, 2.0]]" in text
    assert "length=1000" in text
    assert "starts" not in source(State(starts=((1.0, 2.0),), steps=0))


def test_the_code_of_a_flow_of_a_formula_makes_the_same_file(tmp_path, monkeypatch):
    state = BOWL.changed(rule="g(w + rho*g)", rho=0.2, flow=True, steps=500, layers=("motion",))
    text = source(state)
    assert "system = sf.Flow(loss, sf.rule('g(w + rho*g)', rho=0.2))" in text
    assert "length=5.0" in text  # half of the time 10
    assert run(text, tmp_path, monkeypatch) == picture(state)


def test_a_formula_in_the_code_is_text_and_nothing_else():
    """A quoting sign cannot be in a formula; the code would hold it as text all the same."""
    text = source(State(loss="x**2 + y**2"))
    assert "sf.loss('x**2 + y**2')" in text
