"""The rotation number of SAM near a minimum, over rho and lr: theory's staircase and orbits."""

from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from samflow import plots
from samflow.plots.style import BLACK, DOUBLE_COLUMN, ORANGE, SKY, VERMILION, panel_letter

NAME = "staircase"
STUDIES = ("rotation",)
ALT = (
    "Four panels of a share between 0 and 1 over ρ or η: plateaus at fractions with small "
    "denominators, joined by rises, dots on black steps."
)
_PART = "quadratic part"
_LIMIT = r"$a/(a+b)$, the limit $\eta \to 0$"
_DOTS = {"linestyle": "none", "marker": "o", "markersize": 2.6, "markeredgewidth": 0}
_WIDE, _LONGEST = 0.025, 8
"""Steps that take this part of the axis are named, up to this period."""


def draw(record: Any) -> Figure:
    """Draw the staircase over rho in a wide panel, and over lr in one panel for each momentum."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 4.6)
        grid = figure.add_gridspec(2, len(record.sweeps), height_ratios=(1.15, 1))
        top = figure.add_subplot(grid[0, :])
        _orbits(top, record.over_rho.rho, record.over_rho.share)
        top.plot(record.over_rho.rho, record.limits, color=ORANGE, linewidth=0.9, zorder=2)
        _staircase(top, record.over_rho.rho, record.over_rho.theory)
        ends = (record.over_rho.rho[0], record.over_rho.rho[-1])
        top.set(xlim=ends, ylim=(0.455, 0.83), xlabel=r"radius $\rho$", ylabel=_SHARE)
        top.set_title(rf"$\beta = 0$, $\eta = {record.over_rho.lr[0]:g}$")
        panel_letter(top, "a")
        first = None
        for i, (beta, sweep) in enumerate(record.sweeps.items()):
            ax = first = figure.add_subplot(grid[1, i], sharey=first)
            ax.axhline(record.limit, color=ORANGE, linewidth=0.9, zorder=2, label=_LIMIT)
            _orbits(ax, sweep.lr, sweep.share)
            _staircase(ax, sweep.lr, sweep.theory)
            ax.set(xscale="log", xlim=(sweep.lr[0], 0.4), ylim=(0.46, 0.69))
            ax.set(xlabel=r"step size $\eta$", title=rf"$\beta = {beta:g}$, $\rho = 0.1$")
            ax.tick_params(labelleft=i == 0)
            panel_letter(ax, "bcd"[i])
            if i == 0:
                ax.set(ylabel=_SHARE)
        plots.legend_below(figure, (figure.axes[1],), columns=4)
    return figure


_SHARE = r"share of steps at $y < 1$"


def _orbits(ax: Any, places: np.ndarray, share: np.ndarray) -> None:
    ax.axhline(0.5, color=VERMILION, linestyle="--", linewidth=0.9, zorder=1, label=_PART)
    x = np.repeat(places, share.shape[1])
    ax.plot(x, share.ravel(), color=SKY, zorder=3, label="orbits", **_DOTS)


def _staircase(ax: Any, places: np.ndarray, found: tuple[Fraction | None, ...]) -> None:
    """Draw theory's steps, and name the wide ones."""
    if not found:
        return
    share = np.array([np.nan if each is None else float(each) for each in found])
    ax.step(places, share, where="mid", color=BLACK, linewidth=0.8, zorder=4, label="theory")
    for each in sorted({each for each in found if each is not None}):
        here = places[[other == each for other in found]]
        if len(here) >= _WIDE * len(places) and each.denominator <= _LONGEST:
            text = f"{each.numerator}/{each.denominator}"
            at, below = (float(np.median(here)), float(each)), each == Fraction(1, 2)
            ax.annotate(text, at, (0, -10 if below else 5), textcoords="offset points", ha="center")


def caption(record: Any) -> str:
    """Say what is drawn."""
    starts = record.sweeps[0.0].share.shape[1]
    return (
        "Normalised SAM near the minimum y = 1 of ¼y⁴ − ½y²: the share of steps that begin at "
        f"y < 1, from {starts} starts for each ρ or η. (a, b) Without momentum the step is a "
        "circle map, and the share is the rotation number p/q that theory finds on the loss itself "
        "(black; gaps where q > 64): a devil's staircase, over ρ and over η. On the quadratic part "
        "it is 1/2 for every ρ and η. (c, d) With heavy ball the plateaus remain, but the share "
        "can depend on the start, and is not monotone. For every β it tends to a/(a + b) as η → 0."
    )
