"""A loss given by a network and its data, as a function of the flat vector of weights."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float

from samflow import _checks
from samflow._types import ArrayLike, Box, Matrix, Point, Scalar
from samflow.losses.base import AbstractLoss
from samflow.losses.finite_sum import shard_size

_HESSIAN_COLUMNS = 64
"""How many columns of H are made at once: bounds the memory of their activations."""


def _squared(f: Array, y: Array) -> Scalar:
    return 0.5 * jnp.sum((f - y) ** 2)


def _cross_entropy(f: Array, y: Array) -> Scalar:
    return -jnp.sum(y * jax.nn.log_softmax(f))


CRITERIA: dict[str, Callable[[Array, Array], Scalar]] = {
    "squared": _squared,
    "cross_entropy": _cross_entropy,
}
"""The loss ℓ(f, y) of one example by name; a network's loss is its mean over the examples."""


class NetworkLoss(AbstractLoss):
    """The mean loss of a network over its data, L(w) = (1/n) Σᵢ ℓ(f_w(xᵢ), yᵢ).

    The weights w, shape (dim,), are the network's arrays, each flattened row by row, one after
    another in the order of `weight_names`. The data are leaves, so that a compiled function takes
    them as arguments; all else about the network is static. `network` makes one and checks it.

    Attributes:
        x: inputs, one example a row.
        y: targets, one example a row, in the shape of the network's output.
        criterion: a name in `CRITERIA`.
        skeleton: the network without its arrays.
        structure: where the arrays belong in it.
        weight_names: a name an array, as "layers.0.weight".
        weight_shapes: their shapes.
        dim: number of weights.
        whole: the loss that this batch was drawn from, None if from none.
        chunk_size: how many examples a Hessian-vector product of the analyses of curvature
            differentiates at once, None for all; see `chunks`. All else takes them at once.

    """

    x: Float[Array, "n ..."]
    y: Float[Array, "n ..."]
    criterion: str = eqx.field(static=True)
    skeleton: Any = eqx.field(static=True)
    structure: Any = eqx.field(static=True)
    weight_names: tuple[str, ...] = eqx.field(static=True)
    weight_shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    name: str = eqx.field(static=True, default="network")
    domain: Box | None = eqx.field(static=True, default=None)
    elementwise: bool = eqx.field(static=True, default=False)
    whole: "NetworkLoss | None" = None
    chunk_size: int | None = eqx.field(static=True, default=None)

    def split(self, w: Point) -> list[Array]:
        """Return the network's arrays in the order of `weight_names`."""
        ends = np.cumsum([math.prod(shape) for shape in self.weight_shapes])
        pieces = jnp.split(w, ends[:-1])
        return [p.reshape(s) for p, s in zip(pieces, self.weight_shapes, strict=True)]

    def unflatten(self, w: Point) -> Any:
        """Return the network with weights `w`."""
        return eqx.combine(jtu.tree_unflatten(self.structure, self.split(w)), self.skeleton)

    def flatten(self, model: Any) -> Point:
        """Return the weights of `model`, the inverse of `unflatten`.

        Raises:
            ArgumentError: if `model` is not built like this loss's network.

        """
        arrays, _ = eqx.partition(model, eqx.is_inexact_array)
        leaves, structure = jtu.tree_flatten(arrays)
        shapes = tuple(leaf.shape for leaf in leaves)
        if structure != self.structure or shapes != self.weight_shapes:
            raise _checks.ArgumentError(
                f"Argument `model` must be built like the network of {self.name}, with arrays "
                f"{list(self.weight_shapes)}, but has arrays {list(shapes)}."
            )
        return jnp.concatenate([jnp.ravel(jnp.asarray(leaf, float)) for leaf in leaves])

    def predict(self, w: Point) -> Array:
        """Return f_w(xᵢ) for every example, in the shape of `y`."""
        return jax.vmap(self.unflatten(w))(self.x)

    def __call__(self, w: Point) -> Scalar:
        """Return L(w)."""
        return jnp.mean(jax.vmap(CRITERIA[self.criterion])(self.predict(w), self.y))

    def gradient(self, w: Point) -> Point:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return g(w) by reverse mode; takes an array only, not `Components`."""
        return jax.grad(self.__call__)(w)

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
        return tuple(self._on(self.x[i : i + m], self.y[i : i + m], self.whole) for i in starts)

    def in_chunks(self, chunk_size: int | None) -> "NetworkLoss":
        """Return the same loss with another `chunk_size`.

        Raises:
            ArgumentError: for a `chunk_size` that is not None or a count.

        """
        size = None if chunk_size is None else _checks.count("chunk_size", chunk_size)
        return dataclasses.replace(self, chunk_size=size)

    def chunks(self) -> "Iterator[tuple[float, NetworkLoss]]":
        """Yield the losses L_c of `chunk_size` examples each with their shares, L = Σ share L_c.

        In the order of the data; the last chunk may be smaller, and its share is. Each is made
        when its turn comes, so that of data in memory-mapped arrays one chunk at a time is read.
        """
        size = self.num_examples if self.chunk_size is None else self.chunk_size
        whole = dataclasses.replace(self, chunk_size=None)
        for i in range(0, self.num_examples, size):
            x, y = jnp.asarray(self.x[i : i + size]), jnp.asarray(self.y[i : i + size])
            yield len(x) / self.num_examples, whole._on(x, y, None)

    def batch(self, indices: Any) -> "NetworkLoss":
        """Return the mean loss of the examples at `indices`, repeated ones counted as often."""
        chosen = jnp.asarray(indices)
        return self._on(self.x[chosen], self.y[chosen], self)

    def _on(self, x: Array, y: Array, whole: "NetworkLoss | None") -> "NetworkLoss":
        """Return the loss of other examples."""
        parts = lambda s: (s.x, s.y, s.whole)  # noqa: E731
        return eqx.tree_at(parts, self, (x, y, whole), is_leaf=lambda leaf: leaf is None)

    def hessian(self, w: Point) -> Matrix:
        """Return H(w), shape (dim, dim): dim Hessian-vector products and dim² numbers.

        For small networks; `hvp` serves the others.
        """
        basis = jnp.eye(self.dim, dtype=w.dtype)
        return jax.lax.map(lambda v: self.hvp(w, v), basis, batch_size=_HESSIAN_COLUMNS)


def network(
    model: Callable[..., Array],
    x: ArrayLike,
    y: ArrayLike,
    *,
    loss: str = "squared",
    name: str = "network",
) -> NetworkLoss:
    """Make a loss of a network and its data.

    ===============  ==========================================================
    "squared"        L(w) = (1/n) Σᵢ ½‖f_w(xᵢ) − yᵢ‖²
    "cross_entropy"  L(w) = −(1/n) Σᵢ Σⱼ yᵢⱼ log softmax(f_w(xᵢ))ⱼ
    ===============  ==========================================================

    Sums run over outputs, the mean over examples only, so that H does not shrink with the number
    of outputs. `loss.flatten(model)` gives the weights of `model`; they are cast to JAX's default
    float type, and what the network computes with them follows.

    Args:
        model: an equinox module, or any callable pytree, which takes one example and returns its
            output. Its floating-point arrays are the weights. It must be deterministic.
        x: inputs (n, ...), one example a row.
        y: targets (n, ...), in the shape of the outputs; one-hot rows or probabilities for
            "cross_entropy", which are not checked to sum to 1.
        loss: a name in `CRITERIA`.
        name: what to call it.

    Raises:
        ArgumentError: for an unknown loss, data that are not finite or do not fit each other or
            the network, and a network without weights or with arrays that are no real floats.

    """
    criterion = _checks.known("loss", loss, CRITERIA)
    x, y = _examples("x", x), _examples("y", y)
    if len(x) != len(y):
        raise _checks.ArgumentError(
            f"Argument `y` must have one row an example of `x`, {len(x)}, but has {len(y)}."
        )
    arrays, skeleton = eqx.partition(model, eqx.is_inexact_array)
    paths, structure = jtu.tree_flatten_with_path(arrays)
    _check_model(model, [leaf for _, leaf in paths], jtu.tree_leaves(skeleton))
    made = NetworkLoss(
        x=x,
        y=y,
        criterion=criterion,
        skeleton=skeleton,
        structure=structure,
        weight_names=tuple(jtu.keystr(path, simple=True, separator=".") for path, _ in paths),
        weight_shapes=tuple(leaf.shape for _, leaf in paths),
        dim=sum(leaf.size for _, leaf in paths),
        name=name,
    )
    _check_output(made)
    return made


def _examples(name: str, value: ArrayLike) -> Array:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise _checks.ArgumentError(f"Argument `{name}` must be numbers, (n, ...).") from error
    if array.ndim == 0 or not array.size:
        raise _checks.ArgumentError(
            f"Argument `{name}` must have shape (n, ...) with n ≥ 1, but has shape {array.shape}."
        )
    bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if bad.any():
        raise _checks.ArgumentError(
            f"Argument `{name}` must be finite, but {bad.sum()} of {len(array)} examples are not; "
            f"the first is example {bad.argmax()}."
        )
    return jnp.asarray(array, dtype=float)


def _check_model(model: Any, weights: list[Any], rest: list[Any]) -> None:
    if not callable(model):
        raise _checks.ArgumentError(
            f"Argument `model` must be callable on one example, but is {type(model).__name__}."
        )
    if not weights:
        raise _checks.ArgumentError("Argument `model` must have weights, but holds no float array.")
    arrays = [leaf for leaf in rest if eqx.is_array(leaf) or isinstance(leaf, np.ndarray)]
    others = [leaf for leaf in (*weights, *arrays) if not jnp.issubdtype(leaf.dtype, jnp.floating)]
    if others or arrays:
        found = (others or arrays)[0]
        raise _checks.ArgumentError(
            "Argument `model` must hold real floating-point arrays of JAX only, but holds one of "
            f"{type(found).__name__} {found.dtype} of shape {found.shape}. Make it static."
        )


def _check_output(loss: NetworkLoss) -> None:
    w = jax.ShapeDtypeStruct((loss.dim,), loss.x.dtype)
    try:
        output = eqx.filter_eval_shape(loss.predict, w)
    except (TypeError, ValueError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _checks.ArgumentError(
            f"Argument `x` must hold examples that the network takes, but one of shape "
            f"{loss.x.shape[1:]} fails: {reason}"
        ) from error
    shape = getattr(output, "shape", None)
    if shape != loss.y.shape:
        raise _checks.ArgumentError(
            f"Argument `y` must have the shape of the network's outputs, {shape}, "
            f"but has shape {loss.y.shape}."
        )
