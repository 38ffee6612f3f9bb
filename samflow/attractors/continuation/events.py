"""Where a branch bifurcates: test functions that change sign, and the roots between two points.

========================  =================================================================
fold                      the tangent's part along the parameter
branch point              det [DR; tangent]
flip                      det(A + I)
Neimark–Sacker, Hopf      Π (μᵢμⱼ − 1) over pairs, of a flow Π (λᵢ + λⱼ); real pairs are none
========================  =================================================================
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from samflow.attractors.continuation.curve import Curve, Point

_COINCIDE = 1e-5
"""Roots nearer than this part of a step are one: a pitchfork met from its side is also a fold."""


_WIDTHS = (1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)
"""Half of the brackets tried about a root, as parts of a step."""
_BESIDE = (0.0, 1e-9, 1e-7, 1e-5)
"""Where Newton's method fails, as at a branch point, points so many steps further on stand in."""
_NEUTRAL = 1e-9
"""Growth below this is that of a direction that stays neutral along the whole branch."""


class Root(NamedTuple):
    """A test function's root on a step.

    Attributes:
        name: which test.
        point: the point of the curve nearest to it that was found.
        share: where on the step, between 0 and 1.
        bracket: the values of the parameter at both ends of the last bracket, in its unit.

    """

    name: str
    point: Point
    share: float
    bracket: tuple[float, float]


class Tests:
    """The test functions of one curve of fixed points or cycles, as functions of a `Point`."""

    def __init__(self, discrete: bool) -> None:
        """Choose those of a map or of a flow."""
        self.discrete = discrete
        self.functions: dict[str, Callable[[Point], float]] = {
            "fold": lambda point: float(point.tangent[-1]),
            "branch": _bordered,
            "pair": self.pair,
        }
        if discrete:
            self.functions["flip"] = lambda point: float(
                np.linalg.det(_state_jacobian(point) + 2 * np.eye(len(point.y) - 1))
            )

    def spectrum(self, point: Point) -> np.ndarray:
        """Return multipliers or eigenvalues, largest growth first."""
        matrix = _state_jacobian(point)
        values = np.linalg.eigvals(matrix + np.eye(len(matrix)) if self.discrete else matrix)
        values = values.astype(complex)
        return values[np.argsort(-self.growth(values), kind="stable")]

    def growth(self, values: np.ndarray) -> np.ndarray:
        """Return what is negative of a stable direction: |μ| − 1, or Re λ."""
        return np.abs(values) - 1 if self.discrete else np.real(values)

    def pair(self, point: Point) -> float:
        """Return the sign of the product over pairs, times its smallest factor.

        Of a flow relative to its largest eigenvalue.
        """
        values = self.spectrum(point)
        if len(values) < 2:
            return 1.0
        pairs = itertools.combinations(values, 2)
        factors = np.array([a * b - 1 if self.discrete else a + b for a, b in pairs])
        phase = np.prod(factors / np.maximum(np.abs(factors), 1e-300))
        size = 1.0 if self.discrete else max(float(np.abs(values).max()), 1e-300)
        return float(np.sign(np.real(phase)) * np.abs(factors).min() / size)

    def values(self, point: Point) -> dict[str, float]:
        """Return all tests at a point."""
        return {name: test(point) for name, test in self.functions.items()}

    def unstable(self, point: Point) -> int:
        """Return how many directions grow."""
        return int((self.growth(self.spectrum(point)) > _NEUTRAL).sum())


def _state_jacobian(point: Point) -> np.ndarray:
    """Return the part of DR that belongs to the state: A − I of a map, A of a flow."""
    return point.jacobian[: len(point.y) - 1, : len(point.y) - 1]


def _bordered(point: Point) -> float:
    return float(np.linalg.det(np.vstack([point.jacobian, point.tangent])))


def roots(
    curve: Curve,
    tests: dict[str, Callable[[Point], float]],
    old: Point,
    new: Point,
    length: float,
    *,
    roughly: bool = False,
) -> list[Root] | None:
    """Return the roots of all tests on a step, in order; None where one cannot be located.

    Beside a branch point Newton's method may fail; `roughly` then takes points farther from it.
    """
    found = []
    for name, test in tests.items():
        before, after = test(old), test(new)
        if (before > 0) == (after > 0):
            continue
        if name == "pair" and max(abs(before), abs(after)) <= _NEUTRAL:
            continue  # rounding: the pair is neutral all along, as of a map that keeps areas
        root = _root(curve, name, test, (old, new, length), _BESIDE if roughly else _BESIDE[:2])
        if root is None:
            return None
        found.append(root)
    return sorted(found, key=lambda root: root.share)


def _root(
    curve: Curve,
    name: str,
    test: Callable[[Point], float],
    step: tuple[Point, Point, float],
    beside: tuple[float, ...],
) -> Root | None:
    """Return one root, by Brent's method on points of the curve."""
    import scipy.optimize  # slow to import, and seldom needed

    old, new, length = step
    made: dict[float, Point] = {0.0: old, 1.0: new}

    def value(share: float) -> float:
        share = float(share)
        if share not in made:
            tried = (curve.along(old, (share + off) * length) for off in beside)
            found = next((point for point in tried if point is not None), None)
            if found is None:
                raise ArithmeticError
            made[share] = found
        return test(made[share])

    try:
        found: Any = scipy.optimize.brentq(value, 0.0, 1.0, xtol=1e-13)
    except ArithmeticError:
        return None
    share = float(found)
    nearest = min(made, key=lambda s: abs(s - share))
    low, high = _bracket(value, share, test(old) > 0)
    ends = made[low].y[-1], made[high].y[-1]
    return Root(name, made[nearest], share, (float(min(ends)), float(max(ends))))


def _bracket(value: Callable[[float], float], share: float, before: bool) -> tuple[float, float]:
    """Return the narrowest of some pairs about a root at whose ends the test has both signs."""
    for width in _WIDTHS:
        low, high = max(0.0, share - width), min(1.0, share + width)
        try:
            if (value(low) > 0) == before and (value(high) > 0) != before:
                return low, high
        except ArithmeticError:
            continue
    return 0.0, 1.0


def merged(found: list[Root]) -> list[Root]:
    """Return the roots without the fold that is a branch point met from its side."""
    branches = [root.share for root in found if root.name == "branch"]
    return [
        root
        for root in found
        if root.name != "fold" or all(abs(root.share - share) > _COINCIDE for share in branches)
    ]


def explained(tests: Tests, old: Point, new: Point, found: list[Root]) -> bool:
    """Say whether the roots account for the change in the number of unstable directions."""
    change = abs(tests.unstable(new) - tests.unstable(old))
    most = sum(2 if root.name == "pair" else 1 for root in found)
    least = sum(1 for root in found if root.name != "pair")
    return change <= most and (change - least) % 2 == 0
