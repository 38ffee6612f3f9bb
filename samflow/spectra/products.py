"""Hessian-vector products driven from Python, one compiled program for all of them."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from samflow._types import NumpyArray, Point, Scalar
from samflow.losses.allocation import explained_allocation
from samflow.losses.base import AbstractLoss
from samflow.losses.eager import AbstractEagerLoss
from samflow.losses.network import NetworkLoss
from samflow.spectra.krylov import Product

_WATCH: ContextVar[Callable[[], None] | None] = ContextVar("watch", default=None)


@contextlib.contextmanager
def watched(after_each: Callable[[], None]) -> Iterator[None]:
    """Call `after_each` after every product that is made inside, to show how far things are."""
    token = _WATCH.set(after_each)
    try:
        yield
    finally:
        _WATCH.reset(token)


def hessian_product(loss: AbstractLoss, w: Point) -> Product:
    """Return v ↦ H(w)v between NumPy arrays of shape (dim,).

    The gradient is linearised at w once, and what its derivative needs of the forward and the
    backward pass is kept: a product then costs about 1.7 gradients, where a fresh one costs 2.4.
    The loss, its data and what is kept are arguments of the compiled program, so that nothing is
    folded into it, and no convolution runs inside a compiled loop, where XLA is slow on a CPU.

    A loss that goes in chunks, or that another library computes, has products of its own.

    Raises:
        ArgumentError: where memory runs out; it says how many examples to take at once.

    """
    with explained_allocation(loss):
        if isinstance(loss, AbstractEagerLoss):
            return _product(loss, w, loss.product_at(w), _call)
        return _product(loss, w, _linearised(loss, w), _apply)


def value_gradient_product(loss: AbstractLoss, w: Point) -> tuple[Scalar, Point, Product]:
    """Return L(w), g(w) and v ↦ H(w)v, as `hessian_product`: the first two cost nothing then."""
    if isinstance(loss, AbstractEagerLoss):
        return loss(w), loss.gradient(w), hessian_product(loss, w)
    with explained_allocation(loss):
        value, g, derivative = _all_at(loss, w)
    return value, g, _product(loss, w, derivative, _apply)


def _product(loss: AbstractLoss, w: Point, derivative: Any, apply: Callable[..., Any]) -> Product:
    def product(v: NumpyArray) -> NumpyArray:
        with explained_allocation(loss):
            # A compiled program takes an array of NumPy faster than one that is made of it first.
            image = np.asarray(apply(derivative, np.asarray(v, dtype=w.dtype)))
        watch = _WATCH.get()
        if watch is not None:
            watch()
        return image

    return product


class Remembered:
    """Values, gradients and products H v of a loss that several analyses ask for at few points.

    One compiled program gives value, gradient and derivative of the gradient, so that nothing else
    of the loss has to be compiled. The products of each pair (w, v) are kept, and what the last w
    needs for further ones: as much memory as one `hessian_product`.

    """

    def __init__(self, loss: AbstractLoss) -> None:
        """Begin with nothing."""
        self.loss = loss
        self._values: dict[bytes, float] = {}
        self._gradients: dict[bytes, NumpyArray] = {}
        self._images: dict[bytes, NumpyArray] = {}
        self._last: tuple[bytes, Product] | None = None

    def value(self, w: Point) -> float:
        """Return L(w)."""
        name, loss = _name(w), self.loss
        if name not in self._values:
            if isinstance(loss, AbstractEagerLoss):
                with explained_allocation(loss):
                    self._values[name] = float(loss.value_at(w))
            else:
                self.fresh_product(w)
        return self._values[name]

    def gradient(self, w: Point) -> NumpyArray:
        """Return g(w)."""
        name, loss = _name(w), self.loss
        if name not in self._gradients:
            if isinstance(loss, AbstractEagerLoss):
                with explained_allocation(loss):
                    self._gradients[name] = np.asarray(loss.gradient_at(w))
            else:
                self.fresh_product(w)
        return self._gradients[name]

    def product(self, w: Point) -> Product:
        """Return v ↦ H(w)v."""
        return lambda v: self.image(w, v)

    def image(self, w: Point, v: NumpyArray) -> NumpyArray:
        """Return H(w)v."""
        name = _name(w) + _name(v)
        if name not in self._images:
            self._images[name] = self.fresh_product(w)(np.asarray(v))
        return self._images[name]

    def fresh_product(self, w: Point) -> Product:
        """Return v ↦ H(w)v, of which no image is kept: for many v."""
        if self._last is None or self._last[0] != _name(w):
            self._last = None  # before the next is made: they are large
            self._last = (_name(w), self._linearised(w))
        return self._last[1]

    def _linearised(self, w: Point) -> Product:
        loss = self.loss
        if isinstance(loss, AbstractEagerLoss):
            return hessian_product(loss, w)
        value, g, product = value_gradient_product(loss, w)
        self._values[_name(w)], self._gradients[_name(w)] = float(value), np.asarray(g)
        return product


def _name(array: Any) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()


def _call(derivative: Callable[[Point], Any], v: NumpyArray) -> Any:
    return derivative(jnp.asarray(v))


@eqx.filter_jit
def _linearised(loss: AbstractLoss, w: Point) -> Callable[[Point], Point]:
    """Return v ↦ H(w)v with what it keeps as leaves: the same program for every w."""
    return jax.linearize(loss.gradient, w)[1]


@eqx.filter_jit
def _all_at(loss: AbstractLoss, w: Point) -> tuple[Scalar, Point, Callable[[Point], Point]]:
    """Return L(w), g(w) and v ↦ H(w)v from one pass forward and one backward."""
    g, derivative, value = jax.linearize(lambda w: _slope_and_value(loss, w), w, has_aux=True)
    return value, g, derivative


def _slope_and_value(loss: AbstractLoss, w: Point) -> tuple[Point, Any]:
    if isinstance(loss, NetworkLoss):  # whose gradient is JAX's: one pass forward for both
        return jax.value_and_grad(loss)(w)[::-1]
    return loss.gradient(w), loss(w)


@jax.jit
def _apply(derivative: Callable[[Any], Point], v: NumpyArray) -> Point:
    return derivative(v)
