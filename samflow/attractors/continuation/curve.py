"""Pseudo-arclength continuation of R(y) = 0, one equation fewer than unknowns (Keller 1977).

A step goes along the tangent; Newton's method then solves R(y) = 0 in the plane across it. A step
is taken only if the corrector moved little, the tangent turned little and the middle of the step
lies where the cubic through both ends puts it, so that a neighbouring branch is not jumped to.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from samflow._status import Status
from samflow._types import ArrayLike

_NEWTON_STEPS = 10
_SMALL = 1e-13
"""Newton's method stops at a step this small, in units of the unknowns."""
_SOLVED = 1e-9
"""A point counts as on the curve if Newton's last step was no larger."""
_TURN = 0.985
"""The least cosine between the tangents at both ends of a step: 10 degrees."""
_TARGET = 0.998
"""Steps grow while the cosine is larger: 3.6 degrees."""
_CORRECTED = 0.2
"""The corrector moves at most this part of a step."""
_MIDDLE = 0.03
"""And the middle lies at most this part from the cubic's."""
_INFINITE = 1e4
"""A curve is not followed further out than this, in units of its unknowns."""
_GROWTH, _SHRINKAGE = 1.6, 0.5


class Point(NamedTuple):
    """A point of the curve, in units of the unknowns.

    Attributes:
        y: the unknowns.
        tangent: of unit length, in the direction of travel.
        jacobian: DR, one row fewer than columns.

    """

    y: np.ndarray
    tangent: np.ndarray
    jacobian: np.ndarray


class Curve(NamedTuple):
    """The equations, and the units in which their unknowns are of size 1."""

    equations: Any
    unit: np.ndarray

    def corrected(self, guess: np.ndarray, direction: np.ndarray) -> Point | None:
        """Solve R = 0 in the plane through `guess` across `direction`; None if that fails."""
        y, jacobian, last = _newton(self.equations, self.unit, guess, direction)
        if not float(last) <= _SOLVED * (1 + float(np.abs(guess).max())):
            return None
        y, jacobian = np.array(y), np.array(jacobian)
        bordered = np.vstack([jacobian, direction])
        if not np.isfinite(bordered).all():
            return None
        try:
            tangent = np.linalg.solve(bordered, np.eye(len(y))[-1])
        except np.linalg.LinAlgError:  # exactly at a branch point
            return None
        return Point(y, tangent / np.linalg.norm(tangent), jacobian)

    def along(self, point: Point, length: float) -> Point | None:
        """Return the point of the curve above the tangent at `point`, `length` ahead."""
        return self.corrected(point.y + length * point.tangent, point.tangent)

    def step(self, old: Point, length: float) -> Point | None:
        """Return the point a step ahead, or None if it may lie on another branch."""
        new = self.along(old, length)
        if new is None:
            return None
        moved = np.linalg.norm(new.y - old.y - length * old.tangent)
        if not (new.tangent @ old.tangent >= _TURN and moved <= _CORRECTED * length):
            return None
        chord = np.linalg.norm(new.y - old.y)
        middle = 0.5 * (old.y + new.y) + 0.125 * chord * (old.tangent - new.tangent)
        found = self.corrected(middle, old.tangent)
        if found is None or np.linalg.norm(found.y - middle) > _MIDDLE * length:
            return None
        return new


