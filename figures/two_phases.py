"""The valley ½(1 + u²)v²: escape from a sharp minimum, convergence to a flatter one."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import samflow as sf
from samflow import plots
from samflow.plots.layers import draw_frame
from samflow.plots.style import (
    BLACK,
    BLUE,
    DOUBLE_COLUMN,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    panel_letter,
)

NAME = "two_phases"
STUDIES = ("valley-phases",)
ALT = (
    "Left, an orbit that leaves one point of a valley, alternates across it and ends in the "
    "flatter part. Right, displacement and loss over steps on a logarithmic scale: a straight "
    "rise, then a straight fall, along dashed lines."
)
_SHIFT = 30.0
"""How far above the measured line the predicted slope is drawn."""
BOX = ((0.45, 2.25), (-1.15, 1.15))


def caption(record: Any) -> str:
    """Say what the orbit does, with the numbers of the record."""
    lr, rho, w, _ = record.shown
    start, end = sharpness(w[0]), sharpness(w[-1])
    ascent = f"ηλ(1 + ρλ) = {lr * start * (1 + rho * start):.3g} > 2"
    return (
        f"USAM is switched on near the minimum (2, 0) of ½(1 + u²)v², η = {lr:g}, ρ = {rho:g}. The "
        f"sharpness there is λ = 1 + u² = {start:g}: GD would stay (ηλ = {lr * start:.3g} < 2), "
        f"USAM leaves ({ascent}). (a) The orbit alternates in v, moves into the flatter part and "
        f"stops at λ = {end:.3f}, far below the edge of stability {edge(lr, rho):.2f} (dotted). "
        "(b) Displacement and loss: the orbit escapes at the predicted rate log|1 − ηU(5)| = log 2 "
        f"per step and converges at the rate log|1 − ηU({end:.3f})| = "
        f"{_signed(rate(end, lr, rho))} (dashed: slopes from theory, shifted). After Zhou et al. "
        "(arXiv 2410.10373); rates derived in docs/theory."
    )


def _signed(number: float) -> str:
    return f"{number:.3f}".replace("-", "−")


def sharpness(w: np.ndarray) -> float:
    """Return λ = 1 + u² at the minimum next to `w`."""
    return float(1 + w[0] ** 2)


def rate(lam: float, lr: float, rho: float) -> float:
    """Return the predicted log|1 − ηU(λ)|: growth, or if negative decay, of |v| a step."""
    formula = sf.theory.escape_rate("usam")
    return float(sf.theory.evaluate(formula, lam=lam, rho=rho, lr=lr))


def edge(lr: float, rho: float) -> float:
    """Return the largest λ that USAM keeps, η U(λ) = 2."""
    return float(sf.theory.evaluate(sf.theory.edge("usam"), rho=rho, lr=lr))


def draw(record: Any) -> Figure:
    """Draw the orbit in the plane, and displacement and loss against the step."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.75)
        plane, series = figure.subplots(1, 2)
        _draw_plane(plane, record.shown)
        _draw_series(series, record.shown)
        panel_letter(plane, "a")
        panel_letter(series, "b")
        plots.legend_below(figure, [plane, series], columns=5)
    return figure


def _draw_plane(ax: Axes, shown: Any) -> None:
    lr, rho, path, loss = shown
    system = sf.Map(sf.losses.valley(), sf.USAM(rho=rho), lr=lr)
    draw_frame(ax, system, BOX)
    plots.draw_levels(ax, plots.sample_field(system, BOX), system, levels=10)
    turn = int(np.argmax(loss))
    for part, colour, label in (
        (path[: turn + 1], VERMILION, "escape"),
        (path[turn:], BLUE, "convergence"),
    ):
        ax.plot(*part.T, color=colour, linewidth=0.7, marker=".", markersize=3.5, label=label)
    ax.axhline(0, color=BLACK, linewidth=0.8, zorder=1.5, label="minima")
    look: dict[str, Any] = {"color": GREEN, "linestyle": ":", "linewidth": 1.3, "zorder": 1.6}
    ax.axvline(np.sqrt(edge(lr, rho) - 1), label="edge of stability", **look)


def _draw_series(ax: Axes, shown: Any) -> None:
    lr, rho, path, loss = shown
    steps, v = np.arange(len(loss)), np.abs(path[:, 1])
    ax.semilogy(steps, v, color=BLACK, linewidth=1.1, label="displacement $|v|$")
    ax.semilogy(steps, loss, color=ORANGE, linewidth=1.1, label="loss $L$")
    turn = int(np.argmax(loss))
    look: dict[str, Any] = {"color": GREY, "linestyle": "--", "linewidth": 1.0}
    for part, lam, text, side, place in (
        (steps[: turn - 2], sharpness(path[0]), r"slope $\log\,2$", "right", (-3, 5)),
        (steps[turn + 3 :], sharpness(path[-1]), "slope ${:.3f}$", "left", (4, 3)),
    ):
        line = _SHIFT * v[part[0]] * np.exp(rate(lam, lr, rho) * (part - part[0]))
        ax.semilogy(part, line, label="predicted slope", **look)
        middle = len(part) // 2
        at = {"xy": (part[middle], line[middle]), "xytext": place, "ha": side}
        ax.annotate(text.format(rate(lam, lr, rho)), textcoords="offset points", fontsize=7, **at)
    ax.set(xlabel="step", xlim=(0, steps[-1]), ylim=(1e-20, 1e2))
