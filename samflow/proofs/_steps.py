"""Steps of normalised SAM on cones of weights about a critical point, by centred forms.

With y = A(w − w*), C = A⁻¹ and w = w* + C y a step is

    e = g(w)/‖g(w)‖,  p = w + rho e,  y⁺ = y − lr A g(p).

A cell holds the y = s q(u) of a patch of a gauge's surface and of an interval of levels s. Every
function f of the cell is enclosed twice, by balls and by f(m) + f′(cell)(cell − m) with m its
middle. At s → 0 the direction e has the limit T q/‖T q‖, where T is the mean of H C over the
segment from w* to w: T is enclosed there, and taken to be independent of u and s.
"""

from typing import Any, NamedTuple

from flint import arb, arb_mat

from samflow._types import Box
from samflow.proofs._gauges import AbstractGauge, square
from samflow.proofs.balls import Ball, Balls, Span, hull, spans
from samflow.proofs.directions import Patch
from samflow.proofs.equations import GradientEquations

Matrix = Any
"""A `flint.arb_mat`."""


class Cell(NamedTuple):
    """Part of a cone: a patch of the surface, and an interval of levels."""

    patch: Patch
    levels: Span

    @property
    def s(self) -> Ball:
        """The levels, as a ball."""
        return hull(*self.levels)


class Enclosed(NamedTuple):
    """A vector that depends on the cell: at its middle, all over it, and its derivatives."""

    middle: Balls
    all_over: Balls
    slopes: Matrix

    def moved(self, offset: Matrix) -> Balls:
        """Return the mean-value form."""
        change = column(self.slopes * offset)
        return [m + d for m, d in zip(self.middle, change, strict=True)]


class Singular(ArithmeticError):
    """The gradient may vanish on the cell, where the map has no direction."""


class Stepper:
    """The map on the loss, in the coordinates of a gauge, at one rho and lr or all of a range."""

    def __init__(
        self,
        equations: GradientEquations,
        centre: Balls,
        gauge: AbstractGauge,
        rho: Ball,
        lr: Ball,
    ):
        """Take the enclosure of w* as `centre`."""
        self.equations, self.centre, self.gauge = equations, centre, gauge
        self.rho, self.lr = rho, lr
        self.matrix = gauge.matrix
        self.inverse = self.matrix.inv()
        self.pull = self.matrix * lr
        self.dim, self.one = len(centre), arb(1)

    def start(self, cell: Cell) -> tuple[Enclosed, Matrix]:
        """Return y on the cell, and the cell minus its middle."""
        middle = Cell(cell.patch.middle(), (cell.s.mid(),) * 2)
        q, turned = self.gauge.surface(cell.patch)
        s, at = cell.s, cell.s.mid()
        around, _ = self.gauge.surface(middle.patch)
        slopes = transposed([*[[s * x for x in row] for row in turned], q])
        free = [*cell.patch.u, s]
        offset = arb_mat([[x - x.mid()] for x in free])
        y = Enclosed([at * x for x in around], [s * x for x in q], slopes)
        return y, offset

    def first(self, cell: Cell) -> tuple[Enclosed, Matrix]:
        """Return y⁺ on the cell, and the cell minus its middle."""
        y, offset = self.start(cell)
        if cell.levels[0] > 0:
            return self.step(y, offset), offset
        q, turned = self.gauge.surface(cell.patch)
        around, _ = self.gauge.surface(cell.patch.middle())
        reach = hull(0.0, cell.levels[1])
        segment = self._weights([reach * x for x in q])
        mean = arb_mat(self.equations.hessian(segment)) * self.inverse
        at, over = column(mean * vector(around)), column(mean * vector(q))
        still = [arb(0)] * len(q)
        slopes = mean * transposed([*turned, still])
        return self._after(y, self._unit(Enclosed(at, over, slopes), offset), offset), offset

    def step(self, y: Enclosed, offset: Matrix) -> Enclosed:
        """Return y⁺.

        Raises:
            Singular: where the gradient may vanish.

        """
        over, hessian = self.equations.linearise(self._weights(y.all_over))
        slopes = arb_mat(hessian) * self.inverse * y.slopes
        at = self.equations.value(self._weights(y.middle))
        return self._after(y, self._unit(Enclosed(at, over, slopes), offset), offset)

    def _unit(self, g: Enclosed, offset: Matrix) -> Enclosed:
        """Return g/‖g‖."""
        over = both(g.all_over, g.moved(offset))
        norm, at = length(over), length(g.middle)
        if not (norm > 0 and at > 0):
            raise Singular
        e = [x / norm for x in over]
        along = vector(e).transpose() * g.slopes
        slopes = (g.slopes - vector(e) * along) * (1 / norm)
        unit = Enclosed([x / at for x in g.middle], e, slopes)
        return unit._replace(all_over=both(e, unit.moved(offset)))

    def _after(self, y: Enclosed, e: Enclosed, offset: Matrix) -> Enclosed:
        at = shifted(self._weights(y.middle), self.rho, e.middle)
        slopes = self.inverse * y.slopes + e.slopes * self.rho
        p = Enclosed(at, shifted(self._weights(y.all_over), self.rho, e.all_over), slopes)
        over, hessian = self.equations.linearise(both(p.all_over, p.moved(offset)))
        moved = self.pull * arb_mat(hessian) * slopes
        pulled = column(self.pull * vector(self.equations.value(at)))
        after = Enclosed(
            [x - d for x, d in zip(y.middle, pulled, strict=True)],
            [x - d for x, d in zip(y.all_over, column(self.pull * vector(over)), strict=True)],
            y.slopes - moved,
        )
        return after._replace(all_over=both(after.all_over, after.moved(offset)))

    def weights(self, cell: Cell) -> Box:
        """Return a box around the weights of a cell."""
        q, _ = self.gauge.surface(cell.patch)
        return spans(self._weights([cell.s * x for x in q]))

    def _weights(self, y: Balls) -> Balls:
        offset = column(self.inverse * vector(y))
        return [w + x for w, x in zip(self.centre, offset, strict=True)]


