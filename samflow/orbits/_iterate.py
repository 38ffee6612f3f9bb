"""Orbits of maps, for one start or an ensemble, in blocks that stay in registers and cache.

A block of starts runs its whole time loop before the next block begins, one array per coordinate
(`Components`); see docs/benchmarks for what this gains. The fast loop contains only the map.
The block is tested every `check_every` steps. If an orbit has left the ball by then, the chunk is
computed again, step by step, to find where.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from samflow import _checks
from samflow._kernel import tuned
from samflow._schedule import check_steps
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.orbits.barrier import step_with_barrier
from samflow.orbits.blocks import (
    Devices,
    all_zero,
    any_of,
    devices_for,
    gathered,
    on_components,
    over_blocks,
    select,
    split,
    squared_norm,
    unpack,
)
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems.base import AbstractMap, check_system
from samflow.systems.leaves import Varied

_BLOCK = 128
PER_DEVICE = 4 * _BLOCK
"""Members from which on it is worth to use another device."""
_RUNNING = -1


class Orbit(AbstractRecord):
    """Orbits of a map; for an ensemble every array has a leading axis of members.

    Attributes:
        states: the states kept, NaN after an orbit has ended (see `stopped_at`).
        steps: the step number of each kept state, `first_step` for the start.
        final: the last state reached; for a diverged orbit the first one outside the ball.
        status: converged, out of steps, diverged, not finite or undefined, one per orbit; of a map
            that a flow makes also why the integration of a step failed.
        stopped_at: the step number of `final`: for `diverged`, `not finite` and `undefined` the
            step at which it happened, for `converged` the step at which it was seen.

    """

    rows: ClassVar[Names] = ("kept",)
    states: Float[Array, "*batch kept state"] = eqx.field(metadata=axes("kept", "state"))
    steps: Int[Array, " kept"] = eqx.field(metadata=axes("kept", units="step"))
    final: Float[Array, "*batch state"] = eqx.field(metadata=axes("state"))
    status: Int[Array, "*batch"] = eqx.field(metadata=axes(words=Status))
    stopped_at: Int[Array, "*batch"] = eqx.field(metadata=axes(units="step"))
    dim: int = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    @property
    def w(self) -> Float[Array, "*batch kept dim"]:
        """The weights of the kept states."""
        return self.states[..., : self.dim]

    @property
    def final_w(self) -> Float[Array, "*batch dim"]:
        """The weights of the last state."""
        return self.final[..., : self.dim]

    def count(self) -> dict[str, int]:
        """Return how many orbits ended in each way."""
        return endings(self.status)

    def __str__(self) -> str:
        """Return one line, as `2 orbits, 11 states kept of each: 2 out of steps`."""
        return said(self, "orbit", self.states.shape[-2])


def endings(status: Array) -> dict[str, int]:
    """Return how many orbits ended in each way."""
    codes = np.ravel(status).tolist()
    return {status.label: codes.count(status) for status in Status if status in codes}


def said(record: Any, noun: str, kept: int) -> str:
    """Return one line that says how many orbits there are, and how they ended."""
    if _checks.is_traced(record.status):
        return repr(record)
    counts = endings(record.status)
    number = sum(counts.values())
    ended = ", ".join(f"{many} {label}" for label, many in counts.items())
    each = " of each" if number > 1 else ""
    return f"{number} {noun}{'s' * (number != 1)}, {kept} states kept{each}: {ended}"


def iterate(
    system: AbstractMap,
    w0: ArrayLike,
    *,
    num_steps: int,
    keep_every: int | None = None,
    tol: float = 0.0,
    escape_radius: float = 1e6,
    check_every: int = 50,
    first_step: int = 0,
    anywhere: bool = False,
) -> Orbit:
    """Iterate a map from weights (velocity 0) or full states, one start or an ensemble.

    A map with schedules changes with the step: step k, counted from 0, is that of `system.at(k)`.

    Args:
        system: the map.
        w0: weights (dim,) or (N, dim); or states of length `state_dim` where this differs.
        num_steps: number of steps, at least 1.
        keep_every: keep the states at steps 0, k, 2k, ... up to num_steps; by default the first
            and the last only. Memory: N · (1 + num_steps // k) · state_dim numbers.
        tol: an orbit has converged when ‖z⁺ − z‖ ≤ tol. The default 0 means that the state no
            longer changes at all, after which no step ever changes it. A map with schedules makes
            all steps and takes no other tolerance: where lr is small for a time, so is the update.
        escape_radius: an orbit has diverged when ‖z‖ exceeds this. A ball left and entered again
            between two checks is not noticed.
        check_every: steps between checks.
        first_step: the number of the first step, for a map with schedules. An orbit is continued
            from `final` and `stopped_at` of its first part.
        anywhere: take starts outside the loss's domain, too, as an orbit that has left it.

    Returns:
        An `Orbit`. Nothing is raised for an orbit that fails: its status says what happened.

    Raises:
        ArgumentError: for a wrong shape, a start that is not finite or outside the loss's
            domain, numbers of steps below 1, and a schedule that is out of range at one of the
            steps.

    """
    check_system(system, AbstractMap, "Use `integrate` for a flow.", changing=True)
    num_steps = _checks.count("num_steps", num_steps)
    keep_every = _checks.count("keep_every", num_steps if keep_every is None else keep_every)
    check_every = _checks.count("check_every", check_every)
    tol = _checks.nonnegative_array("tol", tol)
    escape_radius = _checks.positive_array("escape_radius", escape_radius)
    first_step = _checks.count("first_step", first_step, minimum=0)
    changes = bool(system.schedules)
    if changes and not (_checks.is_traced(tol) or tol == 0):
        raise _checks.ArgumentError(
            f"Argument `tol` must be 0 for a map with schedules, but is {float(tol):g}: a small "
            "update may come from a small lr."
        )
    z0 = start_states(system.at(first_step), w0, anywhere=anywhere)
    batch = jnp.atleast_2d(z0)
    first = check_steps(system.schedules, first_step, num_steps)
    settings = MapSettings(
        num_steps, min(keep_every, num_steps), check_every, tol, escape_radius, first
    )
    settings = jax.tree.map(jnp.asarray, settings)  # Python numbers would be constants
    kept = 1 + num_steps // keep_every
    begun = {"first_step": first_step} if first_step else {}
    devices = devices_for(batch, PER_DEVICE)
    transformed = any(map(_checks.is_traced, jax.tree.leaves((system, batch, settings))))
    ended = run_map(system, batch, settings, kept, Varied(), devices, transformed)
    ended = gathered(ended, devices)
    states, final, status, stopped_at = ended
    if z0.ndim == 1:
        states, final, status, stopped_at = states[0], final[0], status[0], stopped_at[0]
    return Orbit(
        states,
        first_step + keep_every * jnp.arange(kept),
        final,
        status,
        first_step + stopped_at,
        system.dim,
        provenance(system.describe(), num_steps=num_steps, keep_every=keep_every, **begun),
    )


def start_states(
    system: Any, w0: ArrayLike, name: str = "w0", *, anywhere: bool = False
) -> Float[Array, "*batch state"]:
    """Return `w0` as states: weights are lifted to rest, full states are taken as they are."""
    width = _width(w0)
    domain = None if anywhere else getattr(getattr(system, "loss", None), "domain", None)
    if width == system.state_dim != system.dim:
        z0 = _checks.point(name, w0, system.state_dim, batched=True)
        _checks.inside(name, z0[..., : system.dim], domain)
        return z0
    w0 = _checks.point(name, w0, system.dim, batched=True)
    _checks.inside(name, w0, domain)
    return jax.vmap(system.lift)(w0) if w0.ndim == 2 else system.lift(w0)


def _width(w0: ArrayLike) -> int:
    """Return the length of the last axis; 0 where there is none, as in a ragged list."""
    try:
        return np.shape(w0)[-1]
    except (IndexError, ValueError):
        return 0


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


class _Functions(NamedTuple):
    """Of a block: from an array (block, state), the step and the singularity after that.

    These two take a packed block and the number of steps made before; so does `failure`, which says
    why the image is not finite, of a map that knows. It is None of others.
    """

    pack: Any
    step: Any
    singularity: Any
    failure: Any
    changes: bool


def functions_of(
    system: AbstractMap, varied: Varied, values: tuple[Array, ...], first: Any
) -> _Functions:
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
    return _Functions(split if apart else lambda a: a, step, singularity, failure, changes)


def _step_status(system: Any, z: Any) -> Any:
    return system.step_status(z)


def begin(z: Any, members: tuple[int, ...] | None = None) -> _Carry:
    """Return the state of a block at its start, of members of the shape of a component."""
    members = jnp.shape(z[0]) if members is None else members
    status, nothing = jnp.full(members, _RUNNING), jnp.zeros(members, int)
    return _Carry(jnp.asarray(0), jnp.asarray(True), z, status, nothing, z)


def until_of(settings: MapSettings, index: Any) -> Any:
    """Return the number of steps at which the state number `index` is kept, or the last."""
    return jnp.minimum(index * settings.keep_every, settings.num_steps)


def _run_block(
    functions: _Functions, block: Array, settings: MapSettings, kept: int
) -> tuple[Any, ...]:
    carry = begin(functions.pack(block), block.shape[:-1])

    def next_record(carry: _Carry, index: Any) -> tuple[_Carry, Array]:
        until = until_of(settings, index)
        carry = advance(functions, carry, until, settings)
        running = (carry.status == _RUNNING) | (carry.stopped_at == until)
        return carry, jnp.where(running[..., None], unpack(carry.z), jnp.nan)

    # The round after the last record makes the remaining steps; its state is not kept.
    carry, rows = lax.scan(next_record, carry, jnp.arange(1, kept + 1))
    record = jnp.concatenate([block[None], rows[:-1]])
    running = carry.status == _RUNNING
    final = unpack(select(running, carry.z, carry.final))
    stopped_at = jnp.where(running, carry.step, carry.stopped_at)
    return jnp.moveaxis(record, 0, -2), final, carry.status, stopped_at


def advance(functions: _Functions, carry: _Carry, until: Any, settings: MapSettings) -> _Carry:
    """Make steps up to number `until`, checking every `check_every`; stop if no orbit is left."""

    def going(carry: _Carry) -> Any:
        return (carry.step < until) & carry.left

    def chunk(carry: _Carry) -> _Carry:
        length = jnp.minimum(settings.check_every, until - carry.step)
        step = lambda i, z: functions.step(z, carry.step + i)  # noqa: E731
        before = lax.fori_loop(0, length - 1, step, carry.z)
        after = step(length - 1, before)
        new = carry._replace(step=carry.step + length, z=after)
        running = carry.status == _RUNNING
        # Written so that NaN counts as outside.
        lost = running & ~(squared_norm(after) <= settings.escape_radius**2)
        still = running & _still(after - before, settings.tol)
        still = still & (not functions.changes)

        def ended() -> _Carry:
            marked = lax.cond(
                any_of(lost), lambda: _replay(functions, carry, new, lost, settings), lambda: new
            )
            marked = _stop(marked, still, Status.converged, after, new.step)
            return marked._replace(left=any_of(marked.status == _RUNNING))

        return lax.cond(any_of(lost | still), ended, lambda: new)

    return lax.while_loop(going, chunk, carry)


def _still(change: Any, tol: Any) -> Array:
    """Say of each orbit whether its last update was within the tolerance."""
    # A square underflows: a tolerance of 0 asks whether the state is the same, bit for bit.
    return jnp.where(tol > 0, squared_norm(change) <= tol**2, all_zero(change))


def _replay(
    functions: _Functions, old: _Carry, new: _Carry, lost: Array, settings: MapSettings
) -> _Carry:
    """Compute a chunk again, step by step, and mark where each lost orbit first was outside.

    Only orbits that are outside at the end of the chunk are marked, so that the result for an orbit
    does not depend on which others share its block.
    """

    def one(_: Any, carry: _Carry) -> _Carry:
        z = functions.step(carry.z, carry.step)
        outside = lost & ~(squared_norm(z) <= settings.escape_radius**2)
        finite = jnp.isfinite(squared_norm(z))
        singular = functions.singularity(carry.z, carry.step) <= 0
        broken = jnp.where(singular, Status.undefined, Status.not_finite)
        if functions.failure is not None:
            broken = functions.failure(carry.z, carry.step)
        cause = jnp.where(finite, Status.diverged, broken)
        carry = carry._replace(step=carry.step + 1, z=z)
        return _stop(carry, outside, cause, z, carry.step)

    return lax.fori_loop(0, new.step - old.step, one, old)


def _stop(carry: _Carry, where: Any, status: Any, final: Any, step: Any) -> _Carry:
    """Record an end for the running orbits in `where`."""
    now = where & (carry.status == _RUNNING)
    return carry._replace(
        status=jnp.where(now, status, carry.status),
        stopped_at=jnp.where(now, step, carry.stopped_at),
        final=select(now, final, carry.final),
    )


LOOP = functions_of, begin, until_of, advance
"""The loop over a block, which a kernel for a GPU has too."""
