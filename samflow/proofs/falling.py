"""How fast ‖g‖ falls along the flow of a normalised rule, as functions on cells of directions.

d‖g‖/dt = −ĝᵀH(w) d(w) along ẇ = −d(w). `AtPoint` is the limit of the rate at a critical point w*
as g → 0 along e, S(e) = eᵀH ℓ(e), over rho; `Nearby` is the rate at w = w* + sCv for unit vectors v
and lengths s, with C ≈ H⁻¹ so that s is about ‖g‖.
"""

from dataclasses import dataclass
from typing import NamedTuple

from flint import arb

from samflow.proofs.balls import Ball, Balls
from samflow.proofs.bounds import Cell
from samflow.proofs.directions import turns
from samflow.proofs.equations import GradientEquations, dot
from samflow.rules.critical import AscentPath


_NARROW = 8.0
"""A number is narrow where its middle is more than so many times its radius."""


class Moving(NamedTuple):
    """A vector on balls, and its derivatives by the coordinates of a cell, one row for each."""

    value: Balls
    rows: list[Balls]

    def __add__(self, other: "Moving") -> "Moving":  # type: ignore[override]
        rows = [_add(a, b) for a, b in zip(self.rows, other.rows, strict=True)]
        return Moving(_add(self.value, other.value), rows)

    def times(self, factor: Ball) -> "Moving":
        """Return this vector times a number that does not depend on the cell."""
        return Moving(_scale(self.value, factor), [_scale(row, factor) for row in self.rows])

    def image(self, matrix: list[Balls]) -> "Moving":
        """Return a matrix that does not depend on the cell, times this vector."""
        return Moving(_apply(matrix, self.value), [_apply(matrix, row) for row in self.rows])

    def unit(self) -> "Moving":
        """Return this vector over its length."""
        norm = _norm(self.value)
        e = [x / norm for x in self.value]
        rows = []
        for row in self.rows:
            along = dot(e, row)
            rows.append([(x - along * y) / norm for x, y in zip(row, e, strict=True)])
        return Moving(e, rows)


def _directions(cell: Cell, spare: int) -> Moving:
    """Return the unit vectors of a cell's patch; its `spare` ranges do not move them."""
    norm, e = cell.patch.frame()
    zero = [arb(0)] * len(e)
    return Moving(e, [*turns(norm, e, cell.patch.axis), *[zero] * spare])


@dataclass(frozen=True)
class AtPoint:
    """S(e)/rho = m(e)ᵀHℓ(e)/rho over directions e and, as the one range of a cell, rho.

    ℓ(e) is the limit of the rule's direction as g → 0 along e, and m(e) the first ascent step over
    rho: e for SAM, T²e/‖Te‖ with a scale T, when S is the rate at which ‖Tg‖ falls. Gradients are
    divided by rho: γ(c) = g(w* + rho c)/rho, which at rho = 0 is Hc.

    Attributes:
        equations: g and its derivatives.
        centre: an enclosure of w*.
        path: the rule's direction.
        hessian: H(w*).

    """

    equations: GradientEquations
    centre: Balls
    path: AscentPath
    hessian: list[Balls]

    def value(self, cell: Cell) -> Ball:
        """Return S/rho on a cell."""
        e = Moving(cell.patch.unit(), [])
        push, limit = self._push_and_limit(e, *_ball_of(cell.ranges[0]))
        return dot(_apply(self.hessian, push.value), limit.value)

    def slopes(self, cell: Cell) -> Balls:
        """Return the derivatives of S/rho."""
        push, limit = self._push_and_limit(_directions(cell, 1), *_ball_of(cell.ranges[0]))
        pushed, pulled = _apply(self.hessian, push.value), _apply(self.hessian, limit.value)
        return [
            dot(pulled, a) + dot(pushed, b) for a, b in zip(push.rows, limit.rows, strict=True)
        ]

    def _push_and_limit(self, e: Moving, rho: Ball, exact: bool) -> tuple[Moving, Moving]:
        path, gradients = self.path, []
        push = self._first(e)
        step, at = push, None
        for _ in range(path.num_steps):
            part = step.times(1 / arb(path.num_steps))
            at = part if at is None else at + part
            gradients.append(self._scaled_gradient(at, rho, exact))
            if len(gradients) < path.num_steps:
                step = gradients[-1].unit()
        return push, _shared(gradients, path)

    def _first(self, e: Moving) -> Moving:
        if self.path.scale is None:
            return e
        t = self.path.scale(self.centre)
        moved = Moving(_each(t, e.value), [_each(t, row) for row in e.rows]).unit()
        return Moving(_each(t, moved.value), [_each(t, row) for row in moved.rows])

    def _scaled_gradient(self, c: Moving, rho: Ball, exact: bool) -> Moving:
        """Return γ(c)."""
        return _quotient(self.equations, self.centre, c, rho, exact)


