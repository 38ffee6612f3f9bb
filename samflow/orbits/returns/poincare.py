"""The return map of a section, and the crossings of orbits through it."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike, Point, Scalar, V, Vector
from samflow.orbits._iterate import start_states
from samflow.orbits.returns.crossing import Crossing, Section, check_section, next_crossing
from samflow.orbits.returns.solver import Solver, check_smooth, make_solver
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems.angles import Angles, angles_of, wrap_into
from samflow.systems.base import AbstractFlow, AbstractMap, AbstractWeightSystem, check_system


class PoincareMap(AbstractWeightSystem, AbstractMap):
    """The map of a section into itself: from a point along the flow to where it next crosses.

    Its states are coordinates u on the section, z = p + B u. Where the normal is an axis, u are the
    other coordinates of z − p in their order; in general B is orthonormal.

    Attributes:
        flow: the flow.
        section: the plane.
        basis: B, shape (dim of the flow, dim).
        max_time: how long to wait for a return.
        solver: tolerances.
        spacing: of parallel planes, where the section lies across an angle.
        angles: which of the coordinates u are angles.

    """

    flow: AbstractFlow
    section: Section
    basis: Float[Array, "whole dim"]
    max_time: Scalar
    solver: Solver
    spacing: float = eqx.field(static=True)
    angles: Angles | None = eqx.field(static=True)

    @property
    def dim(self) -> int:
        """One less than that of the flow."""
        return self.flow.dim - 1

    @property
    def elementwise(self) -> bool:
        """Never: states are arrays."""
        return False

    def embed(self, u: Array) -> Array:
        """Return the state z = p + B u of the flow, of coordinates (dim,) or (N, dim)."""
        return self.section.point + u @ self.basis.T

    def project(self, z: Array) -> Array:
        """Return the coordinates u = Bᵀ(z − p) of a state, or of states (N, dim of the flow)."""
        return wrap_into(self.angles, (z - self.section.point) @ self.basis)

    def solve(self, u: Point) -> Crossing:
        """Return the state at the next crossing, the time until then, and how that ended."""
        z = self.embed(u)
        return next_crossing(self.flow, self.section, z, self.max_time, self.solver, self.spacing)

    def return_time(self, u: Point) -> Array:
        """Return the time until the next crossing; NaN if there is none."""
        return self.solve(u).time

    def step(self, z: V) -> V:
        """Return the coordinates of the next crossing; NaN if there is none."""
        u: Any = z
        made: Any = self.project(self.solve(u).z)
        return made

    def step_status(self, z: Point) -> Array:
        """Return `reached_end`, or why there is no image: `no_return`, or of the integration."""
        return self.solve(z).status

    def within(self, radius: float) -> "PoincareMap":
        """Return the map that follows solutions no farther than `radius` from the section."""
        far = radius + float(np.linalg.norm(np.asarray(self.section.point)))
        return eqx.tree_at(lambda s: s.solver, self, self.solver.within(far))

    def singularity(self, z: Vector) -> Scalar:
        """Return that of the flow."""
        u: Any = z
        return self.flow.singularity(self.embed(u))

    def describe(self) -> str:
        """Say what the system is."""
        return f"Poincaré map of {self.flow.describe()}, section {self.section}"


def poincare_map(
    flow: AbstractFlow,
    section: Section,
    *,
    max_time: float,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    escape_radius: float = 1e6,
    max_steps: int = 10_000,
) -> PoincareMap:
    """Return the map from a section to itself along a flow: whatever takes a map takes it.

    Its fixed points are cycles of the flow that cross the section once, and their multipliers the
    Floquet multipliers without the trivial one.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> oscillator = sf.FunctionFlow(lambda z: (z[1], (1 - z[0] ** 2) * z[1] - z[0]), dim=2)
    >>> upwards = sf.Section(normal=[0.0, 1.0], point=[0.0, 0.0])      # y = 0, crossed upwards
    >>> returns = poincare_map(oscillator, upwards, max_time=100.0)
    >>> print(sf.classify(returns, [-2.00861986]))                     # van der Pol's cycle
    attracting, multipliers 0.000859695, margin 0.99914

    Args:
        flow: a smooth autonomous flow.
        section: the plane, and in which direction it is crossed.
        max_time: how long to wait for a return.
        rtol: relative tolerance of each step of the solver (Dormand and Prince's, of order 8).
        atol: absolute tolerance of each step.
        escape_radius: a solution has diverged when its norm, without angles, exceeds this.
        max_steps: of the solver before a return, after which it gives up.

    Returns:
        A `PoincareMap`. Where an orbit does not come back, the image is NaN and `step_status` says
        why: no return in `max_time`, diverged, not finite, step size vanished, or solver out of
        steps. `iterate` reports these. Not guaranteed: a plane that is crossed twice within a step
        of the solver, as where an orbit touches it, is taken not to be crossed.

    Raises:
        ArgumentError: for a field that depends on the time, a flow that jumps or has one dimension,
            or a section of another space.

    """
    spacing = _check(flow, section)
    _checks.double_precision("`poincare_map`")
    if flow.dim < 2:
        raise _checks.ArgumentError(
            f"Argument `flow` must have two dimensions or more, but has {flow.dim}."
        )
    basis = _basis(np.asarray(section.normal))
    angles = angles_of(flow)
    on_section = None
    if angles is not None:
        kept = [int(np.argmax(np.abs(column))) for column in basis.T]
        point = np.asarray(section.point)
        moved = [
            None if (one := angles[i]) is None else (one[0] - point[i], one[1] - point[i])
            for i in kept
        ]
        on_section = tuple(moved) if any(moved) else None
    wait = _checks.positive_array("max_time", max_time)
    solver = make_solver(rtol, atol, escape_radius, max_steps)
    return PoincareMap(flow, section, jnp.asarray(basis), wait, solver, spacing, on_section)


def _check(flow: Any, section: Any) -> float:
    check_system(flow, AbstractFlow, "A map needs none.", name="flow")
    check_smooth(flow)
    return check_section(flow, section)


def _basis(normal: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the plane: axes where these lie in it."""
    n = len(normal)
    across = np.flatnonzero(normal)
    columns = [np.eye(n)[i] for i in range(n) if i not in across]
    if len(across) > 1:
        part = normal[across] / np.linalg.norm(normal)
        rest = np.linalg.svd(part[None])[2][1:]
        for row in rest:
            column = np.zeros(n)
            column[across] = row
            columns.append(column)
    return np.array(columns).T


class Crossings(AbstractRecord):
    """Where orbits cross a section; for an ensemble every array has an axis of members.

    Attributes:
        points: the states at the crossings, shape (crossings, state); NaN after the last.
        times: at which they are met.
        status: one per orbit: `reached_end` if all crossings were found; `no_return`, diverged, not
            finite, step size vanished or solver out of steps if there were no more.
        number: how many there are.

    """

    rows: ClassVar[Names] = ("crossing",)
    points: Float[Array, "*batch crossings state"] = eqx.field(metadata=axes("crossing", "state"))
    times: Float[Array, "*batch crossings"] = eqx.field(metadata=axes("crossing", units="time"))
    status: Int[Array, "*batch"] = eqx.field(metadata=axes(words=Status))
    number: Int[Array, "*batch"] = eqx.field(metadata=axes())
    provenance: Provenance = eqx.field(static=True)


def poincare_section(
    flow: AbstractFlow,
    w0: ArrayLike,
    section: Section,
    *,
    num_crossings: int,
    max_time: float,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    escape_radius: float = 1e6,
    max_steps: int = 10_000,
) -> Crossings:
    """Follow orbits and return where they cross a section.

    Args:
        flow: a smooth autonomous flow.
        w0: start (dim,) or starts (N, dim), on the section or not. A start on it is no crossing.
        section: the plane, and in which direction it is crossed.
        num_crossings: how many to look for.
        max_time: how long to wait for each.
        rtol: relative tolerance of each step of the solver (Dormand and Prince's, of order 8).
        atol: absolute tolerance of each step.
        escape_radius: a solution has diverged when its norm, without angles, exceeds this.
        max_steps: of the solver between two crossings, after which it gives up.

    Returns:
        `Crossings`; nothing is raised for an orbit that does not come back. Angles are in their
        ranges.

    Raises:
        ArgumentError: as `poincare_map`, and for a wrong shape or a start that is not finite.

    """
    spacing = _check(flow, section)
    number = _checks.count("num_crossings", num_crossings)
    wait = _checks.positive_array("max_time", max_time)
    solver = make_solver(rtol, atol, escape_radius, max_steps)
    z0 = start_states(flow, w0)
    made = _follow(flow, section, jnp.atleast_2d(z0), wait, solver, spacing, number)
    points, times, status = (a[0] if z0.ndim == 1 else a for a in made)
    longest = "traced" if _checks.is_traced(max_time) else float(max_time)
    where = provenance(flow.describe(), num_crossings=number, max_time=longest)
    found = jnp.sum(jnp.isfinite(times), axis=-1)
    return Crossings(points, times, status, found, where)


@eqx.filter_jit
def _follow(
    flow: AbstractFlow,
    section: Section,
    starts: Array,
    max_time: Array,
    solver: Solver,
    spacing: float,
    number: int,
) -> tuple[Array, Array, Array]:
    def one(start: Array) -> tuple[Array, Array, Array]:
        def cross(carry: tuple[Array, ...], _: None) -> tuple[tuple[Array, ...], Any]:
            z, time, status = carry
            found = next_crossing(flow, section, z, max_time, solver, spacing)
            going = status == Status.reached_end
            status = jnp.where(going, found.status, status)
            z = wrap_into(angles_of(flow), found.z)
            time = time + found.time
            return (z, time, status), (z, time)

        begin = (start, jnp.zeros(()), jnp.asarray(int(Status.reached_end)))
        (_, _, status), (points, times) = lax.scan(cross, begin, length=number)
        return points, times, status

    return jax.vmap(one)(starts)
