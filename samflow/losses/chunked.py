"""The loss of a network over data that do not fit in memory, computed chunk by chunk."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from samflow import _checks
from samflow._types import NumpyArray, Point, Scalar
from samflow.losses import evaluation
from samflow.losses.base import AbstractDerivedLoss
from samflow.losses.eager import AbstractEagerLoss
from samflow.losses.network_base import AbstractNetworkLoss, NetworkOptions


class ChunkedLoss(AbstractEagerLoss, AbstractDerivedLoss, AbstractNetworkLoss):
    """The loss of a network, with value, gradient and products summed over chunks of examples.

    L = Σ_c (n_c/n) L_c over chunks of n_c of the n examples: the memory of activations is that of
    one chunk, and data in memory-mapped arrays are read a chunk at a time. The sum is the whole
    loss's to rounding.

    Attributes:
        loss: the whole loss, as `NetworkLoss`.
        chunk_size: how many examples are computed at once.

    """

    loss: Any
    chunk_size: int = eqx.field(static=True, converter=lambda v: _checks.count("chunk_size", v))

    def __check_init__(self) -> None:
        if self.loss.options.batch_norm == "train":
            raise _checks.ArgumentError(
                "Argument `loss` must not take batch norm's statistics from the batch if it is "
                f"computed in chunks, but {self.loss.name} does: the mean over chunks is a "
                'different loss. Use batch_norm="eval".'
            )

    def value_at(self, w: Point) -> Any:
        """Return L(w)."""
        return sum(
            share * evaluation.value(part, w) for share, part in self.chunks(self.chunk_size)
        )

    def gradient_at(self, w: Point) -> Any:
        """Return g(w)."""
        return sum(
            share * evaluation.gradient(part, w) for share, part in self.chunks(self.chunk_size)
        )

    def product_at(self, w: Point) -> Callable[[Any], Any]:
        """Return v ↦ H(w)v; every product goes through all chunks again."""

        def product(v: Any) -> Any:
            v = jnp.asarray(v)
            return sum(
                share * evaluation.hvp(part, w, v) for share, part in self.chunks(self.chunk_size)
            )

        return product

    def predict(self, w: Point) -> Array:
        """Return f_w(xᵢ) for every example."""
        return jnp.concatenate(
            [evaluation.predict(part, w) for _, part in self.chunks(self.chunk_size)]
        )

    def misclassified(self, w: Point) -> Scalar:
        """Return the share of examples whose largest output is not the class of y."""
        parts = self.chunks(self.chunk_size)
        return jnp.asarray(sum(share * evaluation.misclassified(part, w) for share, part in parts))

    def chunks(self, chunk_size: int) -> Iterator[tuple[float, Any]]:
        """Yield the losses of chunks with their shares."""
        return self.loss.chunks(chunk_size)

    def batch(self, indices: Any) -> Any:
        """Return the mean loss of the examples at `indices`, taken at once."""
        return self.loss.batch(indices)

    def shards(self, m: int) -> Any:
        """Return the losses of m examples each, whose mean is the loss."""
        return self.loss.shards(m)

    def flatten(self, model: Any) -> Point:
        """Return the weights of `model`."""
        return self.loss.flatten(model)

    def unflatten(self, w: Point) -> Any:
        """Return the network with weights `w`."""
        return self.loss.unflatten(w)

    def with_options(self, **changes: Any) -> "ChunkedLoss":
        """Return the same loss with other `options`."""
        return ChunkedLoss(self.loss.with_options(**changes), self.chunk_size)

    @property
    def criterion(self) -> str:
        """One line that names the loss."""
        return self.loss.criterion

    @property
    def has_classes(self) -> bool:
        """Whether targets are classes."""
        return self.loss.has_classes

    @property
    def kinks(self) -> tuple[str, ...]:
        """Operations of the network that have kinks."""
        return self.loss.kinks

    @property
    def num_examples(self) -> int:
        """Number n of examples."""
        return self.loss.num_examples

    @property
    def weight_names(self) -> tuple[str, ...]:
        """One name per array."""
        return self.loss.weight_names

    @property
    def weight_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Their shapes."""
        return self.loss.weight_shapes

    @property
    def extra_names(self) -> tuple[str, ...]:
        """Names of arrays that are not weights and that a checkpoint may hold."""
        return self.loss.extra_names

    @property
    def extras(self) -> dict[str, NumpyArray]:
        """Their numbers."""
        return self.loss.extras

    def with_extras(self, extras: Mapping[str, Any]) -> "ChunkedLoss":
        """Return the loss with other arrays under these names."""
        return ChunkedLoss(self.loss.with_extras(extras), self.chunk_size)

    @property
    def fixed_arrays(self) -> list[Any]:
        """Those of the whole loss."""
        return self.loss.fixed_arrays

    @property
    def has_statistics(self) -> bool:
        """Whether batch norm takes running statistics that can be computed anew."""
        return self.loss.has_statistics

    def statistics(self, w: Point) -> dict[str, Any]:
        """Return the mean over chunks, by their shares, of batch norm's running statistics at w.

        That depends on the chunk size: layers before normalise by the chunk's statistics, and how
        chunks differ in their means is left out. `loss.statistics` has those of all data at once.
        A single last example, which has no variance, joins the chunk before it.
        """
        mean: dict[str, Any] = {}
        for share, part in self._chunks_of_several():
            for name, value in part.statistics(w).items():
                counts = not jnp.issubdtype(value.dtype, jnp.floating)
                mean[name] = value if counts else mean.get(name, 0.0) + share * value
        return mean

    def _chunks_of_several(self) -> Iterator[tuple[float, Any]]:
        starts = range(0, self.num_examples, self.chunk_size)
        alone = len(starts) > 1 and self.num_examples - starts[-1] == 1
        parts = self.chunks(self.chunk_size)
        yield from itertools.islice(parts, len(starts) - 2 if alone else None)
        if alone:
            (share, before), (more, last) = parts
            x, y = jnp.concatenate([before.x, last.x]), jnp.concatenate([before.y, last.y])
            yield share + more, before.on(x, y, None)

    @property
    def options(self) -> NetworkOptions:
        """The settings of the loss: criterion, smoothing, weight decay, batch norm, float type."""
        return self.loss.options
