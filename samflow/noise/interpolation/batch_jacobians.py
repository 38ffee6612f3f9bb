"""Jacobians of a step on mini-batches, for any smooth rule: on all batches, or on drawn ones."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from samflow import _checks
from samflow._random import key_words, words
from samflow._types import ArrayLike, NumpyArray
from samflow.losses.finite_sum import FiniteSum
from samflow.noise.interpolation.batch_operator import Operator, Perron, batches, leading
from samflow.rules.base import is_normalised
from samflow.systems.stochastic_map import StochasticMap

MOST_BATCHES = 20_000
"""Up to this many different batches (or pairs, with a second draw) are listed one by one."""

MOST_COORDINATES = 60
"""Largest state: the Jacobians of all batches are kept in memory."""

_FREE = 1e-12
"""Part of the largest mean of ‖(J − I)z‖² below which the direction z is one no step moves."""

_JUMP = 1e-8
"""Nearer than this to a jump of the rule its Jacobian is not used."""


class Jacobians(NamedTuple):
    """The Jacobians of a step at a point that it leaves alone, one per batch.

    Attributes:
        matrices: J, shape (batches, s, s), restricted to the directions that some step moves.
        weights: probability of each batch, shape (batches,), summing to 1.
        basis: these coordinates as rows, shape (s, state_dim).

    """

    matrices: NumpyArray
    weights: NumpyArray
    basis: NumpyArray


def check_smooth(system: StochasticMap) -> None:
    """Refuse a rule that jumps where the gradient is 0."""
    if is_normalised(system.map.rule):
        raise _checks.ArgumentError(
            f"Argument `system` must be of a rule with a Jacobian at a minimum, but "
            f"{system.map.rule.name} divides by the length of the gradient and jumps there: it "
            "has no linearisation. Use USAM, or SAM with an eps (`sf.rules.PracticalSAM`)."
        )


def num_batches(system: StochasticMap) -> int:
    """Return how many different batches there are, as sets or as multisets; pairs if `fresh`."""
    count = batches(system).num_batches(_num_examples(system))
    return count**2 if system.fresh else count


def enumerated(system: StochasticMap, w: ArrayLike) -> Jacobians:
    """Return the Jacobian for every batch, with its probability.

    Raises:
        ArgumentError: for more than `MOST_BATCHES` batches, a second draw, a rule without a
            Jacobian, and a state too long.

    """
    noise, n = batches(system), _num_examples(system)
    if system.fresh or num_batches(system) > MOST_BATCHES:
        raise _checks.ArgumentError(
            f"Argument `expectation` must not be 'enumerated' for {num_batches(system)} batches"
            f"{' with a second draw' if system.fresh else f', more than {MOST_BATCHES}'}. "
            "Use 'monte carlo'."
        )
    chosen, ways = noise.all_batches(n)
    z = _rest(system, w)
    found = _on_batches(system, z, jnp.asarray(chosen))
    return _across_free(system, *found, ways)


def sampled(
    system: StochasticMap, w: ArrayLike, *, key: PRNGKeyArray, num_samples: int
) -> Jacobians:
    """Return the Jacobian for `num_samples` independent draws; draw i depends on (key, i) alone."""
    num_samples = _checks.count("num_samples", num_samples, minimum=2)
    _num_examples(system)
    z = _rest(system, w)
    found = _on_draws(system, z, key_words(key), jnp.arange(num_samples))
    return _across_free(system, *found, np.full(num_samples, 1 / num_samples))


def perron(found: Jacobians, *, tol: float) -> tuple[Perron, float]:
    """Return the leading eigenvalue of P ↦ Σ p_b J_b P J_bᵀ, and its standard error if sampled.

    The error is that of first-order perturbation: with L and R the left and the right eigenmatrix
    the radius moves by ⟨L, δT(R)⟩/⟨L, R⟩, a mean over the draws.
    """
    matrices, weights, size = found.matrices, found.weights, found.matrices.shape[1]
    right = leading(_average(matrices, weights), size, self_adjoint=False, tol=tol)
    left = leading(_average(matrices.swapaxes(1, 2), weights), size, self_adjoint=False, tol=tol)
    images = np.matmul(np.matmul(matrices, right.mode), matrices.swapaxes(1, 2))
    effects = np.einsum("ab,kab->k", left.mode, images) / np.sum(left.mode * right.mode)
    return right, float(np.std(effects, ddof=1) / math.sqrt(len(effects)))


def _average(matrices: NumpyArray, weights: NumpyArray) -> Operator:
    size = matrices.shape[1]
    # Σ p J[a,c] J[b,d] as one product of matrices, rather than a loop over the batches.
    flat = matrices.reshape(len(matrices), size * size)
    table = (flat.T * weights) @ flat
    table = table.reshape(size, size, size, size).transpose(0, 2, 1, 3)  # [a, b, c, d]
    table = table.reshape(size * size, size * size)

    def apply(p: NumpyArray) -> NumpyArray:
        image = (table @ p.ravel()).reshape(size, size)
        return (image + image.T) / 2

    return apply


def _num_examples(system: StochasticMap) -> int:
    check_smooth(system)
    batches(system)
    if system.state_dim > MOST_COORDINATES:
        raise _checks.ArgumentError(
            f"Argument `system` must have a state of at most {MOST_COORDINATES} numbers for the "
            f"rule {system.map.rule.name}, but has {system.state_dim}. GD and USAM have no limit."
        )
    assert isinstance(system.loss, FiniteSum)
    return system.loss.num_examples


def _rest(system: StochasticMap, w: ArrayLike) -> Array:
    rule = system.map.rule
    if rule.num_memories:
        raise _checks.ArgumentError(
            f"Argument `system` must be of a rule without a memory, but is of {rule.name}."
        )
    return system.lift(_checks.point("w", w, system.dim))


@eqx.filter_jit
def _on_batches(system: StochasticMap, z: Array, chosen: Array) -> tuple[Array, Array]:
    def one(indices: Array) -> tuple[Array, Array]:
        assert isinstance(system.loss, FiniteSum)
        drawn = eqx.tree_at(lambda m: m.loss, system.map, system.loss.batch(indices))
        return jax.jacfwd(drawn.step)(z), drawn.singularity(z)

    return jax.lax.map(one, chosen, batch_size=64)


@eqx.filter_jit
def _on_draws(system: StochasticMap, z: Array, key: Array, members: Array) -> tuple[Array, Array]:
    def one(member: Array) -> tuple[Array, Array]:
        drawn = system.drawn(words(key, member, 0, system.num_words))
        return jax.jacfwd(drawn.step)(z), drawn.singularity(z)

    return jax.lax.map(one, members, batch_size=64)


def _across_free(
    system: StochasticMap, matrices: Array, distance: Array, weights: NumpyArray
) -> Jacobians:
    if not (np.asarray(distance) > _JUMP).all():
        raise _checks.ArgumentError(
            f"Argument `system` must be of a rule with a Jacobian at `w`, but "
            f"{system.map.rule.name} jumps there on some batches."
        )
    found = np.asarray(matrices)
    if not np.isfinite(found).all():
        raise _checks.ArgumentError(
            "Argument `w` must be a point where every step has a finite Jacobian, but some have "
            "not."
        )
    moved = found - np.eye(found.shape[1])
    gram = np.einsum("k,kca,kcb->ab", weights, moved, moved)
    values, vectors = np.linalg.eigh(gram)
    kept = values > _FREE * values[-1]
    if not kept.any():
        raise _checks.ArgumentError(
            "Argument `w` must be a point where at least one batch moves the state, but none does."
        )
    basis = vectors[:, kept].T
    return Jacobians(np.einsum("ac,kcd,bd->kab", basis, found, basis), weights, basis)
