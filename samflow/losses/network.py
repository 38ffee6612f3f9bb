"""A loss given by a network and its data, as a function of the flat vector of weights."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array

from samflow import _checks
from samflow._types import Box, Matrix, NumpyArray, Point, Scalar
from samflow.losses._kinks import kinks
from samflow.losses.chunked import ChunkedLoss
from samflow.losses.criteria import correct, described, example_loss
from samflow.losses.finite_sum import shard_size
from samflow.losses.network_base import AbstractNetworkLoss, NetworkOptions, array_leaves

_HESSIAN_COLUMNS = 64
"""How many columns of H are made at once: bounds the memory of their activations."""


class NetworkLoss(AbstractNetworkLoss):
    """The mean loss of a network that JAX computes.

    The data are leaves, so that a compiled function takes them as arguments, and so are the arrays
    of the network that are not weights. Everything else about the network is static. `network` and
    `network_function` make one and check it.

    Attributes:
        x: inputs, one example a row.
        y: targets, one example a row, in the shape of the network's output; or classes, whole
            numbers, in its shape without the last axis, which stays so under cross-entropy alone.
        fixed: the tree's arrays that are no weights, as frozen ones.
        state: further arrays that the function takes, such as running statistics; None for none.
        function: takes (tree, state, x) and returns the outputs; the tree is `unflatten(w)`.
        skeleton: the tree without its arrays.
        structure: where the weights belong in it.
        weight_names: one name per array, as "layers.0.weight".
        weight_shapes: their shapes.
        dim: number of weights.
        options: criterion, label smoothing, weight decay, batch norm, and the float type of the
            network; its outputs are compared with y in that of w.
        whole: the loss from which this batch was drawn; None if it was not drawn.
        measure: takes (tree, state, x) and returns batch norm's running statistics over x, by their
            `extra_names`; None where there are none, or none that are known of.

    """

    x: Array
    y: Array
    fixed: Any
    state: Any
    function: Callable[[Any, Any, Array], Array] = eqx.field(static=True)
    skeleton: Any = eqx.field(static=True)
    structure: Any = eqx.field(static=True)
    weight_names: tuple[str, ...] = eqx.field(static=True)
    weight_shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    options: NetworkOptions = eqx.field(static=True)
    name: str = eqx.field(static=True, default="network")
    domain: Box | None = eqx.field(static=True, default=None)
    elementwise: bool = eqx.field(static=True, default=False)
    whole: "NetworkLoss | None" = None
    measure: Callable[[Any, Any, Array], dict[str, Array]] | None = eqx.field(
        static=True, default=None
    )

    def unflatten(self, w: Point) -> Any:
        """Return the model, or its tree of arrays, with weights `w` in the network's float type."""
        arrays = [array.astype(self.options.dtype) for array in self.split(w)]
        return eqx.combine(jtu.tree_unflatten(self.structure, arrays), self.fixed, self.skeleton)

    def flatten(self, model: Any) -> Point:
        """Return the weights of `model`, or of a tree of arrays: the inverse of `unflatten`.

        Raises:
            ArgumentError: if `model` is not built like this loss's network.

        """
        places = jtu.tree_unflatten(self.structure, list(self.weight_names))
        try:
            kept = jtu.tree_map(_where_named, places, model, is_leaf=lambda leaf: leaf is None)
        except ValueError:
            kept = None
        leaves, structure = jtu.tree_flatten(kept)
        shapes = tuple(jnp.shape(leaf) for leaf in leaves)
        if structure != self.structure or shapes != self.weight_shapes:
            raise _checks.ArgumentError(
                f"Argument `model` must be built like the network of {self.name}, with arrays "
                f"{list(self.weight_shapes)}, but has arrays {list(shapes)}."
            )
        return jnp.concatenate([jnp.ravel(jnp.asarray(leaf, float)) for leaf in leaves])

    def predict(self, w: Point) -> Array:
        """Return f_w(xᵢ) for every example, in the float type of `w`."""
        return self.outputs(w, self.x)

    def outputs(self, w: Point, x: Array) -> Array:
        """Return f_w(xᵢ) for other examples than those of the loss."""
        return self.function(self.unflatten(w), self.state, x).astype(w.dtype)

    def __call__(self, w: Point) -> Scalar:
        """Return L(w)."""
        return self.value_on(w, self.x)

    def value_on(self, w: Point, x: Array) -> Scalar:
        """Return L(w) with other inputs instead of `x`, such as adversarial ones."""
        o = self.options
        each = jax.vmap(lambda f, y: example_loss(o.criterion, o.label_smoothing, f, y))
        value = jnp.mean(each(self.outputs(w, x), self.y))
        return value if o.weight_decay == 0 else value + 0.5 * o.weight_decay * jnp.sum(w * w)

    def gradient(self, w: Point) -> Point:
        """Return g(w) by reverse mode; takes an array only, not `Components`."""
        return jax.grad(self.__call__)(w)

    def misclassified(self, w: Point) -> Scalar:
        """Return the share of examples whose largest output is not the class of y."""
        return jnp.mean(~correct(self.predict(w), self.y))

    def with_options(self, **changes: Any) -> "NetworkLoss":
        """Return the same loss with other `options`; of batch norm the network decides itself.

        Raises:
            ArgumentError: for another `batch_norm`.

        """
        if changes.get("batch_norm", self.options.batch_norm) != self.options.batch_norm:
            raise _checks.ArgumentError(
                f"Argument `loss` must be made with batch_norm={changes['batch_norm']!r}, but "
                f"{self.name} has {self.options.batch_norm!r}, and for a network in JAX this is "
                "set where the loss is made. Make the loss again."
            )
        whole = None if self.whole is None else self.whole.with_options(**changes)
        return dataclasses.replace(self, options=self.options._replace(**changes), whole=whole)

    @property
    def criterion(self) -> str:
        """One line that names the loss."""
        labels = jnp.issubdtype(self.y.dtype, jnp.integer)
        positions = math.prod(self.y.shape[1:] if labels else self.y.shape[1:-1])
        return described(self.options.criterion, labels, len(self.x), positions=positions)

    @property
    def has_classes(self) -> bool:
        """Whether targets are classes: by cross-entropy, or as rows that are probabilities."""
        if self.options.criterion == "cross_entropy":
            return True
        y = np.asarray(self.y)
        rows = y.ndim >= 2 and y.shape[-1] >= 2
        return rows and bool((y >= 0).all() and np.allclose(y.sum(axis=-1), 1))

    @property
    def extra_names(self) -> tuple[str, ...]:
        """Names of frozen arrays and of the state, as weights are named."""
        held = jtu.tree_flatten_with_path((self.fixed, self.state))[0]
        return tuple(path_name(path[1:]) for path, _ in held)

    @property
    def extras(self) -> dict[str, NumpyArray]:
        """Frozen arrays and the state by name; without random keys, and names of two arrays."""
        leaves, names = jax.tree.leaves((self.fixed, self.state)), self.extra_names
        times = Counter((*names, *self.weight_names))
        return {
            name: np.array(leaf)
            for name, leaf in zip(names, leaves, strict=True)
            if times[name] == 1 and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        }

    def with_extras(self, extras: Mapping[str, Any]) -> "NetworkLoss":
        """Return the loss with other frozen arrays, or another state, under these names.

        Raises:
            ArgumentError: for an array of another shape.

        """

        def replaced(path: Any, leaf: Array) -> Array:
            name = path_name(path[1:])
            if name not in extras:
                return leaf
            if extras[name].shape != leaf.shape:
                raise _checks.ArgumentError(
                    f"Tensor `{name}` must have shape {leaf.shape}, but has shape "
                    f"{extras[name].shape}."
                )
            return jnp.asarray(extras[name], dtype=leaf.dtype)

        held = jtu.tree_map_with_path(replaced, (self.fixed, self.state))
        whole = None if self.whole is None else self.whole.with_extras(extras)
        return dataclasses.replace(self, fixed=held[0], state=held[1], whole=whole)

    @property
    def fixed_arrays(self) -> list[Any]:
        """The examples, and all arrays that decide L and are no weights."""
        return array_leaves(self)

    @property
    def has_statistics(self) -> bool:
        """Whether `statistics` knows how to compute those of batch norm anew."""
        return self.measure is not None

    def statistics(self, w: Point) -> dict[str, Array]:
        """Return the state of batch norm after one pass of all examples at once in training.

        For a module of equinox with its state, in evaluation mode, as `network` takes it. A layer's
        mean and variance are those of its inputs over all examples, normalised so on the way, and
        the variance is without the factor m/(m − 1) of m numbers a channel that PyTorch has. Of a
        layer that is called several times they are the mean over its calls; the state of a layer
        that is not called, or with `inference=True`, is as before. All examples go at once.

        Not guaranteed: statistics of layers that are called within a compiled loop, such as
        `jax.lax.scan`. A module that reads attributes of its batch norms raises an error.

        Raises:
            ArgumentError: for a loss whose statistics are not known of: of a function of JAX, of a
                network without batch norm, and with batch_norm="train".

        """
        if self.measure is None:
            raise _checks.ArgumentError(
                "Argument `loss` must be made of an equinox module with its state and with "
                f'batch_norm="eval" to compute statistics, but {self.name} is not.'
            )
        return _statistics(self, w)

    @property
    def kinks(self) -> tuple[str, ...]:
        """Operations of the network with kinks, where the Hessian is that of the smooth pieces."""
        first = jnp.asarray(self.x[:1])
        return kinks(lambda w: self.outputs(w, first), jnp.zeros(self.dim))

    @property
    def num_examples(self) -> int:
        """Number n of examples."""
        return len(self.x)

    def shards(self, m: int) -> "tuple[NetworkLoss, ...]":
        """Return the losses of m examples each, in the order of the data; L is their mean.

        Raises:
            ArgumentError: if m does not divide the number of examples.

        """
        starts = range(0, self.num_examples, shard_size(m, self.num_examples))
        return tuple(self.on(self.x[i : i + m], self.y[i : i + m], self.whole) for i in starts)

    def in_chunks(self, chunk_size: int) -> ChunkedLoss:
        """Return the same loss, computed from `chunk_size` examples at a time.

        Raises:
            ArgumentError: for a `chunk_size` that is no count, and where batch norm takes its
                statistics from the batch: the chunks' mean is then another loss.

        """
        return ChunkedLoss(self, chunk_size)

    def chunks(self, chunk_size: int) -> "Iterator[tuple[float, NetworkLoss]]":
        """Yield the losses L_c of `chunk_size` examples each with their shares, L = Σ share L_c.

        In the order of the data; the last chunk may be smaller, and its share is. Each is made
        when its turn comes, so that of data in memory-mapped arrays one chunk at a time is read.
        """
        for i in range(0, self.num_examples, chunk_size):
            part = slice(i, i + chunk_size)
            x, y = as_inputs(self.x[part], self.options.dtype), jnp.asarray(self.y[part])
            yield len(x) / self.num_examples, self.on(x, y, None)

    def batch(self, indices: Any) -> "NetworkLoss":
        """Return the mean loss of the examples at `indices`, repeated ones counted as often."""
        chosen = jnp.asarray(indices)
        return self.on(self.x[chosen], self.y[chosen], self)

    def on(self, x: Array, y: Array, whole: "NetworkLoss | None") -> "NetworkLoss":
        """Return the loss of the same network on other examples."""
        parts = lambda s: (s.x, s.y, s.whole)  # noqa: E731
        return eqx.tree_at(parts, self, (x, y, whole), is_leaf=lambda leaf: leaf is None)

    def hessian(self, w: Point) -> Matrix:
        """Return H(w), shape (dim, dim): dim Hessian-vector products and dim² numbers.

        For small networks; `hvp` serves the others.
        """
        basis = jnp.eye(self.dim, dtype=w.dtype)
        return jax.lax.map(lambda v: self.hvp(w, v), basis, batch_size=_HESSIAN_COLUMNS)


@eqx.filter_jit
def _statistics(loss: NetworkLoss, w: Point) -> dict[str, Array]:
    assert loss.measure is not None
    return loss.measure(loss.unflatten(w), loss.state, jnp.asarray(loss.x))


def _where_named(name: str | None, leaf: Any) -> Any:
    return None if name is None else leaf


def path_name(path: Any) -> str:
    """Return the name of an array of a tree, as "layers.0.weight"."""
    return jtu.keystr(path, simple=True, separator=".")


def as_inputs(x: Any, dtype: str) -> Array:
    """Return inputs in the network's float type; whole numbers, as tokens are, stay such."""
    array = jnp.asarray(x)
    return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array
