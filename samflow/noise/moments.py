"""Second moments near a critical point: exact for the linearised random map."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike, Matrix, Point
from samflow.losses.finite_sum import FiniteSum
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems.base import check_fixed
from samflow.systems.gradient_noise import AdditiveNoise, MiniBatch, TiltedLoss
from samflow.systems.map import Map
from samflow.systems.stochastic_map import StochasticMap

MOST_BATCHES = 20_000
"""Up to this many different batches a mini-batch's expectations are sums over all of them."""
MOST_COORDINATES = 60
"""Up to so many numbers a state may have with mini-batches."""
_AT_REST = 1e-8
"""Largest step at the point, as a part of lr, for which it counts as at rest."""


class SecondMoment(AbstractRecord):
    """Moments of x = w − w* under the linearised random map, at the steps kept.

    Attributes:
        steps: the step number of each, 0 for the start.
        mean: E x, shape (kept, dim).
        second: E x xᵀ, shape (kept, dim, dim); not finite from where it overflows.
        radius: spectral radius of the map of second moments, P ↦ E[J P Jᵀ]: they stay bounded
            below 1 and grow above; NaN where the map has no Jacobian.
        status: located; or not_a_fixed_point or not_differentiable, and then all is NaN.

    """

    basis: ClassVar[Names] = ("moments",)
    rows: ClassVar[Names] = ("kept",)
    status: Status = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    steps: Int[Array, " kept"] = eqx.field(metadata=axes("kept", units="step"))
    mean: Float[Array, "kept dim"] = eqx.field(metadata=axes("kept", "weight", units="weight"))
    second: Float[Array, "kept dim dim"] = eqx.field(
        metadata=axes("kept", "weight", "weight_2", units="weight^2")
    )
    radius: Float[Array, ""] = eqx.field(metadata=axes(units="1"))


class _Linear(NamedTuple):
    """The parts of a random affine map x⁺ = Jx + c from which its first two moments follow.

    Attributes:
        mean: E J, shape (s, s).
        push: E c, shape (s,).
        second: P ↦ E[J P Jᵀ] for symmetric P.
        cross: m ↦ E[J m cᵀ].
        kick: E c cᵀ.

    """

    mean: Matrix
    push: Array
    second: Callable[[Matrix], Matrix]
    cross: Callable[[Array], Matrix]
    kick: Matrix