@dataclass(frozen=True)
class Nearby:
    """The rate −d‖g‖/dt at w = w* + sCv over unit vectors v and, as the one range, lengths s ≥ 0.

    With eps > 0 the rate is divided by what multiplies ĝ in the ascent over rho, a in [0, 1), which
    keeps its sign, and is finite as s → 0. The rule has one ascent step and no scale.

    Attributes:
        equations: g and its derivatives.
        centre: an enclosure of w*.
        path: the rule's direction.
        inverse: C.

    """

    equations: GradientEquations
    centre: Balls
    path: AscentPath
    inverse: list[Balls]

    def value(self, cell: Cell) -> Ball:
        """Return the rate on a cell."""
        s, exact = _ball_of(cell.ranges[0])
        v = Moving(cell.patch.unit(), [])
        return self._rate(v, s, exact)[0]

    def slopes(self, cell: Cell) -> Balls:
        """Return the derivatives of the rate."""
        s, exact = _ball_of(cell.ranges[0])
        return self._rate(_directions(cell, 1), s, exact)[1]

    def gradient_length(self, cell: Cell) -> Ball:
        """Return ‖g(w)‖ on a cell of directions, at one s."""
        s, exact = _ball_of(cell.ranges[0])
        return s * _norm(self._gradient(Moving(cell.patch.unit(), []), s, exact)[1].value)

    def _gradient(self, v: Moving, s: Ball, exact: bool) -> tuple[Moving, Moving]:
        """Return w, and γ = g(w)/s."""
        c = v.image(self.inverse)
        w = Moving(_add(self.centre, _scale(c.value, s)), [_scale(row, s) for row in c.rows])
        if c.rows:
            w.rows[-1] = c.value
        return w, _quotient(self.equations, self.centre, c, s, exact)

    def _rate(self, v: Moving, s: Ball, exact: bool) -> tuple[Ball, Balls]:
        w, gamma = self._gradient(v, s, exact)
        e, path = gamma.unit(), self.path
        rho = arb(path.rho)
        at = w + e.times(rho)
        g, h = self.equations.linearise(at.value)
        d = Moving(g, [_apply(h, row) for row in at.rows])
        here = self.equations.hessian(w.value)
        if path.share != 1:
            share = arb(path.share)
            rest = Moving(_scale(gamma.value, s), [_apply(here, row) for row in w.rows])
            d = d.times(share) + rest.times(1 - share)
        pushed, pulled = _apply(here, e.value), _apply(here, d.value)
        rate = dot(pushed, d.value)
        if not v.rows:
            return rate, []
        bent = self.equations.third(w.value, e.value, d.value)
        slopes = [
            dot(pulled, a) + dot(pushed, b) + dot(bent, c)
            for a, b, c in zip(e.rows, d.rows, w.rows, strict=True)
        ]
        return rate, slopes


def _quotient(
    equations: GradientEquations, centre: Balls, c: Moving, t: Ball, exact: bool
) -> Moving:
    """Return q = g(w* + tc)/t and its derivatives, the last of them by t.

    q = Ḣc with the mean Ḣ of H over the segment from w* to w* + tc, and ∂q/∂t = (H(w* + tc)c − q)/t
    is the mean of τ D³L[c, c] over τ in [0, 1] times the segment. The second forms of both are good
    where t is narrow, the first where it may be 0.
    """
    point = _add(centre, _scale(c.value, t))
    narrow = exact or t.mid() > _NARROW * t.rad()
    segment = [] if narrow else [x.union(y) for x, y in zip(centre, point, strict=True)]
    if narrow:
        q = _scale(equations.value(point), 1 / t)
    else:
        q = _apply(equations.hessian(segment), c.value)
    if not c.rows:
        return Moving(q, [])
    turn = equations.hessian(point)
    rows = [_apply(turn, row) for row in c.rows]
    if narrow:
        change = [(x - y) / t for x, y in zip(_apply(turn, c.value), q, strict=True)]
    else:
        change = _scale(equations.third(segment, c.value, c.value), arb(0.5))
    return Moving(q, [*rows[:-1], _add(rows[-1], change)])


def _shared(gradients: list[Moving], path: AscentPath) -> Moving:
    """Return what the descent takes of the gradients on the path, at a critical point."""
    if not path.average:
        return gradients[-1].times(arb(path.share))
    total = gradients[0]
    for gradient in gradients[1:]:
        total = total + gradient
    return total.times(arb(path.share) / len(gradients))


def _ball_of(interval: tuple[float, float]) -> tuple[Ball, bool]:
    """Return the ball of an interval, and whether it is one number other than 0."""
    low, high = interval
    if low == high:
        return arb(low), low != 0
    return arb(low).union(arb(high)), False


def _norm(v: Balls) -> Ball:
    return sum(((x * x).nonnegative_part() for x in v), arb(0)).sqrt()


def _add(a: Balls, b: Balls) -> Balls:
    return [x + y for x, y in zip(a, b, strict=True)]


def _scale(a: Balls, factor: Ball) -> Balls:
    return [x * factor for x in a]


def _each(a: Balls, b: Balls) -> Balls:
    return [x * y for x, y in zip(a, b, strict=True)]


def _apply(matrix: list[Balls], v: Balls) -> Balls:
    return [dot(row, v) for row in matrix]
