"""Phase portraits: the field, level sets, nullclines, fixed points and orbits in one picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import _checks
from samflow._types import ArrayLike, Box
from samflow.equilibria import FixedPoints, find_fixed_points
from samflow.orbits import integrate, iterate
from samflow.orbits._integrate import Trajectory
from samflow.orbits._iterate import Orbit
from samflow.plots.field import Field, nullclines, sample_field
from samflow.plots.marks import draw_continua, draw_eigen_directions, draw_fixed_points
from samflow.plots.style import (
    BLUE,
    COLUMN,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    legend_below,
    new_figure,
    styled,
)
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem

_NUM_STEPS = 1000
_T1 = 10.0
_MAX_KEPT = 4000
"""Points of one orbit at most: more than a column of print can show."""
_MAX_DOTTED = 400
"""Orbits of a map with more points than this are drawn without a dot at each."""
_ARROW_SPACING = 0.145
"""Distance in inches between the arrows of a map's portrait."""
_STREAM_DENSITY = 0.32
"""Density of streamlines, in matplotlib's units, for each inch of a panel's width."""


def portrait(
    system: AbstractSystem,
    box: Any,
    *,
    starts: ArrayLike | None = None,
    length: float | None = None,
    fixed_points: FixedPoints | None = None,
    levels: int | Sequence[float] = 14,
    show_nullclines: bool = True,
    ax: Axes | None = None,
) -> Figure:
    """Draw the phase portrait of a planar system.

    The field is drawn as streamlines for a flow. For a map it is drawn as arrows of equal
    length, which show the direction of one step and not its size; with momentum, of a step from
    velocity 0. Fixed points have a mark for each kind (`samflow.plots.MARKERS`) and their
    eigen-directions; curves of fixed points are lines, solid where they attract across. A
    critical point of normalised SAM, where there is no Jacobian, gets its own mark and no
    directions. What is not finite is left blank.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> figure = portrait(sf.Flow(sf.losses.quartic(), sf.USAM(rho=1.25)), ((-2, 2), (-2, 2)))
    >>> paths = sf.plots.save(figure, "quartic.pdf")  # doctest: +SKIP

    Args:
        system: a map or a flow with two weights.
        box: a pair (low, high) for each weight.
        starts: points (2,) or (N, 2) from which orbits are drawn.
        length: length of the orbits: steps of a map (default 1000) or time of a flow (10).
        fixed_points: a record for this system; by default they are searched for in the box.
        levels: values of the loss at which to draw level sets. Or their number: they are then
            drawn at quantiles of the loss in the box, and through its saddles.
        show_nullclines: whether to draw where each component of the field vanishes.
        ax: where to draw; on a new figure of one column, with a legend, when not given.

    Returns:
        The figure, not bound to pyplot; `samflow.plots.save` writes it with its fonts embedded.

    Raises:
        ArgumentError: for a system that does not have two weights, a wrong or empty box, starts
            of a wrong shape or outside the loss's domain, or (to find the fixed points) single
            precision.

    """
    field = sample_field(system, box)
    box = _checks.box("box", box, 2)
    if fixed_points is None:
        fixed_points = find_fixed_points(system, box)
    orbits = None if starts is None else _orbits(system, starts, length)
    with styled():
        figure = new_figure(COLUMN, 3.6) if ax is None else None
        panel = ax if figure is None else figure.add_subplot()
        assert panel is not None
        draw_frame(panel, system, box)
        draw_levels(panel, field, system, fixed_points, levels)
        draw_motion(panel, field, momentum=system.state_dim > system.dim)
        if show_nullclines:
            draw_nullclines(panel, system, field)
        if orbits is not None:
            draw_orbits(panel, orbits)
        draw_continua(panel, fixed_points)
        draw_eigen_directions(panel, system, fixed_points)
        draw_fixed_points(panel, fixed_points)
        if figure is not None:
            panel.set_title(title(system))
            legend_below(figure, [panel], columns=2)
    made = figure or panel.get_figure(root=True)
    assert isinstance(made, Figure)
    return made


