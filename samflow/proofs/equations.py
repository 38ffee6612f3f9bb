"""The equations whose zeros are fixed points, on balls."""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sympy
from flint import arb

from samflow.losses.limits import differentiating
from samflow.proofs.balls import Ball, Balls, Program, finite
from samflow.proofs.directions import frame, turns


class GradientEquations:
    """Critical points: g(w) = 0, with Jacobian H(w).

    Attributes:
        gradient: the partial derivatives, in sympy.
        symbols: the variables.
        loss: L on balls, a list of one.
        value: g on balls.

    """

    def __init__(self, expression: sympy.Expr, symbols: Sequence[sympy.Symbol]):
        """Differentiate `expression` twice, exactly, in `symbols`."""
        self.symbols = tuple(symbols)
        with differentiating([expression], symbols):
            self.gradient: list[Any] = [sympy.diff(expression, symbol) for symbol in symbols]
        with differentiating(self.gradient, symbols):
            hessian = [sympy.diff(part, symbol) for part in self.gradient for symbol in symbols]
        self.loss = Program([expression], symbols)
        self.value = Program(self.gradient, symbols)
        self._hessian = hessian
        self._both = Program([*self.gradient, *hessian], symbols)

    def linearise(self, box: Balls) -> tuple[Balls, list[Balls]]:
        """Return g and H on `box`."""
        n, values = len(self.symbols), self._both(box)
        return values[:n], [values[i : i + n] for i in range(n, n + n * n, n)]

    def hessian(self, box: Balls) -> list[Balls]:
        """Return H on `box`, n rows of n balls."""
        return self.linearise(box)[1]

    def third(self, box: Balls, one: Balls, other: Balls) -> Balls:
        """Return D³L[one, other, ·] on `box`, n balls."""
        values = self._third(box)
        total = [arb(0)] * len(self.symbols)
        for i, j, k, place in self._places:
            total[i] += values[place] * (one[j] * other[k])
        return total

    @functools.cached_property
    def _triples(self) -> list[tuple[int, ...]]:
        return list(itertools.combinations_with_replacement(range(len(self.symbols)), 3))

    @functools.cached_property
    def _places(self) -> list[tuple[int, int, int, int]]:
        """For each (i, j, k) where ∂ᵢ∂ⱼ∂ₖL is among the values of `_third`."""
        places = {triple: place for place, triple in enumerate(self._triples)}
        axes = range(len(self.symbols))
        return [
            (i, j, k, places[tuple(sorted((i, j, k)))])
            for i, j, k in itertools.product(axes, repeat=3)
        ]

    @functools.cached_property
    def _third(self) -> Program:
        n = len(self.symbols)
        with differentiating(self._hessian, self.symbols):
            parts = [
                sympy.diff(self._hessian[i * n + j], self.symbols[k]) for i, j, k in self._triples
            ]
        return Program(parts, self.symbols)


@dataclass(frozen=True)
class WithinDomain:
    """g, H and D³L of a loss, NaN on boxes that may hold points where the loss is not defined.

    Beyond the edge of log(x) its derivative 1/x still is.
    """

    gradient: GradientEquations

    def value(self, point: Balls) -> Balls:
        """Return g on `point`."""
        return self._kept(point, self.gradient.value(point))

    def linearise(self, box: Balls) -> tuple[Balls, list[Balls]]:
        """Return g and H on `box`."""
        g, h = self.gradient.linearise(box)
        return self._kept(box, g), [self._kept(box, row) for row in h]

    def hessian(self, box: Balls) -> list[Balls]:
        """Return H on `box`."""
        return self.linearise(box)[1]

    def third(self, box: Balls, one: Balls, other: Balls) -> Balls:
        """Return D³L[one, other, ·] on `box`."""
        return self._kept(box, self.gradient.third(box, one, other))

    def _kept(self, box: Balls, values: Balls) -> Balls:
        return values if finite(self.gradient.loss(box)) else [arb.nan()] * len(values)


