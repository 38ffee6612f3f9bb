"""A block of states, side by side: one array per coordinate, or one array (block, state).

A block runs its whole time loop before the next block begins, so that it stays in registers and
cache. The first layout is the fast one, of systems with few coordinates that take `Components`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from samflow import _checks
from samflow._components import Components
from samflow._kernel import fused, on_cpu

_MOST_COMPONENTS = 8
"""States of more coordinates run as arrays: the registers are full by then."""


_WIDTH = 32
Devices = tuple[Any, ...]
"""Devices of JAX; hashable, so that a compiled program can depend on them."""


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


def any_of(which: Array) -> Array:
    """Say whether any member is in `which`, as compilers make it fast."""
    if not on_cpu():  # Triton has no logical reductions
        return jnp.max(which.astype(jnp.int32)) > 0
    odd = which.size % _WIDTH or which.ndim == 0
    return jnp.any(which) if odd else jnp.any(jnp.any(which.reshape(-1, _WIDTH), axis=0))


def select(where: Array, new: Any, old: Any) -> Any:
    """Return the members of `new` in `where`, those of `old` elsewhere."""
    if isinstance(new, Components):
        return Components(*(jnp.where(where, a, b) for a, b in zip(new, old, strict=True)))
    return jnp.where(where[:, None], new, old)


def over_blocks(
    run: Callable[..., Any],
    states: Array,
    size: int,
    values: Sequence[Array] = (),
    devices: Devices = (),
) -> tuple[Array, ...]:
    """Run states (N, n) in blocks of at most `size`; return arrays with a leading axis N.

    The last block is filled with copies of the last state, which are then dropped.

    Args:
        run: takes a block of states, and one of each array of `values`.
        states: one a member.
        size: of a block.
        values: arrays (N,) of what else differs from member to member.
        devices: see `devices_for`; each runs its share of the blocks.

    """
    members, shares = len(states), max(1, len(devices))
    size = min(size, -(-members // shares))

    def cut(array: Array) -> Array:
        filling = jnp.broadcast_to(array[-1], (-members % (size * shares), *array.shape[1:]))
        return jnp.concatenate([array, filling]).reshape(-1, size, *array.shape[1:])

    mapped = fused(lambda blocks: lax.map(lambda block: run(*block), blocks))
    if shares > 1:
        mesh, spec = Mesh(np.array(devices), ("blocks",)), PartitionSpec("blocks")
        mapped = jax.shard_map(mapped, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    made = mapped(tuple(map(cut, (states, *values))))
    return tuple(jnp.reshape(a, (-1, *a.shape[2:]))[:members] for a in made)


def over_devices(run: Callable[..., Any], arrays: Sequence[Array], devices: Devices) -> Any:
    """Return `run(*arrays)`, of arrays with a leading axis N, each device with its share of N.

    Args:
        run: returns arrays with that axis, each entry made of the same entry of the arrays.
        arrays: one entry a member.
        devices: see `devices_for`; with none `run` is called as it is.

    """
    if not devices:
        return run(*arrays)
    members, shares = len(arrays[0]), len(devices)

    def filled(array: Array) -> Array:
        filling = jnp.broadcast_to(array[-1], (-members % shares, *array.shape[1:]))
        return jnp.concatenate([array, filling])

    mesh, spec = Mesh(np.array(devices), ("members",)), PartitionSpec("members")
    mapped = jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    return jax.tree.map(lambda a: a[:members], mapped(*map(filled, arrays)))


def devices_for(states: Any, at_least: int) -> Devices:
    """Return the local devices that an ensemble is shared among, none to leave it where it is.

    It is shared where there are several devices, with at least `at_least` members for each, and
    where JAX may choose: not inside of a transformation, nor where the states have been put on
    devices by hand.
    """
    if _checks.is_traced(states) or _checks.inside_jit():
        return ()
    if getattr(states, "committed", False):
        return ()
    devices = tuple(jax.local_devices())
    return devices if 1 < len(devices) <= len(states) // at_least else ()


def gathered(values: Any, devices: Devices) -> Any:
    """Return what `over_blocks` made on several devices on the first of them."""
    return jax.device_put(values, devices[0]) if devices else values


def over_members(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of one state as one of a state (n,) or a block (block, n)."""

    def apply(z: Array, *rest: Array) -> Any:
        return (function if z.ndim == 1 else jax.vmap(function))(z, *rest)

    return apply
