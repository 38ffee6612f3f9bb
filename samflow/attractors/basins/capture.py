"""When an orbit has come to an attractor: regions about attractors that orbits do not leave.

About an attracting fixed point or cycle it is an ellipsoid in which one step (or one period)
shortens every vector in the norm √(zᵀPz), AᵀPA − P = −1 (Stein's equation): tried at points of
spheres, not proved. So an orbit is known to have come long before it has converged.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow.attractors.basins.records import Region
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem

_DIRECTIONS = 64
_SIZES = 2.0 ** np.arange(0, -40, -1)
"""Sizes of the ellipsoid tried, in units of the largest."""
_MARGIN = 0.5
"""The part of the largest size that holds which is used."""


def contracting(
    system: AbstractSystem, points: np.ndarray, period: int, largest: float
) -> Region | None:
    """Return a region about an attracting fixed point or cycle; None where none was found.

    Args:
        system: the map or flow.
        points: the fixed point, or points of the cycle, shape (points, state).
        period: of the cycle.
        largest: a length: how large the region may be.

    """
    found = [metric for z in points if (metric := _metric(system, z, period, largest)) is not None]
    if len(found) < len(points):
        return None
    return Region(np.array(points), np.array(found), 0)


def ball(centre: np.ndarray, radius: float, stays: int) -> Region:
    """Return a ball in which an orbit must stay for a number of steps."""
    return Region(centre[None], np.eye(len(centre))[None] / radius**2, stays)


def _metric(
    system: AbstractSystem, centre: np.ndarray, period: int, largest: float
) -> np.ndarray | None:
    """Return the metric of a kept ellipsoid about one point, or None."""
    import scipy.linalg  # slow to import, and seldom needed

    z = jnp.asarray(centre)
    jacobian = np.asarray(_jacobian(system, z, period))
    identity = np.eye(len(centre))
    if isinstance(system, AbstractFlow):
        metric = scipy.linalg.solve_continuous_lyapunov(jacobian.T, -identity)
    else:
        metric = scipy.linalg.solve_discrete_lyapunov(jacobian.T, identity)
    metric = 0.5 * (metric + metric.T)
    values, vectors = np.linalg.eigh(metric)
    if not (np.isfinite(metric).all() and values[0] > 0):
        return None
    root = vectors / np.sqrt(values)  # from the unit sphere onto the ellipsoid
    random = np.random.default_rng(0).normal(size=(_DIRECTIONS, len(centre)))
    units = np.vstack([identity, -identity, random])
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    whole = largest * np.sqrt(values[0])
    offsets = whole * _SIZES[:, None, None] * (units @ root.T)
    falls = np.asarray(_falls(system, z, jnp.asarray(offsets), jnp.asarray(metric), period))
    falls = np.all(falls, axis=1)
    # It must fall at every smaller size, too.
    good = np.logical_and.accumulate(falls[::-1])[::-1]
    if not good.any():
        return None
    return metric / (_MARGIN * whole * _SIZES[np.argmax(good)]) ** 2


def advance(system: AbstractMap, z: Array, period: int) -> Array:
    """Return F^period(z)."""
    return jax.lax.fori_loop(0, period, lambda _, z: system.step(z), z)


@eqx.filter_jit
def _jacobian(system: AbstractSystem, z: Array, period: int) -> Array:
    if isinstance(system, AbstractFlow):
        return system.jacobian(z)
    assert isinstance(system, AbstractMap)
    return jax.jacfwd(lambda z: advance(system, z, period))(z)


@eqx.filter_jit
def _falls(
    system: AbstractSystem, centre: Array, offsets: Array, metric: Array, period: int
) -> Array:
    """Say of each offset whether the motion makes its norm smaller."""

    def one(offset: Array) -> Array:
        if isinstance(system, AbstractFlow):
            return offset @ metric @ system.velocity(centre + offset) < 0
        assert isinstance(system, AbstractMap)
        after = advance(system, centre + offset, period) - centre
        return after @ metric @ after < offset @ metric @ offset

    return jax.vmap(jax.vmap(one))(offsets)
