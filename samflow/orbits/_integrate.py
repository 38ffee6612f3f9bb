"""Solutions of flows and of stochastic differential equations, by diffrax."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from samflow import _checks
from samflow._random import key_words
from samflow._schedule import check_times
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.orbits._iterate import said, start_states
from samflow.orbits.blocks import devices_for, gathered
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.rules import is_normalised
from samflow.systems.base import AbstractFlow, check_fixed, check_system
from samflow.systems.diffusion import AbstractDiffusion
from samflow.systems.flow import Flow


class Trajectory(AbstractRecord):
    """Solutions; for an ensemble every array but `times` has an axis of members.

    Attributes:
        times: the times at which the solution is given, from t0 to t1.
        states: the solution there, NaN from where it ended; after an arrival the point at which it
            is held, or its path along the manifold on which it slides.
        status: one per solution: `reached_end`; `sliding` where it came to t1 held or sliding;
            `not_unique` where it ended at a critical point from which more than one solution
            continues; out of steps, step size vanished, diverged, not finite or undefined.
        stopped_at: the time reached.
        arrived_at: the time at which the solution first reached a point where the field jumps;
            infinite if it never did. It is also given for a solution that crossed that point or
            has left it again.

    """

    rows: ClassVar[Names] = ("kept",)
    times: Float[Array, " kept"] = eqx.field(metadata=axes("kept", units="time"))
    states: Float[Array, "*batch kept state"] = eqx.field(metadata=axes("kept", "state"))
    status: Int[Array, "*batch"] = eqx.field(metadata=axes(words=Status))
    stopped_at: Float[Array, "*batch"] = eqx.field(metadata=axes(units="time"))
    arrived_at: Float[Array, "*batch"] = eqx.field(metadata=axes(units="time"))
    provenance: Provenance = eqx.field(static=True)

    @property
    def w(self) -> Float[Array, "*batch kept dim"]:
        """The weights along the solution: there is no velocity."""
        return self.states

    def __str__(self) -> str:
        """Return one line, as `2 solutions, 101 states kept of each: 2 reached the end`."""
        return said(self, "solution", self.states.shape[-2])


def integrate(
    system: AbstractFlow | AbstractDiffusion,
    w0: ArrayLike,
    *,
    t1: float,
    t0: float = 0.0,
    num_times: int = 101,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    escape_radius: float = 1e6,
    max_steps: int = 100_000,
    key: PRNGKeyArray | None = None,
    dt: float | None = None,
    anywhere: bool = False,
) -> Trajectory:
    """Integrate a flow, or a stochastic differential equation, from time t0 to t1.

    A flow is solved by Tsitouras' 5/4 method with adaptive steps, an equation dX = b dt + σ dB, in
    the sense of Itô, by Euler and Maruyama's with fixed ones: `key` and `dt` are for this alone,
    `rtol` and `atol` for a flow.

    A schedule is a function of the time here, also that of a diffusion's lr; so is the field of a
    `FunctionFlow` with a period. Angles are followed through all turns.

    The flow ẇ = −d(w) of a normalised rule jumps at critical points. There the solution is
    continued in the sense of Filippov (docs/theory, section 3). It stays at an isolated critical
    point, slides along a valley, crosses to the other side, or leaves again.

    Args:
        system: the flow or the diffusion.
        w0: start (dim,) or starts (N, dim).
        t1: final time, > t0.
        t0: initial time, of a flow. It matters where the field depends on the time.
        num_times: number of evenly spaced times at which the solution is kept.
        rtol: relative tolerance of each step. For normalised rules at most 1e-7 is used, so that
            no step passes across a jump unnoticed.
        atol: absolute tolerance of each step; likewise.
        escape_radius: the solution has diverged when ‖w‖ exceeds this.
        max_steps: number of steps, in each phase, after which the solver gives up. A diffusion
            that would take more is not started.
        key: of `jax.random`, needed for a diffusion; solution i depends on (key, i) alone.
        dt: largest step of a diffusion; a whole number of steps lies between two times kept. By
            default t1/1000. The error is O(√dt) for a path, O(dt) where σ is constant and for
            expectations.
        anywhere: take starts outside the loss's domain, too, as a solution of a flow that has left
            it.

    Returns:
        A `Trajectory`. For a normalised rule the arrival has an error of the order of the
        tolerance of a step over the speed ‖d‖, times the square of H's condition number κ where
        this is large; about κ² steps are made for every factor by which ‖g‖ falls.

    Not guaranteed: whether a critical point holds solutions is tested along H's eigenvectors and
    64 fixed directions only. A solution that comes within some ten step tolerances of a critical
    point that does not hold ends there as `not_unique`, as does a start on such a point. Jumps are
    not followed where the second derivative vanishes, where a rule jumps off the critical points,
    where its limits are not finite, and beyond 200 weights. A solution ends there as undefined,
    out of steps, or with a vanished step size. Inside `jax.vmap` and `jax.grad` jumps are followed,
    but derivatives after an arrival are NaN.

    Raises:
        ArgumentError: for a wrong shape, a start that is not finite or outside the loss's
            domain, settings out of range, a diffusion without a key, a flow with one, schedules
            of a normalised rule's flow, and schedules that are out of range at one of 1,001 times.

    Source: Filippov, Differential Equations with Discontinuous Righthand Sides (1988), chapter 2.

    """
    if isinstance(system, AbstractDiffusion):
        if not (not _checks.is_traced(t0) and t0 == 0):
            raise _checks.ArgumentError(
                f"Argument `t0` must be 0 for a diffusion, but is {_checks.excerpt(t0)}."
            )
        return _diffuse(system, w0, t1, num_times, dt, key, escape_radius, max_steps)
    check_system(system, AbstractFlow, "Use `iterate` for a map.", changing=True)
    if jumps_somewhere(system):
        check_fixed(system, hint="A flow that jumps is continued at fixed numbers only.")
    if key is not None or dt is not None:
        raise _checks.ArgumentError(
            f"Argument `{'dt' if key is None else 'key'}` must be left out for a flow, which is "
            "deterministic and solved with adaptive steps."
        )
    start, end = _interval(t0, t1)
    times = _spaced(start, end, _checks.count("num_times", num_times, minimum=2))
    given = {"rtol": rtol, "atol": atol, "escape_radius": escape_radius}
    bounds = (_checks.setting(name, value, _checks.POSITIVE) for name, value in given.items())
    max_steps = _checks.count("max_steps", max_steps)
    changing = system.schedules
    z0 = start_states(system.at(start) if changing else system, w0, anywhere=anywhere)
    settings = (check_times(changing, times), *bounds)
    batch = z0 if z0.ndim == 2 else z0[None]
    solved = _solve(system, batch, settings, max_steps, from_zero=_said(t0) == 0)
    states, status, stopped_at, arrived_at = (a[0] if z0.ndim == 1 else a for a in solved)
    begun = {} if _said(t0) == 0 else {"t0": _said(t0)}
    where = provenance(
        system.describe(), t1=_said(t1), rtol=rtol, atol=atol, solver="Tsit5", **begun
    )
    return Trajectory(times, states, status, stopped_at, arrived_at, where)


def jumps_somewhere(system: AbstractFlow) -> bool:
    """Say whether the flow is of a rule that jumps at critical points."""
    return isinstance(system, Flow) and is_normalised(system.rule)


def _said(time: Any) -> float | str:
    """Return a time for the provenance."""
    return "traced" if _checks.is_traced(time) else float(time)


def _spaced(start: Array, end: Array, number: int) -> Array:
    """Return evenly spaced times; NumPy's are made faster, of times that are not traced."""
    if _checks.is_traced(start) or _checks.is_traced(end):
        return jnp.linspace(start, end, number)
    return jnp.asarray(np.linspace(float(start), float(end), number), dtype=float)


