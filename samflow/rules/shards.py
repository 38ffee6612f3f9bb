"""Rules that tell a part of the examples from all of them."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._components import inner, norm, unit
from samflow._status import Kind
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.losses.finite_sum import shards, whole
from samflow.rules._common import over, radius
from samflow.rules.base import AbstractMemorylessRule, AbstractNormalisedRule
from samflow.rules.critical import (
    EQUAL,
    Ascent,
    AscentStep,
    Attraction,
    LinearAscent,
    plain_ascent,
)
from samflow.rules.sam import AbstractSAM


class MSAM(AbstractMemorylessRule):
    """m-SAM: the mean over shards S of ∇L_S(w + rho ∇L_S(w)/‖∇L_S(w)‖).

    A shard is `shard_size` examples, and the loss L the mean of the shards' losses L_S: each
    takes an ascent step of its own, as on the devices of a parallel computer. The loss must be a
    mean over examples, as `samflow.losses.mean` and `samflow.losses.network` make it; any other
    counts as one example, on which m-SAM is SAM. `rho` is a length in weight space. (Momentum-SAM,
    which some call MSAM, is another rule.)

    Undefined where the gradient of a shard vanishes. A critical point of L is not such a point
    unless it is one of a shard: m-SAM is smooth there, and not at rest as a rule. A minimum that
    fits every example is one of all shards.
    Source: Foret et al. 2021 (arXiv 2010.01412); Andriushchenko and Flammarion 2022
    (arXiv 2206.06232), who name it.
    """

    rho: Scalar = eqx.field(converter=radius)
    shard_size: int = eqx.field(
        static=True, default=1, converter=lambda v: _checks.count("shard_size", v)
    )
    name: ClassVar[str] = "m-sam"
    formula: ClassVar[str] = "mean over shards S of g_S(w + rho g_S(w)/‖g_S(w)‖)"
    source: ClassVar[str] = (
        "Foret et al. 2021, arXiv 2010.01412; Andriushchenko, Flammarion 2022, arXiv 2206.06232"
    )
    smooth: ClassVar[bool] = False
    closed_forms: ClassVar[str] = (
        "sliding of the flow; 2-cycle in one dimension (shared critical points)"
    )

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return the mean of the shards' directions; NaN where the gradient of one is 0."""

        def sam(part: AbstractLoss) -> Vector:
            return part.gradient(w + self.rho * unit(part.gradient(w)))

        directions = _each(sam, shards(loss, self.shard_size))
        return jax.tree.map(lambda d: jnp.mean(d, axis=0), directions)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return the least of the shards' ‖∇L_S(w)‖."""
        lengths = _each(lambda part: norm(part.gradient(w)), shards(loss, self.shard_size))
        return jnp.min(lengths, axis=0)

    def linear_ascent(self, loss: AbstractLoss, w: np.ndarray) -> LinearAscent | None:
        """Return SAM's where there is one shard."""
        alone = len(shards(loss, self.shard_size)) == 1
        return plain_ascent(self.rho, len(w)) if alone else None

    def ascent_step(self, loss: AbstractLoss) -> AscentStep | None:
        """Return SAM's where there is one shard."""
        alone = len(shards(loss, self.shard_size)) == 1
        return AscentStep(float(self.rho)) if alone else None

    def attraction(
        self, loss: AbstractLoss, w: np.ndarray, hessian: np.ndarray
    ) -> Attraction | None:
        """Return sliding where no direction is flat for all shards.

        ½d‖u‖²/dt = −uᵀHu − ρ mean ‖Hᵢu‖ is what holds the flow, from a radius that is not known.
        """
        parts = shards(loss, self.shard_size)
        if len(parts) == 1:
            return None
        hessians = np.concatenate([np.asarray(part.hessian(jnp.asarray(w))) for part in parts])
        weakest = np.linalg.svd(hessians, compute_uv=False)[-1]
        held = weakest > EQUAL * np.abs(hessian).max()
        return Attraction(Kind.sliding, finite_time=True) if held else Attraction(Kind.undefined)


