"""Segments of a solution: integration of a smooth field until the end, an event or a failure.

This module loads diffrax, which takes half a second; import it where a flow is integrated.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array

from samflow._status import Status
from samflow.systems.angles import on_lines
from samflow.systems.base import AbstractFlow

SMALLEST_STEP = 1e-13
"""Relative to the time in all, and to the last one: below this the solver gives up."""
_EVENT_TIME = 100.0
"""In units of rounding: tolerance of the time at which a real-valued event happens."""


class SolverSettings(NamedTuple):
    """What all segments share: the times to keep, tolerances, and the radius of escape."""

    times: Any
    rtol: Any
    atol: Any
    radius: Any


class Segment(NamedTuple):
    """A segment: its states at `times`, last time, last state, and how it ended.

    `kept` is meaningful only at times from the segment's start to `t`. `status` is `reached_end`
    at the last of `times`, and otherwise what stopped the solver; `events` says which event did.
    """

    kept: Array
    t: Array
    w: Array
    status: Array
    events: Any


def solve_segment(
    velocity: Callable[[Any, Array], Array],
    start: Array,
    t0: Array,
    settings: SolverSettings,
    events: Any,
    *,
    max_steps: int,
    solver: Any = None,
) -> Segment:
    """Integrate ẇ = velocity(t, w) from `t0` to the last of the times.

    Args:
        velocity: the field at a time, smooth up to the first event.
        start: w at `t0`.
        t0: where the segment starts; at the last of the times nothing is done.
        settings: those of `integrate`.
        events: a list of conditions w ↦ bool, noticed at the end of a step; or one function
            w ↦ margin, located where it falls through zero.
        max_steps: after which the solver gives up.
        solver: of diffrax; by default Tsitouras' 5/4 method.

    Returns:
        A `Segment`. Its status for an event is `not_finite`; the caller, who knows the event,
        replaces it.

    """
    times = settings.times
    span = jnp.maximum(times[-1] - times[0], jnp.abs(times[-1]))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: velocity(t, y)),
        diffrax.Tsit5() if solver is None else solver,
        t0,
        times[-1],
        None,
        start,
        saveat=diffrax.SaveAt(ts=jnp.clip(times, t0, times[-1]), t1=True),
        stepsize_controller=diffrax.PIDController(
            settings.rtol, settings.atol, dtmin=SMALLEST_STEP * span, force_dtmin=False
        ),
        event=_event(events),
        max_steps=max_steps,
        throw=False,
    )
    assert solution.ys is not None
    assert solution.ts is not None
    made = jnp.sum(jnp.isfinite(solution.ts))  # an event or a failure leaves infinities behind it
    last = jnp.maximum(made - 1, 0)
    w = jnp.where(made > 0, solution.ys[last], start)
    succeeded = (solution.result == diffrax.RESULTS.successful) & jnp.all(jnp.isfinite(w))
    spent = solution.result == diffrax.RESULTS.max_steps_reached
    vanished = solution.result == diffrax.RESULTS.dt_min_reached
    status = jnp.where(succeeded, Status.reached_end, Status.not_finite)
    status = jnp.where(spent, Status.out_of_steps, status)
    status = jnp.where(vanished, Status.step_size_vanished, status)
    t = jnp.where(made > 0, solution.ts[last], t0)
    return Segment(solution.ys[:-1], t, w, status, solution.event_mask)


def _event(events: Any) -> diffrax.Event:
    if isinstance(events, list):
        return diffrax.Event([_condition(event) for event in events])
    # The margin is positive before its zero. Given this, bisection does not require a change of
    # sign in members of an ensemble in which no event happens.
    tol = _EVENT_TIME * float(jnp.finfo(jnp.result_type(float)).eps)
    return diffrax.Event(_condition(events), optx.Bisection(tol, tol, flip=True))


def _condition(event: Callable[[Array], Array]) -> Callable[..., Array]:
    def condition(t: Array, y: Array, args: None, **_: object) -> Array:
        return event(y)

    return condition


def outside(w: Array, settings: SolverSettings) -> Array:
    """Say whether `w` has left the ball, or is not finite."""
    return ~(jnp.sum(w * w) <= settings.radius**2)


def outside_but_for_angles(system: AbstractFlow, w: Array, settings: SolverSettings) -> Array:
    """Say the same of the coordinates that are no angles; an angle may turn for ever."""
    return outside(w * on_lines(system), settings) | ~jnp.all(jnp.isfinite(w))


def smooth_status(
    segment: Segment, system: AbstractFlow, start: Array, settings: SolverSettings
) -> Array:
    """Name the ending of a segment along the system's own field."""
    beyond = jnp.sum((segment.w * on_lines(system)) ** 2) > settings.radius**2
    status = jnp.where(segment.events[0] & beyond, Status.diverged, segment.status)
    first, last = system.at(settings.times[0]), system.at(segment.t)
    undefined = (first.singularity(start) <= 0) | (last.singularity(segment.w) <= 0)
    return jnp.where(undefined & (status != Status.reached_end), Status.undefined, status)


@eqx.filter_jit
def smooth_segments(
    system: AbstractFlow, starts: Array, settings: SolverSettings, *, max_steps: int
) -> tuple[Array, Array, Array]:
    """Return states, status and last time of the solutions of a flow without jumps."""

    def one(start: Array) -> tuple[Array, Array, Array]:
        events = [lambda w: outside_but_for_angles(system, w, settings)]
        segment = solve_segment(
            lambda t, w: system.at(t).velocity(w),
            start,
            settings.times[0],
            settings,
            events,
            max_steps=max_steps,
        )
        kept = jnp.where((settings.times <= segment.t)[:, None], segment.kept, jnp.nan)
        return kept, smooth_status(segment, system, start, settings), segment.t

    return jax.vmap(one)(starts)
