"""Branch and bound over directions: the least value of a function, and where it first fails.

A cell is a patch of the unit sphere and intervals of further numbers. Source of the methods:
Kearfott, Rigorous Global Search, 1996, chapter 5.
"""

import heapq
import itertools
import math
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from samflow._types import Box
from samflow.proofs.balls import Ball, OutsideDomain, Span, span
from samflow.proofs.directions import Patch, halves, middle, sphere


class Cell(NamedTuple):
    """Directions of a patch, with every number of `ranges`."""

    patch: Patch
    ranges: Box = ()

    def middle(self) -> "Cell":
        """Return the cell of the one point in the middle."""
        return Cell(self.patch.middle(), tuple((m, m) for m in map(middle, self.ranges)))

    @property
    def sides(self) -> Box:
        """The intervals of all coordinates: those of the patch, then the ranges."""
        return (*self.patch.box, *self.ranges)

    def cut(self, k: int) -> "tuple[Cell, Cell]":
        """Return the two halves across coordinate k of `sides`."""
        free = len(self.patch.box)
        if k < free:
            return tuple(Cell(half, self.ranges) for half in self.patch.cut(k))  # type: ignore
        return tuple(Cell(self.patch, half) for half in halves(self.ranges, k - free))  # type: ignore

    def direction(self) -> tuple[float, ...]:
        """Return the direction in the middle, in floating point."""
        v = [middle(side) for side in self.patch.box]
        v.insert(self.patch.axis, float(self.patch.side))
        return tuple((np.array(v) / np.linalg.norm(v)).tolist())


class Bound(NamedTuple):
    """What is known of a function on a cell.

    Attributes:
        low: the function is at least this; −inf where it may be undefined.
        at_point: (low, high) of its value at `point`.
        point: a point of the cell, in the middle of its ranges.
        smears: how much a cut across each coordinate may gain.

    """

    low: float
    at_point: Span
    point: Cell
    smears: list[float]


def layered(dim: int, first: float, last: float) -> list[Cell]:
    """Return cells over all directions, and over 0 to `last` in layers that grow by a factor.

    The lowest layer ends at `first`.
    """
    edges = [0.0, first]
    while edges[-1] < last:
        edges.append(min(edges[-1] * (2.0 if edges[-1] > last / 2**16 else 8.0), last))
    return [Cell(patch, (layer,)) for patch in sphere(dim) for layer in itertools.pairwise(edges)]


class Function(Protocol):
    """A real function on cells, on balls."""

    def value(self, cell: Cell, /) -> Ball:
        """Return an enclosure of the function at a cell of one point."""
        ...

    def bound(self, cell: Cell, about: float, /) -> Bound:
        """Return bounds on `cell`, sharp where the function is near `about`.

        Raises:
            OutsideDomain: where the function certainly has no value at the point looked at.

        """
        ...


class Minimum(NamedTuple):
    """The least value of a function over cells.

    Attributes:
        low: it is at least this; −inf where the function may be undefined somewhere.
        high: it is at most this.
        direction: where it is `high`.
        undefined: a direction in which the function certainly has no value; None: none was met.
        examined: how many cells were examined.

    """

    low: float
    high: float
    direction: tuple[float, ...]
    undefined: tuple[float, ...] | None
    examined: int


def minimise(
    function: Function, cells: Iterable[Cell], *, rtol: float, max_cells: int, start: int = 0
) -> Minimum:
    """Enclose the least value of `function` to `rtol`, or as well as `max_cells` cells allow."""
    order = itertools.count()
    heap: list[tuple[float, int, Cell, Bound | None]] = [
        (-math.inf, next(order), cell, None) for cell in cells
    ]
    direction = heap[0][2].direction()
    high, examined = math.inf, start
    finished = math.inf
    while heap and examined < max_cells:
        low, _, cell, known = heap[0]
        if min(low, finished) >= high - rtol * abs(high):
            break
        heapq.heappop(heap)
        if known is not None:
            k = _widest(cell, known)
            if k is None:
                finished = min(finished, low)
                continue
            parts = cell.cut(k)
        else:
            parts = (cell,)
        for part in parts:
            examined += 1
            try:
                found = function.bound(part, high if math.isfinite(high) else 0.0)
            except OutsideDomain:
                return Minimum(-math.inf, high, direction, part.direction(), examined)
            if found.at_point[1] < high:
                high, direction = found.at_point[1], found.point.direction()
            if found.low < high:
                best = max(found.low, low)  # the cell was bounded as a part of a larger one, too
                heapq.heappush(heap, (best, next(order), part, found))
    lowest = min(heap[0][0] if heap else high, finished, high)
    return Minimum(lowest, high, direction, None, examined)


