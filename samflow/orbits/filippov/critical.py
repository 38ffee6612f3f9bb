"""The field of a normalised rule's flow around a critical point, where it jumps.

With e = g/‖g‖, ℓ(e) the rule's limit at the critical point w* and g ≈ H(w − w*), close to w*

    ġ = −H ℓ(e),        d‖g‖/dt = −S(e),        S(e) = eᵀH ℓ(e).

S decides: where it is positive, ‖g‖ falls to zero in finite time.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow._components import norm
from samflow.losses.base import AbstractLoss
from samflow.rules.base import is_normalised
from samflow.systems.flow import Flow

RANK = 1e-6
"""Relative to the largest |λ|: a smaller eigenvalue of H counts as zero."""
_NUM_DIRECTIONS = 64
_NUM_NEWTON = 10
_FALL = 1e-2
"""Once ‖g‖ has fallen by this factor, the speed at which it falls is taken as settled."""
_STRIDE = 0.1
"""Relative change of g in one step of `fall`."""
_MAX_STRIDES = 400


class Surroundings(NamedTuple):
    """What the field is like around a critical point.

    Attributes:
        system: the flow.
        point: w*.
        hessian: H, its negligible eigenvalues set to zero.
        values: its eigenvalues, ascending.
        vectors: its unit eigenvectors, as rows.
        range_of_h: the projector on the range of H.
        rank: of H; where critical points form a manifold, its codimension.
        normal: the eigenvector n of the largest |λ|.
        sides: S(n) and S(−n).
        speeds: S in many directions, ± the eigenvectors and a fixed sample, of the range of H.
        limits: ℓ in these directions.

    """

    system: Flow
    point: Array
    hessian: Array
    values: Array
    vectors: Array
    range_of_h: Array
    rank: Array
    normal: Array
    sides: Array
    speeds: Array
    limits: Array

    @property
    def is_defined(self) -> Array:
        """Whether the limits exist, and are not all 0 as for a rule that does not jump here."""
        return jnp.all(jnp.isfinite(self.speeds)) & jnp.any(self.speeds != 0)

    @property
    def holds(self) -> Array:
        """Whether ‖g‖ falls whatever the direction, as far as was tried."""
        return jnp.min(self.speeds) > 0

    @property
    def is_still(self) -> Array:
        """Whether no limit moves a solution along the kernel of H."""
        along = self.limits - self.limits @ self.range_of_h
        return jnp.max(jnp.abs(along)) <= RANK * jnp.max(jnp.abs(self.limits))

    @property
    def rounding(self) -> Array:
        """A bound on the rounding error of g at w*."""
        eps = jnp.finfo(self.point.dtype).eps
        return 100 * eps * jnp.max(jnp.abs(self.values)) * (norm(self.point) + eps)

    def pull(self, e: Array) -> Array:
        """Return H ℓ(e), the velocity at which g falls."""
        return self.hessian @ limit(self.system, self.point, e)

    def speed(self, e: Array) -> Array:
        """Return S(e)."""
        return jnp.sum(e * self.pull(e))


def limit(system: Flow, point: Array, e: Array) -> Array:
    """Return ℓ(e), the limit of the rule's direction at the critical point `point`."""
    assert is_normalised(system.rule)
    return system.rule.limit(system.loss, point, e)


def surroundings(system: Flow, point: Array) -> Surroundings:
    """Return the field around the critical point `point`."""
    values, vectors = jnp.linalg.eigh(system.loss.hessian(point))
    sizes = jnp.abs(values)
    counts = sizes > RANK * jnp.max(sizes)
    values, rows = jnp.where(counts, values, 0.0), vectors.T
    hessian, range_of_h = (vectors * values) @ rows, (vectors * counts) @ rows
    normal = rows[jnp.argmax(sizes)]
    samples = jnp.asarray(_samples(system.dim), point.dtype) @ range_of_h
    samples = samples / jnp.linalg.norm(samples, axis=1, keepdims=True)
    axes = jnp.where(counts[:, None], rows, normal)
    directions = jnp.concatenate([normal[None], -normal[None], axes, -axes, samples])
    limits = jax.vmap(lambda e: limit(system, point, e))(directions)
    speeds = jnp.sum(directions * (limits @ hessian), axis=1)
    return Surroundings(
        system=system,
        point=point,
        hessian=hessian,
        values=values,
        vectors=rows,
        range_of_h=range_of_h,
        rank=jnp.sum(counts),
        normal=normal,
        sides=speeds[:2],
        speeds=speeds,
        limits=limits,
    )


@functools.cache
def _samples(dim: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(_NUM_DIRECTIONS, dim))


def critical_point(loss: AbstractLoss, guess: Array) -> Array:
    """Return the critical point near `guess`, by Newton's method with the pseudo-inverse of H.

    On a manifold of critical points this is, to first order in the distance, the nearest.
    """

    def newton(_: int, w: Array) -> Array:
        values, vectors = jnp.linalg.eigh(loss.hessian(w))
        counts = jnp.abs(values) > RANK * jnp.max(jnp.abs(values))
        inverse = jnp.where(counts, 1 / jnp.where(counts, values, 1.0), 0.0)
        return w - vectors @ (inverse * (vectors.T @ loss.gradient(w)))

    return jax.lax.fori_loop(0, _NUM_NEWTON, newton, guess)


def fall(around: Surroundings, e: Array) -> tuple[Array, Array]:
    """Follow ġ = −H ℓ(g/‖g‖) from g = `e`; return the time until g = 0, and whether it falls so.

    In the time τ with dt = ‖g‖ dτ the field F(g) = ‖g‖ H ℓ(g/‖g‖) is homogeneous: F = DF(g) g.
    Linearly implicit Euler, g⁺ = (I + Δτ DF)⁻¹ g, then bears any condition of H and, with ‖g‖ dτ
    summed at the ends of steps, is exact along an eigenvector of DF. Where some direction leaves,
    the steps resolve the speed at which it does, since an implicit step would damp it.
    """

    def field(g: Array) -> Array:
        return norm(g) * around.pull(g / norm(g))

    identity = jnp.eye(e.size, dtype=e.dtype)
    leaving = jnp.maximum(-jnp.min(around.speeds), 0.0)

    def stride(state: tuple[Array, ...]) -> tuple[Array, ...]:
        g, time, count = state
        step = _STRIDE / jnp.maximum(norm(around.pull(g / norm(g))), leaving)
        new = jnp.linalg.solve(identity + step * jax.jacfwd(field)(g), g)
        return new, time + step * norm(new), count + 1

    def goes_on(state: tuple[Array, ...]) -> Array:
        r = norm(state[0])
        return (r > _FALL) & (r < 2) & (state[2] < _MAX_STRIDES)

    g, time, _ = jax.lax.while_loop(goes_on, stride, (e, jnp.zeros((), e.dtype), jnp.asarray(0)))
    r = norm(g)
    speed = around.speed(g / r)
    return time + r / speed, (r <= _FALL) & (speed > 0)
