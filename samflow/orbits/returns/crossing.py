"""Where a solution of a flow next crosses a hyperplane, with derivatives.

The step of the solver in which the side changes is found first; in it the crossing is bracketed by
bisection, and then solved for by Newton's method. The derivative is that of the solution, projected
along the flow onto the plane: from n·(φ(τ, z) − p) = 0 follows dτ = −n·dφ / n·f.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from samflow import _checks
from samflow._status import Status
from samflow._types import Point
from samflow.orbits.returns import runge_kutta
from samflow.orbits.returns.solver import RUNNING, Solver, advance
from samflow.systems.angles import angles_of, on_lines
from samflow.systems.base import AbstractFlow

_ON = 1e-9
"""A start this near to the plane, relative to itself, lies on it."""
_BRACKET = 1e-5
"""How far the bisection goes, in units of the step; Newton's method squares what is left."""
_NEWTON = 4
FAR = 1e200
"""The distance of the next plane where there is one only."""


class Section(eqx.Module):
    """The hyperplane n·(z − p) = 0 in a state space, crossed in one direction or both.

    Across an angle it is one plane for all its turns.

    Attributes:
        normal: n; its length does not matter.
        point: p.
        direction: 1 for crossings along n, −1 against it, 0 for both.

    Raises:
        ArgumentError: for vectors of different lengths, n = 0, or another direction.

    """

    normal: Float[Array, " dim"] = eqx.field(converter=lambda v: jnp.asarray(v, float))
    point: Float[Array, " dim"] = eqx.field(converter=lambda v: jnp.asarray(v, float))
    direction: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        if self.direction not in (-1, 0, 1):
            raise _checks.ArgumentError(
                f"Argument `direction` must be 1, -1 or 0, but is {self.direction!r}."
            )
        if self.normal.ndim != 1 or self.normal.shape != self.point.shape:
            raise _checks.ArgumentError(
                "Arguments `normal` and `point` must be vectors of one length, but have shapes "
                f"{self.normal.shape} and {self.point.shape}."
            )
        if not _checks.is_traced(self.normal):
            normal = np.asarray(self.normal)
            if not (np.isfinite(normal).all() and normal.any()):
                raise _checks.ArgumentError(
                    f"Argument `normal` must be finite and not 0, but is {normal}."
                )

    def height(self, z: Array) -> Array:
        """Return n·(z − p), with n of length 1."""
        return self.normal @ (z - self.point) / jnp.linalg.norm(self.normal)

    def rise(self, velocity: Array) -> Array:
        """Return how fast the height grows along a velocity."""
        return self.normal @ velocity / jnp.linalg.norm(self.normal)

    def __str__(self) -> str:
        """Return the plane and the direction, as `(0, 1)·(z − (0, 0)) = 0 along (0, 1)`."""
        n, p = _shown(self.normal), _shown(self.point)
        way = {1: f"along {n}", -1: f"against {n}", 0: "in both directions"}[self.direction]
        return f"{n}·(z − {p}) = 0 {way}"


def _shown(vector: Array) -> str:
    if _checks.is_traced(vector) or vector.ndim != 1:
        return "traced"
    return f"({', '.join(f'{x:g}' for x in np.asarray(vector).tolist())})"


def check_section(flow: AbstractFlow, section: Any) -> float:
    """Return the distance of the next plane: the length of the angle that a section lies across.

    Raises:
        ArgumentError: for what is no section of the flow's states, or lies across an angle and
            something else.

    """
    _checks.instance("section", section, Section, "Use `sf.Section(normal, point)`.")
    if section.normal.shape != (flow.dim,):
        raise _checks.ArgumentError(
            f"Argument `section` must be in {flow.dim} dimensions, but has a normal of shape "
            f"{section.normal.shape}."
        )
    angles = angles_of(flow)
    across = np.flatnonzero(np.asarray(section.normal))
    turned = [one for i in across if angles and (one := angles[i]) is not None]
    if turned and len(across) > 1:
        raise _checks.ArgumentError(
            "Argument `section` must lie across one angle or across none, but its normal has an "
            "angle and another coordinate."
        )
    return turned[0][1] - turned[0][0] if turned else FAR


class Crossing(NamedTuple):
    """A crossing: the state and the time after which it is met; NaN unless it was `reached_end`."""

    z: Array
    time: Array
    status: Array


class _Carry(NamedTuple):
    s: Array
    h: Array
    z: Array
    after: Array
    side: Array
    steps: Array
    status: Array


def next_crossing(
    flow: AbstractFlow,
    section: Section,
    z: Point,
    max_time: Any,
    solver: Solver,
    spacing: float,
) -> Crossing:
    """Return where the solution from `z` next crosses the section.

    Args:
        flow: an autonomous flow.
        section: the plane.
        z: the start. If it lies on the plane, that is no crossing.
        max_time: how long to wait.
        solver: tolerances.
        spacing: of parallel planes, from `check_section`.

    Returns:
        A `Crossing`; its status is `reached_end`, or `no_return`, or what stopped the solver.

    """
    span = jnp.asarray(max_time, float)
    flow_, section_, z_, span_, solver_ = _fixed((flow, section, z, span, solver))
    side, begins = _locate(flow_, section_, z_, span_, solver_, spacing)
    found = begins.status == Status.reached_end
    time = _bracket(flow_, section_, begins, span_, side * spacing)
    time = lax.stop_gradient(jnp.where(found, time, 0.0))
    near = advance(flow, z, 0.0, time, solver)
    made, late = _settle(flow, section, near.z, side * spacing)
    status = jnp.where(found, near.status, begins.status)
    broken = (status == Status.reached_end) & ~jnp.all(jnp.isfinite(made))
    status = jnp.where(broken, Status.not_finite, status)
    well = status == Status.reached_end
    return Crossing(jnp.where(well, made, jnp.nan), jnp.where(well, time + late, jnp.nan), status)


