"""How fast ‖g‖ falls along the flow of a normalised rule around a critical point.

d‖g‖/dt = −ĝᵀH(w) d(w) along ẇ = −d(w), exactly.
"""

from typing import NamedTuple

from flint import arb

from samflow.proofs.balls import Ball, Balls, intersect, span
from samflow.proofs.bounds import Bound, Cell
from samflow.proofs.directions import turns
from samflow.proofs.equations import Derivatives, dot
from samflow.rules.critical import AscentStep

_NARROW = 8.0
"""A number is narrow where its middle is more than so many times its radius."""


class Moving(NamedTuple):
    """A vector on balls, and its derivatives by the coordinates of a cell, one row for each."""

    value: Balls
    rows: list[Balls]

    def times(self, factor: "Number") -> "Moving":
        """Return this vector times a number."""
        rows = [
            [x * factor.value + y * slope for x, y in zip(row, self.value, strict=True)]
            for row, slope in zip(self.rows, factor.slopes, strict=True)
        ]
        return Moving([x * factor.value for x in self.value], rows)

    def plus(self, other: "Moving") -> "Moving":
        """Return the sum of two vectors."""
        rows = [_add(a, b) for a, b in zip(self.rows, other.rows, strict=True)]
        return Moving(_add(self.value, other.value), rows)

    def length(self) -> "Number":
        """Return ‖v‖."""
        norm = sum((_square(x) for x in self.value), arb(0)).sqrt()
        return Number(norm, [dot(self.value, row) / norm for row in self.rows])


class Number(NamedTuple):
    """A number on balls, and its derivatives by the coordinates of a cell."""

    value: Ball
    slopes: Balls

    def over(self, other: "Number") -> "Number":
        """Return the quotient of two numbers."""
        ratio = self.value / other.value
        pairs = zip(self.slopes, other.slopes, strict=True)
        return Number(ratio, [(x - ratio * y) / other.value for x, y in pairs])

    def plus(self, other: "Number") -> "Number":
        """Return the sum of two numbers."""
        pairs = zip(self.slopes, other.slopes, strict=True)
        return Number(self.value + other.value, [x + y for x, y in pairs])

    def root(self) -> "Number":
        """Return the square root of a positive number."""
        root = self.value.sqrt()
        return Number(root, [x / (2 * root) for x in self.slopes])


