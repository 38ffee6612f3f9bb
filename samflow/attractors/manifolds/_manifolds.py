"""Stable and unstable curves of saddles with two weights."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._status import Kind
from samflow._types import ArrayLike, Scalar, V, Vector
from samflow.attractors.manifolds.growth import Limits, grow, within
from samflow.attractors.manifolds.inverse import Inverse, Twice
from samflow.attractors.manifolds.records import Arm, End, Manifolds
from samflow.equilibria import classify
from samflow.orbits import integrate
from samflow.records import provenance
from samflow.systems import AbstractFlow, AbstractMap
from samflow.systems.angles import unwrapped
from samflow.systems.base import check_system

_BESIDE = 1e-5
"""Where a curve begins, as a part of the box: it lies on the eigenvector up to the square."""
_SPACING = 1 / 200
"""Largest distance of neighbouring points, as a part of the box."""
_SLOW = 1e-3
"""Speed below which a flow counts as slow, beside that at the beginning of an arm."""
_TOLERANCES = (1e-8, 1e-10)
_GROWN = 10.0
"""Images of the first piece, in units of those that a linear map needs to cross the box."""
_MOST_IMAGES = 100_000
_SAME = 128
"""The number of images is a multiple of this: few numbers are compiled."""


@_checks.untraced()
def manifolds(
    system: AbstractMap | AbstractFlow,
    w: ArrayLike,
    box: Any,
    *,
    length: float | None = None,
    spacing: float | None = None,
    num_points: int = 2_000_000,
) -> Manifolds:
    """Return the stable and unstable curves of a saddle, as far as they lie in a box.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> flow = sf.Flow(sf.loss("x**2/2 - y**2/2 + y**4/4"), sf.GD())
    >>> found = manifolds(flow, [0.0, 0.0], [(-1, 1), (-2, 2)])
    >>> bool(abs(found.unstable[0].points[:, 0]).max() < 1e-6)  # along y
    True

    Args:
        system: a map or flow with two weights and no momentum, with a Jacobian at `w`.
        w: the saddle.
        box: two pairs (low, high).
        length: of each arm at most; by default ten times the longest side of the box.
        spacing: of neighbouring points at most; by default 1/200 of the longest side.
        num_points: how many points to compute at most for an arm of a map.

    Returns:
        A `Manifolds`. An arm ends at the edge of the box, at `length`, at a point that it
        converges to, where the map has no inverse, or at the budget; `Arm.end` says which, and
        `Arm.error` how far the last refinement moved the line.

    Of a map with a negative multiplier the curve of two steps is returned, which is the same. The
    stable curve of a map is grown by its inverse, which Newton's method finds near the identity;
    preimages of another branch, where the map folds, are not followed.

    Raises:
        ArgumentError: for another dimension, momentum, or a `w` that is no saddle or has no
            Jacobian, as a critical point of normalised SAM.

    """
    _checks.double_precision("`manifolds`")
    check_system(system)
    if system.state_dim != 2:
        raise _checks.ArgumentError(
            f"Argument `system` must have two weights and no momentum, but its states have "
            f"{system.state_dim} entries."
        )
    sides = np.array(_checks.box("box", box, 2))
    extent = float(np.ptp(sides, axis=1).max())
    found = classify(system, w)
    if found.kind is not Kind.saddle:
        raise _checks.ArgumentError(
            f"Argument `w` must be a saddle of the system with a Jacobian, but is {found}."
        )
    limits = Limits(
        low=sides[:, 0],
        high=sides[:, 1],
        length=_checks.positive("length", 10 * extent if length is None else length),
        spacing=_checks.positive("spacing", _SPACING * extent if spacing is None else spacing),
        num_points=_checks.count("num_points", num_points),
        num_images=1,
    )
    saddle, system = np.asarray(found.state), unwrapped(system)  # a curve is not cut at an angle
    values, vectors = np.linalg.eig(np.asarray(system.jacobian(found.state)))
    order = np.argsort(np.abs(values) if found.discrete else values)
    values, vectors = np.real(values[order]), np.real(vectors[:, order])
    curves = [
        tuple(
            _arm(system, saddle, sign * _BESIDE * extent * vectors[:, i], values[i], i == 0, limits)
            for sign in (-1, 1)
        )
        for i in (0, 1)
    ]
    where = provenance(system.describe(), box=box, spacing=limits.spacing)
    (back, ahead), (down, up) = curves
    return Manifolds(saddle, (back, ahead), (down, up), values, where)


def _arm(
    system: AbstractMap | AbstractFlow,
    saddle: np.ndarray,
    offset: np.ndarray,
    value: float,
    stable: bool,
    limits: Limits,
) -> Arm:
    if isinstance(system, AbstractFlow):
        return _solution(system, saddle, offset, value, limits)
    once: AbstractMap = Twice(system) if value < 0 else system
    rate = abs(np.log(abs(value))) * (2 if value < 0 else 1)
    across = np.log(1 / _BESIDE) / rate
    images = min(_SAME * int(np.ceil(_GROWN * across / _SAME + 0.1)), _MOST_IMAGES)
    z = jnp.asarray(saddle)
    return grow(
        Inverse(once, z, once.jacobian(z)) if stable else once,
        saddle,
        saddle + offset,
        limits._replace(num_images=images),
    )


class UnitSpeed(AbstractFlow):
    """A flow followed by its length, forwards or backwards, that comes to rest where it rests."""

    flow: AbstractFlow
    sign: Scalar
    slow: Scalar

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.flow.dim

    @property
    def elementwise(self) -> bool:
        """Never: the speed is that of an array."""
        return False

    def velocity(self, z: V) -> V:
        """Return ± f/(‖f‖ + slow)."""
        v: Any = self.flow.velocity(z)
        return self.sign * v / (jnp.linalg.norm(v) + self.slow)

    def singularity(self, z: Vector) -> Scalar:
        """Return that of the flow."""
        return self.flow.singularity(z)

    def describe(self) -> str:
        """Say what the system is."""
        return f"{self.flow.describe()}, by length"


def _solution(
    flow: AbstractFlow, saddle: np.ndarray, offset: np.ndarray, value: float, limits: Limits
) -> Arm:
    """Return the solution from beside the saddle, backwards in time along the stable direction."""
    extent = float((limits.high - limits.low).max())
    slow = _SLOW * abs(value) * float(np.linalg.norm(offset))
    along = UnitSpeed(flow, jnp.asarray(np.sign(value)), jnp.asarray(slow))
    number = 2 * int(np.ceil(limits.length / limits.spacing)) + 1
    rough, fine = (
        np.asarray(
            integrate(
                along,
                saddle + offset,
                t1=limits.length,
                num_times=number,
                rtol=rtol,
                atol=rtol * extent * 1e-2,
                escape_radius=1e12,
            ).states
        )
        for rtol in _TOLERANCES
    )
    points = np.vstack([saddle, fine])
    known = np.all(np.isfinite(points), axis=1)
    inside = known & within(points, limits)
    cut, end = len(points), End.length
    if not inside.all():
        cut = int(np.argmin(inside))
        end = End.left if known[cut] else End.converged
        cut += int(known[cut])  # the point outside is kept: the curve reaches the edge
    elif np.linalg.norm(points[-1] - points[-2]) <= 1e-6 * limits.spacing:
        end = End.converged
    points = points[:cut]
    apart = np.linalg.norm(fine[: cut - 1] - rough[: cut - 1], axis=1)
    apart = apart[np.isfinite(apart)]
    error = _bulge(points) + (float(apart.max()) if len(apart) else 0.0)
    return Arm(points, error, end)


def _bulge(points: np.ndarray) -> float:
    """Return the largest distance of a point from the line through its neighbours, over four.

    So near to the line through all of them a smooth curve lies.
    """
    if len(points) < 3:
        return 0.0
    chord, offset = points[2:] - points[:-2], points[1:-1] - points[:-2]
    across = np.abs(chord[:, 0] * offset[:, 1] - chord[:, 1] * offset[:, 0])
    return float((across / np.maximum(np.linalg.norm(chord, axis=1), 1e-300)).max()) / 4
