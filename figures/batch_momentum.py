"""Test accuracy and training loss against SAM's radius, by batch size and momentum."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.batch_momentum import FULL, SMALL, Cell, Run, Settings, column, interval, runs
from analysis.batch_momentum import SMALL_SIZE as SMALL_SIZE
from analysis.size import Size
from samflow import plots
from samflow.plots.style import BLACK, BLUE, DOUBLE_COLUMN, GREY, VERMILION, panel_letter

NAME = "batch-momentum"
CAPTION = (
    "A residual network without batch norm (stages of 8 and 16 channels, tanh, cross-entropy) on "
    f"{FULL.num_train} digits for {FULL.epochs} epochs, lr {FULL.lr:g}; ρ = 0 is SGD. Accuracy on "
    f"{FULL.num_test} other digits with batches of (a) {FULL.batch_sizes[0]} and (b) "
    f"{FULL.batch_sizes[-1]}, and (c) the training loss with the latter: means of "
    f"{FULL.num_seeds} seeds (dots) with 95 % intervals of Student's t. With large batches and "
    "no momentum SAM falls behind SGD as ρ grows, and momentum brings it back. Dashed: momentum "
    f"{FULL.momenta[-1]:g} at lr {FULL.control_lr:.2g}, the same lr/(1 − momentum) as without: "
    "it brings nothing back, so that the longer step does it. With small batches momentum 0.9 is "
    "unsteady at this lr. After Kim et al. (arXiv "
    "2301.06308)."
)
COLOURS = {0.0: BLACK, 0.5: BLUE, 0.9: VERMILION}
_MARKS = {0.0: "o", 0.5: "s", 0.9: "D"}
_SHIFT = 0.004
"""Between the lines of one panel, so that their bars do not lie on each other."""


def draw(size: Size) -> Figure:
    """Draw the table; at the small size, of large batches only."""
    settings = SMALL if size is Size.small else FULL
    found = runs(size)
    panels = [(size, "accuracy") for size in settings.batch_sizes]
    panels.append((settings.batch_sizes[-1], "loss"))
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.6)
        axes = figure.subplots(1, len(panels))
        for letter, ax, (batch_size, quantity) in zip("abc", axes, panels, strict=False):
            _draw_panel(ax, found, settings, batch_size, quantity)
            panel_letter(ax, letter)
        # The dashed line is in the last panels only, and so they are asked first.
        plots.legend_below(figure, list(axes)[::-1], columns=5)
    return figure


def _draw_panel(
    ax: Axes, found: tuple[Run, ...], settings: Settings, batch_size: int, quantity: str
) -> None:
    scale = 100.0 if quantity == "accuracy" else 1.0
    lines = [(momentum, settings.lr) for momentum in settings.momenta]
    lines.append((settings.momenta[-1], settings.control_lr))
    for place, (momentum, lr) in enumerate(lines):
        of_line = [Cell(batch_size, momentum, rho, lr) for rho in settings.rhos]
        values = [column(found, cell, quantity) for cell in of_line]
        if not all(len(each) for each in values):
            continue
        means = [interval(each) for each in values]
        control = lr != settings.lr
        x = np.array(settings.rhos) + _SHIFT * (place - 1)
        middle, half = (scale * np.array(part) for part in zip(*means, strict=True))
        ax.errorbar(
            x, middle, half, fmt="none", ecolor=COLOURS[momentum], elinewidth=0.8, capsize=2
        )
        for at, each in zip(x, values, strict=True):
            ax.plot(at + 0 * each, scale * each, ".", color=COLOURS[momentum], alpha=0.3, ms=3)
        ax.plot(
            x,
            middle,
            color=COLOURS[momentum],
            marker=_MARKS[momentum],
            markerfacecolor="white" if control else COLOURS[momentum],
            markersize=3.5,
            linewidth=1.1,
            linestyle="--" if control else "-",
            label=f"momentum {momentum:g}" + (f", lr {lr:.2g}" if control else ""),
        )
    if quantity == "accuracy":
        ax.axhline(10, color=GREY, linewidth=0.9, linestyle=":", label="chance")
        ax.set(ylim=(0, 100), ylabel=f"test accuracy (%), batches of {batch_size}")
    else:
        ax.set(ylim=(0, None), ylabel=f"training loss, batches of {batch_size}")
    ax.set(xlabel=r"SAM's radius $\rho$", xticks=settings.rhos)