def _fixed(tree: Any) -> Any:
    """Return the same without derivatives."""
    stop = lambda leaf: lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf  # noqa: E731
    return jax.tree.map(stop, tree)


def _scaled(flow: AbstractFlow, span: Array) -> Callable[[Any, Array], Array]:
    return lambda s, y: span * flow.velocity(y[0])[None]


def _locate(
    flow: AbstractFlow, section: Section, z: Array, span: Array, solver: Solver, spacing: float
) -> tuple[Array, _Carry]:
    """Return which plane is crossed, and the step before that; `reached_end` if one is."""
    field, lines, direction = _scaled(flow, span), on_lines(flow), section.direction

    def floor(z: Array) -> Array:
        return jnp.floor(section.height(z) / spacing)

    def crosses(new: Array, side: Array) -> Array:
        up, down = new > side, new < side
        return (up & (direction >= 0)) | (down & (direction <= 0))

    def one(carry: _Carry) -> _Carry:
        h = jnp.minimum(carry.h, 1.0 - carry.s)
        made, error = runge_kutta.step(field, carry.s, h, carry.z[None])
        before = carry.z[None]
        keep, longer = runge_kutta.judge(before, made, error, h, solver.rtol, solver.atol)
        after, new = made[0], floor(made[0])
        met = keep & crosses(new, carry.side)
        goes = keep & ~met
        s = jnp.where(goes, carry.s + h, carry.s)
        status = jnp.where(goes & (carry.s + h >= 1.0), Status.no_return, RUNNING)
        spent = carry.steps + 1 >= solver.max_steps
        status = jnp.where(spent & (status == RUNNING), Status.solver_out_of_steps, status)
        vanished = ~keep & (longer < runge_kutta.SMALLEST)
        status = jnp.where(vanished, Status.step_size_vanished, status)
        status = jnp.where(keep & solver.outside(lines, after), Status.diverged, status)
        status = jnp.where(met, Status.reached_end, status)
        return _Carry(
            s,
            jnp.where(met, h, longer),
            jnp.where(goes, after, carry.z),
            jnp.where(met, after, carry.after),
            jnp.where(goes, new, carry.side),
            carry.steps + 1,
            status,
        )

    slope = field(0.0, z[None])
    level = section.height(z) / spacing
    near = jnp.round(level)
    size = jnp.max(jnp.abs(z - section.point)) + jnp.max(jnp.abs(z))
    on = jnp.abs(level - near) * spacing <= _ON * size
    rises = section.rise(slope[0]) >= 0
    side = jnp.where(on, jnp.where(rises, near, near - 1), jnp.floor(level))
    h = runge_kutta.first_step(slope, z[None], solver.rtol, solver.atol)
    begin = jnp.where(jnp.all(jnp.isfinite(slope)), RUNNING, Status.not_finite)
    begin = jnp.where(solver.outside(lines, z), Status.diverged, begin)
    begin = jnp.where(jnp.all(jnp.isfinite(z)), begin, Status.not_finite)
    carry = _Carry(jnp.zeros_like(h), h, z, z, side, jnp.asarray(0), begin)
    end = lax.while_loop(lambda carry: carry.status == RUNNING, one, carry)
    upwards = floor(end.after) > end.side
    return jnp.where(upwards, end.side + 1, end.side), end


def _bracket(
    flow: AbstractFlow, section: Section, begins: _Carry, span: Array, plane: Array
) -> Array:
    """Return the time of the crossing up to a small part of the step in which it lies."""
    import optimistix as optx  # slow to import, and needed for sections only

    field = _scaled(flow, span)

    def above(share: Array, _: None = None) -> Array:
        made = runge_kutta.step(field, begins.s, share * begins.h, begins.z[None])[0]
        return rises * (section.height(made[0]) - plane)

    rises = jnp.sign(section.height(begins.after) - section.height(begins.z))
    ends = above(jnp.zeros(())), above(jnp.ones(()))
    guess = jnp.clip(ends[0] / (ends[0] - ends[1]), 0.0, 1.0)
    found = optx.root_find(
        above,
        # Given which way it rises, it asks for no change of sign where nothing is crossed.
        optx.Bisection(rtol=_BRACKET, atol=_BRACKET, flip=False),
        jnp.where(jnp.isfinite(guess), guess, 0.5),
        options={"lower": jnp.zeros(()), "upper": jnp.ones(())},
        max_steps=64,
        throw=False,
    ).value
    return span * (begins.s + found * begins.h)


def _settle(flow: AbstractFlow, section: Section, z: Array, plane: Array) -> tuple[Array, Array]:
    """Return the state on the plane, and after which time, from a state beside it.

    By a step of the solver of just that time. Each iteration of Newton's method also doubles the
    number of derivatives that are right.
    """
    field, made = _scaled(flow, jnp.ones(())), z
    late = jnp.zeros(())
    for _ in range(_NEWTON):
        late = late - (section.height(made) - plane) / section.rise(flow.velocity(made))
        made = runge_kutta.step(field, 0.0, late, z[None])[0][0]
    return made, late