@_checks.untraced()
def second_moment(
    system: StochasticMap,
    w: ArrayLike,
    *,
    num_steps: int,
    keep_every: int | None = None,
    start: ArrayLike | None = None,
) -> SecondMoment:
    """Return E x and E x xᵀ after 0, k, 2k, ... steps, x = w − w*, for the linearised map.

    With additive noise the linearised map is x⁺ = A x + G ξ, A and G its Jacobians in the state
    and in the noise at w*, and P⁺ = A P Aᵀ + G Cov(ξ) Gᵀ. For mini-batches it is x⁺ = J x + c on
    each batch, and P⁺ = E[J P Jᵀ] + E[J m cᵀ] + E[c mᵀ Jᵀ] + E[c cᵀ], summed over all batches.
    Momentum is part of the state, (w, v). This is exact where the losses are quadratic, and for
    any other loss as long as x stays small.

    Args:
        system: any rule that is smooth at w*, so not normalised SAM.
        w: a critical point w* of the whole loss, shape (dim,).
        num_steps: number of steps.
        keep_every: steps between two moments kept; by default the first and the last only.
        start: the displacement x at the start, at velocity 0; by default 0.

    Returns:
        The moments of the weights. A point that the map without noise moves, or at which it has
        no Jacobian, gives NaN and a status that says so.

    Raises:
        ArgumentError: in single precision, for arguments out of range, and where more than
            `MOST_BATCHES` different batches would have to be summed over, or Jacobians of more
            than `MOST_COORDINATES` rows be held for each.

    Source: section 6 of docs/theory; for SGD, Liu, Ziyin, Ueda 2021 (arXiv 2012.03636).

    """
    _checks.double_precision("Computing second moments")
    _checks.instance("system", system, StochasticMap, "Use `sf.StochasticMap(map, noise)`.")
    check_fixed(system)
    w = _checks.point("w", w, system.dim)
    num_steps = _checks.count("num_steps", num_steps)
    keep_every = _checks.count("keep_every", num_steps if keep_every is None else keep_every)
    keep_every = min(keep_every, num_steps)
    x0 = jnp.zeros(system.dim) if start is None else _checks.point("start", start, system.dim)
    steps = keep_every * np.arange(1 + num_steps // keep_every)
    about = provenance(system.describe(), w=w, num_steps=num_steps)
    status = _status(system, w)
    if status != Status.located:
        shape = (len(steps), system.dim, system.dim)
        nothing = (jnp.full(shape[:2], jnp.nan), jnp.full(shape, jnp.nan), jnp.asarray(jnp.nan))
        return SecondMoment(status, about, jnp.asarray(steps), *nothing)
    batches = _batches(system)
    x0 = jnp.concatenate([x0, jnp.zeros(system.state_dim - system.dim)])
    mean, second, radius = _recursion(system, w, batches, x0, jnp.asarray(keep_every), len(steps))
    dim = system.dim
    return SecondMoment(
        status, about, jnp.asarray(steps), mean[:, :dim], second[:, :dim, :dim], radius
    )


def _status(system: StochasticMap, w: Point) -> Status:
    z = system.lift(w)
    if not system.singularity(z) > 0:
        return Status.not_differentiable
    moved = jnp.linalg.norm(system.map.step(z) - z)
    scale = float(system.map.lr) * (1 + float(jnp.linalg.norm(w)))
    return Status.located if moved <= _AT_REST * scale else Status.not_a_fixed_point


def _batches(system: StochasticMap) -> tuple[Array, Array] | None:
    """Return every batch as a row of indices, and its probability; None for additive noise."""
    noise, loss = system.noise, system.loss
    if isinstance(noise, AdditiveNoise):
        return None
    if not isinstance(noise, MiniBatch):
        raise _checks.ArgumentError(
            "Argument `system` must have the noise MiniBatch or AdditiveNoise for exact moments, "
            f"but has {noise.describe()}. Use `sf.noise.sample_moments`."
        )
    assert isinstance(loss, FiniteSum)
    count = noise.num_batches(loss.num_examples) ** (1 + system.fresh)
    if count > MOST_BATCHES:
        raise _checks.ArgumentError(
            f"Argument `system` must have at most {MOST_BATCHES} different batches to sum over, "
            f"but has {count}. Use `sf.noise.data_noise` for noise of their covariance, or "
            "`sf.noise.sample_moments`."
        )
    if system.state_dim > MOST_COORDINATES:
        raise _checks.ArgumentError(
            f"Argument `system` must have a state of at most {MOST_COORDINATES} numbers to hold "
            f"the Jacobians of all batches, but has {system.state_dim}. Use "
            "`sf.noise.mean_square_rate`, or `sf.noise.sample_moments`."
        )
    rows, probabilities = noise.all_batches(loss.num_examples)
    return jnp.asarray(rows), jnp.asarray(probabilities)


@eqx.filter_jit
def _recursion(
    system: StochasticMap,
    w: Point,
    batches: tuple[Array, Array] | None,
    x0: Array,
    every: Array,
    kept: int,
) -> tuple[Array, Array, Array]:
    linear = _additive(system, w) if batches is None else _enumerated(system, w, *batches)

    def step(_: Any, moments: tuple[Array, Array]) -> tuple[Array, Array]:
        m, p = moments
        cross = linear.cross(m)
        p = linear.second(p) + cross + cross.T + linear.kick
        return linear.mean @ m + linear.push, (p + p.T) / 2

    def record(moments: tuple[Array, Array], _: None) -> tuple[Any, Any]:
        return lax.fori_loop(0, every, step, moments), moments

    start = (x0, jnp.outer(x0, x0))
    _, (mean, second) = lax.scan(record, start, None, length=kept)
    if batches is None:  # every J is A
        return mean, second, jnp.max(jnp.abs(jnp.linalg.eigvals(linear.mean))) ** 2
    size = x0.size
    basis = jnp.eye(size * size).reshape(-1, size, size)
    images = jax.vmap(lambda e: linear.second((e + e.T) / 2))(basis)
    operator = images.reshape(size * size, size * size).T
    return mean, second, jnp.max(jnp.abs(jnp.linalg.eigvals(operator)))


def _additive(system: StochasticMap, w: Point) -> _Linear:
    """Return the map with additive noise, linearised in the state and in the noise."""
    assert isinstance(system.noise, AdditiveNoise)
    z, dim = system.lift(w), system.dim
    draws = 1 + system.fresh

    def step(z: Array, xi: Array) -> Array:
        losses = [TiltedLoss(system.loss, xi[i * dim : (i + 1) * dim]) for i in range(draws)]
        return system.on(*losses).step(z)

    at_rest = jnp.zeros(draws * dim)
    a, g = jax.jacfwd(step, argnums=(0, 1))(z, at_rest)
    covariance = jnp.kron(jnp.eye(draws), system.noise.covariance)
    return _Linear(
        mean=a,
        push=jnp.zeros(z.size),
        second=lambda p: a @ p @ a.T,
        cross=lambda m: jnp.zeros((z.size, z.size)),
        kick=g @ covariance @ g.T,
    )


def _enumerated(system: StochasticMap, w: Point, batches: Array, weights: Array) -> _Linear:
    """Return the map on mini-batches, each linearised, with expectations over all of them."""
    z = system.lift(w)
    rows = (batches,)
    if system.fresh:
        count = len(batches)
        rows = (jnp.repeat(batches, count, axis=0), jnp.tile(batches, (count, 1)))
        weights = jnp.outer(weights, weights).reshape(-1)

    def on(*indices: Array) -> Map:
        return system.on(*(system.loss.batch(i) for i in indices))  # pyright: ignore[reportAttributeAccessIssue]

    jacobians = jax.vmap(lambda *i: jax.jacfwd(on(*i).step)(z))(*rows)
    pushes = jax.vmap(lambda *i: on(*i).step(z) - z)(*rows)
    weighted = weights[:, None] * pushes
    return _Linear(
        mean=jnp.einsum("n,nij->ij", weights, jacobians),
        push=weights @ pushes,
        second=lambda p: jnp.einsum("n,nij,jk,nlk->il", weights, jacobians, p, jacobians),
        cross=lambda m: jnp.einsum("nij,j,nk->ik", jacobians, m, weighted),
        kick=pushes.T @ weighted,
    )
