"""Models of gradient noise: how a step's loss differs from the whole one.

A model draws a loss L_ξ, and the rule runs on it: the gradients of one step, in ascent and in
descent, then come from the same draw. Numbers come from random words, see `samflow._random`.
"""

import abc
import itertools
import math
from collections import Counter
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from samflow import _checks
from samflow._components import Components, inner
from samflow._random import Words, below, normals
from samflow._types import ArrayLike, Matrix, NumpyArray, Point, Scalar, V, Vector
from samflow.losses.base import AbstractDerivedLoss, AbstractLoss
from samflow.losses.finite_sum import FiniteSum

_ROUNDING = 1e-10
"""Part of a covariance's norm up to which asymmetry and a negative eigenvalue are rounding."""


class AbstractNoise(eqx.Module):
    """A distribution of losses L_ξ."""

    @abc.abstractmethod
    def num_words(self, loss: AbstractLoss) -> int:
        """Return how many random words one draw takes."""

    @abc.abstractmethod
    def sample(self, loss: AbstractLoss, words: Words) -> AbstractLoss:
        """Return L_ξ, which takes weights in the layout that `words` are in."""

    @abc.abstractmethod
    def check(self, loss: AbstractLoss) -> None:
        """Refuse a loss that this noise does not fit."""

    @abc.abstractmethod
    def describe(self) -> str:
        """Say in a few words what the noise is."""


class AdditiveNoise(AbstractNoise):
    """Gaussian noise on the gradient alone: L_ξ(w) = L(w) + ξ·w, ξ ~ N(0, Σ/batch_size).

    The Hessian of L_ξ is that of L, and Σ does not depend on w.

    Attributes:
        covariance: Σ, of one example's gradient: shape (dim, dim), or (dim,) for a diagonal.
        batch_size: B > 0, not necessarily whole, and a leaf that sweeps.

    Raises:
        ArgumentError: for a Σ that is not symmetric positive semidefinite; with a Σ known only
            at run time, which must be diagonal, entries below 0 give NaN.

    """

    factor: Float[Array, "..."]
    batch_size: Scalar

    def __init__(self, covariance: ArrayLike, batch_size: ArrayLike = 1) -> None:
        self.factor = _factor(covariance)
        self.batch_size = _checks.positive_array("batch_size", batch_size)

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.factor.shape[0]

    @property
    def covariance(self) -> Matrix:
        """Σ/batch_size, the covariance of ξ, shape (dim, dim)."""
        factor = jnp.diag(self.factor) if self.factor.ndim == 1 else self.factor
        return factor @ factor.T / self.batch_size

    def num_words(self, loss: AbstractLoss) -> int:
        """Return dim, made even."""
        return loss.dim + loss.dim % 2

    def sample(self, loss: AbstractLoss, words: Words) -> "TiltedLoss":
        """Return L + ξ·w."""
        drawn = normals(words)
        scale = jnp.sqrt(1 / self.batch_size)
        if isinstance(drawn, tuple):
            shift = Components(*(scale * _row(self.factor, i, drawn) for i in range(loss.dim)))
        elif self.factor.ndim == 1:
            shift = scale * self.factor * drawn[: loss.dim]
        else:
            shift = scale * self.factor @ drawn[: loss.dim]
        return TiltedLoss(loss, shift)

    def check(self, loss: AbstractLoss) -> None:
        """Refuse a loss of another number of weights."""
        if self.dim != loss.dim:
            raise _checks.ArgumentError(
                f"Argument `noise` must have a covariance for {loss.dim} weights, as the loss, but "
                f"has one for {self.dim}."
            )

    def describe(self) -> str:
        """Say what the noise is."""
        return f"additive Gaussian noise, batch_size={float(self.batch_size):g}"


def isotropic_noise(dim: int, *, sigma: ArrayLike, batch_size: ArrayLike = 1) -> AdditiveNoise:
    """Return additive noise of covariance sigma² I / batch_size."""
    sigma = _checks.nonnegative_array("sigma", sigma)
    return AdditiveNoise(jnp.full(_checks.count("dim", dim), sigma**2), batch_size)


