"""Adversarial training for the last epochs: errors and sharpness against how many they are."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.late_attack import (
    BATCH_SIZE,
    EPSILON,
    FULL,
    LATE_PART,
    LR,
    MOMENTUM,
    NUM_SEEDS,
    NUM_TEST,
    NUM_TRAIN,
    SMALL,
    column,
    settings,
)
from analysis.late_attack import SMALL_SIZE as SMALL_SIZE
from analysis.size import Size
from analysis.statistics import interval
from samflow import plots
from samflow.plots.style import BLUE, DOUBLE_COLUMN, GREY, VERMILION, panel_letter

NAME = "late-attack"
CAPTION = (
    f"An MLP (64–32–10, tanh, cross-entropy) on {NUM_TRAIN} digits, batches of {BATCH_SIZE}, lr "
    f"{LR:g}, momentum {MOMENTUM:g}, trained for {FULL.epochs} epochs (circles) or "
    f"{SMALL.epochs} (squares), of which the last are adversarial: ten steps of PGD within "
    f"{EPSILON:g} in the maximum norm, pixels in [0, 1]. The axis says how many, on the scale of "
    "log(1 + epochs); 0 is standard training, the last mark of a curve adversarial training all "
    f"along. Filled: late, the last 1/{LATE_PART} of the epochs. (a) Error on {NUM_TEST} other "
    "digits under the attack and (b) without, (c) largest eigenvalue of the Hessian of the "
    f"training loss without attack: means of {NUM_SEEDS} seeds (dots) with 95 % intervals of "
    "Student's t; arms share their seeds, so that differences are known better. The last "
    f"{FULL.late} of {FULL.epochs} epochs give most of the robustness, the last of {SMALL.epochs} "
    "a third. What late epochs cost in error without attack and in sharpness, longer adversarial "
    "training takes back if there is time. After Zhou et al. (arXiv 2410.10373)."
)


class Look(NamedTuple):
    """How the curves of one training are drawn; moved a little, so that bars lie side by side."""

    colour: str
    marker: str
    moved: float


LOOKS = {Size.small: Look(BLUE, "s", -0.05), Size.full: Look(VERMILION, "o", 0.05)}
_PANELS = {
    "adversarial_error": ("test error under attack (%)", 100.0),
    "test_error": ("test error without attack (%)", 100.0),
    "sharpness": (r"sharpness $\lambda_{\max}$", 1.0),
}
"""Label and scale of each quantity."""


def draw(size: Size) -> Figure:
    """Draw the errors and the sharpness; at the small size, of the short training only."""
    sizes = (Size.small, Size.full) if size is Size.full else (Size.small,)
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.7)
        axes = figure.subplots(1, 3)
        for letter, ax, (quantity, (label, scale)) in zip(
            "abc", axes, _PANELS.items(), strict=True
        ):
            for each in sizes:
                _draw_curve(ax, each, quantity, scale)
            late = f"late: the last 1/{LATE_PART}"
            ax.plot([], [], LOOKS[size].marker, color=GREY, markersize=4, label=late)
            _finish(ax, label, settings(size).epochs)
            panel_letter(ax, letter)
        axes[2].set_ylim(0, None)
        plots.legend_below(figure, list(axes), columns=3)
    return figure


def _draw_curve(ax: Axes, size: Size, quantity: str, scale: float) -> None:
    (epochs, tails), look = settings(size), LOOKS[size]
    arms = (0, *tails, epochs)
    values = [scale * column(size, quantity, arm) for arm in arms]
    middle, half = np.array([interval(each) for each in values]).T
    x, late = _place(arms) + look.moved, arms.index(settings(size).late)
    for at, each in zip(x + 2 * look.moved, values, strict=True):
        ax.plot(0 * each + at, each, ".", color=look.colour, alpha=0.35, markersize=2.5)
    ax.errorbar(x, middle, half, fmt="none", ecolor=look.colour, elinewidth=0.8, capsize=2)
    marked: Any = {"color": look.colour, "marker": look.marker, "ms": 4, "linewidth": 1.1}
    ax.plot(x, middle, markerfacecolor="white", label=f"{epochs} epochs in all", **marked)
    ax.plot(x[late], middle[late], **marked)


def _place(epochs: Sequence[int]) -> np.ndarray:
    return np.log2(1 + np.array(epochs))


def _finish(ax: Axes, label: str, epochs: int) -> None:
    ticks = (0, *FULL.tails, FULL.epochs) if epochs == FULL.epochs else (0, 1, 2, 5, 10, epochs)
    ax.set_xticks(_place(ticks), [str(tick) for tick in ticks])
    ax.set(xlabel="adversarial epochs at the end", ylabel=label)
