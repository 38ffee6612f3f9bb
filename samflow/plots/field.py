"""The motion of a planar system on a grid, and the curves where one component of it vanishes."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from contourpy import LineType, contour_generator
from jaxtyping import Array, Float

from samflow import _checks
from samflow._types import Box
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem
from samflow.systems.base import check_system

_JUMP = 0.5
"""On a true zero between two nodes the interpolated component is far below its size at the nodes;
across a pole or a jump it is not. Vertices above this fraction are no nullcline."""

_FEWEST = 64
"""Points are padded to a power of two, at least this one: few sizes are compiled."""


class Field(AbstractRecord):
    """The motion of a planar system, and its loss, on a grid of weights.

    Attributes:
        x: first weight, shape (nx,).
        y: second weight, shape (ny,).
        motion: velocity of a flow, or displacement F(w) − w of a map; for a map with momentum the
            displacement from rest. Not finite where the system is not defined or overflows.
        loss: the loss; None for a system without one.
        discrete: whether the system is a map.

    """

    rows: ClassVar[Names] = ("y", "x")
    x: Float[np.ndarray, " nx"] = eqx.field(metadata=axes("x", units="weight"))
    y: Float[np.ndarray, " ny"] = eqx.field(metadata=axes("y", units="weight"))
    motion: Float[np.ndarray, "2 ny nx"] = eqx.field(metadata=axes("component", "y", "x"))
    loss: Float[np.ndarray, "ny nx"] | None = eqx.field(metadata=axes("y", "x", units="loss"))
    discrete: bool = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)


def sample_field(system: AbstractSystem, box: Box, *, resolution: int = 160) -> Field:
    """Return the motion of a planar `system` on a grid of `resolution` points a side of `box`.

    Raises:
        ArgumentError: for a system that is not planar, or a wrong or empty box.

    """
    check_system(system)
    if system.dim != 2:
        raise _checks.ArgumentError(
            f"Argument `system` must have 2 weights to be drawn in the plane, but has {system.dim}."
        )
    box = _checks.box("box", box, 2)
    resolution = _checks.count("resolution", resolution, minimum=2)
    x, y = (np.linspace(low, high, resolution) for low, high in box)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    motion = motion_at(system, points).T.reshape(2, resolution, resolution)
    loss = getattr(system, "loss", None)
    if loss is not None:
        loss = np.asarray(_values(loss, jnp.asarray(points))).reshape(resolution, resolution)
    where = provenance(system.describe(), box=box, resolution=resolution)
    return Field(
        x=x,
        y=y,
        motion=motion,
        loss=loss,
        discrete=isinstance(system, AbstractMap),
        provenance=where,
    )


def motion_at(system: AbstractSystem, w: np.ndarray) -> Float[np.ndarray, "N 2"]:
    """Return the velocity of a flow, or the displacement of a map from rest, at points (N, 2)."""
    check_system(system)
    w = np.asarray(w, dtype=float)
    size = max(_FEWEST, 1 << (len(w) - 1).bit_length())
    padded = np.concatenate([w, np.tile(w[-1:], (size - len(w), 1))]) if len(w) else w
    return np.asarray(_motion(system, jnp.asarray(padded)))[: len(w)]


def nullclines(system: AbstractSystem, field: Field) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the curves on which the first, and the second, component of the motion vanishes.

    Each curve has shape (vertices, 2), traced on the grid of `field` by linear interpolation. The
    system is evaluated at every vertex again: where a component changes sign by a jump and not
    through 0, the vertex is NaN. Curves finer than the grid are missed.
    """
    found = [_zero_curves(system, field, component) for component in (0, 1)]
    return found[0], found[1]


def _zero_curves(system: AbstractSystem, field: Field, component: int) -> list[np.ndarray]:
    values = np.ma.masked_invalid(field.motion[component])
    tracer = contour_generator(field.x, field.y, values, line_type=LineType.Separate)
    curves: list[Any] = list(tracer.lines(0.0))
    if not curves:
        return []
    vertices = np.concatenate(curves)
    at_vertices = np.abs(motion_at(system, vertices)[:, component])
    column = np.clip(np.searchsorted(field.x, vertices[:, 0]) - 1, 0, len(field.x) - 2)
    row = np.clip(np.searchsorted(field.y, vertices[:, 1]) - 1, 0, len(field.y) - 2)
    corners = [np.abs(values.data[row + i, column + j]) for i in (0, 1) for j in (0, 1)]
    vanishes = at_vertices <= _JUMP * np.max(corners, axis=0)
    vertices = np.where(vanishes[:, None], vertices, np.nan)
    ends = np.cumsum([len(curve) for curve in curves])[:-1]
    return [curve for curve in np.split(vertices, ends) if np.isfinite(curve).any()]


@eqx.filter_jit
def _motion(system: AbstractSystem, w: Array) -> Array:
    def at(point: Array) -> Array:
        z = system.lift(point)
        if isinstance(system, AbstractMap):
            return system.position(system.step(z)) - point
        assert isinstance(system, AbstractFlow)
        return system.position(system.velocity(z))

    return jax.vmap(at)(w)


@eqx.filter_jit
def _values(loss: AbstractSystem, w: Array) -> Array:
    return jax.vmap(loss)(w)  # pyright: ignore[reportArgumentType]
