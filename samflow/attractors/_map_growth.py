"""Growth of tangent vectors along the orbits of a map, in blocks, as `samflow.orbits.map_loop`.

The fast loop makes a group of steps of the map and of the frame between two rescalings, and checks
the orbits once per chunk. A chunk is computed again with a rescaling at every step when a length
has overflowed or underflowed, and step by step, without the frame, to find where an orbit was lost.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from samflow._components import Components
from samflow._kernel import apart, fused, tuned
from samflow._status import Status
from samflow.attractors._frames import MAX_COMPONENTS, AbstractFrames, PlaneFrames, frames
from samflow.orbits.barrier import step_with_barrier
from samflow.orbits.blocks import (
    Devices,
    any_of,
    over_blocks,
    over_members,
    split,
    squared_norm,
    unpack,
)
from samflow.systems.base import AbstractMap
from samflow.systems.leaves import Varied

NUM_BATCHES = 20
_GROUP = {4: 8, 8: 64}
"""Steps between rescalings, by bytes of a number: lengths stay in range while the stretch of a
step is between 1/150 and 150 (geometric mean of a group); the group shrinks when one is not."""
_CHUNK = 1024
_BLOCK = 128
PER_DEVICE = _BLOCK
"""Members from which on it is worth to use another device."""
_AT_ONCE = 8
"""Steps of one orbit that are one body of a loop."""
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


@tuned
def map_growth(
    system: AbstractMap,
    z0: Array,
    num_exponents: int,
    settings: MapSettings,
    varied: Varied,
    devices: Devices = (),
) -> Growth:
    """Follow orbits from the states z0 (N, state_dim) and the frames on them.

    Each with its own values of the leaves that are varied.
    """
    edges = settings.num_steps * jnp.arange(NUM_BATCHES + 1) // NUM_BATCHES
    lengths = jnp.diff(edges)
    counts = jnp.concatenate([settings.num_transient[None], lengths])

    def run(block: Array, *values: Array) -> tuple[Array, ...]:
        layout = _layout(system, varied, values, num_exponents)
        return _run_block(layout, block, counts, settings)

    if len(z0) == 1:
        logs, status, stopped_at = fused(run)(z0[0], *(value[0] for value in varied.values))
        return Growth(logs[None], lengths, status[None], stopped_at[None])
    logs, status, stopped_at = over_blocks(run, z0, _BLOCK, varied.values, devices)
    return Growth(logs, lengths, status, stopped_at)


class _Pushing(NamedTuple):
    """How a frame goes along: `push` takes a state and what `open` makes of its frame."""

    open: Any
    push: Any
    close: Any


class _Layout(NamedTuple):
    """How a block is laid out, and the functions on it.

    `fast` is None, or does the same as `general` while the first vector is not lost.
    """

    pack: Any
    step: Any
    singularity: Any
    frames: AbstractFrames
    general: _Pushing
    fast: _Pushing | None


def _layout(
    system: AbstractMap, varied: Varied, values: tuple[Array, ...], num_exponents: int
) -> _Layout:
    kept = frames(num_exponents, system.state_dim)
    if system.state_dim <= MAX_COMPONENTS:
        step, singularity = _on_components(system, varied, values)

        def push(z: Components, frame: Any) -> tuple[Any, Any]:
            moved, linear = jax.linearize(step, z)
            return moved, kept.orthogonalise(tuple(linear(v) for v in frame))

        general, fast = _Pushing(_same, push, _same), None
        if num_exponents == system.state_dim == 2:
            plane = PlaneFrames()

            def push_plane(z: Components, opened: Any) -> tuple[Any, Any]:
                moved, linear = jax.linearize(step, z)
                return moved, plane.push(linear, opened)

            fast = _Pushing(plane.open, push_plane, plane.close)
        return _Layout(split, step, singularity, kept, general, fast)

    def push_one(z: Array, frame: Array, *values: Array) -> tuple[Array, Array]:
        moved, linear = jax.linearize(varied.given(system, values).step, z)
        return moved, jax.vmap(linear)(frame)

    def push_all(z: Array, frame: Array) -> tuple[Array, Array]:
        moved, frame = over_members(push_one)(z, frame, *values)
        return moved, kept.orthogonalise(frame)

    step, singularity = _on_arrays(system, varied)
    return _Layout(
        pack=_same,
        step=lambda z: step(z, *values),
        singularity=lambda z: singularity(z, *values),
        frames=kept,
        general=_Pushing(_same, push_all, _same),
        fast=None,
    )


def _same(value: Any) -> Any:
    return value


def _on_arrays(system: AbstractMap, varied: Varied) -> tuple[Any, Any]:
    """Return the step and the singularity of a state or a block, with the values of leaves."""
    step = over_members(lambda z, *values: varied.given(system, values).step(z))
    return step, over_members(lambda z, *values: varied.given(system, values).singularity(z))


def _on_components(
    system: AbstractMap, varied: Varied, values: tuple[Array, ...]
) -> tuple[Any, Any]:
    """Return the step and the singularity on components, whichever layout the system takes."""
    if system.elementwise:
        here = varied.given(system, values)
        return step_with_barrier(here, linearised=True), here.singularity
    step, singularity = _on_arrays(system, varied)
    return lambda z: split(step(unpack(z), *values)), lambda z: singularity(unpack(z), *values)


def _run_block(
    layout: _Layout, block: Array, counts: Array, settings: MapSettings
) -> tuple[Array, Array, Array]:
    """Run the transient and then the batches: `counts` holds their numbers of steps."""
    shape = block.shape[:-1]
    fresh = layout.frames.start(shape, block.dtype)
    _, zeros = layout.frames.rescale(fresh)
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

    def stretch(carry: _Carry, index: Any) -> tuple[_Carry, Any]:
        # A lost vector stays lost, except one lost in the transient, which is not counted.
        begin = jax.tree.map(
            lambda log: jnp.where(jnp.isfinite(log) | (index == 1), 0.0, log), carry.logs
        )
        count = jnp.sum(jnp.where(jnp.arange(len(counts)) == index, counts, 0))
        carry = _advance(layout, carry._replace(logs=begin), carry.step + count, settings)

        def anew() -> Any:
            return layout.frames.renew(carry.frame, ~jnp.isfinite(layout.frames.stack(carry.logs)))

        frame = lax.cond(index == 0, anew, lambda: carry.frame)
        return carry._replace(frame=frame), carry.logs

    carry, sums = lax.scan(stretch, carry, jnp.arange(len(counts)))
    sums = layout.frames.stack(sums)
    running = carry.status == _RUNNING
    status = jnp.where(running, Status.reached_end, carry.status)
    stopped_at = jnp.where(running, carry.step, carry.stopped_at)
    return jnp.moveaxis(sums[1:], 0, -2), status, stopped_at


def _advance(layout: _Layout, carry: _Carry, until: Any, settings: MapSettings) -> _Carry:
    """Make steps up to number `until`, in chunks; stop if no orbit is left."""

    def going(carry: _Carry) -> Any:
        return (carry.step < until) & any_of(carry.status == _RUNNING)

    def chunk(carry: _Carry) -> _Carry:
        length = jnp.minimum(_CHUNK, until - carry.step).astype(jnp.int32)
        new = _steps(layout, carry, length, jnp.where(carry.again, 1, carry.group))
        well = (carry.status == _RUNNING) & ~_outside(layout, new, settings)
        # Lengths that leave the range of the numbers within a group need not do so in a step.
        gone = layout.frames.any_vector(
            lambda before, after: jnp.isfinite(before) & ~jnp.isfinite(after), carry.logs, new.logs
        )
        rough = any_of(well & gone) & ~carry.again
        return lax.cond(
            rough,
            lambda: carry._replace(again=rough, group=jnp.maximum(1, carry.group // 4)),
            lambda: _checked(layout, carry, new._replace(again=rough), settings),
        )

    return lax.while_loop(going, chunk, carry)


def _steps(layout: _Layout, carry: _Carry, length: Any, size: Any) -> _Carry:
    """Make `length` steps of orbit and frame, rescaling the frame every `size`."""
    general = lambda: _groups(layout, layout.general, carry, length, size)  # noqa: E731
    if layout.fast is None:
        return general()
    fast = layout.fast
    lost = any_of(squared_norm(carry.frame[0]) == 0)
    return lax.cond(carry.again | lost, general, lambda: _groups(layout, fast, carry, length, size))


def _groups(layout: _Layout, way: _Pushing, carry: _Carry, length: Any, size: Any) -> _Carry:
    one_orbit, usual = jnp.ndim(carry.status) == 0, way is layout.fast or layout.fast is None
    at_once = (_AT_ONCE if one_orbit else 2) if usual else 1

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        z, opened, singular = state
        singular = singular | (layout.singularity(z) <= 0)
        return (*way.push(z, opened), singular)

    def group(index: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        z, frame, logs, singular = state
        count = jnp.minimum(size, length - index * size)
        begin = (z, way.open(frame), singular)
        z, opened, singular = _repeated(step, count, begin, at_once)
        frame, grown = layout.frames.rescale(way.close(opened))
        return z, frame, jax.tree.map(jnp.add, logs, grown), singular

    state = (carry.z, carry.frame, carry.logs, carry.singular)
    z, frame, logs, singular = lax.fori_loop(0, -(-length // size), group, state)
    return carry._replace(step=carry.step + length, z=z, frame=frame, logs=logs, singular=singular)


def _repeated(step: Any, count: Any, state: tuple[Any, ...], at_once: int) -> tuple[Any, ...]:
    """Return the state after `count` steps, of which `at_once` make up the body of a loop.

    Of two steps of a block neither needs a copy; one orbit stays in registers all the while.
    """
    step = apart(step) if jnp.ndim(state[2]) else step

    def several(_: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        for _ in range(at_once):
            state = step(state)
        return state

    state = lax.fori_loop(0, count // at_once, several, state)
    if at_once == 1:
        return state
    return lax.fori_loop(0, count % at_once, lambda _, state: step(state), state)


def _checked(layout: _Layout, old: _Carry, new: _Carry, settings: MapSettings) -> _Carry:
    """Check the orbits at the end of a chunk and record those that ended in it."""
    # Written so that NaN counts as broken; −inf is the log of a stretch of 0.
    broken = layout.frames.any_vector(lambda log: ~(log < jnp.inf), new.logs)
    lost = (new.status == _RUNNING) & (_outside(layout, new, settings) | new.singular | broken)
    return lax.cond(any_of(lost), lambda: _replay(layout, old, new, lost, settings), lambda: new)


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
