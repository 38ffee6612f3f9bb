"""Landscapes on digits: a trajectory's plane, and where SAM's hold ends along eigenvectors."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import plots
from samflow.plots.style import BLACK, BLUE, DOUBLE_COLUMN, GREEN, GREY, VERMILION, panel_letter

NAME = "landscapes"
STUDIES = ("landscapes",)
ALT = (
    "Left, level sets of the loss in a plane with the curved path of a training that ends at the "
    "centre. Middle, the loss along an eigenvector beside its parabola, with two upright lines. "
    "Right, dots of ρ over the size of the eigenvalue, along a line, above a dotted one."
)
_LEVELS = 12
_EVERY = 2


def draw(record: Any) -> Figure:
    """Draw the three panels."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.75)
        plane, slice_, ends = figure.subplots(1, 3)
        _draw_plane(plane, record.plane)
        _draw_slice(slice_, record)
        _draw_ends(ends, record)
        for ax, letter in ((plane, "a"), (slice_, "b"), (ends, "c")):
            panel_letter(ax, letter)
        plots.legend_below(figure, (plane, slice_, ends), columns=4)
    return figure


def caption(record: Any) -> str:
    """Say what is drawn, with the numbers of the record."""
    found, lam = record.plane, record.slices.curvatures[1]
    return (
        "Landscapes of networks on 300 digits. (a) Loss of a perceptron with "
        f"{found.directions.shape[1]:,} weights in the plane of the principal axes of GD's "
        f"trajectory about its end; the plane holds {100 * found.shares.sum():.3g} % of the "
        f"squared distances from the end, where that of a random walk holds "
        f"{100 * found.walk_share:.3g} %. States are off the plane by up to "
        f"{found.path_distances.max():.2g}. (b) At the end, where ‖g‖ = "
        f"{found.gradient_norm:.2g}, the slice along the eigenvector of the lowest eigenvalue "
        f"λ = {lam:.3g}, with its parabola, and the ρ at which S along it ends to be positive, to "
        "both sides: SAM's hold along the direction ends where the slice has its minima. (c) Two "
        "linear layers at zero on the same data: the ρ at which S ends to be positive along the "
        "eigenvectors of −σ, sampled, and √(2σ/vᵀΣv); dotted, the end of the least S found in any "
        "direction."
    )


def _draw_plane(ax: Axes, found: Any) -> None:
    first, second = found.grid
    low = float(found.plane.min())
    levels = np.geomspace(low, np.quantile(found.plane, 0.97), _LEVELS + 1)[1:]
    ax.contour(first, second, found.plane, levels, colors=GREY, linewidths=0.6)
    ax.plot([], [], color=GREY, linewidth=0.6, label="levels of the loss")
    ax.plot(*found.path.T, color=BLUE, linewidth=0.7, label="trajectory of GD, projected")
    look: Any = {"linestyle": "none", "marker": "o", "color": BLUE, "markersize": 1.8}
    ax.plot(*found.path[::_EVERY].T, **look)
    ax.plot(0, 0, "o", color=BLACK, markersize=3.5)
    for set_label, name, share in (
        (ax.set_xlabel, "first principal axis", found.shares[0]),
        (ax.set_ylabel, "second principal axis", found.shares[1]),
    ):
        set_label(f"{name}, {100 * share:.3g} %")


def _draw_slice(ax: Axes, record: Any) -> None:
    found = record.lowest
    offsets, heights = found.offsets[0], found.slices[0]
    ax.plot(offsets, heights, color=BLACK, label="loss along the lowest eigenvector")
    ax.plot(offsets, found.parabola[0], "--", color=VERMILION, label="parabola")
    for place in (-record.ends[0], record.ends[1]):
        ax.axvline(place, color=GREEN, linewidth=0.8, label="S turns negative at this ρ")
    margin = 0.1 * np.ptp(heights)
    ax.set_ylim(heights.min() - margin, heights.max() + margin)
    ax.set(xlim=(offsets[0], offsets[-1]), xlabel="distance from the weights", ylabel="loss")


def _draw_ends(ax: Axes, record: Any) -> None:
    strengths = np.abs(record.values)
    order = np.argsort(strengths)
    look: Any = {"linestyle": "none", "marker": "o", "markersize": 4, "fillstyle": "none"}
    ax.plot(
        strengths[order],
        record.closed_ends[order],
        "x",
        color=BLACK,
        markersize=3.5,
        label="closed form",
    )
    ax.plot(strengths, record.saddle_ends, color=VERMILION, label="sampled", **look)
    ax.axhline(record.saddle_window, color=GREEN, linestyle=":", label="least S of all directions")
    ax.set(xscale="log", xlabel=r"$\sigma = |\lambda|$", ylabel=r"$\rho$ at which the hold ends")
    ax.set_ylim(bottom=0)
