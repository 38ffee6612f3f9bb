"""A block of states, side by side: one array per coordinate, or one array (block, state).

A block runs its whole time loop before the next block begins, so that it stays in registers and
cache. The first layout is the fast one, of systems with few coordinates that take `Components`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from samflow._components import Components

_MOST_COMPONENTS = 8
"""States of more coordinates run as arrays: the registers are full by then."""


def on_components(system: Any) -> bool:
    """Say whether blocks of a system's states are one array per coordinate."""
    return system.state_dim <= _MOST_COMPONENTS and system.elementwise


def split(states: Array) -> Components:
    """Return states (..., n) as one array per coordinate."""
    return Components(*(states[..., i] for i in range(states.shape[-1])))


def pack(system: Any, states: Array) -> Any:
    """Return states (block, n) in the layout in which the system runs."""
    return split(states) if on_components(system) else states


def unpack(z: Any) -> Array:
    """Return a block in either layout as an array (block, n)."""
    return jnp.stack(z.parts, axis=-1) if isinstance(z, Components) else z


def squared_norm(z: Any) -> Array:
    """Return ‖z‖² of each member."""
    if isinstance(z, Components):
        return functools.reduce(jnp.add, (part * part for part in z))
    return jnp.sum(z * z, axis=-1)


def all_zero(z: Any) -> Array:
    """Say of each member whether it is 0."""
    if isinstance(z, Components):
        return functools.reduce(jnp.logical_and, (part == 0 for part in z))
    return jnp.all(z == 0, axis=-1)


def select(where: Array, new: Any, old: Any) -> Any:
    """Return the members of `new` in `where`, those of `old` elsewhere."""
    if isinstance(new, Components):
        return Components(*(jnp.where(where, a, b) for a, b in zip(new, old, strict=True)))
    return jnp.where(where[:, None], new, old)


def over_blocks(
    run: Callable[..., Any], states: Array, size: int, values: Sequence[Array] = ()
) -> tuple[Array, ...]:
    """Run states (N, n) in blocks of at most `size`; return arrays with a leading axis N.

    The last block is filled with copies of the last state, which are then dropped.

    Args:
        run: takes a block of states, and one of each array of `values`.
        states: one a member.
        size: of a block.
        values: arrays (N,) of what else differs from member to member.

    """
    members = len(states)
    size = min(size, members)

    def cut(array: Array) -> Array:
        filling = jnp.broadcast_to(array[-1], (-members % size, *array.shape[1:]))
        return jnp.concatenate([array, filling]).reshape(-1, size, *array.shape[1:])

    made = lax.map(lambda block: run(*block), tuple(map(cut, (states, *values))))
    return tuple(jnp.reshape(a, (-1, *a.shape[2:]))[:members] for a in made)


def over_members(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of one state as one of a state (n,) or a block (block, n)."""

    def apply(z: Array, *rest: Array) -> Any:
        return (function if z.ndim == 1 else jax.vmap(function))(z, *rest)

    return apply
