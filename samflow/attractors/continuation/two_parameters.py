"""Curves of folds and flips in the plane of two parameters, with their codimension-2 points."""

import enum
from collections.abc import Callable
from typing import Annotated, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex, Float

from samflow import _checks
from samflow._status import Status
from samflow.attractors.continuation.curve import Bound, Curve, Point, walk
from samflow.attractors.continuation.equations import CriticalEquations, RestEquations
from samflow.attractors.continuation.events import Root, roots
from samflow.attractors.continuation.records import Bifurcation, Branch, SpecialPoint
from samflow.equilibria import normal_forms
from samflow.equilibria.nearness import bends_sharply
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems import AbstractFlow, AbstractMap
from samflow.systems.base import check_system
from samflow.systems.leaves import Leaf, Selector, find_leaf

_PRECISE = 1e-6
"""A point whose bracket is narrower than this part of the range is located."""
_ZERO = 1e-3
"""A root's value, beside those at the ends of its step."""


class Codimension2(enum.StrEnum):
    """What happens at a special point of a curve of folds or flips.

    At a `cusp` two folds meet; at a `generalised_flip` the flip changes between super- and
    subcritical. A second multiplier meets the critical one at +1 (`resonance_1`) or −1
    (`resonance_2`), or one is at +1 and one at −1 (`fold_flip`). Of a flow a second eigenvalue
    is 0: `bogdanov_takens`.
    """

    cusp = "cusp"
    generalised_flip = "generalised flip"
    resonance_1 = "1:1 resonance"
    resonance_2 = "1:2 resonance"
    fold_flip = "fold–flip"
    bogdanov_takens = "Bogdanov–Takens"


class CurvePoint(NamedTuple):
    """A codimension-2 point on a curve.

    Attributes:
        kind: which.
        parameters: where, both.
        state: the state there.
        error: the largest change of a parameter over the last bracket, relative to its range.
        status: located, or residual too large.

    """

    kind: Codimension2
    parameters: Annotated[tuple[float, float], axes("parameter")]
    state: Annotated[tuple[float, ...], axes("state")]
    error: float
    status: Status

    def __str__(self) -> str:
        """Return one line."""
        first, second = self.parameters
        return f"{self.kind} at ({first:.9g}, {second:.9g})"


class BifurcationCurve(AbstractRecord):
    """A curve of folds or flips in the plane of two parameters.

    Attributes:
        parameters: both at each point, shape (points, 2).
        states: of the fixed point or cycle, shape (points, state).
        spectrum: multipliers or eigenvalues, the critical one first.
        kind: fold or flip.
        special: codimension-2 points, in the order of the curve.
        ends: why the curve ends at its first and its last point.
        names: what the parameters are called.
        period: of the cycles.

    """

    rows: ClassVar[Names] = ("event",)
    printed: ClassVar[Names] = ("event_kind", "event_parameters", "event_error", "event_status")
    parameters: Float[np.ndarray, "points 2"] = eqx.field(metadata=axes("point", "parameter"))
    states: Float[np.ndarray, "points state"] = eqx.field(metadata=axes("point", "state"))
    spectrum: Complex[np.ndarray, "points state"] = eqx.field(metadata=axes("point", "mode"))
    kind: Bifurcation = eqx.field(static=True)
    special: tuple[CurvePoint, ...] = eqx.field(
        static=True, metadata=axes("event", prefix="event_")
    )
    ends: tuple[Status, Status] = eqx.field(
        static=True, metadata=axes("end_of_curve", labels={"end_of_curve": ("first", "last")})
    )
    names: tuple[str, str] = eqx.field(
        static=True, metadata=axes("parameter", rename={"names": "parameter"})
    )
    period: int = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    def __len__(self) -> int:
        return len(self.parameters)

    def __str__(self) -> str:
        """Return the ranges, the ends and the codimension-2 points."""
        lows, highs = self.parameters.min(axis=0), self.parameters.max(axis=0)
        ranges = (
            f"{name} in [{low:.6g}, {high:.6g}]"
            for name, low, high in zip(self.names, lows, highs, strict=True)
        )
        first, last = self.ends
        ends = str(first) if first is last else f"{first}, {last}"
        line = f"curve of {self.kind}s, {len(self)} points, {', '.join(ranges)}; ends: {ends}"
        return "\n".join([line, *(f"  {point}" for point in self.special)])