def title(system: AbstractSystem) -> str:
    """Return a system's name in the symbols of the theory, as "USAM map, ρ = 0.05, η = 0.01"."""
    rule: Any = getattr(system, "rule", None)
    if rule is None:
        return system.describe()
    parts = [f"{rule.name.upper()} {'map' if isinstance(system, AbstractMap) else 'flow'}"]
    for owner, name, symbol in ((rule, "rho", "ρ"), (system, "lr", "η"), (system, "momentum", "β")):
        value = getattr(owner, name, None)
        if value is not None:
            parts.append(f"${symbol}={float(value):g}$")
    return ", ".join(parts)


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
) -> None:
    """Draw level sets of the loss, also through its saddles; nothing without a loss."""
    if field.loss is None:
        return
    values = np.ma.masked_invalid(field.loss)
    chosen = level_values(field, system, fixed_points, levels)
    if len(chosen):
        look: Any = {"colors": PALE, "linewidths": 0.5, "linestyles": "solid", "zorder": 1}
        ax.contour(field.x, field.y, values, levels=chosen, **look)
        ax.plot([], [], color=PALE, linewidth=0.8, label="level set of the loss", zorder=1)


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


def draw_motion(ax: Axes, field: Field, *, momentum: bool = False) -> None:
    """Draw streamlines of a flow, or for a map arrows of one length along its displacement.

    `momentum` says that a step from rest is meant, which the legend then tells.
    """
    u, v = np.ma.masked_invalid(field.motion)
    look: dict[str, Any] = {"color": GREY, "zorder": 2}
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


def draw_nullclines(ax: Axes, system: AbstractSystem, field: Field) -> None:
    """Draw where the first and where the second component of the motion vanishes."""
    looks = (("--", GREEN, ax.get_xlabel()), (":", ORANGE, ax.get_ylabel()))
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
    colour: str = BLUE,
    label: str = "orbit (dot: start)",
    mark_starts: bool = True,
) -> None:
    """Draw orbits from a record, a dot at each start; they end where the record is NaN."""
    look: dict[str, Any] = {"color": colour, "linewidth": 1.0, "zorder": 4}
    if isinstance(record, Orbit) and record.w.shape[-2] <= _MAX_DOTTED:
        look |= {"linewidth": 0.8, "marker": ".", "markersize": 2.0}
    for path in np.asarray(record.w).reshape(-1, *record.w.shape[-2:]):
        ax.plot(*path.T, label=label, gid="orbit", **look)
        if mark_starts:
            ax.plot(*path[0], color=colour, marker="o", markersize=2.6, zorder=4, gid="start")


def _orbits(system: AbstractSystem, starts: ArrayLike, length: float | None) -> Orbit | Trajectory:
    starts = _checks.point("starts", starts, system.dim, batched=True)
    if isinstance(system, AbstractMap):
        num_steps = _checks.count("length", _NUM_STEPS if length is None else length)
        return iterate(system, starts, num_steps=num_steps, keep_every=-(-num_steps // _MAX_KEPT))
    assert isinstance(system, AbstractFlow)
    t1 = _T1 if length is None else length
    return integrate(system, starts, t1=t1, num_times=_MAX_KEPT)


def _inches(ax: Axes) -> tuple[float, float]:
    """Return the width and the height of `ax`, before the layout makes room for labels."""
    place = ax.get_position()
    width, height = ax.get_figure(root=True).get_size_inches()  # pyright: ignore[reportOptionalMemberAccess]
    return place.width * width, place.height * height


def _thinned(nodes: np.ndarray, inches: float) -> np.ndarray:
    """Return the indices of the nodes with arrows, half a spacing away from both ends."""
    count = min(len(nodes), max(4, round(inches / _ARROW_SPACING)))
    return (len(nodes) / count * (np.arange(count) + 0.5)).astype(int)
