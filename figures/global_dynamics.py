"""Charts of Beale's function, branches of the quartic, and the share of starts at its saddle."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import plots
from samflow.plots import style
from samflow.plots.style import BLACK, DOUBLE_COLUMN, GREY, PURPLE, RULE_COLOURS, SKY

NAME = "global-dynamics"
STUDIES = ("global-dynamics",)
ALT = (
    "Two charts of coloured regions over ρ and η with curves along their borders; a diagram "
    "of branches that fork at ρ = 1; a falling share with error bars on its curves."
)
COLOURS = {
    "minimum only": "#9ECAE1",
    "minimum and saddle": "#FDD49E",
    "saddle only": "#FC8D59",
    "none": "#F0F0F0",
}
_Z = 1.96
"""Standard errors of an interval of 95 %."""


def caption(record: Any) -> str:
    """Say what the colours and lines are."""
    cells = record.charts["usam"].what.shape
    return (
        "(a, b) Which of the minimum (3, ½) and the saddle (0, 1) of Beale's function attract USAM "
        f"and SAM, in {cells[0]} by {cells[1]} cells. USAM by the Jacobian; lines: where a "
        "multiplier passes +1 (ρ = 4/111) or −1. SAM by orbits from beside the point: it counts "
        "where they end within the length of five steps. At small η they drift farther along the "
        "flat valley of the minimum. Lines: at the saddle, the η up to which the 2-cycle of the "
        "quadratic part attracts; at the minimum, where that 2-cycle ends, and the ρ up to which "
        "the flow is proved to be held. (c) Fixed points of USAM on ½x² − ½y² + ¼y⁴ over the last "
        "states of orbits, η = 0.01. (d) Share of starts in |y| < 1.2 that come to y = 0, where "
        f"the quartic has its saddle: {record.number:,} orbits, bars of 95 %. Lines: starts below "
        "a repelling fixed point, at ρ for SAM and at √(1 − 1/ρ) for USAM. Dotted: ρ = 1."
    )


def draw(record: Any) -> Figure:
    """Draw the four panels."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 5.6)
        (usam, sam), (branches, shares) = figure.subplots(2, 2)
        for ax, rule in ((usam, "usam"), (sam, "sam")):
            _draw_chart(ax, record.charts[rule], f"{rule.upper()} on Beale's function")
        plots.bifurcation(record.diagram, observable=1, ax=branches)
        for line in branches.lines:
            if line.get_marker() == ".":  # orbits, which lie under the branches that attract
                line.set(color=SKY, markersize=5)
        branches.set(ylim=(-1.3, 1.3), xlim=(0.1, 8.0), ylabel="$y$")
        branches.set_title("USAM on the quartic", fontsize="medium")
        _draw_shares(shares, record)
        for ax, letter in zip((usam, sam, branches, shares), "abcd", strict=True):
            style.panel_letter(ax, letter)
        style.legend_below(figure, [usam, sam, branches, shares], columns=5)
    return figure


def _draw_chart(ax: Axes, chart: Any, title: str) -> None:
    plots.chart(chart, curves=False, colours=COLOURS, ax=ax)
    for line in chart.boundaries:
        at_saddle = line.name.startswith("saddle")
        look: Any = {"color": BLACK, "linestyle": "-"} if at_saddle else {"color": PURPLE}
        label = "theory, at the saddle" if at_saddle else "theory, at the minimum"
        ax.plot(line.x, line.y, linewidth=1.1, label=label, **({"linestyle": "--"} | look))
    ax.set_title(title, fontsize="medium")


def _draw_shares(ax: Axes, record: Any) -> None:
    for rule, marker in (("usam", "D"), ("sam", "s")):
        colour = RULE_COLOURS[rule]
        ax.plot(*record.known[rule], color=colour, linewidth=1.0)
        places, found = map(np.array, zip(*record.shares[rule].items(), strict=True))
        errors = _Z * np.sqrt(found * (1 - found) / record.number)
        ax.errorbar(
            places, found, errors, fmt=marker, color=colour, markersize=3.5, capsize=2,
            linewidth=0.8, label=f"share, {rule.upper()}",
        )  # fmt: skip
    ax.axvline(1.0, color=GREY, linewidth=0.6, linestyle=":")
    ax.set(xlabel=r"$\rho$", ylabel="share of starts", xlim=(0, 3.2), ylim=(-0.03, 0.88))
    ax.set_title("starts that come to the quartic's saddle", fontsize="medium")
