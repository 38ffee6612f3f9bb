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
        slope = field(s + node * h, y + h * (row @ slopes))
        return slopes.at[i].set(slope), None

    none = jnp.zeros((len(b), *y.shape), y.dtype)
    slopes, _ = lax.scan(stage, none, (jnp.arange(len(b)), a, c))
    return y + h * (b @ slopes), h * (error @ slopes)


def first_step(slope: Array, y: Array, rtol: Any, atol: Any) -> Array:
    """Return a step size to begin with, on an interval of length 1."""
    unit = atol + rtol * jnp.abs(y)
    moves = jnp.max(jnp.abs(slope) / unit)
    h = _FIRST * jnp.maximum(jnp.max(jnp.abs(y) / unit), 1 / rtol * _FIRST) / moves
    return lax.stop_gradient(jnp.clip(jnp.where(moves > 0, h, 1.0), 1e-6, 0.1))


def judge(
    y: Array, after: Array, error: Array, h: Any, rtol: Any, atol: Any
) -> tuple[Array, Array]:
    """Say whether a step is accurate enough, and how long the next one is to be.

    Neither has a derivative: those of the solution are those of the steps made.
    """
    unit = atol + rtol * jnp.maximum(jnp.abs(y), jnp.abs(after))
    size = jnp.sqrt(jnp.mean((lax.stop_gradient(error) / lax.stop_gradient(unit)) ** 2))
    size = jnp.where(jnp.isnan(size), jnp.inf, size)  # and is shortened
    factor = jnp.clip(_SAFETY * jnp.maximum(size, 1e-30) ** (-1 / _ORDER), _SHRINK, _GROW)
    return size <= 1, lax.stop_gradient(h * factor)
