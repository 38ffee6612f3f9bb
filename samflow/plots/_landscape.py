"""Figure of a landscape: slices with their parabolas, the plane, and what they are evidence of."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import _checks
from samflow.plots import style

if TYPE_CHECKING:
    from samflow.landscapes import Landscape

_LEVELS = 14
_MANY_TIMES = 30.0
"""Levels are spaced evenly in the logarithm of a loss that varies by so many times."""
_NEAR = 0.1
"""A state counts as in the plane up to this part of its distance from the centre."""
_MOST_STATES = 60
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")


def landscape(
    found: "Landscape",
    *,
    title: str = "",
    size: tuple[float, float] | None = None,
    legend: str = "below",
    caption: bool = True,
) -> Figure:
    """Draw the loss on the plane and along each direction, and write below what it shows.

    Slices have the parabola of the measured slope and curvature (dashed), and dotted lines where
    the loss leaves it. In the plane lie level sets of the loss, and of a trajectory the places to
    which its states project: filled where they are near the plane, open where they are off it by
    more than a tenth of their distance from the end. Hatched: values that are not finite.

    Args:
        found: of `sf.landscape`.
        title: over the whole figure.
        size: width and height in inches; one column of a journal for one direction, two for more.
        legend: "below", "right" or "none".
        caption: whether `found.caption` is written under the panels.

    Raises:
        ArgumentError: for another record.

    """
    from samflow.landscapes import Landscape

    _checks.instance("found", found, Landscape, "Give what `sf.landscape` returns.")
    legend = _checks.known("legend", legend, style.LEGENDS)
    panels = len(found.names) + (found.plane is not None)
    width = style.COLUMN if panels == 1 else style.DOUBLE_COLUMN
    text = _MINUS.sub("\N{MINUS SIGN}", found.caption) if caption else ""
    with style.styled():
        height = (2.9 if panels == 1 else 2.6) + style.footnote_height(text, width)
        figure = style.sized_figure(size, (width, height))
        ratios = [1.25] * (found.plane is not None) + [1.0] * len(found.names)
        axes = list(figure.subplots(1, panels, width_ratios=ratios, squeeze=False).flat)
        if found.plane is not None:
            _draw_plane(axes[0], found)
        for i, ax in enumerate(axes[panels - len(found.names) :]):
            _draw_slice(ax, found, i)
        if panels > 1:
            for ax, letter in zip(axes, "abcdefgh", strict=False):
                style.panel_letter(ax, letter)
        if title:
            figure.suptitle(title, fontsize=style.RC["axes.titlesize"])
        if text:
            style.footnote(figure, text)
        style.place_legend(figure, axes, legend)
    return figure


def _draw_plane(ax: Axes, found: "Landscape") -> None:
    plane: Any = found.plane
    grid: Any = found.grid
    first, second = grid
    finite = np.isfinite(plane)
    shown = np.ma.masked_invalid(plane)
    if finite.any() and plane[finite].max() > plane[finite].min():
        levels = _levels(plane[finite])
        ax.contour(first, second, shown, levels, colors=style.GREY, linewidths=0.6)
        ax.plot([], [], color=style.GREY, linewidth=0.6, label=_level_label(levels))
    if not finite.all():
        missing = (~finite).astype(float)
        with style.styled():
            ax.contourf(first, second, missing, [0.5, 1.5], colors="none", hatches=["////"])
        ax.fill([], [], fill=False, hatch="////", linewidth=0, label="not finite")
    if found.path is not None:
        _draw_path(ax, found)
    ax.plot(
        0, 0, "o", color=style.BLACK, markersize=3.5, linestyle="none", label="weights", zorder=5
    )
    ax.set(xlim=(first[0], first[-1]), ylim=(second[0], second[-1]))
    ax.set(xlabel=_offset(found, 0), ylabel=_offset(found, 1))


def _levels(values: np.ndarray) -> np.ndarray:
    """Return levels that show the bottom: evenly spaced in the logarithm where it varies much."""
    low, high = float(values.min()), float(np.quantile(values, 0.98))
    high = high if high > low else float(values.max())
    if low > 0 and high > _MANY_TIMES * low:
        return np.geomspace(low, high, _LEVELS + 1)[1:]
    return low + (high - low) * (np.arange(1, _LEVELS + 1) / _LEVELS) ** 2


def _level_label(levels: np.ndarray) -> str:
    return f"levels of the loss, {levels[0]:.2g} to {levels[-1]:.2g}"


def _draw_path(ax: Axes, found: "Landscape") -> None:
    path, off = np.asarray(found.path), np.asarray(found.path_distances)
    ax.plot(*path.T, color=style.BLUE, linewidth=0.7, label="trajectory, projected", zorder=3)
    every = max(1, len(path) // _MOST_STATES)
    whole = np.hypot(np.linalg.norm(path, axis=1), off)
    near = off <= _NEAR * whole
    chosen = np.arange(len(path)) % every == 0
    looks = ((near, style.BLUE, "in the plane to a tenth"), (~near, "white", "farther off it"))
    for which, face, label in looks:
        points = path[which & chosen]
        if len(points):
            look: Any = {"marker": "o", "markersize": 2.6, "linestyle": "none", "zorder": 4}
            look |= {"markeredgecolor": style.BLUE, "markeredgewidth": 0.6}
            ax.plot(*points.T, markerfacecolor=face, label=label, **look)


def _draw_slice(ax: Axes, found: Any, i: int) -> None:
    offsets, heights = found.offsets[i], found.slices[i]
    ax.plot(offsets, heights, color=style.BLACK, label="loss", gid=f"slice {i + 1}", zorder=3)
    if found.curvatures[i]:
        line: Any = {"color": style.VERMILION, "linestyle": "--", "gid": f"parabola {i + 1}"}
        ax.plot(offsets, found.parabola[i], label="parabola of slope and curvature", **line)
        label = "where the loss leaves it"
        for end in found.departs[i]:
            if np.isfinite(end) and offsets[0] < end < offsets[-1]:
                ax.axvline(end, color=style.VERMILION, linestyle=":", linewidth=0.8, label=label)
    known = heights[np.isfinite(heights)]
    if len(known):  # the parabola may leave the panel
        margin = 0.08 * float(np.ptp(known)) or 0.08 * abs(float(known[0])) or 1.0
        ax.set_ylim(known.min() - margin, known.max() + margin)
    _hatch_undefined(ax, offsets, heights)
    if found.path is not None and len(found.names) == 1:
        look: Any = {"color": style.BLUE, "marker": "o", "markersize": 3, "linestyle": "none"}
        ax.plot(found.path[:, 0], found.path_losses, label="states", zorder=4, **look)
    ax.plot(0, found.loss, "o", color=style.BLACK, markersize=3, label="weights", zorder=5)
    ax.set(xlim=(offsets[0], offsets[-1]), xlabel=_offset(found, i), ylabel="loss")


def _hatch_undefined(ax: Axes, offsets: np.ndarray, heights: np.ndarray) -> None:
    step = 0.5 * float(offsets[1] - offsets[0])
    for place in offsets[~np.isfinite(heights)]:
        look: Any = {"fill": False, "hatch": "////", "linewidth": 0}
        ax.axvspan(place - step, place + step, label="not finite", **look)


def _offset(found: "Landscape", i: int) -> str:
    curvature, residual = found.curvatures[i], found.residuals[i]
    symbol = r"\lambda" if residual <= 1e-3 * abs(curvature) else r"v\cdot Hv"
    if not np.isnan(found.shares[i]) and "principal" in found.names[i]:
        return f"{found.names[i]}, {100 * found.shares[i]:.3g} %"
    return f"{found.names[i]}, ${symbol} = {curvature:.3g}$"
