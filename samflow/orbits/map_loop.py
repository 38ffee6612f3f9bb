"""The loop over blocks of orbits of a map, which stay in registers and cache.

A block of starts runs its whole time loop before the next block begins, one array per coordinate
(`Components`); see docs/benchmarks for what this gains. The fast loop contains only the map.
The block is tested every `check_every` steps. If an orbit has left the ball by then, the chunk is
computed again, step by step, to find where. `samflow.orbits.one_orbit` does the same for one.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from samflow._kernel import tuned
from samflow._status import Status
from samflow.orbits.barrier import step_with_barrier
from samflow.orbits.blocks import (
    Devices,
    all_zero,
    any_of,
    on_components,
    over_blocks,
    select,
    split,
    squared_norm,
    unpack,
)
from samflow.systems.base import AbstractMap
from samflow.systems.leaves import Varied

_BLOCK = 128
PER_DEVICE = 4 * _BLOCK
"""Members from which on it is worth to use another device."""
RUNNING = -1
"""The status of an orbit that has not ended."""


class MapSettings(NamedTuple):
    """Traced numbers: one program serves all."""

    num_steps: Any
    keep_every: Any
    check_every: Any
    tol: Any
    escape_radius: Any
    first_step: Any


class _Carry(NamedTuple):
    """The state of a block.

    Common to its members are `step`, the number of steps made, and whether any is `left` that
    runs; the rest is one per member.
    """

    step: Any
    left: Any
    z: Any
    status: Any
    stopped_at: Any
    final: Any


@tuned
def run_map(
    system: AbstractMap,
    z0: Array,
    settings: MapSettings,
    kept: int,
    varied: Varied,
    devices: Devices = (),
    transformed: bool = False,
) -> tuple[Array, ...]:
    """Iterate states (N, state), each with its own values of the leaves that are varied.

    Args:
        system: the map.
        z0: the states.
        settings: those of `iterate`.
        kept: how many states are kept of each orbit.
        varied: leaves of the system.
        devices: see `samflow.orbits.blocks.over_blocks`.
        transformed: whether it is to be differentiated, which a kernel for a GPU cannot be.

    Returns:
        The states kept, the last state, the status and the number of steps made, one a member.

    """

    def run(block: Array, *values: Array) -> tuple[Any, ...]:
        functions = functions_of(system, varied, values, settings.first_step)
        return _run_block(functions, block, settings, kept)

    if jax.default_backend() == "gpu" and not transformed:
        from samflow.orbits import _gpu  # Pallas: who has no GPU need not wait

        if _gpu.can_run(system):
            return _named(*_gpu.run_blocks(LOOP, system, z0, settings, kept, varied))
    return _named(*over_blocks(run, z0, _BLOCK, varied.values, devices))


def _named(states: Array, final: Array, status: Array, stopped_at: Array) -> tuple[Array, ...]:
    """Say of orbits that still run that they are out of steps."""
    return states, final, jnp.where(status < 0, Status.out_of_steps, status), stopped_at


class MapFunctions(NamedTuple):
    """Of a block of a map's orbits, or of one orbit.

    `pack` lays out an array (block, state). `step` and `singularity` take what it returns, and the
    number of steps made before; so does `failure`, which says why the image is not finite, of a map
    that knows. It is None of others.
    """

    pack: Any
    step: Any
    singularity: Any
    failure: Any
    changes: bool


def functions_of(
    system: AbstractMap, varied: Varied, values: tuple[Array, ...], first: Any
) -> MapFunctions:
    """Return the functions of a map with values of the leaves varied, at steps from `first` on."""
    changes, apart = bool(system.schedules), on_components(system)

    def each(apply: Callable[[AbstractMap, Any], Any]) -> Callable[[Any, Any], Any]:
        """Apply to a block, of the system at a step, each member with its values."""

        def of_block(z: Any, k: Any) -> Any:
            def of(values: Sequence[Any], z: Any) -> Any:
                here = varied.given(system, values)
                return apply(here.at(first + k) if changes else here, z)

            return of(values, z) if apart else jax.vmap(of)(values, z)

        return of_block

    step = each(lambda here, z: step_with_barrier(here)(z) if apart else here.step(z))
    singularity = each(lambda here, z: here.singularity(z))
    told = hasattr(system, "step_status")
    failure = each(lambda here, z: _step_status(here, z)) if told else None
    return MapFunctions(split if apart else lambda a: a, step, singularity, failure, changes)


def _step_status(system: Any, z: Any) -> Any:
    return system.step_status(z)


def begin(z: Any, members: tuple[int, ...] | None = None) -> _Carry:
    """Return the state of a block at its start, of members of the shape of a component."""
    members = jnp.shape(z[0]) if members is None else members
    status, nothing = jnp.full(members, RUNNING), jnp.zeros(members, int)
    return _Carry(jnp.asarray(0), jnp.asarray(True), z, status, nothing, z)


def until_of(settings: MapSettings, index: Any) -> Any:
    """Return the number of steps at which the state number `index` is kept, or the last."""
    return jnp.minimum(index * settings.keep_every, settings.num_steps)


def _run_block(
    functions: MapFunctions, block: Array, settings: MapSettings, kept: int
) -> tuple[Any, ...]:
    carry = begin(functions.pack(block), block.shape[:-1])

    def next_record(carry: _Carry, index: Any) -> tuple[_Carry, Array]:
        until = until_of(settings, index)
        carry = advance(functions, carry, until, settings)
        running = (carry.status == RUNNING) | (carry.stopped_at == until)
        return carry, jnp.where(running[..., None], unpack(carry.z), jnp.nan)

    # The round after the last record makes the remaining steps; its state is not kept.
    carry, rows = lax.scan(next_record, carry, jnp.arange(1, kept + 1))
    record = jnp.concatenate([block[None], rows[:-1]])
    running = carry.status == RUNNING
    final = unpack(select(running, carry.z, carry.final))
    stopped_at = jnp.where(running, carry.step, carry.stopped_at)
    return jnp.moveaxis(record, 0, -2), final, carry.status, stopped_at


def advance(functions: MapFunctions, carry: _Carry, until: Any, settings: MapSettings) -> _Carry:
    """Make steps up to number `until`, checking every `check_every`; stop if no orbit is left."""

    def going(carry: _Carry) -> Any:
        return (carry.step < until) & carry.left

    def chunk(carry: _Carry) -> _Carry:
        length = jnp.minimum(settings.check_every, until - carry.step)
        step = lambda i, z: functions.step(z, carry.step + i)  # noqa: E731
        before = lax.fori_loop(0, length - 1, step, carry.z)
        after = step(length - 1, before)
        new = carry._replace(step=carry.step + length, z=after)
        running = carry.status == RUNNING
        # Written so that NaN counts as outside.
        lost = running & ~(squared_norm(after) <= settings.escape_radius**2)
        still = running & is_still(functions, after - before, settings.tol)

        def ended() -> _Carry:
            marked = lax.cond(
                any_of(lost), lambda: _replay(functions, carry, new, lost, settings), lambda: new
            )
            marked = _stop(marked, still, Status.converged, after, new.step)
            return marked._replace(left=any_of(marked.status == RUNNING))

        return lax.cond(any_of(lost | still), ended, lambda: new)

    return lax.while_loop(going, chunk, carry)


def is_still(functions: MapFunctions, change: Any, tol: Any) -> Array:
    """Say of each orbit whether its last update was within the tolerance."""
    # A square underflows: a tolerance of 0 asks whether the state is the same, bit for bit.
    still = jnp.where(tol > 0, squared_norm(change) <= tol**2, all_zero(change))
    return still & (not functions.changes)


def cause_of(functions: MapFunctions, old: Any, z: Any, step: Any) -> Array:
    """Say of orbits why they are outside after step number `step`, which led from `old` to `z`."""
    singular = functions.singularity(old, step) <= 0
    broken = jnp.where(singular, Status.undefined, Status.not_finite)
    if functions.failure is not None:
        broken = functions.failure(old, step)
    return jnp.where(jnp.isfinite(squared_norm(z)), Status.diverged, broken)


def _replay(
    functions: MapFunctions, old: _Carry, new: _Carry, lost: Array, settings: MapSettings
) -> _Carry:
    """Compute a chunk again, step by step, and mark where each lost orbit first was outside.

    Only orbits that are outside at the end of the chunk are marked, so that the result for an orbit
    does not depend on which others share its block.
    """

    def one(_: Any, carry: _Carry) -> _Carry:
        z = functions.step(carry.z, carry.step)
        outside = lost & ~(squared_norm(z) <= settings.escape_radius**2)
        cause = cause_of(functions, carry.z, z, carry.step)
        carry = carry._replace(step=carry.step + 1, z=z)
        return _stop(carry, outside, cause, z, carry.step)

    return lax.fori_loop(0, new.step - old.step, one, old)


def _stop(carry: _Carry, where: Any, status: Any, final: Any, step: Any) -> _Carry:
    """Record an end for the running orbits in `where`."""
    now = where & (carry.status == RUNNING)
    return carry._replace(
        status=jnp.where(now, status, carry.status),
        stopped_at=jnp.where(now, step, carry.stopped_at),
        final=select(now, final, carry.final),
    )


LOOP = functions_of, begin, until_of, advance
"""The loop over a block, which a kernel for a GPU has too."""
