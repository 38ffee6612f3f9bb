"""Slow motion followed in leaps: implicit steps along what a flow, or p steps of a map, do.

Where p steps of a map move a state by little, V(z) = Fᵖ(z) − z, orbits follow ż = V(z), with p
steps as the unit of time; of a flow V is the velocity. Euler's implicit step z⁺ = z + h V(z⁺) goes
over h units at once: what decays fast is gone after it, however large h is, and where z⁺ is next to
z for a huge h, there is a rest.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from samflow.losses.eager import AbstractEagerLoss
from samflow.systems import AbstractFlow, AbstractSystem, Map
from samflow.systems.angles import shortest

MOST_STATES = 64
"""No leaps in more dimensions: each takes some Jacobians."""
_SHARE = 0.1
"""A leap moves the weights by about so much of their distance from the point asked about."""
_RESTS = 1e-3
"""A state moves no more if a leap takes it no farther than this part of the way meant."""
_UNSTABLE = 0.3
"""Largest h times a growth rate: over more, an implicit step comes in where the orbit leaves."""
_MANY = 1e6
"""Units of the fastest time scale after which a leap is long, whatever the growth."""
_ROUNDING = 64.0
"""Rounding errors of V, in units of the last place."""
_TURNS = 8
"""So many leaps in turn must be short for a state to be next to a rest."""
_FARTHEST = 3.0
"""No leap is taken over more than this part of the way meant."""
_NEWTON_STEPS = 40
_ACCURATE = 1e-6
_SHORTER = (1.0, 0.1, 0.01)


class Leaps(NamedTuple):
    """Where leaps ended.

    Attributes:
        states: the states after them; where nothing was found, those before.
        rests: whether there is a rest of the motion, next to the state before.
        goes: whether the state moved.
        hidden: whether any motion that there may be is less than rounding.

    """

    states: Float[np.ndarray, "n state"]
    rests: Bool[np.ndarray, " n"]
    goes: Bool[np.ndarray, " n"]
    hidden: Bool[np.ndarray, " n"]


def can_leap(system: AbstractSystem) -> bool:
    """Say whether a system has Jacobians of a size to leap with."""
    eager = isinstance(getattr(system, "loss", None), AbstractEagerLoss)
    return system.state_dim <= MOST_STATES and not eager


def leap(
    system: AbstractSystem, states: np.ndarray, periods: np.ndarray, centre: np.ndarray
) -> Leaps:
    """Make one leap from each state.

    Args:
        system: the map or the flow.
        states: shape (n, state).
        periods: how many steps of a map are one unit of time; of no meaning for a flow.
        centre: weights from which distances are measured, shape (dim,).

    """
    states = np.asarray(states)
    rests, goes, hidden = np.zeros((3, len(states)), dtype=bool)
    now = states
    with np.errstate(all="ignore"):
        reach = _SHARE * np.linalg.norm(states[:, : len(centre)] - centre, axis=1)
        for turn in range(_TURNS):
            # A short way may only mean that something faster dies out: then the next h is longer.
            asked = ~(rests | goes | hidden)
            now, still, found, vague = _one_leap(system, now, periods, reach, asked)
            way = np.linalg.norm((now - states)[:, : len(centre)], axis=1)
            goes |= found & (way > _RESTS * reach)
            hidden |= vague
            rests |= still | (found & ~goes & (turn == _TURNS - 1))
            if not (found & ~(rests | goes)).any():
                break
    return Leaps(now, rests & ~goes, goes, hidden)


def _one_leap(
    system: AbstractSystem,
    states: np.ndarray,
    periods: np.ndarray,
    reach: np.ndarray,
    asked: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Make implicit steps of the states `asked`.

    Return the states after it, and which stand still, which moved, and of which neither is seen.
    """
    motion, jacobian = _moved(system, states, periods)
    dim = states.shape[1] if isinstance(system, AbstractFlow) else system.dim
    rounding = _ROUNDING * np.finfo(float).eps
    noise = rounding * np.einsum("nij,nj->ni", np.abs(jacobian), np.abs(states))
    noise += 0.0 if is_exact(system) else rounding * np.abs(states)
    known = np.isfinite(motion).all(axis=1) & np.isfinite(jacobian).all(axis=(1, 2)) & asked
    still = known & np.all(np.abs(motion) <= noise, axis=1)
    vague = still & (_blur(jacobian, noise, still) > reach)
    still &= ~vague
    wanted = reach / np.linalg.norm(motion[:, :dim], axis=1)
    longest = np.minimum(wanted, _UNSTABLE / _fastest_growth(jacobian, known))
    found, accurate = states.copy(), np.zeros(len(states), dtype=bool)
    for part in _SHORTER:
        left = known & ~still & ~vague & ~accurate
        if left.any():
            tried, good = _implicit(system, states, periods, np.where(left, part * longest, 0.0))
            way = np.linalg.norm((tried - states)[:, :dim], axis=1)
            good &= left & (way <= _FARTHEST * reach)
            found[good] = tried[good]
            accurate |= good
    # Held up by what grows, a short leap says nothing of a rest.
    long = (longest >= wanted) | (longest * np.linalg.norm(jacobian, axis=(1, 2)) >= _MANY)
    short = np.linalg.norm((found - states)[:, :dim], axis=1) <= _RESTS * reach
    return found, still, accurate & (long | ~short), vague


