"""The solution of a flow after a given time, with its derivatives.

Derivatives are those of the solver's own steps, by forward mode and to any order: the steps that
solve ż = f(z) are made for the variational equation too.
"""

from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from samflow import _checks
from samflow._status import Status
from samflow._types import Scalar
from samflow.orbits._integrate import jumps_somewhere
from samflow.orbits.returns import runge_kutta
from samflow.systems.angles import on_lines
from samflow.systems.base import AbstractFlow

RUNNING = -1


class Solver(eqx.Module):
    """How accurately a flow is solved.

    Attributes:
        rtol: relative tolerance of each step of Dormand and Prince's 8/7 method.
        atol: absolute tolerance of each step.
        escape_radius: a solution has diverged when its norm, without angles, exceeds this.
        max_steps: after which the solver gives up.

    """

    rtol: Scalar
    atol: Scalar
    escape_radius: Scalar
    max_steps: Scalar

    def within(self, radius: float) -> "Solver":
        """Return the solver that follows solutions no farther than `radius`."""
        nearer = jnp.minimum(self.escape_radius, radius)
        return eqx.tree_at(lambda s: s.escape_radius, self, nearer)

    def outside(self, flow: Any, z: Array) -> Array:
        """Say whether a state is beyond the escape radius, or is not finite."""
        return ~(jnp.sum((z * on_lines(flow)) ** 2) <= self.escape_radius**2)


def make_solver(rtol: Any, atol: Any, escape_radius: Any, max_steps: Any) -> Solver:
    """Check the settings of a solver."""
    return Solver(
        _checks.positive_array("rtol", rtol),
        _checks.positive_array("atol", atol),
        _checks.positive_array("escape_radius", escape_radius),
        jnp.asarray(_checks.count("max_steps", max_steps)),
    )


def check_smooth(flow: AbstractFlow) -> None:
    """Refuse a flow that jumps, of which no map with derivatives is made."""
    if jumps_somewhere(flow):
        raise _checks.ArgumentError(
            f"Argument `flow` must be smooth, but {flow.describe()} jumps at critical points. Use "
            "`integrate`, which follows it across them, or a rule with eps in its denominator."
        )


class End(NamedTuple):
    """Where a solution is after the time, and why; NaN unless the status is `reached_end`."""

    z: Array
    status: Array


class _Carry(NamedTuple):
    s: Array
    h: Array
    z: Array
    steps: Array
    status: Array


class Field(Protocol):
    """What is solved: a flow, or a field with more coordinates."""

    def at(self, step: Any, /) -> Any:
        """Return the field at a time."""
        ...


def advance(flow: Field, z: Array, t0: Any, duration: Any, solver: Solver) -> End:
    """Return φ(t0 + duration; t0, z), with derivatives by forward mode in everything.

    The status is `reached_end`, or `diverged`, `not_finite`, `step_size_vanished` or
    `solver_out_of_steps`.
    """

    # Time is counted in durations, so that the duration can be differentiated like any number.
    def field(s: Any, y: Array) -> Array:
        return duration * flow.at(t0 + s * duration).velocity(y)

    def one(carry: _Carry) -> _Carry:
        left = 1.0 - carry.s
        last = carry.h >= left
        h = jnp.where(last, left, carry.h)
        after, error = runge_kutta.step(field, carry.s, h, carry.z)
        keep, longer = runge_kutta.judge(carry.z, after, error, h, solver.rtol, solver.atol)
        s = jnp.where(keep, jnp.where(last, 1.0, carry.s + h), carry.s)
        z = jnp.where(keep, after, carry.z)
        status = jnp.where(s >= 1.0, Status.reached_end, RUNNING)
        spent = (carry.steps + 1 >= solver.max_steps) & (s < 1.0)
        status = jnp.where(spent, Status.solver_out_of_steps, status)
        vanished = ~keep & (longer < runge_kutta.SMALLEST)
        status = jnp.where(vanished, Status.step_size_vanished, status)
        status = jnp.where(solver.outside(flow, z), Status.diverged, status)
        return _Carry(s, longer, z, carry.steps + 1, status)

    slope = field(0.0, z)
    h = runge_kutta.first_step(slope, z, solver.rtol, solver.atol)
    begin = jnp.where(jnp.all(jnp.isfinite(slope)), RUNNING, Status.not_finite)
    begin = jnp.where(solver.outside(flow, z), Status.diverged, begin)
    begin = jnp.where(jnp.all(jnp.isfinite(z)), begin, Status.not_finite)
    carry = _Carry(jnp.zeros_like(h), h, z, jnp.asarray(0), begin)
    end = lax.while_loop(lambda carry: carry.status == RUNNING, one, carry)
    return End(jnp.where(end.status == Status.reached_end, end.z, jnp.nan), end.status)
