"""Steps of Dormand and Prince's 8/7 method, for maps that are made of the solution of a flow.

The coefficients are diffrax's. A program of Newton's method on such a map has some twenty copies of
the solver, of which this one traces and compiles in half of the time.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

Field = Callable[[Any, Array], Array]
"""The right side f of y′ = f(s, y)."""

SMALLEST = 1e-13
"""Relative to the time in all: below this step size the solver gives up."""
_ORDER = 8
"""The error of a step is of the order h⁸."""
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 8.0
_TINY = 1e-290
_FIRST = 0.01
"""The first step moves the state by this part of itself."""


class Tableau(NamedTuple):
    """The coefficients of an explicit method: stages, solution, and solution minus its estimate."""

    a: np.ndarray
    b: np.ndarray
    error: np.ndarray
    c: np.ndarray


@functools.cache
def tableau() -> Tableau:
    """Return the coefficients of Dormand and Prince's method of order 8."""
    import diffrax  # takes half a second to import

    made: Any = diffrax.Dopri8.tableau
    stages = len(made.b_sol)
    a = np.zeros((stages, stages))
    for i, row in enumerate(made.a_lower):
        a[i + 1, : i + 1] = row
    return Tableau(a, made.b_sol, made.b_error, np.append(0.0, made.c))


def step(field: Field, s: Any, h: Any, y: Array) -> tuple[Array, Array]:
    """Return the state after a step h from (s, y), and the estimate of its error."""
    a, b, error, c = (jnp.asarray(part, y.dtype) for part in tableau())

    # A loop over the stages: unrolled it is twice as fast, and takes three times as long to trace.
    def stage(slopes: Array, now: tuple[Array, Array, Array]) -> tuple[Array, None]:
        i, row, node = now
        slope = field(s + node * h, y + h * jnp.tensordot(row, slopes, 1))
        return slopes.at[i].set(slope), None

    none = jnp.zeros((len(b), *y.shape), y.dtype)
    slopes, _ = lax.scan(stage, none, (jnp.arange(len(b)), a, c))
    return y + h * jnp.tensordot(b, slopes, 1), h * jnp.tensordot(error, slopes, 1)


def _unit(y: Array, after: Array, rtol: Any, atol: Any) -> Array:
    """Return the error that is allowed in each entry of states (blocks, n).

    The first block is the solution. The others are derivatives, which have units of their own: of
    these the error is measured by the largest entry.
    """
    size = jnp.maximum(jnp.abs(y), jnp.abs(after))
    derivative = rtol * jnp.max(size, axis=1, keepdims=True) + _TINY
    first = jnp.arange(len(y))[:, None] == 0
    return jnp.where(first, atol + rtol * size, jnp.broadcast_to(derivative, size.shape))


def first_step(slope: Array, y: Array, rtol: Any, atol: Any) -> Array:
    """Return a step size to begin with, on an interval of length 1."""
    unit = _unit(y, y, rtol, atol)
    moves = jnp.max(jnp.abs(slope) / unit)
    h = _FIRST * jnp.maximum(jnp.max(jnp.abs(y) / unit), _FIRST / rtol) / moves
    return jnp.clip(jnp.where(moves > 0, h, 1.0), 1e-6, 0.1)


def judge(
    y: Array, after: Array, error: Array, h: Any, rtol: Any, atol: Any
) -> tuple[Array, Array]:
    """Say whether a step of states (blocks, n) is accurate enough, and how long the next is."""
    size = jnp.sqrt(jnp.max(jnp.mean((error / _unit(y, after, rtol, atol)) ** 2, axis=1)))
    size = jnp.where(jnp.isnan(size), jnp.inf, size)  # and is shortened
    factor = jnp.clip(_SAFETY * jnp.maximum(size, 1e-30) ** (-1 / _ORDER), _SHRINK, _GROW)
    return size <= 1, h * factor