class Failure(NamedTuple):
    """How far up its last coordinate t a function stays positive, seen from t = 0.

    Attributes:
        low: it is positive for every direction and every t of the cells up to this.
        high: it is negative at this t in `direction`, or inf where no such place was found.
        direction: where it is negative at `high`; None where nowhere.
        undefined: (t, direction) where the function certainly has no value; None: none was met.
        least: over all cells in which it was found positive, a lower bound.
        first: the first cell that is not decided; None where all are, or where it is negative.
        examined: how many cells were examined.

    """

    low: float
    high: float
    direction: tuple[float, ...] | None
    undefined: tuple[float, tuple[float, ...]] | None
    least: float
    first: Cell | None
    examined: int


def first_failure(
    function: Function, cells: Iterable[Cell], *, rtol: float, max_cells: int, floor: float = 0.0
) -> Failure:
    """Find the smallest t at which the function falls to `floor` or below, t the last range.

    The cells that are not decided are kept in the order of their least t. Where the function is
    above `floor` on the first of them it is dropped, and else cut.
    """
    order = itertools.count()
    heap = [(cell.ranges[-1][0], next(order), cell) for cell in cells]
    heapq.heapify(heap)
    edges = [cell.ranges[-1][1] for _, _, cell in heap]
    top, bottom = max(edges), min(edges) * _BOTTOM
    high, direction, undefined = math.inf, None, None
    least, examined = math.inf, 0
    while heap and examined < max_cells:
        t, _, cell = heap[0]
        if t >= high * (1 - rtol) or high < bottom:
            break
        heapq.heappop(heap)
        examined += 1
        try:
            found = function.bound(cell, floor)
        except OutsideDomain:
            m = middle(cell.ranges[-1])
            if m < high:
                high, direction, undefined = m, None, (m, cell.direction())
            smears = [math.inf] * len(cell.sides)
            found = Bound(-math.inf, (-math.inf, math.inf), cell.middle(), smears)
        if found.low > floor:
            least = min(least, found.low)
            continue
        for point, known in _probes(function, cell, found, rtol):
            if known < floor and point.ranges[-1][1] < high:
                high, direction, undefined = point.ranges[-1][1], point.direction(), None
        k = _widest(cell, found)
        if k is None:
            if not math.isfinite(high):
                high, direction, undefined = _beyond(function, found.point, cell, floor, rtol)
            return Failure(t, high, direction, undefined, least, cell, examined)
        for part in cell.cut(k):
            if part.ranges[-1][0] < high:
                heapq.heappush(heap, (part.ranges[-1][0], next(order), part))
    low = min(heap[0][0] if heap else top, high)
    return Failure(low, high, direction, undefined, least, heap[0][2] if heap else None, examined)


def _probes(
    function: Function, cell: Cell, found: Bound, rtol: float
) -> Iterator[tuple[Cell, float]]:
    """Yield points with upper bounds of the function: the middle, and just above a thin cell."""
    yield found.point, found.at_point[1]
    low, high = cell.ranges[-1]
    above = low * (1 + 0.75 * rtol)
    if low < high <= above:
        ranges = (*found.point.ranges[:-1], (above, above))
        point = Cell(found.point.patch, ranges)
        try:
            yield point, span(function.value(point))[1]
        except OutsideDomain:
            return


def _beyond(
    function: Function, point: Cell, cell: Cell, floor: float, rtol: float
) -> tuple[float, tuple[float, ...] | None, tuple[float, tuple[float, ...]] | None]:
    """Return what is just above a cell that cannot be cut: where it fails, or has no value."""
    above = cell.ranges[-1][1] * (1 + rtol)
    place = Cell(point.patch, (*point.ranges[:-1], (above, above)))
    try:
        fails = span(function.value(place))[1] < floor
    except OutsideDomain:
        return above, None, (above, place.direction())
    return (above, place.direction(), None) if fails else (math.inf, None, None)


_BOTTOM = 2.0**-10
"""A function that fails below this part of the lowest layer of t is not followed further down."""
_NARROW = 2.0**-40
"""Sides of a patch narrower than this, and ranges relative to their own numbers, are not cut."""


def _widest(cell: Cell, found: Bound) -> int | None:
    """Return the coordinate across which the function may change most; None: all are narrow."""
    best, chosen = (-1.0, -1.0), None
    for k, ((low, high), smear) in enumerate(zip(cell.sides, found.smears, strict=True)):
        # Coordinates of a patch are numbers of order 1; a range has a unit of its own.
        size = 1.0 if k < len(cell.patch.box) else max(abs(low), abs(high), sys.float_info.min)
        width = (high - low) / size
        smear = smear if math.isfinite(smear) else math.inf  # NaN: nothing is known
        if width > _NARROW and (smear, width) > best:
            best, chosen = (smear, width), k
    return chosen
