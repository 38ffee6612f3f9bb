"""One orbit of a map on a CPU: in scalars, several steps a body of the loop.

XLA stores a state after each step and loads it for the next, which takes as long as a cheap step.
A body of `_AT_ONCE` steps loads once. Body m always makes the same steps, from number m·_AT_ONCE
on, and leaves all its states in an array: what is kept and checked is taken from there. Thus a
state does not depend on how often states are kept or checked, nor on how many steps follow, to the
last bit.

An orbit that a check finds outside the ball is followed again from the body before the last check,
by the same bodies, with a check at every step.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from samflow._components import Components
from samflow._kernel import fused, on_cpu, operations, tuned
from samflow._status import Status
from samflow.orbits.blocks import on_components, split, squared_norm, unpack
from samflow.orbits.map_loop import (
    RUNNING,
    MapFunctions,
    MapSettings,
    cause_of,
    functions_of,
    is_still,
    until_of,
)
from samflow.systems.base import AbstractMap
from samflow.systems.leaves import Varied

_AT_ONCE = 10
_CHEAP = 100
"""Operations of a step up to which several are one body. XLA writes the steps before a state out
again for each state of a body, and LLVM has to find that they are the same."""


def can_run(system: AbstractMap, states: Array, transformed: bool) -> bool:
    """Say whether these states are one, which this module iterates outside of a transformation."""
    one = states.size == states.shape[-1]
    return one and not transformed and on_cpu() and on_components(system)


class _Bodies(NamedTuple):
    """What the bodies carry: `base`, the number of steps made, and the state `z` after them.

    The last body began from `before`, the first of `states`; the others are those that it made.
    """

    base: Any
    z: Components
    before: Components
    states: Components


class _Carry(NamedTuple):
    """How far the orbit is checked: up to number `step`, up to number `again` at every step."""

    bodies: _Bodies
    step: Any
    again: Any
    status: Any


@tuned
def run_one(system: AbstractMap, z0: Array, settings: MapSettings, kept: int) -> tuple[Array, ...]:
    """Iterate one state, of shape (state,) or (1, state), in which the results are, too.

    What is given and returned is as of `map_loop.run_map`.
    """

    def run(start: Array) -> tuple[Array, ...]:
        functions = functions_of(system, Varied(), (), settings.first_step)
        z, zero = split(start), jnp.zeros((), int)
        cheap = operations(functions.step, z, zero) <= _CHEAP
        # Before the first body the last of the states is the start, as after any other.
        states = z.map(lambda part: jnp.full(1 + (_AT_ONCE if cheap else 1), part))
        begin = _Carry(_Bodies(zero, z, z, states), zero, zero, jnp.asarray(RUNNING))

        def next_record(carry: _Carry, index: Any) -> tuple[_Carry, Array]:
            until = until_of(settings, index)
            carry = _advance(functions, carry, until, settings)
            z = unpack(_state(carry.bodies, carry.step))
            return carry, jnp.where(carry.step == until, z, jnp.nan)

        # The round after the last record makes the remaining steps; its state is not kept.
        end, rows = lax.scan(next_record, begin, jnp.arange(1, kept + 1))
        record = jnp.concatenate([start[None], rows[:-1]])
        status = jnp.where(end.status == RUNNING, Status.out_of_steps, end.status)
        return record, unpack(_state(end.bodies, end.step)), status, end.step

    made = fused(run)(z0.reshape(-1))
    return tuple(array.reshape(*z0.shape[:-1], *array.shape) for array in made)


def _advance(functions: MapFunctions, carry: _Carry, until: Any, settings: MapSettings) -> _Carry:
    """Go to number `until`, from check to check, unless the orbit ends before."""

    def going(carry: _Carry) -> Any:
        return (carry.step < until) & (carry.status == RUNNING)

    def chunk(carry: _Carry) -> _Carry:
        length = jnp.where(carry.step < carry.again, 1, settings.check_every)
        target = jnp.minimum(carry.step + length, until)
        bodies = _run(functions, carry.bodies, target)
        old, z = _state(bodies, target - 1), _state(bodies, target)
        # Written so that NaN counts as outside.
        outside = ~(squared_norm(z) <= settings.escape_radius**2)
        still = is_still(functions, z - old, settings.tol)

        def found() -> tuple[Any, ...]:
            back = outside & (target - carry.step > 1)
            first = jnp.maximum(carry.bodies.base - len(bodies.states[0]) + 1, 0)
            begin = carry.bodies.before
            cause = jnp.where(outside, cause_of(functions, old, z, target - 1), Status.converged)
            return (
                jnp.where(back, first, bodies.base),
                Components(*(jnp.where(back, *pair) for pair in zip(begin, bodies.z, strict=True))),
                jnp.where(back, carry.step, target),
                jnp.where(back, target, carry.again),
                jnp.where(back, RUNNING, cause),
            )

        def nothing() -> tuple[Any, ...]:
            return bodies.base, bodies.z, target, carry.again, carry.status

        base, z, step, again, status = lax.cond(outside | still, found, nothing)
        return _Carry(bodies._replace(base=base, z=z), step, again, status)

    return lax.while_loop(going, chunk, carry)


def _run(functions: MapFunctions, bodies: _Bodies, target: Any) -> _Bodies:
    """Run bodies until one has made step number `target`."""

    def body(carry: _Bodies) -> _Bodies:
        base, z, _, states = carry
        size = len(states[0])
        states = _with(states.map(jnp.zeros_like), z, 0)
        for i in range(1, size):
            z = functions.step(z, base + i - 1)
            states = _with(states, z, i)
        return _Bodies(base + size - 1, z, carry.z, states)

    return lax.while_loop(lambda bodies: bodies.base < target, body, bodies)


def _with(states: Components, z: Components, index: int) -> Components:
    """Return the states with `z` at `index`."""
    pairs = zip(states, z, strict=True)
    return Components(*(lax.dynamic_update_index_in_dim(many, a, index, 0) for many, a in pairs))


def _state(bodies: _Bodies, number: Any) -> Components:
    """Return the state of this number: one that the last body made, or that from which it began."""
    index = number - bodies.base + len(bodies.states[0]) - 1
    return bodies.states.map(lambda many: lax.dynamic_index_in_dim(many, index, 0, keepdims=False))
