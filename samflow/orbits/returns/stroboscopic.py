"""The stroboscopic map: a flow that depends on time with a period, seen once in each period."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from samflow import _checks
from samflow._status import Status
from samflow._types import Point, Scalar, V, Vector
from samflow.orbits.returns.solver import End, Solver, advance, check_smooth, make_solver
from samflow.systems.angles import Angles, angles_of, wrap_into
from samflow.systems.base import AbstractFlow, AbstractMap, AbstractWeightSystem, check_system
from samflow.systems.flow import is_endless, period_of

_PHASES = 4
_SAME = 1e-8
"""A field has a period if it differs by no more after it, relative to its own size."""
_TRIED = 8


class StroboscopicMap(AbstractWeightSystem, AbstractMap):
    """The map F(z) = φ(t0 + T; t0, z) of a flow whose field has the period T.

    Attributes:
        flow: the flow.
        given: a period for a flow that does not state its own; else None.
        t0: the phase: the time at which each period begins.
        solver: tolerances.
        wraps: whether angles of the image are brought into their ranges.

    """

    flow: AbstractFlow
    given: Scalar | None
    t0: Scalar
    solver: Solver
    wraps: bool = eqx.field(static=True, default=True)

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.flow.dim

    @property
    def elementwise(self) -> bool:
        """Never: states are arrays."""
        return False

    @property
    def angles(self) -> Angles | None:
        """The angles of the flow."""
        return angles_of(self.flow) if self.wraps else None

    def unwrapped(self) -> "StroboscopicMap":
        """Return the map without angles, whose images keep their turns."""
        return StroboscopicMap(self.flow, self.given, self.t0, self.solver, wraps=False)

    @property
    def period(self) -> Any:
        """T."""
        return period_of(self.flow) if self.given is None else self.given

    def solve(self, z: Point) -> End:
        """Return F(z) and how the integration ended; NaN unless that is `reached_end`."""
        period = self.period
        end = advance(self.flow, z, self.t0, period, self.solver)
        same = _recurs(self.flow, z, self.t0, period)
        status = jnp.where(same, end.status, Status.not_periodic)
        return End(jnp.where(same, wrap_into(self.angles, end.z), jnp.nan), status)

    def step(self, z: V) -> V:
        """Return F(z), with angles in their ranges; NaN where the integration failed."""
        made: Any = self.solve(z).z  # pyright: ignore[reportArgumentType]
        return made

    def step_status(self, z: Point) -> Array:
        """Return how the integration from `z` ended: `reached_end`, or why the image is NaN."""
        return self.solve(z).status

    def within(self, radius: float) -> "StroboscopicMap":
        """Return the map that follows solutions no farther than `radius`."""
        return eqx.tree_at(lambda s: s.solver, self, self.solver.within(radius))

    def singularity(self, z: Vector) -> Scalar:
        """Return that of the flow at the beginning of the period."""
        return self.flow.at(self.t0).singularity(z)

    def describe(self) -> str:
        """Say what the system is."""
        period = self.period
        shown = "traced" if _checks.is_traced(period) else f"{float(period):g}"
        return f"stroboscopic map of {self.flow.describe()}, period {shown}"


def stroboscopic_map(
    flow: AbstractFlow,
    *,
    period: float | None = None,
    t0: float = 0.0,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    escape_radius: float = 1e6,
    max_steps: int = 4096,
) -> StroboscopicMap:
    """Return the map over one period of a flow: whatever takes a map takes it.

    Its fixed points are the solutions of the period T, its cycles those of 2T, 3T, ...

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import jax.numpy as jnp
    >>> import samflow as sf
    >>> flow = sf.Flow(sf.loss("x**2/2 - y**2"), sf.USAM(rho=lambda t: 0.6 + 0.4 * jnp.sin(t)))
    >>> found = sf.classify(sf.stroboscopic_map(flow, period=2 * jnp.pi), [0.0, 0.0])
    >>> print(found.kind)          # −y² attracts USAM where rho > 1/2 on average: it is 0.6
    attracting

    Args:
        flow: a `FunctionFlow` with a period; or any smooth flow with `period`, also one whose
            hyperparameters are functions of the time. Of an autonomous flow this is its time-T map.
        period: T; by default that of the flow.
        t0: the phase at which the flow is seen.
        rtol: relative tolerance of each step of the solver (Dormand and Prince's, of order 8).
        atol: absolute tolerance of each step.
        escape_radius: a solution has diverged when its norm, without angles, exceeds this.
        max_steps: of the solver in a period, after which it gives up.

    Returns:
        A `StroboscopicMap`. Where the integration fails its image is NaN, and `step_status` says
        why: diverged, not finite, step size vanished, solver out of steps, or not periodic where
        the field at the end of the period is not that at its beginning. `iterate` reports these.
        Derivatives are those of the solver's steps, by forward mode; `jax.grad` through it is
        refused by JAX.

    Raises:
        ArgumentError: for a flow that jumps (normalised SAM), one without a period, or one whose
            field does not have it.

    """
    check_system(flow, AbstractFlow, "A map needs none.", name="flow", changing=True)
    check_smooth(flow)
    own = period_of(flow)
    if period is None and (own is None or is_endless(own)):
        raise _checks.ArgumentError(
            f"Argument `period` must be given for {flow.describe()}, which has none of its own."
        )
    given = None if period is None else _checks.positive_array("period", period)
    start = _checks.scalar_array("t0", t0, _checks.REAL, "")
    made = StroboscopicMap(flow, given, start, make_solver(rtol, atol, escape_radius, max_steps))
    _check_period(made)
    return made


def _recurs(flow: AbstractFlow, z: Array, t0: Any, period: Any) -> Array:
    """Say whether the field at `z` is the same after a period, up to rounding."""
    if not flow.schedules:
        return jnp.asarray(True)
    times = t0 + period * jnp.arange(_PHASES + 1) / _PHASES
    fields = jax.vmap(lambda t: flow.at(t).velocity(z))(times)
    # Near a rest the field is small beside its terms: these are seen in its derivative.
    _, radial = jax.jvp(flow.at(t0).velocity, (z,), (z,))
    size = jnp.max(jnp.abs(fields)) + jnp.max(jnp.abs(radial))
    differs = jnp.max(jnp.abs(fields[-1] - fields[0]))
    return ~(differs > _SAME * size)  # what is not finite shows in the solution


def _check_period(system: StroboscopicMap) -> None:
    """Refuse a field that does not have its period, at some fixed points."""
    if any(_checks.is_traced(leaf) for leaf in jax.tree.leaves(system)):
        return
    turns = jax.random.normal(jax.random.key(0), (_TRIED, system.dim))
    phases = system.t0 + system.period * jnp.arange(_TRIED) / _TRIED
    same = _all_recur(system.flow, turns, phases, jnp.asarray(system.period))
    if not bool(jnp.all(same)):
        raise _checks.ArgumentError(
            f"Argument `period` must be a period of {system.flow.describe()}, but after "
            f"{float(system.period):g} its field is another."
        )


@eqx.filter_jit
def _all_recur(flow: AbstractFlow, states: Array, phases: Array, period: Array) -> Array:
    return jax.vmap(lambda z, t: _recurs(flow, z, t, period))(states, phases)
