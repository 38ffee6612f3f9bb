"""What is done on a page, and what it then shows, without a browser and without processes."""

import functools
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest
from bokeh.document import Document

from samflow.explorer import compiled as programs
from samflow.explorer import quick
from samflow.explorer import session as sessions
from samflow.explorer.jobs import Workers
from samflow.explorer.session import Session
from samflow.explorer.state import State, from_query
from samflow.explorer.workers import Stopped

BOWL = State(loss="x**2/2 + y**2", rule="usam", rho=0.1, lr=0.1, box=((-2.0, 2.0), (-1.0, 1.0)))
"""USAM at λ: 1 − lr λ (1 + rho λ), here 0.89 and 0.76; at lr 1.5 the first is −0.65."""


class Later:
    """Stands for a process: does its work when it is told to."""

    def __init__(self):
        self.waiting = []

    def submit(self, function, *args, limit):
        future = Future()
        self.waiting.append((future, function, args))
        return future

    def work(self):
        while self.waiting:
            future, function, args = self.waiting.pop(0)
            try:
                future.set_result(computed(function, *args))
            except Exception as error:
                future.set_exception(error)


@functools.cache
def computed(function, state):
    """Return what a piece of work returns, computed once for all tests."""
    return function(state)


@pytest.fixture
def made(monkeypatch):
    """A page, whose processes work and whose timers ring when `run` is called."""
    monkeypatch.setattr(sessions, "compiling", compiled)
    document, worker = Document(), Later()
    page = Session(document, BOWL, Workers(worker, worker, worker), "T")
    page.worker = worker
    assert not document.session_callbacks  # before the page is on the screen
    page._soon()
    run(page)
    return page


def compiled(state):
    """Compile in this thread."""
    future = Future()
    try:
        quick.warm(state)
        programs._ready.add(programs.program(state))
        future.set_result(None)
    except Exception as error:
        future.set_exception(error)
    return future


def ring(page):
    """Let all timers ring that wait."""
    document = page.document
    for callback in document.session_callbacks:
        kind = type(callback).__name__
        if kind == "PeriodicCallback" or callback not in document.session_callbacks:
            continue  # or another has removed it
        if kind == "TimeoutCallback":
            document.remove_timeout_callback(callback)
        else:
            document.remove_next_tick_callback(callback)
        callback.callback()


def run(page, *, work=True):
    for _ in range(12):
        ring(page)
        if work:
            page.worker.work()


def marks(page):
    data = page.page.portrait._marks.data
    return dict(zip(zip(data["x"], data["y"], strict=True), data["alpha"], strict=True))


def text(page, name):
    return page.page.texts[name].text


def test_a_page_shows_what_is_proved(made):
    assert marks(made) == {(0.0, 0.0): 1.0}
    assert "1 fixed point (all, proved)" in text(made, "list")
    assert "✓ proved" in text(made, "list")
    assert made.state.point == (0.0, 0.0)
    assert "attracting" in text(made, "verdict")
    assert made.page.chart._cross.data["x"] == [0.1]


def test_a_slider_makes_the_marks_pale_until_the_proof_is_there(made):
    made.page.sliders["lr"].value = 0.2
    run(made, work=False)
    assert made.state.lr == 0.2
    assert set(marks(made).values()) == {0.3}
    assert "not yet proved" in text(made, "list")
    assert "✓" not in text(made, "list").split("</table>")[0]
    made.page.sliders["lr"].value = 0.3  # before the answer to the first
    run(made, work=False)
    run(made)
    assert set(marks(made).values()) == {1.0}
    assert "multipliers 0.67, 0.28" in text(made, "list")  # 1 − 0.3·1.1, 1 − 0.3·2·1.2
    assert made.page.fields["lr"].value == "0.3"


def test_a_click_launches_an_orbit_and_a_drag_moves_it(made):
    made.mouse.tap(SimpleNamespace(x=1.0, y=0.5))
    run(made, work=False)
    assert made.state.starts == ((1.0, 0.5),)
    x = made.page.portrait._paths.data["x"]
    np.testing.assert_allclose(x[1:4], [1, 0.89, 0.89**2], rtol=1e-12)
    made.mouse.tap_again(SimpleNamespace(x=1.01, y=0.5))  # a double click is one
    assert len(made.state.starts) == 1
    made.mouse.take(SimpleNamespace(x=1.01, y=0.5, sx=10, sy=10))  # 1.4 pixels away
    made.mouse.drag(SimpleNamespace(x=-1.0, y=0.25, sx=0, sy=0))
    made.mouse.release(None)
    assert made.state.starts == ((-1.0, 0.25),)
    made.mouse.take(SimpleNamespace(x=0.5, y=0.5, sx=100, sy=100))  # beside it: the view
    made.mouse.drag(SimpleNamespace(x=9, y=9, sx=100 + 540, sy=100 + 270))  # a width, half a height
    assert made.state.box == ((-6.0, -2.0), (0.0, 2.0))
    assert made.state.starts == ((-1.0, 0.25),)
    made.mouse.drag(SimpleNamespace(x=9, y=9, sx=100, sy=100))
    assert made.state.box == BOWL.box


