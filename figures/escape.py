"""First passage out of a ball around a saddle: survival curves, and medians over rho."""

import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from samflow import noise, plots
from samflow.plots.style import DOUBLE_COLUMN, RULE_COLOURS, panel_letter

NAME = "escape"
STUDIES = ("escape",)
ALT = (
    "Two rows of three panels: falling curves of the share inside, SGD's first, then USAM's, "
    "then SAM's; and median times that rise with ρ, some marked as not reached by triangles "
    "at the upper edge."
)

CURVES = (0.25, 0.5)
"""ρ|λ₋| of the survival curves, at this batch size."""
BATCH = 32.0
MARKS = {8.0: "o", 32.0: "s", 128.0: "D"}
LINES: dict[float, Any] = {8.0: "-", 32.0: "--", 128.0: ":"}


def draw(record: Any) -> Figure:
    """Draw the six panels."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 4.6)
        axes = figure.subplots(2, 3)
        for row, swept in zip(axes, record.swept, strict=True):
            _survival(row[0], record, swept)
            for ax, momentum in zip(row[1:], record.momenta, strict=True):
                _medians(ax, momentum, record, swept)
                ax.set_title(f"{swept.saddle.name}, momentum {momentum:g}")
        for ax, letter in zip(axes.flat, "abcdef", strict=True):
            panel_letter(ax, letter)
        figure.legend(handles=_handles(record), loc="outside lower center", ncols=6)
    return figure


def caption(record: Any) -> str:
    """Say what is drawn."""
    rows = "; ".join(
        f"{row} row: {saddle.name} at ({saddle.w[0]:g}, {saddle.w[1]:g}), radius "
        f"{saddle.radius:g}, η = {saddle.lr:g}"
        for row, saddle in zip(("upper", "lower"), (s.saddle for s in record.swept), strict=True)
    )
    low, high = CURVES
    return (
        "Number of steps in which noise of covariance |H|/B drives an optimiser out of a ball "
        f"around a saddle; {rows}. Each curve has {record.paths} paths, which start at the saddle "
        f"and run for at most {record.max_steps} steps. "
        "(a, d) Kaplan–Meier estimate of the share still inside, with its 95 % band, at "
        f"B = {BATCH:g} without momentum: SGD black; USAM blue and SAM red, ρ|λ₋| = {low:g} dashed "
        f"and {high:g} solid. (b, c, e, f) Median time with its 95 % interval (Brookmeyer and "
        "Crowley; mostly smaller than the mark) for ρ|λ₋| = "
        f"{', '.join(f'{radius:g}' for radius in record.radii)}; SGD black at ρ = 0. A triangle at "
        "the upper edge says that the median was not reached; the uppermost is for "
        f"B = {record.batches[-1]:g}. Dotted: ρ = 1/|λ₋|, above which the saddle attracts USAM's "
        "flow; SAM has no such threshold. In (c) paths escape above it too, along the stable "
        "direction, where USAM's ascent amplifies the noise. Claims after Kim et al. (arXiv "
        "2301.06308)."
    )


def _handles(record: Any) -> list[Line2D]:
    """Return what the legend shows: one colour per rule, one mark per batch size."""
    names = {"gd": "SGD", "usam": "USAM", "sam": "SAM"}
    rules = [Line2D([], [], color=RULE_COLOURS[rule], label=name) for rule, name in names.items()]
    batches = [
        Line2D([], [], color="0.3", marker=MARKS[b], linestyle=LINES[b], markersize=2.6,
               markerfacecolor="white", markeredgewidth=0.8, label=f"$B$ = {b:g} (medians)")
        for b in record.batches
    ]  # fmt: skip
    return [*rules, *batches]


def _survival(ax: Axes, record: Any, swept: Any) -> None:
    _curve(ax, swept.usam[0.0, 0.0, BATCH], RULE_COLOURS["gd"], "-")
    for rule, (radius, line) in itertools.product(
        ("usam", "sam"), zip(CURVES, ("--", "-"), strict=True)
    ):
        _curve(ax, getattr(swept, rule)[radius, 0.0, BATCH], RULE_COLOURS[rule], line)
    ax.set(xscale="log", xlim=(20, record.max_steps), ylim=(0, 1.03))
    ax.set(xlabel="steps", ylabel="share still inside")
    ax.set_title(f"{swept.saddle.name}, $B = {BATCH:g}$")


def _curve(ax: Axes, times: noise.EscapeTimes, colour: str, line: str) -> None:
    curve = times.survival
    steps = np.concatenate([[1.0], np.asarray(curve.times), [curve.horizon]])
    shares = np.concatenate([[1.0], np.asarray(curve.survival), [float(curve.survival[-1])]])
    ax.plot(steps, shares, color=colour, linestyle=line, drawstyle="steps-post", linewidth=1.1)
    ax.fill_between(
        np.asarray(curve.times), np.asarray(curve.low), np.asarray(curve.high), color=colour,
        step="post", alpha=0.18, linewidth=0,
    )  # fmt: skip


def _medians(ax: Axes, momentum: float, record: Any, swept: Any) -> None:
    top = record.max_steps
    for place, batch in enumerate(record.batches):
        height = top * 0.8 ** (len(record.batches) - 1 - place)
        _points(ax, [0.0], [swept.usam[0.0, momentum, batch]], RULE_COLOURS["gd"], batch, height)
        for rule in ("usam", "sam"):
            times = [getattr(swept, rule)[radius, momentum, batch] for radius in record.radii]
            _points(ax, list(record.radii), times, RULE_COLOURS[rule], batch, height)
    ax.axvline(1.0, color="0.6", linewidth=0.7, linestyle=":", zorder=0)
    ax.set(yscale="log", ylim=(8, top), xlim=(-0.06, 1.31))
    ax.set(xlabel=r"$\rho|\lambda_{-}|$", ylabel="median steps to escape")


def _points(
    ax: Axes, x: list[float], times: list, colour: str, batch: float, height: float
) -> None:
    medians = np.array([t.median for t in times])
    low = medians - [t.interval[0] for t in times]
    high = np.array([t.interval[1] for t in times]) - medians
    spread = np.nan_to_num(np.stack([low, high]))
    ax.errorbar(
        x, medians, yerr=spread, color=colour, marker=MARKS[batch], ls=LINES[batch],
        markersize=2.6, linewidth=0.9, elinewidth=0.8, markerfacecolor="white",
        markeredgewidth=0.8,
    )  # fmt: skip
    aside = -0.018 if colour == RULE_COLOURS["usam"] else 0.018
    censored = [r + aside for r, median in zip(x, medians, strict=True) if np.isnan(median)]
    if not censored:  # an empty line without a clip would count as one at the figure's corner
        return
    top = [height] * len(censored)
    ax.plot(censored, top, linestyle="", marker="^", markersize=2.4, color=colour, clip_on=False)
