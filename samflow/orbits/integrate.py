"""Solutions of flows, by diffrax."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.orbits.iterate import start_states
from samflow.records import AbstractRecord, Provenance, axes, provenance
from samflow.systems.base import AbstractFlow

_SMALLEST_STEP = 1e-13
"""Relative to t1: below this the solver gives up."""


class Trajectory(AbstractRecord):
    """Solutions of a flow; for an ensemble every array but `times` has an axis of members.

    Attributes:
        times: the times at which the solution is given, from 0 to t1.
        states: the solution there, NaN from where the integration stopped.
        status: reached end, out of steps, step size vanished, diverged, not finite or undefined,
            one a solution.
        stopped_at: the time reached; where the solver gave up, the last of `times` before it.

    """

    times: Float[Array, " kept"] = eqx.field(metadata=axes("kept"))
    states: Float[Array, "*batch kept state"] = eqx.field(metadata=axes("kept", "state"))
    status: Int[Array, "*batch"] = eqx.field(metadata=axes())
    stopped_at: Float[Array, "*batch"] = eqx.field(metadata=axes())
    provenance: Provenance = eqx.field(static=True)

    @property
    def w(self) -> Float[Array, "*batch kept dim"]:
        """The weights along the solution: a flow has no velocity."""
        return self.states


def integrate(
    system: AbstractFlow,
    w0: ArrayLike,
    *,
    t1: float,
    num_times: int = 101,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    escape_radius: float = 1e6,
    max_steps: int = 100_000,
) -> Trajectory:
    """Integrate a flow from time 0 to t1 by Tsitouras' 5/4 method with adaptive steps.

    Args:
        system: the flow.
        w0: start (dim,) or starts (N, dim).
        t1: final time, > 0.
        num_times: number of evenly spaced times at which the solution is kept.
        rtol: relative tolerance of each step.
        atol: absolute tolerance of each step.
        escape_radius: the solution has diverged when ‖w‖ exceeds this.
        max_steps: number of steps after which the solver gives up.

    Returns:
        A `Trajectory`. Where normalised SAM meets a critical point its field does not exist and
        the status is `undefined`, or `step size vanished` or `out of steps` when the steps shrink
        towards that point or chatter around it; the solution is not continued past it.

    Raises:
        ArgumentError: for a wrong shape, a start that is not finite or outside the loss's
            domain, or settings out of range.

    """
    _checks.kind("system", system, AbstractFlow, "Use `iterate` for a map.")
    t1 = _checks.positive("t1", t1)
    times = jnp.linspace(0.0, t1, _checks.count("num_times", num_times, minimum=2))
    tolerances = _checks.positive("rtol", rtol), _checks.positive("atol", atol)
    radius = _checks.positive("escape_radius", escape_radius)
    max_steps = _checks.count("max_steps", max_steps)
    z0 = start_states(system, w0)
    states, status, stopped_at = _solve(
        system, jnp.atleast_2d(z0), times, tolerances, radius, max_steps
    )
    if z0.ndim == 1:
        states, status, stopped_at = states[0], status[0], stopped_at[0]
    where = provenance(system.describe(), t1=float(t1), rtol=rtol, atol=atol, solver="Tsit5")
    return Trajectory(times, states, status, stopped_at, where)


@eqx.filter_jit
def _solve(
    system: AbstractFlow,
    z0: Array,
    times: Array,
    tolerances: tuple[Array, Array],
    radius: Array,
    max_steps: int,
) -> tuple[Array, Array, Array]:
    import diffrax  # half a second, which those who only iterate need not wait for

    def outside(t: Array, y: Array, args: None, **_: object) -> Array:
        return ~(jnp.sum(y * y) <= radius**2)

    def one(start: Array) -> tuple[Array, Array, Array]:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: system.velocity(y)),
            diffrax.Tsit5(),
            times[0],
            times[-1],
            None,
            start,
            saveat=diffrax.SaveAt(ts=times, t1=True),
            stepsize_controller=diffrax.PIDController(
                *tolerances, dtmin=_SMALLEST_STEP * times[-1], force_dtmin=False
            ),
            event=diffrax.Event(outside),
            max_steps=max_steps,
            throw=False,
        )
        assert solution.ys is not None
        assert solution.ts is not None
        kept, last = solution.ys[:-1], solution.ys[-1]
        kept = jnp.where(jnp.isfinite(kept), kept, jnp.nan)
        reached = jnp.max(jnp.where(jnp.isfinite(solution.ts), solution.ts, times[0]))
        ended = _Ending(
            succeeded=solution.result == diffrax.RESULTS.successful,
            event=solution.result == diffrax.RESULTS.event_occurred,
            vanished=solution.result == diffrax.RESULTS.dt_min_reached,
            spent=solution.result == diffrax.RESULTS.max_steps_reached,
        )
        return kept, _status(ended, system, start, last, radius), reached

    return jax.vmap(one)(z0)


class _Ending(NamedTuple):
    """What the solver says of a solution."""

    succeeded: Any
    event: Any
    vanished: Any
    spent: Any


def _status(
    ended: _Ending, system: AbstractFlow, start: Array, last: Array, radius: Array
) -> Array:
    """Give the solver's ending its name here; what is not recognised counts as not finite."""
    beyond = ended.event & (jnp.sum(last * last) > radius**2)
    undefined = (system.singularity(start) <= 0) | (system.singularity(last) <= 0)
    status = jnp.where(ended.spent, Status.out_of_steps, Status.not_finite)
    status = jnp.where(ended.vanished, Status.step_size_vanished, status)
    status = jnp.where(beyond, Status.diverged, status)
    status = jnp.where(ended.succeeded & jnp.all(jnp.isfinite(last)), Status.reached_end, status)
    return jnp.where(undefined & (status != Status.reached_end), Status.undefined, status)