class NSAM(AbstractSAM):
    """n-SAM: one ascent step for all examples, d(w) = g(w + rho g(w)/‖g(w)‖) with g = ∇L.

    SAM on the whole of the loss, under the name that it has beside m-SAM, and like SAM undefined
    where g(w) = 0. `rho` is a length in weight space.
    Source: Andriushchenko and Flammarion 2022 (arXiv 2206.06232).
    """

    name: ClassVar[str] = "n-sam"
    formula: ClassVar[str] = "g(w + rho g(w)/‖g(w)‖), g of all examples"
    source: ClassVar[str] = "Andriushchenko, Flammarion 2022, arXiv 2206.06232"
    closed_forms: ClassVar[str] = "those of sam"


class DNSAM(AbstractNormalisedRule):
    """SAM with a denominator without noise: d(w) = g(w + rho g(w)/‖∇L(w)‖), L the whole loss.

    On the whole loss it is SAM. On a batch, or with noise on the gradient, g is that of the draw
    and the denominator is not: the ascent is longer than `rho` where the noise prevails. It is a
    model of SAM in which u = g/‖∇L‖ is linear in the noise; each step takes a whole gradient.
    Undefined where ∇L(w) = 0. `rho` is a length in weight space.
    Source: Compagnoni, Biggio, Orvieto, Proske, Kersting, Lucchi 2023 (arXiv 2301.08203).
    """

    rho: Scalar = eqx.field(converter=radius)
    name: ClassVar[str] = "dnsam"
    formula: ClassVar[str] = "g(w + rho g(w)/‖∇L(w)‖), L of all examples"
    source: ClassVar[str] = "Compagnoni et al. 2023, arXiv 2301.08203"
    ascent: ClassVar[Ascent] = Ascent.over_whole
    closed_forms: ClassVar[str] = "those of sam (full batch)"

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w + rho g(w)/‖∇L(w)‖); NaN where ∇L(w) = 0."""
        noiseless = whole(loss).gradient(w)
        return self.limit(loss, w, jnp.sqrt(1 / inner(noiseless, noiseless)) * loss.gradient(w))

    def limit(self, loss: AbstractLoss, w: V, e: V) -> V:
        """Return g(w + rho e)."""
        return loss.gradient(w + self.rho * e)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return ‖∇L(w)‖."""
        return norm(whole(loss).gradient(w))

    def linear_ascent(self, loss: AbstractLoss, w: np.ndarray) -> LinearAscent | None:
        """Return SAM's."""
        return plain_ascent(self.rho, len(w))

    def ascent_step(self, loss: AbstractLoss) -> AscentStep | None:
        """Return SAM's on the whole loss; on a batch the denominator is not that of the batch."""
        return AscentStep(float(self.rho)) if whole(loss) is loss else None


def _each(function: Callable[[Any], Any], losses: Sequence[AbstractLoss]) -> Any:
    """Return function(loss) for each loss, along a new leading axis.

    Losses that differ in their arrays alone, as the shards of a network's do, are one program.
    """
    arrays, rest = zip(*(eqx.partition(loss, eqx.is_array) for loss in losses), strict=True)
    if len(losses) > 1 and jax.tree.leaves(arrays[0]) and _alike(arrays) and _same(rest):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays)
        return over(lambda array: function(eqx.combine(array, rest[0])), stacked)
    return jax.tree.map(lambda *values: jnp.stack(values), *map(function, losses))


def _alike(trees: Sequence[Any]) -> bool:
    """Say whether the trees have one structure and arrays of the same shapes."""
    kinds = [jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), t) for t in trees]
    return _same(kinds)


def _same(trees: Sequence[Any]) -> bool:
    return all(bool(eqx.tree_equal(tree, trees[0])) for tree in trees)
