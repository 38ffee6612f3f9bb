"""Fixed points and cycles along a parameter, with the bifurcations on the way."""

from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.attractors.continuation.curve import Bound, Curve, Point, Walk, walk
from samflow.attractors.continuation.ending import Crossings, Ending
from samflow.attractors.continuation.equations import RestEquations
from samflow.attractors.continuation.events import Root, Tests, explained, merged, roots
from samflow.attractors.continuation.records import Bifurcation, Branch, SpecialPoint
from samflow.attractors.continuation.special import special_point
from samflow.equilibria._units import ascent_length, bending_length, units
from samflow.equilibria.nearness import kind_of
from samflow.orbits._iterate import start_states
from samflow.records import provenance
from samflow.systems import AbstractFlow, AbstractMap, AdaptiveMap
from samflow.systems.base import check_system
from samflow.systems.leaves import Leaf, Selector, find_leaf

_HYPERBOLIC = 1e-9
_UNEXPLAINED = 1e-3
"""Steps in which a change of stability stays unexplained are halved down to this part."""
_SHRUNK = 1e-5
"""Relative: a cycle whose points are so near to one another has shrunk to a shorter one."""
_MEETS = 1e-2
"""So has one that is nearer to it at the root than at both ends of the step by this factor."""
_NEAR = 0.2
"""How far from `w0`, in units of the scale, the first point may be."""
_ROUNDING = 8 * float(np.finfo(float).eps)
_BORDER = 1e-2
"""A branch that stops while this near to a border, beside its start, has met it."""


class Settings(NamedTuple):
    """How a branch is followed, in its own units."""

    bounds: tuple[float, float]
    max_step: float
    num_points: int


@_checks.untraced()
def continue_branch(
    system: AbstractMap | AbstractFlow,
    w0: ArrayLike,
    parameter: Selector,
    bounds: tuple[float, float],
    *,
    period: int = 1,
    max_step: float = 0.05,
    num_points: int = 2000,
    scale: float | None = None,
) -> Branch:
    """Follow fixed points, or cycles of one period, along a parameter, in both directions.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> quartic = sf.Map(sf.loss("x**2/2 - y**2/2 + y**4/4"), sf.USAM(rho=0.5), lr=0.1)
    >>> print(sf.continue_branch(quartic, [0.0, 0.0], "rho", (0.1, 2.0)))
    ... # doctest: +ELLIPSIS
    branch of fixed points, 29 points, rho in [0.1, 2]; ends: reached bound
      subcritical pitchfork at 1 ± ..., coefficient ...

    Args:
        system: the map or flow, at a value of the parameter at which `w0` is near a fixed point.
        w0: weights (velocity 0) or a full state; of a cycle one of its points.
        parameter: a name, as "rho", "lr" or "momentum", or a function of the system that returns
            a leaf, as `lambda s: s.rule.rho`.
        bounds: lowest and highest value of the parameter; the last point lies on one of them.
        period: of the cycles of a map; they are found as fixed points of F^period.
        max_step: the longest step along the branch, where the range of the parameter and `scale`
            are 1.
        num_points: how many points to make at most in each direction.
        scale: a length in weight space that counts as 1. None: how far from `w0` the Jacobian
            changes by half of itself, else the rule's own length, else ‖w0‖, else 1.

    Returns:
        A `Branch`. It is followed to a bound, until it closes, or until the step size vanishes;
        `ends` says which. A cycle also ends where it shrinks to one of a shorter period (a `flip`
        of that one), where that of a return map shrinks to a rest of the flow (`hopf`), or where
        one of its points meets a point at which the system is not smooth (a `border_collision`; a
        return map is not smooth where the cycle grazes the section).

    Not guaranteed: two bifurcations of one kind within a step can cancel each other and be missed,
    and a branch that turns more sharply than the shortest step ends there. Take a smaller
    `max_step` to see whether anything changes.

    Raises:
        ArgumentError: where there is no fixed point or cycle near `w0`, or it is at a branch
            point itself; for bounds that do not hold the system's own value, a parameter that
            the system has not, or single precision.

    """
    _checks.double_precision("`continue_branch`")
    check_system(system)
    leaf = find_leaf(system, parameter)
    period = _checks.count("period", period)
    if isinstance(system, AbstractFlow) and period != 1:
        raise _checks.ArgumentError(
            f"Argument `period` of a flow must be 1, but is {period}: its fixed points are "
            "followed. Follow its cycles as fixed points of `sf.poincare_map`."
        )
    if isinstance(system, AdaptiveMap) and period == 1:
        raise _checks.ArgumentError(
            "Argument `period` must be 2 or more for a map with a base optimiser, which is not "
            "smooth next to where it rests. Use `conditions` for where a critical point loses its "
            "stability, and `find_cycles` for a cycle to follow."
        )
    settings = _settings(system, leaf, bounds, max_step, num_points)
    z0 = start_states(system, w0, "w0")
    if z0.ndim != 1:
        raise _checks.ArgumentError(f"Argument `w0` must be one point, but has shape {z0.shape}.")
    unit = unit_of(system, z0, scale, settings.bounds)
    curve = Curve(RestEquations(system, leaf, period), unit)
    start = first_point(curve, np.asarray(z0), float(leaf.value(system)))
    if start is None:
        raise _checks.ArgumentError(
            f"Argument `w0` must be near a fixed point, or a point of a cycle of period {period}, "
            "but Newton's method found none from it. Use `find_fixed_points` or `find_cycles`; at "
            "a bifurcation begin beside it."
        )
    return follow(curve, start, settings)