def hessian_noise(loss: AbstractLoss, w: ArrayLike, *, batch_size: ArrayLike = 1) -> AdditiveNoise:
    """Return additive noise of covariance |H(w)| / batch_size, Hessian-shaped.

    |H| has the eigenvectors of H and the moduli of its eigenvalues: near a minimum it is H, the
    model in which a log-likelihood's gradient noise has the Fisher matrix for its covariance.
    Source: Kim et al. (arXiv 2301.06308), who write [H]⁺ for it.
    """
    values, vectors = jnp.linalg.eigh(loss.hessian(_checks.point("w", w, loss.dim)))
    return AdditiveNoise((vectors * jnp.abs(values)) @ vectors.T, batch_size)


def data_noise(
    loss: AbstractLoss, w: ArrayLike, *, batch_size: int = 1, replacement: bool = False
) -> AdditiveNoise:
    """Return additive noise of the covariance that a batch's gradient has at `w`.

    With Σ the covariance of one example's gradient among the n, a batch of B drawn with
    replacement has Σ/B, without it (n − B)/(n − 1) Σ/B.

    Raises:
        ArgumentError: for a loss that is no mean over examples, and a batch too large.

    """
    MiniBatch(batch_size, replacement).check(loss)
    assert isinstance(loss, FiniteSum)
    w = _checks.point("w", w, loss.dim)
    gradients = np.stack([np.asarray(part.gradient(w)) for part in loss.shards(1)])
    centred = gradients - gradients.mean(axis=0)
    n = loss.num_examples
    kept = 1.0 if replacement else (n - batch_size) / max(n - 1, 1)
    return AdditiveNoise(kept * centred.T @ centred / n, batch_size)


_UNROLLED = 8
"""Batches larger than this are drawn in a loop: unrolled, their B² comparisons compile slowly."""


class MiniBatch(AbstractNoise):
    """The mean loss of a batch of examples, drawn anew at each step and evenly.

    Attributes:
        batch_size: B, a whole number.
        replacement: whether an example can be drawn twice for one batch. Either way the batches
            of different steps are independent, which those of a shuffled epoch are not.

    """

    batch_size: int = eqx.field(static=True, converter=lambda v: _checks.count("batch_size", v))
    replacement: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        _checks.instance("replacement", self.replacement, bool)

    def num_words(self, loss: AbstractLoss) -> int:
        """Return B."""
        return self.batch_size

    def sample(self, loss: AbstractLoss, words: Words) -> AbstractLoss:
        """Return the loss of a batch."""
        assert isinstance(loss, FiniteSum)
        return loss.batch(self.indices(loss.num_examples, words))

    def indices(self, num_examples: int, words: Words) -> Any:
        """Return the examples of a batch: an array (B,), or a tuple of B arrays, one a member."""
        n, size = num_examples, self.batch_size
        if self.replacement:
            drawn = [below(high, n) for high in words.high] if _by_member(words) else None
            return tuple(drawn) if drawn is not None else below(words.high, n)
        # Floyd's algorithm: at its turn j is drawn if the number drawn from 0..j is taken already.
        if not _by_member(words) and size > _UNROLLED:
            turns = jnp.arange(n - size, n, dtype=jnp.int32)
            return _chosen(below(words.high, turns + 1), turns)
        chosen: list[Any] = []
        for high, j in zip(words.high, range(n - size, n), strict=True):
            index = below(high, j + 1)
            taken = jnp.zeros(jnp.shape(index), bool)
            for other in chosen:
                taken = taken | (index == other)
            chosen.append(jnp.where(taken, j, index))
        return tuple(chosen) if _by_member(words) else jnp.stack(chosen)

    def num_batches(self, num_examples: int) -> int:
        """Return how many batches differ, the order in a batch aside."""
        return math.comb(num_examples + (self.batch_size - 1) * self.replacement, self.batch_size)

    def all_batches(self, num_examples: int) -> tuple[NumpyArray, NumpyArray]:
        """Return every batch, shape (num_batches, B), and its probability, (num_batches,)."""
        n, size = num_examples, self.batch_size
        if not self.replacement:
            batches = np.array(list(itertools.combinations(range(n), size)))
            return batches, np.full(len(batches), 1 / len(batches))
        batches = np.array(list(itertools.combinations_with_replacement(range(n), size)))
        orders = [
            math.factorial(size) / math.prod(map(math.factorial, Counter(row).values()))
            for row in batches.tolist()
        ]
        return batches, np.array(orders) / float(n) ** size

    def check(self, loss: AbstractLoss) -> None:
        """Refuse a loss that is no mean over examples, and a batch larger than the data."""
        if not isinstance(loss, FiniteSum):
            raise _checks.ArgumentError(
                f"Argument `noise` must be additive for {loss.name}, which is not a mean over "
                "examples, but is a mini-batch. Use `sf.losses.mean` or `sf.losses.network`."
            )
        if self.batch_size > loss.num_examples:
            raise _checks.ArgumentError(
                f"Argument `batch_size` must be at most the number of examples, "
                f"{loss.num_examples}, but is {self.batch_size}."
            )

    def describe(self) -> str:
        """Say what the noise is."""
        how = "with" if self.replacement else "without"
        return f"mini-batches of {self.batch_size} {how} replacement"


