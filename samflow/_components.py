"""A vector held as one array a coordinate, with the arithmetic of a vector.

XLA compiles an elementwise loop over separate arrays (x, y) into wide SIMD code, but not one
over an array of shape (N, 2). A rule or a map written once, `w - lr * g(w + rho * g(w))`, runs
in both layouts: `Components` answers to the same operators as an array of shape (dim,).
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp


@jax.tree_util.register_pytree_node_class
class Components:
    """Coordinates of many points at once: `parts[i]` holds coordinate i, each of one shape."""

    __slots__ = ("parts",)
    __array_priority__ = 1000  # let `numpy_scalar * components` reach __rmul__

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return self.parts, None

    @classmethod
    def tree_unflatten(cls, _: None, parts: Any) -> "Components":
        return cls(*parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Components(*self.parts[index])
        return self.parts[index]

    def map(self, function: Callable[[Any], Any]) -> "Components":
        """Apply `function` to every coordinate."""
        return Components(*(function(part) for part in self.parts))

    def _zip(self, other: Any, operation: Callable[[Any, Any], Any]) -> "Components":
        if isinstance(other, Components):
            pairs = zip(self.parts, other.parts, strict=True)
            return Components(*(operation(a, b) for a, b in pairs))
        return Components(*(operation(a, other) for a in self.parts))

    def __add__(self, other: Any) -> "Components":
        return self._zip(other, lambda a, b: a + b)

    def __radd__(self, other: Any) -> "Components":
        return self._zip(other, lambda a, b: b + a)

    def __sub__(self, other: Any) -> "Components":
        return self._zip(other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> "Components":
        return self._zip(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> "Components":
        return self._zip(other, lambda a, b: a * b)

    def __rmul__(self, other: Any) -> "Components":
        return self._zip(other, lambda a, b: b * a)

    def __truediv__(self, other: Any) -> "Components":
        return self._zip(other, lambda a, b: a / b)

    def __neg__(self) -> "Components":
        return self.map(lambda a: -a)

    def __abs__(self) -> "Components":
        return self.map(abs)


def norm(v: Any) -> Any:
    """Return the Euclidean norm of a vector in either layout.

    No guard: the norm of 0 is 0 and its derivative there is NaN, so that what divides by it
    shows where it is undefined.
    """
    return jnp.sqrt(inner(v, v))


def unit(v: Any) -> Any:
    """Return v/‖v‖ in the layout of `v`; NaN where v = 0, and so is its derivative.

    ‖v‖² must be representable, which in double precision it is for 1e-154 < ‖v‖ < 1e154 and in
    single for 1e-19 < ‖v‖ < 1e19; outside, the result is wrong.
    """
    # √(1/‖v‖²), not 1/√‖v‖²: XLA turns the second into an rsqrt, three times as slow in f64.
    return jnp.sqrt(1 / inner(v, v)) * v


def inner(a: Any, b: Any) -> Any:
    """Return the inner product of two vectors in the same layout."""
    if isinstance(a, Components):
        return sum(p * q for p, q in zip(a.parts[1:], b.parts[1:], strict=True)) + a[0] * b[0]
    return jnp.sum(a * b)


def mean(v: Any) -> Any:
    """Return the mean of the coordinates of a vector in either layout."""
    if isinstance(v, Components):
        return sum(v.parts[1:], v.parts[0]) / len(v)
    return jnp.mean(v)


def largest(v: Any) -> Any:
    """Return the largest coordinate of a vector in either layout."""
    if isinstance(v, Components):
        return functools.reduce(jnp.maximum, v.parts)
    return jnp.max(v)


def elementwise(function: Callable[..., Any], *vectors: Any) -> Any:
    """Apply `function`, which works on arrays of any shape, coordinate by coordinate."""
    if isinstance(vectors[0], Components):
        return Components(*map(function, *vectors))
    return function(*vectors)


def in_layout_of(w: Any, v: Any) -> Any:
    """Return `v`, an array (dim,), in the layout of `w`."""
    return Components(*(v[i] for i in range(len(w)))) if isinstance(w, Components) else v


def concatenate(a: Any, b: Any) -> Any:
    """Stack two vectors in the same layout into one."""
    if isinstance(a, Components):
        return Components(*a.parts, *b.parts)
    return jnp.concatenate([a, b])
