"""Solutions of flows, by diffrax."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from samflow import _checks
from samflow._types import ArrayLike
from samflow.orbits.iterate import start_states
from samflow.records import AbstractRecord, Provenance, axes, provenance
from samflow.systems.base import AbstractFlow
from samflow.systems.flow import Flow


class Trajectory(AbstractRecord):
    """Solutions of a flow; for an ensemble every array but `times` has an axis of members.

    Attributes:
        times: the times at which the solution is given, from 0 to t1.
        states: the solution there, NaN from where it ended; after an arrival the point at which it
            is held, or its path along the manifold on which it slides.
        status: one a solution: `reached_end`; `sliding` where it came to t1 held or sliding;
            `not_unique` where it ended at a critical point from which more than one solution goes
            on; out of steps, step size vanished, diverged, not finite or undefined.
        stopped_at: the time reached; where the solver gave up, the last of `times` before it.
        arrived_at: the time at which the solution first came to where the field jumps, infinite
            where it did not; also for one that crossed it or has left it again.

    """

    times: Float[Array, " kept"] = eqx.field(metadata=axes("kept"))
    states: Float[Array, "*batch kept state"] = eqx.field(metadata=axes("kept", "state"))
    status: Int[Array, "*batch"] = eqx.field(metadata=axes())
    stopped_at: Float[Array, "*batch"] = eqx.field(metadata=axes())
    arrived_at: Float[Array, "*batch"] = eqx.field(metadata=axes())
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

    The flow ẇ = −d(w) of a normalised rule jumps at critical points. It is followed there as
    Filippov does (docs/theory, section 3): held at an isolated critical point, sliding along a
    valley, through to the other side, or off again.

    Args:
        system: the flow.
        w0: start (dim,) or starts (N, dim).
        t1: final time, > 0.
        num_times: number of evenly spaced times at which the solution is kept.
        rtol: relative tolerance of each step. For normalised rules at most 1e-7 is used, so that
            no step passes across a jump unnoticed.
        atol: absolute tolerance of each step; likewise.
        escape_radius: the solution has diverged when ‖w‖ exceeds this.
        max_steps: number of steps, in each phase, after which the solver gives up.

    Returns:
        A `Trajectory`. For a normalised rule the arrival has an error of the order of the
        tolerance of a step over the speed ‖d‖, times the square of H's condition number κ where
        this is large; about κ² steps are made for every factor by which ‖g‖ falls.

    Not guaranteed: that a critical point holds is seen in H's eigenvectors and 64 fixed directions.
    One that does not hold counts as met (`not_unique`) within some ten tolerances of a step; a
    start on it is `not_unique` too. Where the second derivative vanishes, where a rule jumps off
    the critical points, where its limits are not finite, and beyond 200 weights, nothing of this
    is done: a solution ends there as undefined, out of steps, or with a vanished step size. Inside
    `jax.vmap` and `jax.grad` all of it is done, but derivatives after an arrival are NaN.

    Raises:
        ArgumentError: for a wrong shape, a start that is not finite or outside the loss's
            domain, or settings out of range.

    Source: Filippov, Differential Equations with Discontinuous Righthand Sides (1988), chapter 2.

    """
    _checks.kind("system", system, AbstractFlow, "Use `iterate` for a map.")
    t1 = _checks.positive("t1", t1)
    times = jnp.linspace(0.0, t1, _checks.count("num_times", num_times, minimum=2))
    tolerances = _checks.positive("rtol", rtol), _checks.positive("atol", atol)
    radius = _checks.positive("escape_radius", escape_radius)
    max_steps = _checks.count("max_steps", max_steps)
    z0 = start_states(system, w0)
    settings = (times, *tolerances, radius)
    solved = _solve(system, jnp.atleast_2d(z0), settings, max_steps)
    states, status, stopped_at, arrived_at = (a[0] if z0.ndim == 1 else a for a in solved)
    where = provenance(system.describe(), t1=float(t1), rtol=rtol, atol=atol, solver="Tsit5")
    return Trajectory(times, states, status, stopped_at, arrived_at, where)


def _solve(
    system: AbstractFlow, z0: Array, settings: tuple[Array, ...], max_steps: int
) -> tuple[Array, ...]:
    from samflow.orbits import legs, phases  # diffrax: those who only iterate need not wait

    if not (isinstance(system, Flow) and phases.jumps(system)):
        solved = legs.smooth_legs(system, z0, legs.Settings(*settings), max_steps=max_steps)
        return (*solved, jnp.full(z0.shape[0], jnp.inf))
    end = phases.follow(system, z0, legs.Settings(*settings), max_steps=max_steps)
    return end.states, end.status, end.t, end.arrived_at