class Surroundings:
    """The rate −d‖g‖/dt at w = w* + sCv over unit vectors v and, as the one range, lengths s ≥ 0.

    C ≈ H⁻¹, so that s is about ‖g‖. With eps > 0 the rate is divided by the a in [0, 1) that
    multiplies rho ĝ in the ascent: it keeps its sign, and is finite as s → 0. The rule has no
    scale T.
    """

    def __init__(
        self, equations: Derivatives, centre: Balls, step: AscentStep, inverse: list[Balls]
    ):
        """Take an enclosure of w* as `centre`, the rule's `step`, and C as `inverse`."""
        self.equations, self.centre, self.step, self.inverse = equations, centre, step, inverse
        self.hessian = equations.hessian(centre)
        columns = [list(column) for column in zip(*inverse, strict=True)]
        self.rest = [
            [dot(row, column) - (1 if i == j else 0) for j, column in enumerate(columns)]
            for i, row in enumerate(self.hessian)
        ]

    def value(self, cell: Cell) -> Ball:
        """Return the rate at a cell of one point, s > 0."""
        return self._rate(cell, _directions(cell, slopes=False)).value

    def bound(self, cell: Cell, about: float) -> Bound:
        """Return bounds of the rate on a cell, by its slopes."""
        return _centred(cell, self.value(cell.middle()), self._rate(cell, _directions(cell)))

    def point(self, cell: Cell) -> Balls:
        """Return w on a cell."""
        s, _ = _ball_of(cell.ranges[0])
        return _add(self.centre, [s * x for x in _apply(self.inverse, cell.patch.unit())])

    def length(self, cell: Cell) -> Number:
        """Return ‖g(w)‖/s on a cell, 0 < s."""
        return self._gradient(cell, _directions(cell))[1].length()

    def _gradient(self, cell: Cell, v: Moving) -> tuple[Moving, Moving]:
        """Return w, and γ = g(w)/s = v + (HC − I)v + (Ḣ − H)Cv, with Ḣ as in `_quotient`."""
        s, exact = _ball_of(cell.ranges[0])
        c = Moving(_apply(self.inverse, v.value), [_apply(self.inverse, row) for row in v.rows])
        slopes = [arb(0)] * (len(v.rows) - 1) + [arb(1)] if v.rows else []
        moved = c.times(Number(s, slopes))
        w = Moving(_add(self.centre, moved.value), moved.rows)
        segment = [x.union(y) for x, y in zip(self.centre, w.value, strict=True)]
        value = self._near(v.value, c.value, self.equations.hessian(segment))
        if exact:
            value = intersect(value, [x / s for x in self.equations.value(w.value)])
        if not v.rows:
            return w, Moving(value, [])
        turn = self.equations.hessian(w.value)
        rows = [self._near(a, b, turn) for a, b in zip(v.rows, c.rows, strict=True)]
        rows[-1] = [x / 2 for x in self.equations.third(segment, c.value, c.value)]
        return w, Moving(value, rows)

    def _near(self, v: Balls, c: Balls, hessian: list[Balls]) -> Balls:
        """Return hessian · c for c = Cv, written about v."""
        turned = _add(_apply(self.rest, v), _apply(_minus(hessian, self.hessian), c))
        return _add(v, turned)

    def _rate(self, cell: Cell, v: Moving) -> Number:
        w, gamma = self._gradient(cell, v)
        size = gamma.length()
        e = gamma.times(Number(arb(1), [arb(0)] * len(v.rows)).over(size))
        if self.step.eps:
            d = self._practical(cell, w, size, e)
        else:
            d = self._direction(cell, w, gamma, e)
        here = self.equations.hessian(w.value)
        pushed, pulled = _apply(here, e.value), _apply(here, d.value)
        bent = self.equations.third(w.value, e.value, d.value) if v.rows else []
        slopes = [
            dot(pulled, a) + dot(pushed, b) + dot(bent, c)
            for a, b, c in zip(e.rows, d.rows, w.rows, strict=True)
        ]
        return Number(dot(pushed, d.value), slopes)

    def _direction(self, cell: Cell, w: Moving, gamma: Moving, e: Moving) -> Moving:
        """Return d(w)."""
        step = self.step
        zero = [arb(0)] * len(w.rows)
        at = w.plus(e.times(Number(arb(step.rho), zero)))
        g, h = self.equations.linearise(at.value)
        d = Moving(g, [_apply(h, row) for row in at.rows])
        s, _ = _ball_of(cell.ranges[0])
        radius = Number(s, [*zero[:-1], arb(1)] if zero else [])
        if step.share != 1:
            rest = gamma.times(radius)
            share = arb(step.share)
            d = d.times(Number(share, zero)).plus(rest.times(Number(1 - share, zero)))
        return d

    def _practical(self, cell: Cell, w: Moving, size: Number, e: Moving) -> Moving:
        """Return d(w)/a = g(w* + a q)/a, q = rho e + (s/a)Cv, where a = s‖γ‖/(s‖γ‖ + eps).

        s/a = s + eps/‖γ‖, or √(s² + eps²/‖γ‖²) with eps inside the root.
        """
        s, _ = _ball_of(cell.ranges[0])
        rows = len(w.rows)
        zero = [arb(0)] * rows
        radius = Number(s, [*zero[:-1], arb(1)] if rows else [])
        small = Number(arb(self.step.eps), zero).over(size)
        if self.step.inside:
            squares = [
                Number(_square(x.value), [2 * x.value * y for y in x.slopes])
                for x in (radius, small)
            ]
            stretch = squares[0].plus(squares[1]).root()
        else:
            stretch = radius.plus(small)
        a = radius.over(stretch)
        v = _directions(cell, slopes=bool(rows))
        c = Moving(_apply(self.inverse, v.value), [_apply(self.inverse, row) for row in v.rows])
        q = e.times(Number(arb(self.step.rho), zero)).plus(c.times(stretch))
        exact = cell.ranges[0][0] == cell.ranges[0][1]
        return _quotient(self.equations, self.centre, q, a, exact)