def test_the_cross_sets_rho_and_lr_within_the_chart(made):
    made.mouse.move_cross(SimpleNamespace(x=0.25, y=0.5))
    assert (made.state.rho, made.state.lr) == (0.25, 0.5)
    made.mouse.move_cross(SimpleNamespace(x=-3, y=99))
    assert (made.state.rho, made.state.lr) == (0, made.state.lr_max)


def test_steps_are_drawn_one_by_one(made):
    made.mouse.tap(SimpleNamespace(x=1.0, y=0.5))
    run(made, work=False)
    made.runner.reset()
    run(made, work=False)
    assert np.isfinite(made.page.portrait._paths.data["x"]).sum() == 1
    made.runner.step()
    made.runner.step()
    run(made, work=False)
    assert made.state.steps == 2
    assert np.isfinite(made.page.portrait._paths.data["x"]).sum() == 3
    assert "2 of 1,000 steps are drawn" in text(made, "runs")
    made.runner.run()
    assert made.page.buttons["run"].label == "Pause"
    for _ in range(200):
        if made.runner.runs:
            made.runner.grow()
    assert made.state.steps == 1000
    assert made.page.buttons["run"].label == "Run"


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os').system('touch hostile')",
        "<img src=x onerror=alert(1)>",
        "x",
        "exp(" * 400,
        "x**2 + y**(9**9**9)",
        "x.__class__ + y",
    ],
)
def test_what_is_no_formula_is_said_as_text_and_changes_nothing(made, formula):
    made.page.loss.value = formula
    run(made)
    assert made.state.loss == BOWL.loss
    shown = text(made, "error")
    assert 'role="alert"' in shown
    assert "<img" not in shown
    made.page.loss.value = "x**2 + y**2"
    run(made, work=False)
    assert text(made, "error") == ""
    assert made.state.loss == "x**2 + y**2"


def test_fields_take_fractions_and_say_what_they_do_not_take(made):
    made.page.fields["rho"].value = "4/111"
    assert made.state.rho == 4 / 111
    made.page.fields["rho"].value = "-1"
    assert "at least 0" in text(made, "error")
    assert made.state.rho == 4 / 111
    made.page.fields["lr"].value = "50"  # beyond the slider, which makes room
    run(made, work=False)
    assert made.state.lr_max >= 50


def test_the_link_restores_what_is_shown(made):
    made.mouse.tap(SimpleNamespace(x=1.0, y=0.5))
    made.page.layers.active = [0, 3]
    run(made)
    (query,) = made.page.link.data["query"]
    assert from_query(query) == made.state
    assert made.state.layers == ("levels", "directions")
    assert f'"portrait.pdf?token=T&amp;{query.split("&")[0]}' in text(made, "files")


def test_a_layer_that_takes_long_is_announced_and_one_that_fails_says_why(made):
    made.page.sliders["momentum"].value = 0.5
    made.page.layers.active = [5]  # curves, which momentum has none of
    run(made, work=False)
    assert "Computing stable and unstable curves" in text(made, "legend")
    run(made)
    assert "No stable and unstable curves: " in text(made, "legend")
    assert "without momentum" in text(made, "legend")
    made.page.layers.active = []
    run(made)
    assert "curves" not in text(made, "legend")


def test_marks_of_another_loss_are_not_shown(made):
    made.page.loss.value = "x**2 + 3*y**2"
    run(made, work=False)
    assert "3*y**2" in text(made, "title")
    assert marks(made) == {}
    assert "proving" in text(made, "list")
    made.page.loss.value = BOWL.loss
    run(made, work=False)
    assert marks(made) == {(0.0, 0.0): 0.3}  # of the same loss; the box is not that of before


def test_a_rule_without_rho_has_no_chart_and_says_so(made):
    made.page.rule.value = "gd"
    run(made)
    assert made.page.chart._cross.data["x"] == []
    assert "gd has no ρ" in text(made, "verdict")
    assert set(marks(made).values()) == {1.0}


