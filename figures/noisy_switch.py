"""SAM for the last epochs, and the reverse: sharpness, loss and test error against the epoch."""

from typing import Any

import numpy as np
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.noisy_switch import LR, MOMENTUM, NUM_SEEDS, RHO, TRUNK, History, histories
from samflow import plots
from samflow.plots.style import BLACK, BLUE, DOUBLE_COLUMN, GREEN, GREY, VERMILION, panel_letter

NAME = "noisy-switch"
CAPTION = (
    f"An MLP (64–32–10, tanh, squared loss) on 500 digits, batches of 32, lr {LR:g}, momentum "
    f"{MOMENTUM:g}; SAM with ρ = {RHO:g}. At epoch {TRUNK[-1]} (dotted) two of the four arms "
    f"change their rule. (a) Largest eigenvalue of the Hessian, (b) training loss, (c) error on "
    f"797 test digits: means of {NUM_SEEDS} seeds with 95 % intervals of Student's t. Five epochs "
    "of SAM take off about half of SGD's excess in sharpness, five of SGD give less of it back; on "
    "this network SAM's slower fit costs test error. After Zhou et al. (arXiv 2410.10373), "
    "figure 1."
)
COLOURS = {"SGD": BLACK, "SGD→SAM": VERMILION, "SAM": BLUE, "SAM→SGD": GREEN}


def draw() -> Figure:
    """Draw the three quantities along the four arms."""
    found = histories()
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.6)
        axes = figure.subplots(1, 3)
        _draw_panel(axes[0], found, "sharpness", 1.0, r"sharpness $\lambda_{\max}$")
        _draw_panel(axes[1], found, "loss", 1.0, "training loss")
        _draw_panel(axes[2], found, "error", 100.0, "test error (%)")
        for letter, ax in zip("abc", axes, strict=True):
            panel_letter(ax, letter)
        plots.legend_below(figure, list(axes), columns=5)
    return figure


def _draw_panel(
    ax: Axes, found: dict[str, History], quantity: str, scale: float, label: str
) -> None:
    for name, history in found.items():
        values = scale * getattr(history, quantity)
        middle = values.mean(axis=1)
        quantile = scipy.stats.t.ppf(0.975, NUM_SEEDS - 1)
        half = quantile * values.std(axis=1, ddof=1) / np.sqrt(NUM_SEEDS)
        # The arms share their trunks: those that change begin at the switch.
        first = len(TRUNK) - 1 if "→" in name else 0
        look: dict[str, Any] = {"color": COLOURS[name], "linewidth": 1.2, "markersize": 3}
        x = history.epochs[first:]
        ax.plot(x, middle[first:], "o-", label=name.replace("→", r"$\to$"), **look)
        ax.fill_between(
            x,
            (middle - half)[first:],
            (middle + half)[first:],
            color=COLOURS[name],
            alpha=0.15,
            linewidth=0,
        )
    ax.axvline(TRUNK[-1], color=GREY, linewidth=0.9, linestyle=":", label="switch")
    ax.set(xlabel="epoch", ylabel=label)