def _blur(jacobian: np.ndarray, noise: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return how far from a state at rest to rounding the true rest may be.

    Along directions in which V does not change at all, as along a line of rests, it is as near.
    """
    blur = np.zeros(len(noise))
    if where.any():
        inverse = np.linalg.pinv(jacobian[where], rcond=_ROUNDING * np.finfo(float).eps)
        blur[where] = np.linalg.norm(np.einsum("nij,nj->ni", np.abs(inverse), noise[where]), axis=1)
    return blur


def _fastest_growth(jacobian: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the largest real part of an eigenvalue; next to 0 where none grows."""
    growth = np.zeros(len(jacobian))
    if known.any():
        growth[known] = np.linalg.eigvals(jacobian[known]).real.max(axis=1)
    return np.maximum(growth, np.finfo(float).tiny)


def _implicit(
    system: AbstractSystem, states: np.ndarray, periods: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solve z⁺ = z + h V(z⁺) by Newton's method; say where it converged."""
    eye, z = np.eye(states.shape[1]), states.copy()
    good = np.zeros(len(states), dtype=bool)
    for _ in range(_NEWTON_STEPS):
        motion, jacobian = _moved(system, z, periods)
        matrix = eye - h[:, None, None] * jacobian
        residual = z - states - h[:, None] * motion
        fine = np.all(np.isfinite(matrix), axis=(1, 2)) & np.all(np.isfinite(residual), axis=1)
        matrix = np.where(fine[:, None, None], matrix, eye)
        try:
            change = np.linalg.solve(matrix, residual[..., None])[..., 0]
        except np.linalg.LinAlgError:  # one singular matrix stops them all
            change = np.einsum("nij,nj->ni", np.linalg.pinv(matrix), residual)
        change = np.where(fine[:, None], change, np.nan)
        z = z - change
        last, way = np.linalg.norm(change, axis=1), np.linalg.norm(z - states, axis=1)
        good = last <= _ACCURATE * way + _ROUNDING * np.finfo(float).eps * np.linalg.norm(z, axis=1)
        if good.all():
            break
    return z, good


def is_exact(system: AbstractSystem) -> bool:
    """Say whether V is known without the difference of two weights, which rounds."""
    return isinstance(system, (AbstractFlow, Map))


def _moved(
    system: AbstractSystem, states: np.ndarray, periods: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    motion, jacobian = _moved_compiled(system, jnp.asarray(states), jnp.asarray(periods))
    return np.asarray(motion), np.asarray(jacobian)


@eqx.filter_jit
def _moved_compiled(system: AbstractSystem, states: Array, periods: Array) -> tuple[Array, Array]:
    """Return V and its Jacobian."""

    def motion(z: Array, period: Array) -> Array:
        if isinstance(system, AbstractFlow):
            return system.velocity(z)
        return lax.fori_loop(0, period, lambda _, by: moved_by(system, z, by), 0.0 * z)

    def one(z: Array, period: Array) -> tuple[Array, Array]:
        return motion(z, period), jax.jacfwd(motion)(z, period)

    return jax.vmap(one)(states, periods)


def moved_by(system: Any, z: Array, by: Array) -> Array:
    """Return by how much a state has moved from `z` one step after it had moved by `by`.

    Of a map. The differences are summed, not the states, which would round small ones away.
    """
    here = z + by
    if isinstance(system, Map):
        return by + system.displacement(here)
    return by + shortest(system, system.step(here) - here)
