"""Orbits of maps on a GPU: one kernel, an orbit a thread, the loop over the steps inside of it.

XLA launches a kernel for each step of a loop, which takes longer than the step. Here Pallas makes
one kernel of `samflow.orbits.map_loop`'s loop over a block of orbits, whose states stay in
registers. `interpret` runs the same kernel on any device, slowly, for tests.
"""

import functools
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array

from samflow._components import Components
from samflow.orbits.blocks import on_components, select
from samflow.systems.base import AbstractMap
from samflow.systems.leaves import Varied

_BLOCK = 128
"""Orbits of a kernel's program: four warps, an orbit a thread."""
_TRITON = triton.CompilerParams(num_warps=_BLOCK // 32)


def can_run(system: AbstractMap) -> bool:
    """Say whether ensembles of this map run as one kernel; once warn where Pallas does not work."""
    if jax.default_backend() != "gpu" or not on_components(system):
        return False
    return all(jnp.ndim(leaf) == 0 for leaf in jax.tree.leaves(system)) and _works()


@functools.cache
def _works() -> bool:
    def double(x: Any, out: Any) -> None:
        out[...] = lax.fori_loop(0, 2, lambda _, x: x + x, x[...])

    like = jax.ShapeDtypeStruct((_BLOCK,), jnp.zeros(()).dtype)
    try:
        jax.jit(pl.pallas_call(double, out_shape=like, compiler_params=_TRITON)).lower(
            like
        ).compile()
    except Exception as error:  # of jaxlib or of Triton, of a class that depends on the version
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.warn(
            f"Pallas does not compile for this GPU ({cause}). Orbits run as loops of XLA, which "
            "launches a kernel for each step.",
            stacklevel=2,
        )
        return False
    return True


def run_blocks(
    loop: tuple[Any, ...],
    system: AbstractMap,
    z0: Array,
    settings: Any,
    kept: int,
    varied: Varied,
    *,
    interpret: bool = False,
) -> tuple[Array, ...]:
    """Iterate states (N, state) by the functions of `loop`, `samflow.orbits.map_loop.LOOP`.

    What is returned is as of `run_map` there, with −1 for the status of an orbit that still runs.
    """
    functions_of, begin, until_of, advance = loop
    members, dim = z0.shape
    padding = -members % _BLOCK
    rows = members + padding

    def padded(column: Array) -> Array:
        return jnp.concatenate([column, jnp.broadcast_to(column[-1:], (padding,))])

    numbers, fixed = eqx.partition((system, settings), eqx.is_array)
    numbers, structure = jax.tree.flatten(numbers)
    columns = [padded(column) for column in (*z0.T, *varied.values)]

    def kernel(*refs: Any) -> None:
        given, own, out = _cut(refs, len(numbers), len(columns))
        here = jax.tree.unflatten(structure, [ref[0] for ref in given])
        here, chosen = eqx.combine(here, fixed)
        z, values = Components(*(ref[...] for ref in own[:dim])), tuple(r[...] for r in own[dim:])
        functions = functions_of(here, varied, values, chosen.first_step)
        kept_refs, final_refs, (status_ref, stopped_ref) = _cut(out, dim, dim)
        for ref, part in zip(kept_refs, z, strict=True):
            ref[0, :] = part

        def next_record(index: Any, carry: Any) -> Any:
            until = until_of(chosen, index)
            carry = advance(functions, carry, until, chosen)
            there = (carry.status < 0) | (carry.stopped_at == until)
            for ref, part in zip(kept_refs, carry.z, strict=True):
                ref[index, :] = jnp.where(there, part, jnp.nan)
            return carry

        carry = lax.fori_loop(1, kept, next_record, begin(z))
        carry = advance(functions, carry, chosen.num_steps, chosen)
        running = carry.status < 0
        for ref, part in zip(final_refs, select(running, carry.z, carry.final), strict=True):
            ref[...] = part
        status_ref[...] = carry.status
        stopped_ref[...] = jnp.where(running, carry.step, carry.stopped_at)

    scalar = pl.BlockSpec((1,), lambda i: (0,))
    column = pl.BlockSpec((_BLOCK,), lambda i: (i,))
    record = pl.BlockSpec((kept, _BLOCK), lambda i: (0, i))
    shapes = [jax.ShapeDtypeStruct((kept, rows), z0.dtype)] * dim
    shapes += [jax.ShapeDtypeStruct((rows,), z0.dtype)] * dim
    shapes += [jax.ShapeDtypeStruct((rows,), jnp.zeros((), int).dtype)] * 2
    made = pl.pallas_call(
        kernel,
        grid=(rows // _BLOCK,),
        in_specs=[scalar] * len(numbers) + [column] * len(columns),
        out_specs=[record] * dim + [column] * (dim + 2),
        out_shape=shapes,
        compiler_params=_TRITON,
        interpret=interpret,
    )(*(jnp.reshape(number, (1,)) for number in numbers), *columns)
    states, final, (status, stopped) = _cut(made, dim, dim)
    stacked = jnp.stack(states, axis=-1), jnp.stack(final, axis=-1)
    return (
        jnp.swapaxes(stacked[0], 0, 1)[:members],
        stacked[1][:members],
        status[:members],
        (stopped[:members]),
    )


def _cut(items: Any, first: int, second: int) -> tuple[Any, Any, Any]:
    """Return the first items, those after them, and the rest."""
    return items[:first], items[first : first + second], items[first + second :]
