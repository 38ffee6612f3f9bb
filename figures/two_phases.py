"""The valley ½(1 + u²)v²: escape from a sharp minimum, convergence to a flatter one."""

from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import samflow as sf
from samflow import plots
from samflow.orbits.iterate import Orbit
from samflow.plots.portrait import draw_frame
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
CAPTION = (
    "USAM switched on at the minimum (2, 0) of ½(1 + u²)v², η = 0.3, ρ = 0.2, sharpness "
    "λ = 1 + u² = 5: GD would stay (ηλ = 1.5 < 2), USAM leaves (ηλ(1 + ρλ) = 3 > 2). (a) The "
    "orbit, alternating in v, moves into the flatter part and stops at λ = 1.509, far below the "
    "edge of stability 3.79 (dotted). (b) Displacement and loss against the step: it escapes at "
    "the predicted rate log|1 − ηU(5)| = log 2 a step and converges at log|1 − ηU(1.509)| = −0.890 "
    "(dashed: slopes from theory, shifted). After Zhou et al. (arXiv 2410.10373); rates derived in "
    "docs/theory.md."
)

LR, RHO, START = 0.3, 0.2, (2.0, 1e-8)
NUM_STEPS = 60
_SHIFT = 30.0
"""How far above the measured line the predicted slope is drawn."""
BOX = ((0.45, 2.25), (-1.15, 1.15))


def system() -> sf.Map:
    """Return the map that is drawn."""
    return sf.Map(sf.losses.valley(), sf.USAM(rho=RHO), lr=LR)


def orbit() -> Orbit:
    """Return the orbit after the switch, from a displacement of 10⁻⁸."""
    return sf.iterate(system(), np.array(START), num_steps=NUM_STEPS, keep_every=1)


def sharpness(w: np.ndarray) -> float:
    """Return λ = 1 + u² at the minimum next to `w`."""
    return float(1 + w[0] ** 2)


def rate(lam: float) -> float:
    """Return the predicted log|1 − ηU(λ)|: growth, or if negative decay, of |v| a step."""
    formula = sf.theory.escape_rate("usam")
    return float(sf.theory.evaluate(formula, lam=lam, rho=RHO, lr=LR))


def edge() -> float:
    """Return the largest λ that USAM keeps, η U(λ) = 2."""
    return float(sf.theory.evaluate(sf.theory.edge("usam"), rho=RHO, lr=LR))


def draw() -> Figure:
    """Draw the orbit in the plane, and displacement and loss against the step."""
    path = orbit().w
    loss = np.asarray(jax.vmap(system().loss)(path))
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.75)
        plane, series = figure.subplots(1, 2)
        _draw_plane(plane, np.asarray(path), loss)
        _draw_series(series, np.asarray(path), loss)
        panel_letter(plane, "a")
        panel_letter(series, "b")
        plots.legend_below(figure, [plane, series], columns=5)
    return figure


def _draw_plane(ax: Axes, path: np.ndarray, loss: np.ndarray) -> None:
    draw_frame(ax, system(), BOX)
    plots.draw_levels(ax, plots.sample_field(system(), BOX), system(), levels=10)
    turn = int(np.argmax(loss))
    for part, colour, label in (
        (path[: turn + 1], VERMILION, "escape"),
        (path[turn:], BLUE, "convergence"),
    ):
        ax.plot(*part.T, color=colour, linewidth=0.7, marker=".", markersize=3.5, label=label)
    ax.axhline(0, color=BLACK, linewidth=0.8, zorder=1.5, label="minima")
    look: dict[str, Any] = {"color": GREEN, "linestyle": ":", "linewidth": 1.3, "zorder": 1.6}
    ax.axvline(np.sqrt(edge() - 1), label="edge of stability", **look)


def _draw_series(ax: Axes, path: np.ndarray, loss: np.ndarray) -> None:
    steps, v = np.arange(len(loss)), np.abs(path[:, 1])
    ax.semilogy(steps, v, color=BLACK, linewidth=1.1, label="displacement $|v|$")
    ax.semilogy(steps, loss, color=ORANGE, linewidth=1.1, label="loss $L$")
    turn = int(np.argmax(loss))
    look: dict[str, Any] = {"color": GREY, "linestyle": "--", "linewidth": 1.0}
    for part, lam, text, side, place in (
        (steps[: turn - 2], sharpness(path[0]), r"slope $\log\,2$", "right", (-3, 5)),
        (steps[turn + 3 :], sharpness(path[-1]), "slope ${:.3f}$", "left", (4, 3)),
    ):
        line = _SHIFT * v[part[0]] * np.exp(rate(lam) * (part - part[0]))
        ax.semilogy(part, line, label="predicted slope", **look)
        middle = len(part) // 2
        at = {"xy": (part[middle], line[middle]), "xytext": place, "ha": side}
        ax.annotate(text.format(rate(lam)), textcoords="offset points", fontsize=7, **at)
    ax.set(xlabel="step", xlim=(0, NUM_STEPS), ylim=(1e-20, 1e2))
