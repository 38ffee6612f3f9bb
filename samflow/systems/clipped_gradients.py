"""The noise of private training: clipped gradients of examples, and Gaussian noise."""

from typing import Any

import jax
import jax.numpy as jnp

from samflow import _checks
from samflow._components import Components, inner
from samflow._random import Words, normals
from samflow._types import Matrix, Point, Scalar, V, Vector
from samflow.losses.base import AbstractDerivedLoss, AbstractLoss
from samflow.losses.eager import is_eager
from samflow.losses.finite_sum import AbstractSumLoss, FiniteSum
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.systems.gradient_noise import AbstractNoise, MiniBatch


class ClippedBatch(AbstractNoise):
    """The gradient of DP-SGD: those of a batch's examples, each clipped, their mean, and noise.

    g_ξ(w) = (1/B) Σᵢ gᵢ(w) min(1, C/‖gᵢ(w)‖) + ζ,  ζ ~ N(0, (sigma C/B)² I), C = clip.

    Batches are those of `MiniBatch`. One draw of batch and ζ serves all gradients of a step, as of
    any noise here; `StochasticMap.fresh` takes a second one away from w. Clipping has a bias: the
    mean over all batches, (1/n) Σᵢ gᵢ min(1, C/‖gᵢ‖), is not g where an example is clipped, and in
    more than one dimension it is the gradient of no function. It has a kink where ‖gᵢ‖ = C. ‖gᵢ‖²
    must be representable.

    >>> import samflow as sf
    >>> loss = sf.losses.mean([sf.loss("x**2/2"), sf.loss("x**2/2"), sf.loss("(x - 3)**2/2")])
    >>> step = sf.Map(loss, sf.GD(), lr=0.1)
    >>> private = sf.StochasticMap(step, sf.noise.ClippedBatch(3, clip=0.5, sigma=0))
    >>> import jax
    >>> paths = sf.noise.sample_paths(
    ...     private, [2.0], key=jax.random.key(0), num_paths=1, num_steps=900)
    >>> print(paths.w[0, -1])
    [0.25]

    The minimum of this loss is 1. The fixed point is C/2: two examples pull with w, one with C.

    Attributes:
        batch_size: B, a whole number.
        clip: C > 0, in units of the gradient.
        sigma: noise multiplier, ≥ 0.
        replacement: whether an example can be drawn twice for one batch.

    Not guaranteed: privacy. No budget is counted, batches have a fixed size, which the usual
    accounts of Poisson sampling do not assume, and the numbers are no cryptographic ones. A
    rule's memory starts from the whole gradient, neither clipped nor noisy, and a loss's own weight
    decay is part of each example's loss and is clipped with it; that of `Map` is not.

    Raises:
        ArgumentError: for numbers out of range; with a loss that is no mean over examples, that JAX
            does not compute, or whose examples see each other through batch norm.

    Source: Abadi et al. 2016 (arXiv 1607.00133).

    """

    batch: MiniBatch
    clip: Scalar
    sigma: Scalar

    def __init__(
        self, batch_size: int, *, clip: Any, sigma: Any = 1.0, replacement: bool = False
    ) -> None:
        self.batch = MiniBatch(batch_size, replacement)
        self.clip = _checks.positive_array("clip", clip)
        self.sigma = _checks.nonnegative_array("sigma", sigma)

    @property
    def batch_size(self) -> int:
        """Number B of examples in a batch."""
        return self.batch.batch_size

    @property
    def deviation(self) -> Scalar:
        """Standard deviation of ζ along each weight, sigma C/B."""
        return self.sigma * self.clip / self.batch_size

    def num_words(self, loss: AbstractLoss) -> int:
        """Return B and dim, made even."""
        return self.batch_size + loss.dim + loss.dim % 2

    def sample(self, loss: AbstractLoss, words: Words) -> "ClippedLoss":
        """Return the loss of a batch whose gradient is clipped and noisy."""
        assert isinstance(loss, FiniteSum)
        chosen, rest = words.split(self.batch_size)
        drawn = normals(rest)[: loss.dim]
        shift = Components(*drawn) if isinstance(drawn, tuple) else drawn
        indices = self.batch.indices(loss.num_examples, chosen)
        return ClippedLoss(loss, indices, self.clip, self.deviation * shift)

    def check(self, loss: AbstractLoss) -> None:
        """Refuse a loss without gradients of its examples, and a batch larger than the data."""
        self.batch.check(loss)
        if is_eager(loss):
            raise _checks.ArgumentError(
                f"Argument `noise` must not clip gradients of {loss.name}, which JAX does not "
                "compute. Use `sf.losses.mean` or `sf.losses.network`."
            )
        if isinstance(loss, AbstractNetworkLoss) and loss.options.batch_norm == "train":
            raise _checks.ArgumentError(
                f"Argument `noise` must not clip gradients of {loss.name}, whose batch norm takes "
                "its statistics from the batch: an example alone has none. Use "
                'batch_norm="eval".'
            )

    def describe(self) -> str:
        """Say what the noise is."""
        return (
            f"{self.batch.describe()}, gradients clipped to {float(self.clip):g}, noise multiplier "
            f"{float(self.sigma):g}"
        )


class ClippedLoss(AbstractDerivedLoss):
    """The mean loss of a batch, tilted, with the clipped gradients of its examples.

    `gradient` is (1/B) Σᵢ gᵢ min(1, C/‖gᵢ‖) + ξ, and `hessian` its Jacobian, which need not be
    symmetric. The value is that of the batch, plus ξ·w; `gradient` is not its derivative where an
    example is clipped.

    Attributes:
        loss: the whole loss, a mean over examples.
        indices: the examples of the batch.
        clip: C.
        shift: ξ.

    """

    loss: Any
    indices: Any
    clip: Scalar
    shift: Vector

    @property
    def whole(self) -> AbstractLoss:
        """The loss without noise."""
        return self.loss

    def __call__(self, w: Point) -> Scalar:
        """Return the batch's mean loss plus ξ·w."""
        return self.loss.batch(self.indices)(w) + inner(self.shift, w)

    def gradient(self, w: V) -> V:
        """Return the mean of the clipped gradients plus ξ, in the layout of `w`."""
        batch = self.loss.batch(self.indices)
        if isinstance(batch, AbstractSumLoss):
            return batch.combine([self._clipped(p.gradient(w)) for p in batch.parts]) + self.shift
        each = jax.vmap(lambda i: self._clipped(self.loss.batch(i[None]).gradient(w)))
        return jnp.mean(each(jnp.asarray(self.indices)), axis=0) + self.shift

    def hessian(self, w: Point) -> Matrix:
        """Return the Jacobian of `gradient`."""
        return jax.jacfwd(self.gradient)(w)

    def _clipped(self, g: V) -> V:
        # ‖g‖ as it is would have the derivative NaN at g = 0.
        return g * (self.clip / jnp.sqrt(jnp.maximum(self.clip**2, inner(g, g))))