class Lengths:
    """‖g(w)‖/s at w = w* + sCv over unit vectors v, for one s > 0."""

    def __init__(self, around: Surroundings):
        """Take what is around the critical point."""
        self.around = around

    def value(self, cell: Cell) -> Ball:
        """Return the length over s at a cell of one point."""
        return self.around.length(cell).value

    def bound(self, cell: Cell, about: float) -> Bound:
        """Return bounds of the length over s on a cell."""
        return _centred(cell, self.value(cell.middle()), self.around.length(cell))


def _centred(cell: Cell, at_middle: Ball, over: Number) -> Bound:
    """Return bounds by f(m) + f′(cell)(cell − m), Neumaier 1990, chapter 2."""
    point, low, smears = cell.middle(), at_middle, []
    for (a, b), (m, _), slope in zip(cell.sides, point.sides, over.slopes, strict=True):
        if a < b:
            low += slope * (arb(a).union(arb(b)) - m)
        smears.append(float(slope.abs_upper()) * (b - a) if a < b else 0.0)
    return Bound(max(span(low)[0], span(over.value)[0]), span(at_middle), point, smears)


def _quotient(equations: Derivatives, centre: Balls, c: Moving, t: Number, exact: bool) -> Moving:
    """Return q = g(w* + tc)/t and its derivatives.

    q = Ḣc with the mean Ḣ of H over the segment from w* to w* + tc, and ∂q/∂t = (H(w* + tc)c − q)/t
    is the mean of τ D³L[c, c] over τ in [0, 1] times the segment. The second forms of both are good
    where t is narrow, the first where it may be 0.
    """
    point = _add(centre, [x * t.value for x in c.value])
    narrow = exact or t.value.mid() > _NARROW * t.value.rad()
    segment = [] if narrow else [x.union(y) for x, y in zip(centre, point, strict=True)]
    if narrow:
        q = [x / t.value for x in equations.value(point)]
    else:
        q = _apply(equations.hessian(segment), c.value)
    if not c.rows:
        return Moving(q, [])
    turn = equations.hessian(point)
    if narrow:
        pairs = zip(_apply(turn, c.value), q, strict=True)
        change = [(x - y) / t.value for x, y in pairs]
    else:
        change = [x / 2 for x in equations.third(segment, c.value, c.value)]
    rows = [
        _add(_apply(turn, row), [x * slope for x in change])
        for row, slope in zip(c.rows, t.slopes, strict=True)
    ]
    return Moving(q, rows)


def _directions(cell: Cell, *, slopes: bool = True) -> Moving:
    """Return the unit vectors of a cell's patch; its range does not move them."""
    norm, e = cell.patch.frame()
    if not slopes:
        return Moving(e, [])
    return Moving(e, [*turns(norm, e, cell.patch.axis), [arb(0)] * len(e)])


def _ball_of(interval: tuple[float, float]) -> tuple[Ball, bool]:
    """Return the ball of an interval, and whether it is one number other than 0."""
    low, high = interval
    if low == high:
        return arb(low), low != 0
    return arb(low).union(arb(high)), False


def _minus(a: list[Balls], b: list[Balls]) -> list[Balls]:
    return [[x - y for x, y in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]


def _add(a: Balls, b: Balls) -> Balls:
    return [x + y for x, y in zip(a, b, strict=True)]


def _apply(matrix: list[Balls], v: Balls) -> Balls:
    return [dot(row, v) for row in matrix]


def _square(x: Ball) -> Ball:
    return (x * x).nonnegative_part()
