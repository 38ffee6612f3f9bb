"""Criteria: the loss ℓ(f, y) of one example, and its choice from the targets."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from samflow._checks import ArgumentError
from samflow._types import Scalar


def _squared(f: Array, y: Array) -> Scalar:
    return 0.5 * jnp.sum((f - y) ** 2)


def _cross_entropy(f: Array, y: Array) -> Scalar:
    return jnp.mean(-jnp.sum(y * jax.nn.log_softmax(f), axis=-1))


CRITERIA: dict[str, Callable[[Array, Array], Scalar]] = {
    "squared": _squared,
    "cross_entropy": _cross_entropy,
}
"""The loss ℓ(f, y) of one example by name; a network's loss is its mean over the examples.

A square is summed over outputs. A cross-entropy sums over classes, the last axis, and is the mean
over all positions, as the tokens of a text. Of targets y that are classes, whole numbers, the last
axis is left out: `rows` makes the rows that the criterion takes."""

BY_TARGETS = "by targets"
"""Stands for a criterion that was not named: `criterion_of` chooses it."""


def criterion_of(criterion: str, whole: bool, one_per_output: bool) -> str:
    """Choose a criterion from the targets: whole numbers are classes, floats are values.

    Args:
        criterion: a name, or `BY_TARGETS`.
        whole: whether targets are whole numbers.
        one_per_output: whether targets have the shape of the outputs.

    Raises:
        ArgumentError: for whole numbers in the shape of the outputs, which can be either.

    """
    if criterion != BY_TARGETS:
        return criterion
    if whole and one_per_output:
        raise ArgumentError(
            "Argument `loss` must be given for targets that are whole numbers in the shape of the "
            'outputs: they can be values or one-hot rows. Give loss="squared" or '
            'loss="cross_entropy".'
        )
    return "cross_entropy" if whole else "squared"


def check_booleans(boolean: bool, one_per_output: bool, *, named: bool) -> None:
    """Refuse boolean targets unless they have the shape of the outputs and the criterion is named.

    Raises:
        ArgumentError: for booleans as classes, since they do not say which class True is; and for
            booleans in the shape of the outputs, which can be values or one-hot rows.

    """
    if boolean and not (one_per_output and named):
        raise ArgumentError(
            "Argument `y` must be whole numbers for classes or floats for values, but is boolean. "
            "Use y.astype(int) or y.astype(float)."
        )


def check_smoothing(label_smoothing: float, criterion: str) -> None:
    """Refuse label smoothing for a criterion that does not use it."""
    if label_smoothing and criterion != "cross_entropy":
        raise ArgumentError(
            "Argument `label_smoothing` must be 0 unless the loss is cross_entropy, but is "
            f"{label_smoothing} for {criterion}."
        )


def described(
    criterion: str,
    labels: bool,
    num_examples: int,
    *,
    axis: str = "the last axis",
    positions: int = 1,
) -> str:
    """Return one line about a criterion: what it compares, and what the mean is over.

    Args:
        criterion: a name in `CRITERIA`.
        labels: whether targets are classes.
        num_examples: how many.
        axis: which axis of the outputs has the classes.
        positions: how many of an example have a target each.

    """
    over = f"mean over {num_examples} examples"
    if criterion == "squared":
        return f"Loss: squared error, ½‖f(x) − y‖² summed over outputs, {over}."
    kind = "integer labels" if labels else "rows of probabilities"
    over += f" of {positions} positions each" if positions > 1 else ""
    return f"Loss: cross-entropy of {kind} (classes on {axis}), {over}."


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
