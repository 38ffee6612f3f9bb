"""Krawczyk's operator: proofs that n equations in n unknowns have one zero in a box, or none.

With m the midpoint of a box X, J(X) an enclosure of the Jacobian on X and C ≈ J(m)⁻¹,

    K(X) = m − C F(m) + (I − C J(X))(X − m).

Every zero in X lies in K(X), and K(X) in the interior of X proves that X holds exactly one zero
(Krawczyk 1969; Neumaier, Interval Methods for Systems of Equations, 1990, theorem 5.1.8).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from flint import arb

from samflow._types import Box
from samflow.proofs.balls import Balls, OutsideDomain, hulls, working_precision

SCALES = (12, 20, 28, 36, 44)
"""Sizes of the boxes tried about a point: 2^-12 to 2^-44 of the scale of the problem."""

_NEWTON_STEPS = 10
_FREE_STEPS = 60
_ARRIVED = 2.0**-90
"""A step this small, relative to the point, changes no double."""


class Equations(Protocol):
    """n functions of n unknowns with their Jacobian, on balls."""

    def value(self, point: Balls, /) -> Balls:
        """Return an enclosure of F on the box `point`, n balls."""
        ...

    def linearise(self, box: Balls, /) -> tuple[Balls, list[Balls]]:
        """Return enclosures of F (n balls) and of its Jacobian (n rows of n balls) on `box`."""
        ...


class Tangent(NamedTuple):
    """F(m) and J(X) about the middle m of a box X; `offset` is X − m."""

    ball: Balls
    middle: Balls
    offset: Balls
    at_middle: Balls
    rows: list[Balls]


def tangent(equations: Equations, part: Box) -> Tangent | None:
    """Return F and J about the middle of a box; None where F certainly has no zero in it."""
    ball = hulls(part)
    try:
        values, rows = equations.linearise(ball)
    except OutsideDomain:
        return None
    if not all(0 in value for value in values):
        return None
    middle = [x.mid() for x in ball]
    offset = [x - m for x, m in zip(ball, middle, strict=True)]
    try:
        at_middle = equations.value(middle)
    except OutsideDomain:
        at_middle = [arb.nan()] * len(middle)
    for value, row in zip(at_middle, rows, strict=True):
        if 0 not in value + _dot(row, offset):
            return None
    return Tangent(ball, middle, offset, at_middle, rows)


def krawczyk(
    inverse: list[Balls], middle: Balls, at_middle: Balls, rows: list[Balls], offset: Balls
) -> Balls:
    """Return K(X), given C, m, F(m), J(X) and X − m."""
    columns = list(zip(*rows, strict=True))
    image = []
    for i, (c, m) in enumerate(zip(inverse, middle, strict=True)):
        k = m - _dot(c, at_middle)
        for j, (column, d) in enumerate(zip(columns, offset, strict=True)):
            k += ((1 if i == j else 0) - _dot(c, column)) * d
        image.append(k)
    return image


def krawczyk_image(equations: Equations, box: Balls) -> Balls | None:
    """Return K(box); None where the middle of the Jacobian has no inverse."""
    rows = equations.linearise(box)[1]
    inverse = approximate_inverse(rows)
    if inverse is None:
        return None
    middle = [x.mid() for x in box]
    offset = [x - m for x, m in zip(box, middle, strict=True)]
    return krawczyk(inverse, middle, equations.value(middle), rows, offset)


def refine(equations: Equations, enclosure: Balls, *, precision: int) -> Balls:
    """Return a smaller enclosure of the one zero in `enclosure`, by Krawczyk's iteration.

    Stops where `precision` bits, or the width of the equations' own parameters, allow no more.
    """
    with working_precision(precision):
        for _ in range(precision):
            image = krawczyk_image(equations, enclosure)
            if image is None:
                return enclosure
            if not overlap(enclosure, image):
                raise ArithmeticError(
                    "An enclosure does not contain the zero that it should contain."
                )
            smaller = [x.intersection(k) for x, k in zip(enclosure, image, strict=True)]
            if not any(s.rad() < 0.9 * x.rad() for s, x in zip(smaller, enclosure, strict=True)):
                jump = _newton_box(equations, smaller)
                if jump is None:
                    return smaller
                smaller = jump
            enclosure = smaller
    return enclosure


def _newton_box(equations: Equations, enclosure: Balls) -> Balls | None:
    """Return a much smaller box with a zero in a wide enclosure, where contraction is slow."""
    length = max(abs(float(x)) for x in enclosure)
    if all(x.rad() <= 2.0**-30 * length for x in enclosure):
        return None
    point = [x.mid() for x in enclosure]
    for _ in range(_NEWTON_STEPS):
        values, rows = equations.linearise(point)
        inverse = approximate_inverse(rows)
        if inverse is None:
            return None
        point = [(x - _dot(row, values)).mid() for x, row in zip(point, inverse, strict=True)]
        if not inside(point, enclosure):
            return None
    for bits in SCALES:
        region = [p + x.rad() * arb(0, 2.0**-bits) for p, x in zip(point, enclosure, strict=True)]
        image = krawczyk_image(equations, region) if inside(region, enclosure) else None
        if image is not None and inside(image, region):
            return image
    return None


def newton(equations: Equations, start: np.ndarray) -> Balls | None:
    """Return where Newton's iteration leads from `start`; None where it leads nowhere."""
    w = [arb(x) for x in start.tolist()]
    for _ in range(_FREE_STEPS):
        try:
            values, rows = equations.linearise(w)
        except OutsideDomain:
            return None
        slope = np.array([[float(x) for x in row] for row in rows])
        try:
            step = np.linalg.solve(slope, [float(x) for x in values])
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all():
            return None
        w = [(x - arb(s)).mid() for x, s in zip(w, step.tolist(), strict=True)]
        if np.abs(step).max() <= _ARRIVED * max(abs(float(x)) for x in w):
            break
    return w


def approximate_inverse(rows: list[Balls]) -> list[Balls] | None:
    """Return the inverse of the midpoints as exact doubles; None where there is none."""
    midpoints = np.array([[float(x) for x in row] for row in rows])
    if not np.isfinite(midpoints).all():
        return None
    try:
        inverse = np.linalg.inv(midpoints)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(inverse).all():
        return None
    return [[arb(x) for x in row] for row in inverse.tolist()]


def inside(inner: Balls, outer: Balls) -> bool:
    """Say whether one box certainly lies in the interior of another."""
    return all(y.contains_interior(x) for x, y in zip(inner, outer, strict=True))


def overlap(one: Balls, other: Balls) -> bool:
    """Say whether two boxes may have a point in common."""
    return all(x.overlaps(y) for x, y in zip(one, other, strict=True))


def _dot(row: Sequence[arb], column: Sequence[arb]) -> arb:
    total = row[0] * column[0]
    for a, b in zip(row[1:], column[1:], strict=True):
        total += a * b
    return total
