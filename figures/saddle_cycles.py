"""Which saddles hold normalised SAM: boundaries by theory over simulated orbits."""

from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from samflow import plots
from samflow.plots.style import BLACK, DOUBLE_COLUMN, ORANGE, SKY, VERMILION

NAME = "saddle-cycles"
STUDIES = ("saddle-cycles",)
ALT = (
    "A square of coloured cells over the two eigenvalues; the colours change along the drawn "
    "lines of theory."
)
COLOURS = ("#f2f2f2", SKY, ORANGE)
"""Of what the study calls leaves, cycle and trap: 0, 1, 2."""


def caption(record: Any) -> str:
    """Say what the colours and lines are."""
    steps, pixels = record.plane.steps, record.plane.codes.shape
    return (
        "Normalised SAM on ½(λ₁x² − |λ₋|y²). Colour: fate of the orbit from a random start at "
        f"distance ρ/1000 from the saddle, after {steps:,} steps ({pixels[0]} by {pixels[1]} "
        "saddles). Lines: theory. Between the solid lines, ηλ₁/(2 − ηλ₁) < |λ₋|/λ₁ < 2/(2 − ηλ₁), "
        "the 2-cycle along λ₁ attracts. Between the dashed lines a ball of gradients is proved to "
        "be invariant: no orbit leaves it, and where the 2-cycle does not attract the orbit is in "
        "a trap. Above the upper dashed line, η|λ₋| = 1, the 2-cycle attracts only some starts. At "
        "the lower left, near the lower solid line, orbits leave too slowly to be seen in this "
        "number of steps. Neither ρ nor the scale of the eigenvalues matters, since the map is "
        "homogeneous."
    )


def draw(record: Any) -> Figure:
    """Draw the plane of ηλ₁ and |λ₋|/λ₁."""
    plane = record.plane
    with plots.styled():
        figure = plots.new_figure(0.62 * DOUBLE_COLUMN, 3.3)
        ax = figure.subplots()
        mesh = ax.pcolormesh(
            plane.lr, plane.ratio, plane.codes, cmap=ListedColormap(COLOURS), vmin=-0.5, vmax=2.5
        )
        mesh.set_rasterized(True)
        x = np.linspace(0.01, 1.99, 400)
        for bound in (x / (2 - x), 2 / (2 - x)):
            ax.plot(x, bound, color=BLACK, linewidth=1.3)
        ball = x / np.minimum(1, 2 - x)
        inside = ball <= 1 / x
        for bound in (ball, 1 / x):
            ax.plot(x[inside], bound[inside], color=VERMILION, linewidth=1.1, linestyle="--")
        ax.set(yscale="log", xlim=(0, 2), ylim=(plane.ratio[0], plane.ratio[-1]))
        ax.set(xlabel=r"$\eta\lambda_1$", ylabel=r"$|\lambda_{-}|/\lambda_1$")
        names = ("leaves", "2-cycle", "stays, no 2-cycle")
        handles: list[Any] = [
            Patch(facecolor=colour, edgecolor="0.6", label=name)
            for colour, name in zip(COLOURS, names, strict=True)
        ]
        handles += ax.plot([], [], color=BLACK, label="2-cycle attracts between")
        handles += ax.plot([], [], color=VERMILION, linestyle="--", label="ball invariant between")
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure
