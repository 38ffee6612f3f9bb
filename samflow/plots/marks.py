"""Fixed points and their eigen-directions on a portrait: one mark for each kind."""

from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array
from matplotlib.axes import Axes

from samflow._status import Kind
from samflow.equilibria import FixedPoints, Stability
from samflow.plots.style import BLACK, PURPLE, SKY, VERMILION
from samflow.systems import AbstractSystem

MARKERS: dict[Kind, dict[str, Any]] = {
    Kind.attracting: {"marker": "o", "fillstyle": "full"},
    Kind.repelling: {"marker": "o", "fillstyle": "none"},
    Kind.saddle: {"marker": "D", "fillstyle": "left"},
    Kind.nonhyperbolic: {"marker": "s", "fillstyle": "none"},
    Kind.sliding: {"marker": "X", "fillstyle": "full"},
    Kind.cycle: {"marker": "P", "fillstyle": "full"},
    Kind.rotation: {"marker": "p", "fillstyle": "full"},
    Kind.chaotic_trap: {"marker": "*", "fillstyle": "full"},
    Kind.trap: {"marker": "h", "fillstyle": "full"},
    Kind.undefined: {"marker": "X", "fillstyle": "none"},
}
"""How each kind is drawn. What attracts or holds all orbits nearby is filled, what does not is
open, a saddle is half filled. Where there is a Jacobian: circles, a diamond, a square. Where there
is none: a cross (sliding), a plus (2-cycle), a pentagon (rotation), a star (chaotic trap), a
hexagon (trap), an open cross (none of these)."""

WITHOUT_JACOBIAN = (
    Kind.sliding,
    Kind.cycle,
    Kind.rotation,
    Kind.chaotic_trap,
    Kind.trap,
    Kind.undefined,
)
LABELS = {kind: str(kind) for kind in Kind} | {
    Kind.sliding: "sliding (attracting)",
    Kind.cycle: "cycle about it (attracting)",
    Kind.rotation: "rotation about it (holds orbits)",
    Kind.chaotic_trap: "chaotic trap (holds orbits)",
    Kind.trap: "trap (holds orbits)",
    Kind.undefined: "no Jacobian, undecided",
}
"""What the legend says. Of a kind without a Jacobian it adds what nearby orbits do."""
_ARM = 0.07
"""Length of an eigen-direction's arm, as a fraction of the box."""


class EigenDirection(NamedTuple):
    """A real eigenvalue of a flow or multiplier of a map, with its unit eigenvector."""

    value: float
    vector: np.ndarray
    stable: bool
    """Whether it lies inside the unit circle (map) or below 0 (flow)."""


def eigen_directions(system: AbstractSystem, stability: Stability) -> list[EigenDirection]:
    """Return the real eigen-directions of a planar system at a classified fixed point.

    None where there is no Jacobian; none for complex pairs; and none
    with momentum, where they lie in the four-dimensional space of weights and velocities.
    """
    if stability.kind in WITHOUT_JACOBIAN or system.state_dim != 2:
        return []
    values, vectors = np.linalg.eig(np.asarray(_jacobian(system, stability.state)))
    if np.iscomplexobj(values):
        return []
    growth = np.abs(values) - 1 if stability.discrete else values
    return [
        EigenDirection(float(value), vector, bool(rate < 0))
        for value, vector, rate in zip(values, vectors.T, growth, strict=True)
    ]


def draw_fixed_points(
    ax: Axes,
    fixed_points: FixedPoints,
    *,
    size: float = 5.0,
    colour: Any = BLACK,
    hallucinated: Any = PURPLE,
) -> None:
    """Draw one mark for each fixed point, by its kind.

    Fixed points that are not critical points of the loss ("hallucinated") have another colour.
    """
    points = np.asarray(fixed_points.w)
    kinds, critical = np.array(fixed_points.kinds), np.asarray(fixed_points.critical)
    for kind in MARKERS:
        for is_critical, shade in ((True, colour), (False, hallucinated)):
            here = points[(kinds == kind) & (critical == is_critical)]
            if len(here):
                draw_mark(ax, here, kind, colour=shade, hallucinated=not is_critical, size=size)


