"""The solution of a flow after a given time, with its derivatives.

Derivatives come from the variational equation, solved together with ż = f(z) under the same control
of the error. Those of the steps that were made for z alone can be wrong: at a fixed point z has no
error, whatever the step. They are of forward mode, and of any order.
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

    def outside(self, lines: Any, z: Array) -> Array:
        """Say whether a state is beyond the escape radius, or is not finite.

        Of it `lines` has 1 for each coordinate that counts and 0 for an angle.
        """
        return ~(jnp.sum((z * lines) ** 2) <= self.escape_radius**2)


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


class Flowing(Protocol):
    """What is solved: a flow, or a field with more coordinates."""

    def at(self, step: Any, /) -> Any:
        """Return the field at a time."""
        ...


class _Scaled(eqx.Module):
    """A field over a duration that counts as 1, so that it is differentiated like any number."""

    flow: Any
    t0: Any
    duration: Any

    @property
    def lines(self) -> Any:
        """Which coordinates count for the escape radius."""
        return on_lines(self.flow)

    def slope(self, s: Any, y: Array) -> Array:
        """Return dy/ds of states (1, n)."""
        velocity = self.flow.at(self.t0 + s * self.duration).velocity(y[0])
        return self.duration * velocity[None]


class _Variation(eqx.Module):
    """A field and its derivative along a change of its numbers and of the state.

    The states are (2 blocks, n): those of the field, then their change.
    """

    field: Any
    change: Any

    @property
    def lines(self) -> Any:
        """Those of the field: no radius bounds a derivative."""
        return self.field.lines

    def slope(self, s: Any, y: Array) -> Array:
        """Return dy/ds."""
        z, dz = jnp.split(y, 2)
        both = eqx.filter_jvp(lambda f, z: f.slope(s, z), (self.field, z), (self.change, dz))
        return jnp.concatenate(both)


class _Carry(NamedTuple):
    s: Array
    h: Array
    y: Array
    steps: Array
    status: Array


def advance(flow: Flowing, z: Array, t0: Any, duration: Any, solver: Solver) -> End:
    """Return φ(t0 + duration; t0, z), with derivatives by forward mode in everything.

    The status is `reached_end`, or `diverged`, `not_finite`, `step_size_vanished` or
    `solver_out_of_steps`.
    """
    y, status = _solve(_Scaled(flow, jnp.asarray(t0, float), duration), z[None], solver)
    return End(y[0], status)


@eqx.filter_custom_jvp
def _solve(field: Any, y: Array, solver: Solver) -> tuple[Array, Array]:
    """Return the states (blocks, n) at s = 1, NaN where that was not reached, and the status."""
    solver = lax.stop_gradient(solver)

    def one(carry: _Carry) -> _Carry:
        left = 1.0 - carry.s
        last = carry.h >= left
        h = jnp.where(last, left, carry.h)
        after, error = runge_kutta.step(field.slope, carry.s, h, carry.y)
        keep, longer = runge_kutta.judge(carry.y, after, error, h, solver.rtol, solver.atol)
        s = jnp.where(keep, jnp.where(last, 1.0, carry.s + h), carry.s)
        y = jnp.where(keep, after, carry.y)
        status = jnp.where(s >= 1.0, Status.reached_end, RUNNING)
        spent = (carry.steps + 1 >= solver.max_steps) & (s < 1.0)
        status = jnp.where(spent, Status.solver_out_of_steps, status)
        vanished = ~keep & (longer < runge_kutta.SMALLEST)
        status = jnp.where(vanished, Status.step_size_vanished, status)
        status = jnp.where(solver.outside(field.lines, y[0]), Status.diverged, status)
        return _Carry(s, longer, y, carry.steps + 1, status)

    slope = field.slope(0.0, y)
    h = runge_kutta.first_step(slope, y, solver.rtol, solver.atol)
    begin = jnp.where(jnp.all(jnp.isfinite(slope)), RUNNING, Status.not_finite)
    begin = jnp.where(solver.outside(field.lines, y[0]), Status.diverged, begin)
    begin = jnp.where(jnp.all(jnp.isfinite(y)), begin, Status.not_finite)
    carry = _Carry(jnp.zeros_like(h), h, y, jnp.asarray(0), begin)
    end = lax.while_loop(lambda carry: carry.status == RUNNING, one, carry)
    return jnp.where(end.status == Status.reached_end, end.y, jnp.nan), end.status


@_solve.def_jvp
def _solve_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    field, y, solver = primals
    change, dy, _ = tangents
    dy = jnp.zeros_like(y) if dy is None else dy
    both, _ = _solve(_Variation(field, change), jnp.concatenate([y, dy]), solver)
    # The solution itself is made again: JAX asks that it does not depend on the change.
    return _solve(field, y, solver), (jnp.split(both, 2)[1], None)
