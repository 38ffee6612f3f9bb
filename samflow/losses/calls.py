"""What is asked of a loss outside of any program, each by one program compiled for all."""

import jax.numpy as jnp
from jaxtyping import Array

from samflow._types import Point, Scalar
from samflow.losses.base import AbstractLoss
from samflow.losses.eager import compiled
from samflow.losses.network_base import AbstractNetworkLoss


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
