"""The equations whose zeros are fixed points, on balls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy

from samflow.proofs.balls import Ball, Balls, Program


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
        self.gradient: list[Any] = [sympy.diff(expression, symbol) for symbol in symbols]
        hessian = [sympy.diff(part, symbol) for part in self.gradient for symbol in symbols]
        self.loss = Program([expression], symbols)
        self.value = Program(self.gradient, symbols)
        self._both = Program([*self.gradient, *hessian], symbols)

    def linearise(self, box: Balls) -> tuple[Balls, list[Balls]]:
        """Return g and H on `box`."""
        n, values = len(self.symbols), self._both(box)
        return values[:n], [values[i : i + n] for i in range(n, n + n * n, n)]

    def hessian(self, box: Balls) -> list[Balls]:
        """Return H on `box`, n rows of n balls."""
        return self.linearise(box)[1]


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
