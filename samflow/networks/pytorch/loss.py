"""The loss of any PyTorch module, through its own forward pass."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow import _checks
from samflow._checks import ArgumentError
from samflow._types import NumpyArray, Point, Scalar
from samflow.losses.criteria import check_smoothing
from samflow.losses.eager import AbstractEagerLoss
from samflow.losses.finite_sum import shard_size
from samflow.losses.network_base import AbstractNetworkLoss, NetworkOptions
from samflow.networks._extras import optional
from samflow.networks.pytorch.data import as_slice, valid
from samflow.networks.pytorch.door import checked_chunks, problem
from samflow.networks.pytorch.problem import Part, Problem, returned


class TorchLoss(AbstractEagerLoss, AbstractNetworkLoss):
    """The mean loss of a PyTorch module over its data. `torch_network` makes one and checks it.

    The user's module is only read: forward passes run in a copy that shares its tensors, is in
    evaluation mode, and takes the weights from outside. Outside of compiled functions weights and
    derivatives pass between JAX and PyTorch in one memory where they are on one device.

    Attributes:
        problem: the module, its examples and its criterion.
        indices: which of the examples, repeated ones as often; None for all, in their order.
        chunk_size: how many examples are computed at once; None for all.
        whole: the loss that this batch was drawn from, None if from none.

    """

    problem: Problem = eqx.field(static=True)
    indices: Any = None
    chunk_size: int | None = eqx.field(static=True, default=None)
    whole: "TorchLoss | None" = None

    def value_at(self, w: Point) -> float:
        """Return L(w)."""
        return self.problem.value(w, self._parts())

    def gradient_at(self, w: Point) -> Array:
        """Return g(w)."""
        return self.problem.gradient(w, self._parts())

    def product_at(self, w: Point) -> Callable[[Any], Array]:
        """Return v ↦ H(w)v.

        The graph of the gradient is kept as long as this function: a product costs 1.5 to 2
        gradients, and the memory of activations several times that of a gradient is held. Where
        the examples go in several chunks nothing is kept: the memory is that of one chunk, and
        a product costs 3 to 4 gradients.
        """
        return self.problem.product(w, self._parts())

    def predict(self, w: Point) -> Array:
        """Return f_w(xᵢ) for every example, in the float type of `w`."""
        shape = (self.num_examples, *self.problem.output_shape)
        return self._outside(lambda loss, w: loss.problem.outputs(w, loss._parts()), shape, w)

    def misclassified(self, w: Point) -> Scalar:
        """Return the share of examples whose largest output is not the class of y."""
        return self._outside(lambda loss, w: loss.problem.misclassified(w, loss._parts()), (), w)

    def _parts(self, least: int = 1) -> list[Part]:
        """Return the chunks; indices in sequence as a slice, which reads no more than it must.

        A last chunk of fewer than `least` examples joins the one before it.
        """
        n, order = self.num_examples, None if self.indices is None else np.asarray(self.indices)
        starts = list(range(0, n, self.chunk_size or n))
        if len(starts) > 1 and n - starts[-1] < least:
            starts.pop()
        parts, whole = [], 0.0
        for start, stop in zip(starts, [*starts[1:], n], strict=True):
            chosen: slice | np.ndarray = slice(start, stop)
            size = chosen.stop - start
            if order is not None:
                chosen = as_slice(order[chosen])
            parts.append(Part(self.problem.counted(chosen, size), chosen, size))
            whole += parts[-1].share
        return [part._replace(share=part.share / whole if whole else np.nan) for part in parts]

    def batch(self, indices: Any) -> "TorchLoss":
        """Return the mean loss of the examples at `indices`, repeated ones counted as often.

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
        if not self._alike([(i, i + m) for i in starts]):
            raise ArgumentError(
                f"Argument `m` must give shards that count the same in the mean, but of {m} "
                "examples each they do not: targets are ignored, or classes have weights. Take "
                'reduction="none", which counts ignored targets as 0.'
            )
        return tuple(self._between(i, i + m, self.whole) for i in starts)

    def in_chunks(self, chunk_size: int) -> "TorchLoss":
        """Return the same loss, computed from `chunk_size` examples at a time.

        Raises:
            ArgumentError: for a `chunk_size` that is no count, and where batch norm takes its
                statistics from the batch: the chunks' mean is then another loss.

        """
        return dataclasses.replace(
            self, chunk_size=checked_chunks(self.problem.network, chunk_size)
        )

    def chunks(self, chunk_size: int) -> "Iterator[tuple[float, TorchLoss]]":
        """Yield the losses L_c of `chunk_size` examples each with their shares, L = Σ share L_c.

        A chunk whose targets are all ignored has no loss, and is left out.
        """
        n, size = self.num_examples, checked_chunks(self.problem.network, chunk_size)
        ends = [(start, min(start + size, n)) for start in range(0, n, size)]
        counted = [self._counted(*each) for each in ends]
        for each, share in zip(ends, counted, strict=True):
            if share:
                yield share / sum(counted), self._between(*each, None)

    def _alike(self, ends: list[tuple[int, int]]) -> bool:
        """Whether it is known that these examples count the same in the mean."""
        if self.problem.mass is None:
            return True
        if _checks.is_traced(self.indices):
            return False
        counted = [self._counted(*each) for each in ends]
        return np.allclose(counted, counted[0], rtol=1e-12)

    def _counted(self, start: int, stop: int) -> float:
        if self.problem.mass is None or self.indices is None:
            return self.problem.counted(slice(start, stop), stop - start)
        return self.problem.counted(np.asarray(self.indices)[start:stop], stop - start)

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
        network = self.problem.network
        torch, source = network.torch, self.problem.module if source is None else source
        if isinstance(source, torch.nn.Module):
            source = getattr(source, "_orig_mod", source)
            source = dict(source.named_parameters(remove_duplicate=False))
        if not isinstance(source, Mapping):
            raise ArgumentError(
                "Argument `source` must be a module or a mapping of names to tensors, but is "
                f"{type(source).__name__}."
            )
        flat = []
        for names, shape in zip(network.aliases, network.shapes, strict=True):
            found = next((torch.as_tensor(source[n]) for n in names if n in source), None)
            if found is None or tuple(found.shape) != shape:
                has = "none" if found is None else f"one of shape {tuple(found.shape)}"
                raise ArgumentError(
                    f"Argument `source` must hold {names[0]!r} of shape {shape}, but has {has}."
                )
            flat.append(found.detach().reshape(-1).to(device="cpu", dtype=torch.float64))
        w = jnp.zeros(())
        return returned(torch.cat(flat).to(getattr(torch, w.dtype.name)), w)

    def unflatten(self, w: Point) -> dict[str, Any]:
        """Return what `load_state_dict` of the module takes, with weights `w`: all in copies.

        Weights are of the type that the loss computes in, and tied ones are there under all of
        their names; frozen ones and buffers are those that the loss computes with.
        """
        network = self.problem.network
        state = network.state()
        state = {n: t.clone() if network.torch.is_tensor(t) else t for n, t in state.items()}
        for names, array in zip(network.aliases, self.split(jnp.asarray(w)), strict=True):
            made = network.torch.tensor(np.asarray(array))
            made = made.to(device=network.device, dtype=network.dtype)
            state.update(dict.fromkeys(names, made))
        return state

    @property
    def extra_names(self) -> tuple[str, ...]:
        """Names in a state_dict beside the weights: buffers, frozen ones, other names of tied."""
        return tuple(n for n in self.problem.network.state() if n not in set(self.weight_names))

    @property
    def extras(self) -> dict[str, NumpyArray]:
        """Buffers and frozen weights by their first names, as the loss computes with them."""
        state, names = self.problem.network.state(), set(self.extra_names) - set(self.tied)
        tensors = self.problem.network.torch.is_tensor
        return {n: t.cpu().numpy().copy() for n, t in state.items() if n in names and tensors(t)}

    @property
    def tied(self) -> dict[str, str]:
        """The first name of a weight or a buffer by each of its other names."""
        return self.problem.network.tied()

    def with_extras(self, extras: Mapping[str, Any]) -> "TorchLoss":
        """Return the loss with other buffers and frozen weights under these of the `extra_names`.

        What stands under another name of a tied weight is left to the weight.

        Raises:
            ArgumentError: for a tensor of another shape.

        """
        network = self.problem.network.with_state(extras)
        whole = None if self.whole is None else self.whole.with_extras(extras)
        problem = dataclasses.replace(self.problem, network=network)
        return dataclasses.replace(self, problem=problem, whole=whole)

    @property
    def has_statistics(self) -> bool:
        """Whether some batch norm normalises with running statistics, which it also tracks."""
        return self.problem.network.running_statistics

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
        return self.problem.statistics(w, self._parts(least=2))

    def with_options(self, **changes: Any) -> "TorchLoss":
        """Return the same loss with other `options`.

        Raises:
            ArgumentError: for batch norm from the batch where the loss goes in chunks, and label
                smoothing of another criterion than the built-in "cross_entropy".

        """
        problem, options = self.problem, self.problem.options._replace(**changes)
        check_smoothing(options.label_smoothing, options.criterion)
        network = problem.network.with_batch_norm(options.batch_norm == "train")
        if self.chunk_size is not None:
            checked_chunks(network, self.chunk_size)
        whole = None if self.whole is None else self.whole.with_options(**changes)
        made = dataclasses.replace(problem, options=options, network=network)
        return dataclasses.replace(self, problem=made, whole=whole)

    @property
    def num_examples(self) -> int:
        """Number n of examples."""
        return len(self.problem.examples) if self.indices is None else self.indices.shape[0]

    @property
    def name(self) -> str:
        """What the loss is called."""
        return self.problem.name

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
        return self.problem.network.names

    @property
    def weight_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Their shapes."""
        return self.problem.network.shapes

    @property
    def options(self) -> NetworkOptions:
        """What else than weights and data decides the loss."""
        return self.problem.options

    @property
    def criterion(self) -> str:
        """One line about the loss that was taken: also which targets are ignored."""
        made = self.problem
        return made.criterion.describe(made.output_shape, self.num_examples, made.left_out)

    @property
    def class_axis(self) -> int:
        """Which axis of the outputs has the classes: 1, or the last where only that fits."""
        return self.problem.criterion.class_axis

    @property
    def has_classes(self) -> bool:
        """Whether the criterion is cross-entropy: of others it is not known.

        That of a function is told by its name, and by targets that fit one row of outputs each.
        """
        criterion, shape = self.options.criterion, self.problem.output_shape
        if self.problem.criterion.function is None:
            return self.problem.criterion.has_classes
        if not criterion.lower().replace("_", "").startswith("crossentropy") or len(shape) != 1:
            return False
        y = self.problem.examples.part(slice(0, 1))[1]
        if not self.problem.network.torch.is_tensor(y):
            return False
        return y.shape[1:] == shape or (y.ndim == 1 and not y.is_floating_point())

    @property
    def kinks(self) -> tuple[str, ...]:
        """Operations whose slope jumps, as "relu" and "max_pool2d", on the way to the loss.

        Where there are any, H is the Hessian beside the kinks and leaves out their jumps. Found
        among what PyTorch records of a few examples: an operation of the user's own that has
        kinks is not seen.
        """
        return self.problem.kinks

    @property
    def unused(self) -> tuple[str, ...]:
        """Weights on which the loss of a few examples does not depend: their gradient is 0.

        As behind `.detach()` or `argmax`, or in a branch that was not taken.
        """
        return self.problem.unused


def torch_network(
    module: Any,
    x: Any,
    y: Any,
    *,
    loss: str | Callable[[Any, Any], Any] | None = None,
    name: str | None = None,
    label_smoothing: float = 0.0,
    weight_decay: float = 0.0,
    batch_norm: str = "eval",
    dtype: Any = None,
    device: Any = None,
    chunk_size: int | None = None,
    forward: Callable[[Any, Any], Any] | None = None,
) -> TorchLoss:
    """Make a loss of a PyTorch module and its data, as they are.

    `loss.flatten()` gives the weights that the module has now. The weights are its parameters that
    require a gradient; frozen ones are used, from the same memory. Buffers are those of now.
    Dropout is off, and so is autocast; attention, TF32 and what else PyTorch decides by switches is
    such that second derivatives exist, in the precision asked for. Gradients of embeddings are
    dense.

    The mean over a batch or a chunk divides by what counts in it: where targets are ignored or
    classes have weights, examples have different shares, and the mean over batches is another
    number, as it is in PyTorch.

    Args:
        module: any `torch.nn.Module`; it is never written, and neither are its modes.
        x: inputs (n, ...), one example a row: tensors, arrays of NumPy or JAX, `numpy.memmap`, or
            anything with a length that slices and arrays of indices select from. A tuple or
            mapping of such is passed on as arguments of the module.
        y: targets (n, ...), in the shape of the outputs (n, K, ...); or classes, whole numbers
            from 0, in their shape without axis 1, as PyTorch has them. Classes may be on the last
            axis, as of tokens (n, length, K), where targets fit only that.
        loss: None: "cross_entropy" for targets that are whole numbers and "squared" for floats, as
            `sf.losses.network` does; or one of these names. "cross_entropy" is PyTorch's: the mean
            over examples and positions, as tokens or pixels, without targets of -100. "squared"
            is ½‖f − y‖², the mean over examples. `torch.nn.CrossEntropyLoss` and `NLLLoss`, or
            their functions, bring `weight`, `ignore_index`, `label_smoothing` and `reduction`
            ("mean" or "none") along. Or any function of (outputs, targets) that returns the loss
            of each example, shape (n,), or their mean; not their sum. `print(loss)` says which
            loss was taken.
        name: what to call it; by default the class of the module.
        label_smoothing: s in [0, 1), as for `torch.nn.CrossEntropyLoss`.
        weight_decay: ≥ 0; adds ½ weight_decay ‖w‖² to L, over all weights. The weight decay of an
            optimiser that is not part of L belongs to `sf.Map`.
        batch_norm: "eval" for its running statistics, "train" for those of the batch at hand; with
            these the loss does not go in chunks.
        dtype: float type to compute in, torch.float32 or torch.float64; None: that of the
            weights, half precision raised to single.
        device: where to compute; None: where the weights are.
        chunk_size: how many examples are computed at once; None: all.
        forward: takes (module, x) and returns the outputs, as
            `lambda module, x: module(**x).logits`; it must not use the module by another name.

    Not guaranteed: that randomness is noticed which shows on none of the few examples tried; second
    derivatives of an `autograd.Function` whose backward is not itself differentiable and does not
    say so by `once_differentiable`: PyTorch leaves them out.

    Raises:
        ArgumentError: for data that are not finite or do not fit each other or the module, classes
            out of range, targets that fit two axes of the outputs, a module without weights, with
            complex weights or some that are not finite, one that is not deterministic, one with
            reentrant gradient checkpointing, and what does not fit into memory.
        ImportError: where PyTorch is not installed.

    """
    torch = optional("torch", "A loss of a PyTorch module")
    made = problem(
        torch,
        module,
        (x, y),
        loss=loss,
        name=name,
        label_smoothing=label_smoothing,
        weight_decay=weight_decay,
        batch_norm=batch_norm,
        dtype=dtype,
        device=device,
        chunk_size=chunk_size,
        forward=forward,
    )
    return TorchLoss(made, chunk_size=chunk_size)
