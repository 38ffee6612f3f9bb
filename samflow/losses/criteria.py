"""What a network's output is worth: the loss ℓ(f, y) of one example."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from samflow._types import Scalar


def _squared(f: Array, y: Array) -> Scalar:
    return 0.5 * jnp.sum((f - y) ** 2)


def _cross_entropy(f: Array, y: Array) -> Scalar:
    return -jnp.sum(y * jax.nn.log_softmax(f))


CRITERIA: dict[str, Callable[[Array, Array], Scalar]] = {
    "squared": _squared,
    "cross_entropy": _cross_entropy,
}
"""The loss ℓ(f, y) of one example by name; a network's loss is its mean over the examples.

Sums run over outputs. Of targets y that are classes, whole numbers, one row of outputs is left
out: `rows` makes the rows that the criterion takes."""


def example_loss(criterion: str, label_smoothing: float, f: Array, y: Array) -> Scalar:
    """Return ℓ(f, y) of one example, y in the shape of f or without its last axis."""
    return CRITERIA[criterion](f, rows(y, f.shape[-1:], label_smoothing))


def rows(y: Array, last: tuple[int, ...], label_smoothing: float) -> Array:
    """Return targets as rows: classes one-hot, then (1 − s) y + s/K for K classes."""
    if jnp.issubdtype(y.dtype, jnp.integer):
        y = jax.nn.one_hot(y, last[0])
    return y if label_smoothing == 0 else (1 - label_smoothing) * y + label_smoothing / last[0]


def correct(f: Array, y: Array) -> Array:
    """Return whether the largest output is the class that `y` gives the most weight."""
    classes = y if jnp.issubdtype(y.dtype, jnp.integer) else jnp.argmax(y, axis=-1)
    return jnp.argmax(f, axis=-1) == classes
