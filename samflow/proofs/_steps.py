"""Steps of normalised SAM on cones of weights about a critical point, by centred forms.

With y = A(w − w*), C = A⁻¹ and w = w* + C y a step is

    e = g(w)/‖g(w)‖,  p = w + rho e,  y⁺ = y − lr A g(p).

A cell holds the y = s q(u) of a patch of a gauge's surface and of an interval of levels s, with
intervals of rho and lr. Every function f of the cell is enclosed twice, by balls and by
f(m) + f′(cell)(cell − m) with m its middle. As s → 0 the direction e has the limit T q/‖T q‖, where
T is the mean of H C over the segment from w* to w: on cells that reach s = 0 the matrix T is
enclosed, and taken to be independent of u and s.
"""

import functools
from typing import Any, NamedTuple

from flint import arb, arb_mat

from samflow._types import Box
from samflow.proofs._gauges import AbstractGauge, free_units, square
from samflow.proofs.balls import Ball, Balls, OutsideDomain, Span, finite, hull, spans
from samflow.proofs.directions import Patch, halves
from samflow.proofs.equations import GradientEquations

Matrix = Any
"""A `flint.arb_mat`."""

LEVEL, RHO, LR = -3, -2, -1
"""Places of these among the free numbers of a cell; the u of its patch come before."""


class Cell(NamedTuple):
    """Part of a cone, with hyperparameters.

    Attributes:
        patch: of the surface.
        scalars: the intervals of the level, of rho and of lr.

    """

    patch: Patch
    scalars: Box

    @property
    def levels(self) -> Span:
        """The interval of levels."""
        return self.scalars[LEVEL]

    @property
    def intervals(self) -> Box:
        """All free numbers."""
        return (*self.patch.box, *self.scalars)

    @property
    def free(self) -> Balls:
        """All free numbers, as balls."""
        return [hull(*interval) for interval in self.intervals]

    def cut(self, k: int) -> "tuple[Cell, Cell]":
        """Return the two halves across a free number, the upper one first."""
        first = len(self.patch.box)
        if k < first:
            one, other = self.patch.cut(k)
            return self._replace(patch=other), self._replace(patch=one)
        low, high = halves(self.scalars, k - first)
        return self._replace(scalars=high), self._replace(scalars=low)


class Enclosed(NamedTuple):
    """A vector that depends on the cell: at its middle, all over it, and its derivatives."""

    middle: Balls
    all_over: Balls
    slopes: Matrix

    def narrowed(self, offset: Matrix) -> "Enclosed":
        """Return it with what balls and the mean-value form have in common."""
        change = column(self.slopes * offset)
        moved = [m + d for m, d in zip(self.middle, change, strict=True)]
        return self._replace(all_over=list(map(meet, self.all_over, moved)))


class Singular(ArithmeticError):
    """The gradient may vanish on the cell, where the map has no direction."""


