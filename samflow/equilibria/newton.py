"""Newton's method on the cycles of a map, from many starts, and which of its ends are one.

The unknowns are all points z₀, ..., z_{p−1} of a cycle at once (multiple shooting):

    Rᵢ = F(zᵢ) − zᵢ₊₁ = 0,  i mod p.

A fixed point solves this for every p, and near a jump of the map nearly every start ends in one.
It is pushed away by deflation (Farrell, Birkisson, Funke 2015): what is solved is M R = 0, with

    M² = 1 + Σ_q size²/‖Z − S^q Z‖²,  q < p dividing p, S the shift by one point,

which is infinite at cycles of a shorter period and has no other zeros than R. A scalar factor
does not turn the direction of Newton's step; it stretches the step by 1/(1 − (log M)′).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from samflow._types import Scalar
from samflow.systems import AbstractMap
from samflow.systems.angles import shortest

ERROR_IN_STEPS = 200.0
"""The error in units of the last Newton step, which it is m times at a zero of multiplicity m."""
DISTINCT = 1e-6
"""Solutions nearer than this, relative to their size, are one solution found twice."""
_SEARCH_STEPS = 50
_POLISH_STEPS = 6
_FRACTIONS = 0.5 ** np.arange(8)
_DECREASE = 0.1
_FLAT = 1e-8
_HUGE = 1e60
_ROUNDING = 8.0
"""Rounding errors of a residual in units of the last place."""


class Ends(NamedTuple):
    """Where Newton's method ended, one item a start.

    Attributes:
        points: the points of each cycle.
        residual: the largest ‖F(zᵢ) − zᵢ₊₁‖.
        error: estimate of how far the largest entry of the points is from a solution's.
        derivative: DFᵖ at the first point.
        singularity: the least distance of a point from where the map is not smooth.
        defined: whether the loss is, at all points; a gradient may be where its loss is not.

    """

    points: Float[Array, "starts period state"]
    residual: Float[Array, " starts"]
    error: Float[Array, " starts"]
    derivative: Float[Array, "starts state state"]
    singularity: Float[Array, " starts"]
    defined: Bool[Array, " starts"]


@eqx.filter_jit
def shoot(
    system: AbstractMap,
    guesses: Float[Array, "starts period state"],
    damped: Bool[Array, " starts"],
    size: Scalar,
) -> Ends:
    """Solve for cycles from every guess, with deflation, then without.

    Args:
        system: the map.
        guesses: points of a cycle; their number is the period.
        damped: whether to search along Newton's direction for a decrease of ‖M R‖. A line search
            comes nearer to a solution where the map jumps, full steps reach more of them where
            it is smooth.
        size: the distance within which shorter cycles repel.

    """
    loss = getattr(system, "loss", lambda w: jnp.zeros(()))

    def solve(guess: Array, damped: Array) -> Ends:
        z, before, (residual, step, derivative, rounding) = _search(system, guess, damped, size)
        last = jnp.maximum(jnp.max(jnp.abs(before)), jnp.max(jnp.abs(step)))
        return Ends(
            z,
            jnp.max(jnp.linalg.norm(residual, axis=1)),
            ERROR_IN_STEPS * last + rounding,
            derivative,
            jnp.min(jax.vmap(system.singularity)(z)),
            jnp.all(jnp.isfinite(jax.vmap(loss)(jax.vmap(system.position)(z)))),
        )

    return jax.vmap(solve)(guesses, damped)


class _Newton(NamedTuple):
    residual: Array
    step: Array
    derivative: Array
    rounding: Array


def _search(
    system: AbstractMap, guess: Array, damped: Array, size: Scalar
) -> tuple[Array, Array, _Newton]:
    """Return the points, the step by which they were reached and the next step."""
    period, dim = guess.shape
    shorter = [q for q in range(1, period) if period % q == 0]
    fractions = jnp.asarray(_FRACTIONS)

    def log_deflation(z: Array) -> Array:
        apart = [shortest(system, z - jnp.roll(z, q, axis=0)) for q in shorter]
        poles = [1 / jnp.sum(each**2) for each in apart]
        return 0.5 * jnp.log1p(size**2 * sum(poles, jnp.zeros(())))

    def merit(z: Array) -> Array:
        return jnp.log(jnp.linalg.norm(_residual(system, z))) + log_deflation(z)

    def move(carry: tuple[Array, Array, _Newton], i: Array) -> tuple[Any, None]:
        z, _, newton = carry
        value, slope = jax.jvp(log_deflation, (z,), (newton.step,))
        searching = i <= _SEARCH_STEPS
        stretch = jnp.where(searching & jnp.isfinite(slope), 1 / (1 - slope), 1.0)
        trials = z + stretch * fractions[:, None, None] * newton.step
        merits = jax.vmap(merit)(trials)
        merits = jnp.where(jnp.isnan(merits), jnp.inf, merits)
        before = jnp.log(jnp.linalg.norm(newton.residual)) + value
        enough = merits < before + jnp.log1p(-_DECREASE * fractions)
        best = jnp.where(enough.any(), jnp.argmax(enough), jnp.argmin(merits))
        z = trials[jnp.where(searching & damped, best, 0)]
        return (z, newton.step, _newton(system, z)), None

    rest = jnp.zeros_like(guess)
    first = _Newton(rest, rest, jnp.zeros((dim, dim)), jnp.zeros(()))
    steps = jnp.arange(1 + _SEARCH_STEPS + _POLISH_STEPS)
    return lax.scan(move, (guess, rest, first), steps)[0]


def _residual(system: AbstractMap, z: Array) -> Array:
    return shortest(system, jax.vmap(system.step)(z) - jnp.roll(z, -1, axis=0))


def _newton(system: AbstractMap, z: Array) -> _Newton:
    """Return R, Newton's step δ, the derivative around the cycle and the error by rounding.

    δᵢ₊₁ = DF(zᵢ) δᵢ + Rᵢ leaves (I − DFᵖ) δ₀ = r to solve. What of r is mere rounding moves
    nothing where I − DFᵖ is nearly singular, so that cycles that form a continuum are found, too;
    a cycle of multiplicity three may be off by the cube root. No singular value is cut off by its
    size alone: across SAM's cycles multipliers of 10¹² stand beside some near 1.
    """
    residual = _residual(system, z)
    jacobians = jax.vmap(jax.jacfwd(system.step))(z)

    def follow(carry: tuple[Array, Array], here: tuple[Array, Array]):
        product, rest = carry
        jacobian, r = here
        return (jacobian @ product, jacobian @ rest + r), carry

    eye = jnp.eye(z.shape[1])
    start = (eye, jnp.zeros(z.shape[1]))
    (derivative, rest), (products, rests) = lax.scan(follow, start, (jacobians, residual))
    rounding = _ROUNDING * jnp.finfo(z.dtype).eps
    noise = rounding * jnp.maximum(jnp.max(jnp.abs(products)), jnp.max(jnp.abs(jacobians)))
    scale = jnp.max(jnp.abs(z))
    finite = jnp.all(jnp.abs(derivative) < _HUGE)  # LAPACK may never return from others
    u, s, vt = jnp.linalg.svd(jnp.where(finite, eye - derivative, eye))
    signal = u.T @ rest
    flat = (s < _FLAT) & (jnp.abs(signal) <= noise * scale)
    first = vt.T @ jnp.where(flat, 0.0, signal / s)
    step = jnp.where(finite, products @ first + rests, jnp.nan)
    error = scale * jnp.max(jnp.where(flat, jnp.cbrt(noise), rounding * (1 + 1 / s)))
    return _Newton(residual, step, derivative, error)


@eqx.filter_jit
def unit_points(num: int, dim: int, key: Array) -> Float[Array, "points dim"]:
    """Return points of the unit box, uniformly; point i depends on (key, i) alone."""
    keys = jax.vmap(partial(jr.fold_in, key))(jnp.arange(num))
    return jax.vmap(lambda k: jr.uniform(k, (dim,)))(keys)


def distinct(
    points: np.ndarray,
    errors: np.ndarray,
    sizes: np.ndarray,
    turned: Callable[[np.ndarray], np.ndarray] = lambda apart: apart,
) -> np.ndarray:
    """Say which items are one: return for each the index of the most accurate of its group.

    Args:
        points: cycles (items, period, state), equal if they are up to a shift; or fixed points
            with a period of 1.
        errors: how far each may be from a solution, in the largest entry.
        sizes: the length that is called large for each; DISTINCT times it is small.
        turned: takes differences, and returns them with angles taken the shorter way around.

    """
    group = np.full(len(points), -1)
    kept: list[int] = []
    for i in np.argsort(errors, kind="stable"):
        shifts = np.stack([np.roll(points[i], q, axis=0) for q in range(points.shape[1])])
        gaps = np.abs(turned(points[kept][:, None] - shifts)).max(axis=(2, 3)).min(axis=1)
        near = errors[i] + errors[kept] + DISTINCT * np.maximum(sizes[i], sizes[kept])
        same = np.flatnonzero(gaps <= near)
        group[i] = kept[same[0]] if len(same) else i
        if not len(same):
            kept.append(i)
    return group