def first_point(curve: Curve, state: np.ndarray, value: float) -> Point | None:
    """Return the point of the curve near a state, at a value of the leaf; None if there is none."""
    guess = np.append(state, value) / curve.unit
    start = curve.corrected(guess, np.eye(len(guess))[-1])
    return None if start is None or np.linalg.norm(start.y - guess) > _NEAR else start


def _settings(system: Any, leaf: Leaf, bounds: Any, max_step: float, num_points: int) -> Settings:
    (low, high), value = _checks.box("bounds", [bounds], 1)[0], float(leaf.value(system))
    if not low <= value <= high:
        raise _checks.ArgumentError(
            f"Argument `bounds` must hold the system's own {leaf.name}, {value:g}, but is "
            f"({low:g}, {high:g})."
        )
    step = _checks.positive("max_step", max_step)
    return Settings((low, high), step, _checks.count("num_points", num_points, minimum=2))


def unit_of(
    system: AbstractMap | AbstractFlow,
    z0: Array,
    scale: float | None,
    bounds: tuple[float, float],
) -> np.ndarray:
    """Return the unit of each unknown: a length in weight space, and the range of the leaf."""
    if scale is None:
        lengths = (
            bending_length(system, z0),
            ascent_length(system, system.position(z0)),
            float(np.linalg.norm(z0)),
        )
        scale = next((length for length in lengths if length > 0), 1.0)
    scale = _checks.positive("scale", scale)
    return np.append(scale * units(system), bounds[1] - bounds[0])


def follow(curve: Curve, start: Point, settings: Settings) -> Branch:
    """Return the branch through a point of it, in both directions."""
    ahead = _Side(curve, settings)
    ahead.walk(start)
    behind = _Side(curve, settings)
    if ahead.status is not Status.closed:
        behind.walk(start._replace(tangent=-start.tangent))
    first = behind.status if behind.points else ahead.status
    return _record(curve, settings, behind, ahead, (first, ahead.status))


class _Side:
    """One direction of a branch: its points, and the roots of the test functions between them."""

    def __init__(self, curve: Curve, settings: Settings) -> None:
        self._curve, self._settings = curve, settings
        self.tests = Tests(curve.equations.discrete)
        self.points: list[Point] = []
        self.status = Status.reached_end
        self.roots: list[tuple[int, Root]] = []
        self.borders: list[float] = []
        self.shrunk: Root | None = None
        self.crossings = Crossings(curve)
        self.ending: Ending | None = None
        self._steps = 0

    def walk(self, start: Point) -> None:
        """Follow the branch from `start` along its tangent."""
        (low, high), largest = self._settings.bounds, self._settings.max_step
        span = high - low
        bounds = [Bound(len(start.y) - 1, low / span, high / span)]
        self.borders = [self._singularity(start)]
        self.crossings.add(start)
        found: Walk = walk(
            self._curve,
            start,
            bounds,
            largest=largest,
            num_points=self._settings.num_points,
            watch=self._watch,
            ends=lambda point: self.shrunk is not None or self.ending is not None,
        )
        self.points, self.status = found
        if self.shrunk is not None:
            self.points[-1], self.status = self.shrunk.point, Status.shrunk
        elif self.status is Status.step_size_vanished and self.ending is None:
            self.ending = self.crossings.ending(self.points[-1], stuck=True)
        if self.ending is not None:
            self.status = self.ending.status
        elif self.status is Status.step_size_vanished and self.border() is not None:
            self.status = Status.border

    def border(self) -> float | None:
        """Return the value of the parameter at which a point meets a border, if it does."""
        if len(self.borders) < 3 or not np.isfinite(self.borders).all():
            return None
        before, last = self.borders[-2:]
        if not (last < before and last <= _BORDER * max(self.borders)):
            return None
        p, q = (point.y[-1] for point in self.points[-2:])
        return float((q + (q - p) * last / (before - last)) * self._curve.unit[-1])

    def _watch(self, old: Point, new: Point, length: float) -> bool:
        """Look at a step before it is taken; False has it halved."""
        self.ending = self.crossings.ending(new)
        if self.ending is not None:
            return True
        found = roots(self._curve, self.tests.functions, old, new, length)
        if found and any(self._is_outside(root.point) for root in found):
            return False  # it turns back beyond a bound, on which a shorter step ends
        patient = length > _UNEXPLAINED * self._settings.max_step
        if found is None or not explained(self.tests, old, new, found):
            if patient:
                return False
            if found is None:
                found = roots(self._curve, self.tests.functions, old, new, length, roughly=True)
            found = found or []
        turns = [root for root in found if root.name in ("fold", "branch")]
        self.shrunk = next((root for root in turns if self._shrinks(old, root.point, new)), None)
        if self.shrunk is None:
            self.roots += [(self._steps, root) for root in merged(found)]
        self.borders.append(self._singularity(new))
        self.crossings.add(new)
        self._steps += 1
        return True

    def _is_outside(self, point: Point) -> bool:
        low, high = self._settings.bounds
        rounding = _ROUNDING * max(abs(low), abs(high))
        value = float(point.y[-1] * self._curve.unit[-1])
        return not low - rounding <= value <= high + rounding

    def _shrinks(self, old: Point, root: Point, new: Point) -> bool:
        """Say whether a cycle's points come to coincide with others of it, and part beyond."""
        if self._curve.equations.period == 1:
            return False
        (before, size), (there, _), (after, _) = (self._gap(point) for point in (old, root, new))
        return there <= max(_SHRUNK * size, _MEETS * min(before, after))

    def _gap(self, point: Point) -> tuple[float, float]:
        """Return how far a cycle is from one of a shorter period, and its size, at least 1."""
        equations: RestEquations = self._curve.equations
        cycle = np.asarray(_orbit(equations, point.y * self._curve.unit))
        cycle = cycle / self._curve.unit[:-1]
        gaps = [
            np.abs(cycle - np.roll(cycle, q, axis=0)).max()
            for q in range(1, equations.period)
            if equations.period % q == 0
        ]
        return float(min(gaps)), max(1.0, float(np.abs(cycle).max()))

    def _singularity(self, point: Point) -> float:
        return float(_singularity(self._curve.equations, point.y * self._curve.unit))


