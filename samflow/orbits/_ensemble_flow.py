"""Ensembles of solutions of a smooth field, in blocks: Tsitouras' 5/4 method, a step a member.

Every member has its own time and step size, chosen by the error of a step as diffrax's controller
does it. A block runs until the last of its members has come to the next time that is kept; steps
end there. `samflow.orbits.segments`, which is diffrax, is the reference and solves all else.
"""

import functools
import operator
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from samflow._components import Components
from samflow._kernel import apart, stored, tuned
from samflow._status import Status
from samflow.orbits.barrier import with_barrier
from samflow.orbits.blocks import (
    Devices,
    any_of,
    on_components,
    over_blocks,
    select,
    split,
    squared_norm,
    unpack,
)
from samflow.orbits.segments import SMALLEST_STEP, SolverSettings
from samflow.systems.base import AbstractFlow

_BLOCK = 64
PER_DEVICE = _BLOCK
"""Members from which on it is worth to use another device."""
_RUNNING = -1
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 10.0
"""The factor of a step size, and its range: those of diffrax."""
_ORDER = 5


def can_solve(system: AbstractFlow, starts: Array) -> bool:
    """Say whether this module solves an ensemble of a smooth flow."""
    return on_components(system) and len(starts) > 1 and not system.schedules


class _Carry(NamedTuple):
    """Of each member: time, state, velocity there, next step size, steps made, how it ended."""

    t: Any
    z: Any
    velocity: Any
    h: Any
    steps: Any
    status: Any


@tuned
def flow_ensemble(
    system: AbstractFlow,
    starts: Array,
    settings: SolverSettings,
    max_steps: Array,
    devices: Devices = (),
) -> tuple[Array, ...]:
    """Return states at the times, status, last time and arrival of solutions from `starts`.

    Starts have shape (N, dim). A smooth flow arrives nowhere: infinity.
    """
    field = lambda z: with_barrier(system, z).velocity(z)  # noqa: E731

    def run(block: Array) -> tuple[Array, ...]:
        begin = _begin(field, split(block), settings)

        def until(carry: _Carry, end: Any) -> tuple[_Carry, Array]:
            carry = _advance(field, carry, end, settings, max_steps)
            there = (carry.status == _RUNNING)[:, None] | (carry.t >= end)[:, None]
            return carry, jnp.where(there, unpack(carry.z), jnp.nan)

        end, states = lax.scan(until, begin, settings.times[1:])
        states = jnp.concatenate([block[None], states])
        return jnp.moveaxis(states, 0, 1), unpack(end.z), end.t, end.status

    states, last, t, status = over_blocks(run, starts, _BLOCK, (), devices)
    return states, _ending(system, starts, last, status), t, jnp.full_like(t, jnp.inf)


def _begin(field: Any, z: Components, settings: SolverSettings) -> _Carry:
    """Choose first step sizes, after Hairer, Nørsett and Wanner, section II.4."""
    zero = 0.0 * squared_norm(z)
    velocity = apart(field)(z)
    scale = _scale(z, z, settings)
    d0, d1 = _rms(z, scale), _rms(velocity, scale)
    small = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = jnp.where(small, 1e-6, 0.01 * d0 / jnp.where(small, 1.0, d1))
    d2 = _rms(apart(field)(z + h0 * velocity) - velocity, scale) / h0
    most = jnp.maximum(d1, d2)
    h1 = jnp.where(most <= 1e-15, jnp.maximum(1e-6, h0 * 1e-3), _root(most / 0.01))
    status = jnp.full(zero.shape, _RUNNING)
    return _Carry(zero, z, velocity, jnp.minimum(100 * h0, h1), jnp.zeros(zero.shape, int), status)