@_checks.untraced(None)
def continue_bifurcation(
    system: AbstractMap | AbstractFlow,
    branch: Branch,
    at: SpecialPoint,
    second: Selector,
    bounds: tuple[float, float],
    *,
    max_step: float = 0.05,
    num_points: int = 1000,
) -> BifurcationCurve:
    """Follow a fold or a flip in the plane of the branch's parameter and a second one.

    Args:
        system: the system of which `branch` was made, at its own value of the second parameter.
        branch: the branch.
        at: a fold or flip of `branch.special`.
        second: the second parameter, as in `continue_branch`.
        bounds: its lowest and highest value; of the first those of the branch hold.
        max_step: the longest step, where both ranges and the branch's scale are 1.
        num_points: how many points to make at most in each direction.

    Raises:
        ArgumentError: for another kind of bifurcation (a pitchfork of a symmetric system is no
            fold: its equations are singular), the same parameter twice, or bounds that do not
            hold the system's own value.

    """
    _checks.double_precision("`continue_bifurcation`")
    check_system(system)
    _checks.instance("at", at, SpecialPoint, "Take one of `branch.special`.")
    if at.kind not in (Bifurcation.fold, Bifurcation.flip) or not any(at.direction):
        raise _checks.ArgumentError(
            f"Argument `at` must be a fold or a flip of this branch, but is a {at.kind}."
        )
    leaf = find_leaf(system, second, "second")
    if leaf.index == branch.leaf.index:
        raise _checks.ArgumentError(
            f"Argument `second` must be another parameter than the branch's, {branch.name}."
        )
    low, high = _checks.box("bounds", [bounds], 1)[0]
    value = float(leaf.value(system))
    if not low <= value <= high:
        raise _checks.ArgumentError(
            f"Argument `bounds` must hold the system's own {leaf.name}, {value:g}, but is "
            f"({low:g}, {high:g})."
        )
    step = _checks.positive("max_step", max_step)
    number = _checks.count("num_points", num_points, minimum=2)
    unit = np.append(branch.unit, high - low)
    frame = _Frame(branch, at.kind, unit)
    n = len(at.state)
    y = np.array([*at.state, at.parameter, value]) / unit
    rest = RestEquations(system, branch.leaf, branch.period)
    curve = frame.bordered(Curve(rest, unit), leaf, y)
    start = curve.corrected(y, np.eye(n + 2)[-1]) or curve.corrected(y, np.eye(n + 2)[-2])
    if start is None:
        raise _checks.ArgumentError(
            f"The {at.kind} at {branch.name} = {at.parameter:g} could not be refined with "
            f"{leaf.name} = {value:g}: it is degenerate there. Change the system's {leaf.name}."
        )
    span = branch.bounds[1] - branch.bounds[0]
    ranges = [
        Bound(n, branch.bounds[0] / span, branch.bounds[1] / span),
        Bound(n + 1, low / (high - low), high / (high - low)),
    ]
    back, ahead = (
        _walk(curve, start._replace(tangent=sign * start.tangent), ranges, frame, step, number)
        for sign in (-1, 1)
    )
    where = provenance(system.describe(), bounds=(branch.bounds, (low, high)))
    return _record(frame, back, ahead, (branch.name, leaf.name), branch.period, where)


class _Walked(NamedTuple):
    """One direction: its points, why it ends, and the roots met."""

    points: list[Point]
    status: Status
    found: list[Root]


def _walk(
    curve: Curve, start: Point, ranges: list[Bound], frame: "_Frame", step: float, number: int
) -> _Walked:
    side = _Side(curve, frame)
    points, status = walk(
        curve,
        start,
        ranges,
        largest=step,
        num_points=number,
        watch=side.watch,
        refreshed=frame.refreshed,
    )
    return _Walked(points, status, side.found)


def _record(
    frame: "_Frame",
    back: _Walked,
    ahead: _Walked,
    names: tuple[str, str],
    period: int,
    where: Provenance,
) -> BifurcationCurve:
    """Join both directions: the first reversed, the second as it is; a closed curve is both."""
    if ahead.status is Status.closed:
        back = _Walked(ahead.points[:1], ahead.status, [])
    points = [*back.points[:0:-1], *ahead.points]
    made = np.stack([point.y for point in points]) * frame.unit
    return BifurcationCurve(
        parameters=made[:, -2:],
        states=made[:, :-2],
        spectrum=np.stack([frame.spectrum(point) for point in points]),
        kind=frame.kind,
        special=tuple(frame.named(root) for root in [*back.found[::-1], *ahead.found]),
        ends=(back.status, ahead.status),
        names=names,
        period=period,
        provenance=where,
    )


