"""The sliding field of a normalised rule's flow on a manifold of critical points.

On a manifold M = {g = 0} of codimension 1 with unit normal n, λ the one nonzero eigenvalue of H,
let d± = ℓ(±n) be the rule's limits from both sides. Filippov's solution moves by

    ẇ = −(α d₊ + (1 − α) d₋),   α = S₋/(S₊ + S₋),   S± = ±λ n·d±,

tangent to M, and stays as long as S₊ > 0 and S₋ > 0. See docs/theory, "Sliding along a manifold".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from samflow._components import norm
from samflow.orbits.filippov.critical import limit
from samflow.systems.flow import Flow

_LEAVES = 1e-6
"""A side is left when its S has fallen this part of the other's below zero: visibly outwards."""
_DEGENERATE = 1e-3
"""M no longer has codimension 1 when the rest of H exceeds this part of |λ|."""
_PULL = 50.0
"""Divided by t1: rate at which rounding and truncation are drawn back to M, if |λ| is not less."""


class Wall(NamedTuple):
    """M near a point: λ, the size of the rest of H, n, the distance from M, d± and S±."""

    curvature: Array
    rest: Array
    normal: Array
    distance: Array
    limits: Array
    speeds: Array


def wall(system: Flow, w: Array) -> Wall:
    """Return M as seen from `w`, at a distance from M of the order of rounding or tolerances.

    H = λnnᵀ on M, so that its largest column is along n, up to the square of that after a product.
    """
    hessian = system.loss.hessian(w)
    column = hessian[jnp.argmax(jnp.sum(hessian * hessian, axis=0))]
    normal = hessian @ column
    normal = normal / norm(normal)
    curvature = jnp.sum(normal * (hessian @ normal))
    both = jnp.stack([normal, -normal])
    limits = jax.vmap(lambda e: limit(system, w, e))(both)
    return Wall(
        curvature=curvature,
        rest=norm(hessian - curvature * normal[:, None] * normal),
        normal=normal,
        distance=jnp.sum(normal * system.loss.gradient(w)) / curvature,
        limits=limits,
        speeds=curvature * jnp.sum(both * limits, axis=1),
    )


def sliding_velocity(at: Wall, horizon: Array) -> Array:
    """Return the sliding field, with a pull back to M."""
    s_plus, s_minus = at.speeds
    alpha = s_minus / (s_plus + s_minus)
    rate = jnp.minimum(jnp.abs(at.curvature), _PULL / horizon)
    drift = alpha * at.limits[0] + (1 - alpha) * at.limits[1]
    return -drift - rate * at.distance * at.normal


def margins(at: Wall, w: Array, radius: Array) -> Array:
    """Return how far the solution at `w` is from leaving M, where M ends, and escape."""
    stays = jnp.min(at.speeds) / jnp.max(at.speeds) + _LEAVES
    keeps = _DEGENERATE - at.rest / jnp.abs(at.curvature)
    return jnp.stack([stays, keeps, 1 - jnp.sum(w * w) / radius**2])


def take_off(at: Wall, w: Array, length: Array) -> Array:
    """Return a point near `w` at the distance `length` from M, on the side of the smaller S."""
    side = jnp.where(at.speeds[0] < at.speeds[1], 1, -1) * jnp.sign(at.curvature)
    return w + (side * length - at.distance) * at.normal