def test_a_flow_has_solutions_and_eigenvalues_and_no_step_size(made):
    made.mouse.tap(SimpleNamespace(x=1.0, y=0.5))
    made.page.motion.active = 1
    run(made)
    assert made.state.flow
    assert text(made, "title").startswith('<div class="title">flow of usam(rho=0.1)')
    assert "1 fixed point (all, proved)" in text(made, "list")
    assert "eigenvalues -1.1, -2.4" in text(made, "list")  # −λ(1 + rho λ), λ = 1 and 2
    assert set(marks(made).values()) == {1.0}
    x = np.array(made.page.portrait._paths.data["x"])
    # Each point is 0.01 later; the solver's tolerance of a step is 1e-8.
    np.testing.assert_allclose(x[1:5], np.exp(-1.1 * 0.01 * np.arange(4)), atol=1e-7)
    assert "Drawn up to time 10<" in text(made, "runs")
    assert "direction of the flow" in text(made, "legend")
    assert text(made, "verdict") == ""
    assert [each.visible for each in made.page.of_maps] == [False] * 4
    assert made.page.length.options[0] == ("0.1", "0.1")
    (query,) = made.page.link.data["query"]
    assert "flow=1" in query
    assert from_query(query) == made.state
    made.page.sliders["rho"].value = 0.2
    run(made)
    assert "eigenvalues -1.2, -2.8" in text(made, "list")
    made.runner.reset()
    made.runner.step()
    run(made, work=False)
    assert "Drawn up to time 0.01 of 10" in text(made, "runs")
    made.page.motion.active = 0
    run(made)
    assert "map of usam" in text(made, "title")
    assert [each.visible for each in made.page.of_maps] == [True] * 4
    assert "multipliers" in text(made, "list")


def test_a_rule_by_formula(made):
    assert (made.page.rule.value, made.page.formula.value) == ("usam", "")
    made.page.formula.value = " g(w + rho*g) "
    run(made)
    assert made.state.rule == "g(w + rho*g)"
    assert made.page.rule.value == "by formula"
    assert "g(w + rho*g) [rho=0.1]" in text(made, "title")
    assert "multipliers 0.89, 0.76" in text(made, "list")  # as of USAM, and as sure
    assert set(marks(made).values()) == {1.0}
    (query,) = made.page.link.data["query"]
    assert from_query(query) == made.state
    made.page.rule.value = "gd"
    run(made)
    assert (made.state.rule, made.page.formula.value) == ("gd", "")
    made.page.rule.value = "by formula"
    run(made, work=False)
    assert made.state.rule == "g(w + rho*g)"
    made.page.formula.value = ""  # which says nothing else
    assert made.page.formula.value == "g(w + rho*g)"


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("g(w + rho)", "have no sum"),
        ("__import__('os').system('touch hostile')", "attribute access"),
        ("<img src=x onerror=alert(1)>", "invalid syntax"),
        ("g*beta", "`beta` is missing"),
        ("usamm", "Did you mean usam"),
    ],
)
def test_what_is_no_rule_is_said_as_text_and_changes_nothing(made, formula, said):
    made.page.formula.value = formula
    run(made)
    assert made.state.rule == "usam"
    shown = text(made, "error")
    assert said in shown
    assert "<img" not in shown
    made.page.formula.value = "usam"
    run(made)
    assert text(made, "error") == ""


def test_a_rule_with_a_memory_has_no_flow_and_says_so(made):
    made.page.rule.value = "vasso"
    made.page.motion.active = 1
    assert "must have no memory" in text(made, "error")
    assert not made.state.flow
    assert made.page.motion.active == 0  # what is chosen is what is shown
    made.page.rule.value = "usam"
    made.page.motion.active = 1
    assert text(made, "error") == ""
    made.page.rule.value = "vasso"
    assert "must have no memory" in text(made, "error")
    assert (made.state.rule, made.page.rule.value) == ("usam", "usam")


def test_a_piece_of_work_that_fails_says_why_and_leaves_no_marks(made):
    made.page.sliders["lr"].value = 0.25
    run(made, work=False)
    (future, *_), *_ = made.worker.waiting
    made.worker.waiting.clear()
    future.set_exception(Stopped("It took longer than 30 seconds, and was stopped."))
    run(made, work=False)
    assert marks(made) == {}
    assert "took longer than 30 seconds" in text(made, "list")
