"""Losses computed by Python, call by call: data in chunks, or networks of other libraries."""

import abc
import contextlib
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._types import Matrix, NumpyArray, Point, Scalar
from samflow.losses.allocation import explained_allocation
from samflow.losses.base import AbstractLoss


class AbstractEagerLoss(AbstractLoss):
    """A loss whose value, gradient and Hessian-vector products are functions outside of JAX.

    They take and return arrays of the length of the weights. Rules, maps and analyses take such a
    loss as any other. Outside a compiled function the numbers are passed directly, inside one by a
    callback on the host. JAX can differentiate the gradient once, in a direction. It refuses
    higher derivatives.
    """

    @abc.abstractmethod
    def value_at(self, w: Point) -> Any:
        """Return L(w) for an array of numbers."""

    @abc.abstractmethod
    def gradient_at(self, w: Point) -> Any:
        """Return g(w), shape (dim,), for an array of numbers."""

    @abc.abstractmethod
    def product_at(self, w: Point) -> Callable[[Any], Any]:
        """Return v ↦ H(w)v between arrays of shape (dim,), to be called many times."""

    @property
    def elementwise(self) -> bool:
        """False: an array of weights is taken, not `Components`."""
        return False

    def __call__(self, w: Point) -> Scalar:
        """Return L(w)."""
        return _differentiable(self._value, lambda w, v: jnp.vdot(self.gradient(w), v))(w)

    def gradient(self, w: Point) -> Point:
        """Return g(w)."""
        return _differentiable(self._gradient, self.hvp)(w)

    def hvp(self, w: Point, v: Point) -> Point:
        """Return H(w) v."""
        return self._outside(lambda loss, w, v: loss.product_at(w)(v), w.shape, w, v)

    def hessian(self, w: Point) -> Matrix:
        """Return H(w), shape (dim, dim), from dim products."""
        return self._outside(_dense, (self.dim, self.dim), w)

    def _value(self, w: Point) -> Scalar:
        return self._outside(lambda loss, w: loss.value_at(w), (), w)

    def _gradient(self, w: Point) -> Point:
        return self._outside(lambda loss, w: loss.gradient_at(w), w.shape, w)

    def _outside(
        self, function: Callable[..., Any], shape: tuple[int, ...], *arrays: Any
    ) -> jax.Array:
        """Call `function` with this loss and numbers; use a callback if the numbers are traced."""
        traced, known = eqx.partition(self, _checks.is_traced)
        if not any(map(_checks.is_traced, (*arrays, *jax.tree.leaves(traced)))):
            return jnp.asarray(function(self, *arrays), dtype=arrays[0].dtype)
        kind = jax.ShapeDtypeStruct(shape, arrays[0].dtype)

        def host(traced: Any, *values: Any) -> NumpyArray:
            return np.asarray(function(eqx.combine(traced, known), *values), dtype=kind.dtype)

        return jax.pure_callback(host, kind, traced, *arrays, vmap_method="sequential")


def _dense(loss: AbstractEagerLoss, w: Point) -> NumpyArray:
    product = loss.product_at(w)
    return np.stack([np.asarray(product(unit)) for unit in np.eye(loss.dim)], axis=1)


def _differentiable(function: Callable[[Any], Any], tangent: Callable[[Any, Any], Any]) -> Any:
    made = jax.custom_jvp(function)
    made.defjvp(lambda primals, tangents: (made(*primals), tangent(primals[0], tangents[0])))
    return made


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function`; run it uncompiled if an argument contains a loss that Python computes.

    This avoids a copy through the host for each call of such a loss. When memory runs out the error
    says how many examples to take at once.
    """
    fast = eqx.filter_jit(function)

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        losses, made = _outermost(args, AbstractLoss), function if is_eager(args) else fast
        with explained_allocation(losses[0]) if losses else contextlib.nullcontext():
            return made(*args)

    return run


def is_eager(tree: Any) -> bool:
    """Whether `tree` contains a loss that Python computes, possibly inside another loss."""
    return bool(_outermost(tree, AbstractEagerLoss))


def _outermost(tree: Any, kind: type) -> list[Any]:
    found = lambda node: isinstance(node, kind)  # noqa: E731
    return [node for node in jax.tree.leaves(tree, is_leaf=found) if found(node)]