def _advance(
    field: Any, carry: _Carry, end: Any, settings: SolverSettings, max_steps: Array
) -> _Carry:
    """Make steps until every member that runs is at `end`."""
    smallest = SMALLEST_STEP * settings.times[-1]

    def left(carry: _Carry) -> Array:
        return (carry.status == _RUNNING) & (carry.t < end)

    def step(carry: _Carry) -> _Carry:
        going, rest = left(carry), end - carry.t
        last = carry.h >= rest - smallest  # no step is left over that would be too small
        h = jnp.where(last, rest, carry.h)
        z, velocity, error = _tsit5(field, carry.z, carry.velocity, h)
        size = stored(_rms(error, _scale(carry.z, z, settings)))
        keep = going & (size < 1)
        accepted = jnp.clip(_SAFETY * _root(size), 1.0, _MOST)
        rejected = jnp.clip(_SAFETY * _root(size), _LEAST, _SAFETY)  # of NaN the least
        proposed = h * jnp.where(size < 1, accepted, jnp.where(size >= 1, rejected, _LEAST))
        # A step that was cut short at the end says nothing against the one before.
        proposed = jnp.where(keep & last, jnp.maximum(proposed, carry.h), proposed)
        t = jnp.where(last, end, carry.t + h)
        steps = carry.steps + going
        norm = squared_norm(z)
        outside = keep & ~(norm <= settings.radius**2)
        beyond = jnp.where(jnp.isfinite(norm), Status.diverged, Status.not_finite)
        status = jnp.where(going & (proposed < smallest), Status.step_size_vanished, carry.status)
        spent = going & (steps >= max_steps) & ~(keep & last & (end >= settings.times[-1]))
        status = jnp.where(spent & (status == _RUNNING), Status.out_of_steps, status)
        status = jnp.where(outside, beyond, status)
        return _Carry(
            jnp.where(keep, t, carry.t),
            select(keep, z, carry.z),
            select(keep, velocity, carry.velocity),
            jnp.where(going, proposed, carry.h),
            steps,
            status,
        )

    return lax.while_loop(lambda carry: any_of(left(carry)), step, carry)


def _tsit5(
    field: Any, z: Components, first: Components, h: Array
) -> tuple[Components, Components, Components]:
    """Return the state after a step, the velocity there and the estimate of the error."""
    table = diffrax.Tsit5.tableau
    slopes = [first]
    for row in table.a_lower[:-1]:
        slopes.append(apart(_stage(field, row))(z, h, slopes))
    new = z + h * _combined(table.a_lower[-1], slopes)
    slopes.append(apart(field)(new))
    # The last row is that of the solution: its velocity is the first of the next step.
    return new, slopes[-1], h * _combined(table.b_error, slopes)


def _stage(field: Any, row: np.ndarray) -> Any:
    """Return the function that gives the velocity of a stage, whose state is not stored."""

    def stage(z: Components, h: Array, slopes: list[Components]) -> Components:
        return field(z + h * _combined(row, slopes))

    return stage


def _combined(weights: np.ndarray, slopes: list[Components]) -> Any:
    terms = (float(a) * k for a, k in zip(weights, slopes, strict=True))
    return functools.reduce(operator.add, terms)


def _scale(a: Components, b: Components, settings: SolverSettings) -> Components:
    pairs = zip(a, b, strict=True)
    return Components(
        *(settings.atol + settings.rtol * jnp.maximum(jnp.abs(p), jnp.abs(q)) for p, q in pairs)
    )


def _rms(v: Components, scale: Components) -> Array:
    """Return the root of the mean square of v in units of `scale`."""
    parts = Components(*(p / s for p, s in zip(v, scale, strict=True)))
    return jnp.sqrt(squared_norm(parts) / len(v))


def _root(size: Array) -> Array:
    """Return size^(−1/5) in single precision: enough for a step size, and compiled to vectors."""
    small = jnp.maximum(size, 1e-30).astype(jnp.float32)
    return jnp.exp2(jnp.log2(small) * jnp.float32(-1 / _ORDER)).astype(size.dtype)


def _ending(system: AbstractFlow, starts: Array, last: Array, status: Array) -> Array:
    """Return how the solutions ended, named as in `segments.smooth_status`."""
    status = jnp.where(status == _RUNNING, Status.reached_end, status)
    singular = jax.vmap(system.singularity)
    undefined = (singular(starts) <= 0) | (singular(last) <= 0)
    return jnp.where(undefined & (status != Status.reached_end), Status.undefined, status)
