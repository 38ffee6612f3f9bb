"""Saddles that symmetry makes in networks: how fast USAM leaves, and which rho holds it."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import samflow as sf
from analysis.symmetry_saddles import DEGENERATE_LR, DEGENERATE_RHOS, SIGMA, degenerate, saddles
from samflow import plots
from samflow.networks.saddles.holding import departure, holding_threshold
from samflow.networks.saddles.symmetries import SymmetrySaddle
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
CAPTION = (
    "Saddles that symmetry makes in networks. (a) Rate at which the displacement along the weakest "
    "negative eigenvalue λ₋ grows under USAM, in units of η|λ₋|, measured on orbits (markers) and "
    "1 − ρ|λ₋| (line), to which log(1 + η|λ₋|(1 − ρ|λ₋|))/η|λ₋| tends for small η; at ρ = 0 it is "
    "gradient descent. (b) The bisection on orbits: each ρ tried, held (filled) or left (open). "
    "(c) Three linear layers at zero, where the Hessian vanishes: the distance from zero over the "
    "steps. No ρ holds the orbit there; USAM stalls where w + ρg(w) = 0, at distance √3/(ρσ) "
    "(dashed)."
)

PARTS = tuple(float(part) for part in np.linspace(0, 1.6, 9))
SHIFT = 0.05
"""By which the saddles' markers are set apart."""
MARKS = (("o", BLUE), ("s", VERMILION), ("^", GREEN), ("D", PURPLE))
NUM_STEPS = 20_000
DISTANCE = 2e-3


def step_size(saddle: SymmetrySaddle) -> float:
    """Return an lr small enough for the slope of panel (a), and for λmax at the largest rho."""
    return min(0.3 * saddle.largest_lr, 0.02 / abs(saddle.weakest))


def rates(saddle: SymmetrySaddle, parts: np.ndarray) -> np.ndarray:
    """Return the measured rate over η|λ₋| at each ρ|λ₋| of `parts`."""
    lr, found = step_size(saddle), []
    for part in parts:
        system = sf.Map(saddle.loss, sf.USAM(rho=part / abs(saddle.weakest)), lr=lr)  # pyright: ignore
        found.append(departure(saddle, system, along=saddle.direction).rate)
    return np.array(found) / (lr * abs(saddle.weakest))


def draw() -> Figure:
    """Draw rates, bisections, and the saddle without a threshold."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.75)
        left, middle, right = figure.subplots(1, 3)
        left.axhline(0, color=GREY, linewidth=0.6)
        left.axvline(1, color=GREY, linewidth=0.6)
        left.plot([0, 1.75], [1, -0.75], color=BLACK, label=r"theory, $1-\rho|\lambda_{-}|$")
        middle.axhline(1, color=BLACK, zorder=0)
        for i, ((name, saddle), (marker, colour)) in enumerate(
            zip(saddles().items(), MARKS, strict=True)
        ):
            parts = np.array(PARTS) + i * SHIFT
            style = {"marker": marker, "color": colour, "linestyle": "none", "markersize": 3.5}
            left.plot(parts, rates(saddle, parts), **style, label=name, fillstyle="none")  # pyright: ignore
            _bisection(middle, saddle, marker, colour)
        left.set(xlabel=r"$\rho|\lambda_{-}|$", ylabel=r"growth rate / $\eta|\lambda_{-}|$")
        middle.set(xlabel="orbit", ylabel=r"$\rho|\lambda_{-}|$ tried", yscale="log")
        middle.set_ylim(0.04, 2)
        middle.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2], ["0.05", "0.1", "0.2", "0.5", "1", "2"])
        middle.minorticks_off()
        _order_three(right)
        for ax, letter in ((left, "a"), (middle, "b"), (right, "c")):
            panel_letter(ax, letter)
        plots.legend_below(figure, (left,), columns=5)
    return figure


def _bisection(ax: Axes, saddle: SymmetrySaddle, marker: str, colour: str) -> None:
    found = holding_threshold(saddle, lr=0.5 * saddle.largest_lr)
    parts, held = np.asarray(found.tried) * abs(saddle.weakest), np.asarray(found.held)
    number = np.arange(len(parts))
    ax.plot(number[1:], parts[1:], color=colour, linewidth=0.5, alpha=0.5)
    style = {"marker": marker, "color": colour, "linestyle": "none", "markersize": 3.5}
    ax.plot(number[held], parts[held], **style)  # pyright: ignore[reportArgumentType]
    left = ~held & (parts > 0)  # gradient descent has no place on a logarithmic axis
    ax.plot(number[left], parts[left], **style, markerfacecolor="white")  # pyright: ignore


def _order_three(ax: Axes) -> None:
    saddle, along = degenerate()
    colours = (BLACK, ORANGE, BLUE, PURPLE)
    for rho, colour in zip((0.0, *DEGENERATE_RHOS), colours, strict=True):
        system = sf.Map(saddle.loss, sf.USAM(rho=rho), lr=DEGENERATE_LR)  # pyright: ignore
        moved = departure(saddle, system, along=along, distance=DISTANCE, num_steps=NUM_STEPS)
        ax.plot(moved.steps[1:], moved.sizes[1:], color=colour)
        text = rf"$\rho={rho:g}$" if rho else "GD"
        height = moved.sizes[-1]
        ax.annotate(
            text, (NUM_STEPS, height), (-2, 3), textcoords="offset points", ha="right", color=colour
        )
        if rho:
            ax.axhline(np.sqrt(3) / (rho * SIGMA), color=colour, linewidth=0.7, linestyle="--")
    ax.set(xscale="log", yscale="log", xlabel="step", ylabel=r"distance from zero")
    ax.set_xlim(50, NUM_STEPS)
    ax.set_ylim(DISTANCE, 6)