@eqx.filter_jit
def _newton(
    equations: Any, unit: ArrayLike, guess: ArrayLike, direction: ArrayLike
) -> tuple[Array, ...]:
    """Return the solution, the Jacobian there and the size of the last step."""
    rows = unit[: len(unit) - 1]  # of a residual, as good a unit as any

    def scaled(y: Array) -> Array:
        return equations.residual(y * unit) / rows

    def linearised(y: Array) -> tuple[Array, Array]:
        return scaled(y), jax.jacfwd(scaled)(y)

    def improve(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        y, count, _, _ = carry
        value, jacobian = linearised(y)
        right = jnp.append(value, direction @ (y - guess))
        change = jnp.linalg.solve(jnp.vstack([jacobian, direction]), right)
        return y - change, count + 1, jnp.max(jnp.abs(change)), jacobian

    def going(carry: tuple[Array, ...]) -> Array:
        y, count, last, _ = carry
        return (count < _NEWTON_STEPS) & (last > _SMALL * (1 + jnp.max(jnp.abs(y))))

    n = len(guess)
    start = (jnp.asarray(guess), jnp.asarray(0), jnp.asarray(jnp.inf), jnp.zeros((n - 1, n)))
    y, _, last, _ = lax.while_loop(going, improve, start)
    return y, linearised(y)[1], last


class Bound(NamedTuple):
    """The range of one unknown, in its unit."""

    index: int
    low: float
    high: float


class Walk(NamedTuple):
    """Points in their order, and why there are no more."""

    points: list[Point]
    status: Status


def walk(
    curve: Curve,
    start: Point,
    bounds: list[Bound],
    *,
    largest: float,
    num_points: int,
    watch: Callable[[Point, Point, float], bool] = lambda old, new, length: True,
    refreshed: Callable[[Curve, Point], Curve] = lambda curve, point: curve,
    ends: Callable[[Point], bool] = lambda point: False,
) -> Walk:
    """Follow the curve from `start` along its tangent until it leaves the bounds or closes.

    Args:
        curve: the equations.
        start: the first point.
        bounds: ranges; the last point lies on the bound that is met first.
        largest: length of the longest step, times the size of the unknowns where that is over 1;
            the first is a tenth of it.
        num_points: how many points to make at most.
        watch: is shown each step before it is taken; False has it halved.
        refreshed: returns the equations after a step.
        ends: says that the curve is not to be followed further than a point.

    """
    points, length, shortest = [start], 0.1 * largest, 1e-7 * largest
    while len(points) < num_points:
        old = points[-1]
        reach = float(np.abs(old.y).max())
        if reach > _INFINITE:
            return Walk(points, Status.unbounded)
        new = curve.step(old, length)
        left = None if new is None else _left(old, new, bounds)
        if left is not None:
            new = _on_bound(curve, old, left)
            if new is not None and _left(old, new, bounds) is not None:
                new = None  # beyond another bound: a shorter step tells which is met first
            if new is None and length > shortest:
                length *= _SHRINKAGE
                continue
        if new is None or not watch(old, new, length):
            length *= _SHRINKAGE
            if length < shortest:
                return Walk(points, Status.step_size_vanished)
            continue
        points.append(new)
        if left is not None:
            return Walk(points, Status.reached_bound)
        if ends(new):
            return Walk(points, Status.reached_end)
        if len(points) > 3 and _closes(start, old, new):
            return Walk([*points[:-1], start], Status.closed)
        curve = refreshed(curve, new)
        if new.tangent @ old.tangent >= _TARGET:
            length = min(largest * max(1.0, reach), _GROWTH * length)
    return Walk(points, Status.out_of_steps)


def _left(old: Point, new: Point, bounds: list[Bound]) -> tuple[int, float] | None:
    """Return which unknown is the first to leave its range in a step, and the end that it passes.

    None where all stay.
    """
    passed = [
        (index, low if new.y[index] < low else high)
        for index, low, high in bounds
        if not low <= new.y[index] <= high
    ]
    share = lambda end: (end[1] - old.y[end[0]]) / (new.y[end[0]] - old.y[end[0]])  # noqa: E731
    return min(passed, key=share, default=None)


def _on_bound(curve: Curve, old: Point, left: tuple[int, float]) -> Point | None:
    """Return the point at which an unknown has a given value, ahead of `old`."""
    index, value = left
    across = np.eye(len(old.y))[index]
    if abs(old.tangent[index]) < 1e-12:
        return None
    ahead = (value - old.y[index]) / old.tangent[index]
    guess = old.y + ahead * old.tangent
    guess[index] = value
    found = curve.corrected(guess, across)
    if found is None:
        return None
    found.y[index] = value  # which rounding may have moved
    tangent = found.tangent * np.sign(found.tangent @ old.tangent)
    return found._replace(tangent=tangent) if tangent @ old.tangent >= _TURN else None


def _closes(start: Point, old: Point, new: Point) -> bool:
    """Say whether a step passes the start in the direction in which the curve began."""
    chord = new.y - old.y
    share = float((start.y - old.y) @ chord / (chord @ chord))
    gap = np.linalg.norm(start.y - old.y - share * chord)
    near = gap <= 0.1 * np.linalg.norm(chord)
    return bool(0 < share <= 1 and near and start.tangent @ chord > 0)
