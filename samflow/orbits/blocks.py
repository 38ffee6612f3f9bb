"""A block of states, side by side: one array per coordinate, or one array (block, state).

A block runs its whole time loop before the next block begins, so that it stays in registers and
cache. The first layout is the fast one, of systems with few coordinates that take `Components`.
"""

import functools
from collections.abc import Callable
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


def over_blocks(run: Callable[[Array], Any], states: Array, size: int) -> tuple[Array, ...]:
    """Run states (N, n) in blocks of at most `size`; return arrays with a leading axis N.

    The last block is filled with copies of the last state, which are then dropped.
    """
    members, dim = states.shape
    size = min(size, members)
    filling = jnp.broadcast_to(states[-1], (-members % size, dim))
    blocks = jnp.concatenate([states, filling]).reshape(-1, size, dim)
    return tuple(jnp.reshape(a, (-1, *a.shape[2:]))[:members] for a in lax.map(run, blocks))


def over_members(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of one state as one of a state (n,) or a block (block, n)."""

    def apply(z: Array, *rest: Array) -> Any:
        return (function if z.ndim == 1 else jax.vmap(function))(z, *rest)

    return apply
