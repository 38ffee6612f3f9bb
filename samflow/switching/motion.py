"""The orbit of a map by its second differences, in a compiled loop or step by step.

Δ²w[k] = w[k+2] − 2w[k+1] + w[k] leaves out a slow drift along a valley, and grows and decays as the
motion across it does. (w[k] + 2w[k+1] + w[k+2])/4 leaves out the alternation of steps.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from samflow._status import Status
from samflow._types import NumpyArray, Point
from samflow.networks.training.loop import How
from samflow.networks.training.states import TrainState
from samflow.systems import Map


class Motion(NamedTuple):
    """What is seen of an orbit, and how to see more of it.

    Attributes:
        losses: L at each step.
        along: v·(w[k] − w[0]) at each step.
        escaping: v·Δ²w at each step.
        bends: ‖Δ²w‖ at each step.
        status: out of steps where all steps were made.
        project: takes u and a number n and returns u·Δ²w at the first n steps.
        averaged: takes steps k and returns a function of each, (w[k] + 2w[k+1] + w[k+2])/4.

    """

    losses: NumpyArray
    along: NumpyArray
    escaping: NumpyArray
    bends: NumpyArray
    status: Status
    project: Callable[[NumpyArray, int], NumpyArray]
    averaged: Callable[[Iterable[int]], Callable[[int], Point]]


def compiled_motion(system: Map, w0: Point, v: NumpyArray, num_steps: int) -> Motion:
    """Make `num_steps` steps in one program; what comes after an overflow is not finite."""

    def project(u: NumpyArray, count: int) -> NumpyArray:
        return np.asarray(_scan(system, w0, jnp.asarray(u), jnp.arange(num_steps))[2])[:count]

    def averaged(steps: Iterable[int]) -> Callable[[int], Point]:
        return lambda k: _averaged(system, w0, jnp.asarray(k))

    shown = _scan(system, w0, jnp.asarray(v), jnp.arange(num_steps))
    losses, along, escaping, bends = map(np.asarray, shown)
    return Motion(losses, along, escaping, bends, Status.out_of_steps, project, averaged)


@eqx.filter_jit
def _scan(system: Map, w0: Array, v: Array, steps: Array) -> tuple[Array, ...]:
    def one(states: tuple[Array, ...], _: Any) -> tuple[Any, tuple[Array, ...]]:
        _, second, third = states
        last = tuple(system.position(z) for z in states)
        shown = system.loss(last[0]), v @ (last[0] - w0), *_bend(last, v)
        return (second, third, system.step(third)), shown

    return lax.scan(one, _first_three(system, w0), steps)[1]


def _first_three(system: Map, w0: Array) -> tuple[Array, Array, Array]:
    first = system.lift(w0)
    second = system.step(first)
    return first, second, system.step(second)


@eqx.filter_jit
def _averaged(system: Map, w0: Array, step: Array) -> Array:
    states = lax.fori_loop(
        0, step, lambda _, s: (s[1], s[2], system.step(s[2])), _first_three(system, w0)
    )
    return _average([system.position(z) for z in states])


def stepwise_projection(how: How, start: TrainState, u: NumpyArray, count: int) -> NumpyArray:
    """Return u·Δ²w at the first `count` steps of a run that is made again, step by step."""
    last = _last_three(how, start, count)
    return np.array([float(bend(each, jnp.asarray(u))[0]) for each in last])


def stepwise_averages(how: How, start: TrainState, steps: Iterable[int]) -> Callable[[int], Point]:
    """Return a function of the steps asked for, from a run that is made again to the last of them.

    The weights at these steps are held, and no others.
    """
    wanted = set(steps)
    last = enumerate(_last_three(how, start, max(wanted, default=-1) + 1))
    return {k: _average(each) for k, each in last if k in wanted}.__getitem__


def _last_three(how: How, start: TrainState, count: int) -> Iterator[tuple[Point, ...]]:
    """Yield w[k], w[k+1], w[k+2] for k below `count`."""
    state, recent = start, ()
    for k in range(count + 2 if count else 0):
        state = how.step(state, None)[0] if k else state
        recent = (*recent[-2:], how.system.position(state.z))
        if len(recent) == 3:
            yield recent


def _average(last: Any) -> Any:
    first, second, third = last
    return (first + 2 * second + third) / 4


@jax.jit
def bend(last: tuple[Array, ...], v: Array) -> tuple[Array, Array]:
    """Return v·Δ²w and ‖Δ²w‖ of three weights in sequence."""
    return _bend(last, v)


def _bend(last: tuple[Array, ...], v: Array) -> tuple[Array, Array]:
    first, second, third = last
    change = third - 2 * second + first
    return v @ change, jnp.linalg.norm(change)
