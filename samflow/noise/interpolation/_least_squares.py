"""Least squares with an exact fit: the second-order model of every interpolating minimum."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._types import ArrayLike, Point, Scalar
from samflow.losses.models import network
from samflow.losses.network import NetworkLoss


class _Linear(eqx.Module):
    weight: Point

    def __call__(self, a: Point) -> Scalar:
        return self.weight @ a


def least_squares(rows: ArrayLike, *, name: str = "least squares") -> NetworkLoss:
    """Return L(w) = (1/n) Σᵢ ½(aᵢ·w)², a mean over examples, each fitted exactly by w = 0.

    A loss near any minimum that fits its examples is of this form to second order, with aᵢ the
    gradient of the output on example i; w is then the distance from the minimum.

    >>> loss = least_squares([[1.0, 2.0], [0.0, 1.0]])
    >>> loss.num_examples, float(loss(jnp.array([1.0, 0.0])))
    (2, 0.25)

    Args:
        rows: aᵢ, shape (n, dim); finite.
        name: what to call it.

    Raises:
        ArgumentError: for rows of another shape, or not finite.

    """
    try:
        array = np.asarray(rows, dtype=float)
    except (TypeError, ValueError) as error:
        raise _checks.ArgumentError("Argument `rows` must be numbers of shape (n, dim).") from error
    if array.ndim != 2 or not array.size:
        raise _checks.ArgumentError(
            f"Argument `rows` must have shape (n, dim), both ≥ 1, but has shape {array.shape}."
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise _checks.ArgumentError(
            f"Argument `rows` must be finite, but {bad.sum()} of {len(array)} rows are not; "
            f"the first is row {bad.argmax()}."
        )
    model = _Linear(jnp.zeros(array.shape[1]))
    return network(model, array, np.zeros(len(array)), name=name)
