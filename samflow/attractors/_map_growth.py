"""Growth of tangent vectors along the orbits of a map, in blocks, as `samflow.orbits._iterate`.

The fast loop makes a group of steps of the map and of the frame between two rescalings, and checks
the orbits once per chunk. A chunk is computed again with a rescaling at every step when a length
has overflowed or underflowed, and step by step, without the frame, to find where an orbit was lost.
The loop over groups is kept under 1024 bytes of traffic for Hénon's map (small counters, one square
root for a factor): XLA compiles loops below that size as one function without any flag.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from samflow._components import Components
from samflow._status import Status
from samflow.attractors._frames import MAX_COMPONENTS, AbstractFrames, frames
from samflow.orbits.barrier import step_with_barrier
from samflow.orbits.blocks import over_blocks, over_members, split, squared_norm, unpack
from samflow.systems.base import AbstractMap
from samflow.systems.leaves import Varied

NUM_BATCHES = 20
_GROUP = {4: 8, 8: 64}
"""Steps between rescalings, by bytes of a number: lengths stay in range while the stretch of a
step is between 1/150 and 150 (geometric mean of a group); the group shrinks when one is not."""
_CHUNK = 1024
_BLOCK = 64
_RUNNING = -1


class Growth(NamedTuple):
    """What a kernel returns, one per orbit.

    `logs` (..., batches, k) are sums of log stretches and `units` (batches,) the steps, or
    (..., batches) the times, over which they were taken.
    """

    logs: Array
    lengths: Array
    status: Array
    stopped_at: Array


class MapSettings(NamedTuple):
    """Traced numbers: one program serves all."""

    num_steps: Any
    num_transient: Any
    escape_radius: Any


class _Carry(NamedTuple):
    """The state of a block.

    Common to its members are `step`, the steps of a `group` and whether the last chunk is to be
    made `again`, with a rescaling at every step; the rest is one per member.
    """

    step: Any
    z: Any
    frame: Any
    logs: Any
    singular: Any
    status: Any
    stopped_at: Any
    group: Any
    again: Any


@eqx.filter_jit
def map_growth(
    system: AbstractMap,
    z0: Array,
    num_exponents: int,
    settings: MapSettings,
    varied: Varied,
    one: Array,
) -> Growth:
    """Follow orbits from the states z0 (N, state_dim) and the frames on them.

    Each with its own values of the leaves that are varied.
    """
    edges = settings.num_steps * jnp.arange(NUM_BATCHES + 1) // NUM_BATCHES
    lengths = jnp.diff(edges)
    counts = jnp.concatenate([settings.num_transient[None], lengths])

    def run(block: Array, *values: Array) -> tuple[Array, ...]:
        layout = _layout(system, varied, values, num_exponents, one)
        return _run_block(layout, block, counts, settings)

    if len(z0) == 1:
        logs, status, stopped_at = run(z0[0], *(value[0] for value in varied.values))
        return Growth(logs[None], lengths, status[None], stopped_at[None])
    logs, status, stopped_at = over_blocks(run, z0, _BLOCK, varied.values)
    return Growth(logs, lengths, status, stopped_at)


class _Layout(NamedTuple):
    """How a block is laid out, and the functions on it; `shape` is that of its members."""

    pack: Any
    push: Any
    step: Any
    singularity: Any
    frames: AbstractFrames


def _layout(
    system: AbstractMap, varied: Varied, values: tuple[Array, ...], num_exponents: int, one: Array
) -> _Layout:
    kept = frames(num_exponents, system.state_dim)
    if system.state_dim <= MAX_COMPONENTS:
        step, singularity = _on_components(system, varied, values, one)

        def push(z: Components, frame: Any) -> tuple[Any, Any]:
            moved, linear = jax.linearize(step, z)
            return moved, tuple(linear(v) for v in frame)

        return _Layout(
            pack=split,
            push=push,
            step=step,
            singularity=singularity,
            frames=kept,
        )

    def push_one(z: Array, frame: Array, *values: Array) -> tuple[Array, Array]:
        moved, linear = jax.linearize(varied.given(system, values).step, z)
        return moved, jax.vmap(linear)(frame)

    step, singularity = _on_arrays(system, varied)
    return _Layout(
        pack=lambda a: a,
        push=lambda z, frame: over_members(push_one)(z, frame, *values),
        step=lambda z: step(z, *values),
        singularity=lambda z: singularity(z, *values),
        frames=kept,
    )


def _on_arrays(system: AbstractMap, varied: Varied) -> tuple[Any, Any]:
    """Return the step and the singularity of a state or a block, with the values of leaves."""
    step = over_members(lambda z, *values: varied.given(system, values).step(z))
    return step, over_members(lambda z, *values: varied.given(system, values).singularity(z))


def _on_components(
    system: AbstractMap, varied: Varied, values: tuple[Array, ...], one: Array
) -> tuple[Any, Any]:
    """Return the step and the singularity on components, whichever layout the system takes."""
    if system.elementwise:
        here = varied.given(system, values)
        return step_with_barrier(here, one), here.singularity
    step, singularity = _on_arrays(system, varied)
    return lambda z: split(step(unpack(z), *values)), lambda z: singularity(unpack(z), *values)


def _run_block(
    layout: _Layout, block: Array, counts: Array, settings: MapSettings
) -> tuple[Array, Array, Array]:
    """Run the transient and then the batches: `counts` holds their numbers of steps."""
    shape = block.shape[:-1]
    fresh = layout.frames.start(shape, block.dtype)
    _, zeros = layout.frames.rescale(fresh, layout.frames.none_lost(shape))
    zeros = jax.tree.map(jnp.zeros_like, zeros)
    carry = _Carry(
        step=jnp.zeros((), counts.dtype),
        z=layout.pack(block),
        frame=fresh,
        logs=zeros,
        singular=jnp.zeros(shape, bool),
        status=jnp.full(shape, _RUNNING),
        stopped_at=jnp.zeros(shape, int),
        group=jnp.asarray(_GROUP[block.dtype.itemsize], jnp.int32),
        again=jnp.asarray(False),
    )
    empty = layout.frames.stack(zeros)
    sums = jnp.zeros((len(counts), *empty.shape), empty.dtype)

    def stretch(index: Any, state: tuple[_Carry, Array]) -> tuple[_Carry, Array]:
        carry, sums = state
        # A lost vector stays lost, except one lost in the transient, which is not counted.
        begin = jax.tree.map(
            lambda log: jnp.where(jnp.isfinite(log) | (index == 1), 0.0, log), carry.logs
        )
        carry = _advance(layout, carry._replace(logs=begin), carry.step + counts[index], settings)
        logs = layout.frames.stack(carry.logs)
        anew = layout.frames.renew(carry.frame, ~jnp.isfinite(logs) & (index == 0))
        return carry._replace(frame=anew), sums.at[index].set(logs)

    carry, sums = lax.fori_loop(0, len(counts), stretch, (carry, sums))
    running = carry.status == _RUNNING
    status = jnp.where(running, Status.reached_end, carry.status)
    stopped_at = jnp.where(running, carry.step, carry.stopped_at)
    return jnp.moveaxis(sums[1:], 0, -2), status, stopped_at


def _advance(layout: _Layout, carry: _Carry, until: Any, settings: MapSettings) -> _Carry:
    """Make steps up to number `until`, in chunks; stop if no orbit is left."""

    def going(carry: _Carry) -> Any:
        return (carry.step < until) & jnp.any(carry.status == _RUNNING)

    def chunk(carry: _Carry) -> _Carry:
        length = jnp.minimum(_CHUNK, until - carry.step).astype(jnp.int32)
        new = _steps(layout, carry, length, jnp.where(carry.again, 1, carry.group))
        before, after = layout.frames.stack(carry.logs), layout.frames.stack(new.logs)
        well = (carry.status == _RUNNING) & ~_outside(layout, new, settings)
        # Lengths that leave the range of the numbers within a group need not do so in a step.
        gone = jnp.any(jnp.isfinite(before) & ~jnp.isfinite(after), axis=-1)
        rough = jnp.any(well & gone) & ~carry.again
        return lax.cond(
            rough,
            lambda: carry._replace(again=rough, group=jnp.maximum(1, carry.group // 4)),
            lambda: _checked(layout, carry, new._replace(again=rough), settings),
        )

    return lax.while_loop(going, chunk, carry)


def _steps(layout: _Layout, carry: _Carry, length: Any, size: Any) -> _Carry:
    """Make `length` steps of orbit and frame, rescaling the frame every `size`."""
    ops = layout.frames

    def step(_: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        z, frame, lost, singular = state
        singular = singular | (layout.singularity(z) <= 0)
        z, frame = layout.push(z, frame)
        frame, lost = ops.orthogonalise(frame, lost)
        return z, frame, lost, singular

    def group(index: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        z, frame, logs, singular = state
        count = jnp.minimum(size, length - index * size)
        none = ops.none_lost(jnp.shape(singular))
        z, frame, lost, singular = lax.fori_loop(0, count, step, (z, frame, none, singular))
        frame, grown = ops.rescale(frame, lost)
        return z, frame, jax.tree.map(jnp.add, logs, grown), singular

    state = (carry.z, carry.frame, carry.logs, carry.singular)
    z, frame, logs, singular = lax.fori_loop(0, -(-length // size), group, state)
    return carry._replace(step=carry.step + length, z=z, frame=frame, logs=logs, singular=singular)


def _checked(layout: _Layout, old: _Carry, new: _Carry, settings: MapSettings) -> _Carry:
    """Check the orbits at the end of a chunk and record those that ended in it."""
    # Written so that NaN counts as broken; −inf is the log of a stretch of 0.
    broken = ~jnp.all(layout.frames.stack(new.logs) < jnp.inf, axis=-1)
    lost = (new.status == _RUNNING) & (_outside(layout, new, settings) | new.singular | broken)
    return lax.cond(jnp.any(lost), lambda: _replay(layout, old, new, lost, settings), lambda: new)


def _outside(layout: _Layout, carry: _Carry, settings: MapSettings) -> Any:
    """Say which orbits are outside the ball; written so that NaN counts as outside."""
    return ~(squared_norm(carry.z) <= settings.escape_radius**2)


def _replay(
    layout: _Layout, old: _Carry, new: _Carry, lost: Array, settings: MapSettings
) -> _Carry:
    """Compute a chunk again, step by step, and mark where each lost orbit was lost."""

    def one(_: Any, carry: _Carry) -> _Carry:
        singular = layout.singularity(carry.z) <= 0
        z = layout.step(carry.z)
        finite = jnp.isfinite(squared_norm(z))
        broken = jnp.where(finite, Status.diverged, Status.not_finite)
        cause = jnp.where(singular, Status.undefined, broken)
        carry = carry._replace(step=carry.step + 1, z=z)
        return _stop(carry, lost & (singular | _outside(layout, carry, settings)), cause)

    replayed = lax.fori_loop(0, new.step - old.step, one, old)
    new = new._replace(status=replayed.status, stopped_at=replayed.stopped_at)
    # The orbit is finite, and its tangent vectors are not.
    return _stop(new, lost, Status.not_finite)


def _stop(carry: _Carry, where: Any, status: Any) -> _Carry:
    """Record an end for the running orbits in `where`."""
    now = where & (carry.status == _RUNNING)
    return carry._replace(
        status=jnp.where(now, status, carry.status),
        stopped_at=jnp.where(now, carry.step, carry.stopped_at),
    )
