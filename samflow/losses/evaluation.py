"""Values and derivatives of a loss for callers outside compiled code; one program for each."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow._types import NumpyArray, Point, Scalar
from samflow.losses.base import AbstractLoss
from samflow.losses.eager import compiled
from samflow.losses.network_base import AbstractNetworkLoss, array_leaves

_FEW = 16
_MACHINES = 1e5
"""In units of rounding: 1 % in single precision, since accelerators round products."""


@compiled
def value(loss: AbstractLoss, w: Point) -> Scalar:
    """Return L(w)."""
    return loss(w)


@compiled
def gradient(loss: AbstractLoss, w: Point) -> Point:
    """Return g(w)."""
    return loss.gradient(w)


@compiled
def gradient_norm(loss: AbstractLoss, w: Point) -> Scalar:
    """Return ‖g(w)‖."""
    return jnp.linalg.norm(loss.gradient(w))


@compiled
def hvp(loss: AbstractLoss, w: Point, v: Point) -> Point:
    """Return H(w) v; `hessian_product` serves many v."""
    return loss.hvp(w, v)


@compiled
def predict(loss: AbstractNetworkLoss, w: Point) -> Array:
    """Return f_w(xᵢ) for every example."""
    return loss.predict(w)


def error_share(loss: AbstractLoss, w: Point) -> float:
    """Return the share of examples misclassified; NaN for a loss whose targets are no classes."""
    has_classes = isinstance(loss, AbstractNetworkLoss) and loss.has_classes
    return float(misclassified(loss, w)) if has_classes else float("nan")


@compiled
def misclassified(loss: AbstractNetworkLoss, w: Point) -> Scalar:
    """Return the share of examples whose largest output is not the class of y."""
    return loss.misclassified(w)


def few_outputs(loss: AbstractLoss, w: Point) -> NumpyArray:
    """Return a network's outputs for its first examples, or L(w).

    They tell apart networks that have the same arrays and differ, for example, in an activation.
    """
    if not isinstance(loss, AbstractNetworkLoss):
        return np.asarray(value(loss, w)).reshape(1)
    few = loss.batch(np.arange(min(_FEW, loss.num_examples)))
    return np.asarray(predict(few, w)).reshape(-1)


def fixed_arrays(loss: AbstractLoss) -> list[Any]:
    """Return the arrays that decide a loss besides its weights: data, frozen arrays, buffers."""
    if isinstance(loss, AbstractNetworkLoss):
        return loss.fixed_arrays
    return array_leaves(loss)


def same_outputs(loss: AbstractLoss, one: NumpyArray, other: NumpyArray) -> bool:
    """Return whether two of `few_outputs` agree up to machine differences; NaN equals NaN."""
    if one.shape != other.shape:
        return False
    known = one[np.isfinite(one)]
    size = float(np.abs(known).max()) if len(known) else 1.0
    return np.allclose(one, other, rtol=0, atol=_MACHINES * loss.precision * size, equal_nan=True)