class Steps:
    """The map on the loss on one cell, in the coordinates of a gauge."""

    def __init__(self, chart: "Chart", cell: Cell):
        """Take the middle of the cell, and y all over it."""
        self.chart, self.cell = chart, cell
        free = cell.free
        self.offset = arb_mat([[x - x.mid()] for x in free])
        self.s, self.rho, self.lr = free[LEVEL:]
        self._q, self._turned = chart.gauge.surface(cell.patch)
        self._around, _ = chart.gauge.surface(cell.patch.middle())
        nothing = [arb(0)] * chart.dim
        self.start = self.y = Enclosed(
            [self.s.mid() * x for x in self._around],
            [self.s * x for x in self._q],
            transposed(
                [*[[self.s * x for x in row] for row in self._turned], self._q, nothing, nothing]
            ),
        )
        still = arb_mat(chart.dim, len(free))
        self.moved = Enclosed(nothing, nothing, still)
        self._started = False

    def advance(self) -> Enclosed:
        """Make a step, and return the new y.

        Raises:
            Singular: where the gradient may vanish.
            OutsideDomain: where the loss is not defined.

        """
        chart, y = self.chart, self.y
        e = self._unit(self._gradient())
        rho = self.rho.mid()
        slopes = chart.inverse * y.slopes + with_column(e.slopes * self.rho, RHO, e.all_over)
        p = Enclosed(
            [w + rho * x for w, x in zip(chart.weights(y.middle), e.middle, strict=True)],
            [w + self.rho * x for w, x in zip(chart.weights(y.all_over), e.all_over, strict=True)],
            slopes,
        ).narrowed(self.offset)
        chart.require(chart.weights(y.all_over))
        chart.require(p.all_over)
        over, hessian = chart.equations.linearise(p.all_over)
        at = chart.equations.value(p.middle)
        pull, lr = self._pulled(over), self.lr.mid()
        move = Enclosed(
            [lr * d for d in self._pulled(at)],
            [self.lr * d for d in pull],
            with_column(chart.matrix * arb_mat(hessian) * slopes * self.lr, LR, pull),
        ).narrowed(self.offset)
        self.moved = combined(self.moved, move, 1, self.offset)
        self.y = combined(self.start, self.moved, -1, self.offset)
        self._started = True
        return self.y

    def _gradient(self) -> Enclosed:
        """Return a positive multiple of g(w)."""
        chart, y = self.chart, self.y
        if not self._started:
            return self._first_gradient()
        over, hessian = chart.equations.linearise(chart.weights(y.all_over))
        slopes = arb_mat(hessian) * chart.inverse * y.slopes
        return Enclosed(chart.equations.value(chart.weights(y.middle)), over, slopes)

    def _first_gradient(self) -> Enclosed:
        """Return g/S on w = w* + S C U, where U is linear in u and S = s·scale.

        With T = mean H C over the segment, g/S = T U and
        d(g/S) = H C dU + (H C − T) U dS/S. Where s reaches 0, T is a constant instead.
        """
        chart, patch = self.chart, self.cell.patch
        ray, at = chart.gauge.ray(patch), chart.gauge.ray(patch.middle())
        reach = hull(0.0, self.cell.levels[1])
        segment = chart.weights([reach * x for x in self._q])
        mean = arb_mat(chart.equations.hessian(segment)) * chart.inverse
        over, nothing = column(mean * vector(ray.along)), [arb(0)] * chart.dim
        units = free_units(patch)
        if not self.cell.levels[0] > 0:
            slopes = mean * transposed([*units, nothing, nothing, nothing])
            return Enclosed(column(mean * vector(at.along)), over, slopes)
        g, hessian = chart.equations.linearise(chart.weights(self.y.all_over))
        here = arb_mat(hessian) * chart.inverse
        bent = column((here - mean) * vector(ray.along))
        rates = [*ray.shrink, 1 / self.s]
        slopes = here * transposed([*units, nothing, nothing, nothing])
        for k, rate in enumerate(rates):
            slopes = with_column(slopes, k - slopes.ncols(), [rate * x for x in bent])
        size, middle = self.s * ray.scale, self.s.mid() * at.scale
        value = chart.equations.value(chart.weights(self.y.middle))
        return Enclosed(
            [x / middle for x in value],
            [meet(x / size, z) for x, z in zip(g, over, strict=True)],
            slopes,
        )

    def _unit(self, g: Enclosed) -> Enclosed:
        """Return g/‖g‖."""
        g = g.narrowed(self.offset)
        norm, at = length(g.all_over), length(g.middle)
        if not (norm > 0 and at > 0):
            raise Singular
        e = vector([x / norm for x in g.all_over])
        slopes = (g.slopes - e * (e.transpose() * g.slopes)) * (1 / norm)
        return Enclosed([x / at for x in g.middle], column(e), slopes).narrowed(self.offset)

    def _pulled(self, d: Balls) -> Balls:
        return column(self.chart.matrix * vector(d))

    def excess(self, s: Ball) -> tuple[Ball, list[float]]:
        """Return a bound of all excesses over level `s`, and what each free number adds to it."""
        gauge, y = self.chart.gauge, self.y
        values = [
            self._mean_value(plain, middle, (arb_mat([slope]) * y.slopes).entries())
            for plain, middle, slope in zip(
                gauge.excesses(y.all_over, s),
                gauge.excesses(y.middle, s),
                gauge.slopes(y.all_over),
                strict=True,
            )
        ]
        return largest(values)

    def change(self) -> tuple[Ball, list[float]]:
        """Return a bound of all excesses over the level of the start, as `excess` does."""
        gauge, start, moved = self.chart.gauge, self.start, self.moved
        values = []
        for plain, middle, (by_start, by_moved, by_s) in zip(
            gauge.changes(start.all_over, moved.all_over, self.s),
            gauge.changes(start.middle, moved.middle, self.s.mid()),
            gauge.change_slopes(start.all_over, moved.all_over),
            strict=True,
        ):
            rates = arb_mat([by_start]) * start.slopes + arb_mat([by_moved]) * moved.slopes
            rates[0, rates.ncols() + LEVEL] += by_s
            values.append(self._mean_value(plain, middle, rates.entries()))
        return largest(values)

    def _mean_value(self, plain: Ball, middle: Ball, rates: Balls) -> tuple[Ball, list[float]]:
        parts = [x * d for x, d in zip(rates, column(self.offset), strict=True)]
        shares = [float(x.abs_upper()) for x in parts]
        # What is left at the middle of a cell comes from T, which only levels narrow.
        shares[LEVEL] += 2 * float(middle.rad())
        return meet(plain, sum(parts, middle)), shares


