"""One compiled Hessian-vector product, of the whole data or of a chunk at a time."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from samflow._types import NumpyArray, Point
from samflow.equilibria.krylov import Product
from samflow.losses.base import AbstractLoss
from samflow.losses.network import NetworkLoss


def hessian_product(loss: AbstractLoss, w: Point) -> Product:
    """Return v ↦ H(w)v between numpy arrays of shape (dim,).

    The product is compiled once, a second time for a last chunk that is smaller, and called from
    Python: the loss and its data are arguments, so nothing is folded into the program, and no
    convolution runs inside a compiled loop, where XLA is slow on a CPU.

    For a network's loss with a `chunk_size` it is H v = Σ_c (n_c/n) H_c v over chunks of n_c of
    the n examples, which bounds the memory of activations.
    """
    if not isinstance(loss, NetworkLoss) or loss.chunk_size is None:
        return lambda v: np.array(_hvp(loss, w, jnp.asarray(v)))

    def product(v: NumpyArray) -> NumpyArray:
        total = np.zeros(loss.dim)
        for share, part in loss.chunks():
            total += share * np.asarray(_hvp(part, w, jnp.asarray(v)))
        return total

    return product


@eqx.filter_jit
def _hvp(loss: AbstractLoss, w: Point, v: Point) -> Point:
    return loss.hvp(w, v)
