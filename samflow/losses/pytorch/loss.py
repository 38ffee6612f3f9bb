"""The loss of any PyTorch module, through its own forward pass."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow import _checks
from samflow._checks import ArgumentError
from samflow._types import NumpyArray, Point, Scalar
from samflow.losses.criteria import check_smoothing
from samflow.losses.eager import AbstractEagerLoss
from samflow.losses.finite_sum import shard_size
from samflow.losses.network_base import AbstractNetworkLoss, NetworkOptions, array_leaves
from samflow.losses.pytorch.data import as_slice, valid
from samflow.losses.pytorch.inspection import checked_chunks
from samflow.losses.pytorch.objective import Objective, Part
from samflow.losses.pytorch.state_dict import flat_weights, state_dict

_COMPARED_EXAMPLES = 512
"""So many of the examples stand for all when two losses are compared."""


class TorchLoss(AbstractEagerLoss, AbstractNetworkLoss):
    """The mean loss of a PyTorch module over its data. `torch_network` makes one and checks it.

    The user's module is only read: forward passes run in a copy that shares its tensors, is in
    evaluation mode, and takes the weights from outside. Outside of compiled functions weights and
    derivatives pass between JAX and PyTorch in one memory where they are on one device.

    Attributes:
        objective: the module, its examples and its criterion.
        indices: which of the examples, repeated ones as often; None for all, in their order.
        chunk_size: how many examples are computed at once; None for all.
        whole: the loss that this batch was drawn from, None if from none.

    """

    objective: Objective = eqx.field(static=True)
    indices: Any = None
    chunk_size: int | None = eqx.field(static=True, default=None)
    whole: "TorchLoss | None" = None

    def value_at(self, w: Point) -> float:
        """Return L(w)."""
        return self.objective.value(w, self._parts())

    def gradient_at(self, w: Point) -> Array:
        """Return g(w)."""
        return self.objective.gradient(w, self._parts())

    def product_at(self, w: Point) -> Callable[[Any], Array]:
        """Return v ↦ H(w)v.

        The graph of the gradient is kept as long as this function: a product costs 1.5 to 2
        gradients, and the memory of activations several times that of a gradient is held. Where
        the examples go in several chunks nothing is kept: the memory is that of one chunk, and
        a product costs 3 to 4 gradients.
        """
        return self.objective.product(w, self._parts())

    def predict(self, w: Point) -> Array:
        """Return f_w(xᵢ) for every example, in the float type of `w`."""
        shape = (self.num_examples, *self.objective.output_shape)
        return self._outside(lambda loss, w: loss.objective.outputs(w, loss._parts()), shape, w)

    def misclassified(self, w: Point) -> Scalar:
        """Return the share of examples whose largest output is not the class of y."""
        return self._outside(lambda loss, w: loss.objective.misclassified(w, loss._parts()), (), w)

    def _parts(self, least: int = 1) -> list[Part]:
        """Return the chunks; indices in sequence as a slice, which reads no more than it must.

        A last chunk of fewer than `least` examples joins the one before it.
        """
        n, order = self.num_examples, None if self.indices is None else np.asarray(self.indices)
        starts = self._starts(n)
        if len(starts) > 1 and n - starts[-1] < least:
            starts.pop()
        parts, whole = [], 0.0
        for start, stop in zip(starts, [*starts[1:], n], strict=True):
            chosen: slice | np.ndarray = slice(start, stop)
            size = chosen.stop - start
            if order is not None:
                chosen = as_slice(order[chosen])
            parts.append(Part(self.objective.counted(chosen, size), chosen, size))
            whole += parts[-1].share
        return [part._replace(share=part.share / whole if whole else np.nan) for part in parts]

    def _starts(self, n: int) -> list[int]:
        """Return where chunks start; of a loss of whole batches, where those do."""
        sizes = self.objective.sizes
        if sizes is None:
            return list(range(0, n, self.chunk_size or n))
        return [0] if self.indices is not None else [0, *itertools.accumulate(sizes)][:-1]

    def batch(self, indices: Any) -> "TorchLoss":
        """Return the mean loss of the examples at `indices`, repeated ones counted as often.

        Of a loss of whole batches it is that of these examples as one batch.

        Raises:
            ArgumentError: for indices that are no examples, where they are known.

        """
        chosen = jnp.asarray(indices)
        if not _checks.is_traced(chosen):
            chosen = jnp.asarray(valid(np.asarray(chosen), self.num_examples))
        if self.indices is not None:
            chosen = jnp.asarray(self.indices)[chosen]
        return dataclasses.replace(self, indices=chosen, whole=self)

    def shards(self, m: int) -> "tuple[TorchLoss, ...]":
        """Return the losses of m examples each, in the order of the data; L is their mean.

        Raises:
            ArgumentError: if m does not divide the number of examples, and where ignored targets
                or class weights make L another mean.

        """
        starts = range(0, self.num_examples, shard_size(m, self.num_examples))
        if self.by_batch and set(self.objective.sizes or ()) != {m}:
            raise ArgumentError(
                f"Argument `m` must be the size of the batches, {self.objective.sizes}, since "
                f"{self.name} is a loss of whole batches, but is {m}."
            )
        if not self._alike([(i, i + m) for i in starts]):
            raise ArgumentError(
                f"Argument `m` must give shards that count the same in the mean, but shards of {m} "
                "examples do not: targets are ignored, or classes have weights. Use "
                'reduction="none", which counts ignored targets as 0.'
            )
        return tuple(self._between(i, i + m, self.whole) for i in starts)

    def in_chunks(self, chunk_size: int) -> "TorchLoss":
        """Return the same loss, computed from `chunk_size` examples at a time.

        Raises:
            ArgumentError: for a `chunk_size` that is no count, for a loss of whole batches, and
                where batch norm takes its statistics from the batch: the chunks' mean is then
                another loss.

        """
        size = checked_chunks(self.objective.network, chunk_size, self.objective.sizes)
        return dataclasses.replace(self, chunk_size=size)

    def chunks(self, chunk_size: int) -> "Iterator[tuple[float, TorchLoss]]":
        """Yield the losses L_c of `chunk_size` examples each with their shares, L = Σ share L_c.

        A chunk whose targets are all ignored has no loss, and is left out.
        """
        sizes = self.objective.sizes
        n, size = self.num_examples, checked_chunks(self.objective.network, chunk_size, sizes)
        ends = [(start, min(start + size, n)) for start in range(0, n, size)]
        counted = [self._counted(*each) for each in ends]
        for each, share in zip(ends, counted, strict=True):
            if share:
                yield share / sum(counted), self._between(*each, None)

    def _alike(self, ends: list[tuple[int, int]]) -> bool:
        """Whether it is known that these examples count the same in the mean."""
        if self.objective.mass is None:
            return True
        if _checks.is_traced(self.indices):
            return False
        counted = [self._counted(*each) for each in ends]
        return np.allclose(counted, counted[0], rtol=1e-12)

    def _counted(self, start: int, stop: int) -> float:
        if self.objective.mass is None or self.indices is None:
            return self.objective.counted(slice(start, stop), stop - start)
        return self.objective.counted(np.asarray(self.indices)[start:stop], stop - start)

    def _between(self, start: int, stop: int, whole: "TorchLoss | None") -> "TorchLoss":
        order = jnp.arange(self.num_examples) if self.indices is None else self.indices
        return dataclasses.replace(self, indices=order[start:stop], chunk_size=None, whole=whole)

    def flatten(self, source: Any = None) -> Point:
        """Return the weights of a module or of a state_dict as JAX has them: a copy.

        Args:
            source: a module built like this loss's, or a mapping of names to tensors, of which a
                tied weight needs to be there under one of its names; None: the loss's own module,
                with the weights that it has now.

        Raises:
            ArgumentError: if a weight is missing or has another shape.

        """
        source = self.objective.module if source is None else source
        return flat_weights(self.objective.network, source)

    def unflatten(self, w: Point) -> dict[str, Any]:
        """Return what `load_state_dict` of the module takes, with weights `w`: all in copies.

        Weights are of the type that the loss computes in, and tied ones are there under all of
        their names; frozen ones and buffers are those that the loss computes with.
        """
        return state_dict(self.objective.network, self.split(jnp.asarray(w)))

    @property
    def extra_names(self) -> tuple[str, ...]:
        """Names in a state_dict beside the weights: buffers, frozen ones, other names of tied."""
        return tuple(n for n in self.objective.network.state() if n not in set(self.weight_names))

    @property
    def extras(self) -> dict[str, NumpyArray]:
        """Buffers and frozen weights by their first names, as the loss computes with them."""
        state, names = self.objective.network.state(), set(self.extra_names) - set(self.tied)
        tensors = self.objective.network.torch.is_tensor
        return {n: t.cpu().numpy().copy() for n, t in state.items() if n in names and tensors(t)}

    @property
    def tied(self) -> dict[str, str]:
        """The first name of a weight or a buffer by each of its other names."""
        return self.objective.network.tied()

    def with_extras(self, extras: Mapping[str, Any]) -> "TorchLoss":
        """Return the loss with other buffers and frozen weights under these of the `extra_names`.

        What stands under another name of a tied weight is left to the weight.

        Raises:
            ArgumentError: for a tensor of another shape.

        """
        network = self.objective.network.with_state(extras)
        whole = None if self.whole is None else self.whole.with_extras(extras)
        objective = dataclasses.replace(self.objective, network=network)
        return dataclasses.replace(self, objective=objective, whole=whole)

    @property
    def fixed_arrays(self) -> list[Any]:
        """The examples, some of many, with the indices of a batch; buffers and frozen weights."""
        network, examples = self.objective.network, self.objective.examples
        n = len(examples)
        chosen = np.unique(np.linspace(0, n - 1, min(n, _COMPARED_EXAMPLES)).astype(int))
        weights = {name for names in network.aliases for name in names}
        others = [t for name, t in sorted(network.state().items()) if name not in weights]
        held = (*jax.tree.leaves(examples.part(chosen)), *others)
        tensors = [t.detach().double().cpu().numpy() for t in held if hasattr(t, "dtype")]
        return [*array_leaves(self), np.array(n), *tensors]

    @property
    def has_statistics(self) -> bool:
        """Whether some batch norm normalises with running statistics, which it also tracks."""
        return self.objective.network.running_statistics

    def statistics(self, w: Point) -> dict[str, np.ndarray]:
        """Return batch norm's running statistics of all examples at w, as a state_dict has them.

        What `torch.optim.swa_utils.update_bn` gives, but that dropout stays off. Examples that go
        at once are one batch: a layer's are the mean and the variance of its inputs, with the
        factor m/(m − 1) of m numbers a channel that PyTorch's `running_var` has, while the layers
        before it normalise by the variance without the factor. Of a layer that is called several
        times they are the mean over its calls; a layer that is not called has none here.

        Of a loss in chunks they are the mean over chunks, by their shares, of what each gives: this
        depends on the chunk size, and leaves out how chunks differ in their means. `update_bn`
        gives smaller chunks the same share. A single last example joins the chunk before it.

        Not guaranteed: statistics of layers that do not write their buffers in place. Where
        `torch.distributed` is set up, `SyncBatchNorm` takes those of all processes.

        Raises:
            ArgumentError: where a chunk gives batch norm one number a channel, and what does not
                fit into memory.

        """
        return self.objective.statistics(w, self._parts(least=2))

    def with_options(self, **changes: Any) -> "TorchLoss":
        """Return the same loss with other `options`.

        Raises:
            ArgumentError: for batch norm from the batch where the loss goes in chunks, and label
                smoothing of another criterion than the built-in "cross_entropy".

        """
        objective, options = self.objective, self.objective.options._replace(**changes)
        check_smoothing(options.label_smoothing, options.criterion)
        network = objective.network.with_batch_norm(options.batch_norm == "train")
        if self.chunk_size is not None:
            checked_chunks(network, self.chunk_size)
        whole = None if self.whole is None else self.whole.with_options(**changes)
        made = dataclasses.replace(objective, options=options, network=network)
        return dataclasses.replace(self, objective=made, whole=whole)

    @property
    def num_examples(self) -> int:
        """Number n of examples."""
        return len(self.objective.examples) if self.indices is None else self.indices.shape[0]

    @property
    def name(self) -> str:
        """What the loss is called."""
        return self.objective.name

    @property
    def dim(self) -> int:
        """Number of weights."""
        return sum(int(np.prod(shape)) for shape in self.weight_shapes)

    @property
    def domain(self) -> None:
        """None: the loss may be used everywhere."""
        return None

    @property
    def weight_names(self) -> tuple[str, ...]:
        """A name an array, as `named_parameters` of the module has them."""
        return self.objective.network.names

    @property
    def weight_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Their shapes."""
        return self.objective.network.shapes

    @property
    def options(self) -> NetworkOptions:
        """What else than weights and data decides the loss."""
        return self.objective.options

    @property
    def criterion(self) -> str:
        """One line about the loss that was taken: also which targets are ignored."""
        made, count = self.objective, self.num_examples
        if self.by_batch:
            sizes = (count,) if self.indices is not None else made.sizes or ()
            return made.criterion.describe_batches(sizes)
        return made.criterion.describe(made.output_shape, count, made.left_out)

    @property
    def class_axis(self) -> int:
        """Which axis of the outputs has the classes: 1, or the last where only that fits."""
        return self.objective.criterion.class_axis

    @property
    def by_batch(self) -> bool:
        """Whether it is a loss of whole batches, which no sum over examples or chunks gives."""
        return self.objective.sizes is not None

    @property
    def has_classes(self) -> bool:
        """Whether the criterion is cross-entropy: of others it is not known.

        That of a function is told by its name, and by targets that fit one row of outputs each.
        """
        criterion, shape = self.options.criterion, self.objective.output_shape
        if self.objective.criterion.function is None:
            return self.objective.criterion.has_classes
        if not criterion.lower().replace("_", "").startswith("crossentropy") or len(shape) != 1:
            return False
        y = self.objective.examples.part(slice(0, 1))[1]
        if not self.objective.network.torch.is_tensor(y):
            return False
        return y.shape[1:] == shape or (y.ndim == 1 and not y.is_floating_point())

    @property
    def kinks(self) -> tuple[str, ...]:
        """Operations whose slope jumps, as "relu" and "max_pool2d", on the way to the loss.

        Where there are any, H is the Hessian beside the kinks and leaves out their jumps. Found
        among what PyTorch records of a few examples: an operation of the user's own that has
        kinks is not seen.
        """
        return self.objective.kinks

    @property
    def unused(self) -> tuple[str, ...]:
        """Weights on which the loss of a few examples does not depend: their gradient is 0.

        As behind `.detach()` or `argmax`, or in a branch that was not taken.
        """
        return self.objective.unused