class _Frame:
    """What a fold or flip is tested for along its curve, in units of the unknowns."""

    def __init__(self, branch: Branch, kind: Bifurcation, unit: np.ndarray) -> None:
        self._discrete, self.kind, self.unit = branch.discrete, kind, unit
        self._critical = -1.0 if kind is Bifurcation.flip else float(branch.discrete)

    def jacobian(self, point: Point) -> np.ndarray:
        """Return A."""
        n = len(point.y) - 2
        return point.jacobian[:n, :n] + (np.eye(n) if self._discrete else 0.0)

    def spectrum(self, point: Point) -> np.ndarray:
        """Return multipliers or eigenvalues, the critical one first."""
        values = np.linalg.eigvals(self.jacobian(point)).astype(complex)
        return values[np.argsort(np.abs(values - self._critical), kind="stable")]

    def null(self, jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the unit left and right vectors of the critical eigenvalue."""
        left, _, right = np.linalg.svd(jacobian - self._critical * np.eye(len(jacobian)))
        return left[:, -1], right[-1]

    def bordered(self, curve: Curve, leaf: Leaf, y: np.ndarray) -> Curve:
        """Return the curve of the critical equations, bordered at a fixed point."""
        rest: RestEquations = curve.equations
        given = RestEquations(
            leaf.replaced(rest.system, float(y[-1] * self.unit[-1])), rest.leaf, rest.period
        )
        at_rest = Curve(given, self.unit[:-1])
        found = at_rest.corrected(y[:-1], np.eye(len(y) - 1)[0])
        jacobian = np.eye(len(y) - 2) if found is None else found.jacobian[:, :-1]
        jacobian = jacobian + (np.eye(len(jacobian)) if self._discrete else 0.0)
        left, right = self.null(jacobian)
        scale = self.unit[: len(left)]
        equations = CriticalEquations(
            rest, leaf, self._critical, jnp.asarray(left * scale), jnp.asarray(right / scale)
        )
        return Curve(equations, self.unit)

    def refreshed(self, curve: Curve, point: Point) -> Curve:
        """Return the curve with the border of the latest point."""
        equations: CriticalEquations = curve.equations
        left, right = self.null(self.jacobian(point))
        scale = self.unit[: len(left)]
        made = CriticalEquations(
            equations.rest,
            equations.second,
            self._critical,
            jnp.asarray(left * scale),
            jnp.asarray(right / scale),
        )
        return Curve(made, self.unit)

    def functions(self, curve: Curve, old: Point) -> dict[str, Callable[[Point], float]]:
        """Return the test functions on a step from `old`, whose vectors give the orientation."""
        reference = self.null(self.jacobian(old))

        def coefficient(point: Point) -> float:
            left, right = (
                vector * np.sign(vector @ before)
                for vector, before in zip(self.null(self.jacobian(point)), reference, strict=True)
            )
            return self._coefficient(curve, point, left, right)

        def others(target: float) -> Callable[[Point], float]:
            return lambda point: float(np.real(np.prod(self.spectrum(point)[1:] - target)))

        flip = self.kind is Bifurcation.flip
        made: dict[Codimension2, Callable[[Point], float]] = {
            Codimension2.generalised_flip if flip else Codimension2.cusp: coefficient
        }
        if len(old.y) > 3:
            same = Codimension2.resonance_2 if flip else Codimension2.resonance_1
            made[same if self._discrete else Codimension2.bogdanov_takens] = others(self._critical)
            if self._discrete:
                made[Codimension2.fold_flip] = others(-self._critical)
        return {str(kind): function for kind, function in made.items()}

    def _coefficient(
        self, curve: Curve, point: Point, left: np.ndarray, right: np.ndarray
    ) -> float:
        """Return the coefficient of the normal form, with unit vectors in place of ⟨p, q⟩ = 1.

        So it does not pass through infinity where ⟨p, q⟩ = 0, at a second critical eigenvalue.
        """
        equations: CriticalEquations = curve.equations
        y, scale = point.y * self.unit, self.unit[: len(left)]
        rest = equations.given(y[-1])
        here = rest.at(y[-2])
        if bends_sharply(here, y[:-2], float(scale[: here.dim].max())):
            return np.nan
        forms = normal_forms.Derivatives(rest, y[:-1])
        pair = normal_forms.Eigenpair(self._critical, right * scale, left / scale)
        if self.kind is Bifurcation.fold:
            return normal_forms.quadratic(forms, pair)
        shifted = np.eye(len(left)) - self.jacobian(point) / scale * scale[:, None]
        return normal_forms.cubic(forms, shifted, pair, singular=False)

    def named(self, root: Root) -> CurvePoint:
        """Return the codimension-2 point at a root."""
        y = root.point.y * self.unit
        error = abs(root.bracket[1] - root.bracket[0])
        status = Status.located if error <= _PRECISE else Status.residual_too_large
        place, state = (float(y[-2]), float(y[-1])), tuple(y[:-2].tolist())
        return CurvePoint(Codimension2(root.name), place, state, error, status)


class _Side:
    """The roots met in one direction."""

    def __init__(self, curve: Curve, frame: _Frame) -> None:
        self._curve, self._frame = curve, frame
        self.found: list[Root] = []

    def watch(self, old: Point, new: Point, length: float) -> bool:
        """Look for roots on a step; False has it halved."""
        curve = self._frame.refreshed(self._curve, old)
        functions = self._frame.functions(curve, old)
        found = roots(curve, functions, old, new, length)
        if found is None:
            return False
        for root in found:
            test = functions[root.name]
            largest = max(abs(test(old)), abs(test(new)))
            if abs(test(root.point)) <= _ZERO * largest:  # else it passed through infinity
                self.found.append(root)
        return True
