"""Adversarial training for the last epochs: errors and sharpness by their number."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import plots
from samflow.plots.style import BLUE, DOUBLE_COLUMN, GREY, VERMILION, panel_letter

NAME = "late-attack"
STUDIES = ("late-attack",)
ALT = (
    "Three panels over the number of adversarial epochs at the end: the error under attack "
    "falls, the error without attack rises, and the largest eigenvalue has wide error bars."
)


class Look(NamedTuple):
    """How the curves of one training are drawn; moved a little, so that bars lie side by side."""

    colour: str
    marker: str
    moved: float
    shape: str


LOOKS = (Look(BLUE, "s", -0.05, "squares"), Look(VERMILION, "o", 0.05, "circles"))
"""Of the short training and the long one."""
_PANELS = {
    "adversarial_error": ("test error under attack (%)", 100.0),
    "test_error": ("test error without attack (%)", 100.0),
    "sharpness": (r"sharpness $\lambda_{\max}$", 1.0),
}
"""Label and scale of each quantity."""


def draw(record: Any) -> Figure:
    """Draw the errors and the sharpness of each training."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.7)
        axes = figure.subplots(1, 3)
        looks = list(zip(record.trainings, LOOKS, strict=False))
        for letter, ax, (quantity, (label, scale)) in zip(
            "abc", axes, _PANELS.items(), strict=True
        ):
            for training, look in looks:
                _draw_curve(ax, training, look, quantity, scale)
            late = f"late: the last 1/{record.late_part}"
            ax.plot([], [], looks[-1][1].marker, color=GREY, markersize=4, label=late)
            ticks = sorted({arm for training, _ in looks for arm in training.arms} - {16})
            ticks = ticks if len(looks) > 1 else [*ticks, 16]
            ax.set_xticks(_place(ticks), [str(tick) for tick in ticks])
            ax.set(xlabel="adversarial epochs at the end", ylabel=label)
            panel_letter(ax, letter)
        axes[2].set_ylim(0, None)
        plots.legend_below(figure, list(axes), columns=3)
    return figure


def caption(record: Any) -> str:
    """Say what is drawn."""
    drawn = list(zip(record.trainings, LOOKS, strict=False))
    lengths = " or ".join(f"{t.settings.epochs} epochs ({look.shape})" for t, look in drawn)
    return (
        f"{record.about}. Training takes {lengths}; the axis gives the number of epochs at the end "
        "that are adversarial, on the scale of log(1 + epochs). 0 is standard training; at the "
        f"last mark of a curve all epochs are adversarial. Filled: the last 1/{record.late_part} "
        "of the epochs. (a) Test error under the attack, (b) test error without, (c) largest "
        "eigenvalue of the Hessian of the training loss without attack. Lines are means over "
        f"{record.num_seeds} seeds (dots) with 95 % Student intervals. All points share their "
        "seeds, so that differences are known more precisely than the intervals show. "
        f"{' '.join(_share(training) for training, _ in drawn)} After Zhou et al. (arXiv "
        "2410.10373)."
    )


def _share(training: Any) -> str:
    epochs, late = training.settings.epochs, training.settings.late
    never, some, all_along = (
        training.means["adversarial_error", arm].mean for arm in (0, late, epochs)
    )
    last = "epoch" if late == 1 else f"{late} epochs"
    gives = "gives" if late == 1 else "give"
    return (
        f"The last {last} of {epochs} {gives} {(never - some) / (never - all_along):.0%} of the "
        "robustness that all epochs give."
    )


def _draw_curve(ax: Axes, training: Any, look: Look, quantity: str, scale: float) -> None:
    values = [scale * training.values[quantity, arm] for arm in training.arms]
    means = [training.means[quantity, arm] for arm in training.arms]
    middle, half = scale * np.array(means).T
    x, late = _place(training.arms) + look.moved, training.arms.index(training.settings.late)
    for at, each in zip(x + 2 * look.moved, values, strict=True):
        ax.plot(0 * each + at, each, ".", color=look.colour, alpha=0.35, markersize=2.5)
    ax.errorbar(x, middle, half, fmt="none", ecolor=look.colour, elinewidth=0.8, capsize=2)
    marked: Any = {"color": look.colour, "marker": look.marker, "ms": 4, "linewidth": 1.1}
    ax.plot(
        x,
        middle,
        markerfacecolor="white",
        label=f"{training.settings.epochs} epochs in all",
        **marked,
    )
    ax.plot(x[late], middle[late], **marked)


def _place(epochs: Sequence[int]) -> np.ndarray:
    return np.log2(1 + np.array(epochs))
