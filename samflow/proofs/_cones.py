"""Branch and bound over the cells of cones: is a set kept, and from where do orbits come to it."""

import math
from collections.abc import Callable
from typing import NamedTuple

from samflow.proofs._steps import Cell, Singular, Stepper, excess
from samflow.proofs.balls import OutsideDomain, Span, finite
from samflow.proofs.directions import middle, sphere

_NARROW = 2.0**-12
"""Cells narrower than this in every free number, as a share of the first ones, are given up."""


class Kept(NamedTuple):
    """What a search over cells proved.

    Attributes:
        proved: whether every cell was decided.
        cells: how many cells were examined.
        highest: a bound on the level of all the images that were made on the way.
        gap: the cell that was given up; None where proved.
        outside: whether the loss may not be defined where that cell ascends to.
        spent: whether the budget ended the search.

    """

    proved: bool
    cells: int
    highest: float
    gap: Cell | None = None
    outside: bool = False
    spent: bool = False


class _Seen(NamedTuple):
    """What one cell gives: decided or not, the level reached, what to cut."""

    decided: bool
    level: float
    shares: list[float]
    outside: bool = False


def keeps(stepper: Stepper, num_steps: int, max_cells: int) -> Kept:
    """Prove that every point of V ≤ 1 comes back to V ≤ 1 within `num_steps` steps."""

    def examine(cell: Cell) -> _Seen:
        return _returns(stepper, cell, num_steps)

    return _search(stepper, (0.0, 1.0), examine, max_cells)


def falls(stepper: Stepper, levels: Span, wanted: float, max_cells: int) -> tuple[Kept, float]:
    """Prove that V falls by `wanted` or more with a step from everywhere in `levels`.

    The fall that is proved comes second.
    """
    least = math.inf

    def examine(cell: Cell) -> _Seen:
        nonlocal least
        seen, fall = _falls(stepper, cell, wanted)
        if seen.decided:
            least = min(least, fall)
        return seen

    kept = _search(stepper, levels, examine, max_cells)
    return kept, least


def _search(
    stepper: Stepper, levels: Span, examine: Callable[[Cell], _Seen], max_cells: int
) -> Kept:
    stack = [Cell(patch, levels) for patch in sphere(stepper.dim)]
    highest, cells = 0.0, 0
    while stack:
        cell = stack.pop()
        if cells >= max_cells:
            return Kept(False, cells, highest, cell, spent=True)
        cells += 1
        seen = examine(cell)
        if seen.decided:
            highest = max(highest, seen.level)
            continue
        halves = _halves(cell, levels, seen.shares)
        if not halves:
            return Kept(False, cells, highest, cell, seen.outside)
        stack += halves
    return Kept(True, cells, highest)


def _returns(stepper: Stepper, cell: Cell, num_steps: int) -> _Seen:
    """Say whether the cell comes back to V ≤ 1, or to a lower level than it has."""
    gauge, highest = stepper.gauge, 0.0
    shares: list[float] = []
    try:
        y, offset = stepper.first(cell)
        for i in range(num_steps):
            if i:
                y = stepper.step(y, offset)
            if not finite(y.all_over):
                return _Seen(False, math.inf, shares, True)
            value, shares = excess(gauge, y, offset, stepper.one, moving=False)
            if value <= 0:
                return _Seen(True, highest, shares)
            if num_steps == 1 and cell.levels[0] > 0:
                value, _ = excess(gauge, y, offset, cell.s, moving=True)
                if value <= 0:
                    return _Seen(True, highest, shares)
            highest = max(highest, float(gauge.bound(y.all_over).upper()))
    except Singular:
        return _Seen(False, math.inf, [])
    except OutsideDomain:
        return _Seen(False, math.inf, [], True)
    return _Seen(False, math.inf, shares)


def _falls(stepper: Stepper, cell: Cell, wanted: float) -> tuple[_Seen, float]:
    gauge = stepper.gauge
    try:
        y, offset = stepper.first(cell)
    except Singular:
        return _Seen(False, math.inf, []), 0.0
    except OutsideDomain:
        return _Seen(False, math.inf, [], True), 0.0
    if not finite(y.all_over):
        return _Seen(False, math.inf, [], True), 0.0
    value, shares = excess(gauge, y, offset, cell.s, moving=True)
    fall = float(gauge.fall(value, cell.s).lower()) if value < 0 else 0.0
    return _Seen(fall >= wanted, cell.levels[1], shares), fall


def _halves(cell: Cell, whole: Span, shares: list[float]) -> list[Cell]:
    """Cut across the free number that widens the enclosure most; nothing where all are narrow."""
    low, high = cell.levels
    widths = [0.5 * (b - a) for a, b in cell.patch.box]
    widths.append((high - low) / (whole[1] - whole[0]) if high > low else 0.0)
    known = bool(shares) and all(map(math.isfinite, shares))
    order = sorted(range(len(widths)), key=lambda k: -(shares if known else widths)[k])
    k = next((k for k in order if widths[k] > _NARROW), None)
    if k is None:
        return []
    if k == len(widths) - 1:
        cut = middle(cell.levels)
        return [cell._replace(levels=(cut, high)), cell._replace(levels=(low, cut))]
    return [cell._replace(patch=half) for half in cell.patch.cut(k)]