class Chart:
    """A loss in the coordinates y of a gauge about w*."""

    def __init__(self, equations: GradientEquations, centre: Balls, gauge: AbstractGauge):
        """Take the enclosure of w* as `centre`."""
        self.equations, self.centre, self.gauge = equations, centre, gauge
        self.matrix = gauge.matrix
        self.inverse = self.matrix.inv()
        self.dim = len(centre)

    def weights(self, y: Balls) -> Balls:
        """Return w."""
        offset = column(self.inverse * vector(y))
        return [w + x for w, x in zip(self.centre, offset, strict=True)]

    def require(self, w: Balls) -> None:
        """Raise `OutsideDomain` where the loss may be undefined: its gradient can still exist."""
        if not finite(self.equations.loss(w)):
            raise OutsideDomain

    def around(self, cell: Cell) -> Box:
        """Return a box around the weights of a cell."""
        q, _ = self.gauge.surface(cell.patch)
        s = hull(*cell.levels)
        return spans(self.weights([s * x for x in q]))


def combined(x: Enclosed, y: Enclosed, sign: int, offset: Matrix) -> Enclosed:
    """Return x + y or x − y."""
    return Enclosed(
        [a + sign * b for a, b in zip(x.middle, y.middle, strict=True)],
        [a + sign * b for a, b in zip(x.all_over, y.all_over, strict=True)],
        x.slopes + y.slopes * sign,
    ).narrowed(offset)


def largest(values: list[tuple[Ball, list[float]]]) -> tuple[Ball, list[float]]:
    """Return a ball around the largest of several numbers, with the shares of its own."""
    tops = [float(value.upper()) for value, _ in values]
    worst = next((i for i, top in enumerate(tops) if top != top), tops.index(max(tops)))
    return functools.reduce(arb.max, [value for value, _ in values]), values[worst][1]


def meet(x: Ball, y: Ball) -> Ball:
    """Return a ball around what two enclosures of a number share; one, where the other is NaN."""
    if not y.is_finite():
        return x
    return x.intersection(y) if x.is_finite() else y


def length(x: Balls) -> Ball:
    """Return ‖x‖."""
    return sum((square(each) for each in x), arb(0)).sqrt()


def vector(x: Balls) -> Matrix:
    """Return a matrix of one column."""
    return arb_mat([[each] for each in x])


def column(matrix: Matrix) -> Balls:
    """Return the entries of a matrix of one column."""
    return matrix.entries()


def with_column(matrix: Matrix, k: int, extra: Balls) -> Matrix:
    """Return the matrix with `extra` added to its column k."""
    j = matrix.ncols() + k
    for i, x in enumerate(extra):
        matrix[i, j] += x
    return matrix


def transposed(rows: list[Balls]) -> Matrix:
    """Return the matrix whose columns are given."""
    return arb_mat(rows).transpose()