def _interval(t0: Any, t1: Any) -> tuple[Array, Array]:
    """Return initial and final time as arrays; the second must be later."""
    start = _checks.setting("t0", t0, _checks.REAL)
    if not _checks.is_traced(t0) and float(t0) == 0:
        return start, _checks.setting("t1", t1, _checks.POSITIVE)
    later = (lambda v: v > start, "finite and greater than t0")
    return start, _checks.setting("t1", t1, later)


def _diffuse(
    system: AbstractDiffusion,
    w0: ArrayLike,
    t1: float,
    num_times: int,
    dt: float | None,
    key: PRNGKeyArray | None,
    escape_radius: float,
    max_steps: int,
) -> Trajectory:
    from samflow.orbits import _diffuse  # diffrax: those who only iterate need not wait

    if key is None:
        raise _checks.ArgumentError(
            "Argument `key` must be given for a diffusion, such as `jax.random.key(0)`."
        )
    key_words(key)
    t1 = _checks.positive("t1", t1)
    num_times = _checks.count("num_times", num_times, minimum=2)
    step = _checks.positive("dt", t1 / 1000 if dt is None else dt)
    radius = _checks.positive_array("escape_radius", escape_radius)
    # Rounding must not add a step where dt divides the interval.
    substeps = max(1, math.ceil(t1 / (num_times - 1) / step * (1 - 1e-12)))
    if substeps * (num_times - 1) > _checks.count("max_steps", max_steps):
        raise _checks.ArgumentError(
            f"Argument `max_steps` must be at least the number of steps, "
            f"{substeps * (num_times - 1)}, but is {max_steps}. Use a larger dt."
        )
    z0 = start_states(system.at(0.0), w0)
    times = check_times(system.schedules, jnp.linspace(0.0, t1, num_times))
    settings = _diffuse.DiffusionSettings(times, jnp.asarray(substeps), radius)
    solved = _diffuse.diffuse(system, jnp.atleast_2d(z0), key, settings)
    states, status, stopped_at = (a[0] if z0.ndim == 1 else a for a in solved)
    taken = t1 / (substeps * (num_times - 1))
    where = provenance(system.describe(), t1=t1, dt=taken, solver="Euler-Maruyama")
    never = jnp.full(status.shape, jnp.inf)
    return Trajectory(times, states, status, stopped_at, never, where)


