"""The layers of a portrait: level sets, the motion, nullclines, orbits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from samflow import _checks
from samflow._types import Box
from samflow.equilibria import FixedPoints
from samflow.orbits._integrate import Trajectory
from samflow.orbits._iterate import Orbit
from samflow.plots.field import Field, nullclines
from samflow.plots.style import BLUE, GREEN, GREY, ORANGE, PALE
from samflow.systems import AbstractSystem
from samflow.systems.angles import Angles, in_pieces

_MAX_DOTTED = 400
"""Orbits of a map with more points than this are drawn without a dot at each."""
_ARROW_SPACING = 0.145
"""Distance in inches between the arrows of a map's portrait."""
_STREAM_DENSITY = 0.32
"""Density of streamlines, in matplotlib's units, for each inch of a panel's width."""


def draw_frame(ax: Axes, system: AbstractSystem, box: Box) -> None:
    """Set the limits to `box` and name the axes by the loss's variables, or w₁ and w₂."""
    (left, right), (bottom, top) = box
    symbols = getattr(getattr(system, "loss", None), "symbols", None)
    names = ("w_1", "w_2") if symbols is None else tuple(str(symbol) for symbol in symbols)
    ax.set(xlim=(left, right), ylim=(bottom, top), xlabel=f"${names[0]}$", ylabel=f"${names[1]}$")
    ax.autoscale(False)


def draw_levels(
    ax: Axes,
    field: Field,
    system: AbstractSystem,
    fixed_points: FixedPoints | None = None,
    levels: int | Sequence[float] = 14,
    *,
    colour: Any = PALE,
) -> None:
    """Draw level sets of the loss, also through its saddles; nothing without a loss."""
    if field.loss is None:
        return
    values = np.ma.masked_invalid(field.loss)
    chosen = level_values(field, system, fixed_points, levels)
    if len(chosen):
        look: Any = {"colors": [colour], "linewidths": 0.5, "linestyles": "solid", "zorder": 1}
        ax.contour(field.x, field.y, values, levels=chosen, **look)
        ax.plot([], [], color=colour, linewidth=0.8, label="level set of the loss", zorder=1)


def level_values(
    field: Field,
    system: AbstractSystem,
    fixed_points: FixedPoints | None = None,
    levels: int | Sequence[float] = 14,
) -> np.ndarray:
    """Return the levels to draw: those asked for, or quantiles of the loss, and saddles' levels.

    Quantiles over the box give as much room to a shallow saddle as to a steep wall.
    """
    if field.loss is None:
        return np.array([])
    finite = field.loss[np.isfinite(field.loss)]
    if not isinstance(levels, int):
        return np.unique(np.asarray(levels, dtype=float))
    count = _checks.count("levels", levels, minimum=0)
    if count == 0 or not finite.size:
        return np.array([])
    chosen = np.quantile(finite, (np.arange(count) + 0.5) / count)
    loss: Any = getattr(system, "loss", None)
    stabilities = () if fixed_points is None else fixed_points.stability
    at_saddles = [
        float(loss(system.position(s.state)))
        for s, critical in zip(
            stabilities, fixed_points.critical if fixed_points else (), strict=True
        )
        if critical and s.curvature is not None and float(s.curvature[0]) < 0
    ]
    return np.unique(np.concatenate([chosen, at_saddles]))


def draw_motion(ax: Axes, field: Field, *, momentum: bool = False, colour: Any = GREY) -> None:
    """Draw streamlines of a flow, or for a map arrows of one length along its displacement.

    `momentum` says that a step from rest is meant, which the legend then tells.
    """
    u, v = np.ma.masked_invalid(field.motion)
    look: dict[str, Any] = {"color": colour, "zorder": 2}
    if not field.discrete:
        density = _STREAM_DENSITY * _inches(ax)[0]
        ax.streamplot(
            field.x, field.y, u, v, density=density, linewidth=0.5, arrowsize=0.55, **look
        )
        look |= {"linewidth": 0.6, "marker": ">", "markersize": 2.5}
        ax.plot([], [], label="streamline", **look)
        return
    width, height = _inches(ax)
    columns, rows = (_thinned(*pair) for pair in ((field.x, width), (field.y, height)))
    grid = np.ix_(rows, columns)
    size = np.ma.hypot(u, v)[grid]
    unit_u, unit_v = (np.ma.masked_invalid(np.ma.divide(part[grid], size)) for part in (u, v))
    ax.quiver(
        field.x[columns],
        field.y[rows],
        unit_u,
        unit_v,
        angles="xy",
        pivot="mid",
        scale_units="inches",
        scale=1.35 / _ARROW_SPACING,
        units="inches",
        width=0.008,
        headwidth=4.0,
        headlength=4.5,
        headaxislength=4.0,
        **look,
    )
    label = "direction of a step" + (" from rest" if momentum else "")
    ax.plot([], [], linestyle="none", marker=r"$\rightarrow$", markersize=8, label=label, **look)


def draw_nullclines(
    ax: Axes,
    system: AbstractSystem,
    field: Field,
    *,
    colours: tuple[Any, Any] = (GREEN, ORANGE),
) -> None:
    """Draw where the first and where the second component of the motion vanishes."""
    looks = (("--", colours[0], ax.get_xlabel()), (":", colours[1], ax.get_ylabel()))
    for curves, (style, colour, name) in zip(nullclines(system, field), looks, strict=True):
        label = f"{name}-nullcline"
        for curve in curves:
            ax.plot(
                *curve.T,
                linestyle=style,
                color=colour,
                linewidth=1.1,
                label=label,
                zorder=3,
                gid=label,
            )


def draw_orbits(
    ax: Axes,
    record: Orbit | Trajectory,
    *,
    colour: Any = BLUE,
    label: str = "orbit (dot: start)",
    mark_starts: bool = True,
    turns: Angles | None = None,
) -> None:
    """Draw orbits from a record, a dot at each start; they end where the record is NaN.

    Coordinates that are angles are brought into the ranges in `turns`.
    """
    look: dict[str, Any] = {"color": colour, "linewidth": 1.0, "zorder": 4}
    if isinstance(record, Orbit) and record.w.shape[-2] <= _MAX_DOTTED:
        look |= {"linewidth": 0.8, "marker": ".", "markersize": 2.0}
    for path in np.asarray(record.w).reshape(-1, *record.w.shape[-2:]):
        path = in_pieces(turns, path)
        ax.plot(*path.T, label=label, gid="orbit", **look)
        if mark_starts:
            ax.plot(*path[0], color=colour, marker="o", markersize=2.6, zorder=4, gid="start")


def _inches(ax: Axes) -> tuple[float, float]:
    """Return the width and the height of `ax`, before the layout makes room for labels."""
    place = ax.get_position()
    width, height = ax.get_figure(root=True).get_size_inches()  # pyright: ignore[reportOptionalMemberAccess]
    return place.width * width, place.height * height


def _thinned(nodes: np.ndarray, inches: float) -> np.ndarray:
    """Return the indices of the nodes with arrows, half a spacing away from both ends."""
    count = min(len(nodes), max(4, round(inches / _ARROW_SPACING)))
    return (len(nodes) / count * (np.arange(count) + 0.5)).astype(int)
