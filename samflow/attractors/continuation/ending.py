"""How a branch of a return map's cycles ends: they shrink to a rest, or touch the section.

Both show in the speed n·f at which the cycle crosses the section, which goes to 0. Beyond there is
no return that continues the branch, and what rounding makes of it looks like a fold.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from samflow._status import Status
from samflow._types import ArrayLike
from samflow.attractors.continuation.curve import Curve, Point
from samflow.attractors.continuation.equations import RestEquations
from samflow.attractors.continuation.records import Bifurcation
from samflow.orbits import PoincareMap

_GRAZES = 2e-3
"""A branch ends where the speed across the section is this part of its largest on the branch."""
_STUCK = 5e-2
"""Likewise where no step leads on: the solver overlooks crossings that are near to each other."""
_APART = 1.5
"""The end is extrapolated from a point at which the speed is larger by this factor."""
_SHRUNK = 2e-2
"""The cycle has shrunk if its length, speed times period, is this part of that at its start."""


class Ending(NamedTuple):
    """How and where a branch ends.

    Attributes:
        kind: Hopf where the cycle shrinks to a rest, border collision where it grazes the section.
        status: of the end: `shrunk_to_rest` or `border`.
        parameter: where: the square of the speed across the section is linear in it to first order.
        last: the parameter at the last point.

    """

    kind: Bifurcation
    status: Status
    parameter: float
    last: float


class Crossings:
    """The speeds at which the cycles of one side of a branch cross the section."""

    def __init__(self, curve: Curve) -> None:
        """Watch the branch if it is one of a return map's cycles."""
        self._curve = curve
        self._watches = isinstance(curve.equations.system, PoincareMap)
        self._points: list[Point] = []
        self._speeds: list[float] = []

    def add(self, point: Point) -> None:
        """Take a point of the branch."""
        if self._watches:
            self._points.append(point)
            self._speeds.append(self._speed(point))

    def ending(self, point: Point, *, stuck: bool = False) -> Ending | None:
        """Return how the branch ends at a point ahead of the others; None if it does not.

        Args:
            point: a point of the branch.
            stuck: whether no step leads on from it.

        """
        if not self._watches:
            return None
        speed, most = self._speed(point), max(self._speeds)
        if not speed <= (_STUCK if stuck else _GRAZES) * most:
            return None
        unit, equations = self._curve.unit, self._curve.equations
        faster = [i for i, each in enumerate(self._speeds) if each >= _APART * speed]
        before = self._points[faster[-1]].y * unit
        first, last = self._points[0].y * unit, point.y * unit
        ratio = speed**2 / (self._speeds[faster[-1]] ** 2 - speed**2)
        value = float(last[-1] + ratio * (last[-1] - before[-1]))
        lengths = [float(_length(equations, y)) for y in (first, last)]
        rests = lengths[1] <= _SHRUNK * lengths[0]
        kind = Bifurcation.hopf if rests else Bifurcation.border_collision
        status = Status.shrunk_to_rest if rests else Status.border
        return Ending(kind, status, value, float(last[-1]))

    def _speed(self, point: Point) -> float:
        return float(_across(self._curve.equations, point.y * self._curve.unit))


@eqx.filter_jit
def _across(equations: RestEquations, y: ArrayLike) -> Array:
    """Return the least speed across the section along the cycle."""
    system: Any = equations.at(y[len(y) - 1])
    points = y[None, : len(y) - 1] if equations.period == 1 else equations.orbit(y)
    speeds = jax.vmap(lambda z: system.section.rise(system.flow.velocity(z)))(system.embed(points))
    return jnp.min(jnp.abs(speeds))


@eqx.filter_jit
def _length(equations: RestEquations, y: ArrayLike) -> Array:
    """Return about how long the cycle is: its speed at the section times its return time."""
    system: Any = equations.at(y[len(y) - 1])
    u = y[: len(y) - 1]
    return jnp.linalg.norm(system.flow.velocity(system.embed(u))) * system.return_time(u)