def draw_continua(ax: Axes, fixed_points: FixedPoints, *, colour: Any = BLACK) -> None:
    """Draw each curve of fixed points: solid where it attracts across, dashed elsewhere."""
    for w, kind in continuum_lines(fixed_points):
        ax.plot(
            *w.T,
            color=colour,
            linewidth=1.6,
            linestyle="solid" if kind is Kind.attracting else (0, (2.5, 1.2)),
            label=f"curve of fixed points, across: {kind}",
            zorder=5.5,
            gid=f"continuum {kind}",
        )


def continuum_lines(fixed_points: FixedPoints) -> list[tuple[np.ndarray, Kind]]:
    """Return the curves of fixed points, cut where stability across them changes."""
    lines = []
    for curve in fixed_points.continua:
        if curve.dimension > 1:
            continue
        arc = np.array([*curve.arc, *(change.arc for change in curve.changes)])
        w = np.array([*curve.w, *(change.w for change in curve.changes)])
        order = np.argsort(arc, kind="stable")
        arc, w = arc[order], w[order]
        lines += [(w[(arc >= low) & (arc <= high)], kind) for low, high, kind in curve.stretches]
    return lines


def draw_mark(
    ax: Axes, points: Any, kind: Kind, *, colour: Any, hallucinated: bool, size: float
) -> None:
    """Draw the mark of `kind` at `points`, shape (N, 2)."""
    points = np.atleast_2d(np.asarray(points))
    label = LABELS[kind] + (", not critical" if hallucinated else "")
    (line,) = ax.plot(
        *points.T,
        linestyle="none",
        color=colour,
        markersize=size * (0.9 if kind is Kind.saddle else 1.0),
        markeredgewidth=0.9,
        markeredgecolor="white" if kind in WITHOUT_JACOBIAN else colour,
        markerfacecoloralt="white",
        label=label,
        zorder=6 + 0.1 * list(MARKERS).index(kind) + 0.05 * hallucinated,
        gid=f"fixed points {kind}{' not critical' if hallucinated else ''}",
        **MARKERS[kind],
    )
    if kind in WITHOUT_JACOBIAN:
        line.set(markersize=1.5 * size, markeredgewidth=0.6)
    if MARKERS[kind]["fillstyle"] == "none":
        line.set(fillstyle="full", markerfacecolor="white", markeredgecolor=colour)


def draw_eigen_directions(
    ax: Axes,
    system: AbstractSystem,
    fixed_points: FixedPoints,
    *,
    colours: tuple[Any, Any] = (SKY, VERMILION),
) -> None:
    """Draw the stable and unstable eigen-directions through each fixed point that has them."""
    extent = np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())])
    for ends, stable in eigen_arms(system, fixed_points, extent):
        ax.plot(
            *ends.T,
            color=colours[0] if stable else colours[1],
            linewidth=1.8,
            solid_capstyle="round",
            label=f"{'stable' if stable else 'unstable'} eigen-direction",
            zorder=5 if stable else 5.1,
            gid=f"{'stable' if stable else 'unstable'} eigen-direction",
        )


def eigen_arms(
    system: AbstractSystem, fixed_points: FixedPoints, extent: np.ndarray
) -> list[tuple[np.ndarray, bool]]:
    """Return both ends, shape (2, 2), of each eigen-direction's mark, and whether it is stable.

    `extent` is the width and the height of the box: all marks look equally long in it.
    """
    arms = []
    for stability in fixed_points.stability:
        w = np.asarray(system.position(stability.state))
        found = eigen_directions(system, stability)
        for _, vector, stable in sorted(found, key=lambda direction: not direction.stable):
            arm = _ARM * vector / np.linalg.norm(vector / extent)
            arms.append((np.array([w - arm, w + arm]), stable))
    return arms


@eqx.filter_jit
def _jacobian(system: AbstractSystem, z: Array) -> Array:
    return system.jacobian(z)  # pyright: ignore[reportAttributeAccessIssue]
