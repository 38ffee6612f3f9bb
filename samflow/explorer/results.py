"""What long work has found, on the page: pale and said to be so where it is of other values."""

import numpy as np

from samflow._status import Kind
from samflow.explorer import quick, texts
from samflow.explorer.jobs import Jobs
from samflow.explorer.state import State
from samflow.explorer.view import Page

_LAYERS = {"basins": "basins of attraction", "curves": "stable and unstable curves"}
"""What takes long enough that a person is told of it."""


def show(name: str, page: Page, state: State, jobs: Jobs) -> None:
    """Show the newest result of a kind; the legend and the cross follow from several."""
    {
        "landscape": _show_nothing,
        "points": _show_points,
        "chart": _show_chart,
        "basins": _show_basins,
        "curves": _show_curves,
    }[name](page, state, jobs)


def show_legend(page: Page, state: State, jobs: Jobs) -> None:
    """Say what is drawn."""
    regions = jobs.value("basins") if jobs.wanted("basins") else None
    curves = jobs.value("curves")
    left_out = 0 if curves is None else curves.left_out
    notes = "".join(texts.note(_work(name, jobs)) for name in _LAYERS)
    page.say("legend", notes + texts.legend(state, jobs.value("points"), regions, left_out))


def show_cross(page: Page, state: State, jobs: Jobs) -> None:
    """Put the cross where the sliders are, in the colour of what the point is there."""
    if state.point is None or not state.has_chart:
        if state.flow:
            note = ""
        elif not state.has_chart:
            note = f"A chart is over ρ and η; {state.rule} has no ρ."
        elif jobs["landscape"].value is None:
            note = jobs["landscape"].failure or "Looking for critical points …"
        else:
            note = "No isolated critical point in the box, of which a chart could be."
        page.chart.show_cross(state.rho, state.lr, None)
        page.say("verdict", texts.verdict(state, "", None, note))
        return
    kind = quick.at_point(state, state.point)
    chart = jobs["chart"].value if jobs.fresh("chart") else None
    word = None if chart is None else chart.word_at(state.rho, state.lr)
    if kind is not None:
        colour, what, note = texts.colour_of(kind), str(kind), _proof_of(kind, state, jobs)
    elif word is not None and chart is not None:
        colour, what = chart.colours[word], word
        note = "(an orbit from beside the point, in this cell of the chart)"
    else:
        colour, what, note = "#FFFFFF", "…", "computing the chart"
    page.chart.show_cross(state.rho, state.lr, colour)
    failure = jobs["chart"].failure if jobs.fresh("chart") else ""
    page.say("verdict", texts.verdict(state, what, colour, failure or note))


def _proof_of(kind: Kind, state: State, jobs: Jobs) -> str:
    """Say whether the list of fixed points proves what the chart's point is."""
    found = jobs["points"].value
    if found is None or not jobs.fresh("points"):
        return "(by its multipliers; not yet proved)"
    width = np.ptp(np.array(state.box), axis=1)
    for w, listed, proved in zip(found.w, found.kinds, found.proved, strict=True):
        near = (np.abs(w - np.array(state.point)) < 1e-6 * width).all()
        if near and proved and listed is kind:
            return "(by its multipliers; that it exists is proved)"
    return "(by its multipliers)"


def _show_nothing(page: Page, state: State, jobs: Jobs) -> None:
    """The landscape is seen in sliders and choices, which the session sets."""


def _show_points(page: Page, state: State, jobs: Jobs) -> None:
    found, stale = jobs.value("points"), not jobs.fresh("points")
    failure = "" if stale else jobs["points"].failure
    page.say("list", texts.fixed_points(found, stale=stale, failure=failure))
    page.portrait.show_points(found, directions="directions" in state.layers, stale=stale)


def _show_chart(page: Page, state: State, jobs: Jobs) -> None:
    found = jobs.value("chart") if state.has_chart else None
    looks = page.chart.show(found, stale=not jobs.fresh("chart"))
    page.say("chart legend", texts.chart_legend(found, looks))


def _show_basins(page: Page, state: State, jobs: Jobs) -> None:
    found = jobs.value("basins") if jobs.wanted("basins") else None
    box = None if found is None else jobs["basins"].key[-1]
    page.portrait.show_regions(found, box, stale=not jobs.fresh("basins"))


def _show_curves(page: Page, state: State, jobs: Jobs) -> None:
    found = jobs.value("curves") if jobs.wanted("curves") else None
    for name in ("stable", "unstable"):
        drawn = [] if found is None else getattr(found, name)
        page.portrait.show_lines(name, drawn, stale=not jobs.fresh("curves"))


def _work(name: str, jobs: Jobs) -> str:
    """Say that a layer is under way, or why it is missing."""
    if not jobs.wanted(name):
        return ""
    if not jobs.fresh(name):
        return f"Computing {_LAYERS[name]} …"
    return f"No {_LAYERS[name]}: {jobs[name].failure}" if jobs[name].failure else ""