Derivatives: TypeAlias = GradientEquations | WithinDomain


@dataclass(frozen=True)
class AscentEquations:
    """Weights whose ascent point is a given one: w + rho g(w) − target = 0.

    USAM stands still where the ascent point is critical. The Jacobian is I + rho H(w).
    """

    gradient: GradientEquations
    rho: Ball
    target: Balls

    def value(self, point: Balls) -> Balls:
        """Return w + rho g(w) − target on `point`."""
        return self._shift(point, self.gradient.value(point))

    def linearise(self, box: Balls) -> tuple[Balls, list[Balls]]:
        """Return w + rho g(w) − target and I + rho H(w) on `box`."""
        g, h = self.gradient.linearise(box)
        rows = [[self.rho * x for x in row] for row in h]
        for i, row in enumerate(rows):
            row[i] += 1
        return self._shift(box, g), rows

    def _shift(self, w: Balls, g: Balls) -> Balls:
        return [x + self.rho * s - t for x, s, t in zip(w, g, self.target, strict=True)]


@dataclass(frozen=True)
class SphereEquations:
    """Critical points of the loss on a sphere, seen from its centre through one face of a cube.

    A unit vector e is u/‖u‖ with u_axis = side and the n − 1 others free, within [−1, 1] for the
    part of the sphere that belongs to this face. At w = centre − rho e the gradient is parallel
    to e where F_j = g_j − side g_axis u_j = 0 for every j ≠ axis. The Jacobian follows by

        ∂w_l/∂u_k = −(rho/‖u‖)(δ_lk − e_l e_k).

    SAM stands still where, with a critical point as centre, also e·g > 0.
    """

    gradient: GradientEquations
    centre: Balls
    rho: Ball
    axis: int
    side: int

    def unit(self, u: Balls) -> Balls:
        """Return e."""
        return frame(u, self.axis, self.side)[1]

    def point(self, u: Balls) -> Balls:
        """Return w = centre − rho e."""
        return self._at(self.unit(u))

    def coordinates(self, unit: Balls) -> Balls | None:
        """Return the u of `unit` balls around e; None where this may be another side's face."""
        ahead = self.side * unit[self.axis]
        if not ahead > 0:
            return None
        return [e / ahead for i, e in enumerate(unit) if i != self.axis]

    def inward(self, u: Balls) -> Ball:
        """Return e·g, positive where the gradient points to the centre."""
        e = self.unit(u)
        return dot(e, self.gradient.value(self._at(e)))

    def value(self, point: Balls) -> Balls:
        """Return F on `point`."""
        return self._along(self.gradient.value(self.point(point)), point)

    def linearise(self, box: Balls) -> tuple[Balls, list[Balls]]:
        """Return F and its Jacobian on `box`."""
        n, i, s = len(self.centre), self.axis, self.side
        free = [k for k in range(n) if k != i]
        norm, e = frame(box, i, s)
        g, h = self.gradient.linearise(self._at(e))
        moved = [[-self.rho * x for x in turn] for turn in turns(norm, e, i)]
        rows = []
        for j, u in zip(free, box, strict=True):
            slopes = [x - s * y * u for x, y in zip(h[j], h[i], strict=True)]
            row = [
                dot(slopes, column) - (s * g[i] if j == k else 0)
                for k, column in zip(free, moved, strict=True)
            ]
            rows.append(row)
        return self._along(g, box), rows

    def _at(self, unit: Balls) -> Balls:
        return [c - self.rho * e for c, e in zip(self.centre, unit, strict=True)]

    def _along(self, g: Balls, u: Balls) -> Balls:
        ahead = self.side * g[self.axis]
        others = [*g[: self.axis], *g[self.axis + 1 :]]
        return [x - ahead * y for x, y in zip(others, u, strict=True)]


def dot(one: Balls, other: Balls) -> Ball:
    """Return the inner product of two vectors of balls."""
    return sum((x * y for x, y in zip(one, other, strict=True)), arb(0))