def excess(
    gauge: AbstractGauge, y: Enclosed, offset: Matrix, s: Ball, *, moving: bool
) -> tuple[Ball, list[float]]:
    """Return a bound of all excesses of y over level s, and how much each free number adds to it.

    `s` is a number, or the last of the free numbers of the cell (`moving`).
    """
    whole, around = gauge.excesses(y.all_over, s), gauge.excesses(y.middle, s.mid())
    free, largest = column(offset), None
    shares = [0.0] * len(free)
    for plain, middle, slope in zip(whole, around, gauge.slopes(y.all_over, s), strict=True):
        by_y, by_s = slope
        rates = (arb_mat([by_y]) * y.slopes).entries()
        if moving:
            rates[-1] += by_s
        parts = [x * d for x, d in zip(rates, free, strict=True)]
        value = meet(plain, sum(parts, middle))
        if largest is None or not value <= largest:
            shares = [float(x.abs_upper()) for x in parts]
            # What is left at the middle of a cell comes from T, which only lower levels narrow.
            shares[-1] += 2 * float(middle.rad())
        largest = value if largest is None else largest.max(value)
    return largest, shares


def both(one: Balls, other: Balls) -> Balls:
    """Return balls around what is in both of two enclosures of the same vector."""
    return [meet(x, y) for x, y in zip(one, other, strict=True)]


def meet(x: Ball, y: Ball) -> Ball:
    """Return a ball around what is in both, the other where one is not finite."""
    if not y.is_finite():
        return x
    return x.intersection(y) if x.is_finite() else y


def length(x: Balls) -> Ball:
    """Return ‖x‖."""
    return sum((square(each) for each in x), arb(0)).sqrt()


def shifted(w: Balls, rho: Ball, e: Balls) -> Balls:
    """Return w + rho e."""
    return [x + rho * y for x, y in zip(w, e, strict=True)]


def vector(x: Balls) -> Matrix:
    """Return a matrix of one column."""
    return arb_mat([[each] for each in x])


def column(matrix: Matrix) -> Balls:
    """Return the entries of a matrix of one column."""
    return matrix.entries()


def transposed(rows: list[Balls]) -> Matrix:
    """Return the matrix whose columns are given."""
    return arb_mat(rows).transpose()
