"""Saddles that symmetry makes in networks: rate of escape of USAM, and the rho that holds it."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import plots
from samflow.plots.style import (
    BLACK,
    BLUE,
    DOUBLE_COLUMN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    panel_letter,
)

NAME = "symmetry-saddles"
STUDIES = ("symmetry-saddles",)
ALT = (
    "Left, growth rates that fall along the line 1 − ρ|λ₋|. Middle, filled and open marks "
    "that close in on one ρ. Right, distance from zero over steps, which levels off at a "
    "dashed line under USAM and not under GD."
)

MARKS = (("o", BLUE), ("s", VERMILION), ("^", GREEN), ("D", PURPLE))


def draw(record: Any) -> Figure:
    """Draw rates, bisections, and the saddle without a threshold."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.75)
        left, middle, right = figure.subplots(1, 3)
        left.axhline(0, color=GREY, linewidth=0.6)
        left.axvline(1, color=GREY, linewidth=0.6)
        left.plot([0, 1.75], [1, -0.75], color=BLACK, label=r"theory, $1-\rho|\lambda_{-}|$")
        middle.axhline(1, color=BLACK, zorder=0)
        for (name, found), (marker, colour) in zip(record.followed.items(), MARKS, strict=False):
            parts = found.parts
            style = {"marker": marker, "color": colour, "linestyle": "none", "markersize": 3.5}
            left.plot(parts, found.slopes, **style, label=name, fillstyle="none")  # pyright: ignore
            _bisection(middle, found, marker, colour)
        left.set(xlabel=r"$\rho|\lambda_{-}|$", ylabel=r"growth rate / $\eta|\lambda_{-}|$")
        middle.set(xlabel="orbit", ylabel=r"$\rho|\lambda_{-}|$ tried", yscale="log")
        middle.set_ylim(0.04, 2)
        middle.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2], ["0.05", "0.1", "0.2", "0.5", "1", "2"])
        middle.minorticks_off()
        _order_three(right, record)
        for ax, letter in ((left, "a"), (middle, "b"), (right, "c")):
            panel_letter(ax, letter)
        plots.legend_below(figure, (left,), columns=5)
    return figure


def caption(record: Any) -> str:
    """Say what is drawn."""
    return (
        "Saddles of networks by symmetry. (a) Growth rate of a displacement along the weakest "
        "negative eigenvalue λ₋ under USAM, in units of η|λ₋|: measured on orbits (marks), and "
        "1 − ρ|λ₋| (line), the limit of log(1 + η|λ₋|(1 − ρ|λ₋|))/η|λ₋| for small η. ρ = 0 is "
        "gradient descent. (b) Bisection for the smallest ρ at which the orbit stays at the "
        "saddle: values of ρ at which it stays (filled) and leaves (open). (c) Three linear layers "
        "at zero, where the Hessian vanishes: distance from zero. The orbit leaves zero for every "
        f"ρ; USAM stalls where w + ρg(w) = 0, at distance √3/(ρσ), σ = {record.sigma:g} (dashed)."
    )


def _bisection(ax: Axes, saddle: Any, marker: str, colour: str) -> None:
    found = saddle.threshold
    parts, held = np.asarray(found.tried) * abs(saddle.weakest), np.asarray(found.held)
    number = np.arange(len(parts))
    ax.plot(number[1:], parts[1:], color=colour, linewidth=0.5, alpha=0.5)
    style = {"marker": marker, "color": colour, "linestyle": "none", "markersize": 3.5}
    ax.plot(number[held], parts[held], **style)  # pyright: ignore[reportArgumentType]
    left = ~held & (parts > 0)  # gradient descent has no place on a logarithmic axis
    ax.plot(number[left], parts[left], **style, markerfacecolor="white")  # pyright: ignore


def _order_three(ax: Axes, record: Any) -> None:
    colours = (BLACK, ORANGE, BLUE, PURPLE)
    for (rho, moved), colour in zip(record.stalls.items(), colours, strict=True):
        steps = int(moved.steps[-1])
        ax.plot(moved.steps[1:], moved.sizes[1:], color=colour)
        text = rf"$\rho={rho:g}$" if rho else "GD"
        height = moved.sizes[-1]
        ax.annotate(
            text, (steps, height), (-2, 3), textcoords="offset points", ha="right", color=colour
        )
        if rho:
            stalled = np.sqrt(3) / (rho * record.sigma)
            ax.axhline(stalled, color=colour, linewidth=0.7, linestyle="--")
        ax.set(xlim=(50, steps), ylim=(moved.sizes[0], 6))
    ax.set(xscale="log", yscale="log", xlabel="step", ylabel=r"distance from zero")
