"""When an orbit has come to an attractor: regions about attractors that orbits do not leave.

About an attracting fixed point or cycle it is an ellipsoid in which one step (or one period)
shortens every vector in the norm √(zᵀPz), AᵀPA − P = −1 (Stein's equation): tried at points of
spheres, not proved. So an orbit is known to have come long before it has converged.
"""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow.attractors.basins.records import Region
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem
from samflow.systems.angles import images, shortest, wrapped

STAYS = 64
"""How many times in a row an orbit must be in a region that is not known to be kept."""
_DIRECTIONS = 64
_SIZES = 2.0 ** np.arange(0, -30, -1)
"""Sizes of the ellipsoid tried, in units of the largest; at still smaller ones rounding decides."""
_NEWTON = 4
_NEAR = 1e-6
"""Relative: Newton's steps may move a cycle by so much."""
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
    found = [
        (z, metric) for z in points if (metric := _metric(system, z, period, largest)) is not None
    ]
    if not found:
        return None
    centres, metrics = map(np.array, zip(*found, strict=True))
    turned = images(system, centres)  # states near an end of an angle's range, on either side
    return Region(turned, np.tile(metrics, (len(turned) // len(centres), 1, 1)), 0, 1)


def polished(system: AbstractMap, cycle: np.ndarray) -> np.ndarray:
    """Return a cycle (period, state) that orbits have nearly come to, after Newton's steps.

    Unchanged where these do not help, as where the map is not smooth.
    """
    period, z = len(cycle), cycle[0]
    identity = np.eye(len(z))
    for _ in range(_NEWTON):
        miss = shortest(system, _advanced(system, z, period) - z)
        jacobian = _jacobian(system, z, period)
        better = z - np.linalg.lstsq(jacobian - identity, miss)[0]
        left = shortest(system, _advanced(system, better, period) - better)
        if not np.linalg.norm(left) < np.linalg.norm(miss):
            break
        z = better
    points = [z]
    for _ in range(len(cycle) - 1):
        points.append(_advanced(system, points[-1], 1))
    near = np.abs(np.array(points) - cycle).max() <= _NEAR * np.abs(cycle).max()
    return np.array(points) if near else cycle


def ball(centre: np.ndarray, radius: float, *, every: int = 0) -> Region:
    """Return a ball; in which an orbit must stay at `STAYS` times, so many steps apart, if any."""
    stays = STAYS if every else 0
    return Region(centre[None], np.eye(len(centre))[None] / radius**2, stays, every or 1)


def tube(system: AbstractSystem, along: np.ndarray, radii: np.ndarray, every: float) -> Region:
    """Return balls about a curve, half a radius apart, in which an orbit must stay.

    Args:
        system: the map or flow.
        along: points of the curve in order, shape (points, state).
        radii: of the balls, one for each entry of a state.
        every: steps, or time of a flow, between the `STAYS` times at which an orbit is looked at.

    """
    lengths = np.linalg.norm(np.diff(along, axis=0) / radii, axis=1)
    places = np.append(0.0, np.cumsum(lengths))
    evenly = np.linspace(0, places[-1], int(np.ceil(2 * places[-1])), endpoint=False)
    centres = np.stack([np.interp(evenly, places, column) for column in along.T], axis=1)
    centres = np.asarray(wrapped(system, jnp.asarray(centres)))
    metric = np.diag(1 / radii**2)
    return Region(centres, np.broadcast_to(metric, (len(centres), *metric.shape)), STAYS, every)


def exponent(system: AbstractSystem, point: np.ndarray, period: int) -> float:
    """Return the largest Lyapunov exponent of a fixed point, or of the cycle through a point."""
    return _rate(system, _jacobian(system, point, period)) / period


def _rate(system: AbstractSystem, jacobian: np.ndarray) -> float:
    """Return the largest log |multiplier|, or real part of a flow; NaN where there is none."""
    if not np.isfinite(jacobian).all():
        return float("nan")
    values = np.linalg.eigvals(jacobian)
    if isinstance(system, AbstractFlow):
        return float(values.real.max())
    with np.errstate(divide="ignore"):  # a multiplier of 0: superstable
        return float(np.log(np.abs(values).max()))


def _metric(
    system: AbstractSystem, centre: np.ndarray, period: int, largest: float
) -> np.ndarray | None:
    """Return the metric of a kept ellipsoid about one point, or None."""
    import scipy.linalg  # slow to import, and seldom needed

    jacobian = _jacobian(system, centre, period)
    identity = np.eye(len(centre))
    if not _rate(system, jacobian) < 0:
        return None
    with warnings.catch_warnings():  # what is solved badly is not kept, which is tried below
        warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
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
    given = map(jnp.asarray, (centre, offsets, metric, period))
    falls = np.all(np.asarray(_falls(system, *given)), axis=1)
    # It must fall at every smaller size, too.
    good = np.logical_and.accumulate(falls[::-1])[::-1]
    if not good.any():
        return None
    return metric / (_MARGIN * whole * _SIZES[np.argmax(good)]) ** 2


def advance(system: AbstractMap, z: Array, period: Array) -> Array:
    """Return F^period(z)."""
    return jax.lax.fori_loop(0, period, lambda _, z: system.step(z), z)


def _advanced(system: AbstractMap, z: np.ndarray, period: int) -> np.ndarray:
    return np.asarray(_advance(system, jnp.asarray(z), jnp.asarray(period)))


def _jacobian(system: AbstractSystem, z: np.ndarray, period: int) -> np.ndarray:
    return np.asarray(_differentiate(system, jnp.asarray(z), jnp.asarray(period)))


@eqx.filter_jit
def _advance(system: AbstractMap, z: Array, period: Array) -> Array:
    return advance(system, z, period)


@eqx.filter_jit
def _differentiate(system: AbstractSystem, z: Array, period: Array) -> Array:
    if isinstance(system, AbstractFlow):
        return system.jacobian(z)
    assert isinstance(system, AbstractMap)
    return jax.jacfwd(lambda z: advance(system, z, period))(z)


@eqx.filter_jit
def _falls(
    system: AbstractSystem, centre: Array, offsets: Array, metric: Array, period: Array
) -> Array:
    """Say of each offset whether the motion makes its norm smaller."""

    def one(offset: Array) -> Array:
        if isinstance(system, AbstractFlow):
            return offset @ metric @ system.velocity(centre + offset) < 0
        assert isinstance(system, AbstractMap)
        after = shortest(system, advance(system, centre + offset, period) - centre)
        return after @ metric @ after < offset @ metric @ offset

    return jax.vmap(jax.vmap(one))(offsets)
