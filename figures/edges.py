"""Sharpness over steps beside the edge of stability, a panel for each rule."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import plots
from samflow.plots.style import BLACK, DOUBLE_COLUMN, GREEN, GREY, SKY, panel_letter

NAME = "edges"
STUDIES = ("edges",)
ALT = (
    "Six panels for each network, one for each rule. In each the sharpness rises over the steps, "
    "overshoots a dashed edge, and then stays at it. In the last panel, of mini-batches, dots of "
    "the batch sharpness scatter about the edge, and the sharpness is below."
)

_COLUMNS = 3
_FORMULAS = {
    "GD": r"$2/\eta$",
    "heavy ball": r"$2(1+\beta)/\eta$",
    "USAM": r"$(\sqrt{1+8\rho/\eta}-1)/2\rho$",
    "SAM": r"with $\rho/\|g\|$",
    "Adam": r"$38/\eta$",
    "SGD": r"$2/\eta$",
}


def draw(record: Any) -> Figure:
    """Draw two rows of panels for each network."""
    with plots.styled():
        rows = 2 * len(record)
        figure = plots.new_figure(DOUBLE_COLUMN, 0.5 + 1.65 * rows)
        axes = figure.subplots(rows, _COLUMNS).flat
        letters = iter("abcdefghijklmnopqrstuvwxyz")
        for network, runs in record.items():
            for name, run in (*runs.full.items(), ("SGD", runs.noisy)):
                ax = next(axes)
                if name in ("GD", "SAM"):  # first in their rows
                    ax.set_ylabel(f"{network}\ncurvature")
                panel_letter(ax, next(letters))
                ax.set_title(f"{name}: {_FORMULAS[name]}")
                _panel(ax, run)
                if name == "GD":
                    _slow(ax, runs)
        for i, ax in enumerate(figure.axes):
            if i >= (rows - 1) * _COLUMNS:
                ax.set_xlabel("step")
        plots.legend_below(figure, figure.axes, columns=5)
    return figure


def _panel(ax: Axes, run: Any) -> None:
    scaled = np.isfinite(run.preconditioned).any()
    values = run.preconditioned if scaled else run.eigenvalues
    if np.isfinite(run.batch_sharpness).any():
        look: Any = {"color": SKY, "linestyle": "none", "marker": ".", "markersize": 2.5}
        ax.plot(run.steps, run.batch_sharpness, label="batch sharpness", zorder=1, **look)
    else:
        for i, below in enumerate(values.T[1:]):
            label = "next eigenvalues" if i == 0 else None
            ax.plot(run.steps, below, color=GREY, linewidth=0.6, label=label, zorder=1)
    ax.plot(run.steps, run.edge, color=GREEN, linestyle="--", label="edge of the rule", zorder=3)
    ax.plot(run.steps, values[:, 0], color=BLACK, linewidth=0.9, label="sharpness", zorder=2)
    late, top = float(np.median(run.edge[len(run) // 2 :])), float(np.nanmax(values))
    ax.set(xlim=(0, run.steps[-1]), ylim=(0, max(1.3 * late, 1.08 * top)))


def _slow(ax: Axes, runs: Any) -> None:
    slow = runs.slow
    times = runs.full["GD"].lr[0] / slow.lr[0]
    label = f"at η/{times:.3g}, whose edge is beyond the frame"
    ax.plot(slow.steps, slow.sharpness, color=BLACK, linestyle=":", linewidth=0.9, label=label)


def caption(record: Any) -> str:
    """Say what is drawn."""
    first = next(iter(record.values()))
    sizes = " and a ".join(f"{name} of {runs.weights:,} weights" for name, runs in record.items())
    ratios = ", ".join(f"{rule} {ratio:.3f}" for rule, ratio in first.ratios.items())
    return (
        f"Edges of stability on {first.images} digits, squared loss, tanh, full batch and one set "
        f"of random weights: a {sizes}. Sharpness is the largest eigenvalue of the Hessian H; for "
        "Adam of P^(−1/2) H P^(−1/2), P from its second moments. Each title has the curvature at "
        "which the rule flips, with β = 0.5 for heavy ball and 0.9 in Adam's first moment. SAM's "
        "edge moves with ‖g‖. Mean of sharpness over edge in the last half, for the "
        f"{next(iter(record))}: {ratios}. Five eigenvalues are shown: where several are held at "
        "the edge together, the largest lies above it. Last panel: in batches of "
        f"{first.batch_size} the batch sharpness E[gᵀHg]/E‖g‖² comes to 2/η, the sharpness stays "
        "below. After Cohen et al. (arXiv 2103.00065, 2207.14484), Long and Bartlett (arXiv "
        "2309.12488), Andreyev and Beneventano (arXiv 2412.20553)."
    )