@eqx.filter_jit
def _orbit(equations: RestEquations, y: ArrayLike) -> Array:
    return equations.orbit(y)


@eqx.filter_jit
def _singularity(equations: RestEquations, y: ArrayLike) -> Array:
    return equations.singularity(y)


def _record(
    curve: Curve,
    settings: Settings,
    behind: _Side,
    ahead: _Side,
    ends: tuple[Status, Status],
) -> Branch:
    """Join both directions: the first reversed, the second as it is."""
    points = [*behind.points[:0:-1], *ahead.points]
    shift = len(behind.points) - 1 if behind.points else 0
    tests, special = ahead.tests, []
    for side, place in ((behind, lambda i: shift - 1 - i), (ahead, lambda i: shift + i)):
        for index, root in side.roots:
            found = special_point(curve, tests, root, place(index))
            special += [] if found is None else [(found.index, root.share, found)]
        special += [(end.index, 1.0, end) for end in _last(curve, side, place)]
    special.sort(key=lambda item: item[:2])
    y = np.stack([point.y for point in points]) * curve.unit
    for end in (0, -1):
        nearest = min(settings.bounds, key=lambda bound: abs(bound - y[end, -1]))
        if abs(nearest - y[end, -1]) <= _ROUNDING * max(map(abs, settings.bounds)):
            y[end, -1] = nearest  # it was solved there, in a unit of its own
    spectrum = np.stack([tests.spectrum(point) for point in points])
    equations: RestEquations = curve.equations
    where = provenance(
        equations.system.describe(), bounds=settings.bounds, max_step=settings.max_step
    )
    return Branch(
        states=y[:, :-1],
        cycles=np.stack([np.asarray(_orbit(equations, point)) for point in y]),
        parameter=y[:, -1],
        spectrum=spectrum,
        kinds=tuple(kind_of(tests.growth(values), _HYPERBOLIC) for values in spectrum),
        special=tuple(found for _, _, found in special),
        ends=ends,
        leaf=equations.leaf,
        period=equations.period,
        discrete=equations.discrete,
        bounds=settings.bounds,
        unit=curve.unit,
        provenance=where,
    )


def _last(curve: Curve, side: _Side, place: Any) -> list[SpecialPoint]:
    """Return what ends a branch inside its bounds: a flip of a shorter cycle, a Hopf, a border."""
    index = place(len(side.points) - 2)
    if side.shrunk is not None:
        y = side.shrunk.point.y * curve.unit
        ends = sorted(float(end * curve.unit[-1]) for end in side.shrunk.bracket)
        kind, value = Bifurcation.flip, float(y[-1])
    elif side.ending is not None:
        y, kind, value = side.points[-1].y * curve.unit, side.ending.kind, side.ending.parameter
        ends = sorted([side.ending.last, value])
    elif side.status is Status.border:
        y, value = side.points[-1].y * curve.unit, side.border()
        assert value is not None
        ends, kind = sorted([float(y[-1]), value]), Bifurcation.border_collision
    else:
        return []
    spectrum = side.tests.spectrum(side.points[-1])
    error = float(max(ends[1] - ends[0], 4 * np.finfo(float).eps * abs(value)))
    interval = (ends[0], ends[1])
    return [
        SpecialPoint(
            kind,
            value,
            interval,
            error,
            tuple(y[:-1].tolist()),
            tuple(spectrum.tolist()),
            np.nan,
            "",
            Status.located,
            index,
            (0.0,) * len(y),
        )
    ]
