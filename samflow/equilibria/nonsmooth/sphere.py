"""The least rate at which ‖g‖ falls at a critical point, by minimisation over the unit sphere.

S(e) = m(e)ᵀHℓ(e) with the limit ℓ(e) of a rule's direction, for losses and rules of which nothing
can be proved. The minimum of many is the least one found: no proof that there is none below.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow.losses.base import AbstractLoss
from samflow.rules.critical import EQUAL, LinearAscent

_RANDOM = 64
"""Starts in random directions; as many again are random in H(w − w*)."""
_EIGENVECTORS = 64
"""Starts along eigenvectors, of the smallest |λ| first, with both signs."""
_STEPS = 200
_TOLERANCE = 1e-10
_RANGE, _SCAN, _BRACKET = 32.0, 31, 1e-4
"""The scan in rho: its range, how many values it has, and the width to which an end is bisected."""
_DENSE = 200
"""Up to this many weights the optimiser keeps a whole matrix."""


class LeastRate(NamedTuple):
    """The least S found.

    Attributes:
        value: S; NaN where a limit is undefined somewhere.
        direction: where.
        sign: 1 or −1; 0 where it is 0 to rounding, or NaN.
        num_starts: how many starts the minimisation had.

    """

    value: float
    direction: tuple[float, ...]
    sign: int
    num_starts: int


def least_rate(
    rule: Any, loss: AbstractLoss, w: Array, hessian: np.ndarray, ascent: LinearAscent | None
) -> LeastRate:
    """Minimise S over the unit sphere from many starts.

    Undefined limits, as those of ASAM along a weight of 0, count as no answer: NaN.
    """
    starts = jnp.asarray(_starts(hessian))
    unit = float(np.abs(hessian).max())
    weight = None
    if ascent is not None:
        weight = jnp.asarray(ascent.spread), jnp.asarray(ascent.measure)
    values, ends, scale = _minimise(rule, loss, w, jnp.asarray(hessian / unit), starts, weight)
    values = unit * np.asarray(values)
    best = int(np.argmin(values)) if np.isfinite(values).all() else int(np.argmax(np.isnan(values)))
    decided = abs(values[best]) > EQUAL * unit * float(scale)
    return LeastRate(
        value=float(values[best]),
        direction=tuple(np.asarray(ends[best]).tolist()),
        sign=int(np.sign(values[best])) if decided else 0,
        num_starts=len(values),
    )


class End(NamedTuple):
    """The first rho at which the least S is 0, as far as a scan sees.

    Attributes:
        low: the least S is positive at all rho tried up to this.
        high: it is not at this one; infinite where nothing failed.
        direction: of the least S at `high`; None where nothing failed.
        top: where the scan ended at the latest.

    """

    low: float
    high: float
    direction: tuple[float, ...] | None
    top: float


def end_in_rho(
    rule: Any,
    loss: AbstractLoss,
    w: Array,
    hessian: np.ndarray,
    ascent: LinearAscent | None,
    *,
    length: float,
) -> End:
    """Scan rho upwards in steps of a factor, up to the greater of 2 rho and 32 `length`.

    The first rho that fails and the one before are bisected. A gap of failing rho that is narrower
    than a step of the scan is not seen.
    """

    def least(rho: float) -> LeastRate:
        moved = eqx.tree_at(lambda r: r.rho, rule, jnp.asarray(rho, dtype=float))
        return least_rate(moved, loss, w, hessian, ascent)

    top = max(2 * float(rule.rho), _RANGE * length)
    low, high, direction = 0.0, math.inf, None
    for rho in np.geomspace(top / _RANGE**2, top, _SCAN).tolist():
        found = least(rho)
        if found.sign < 1:
            high, direction = rho, found.direction
            break
        low = rho
    while math.isfinite(high) and high - low > _BRACKET * high:
        middle = 0.5 * (low + high)
        found = least(middle)
        if found.sign > 0:
            low = middle
        else:
            high, direction = middle, found.direction
    return End(low, high, direction, top)


def _starts(hessian: np.ndarray) -> np.ndarray:
    lams, vectors = np.linalg.eigh(hessian)
    weak = vectors.T[np.argsort(np.abs(lams))][:_EIGENVECTORS]
    random = np.random.default_rng(0).normal(size=(2 * _RANDOM, len(hessian)))
    turned = np.linalg.solve(hessian, random[_RANDOM:].T).T
    starts = np.concatenate([weak, -weak, np.eye(len(hessian))[:_RANDOM], random[:_RANDOM], turned])
    return starts / np.linalg.norm(starts, axis=1, keepdims=True)


@eqx.filter_jit
def _minimise(
    rule: Any,
    loss: AbstractLoss,
    w: Array,
    hessian: Array,
    starts: Array,
    ascent: tuple[Array, Array] | None,
) -> tuple[Array, Array, Array]:
    """Return the least S from each start with its direction, and a scale of the limits."""
    import optimistix as optx  # slow to import, and seldom needed

    def rate(e: Array) -> Array:
        push = e
        if ascent is not None:
            spread, measure = ascent
            push = spread @ e / jnp.linalg.norm(measure @ e)
        return (hessian @ push) @ rule.limit(loss, w, e)

    def direction(y: Array) -> Array:
        e = jnp.linalg.solve(hessian, y)  # so that S of the quadratic part is well conditioned
        return e / jnp.linalg.norm(e)

    first = jax.vmap(rate)(starts)
    lengths = jnp.linalg.norm(jax.vmap(lambda e: rule.limit(loss, w, e))(starts), axis=1)
    scale = jnp.max(lengths)
    dense = len(hessian) <= _DENSE
    optimiser = optx.BFGS if dense else optx.LBFGS

    def descend(e: Array) -> tuple[Array, Array]:
        y = hessian @ e
        y = y / jnp.linalg.norm(y)
        found = optx.minimise(
            lambda y, _: rate(direction(y)) / scale,
            optimiser(rtol=_TOLERANCE, atol=_TOLERANCE),
            y,
            max_steps=_STEPS,
            throw=False,
        )
        end = direction(found.value)
        return rate(end), end

    values, ends = jax.vmap(descend)(starts)
    # A start that is undefined counts as no answer, whatever its end is.
    values = jnp.where(jnp.isfinite(first), jnp.minimum(values, first), jnp.nan)
    better = (first <= values)[:, None]
    return values, jnp.where(better, starts, ends), scale
