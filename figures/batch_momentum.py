"""Test accuracy and training loss against SAM's radius, by batch size and momentum."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import plots
from samflow.plots.style import BLACK, BLUE, DOUBLE_COLUMN, GREY, VERMILION, panel_letter

NAME = "batch-momentum"
STUDIES = ("batch-momentum",)
ALT = (
    "Test accuracy and training loss over the radius of SAM, with one curve for each momentum "
    "and error bars."
)
COLOURS = {0.0: BLACK, 0.5: BLUE, 0.9: VERMILION}
_MARKS = {0.0: "o", 0.5: "s", 0.9: "D"}
_SHIFT = 0.004
"""Between the lines of one panel, so that their bars do not lie on each other."""


def draw(record: Any) -> Figure:
    """Draw the table: the accuracy for each batch size, and the loss for the largest."""
    settings = record.settings
    panels = [(size, "accuracy") for size in settings.batch_sizes]
    panels.append((settings.batch_sizes[-1], "loss"))
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.6)
        axes = figure.subplots(1, len(panels))
        for letter, ax, (batch_size, quantity) in zip("abc", axes, panels, strict=False):
            _draw_panel(ax, record, batch_size, quantity)
            panel_letter(ax, letter)
        # The dashed line is in the last panels only, and so they are asked first.
        plots.legend_below(figure, list(axes)[::-1], columns=5)
    return figure


def caption(record: Any) -> str:
    """Say what is drawn."""
    settings = record.settings
    *letters, last = "abc"[: len(settings.batch_sizes) + 1]
    by_size = " and ".join(
        f"({letter}) {size}" for letter, size in zip(letters, settings.batch_sizes, strict=True)
    )
    text = (
        f"A residual network without batch norm (stages of {_listed(settings.widths)} channels, "
        f"{settings.activation}, cross-entropy) on {settings.num_train} {settings.images} for "
        f"{settings.epochs} epochs, lr {settings.lr:g}; ρ = 0 is SGD. Test accuracy on "
        f"{settings.num_test} other images with batches of {by_size}; ({last}) training loss with "
        f"batches of {settings.batch_sizes[-1]}. Lines are means over {settings.num_seeds} seeds "
        "(dots), with 95 % Student intervals."
    )
    if record.has_control:
        text += (
            f" Dashed: momentum {settings.momenta[-1]:g} at lr {settings.control_lr:.2g}, which "
            "has the same lr/(1 − momentum) as no momentum."
        )
    return f"{text} After Kim et al. (arXiv 2301.06308)."


def _listed(values: tuple[int, ...]) -> str:
    return " and ".join(str(value) for value in values)


def _draw_panel(ax: Axes, record: Any, batch_size: int, quantity: str) -> None:
    settings = record.settings
    scale = 100.0 if quantity == "accuracy" else 1.0
    lines = [(momentum, settings.lr) for momentum in settings.momenta]
    lines.append((settings.momenta[-1], settings.control_lr))
    cells = {(c.batch_size, c.momentum, c.rho, c.lr): c for c, of in record.means if of == quantity}
    for place, (momentum, lr) in enumerate(lines):
        of_line = [cells.get((batch_size, momentum, rho, lr)) for rho in settings.rhos]
        if None in of_line:
            continue
        values = [record.column(cell, quantity) for cell in of_line]
        means = [record.means[cell, quantity] for cell in of_line]
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