def _solve(
    system: AbstractFlow, z0: Array, settings: tuple[Array, ...], max_steps: int, *, from_zero: bool
) -> tuple[Array, ...]:
    from samflow.orbits import _ensemble_flow, segments  # diffrax: who only iterates need not wait
    from samflow.orbits.filippov import solution  # likewise

    begin = 0.0 if from_zero else settings[0][0]
    times = settings[0] if from_zero else settings[0] - begin
    shifted = segments.SolverSettings(times, *settings[1:])  # where autonomous
    if isinstance(system, Flow) and solution.jumps(system):
        end = solution.follow(system, z0, shifted, max_steps=max_steps)
        return end.states, end.status, begin + end.t, begin + end.arrived_at
    if _ensemble_flow.can_solve(system, z0) and not _is_traced(system, z0, settings):
        devices = devices_for(z0, _ensemble_flow.PER_DEVICE)
        most = np.asarray(max_steps)
        solved = _ensemble_flow.flow_ensemble(system, z0, shifted, most, devices)
        states, status, stopped_at, never = gathered(solved, devices)
        return states, status, stopped_at if from_zero else begin + stopped_at, never
    solved = segments.smooth_segments(
        system, z0, segments.SolverSettings(*settings), max_steps=max_steps
    )
    return (*solved, jnp.full(len(z0), jnp.inf))


def _is_traced(*trees: Any) -> bool:
    """Say whether anything is traced: a derivative of a solution is diffrax's."""
    return _checks.inside_jit() or any(map(_checks.is_traced, jax.tree.leaves(trees)))