class TiltedLoss(AbstractDerivedLoss):
    """The loss L(w) + ξ·w, whose gradient is g(w) + ξ."""

    loss: AbstractLoss
    shift: Vector

    @property
    def whole(self) -> AbstractLoss:
        """The loss without the tilt."""
        return self.loss

    def __call__(self, w: Point) -> Scalar:
        """Return L(w) + ξ·w."""
        return self.loss(w) + inner(self.shift, w)

    def gradient(self, w: V) -> V:
        """Return g(w) + ξ in the layout of `w`."""
        return self.loss.gradient(w) + self.shift

    def hessian(self, w: Point) -> Matrix:
        """Return H(w), which the tilt leaves alone."""
        return self.loss.hessian(w)


def _chosen(drawn: Array, turns: Array) -> Array:
    """Return each number drawn, or its turn in the place of one that came before."""

    def choose(i: Any, chosen: Array) -> Array:
        taken = jnp.any((chosen == drawn[i]) & (jnp.arange(len(turns)) < i))
        return chosen.at[i].set(jnp.where(taken, turns[i], drawn[i]))

    return lax.fori_loop(0, len(turns), choose, jnp.zeros_like(drawn))


def _by_member(words: Words) -> bool:
    return isinstance(words.high, tuple)


def _row(factor: Array, i: int, drawn: tuple[Any, ...]) -> Any:
    """Return entry i of factor · drawn, one a member."""
    if factor.ndim == 1:
        return factor[i] * drawn[i]
    return sum(factor[i, j] * drawn[j] for j in range(factor.shape[1]))


def _factor(covariance: ArrayLike) -> Array:
    """Return F with FFᵀ = Σ, as a diagonal where Σ is one."""
    if _checks.is_traced(covariance):
        if covariance.ndim != 1:
            raise _checks.ArgumentError(
                "Argument `covariance` must be diagonal, shape (dim,), if it is traced by JAX, but "
                f"has shape {covariance.shape}."
            )
        return jnp.sqrt(covariance)
    try:
        sigma = _checks.real_numbers(covariance)
    except TypeError as error:
        raise _checks.ArgumentError("Argument `covariance` must be a matrix of numbers.") from error
    if sigma.ndim not in (1, 2) or not sigma.size or set(sigma.shape) != {len(sigma)}:
        raise _checks.ArgumentError(
            f"Argument `covariance` must have shape (dim, dim), or (dim,) for a diagonal, but has "
            f"shape {sigma.shape}."
        )
    if not np.isfinite(sigma).all():
        raise _checks.ArgumentError("Argument `covariance` must be finite, but is not.")
    scale = np.abs(sigma).max()
    if sigma.ndim == 2:
        apart = np.abs(sigma - sigma.T).max()
        if apart > _ROUNDING * scale:
            raise _checks.ArgumentError(
                f"Argument `covariance` must be symmetric, but entries differ by {apart:.3g} from "
                "those across the diagonal."
            )
    if sigma.ndim == 2 and not (sigma - np.diag(np.diag(sigma))).any():
        sigma = np.diag(sigma)
    values, vectors = (sigma, None) if sigma.ndim == 1 else np.linalg.eigh((sigma + sigma.T) / 2)
    if values.min() < -_ROUNDING * scale:
        raise _checks.ArgumentError(
            f"Argument `covariance` must be positive semidefinite, but has the eigenvalue "
            f"{values.min():.6g}."
        )
    roots: NumpyArray = np.sqrt(np.maximum(values, 0))
    return jnp.asarray(roots if vectors is None else vectors * roots)
