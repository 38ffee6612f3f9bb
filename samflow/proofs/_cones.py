"""Branch and bound over the cells of cones: is a set kept, and from where do orbits come to it."""

import math
from collections.abc import Callable
from typing import NamedTuple

from flint import arb

from samflow._types import Box
from samflow.proofs._steps import Cell, Chart, Singular, Steps
from samflow.proofs.balls import OutsideDomain, Span, finite
from samflow.proofs.directions import sphere

_NARROW = 2.0**-12
"""Cells narrower than this in every free number, as a share of the first ones, are given up."""


class Budget:
    """How many cells may still be examined."""

    def __init__(self, cells: int):
        """Begin with a number of cells."""
        self.left = cells


class Searched(NamedTuple):
    """What a search over cells proved.

    Attributes:
        proved: whether every cell was decided.
        bound: the largest value that a cell gave; see `keeps` and `falls`.
        gap: the cell that was given up; None where proved.
        outside: whether the loss may not be defined where that cell ascends to.
        spent: whether the budget ended the search.

    """

    proved: bool
    bound: float
    gap: Cell | None = None
    outside: bool = False
    spent: bool = False


class _Seen(NamedTuple):
    """What one cell gives: decided or not, a value, what to cut."""

    decided: bool
    value: float
    shares: list[float]
    outside: bool = False


def keeps(chart: Chart, part: Box, num_returns: int, budget: Budget) -> Searched:
    """Prove that every point of V ≤ 1 comes back to V ≤ 1 within `num_returns` steps.

    For all (rho, lr) in `part`. The bound is that of the levels on the way.
    """
    one = arb(1)

    def examine(cell: Cell) -> _Seen:
        steps, highest, shares = Steps(chart, cell), 1.0, []
        for _ in range(num_returns):
            y = steps.advance()
            if not finite(y.all_over):
                return _Seen(False, math.inf, shares, True)
            value, shares = steps.excess(one)
            if value <= 0 or (num_returns == 1 and steps.change()[0] <= 0):
                return _Seen(True, highest, shares)
            highest = max(highest, float(chart.gauge.bound(y.all_over).upper()))
        return _Seen(False, highest, shares)

    return _search(chart.dim, ((0.0, 1.0), *part), examine, budget)


def falls(
    chart: Chart, part: Box, levels: Span, num_returns: int, wanted: float, budget: Budget
) -> Searched:
    """Prove that V falls by `wanted` or more within `num_returns` steps from all of `levels`.

    For all (rho, lr) in `part`. The bound is minus the fall that is proved.
    """

    def examine(cell: Cell) -> _Seen:
        steps, shares = Steps(chart, cell), []
        for _ in range(num_returns):
            if not finite(steps.advance().all_over):
                return _Seen(False, 0.0, shares, True)
            value, shares = steps.change()
            fall = float(chart.gauge.fall(value, steps.s).lower()) if value < 0 else 0.0
            if fall >= wanted:
                return _Seen(True, -fall, shares)
        return _Seen(False, 0.0, shares)

    return _search(chart.dim, (levels, *part), examine, budget)


def _search(dim: int, scalars: Box, examine: Callable[[Cell], _Seen], budget: Budget) -> Searched:
    stack = [Cell(patch, scalars) for patch in sphere(dim)]
    widths = _widths(stack[0])
    bound = -math.inf
    while stack:
        cell = stack.pop()
        if budget.left <= 0:
            return Searched(False, bound, cell, spent=True)
        budget.left -= 1
        try:
            seen = examine(cell)
        except Singular:
            seen = _Seen(False, math.inf, [])
        except OutsideDomain:
            seen = _Seen(False, math.inf, [], True)
        if seen.decided:
            bound = max(bound, seen.value)
            continue
        halves = _halves(cell, widths, seen.shares)
        if not halves:
            return Searched(False, bound, cell, seen.outside)
        stack += halves
    return Searched(True, bound)


def _widths(cell: Cell) -> list[float]:
    return [high - low for low, high in cell.intervals]


def _halves(cell: Cell, whole: list[float], shares: list[float]) -> tuple[Cell, ...]:
    """Cut across the free number that widens the enclosure most; nothing where all are narrow."""
    widths = [
        w / all_of_it if all_of_it else 0.0
        for w, all_of_it in zip(_widths(cell), whole, strict=True)
    ]
    known = bool(shares) and all(map(math.isfinite, shares))
    scores = shares if known else widths
    order = sorted(range(len(widths)), key=lambda k: -scores[k])
    k = next((k for k in order if widths[k] > _NARROW), None)
    return () if k is None else cell.cut(k)
