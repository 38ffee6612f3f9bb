"""Branch and prune: every zero of n equations in n unknowns in a box.

A box is discarded if an enclosure of F, or of its mean-value form, does not contain 0. It is
settled if Krawczyk's operator proves one zero. Otherwise it is cut. Zeros on faces of boxes are
found by larger boxes about them. Source: Neumaier, Interval Methods for Systems of Equations, 1990,
chapter 5; Kearfott, Rigorous Global Search, 1996, chapter 4.
"""

import math
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flint import arb

from samflow._types import Box
from samflow.proofs._krawczyk import (
    SCALES,
    Equations,
    approximate_inverse,
    inside,
    krawczyk,
    krawczyk_image,
    overlap,
    refine,
    tangent,
)
from samflow.proofs.balls import (
    Balls,
    OutsideDomain,
    hull,
    hulls,
    span,
    spans,
    working_precision,
)

_CUT = 0.4921875
"""Where a box is cut: not in the middle, because users' boxes often have a zero there."""

_SEARCH_BITS = 53

_CONTRACTED = 0.7
"""A box whose widths all shrank to less than this share is examined again before it is cut."""

_ROOM = 0.01
"""What is kept around a contracted box, as a share of its width before."""

_ROUNDING = 16 * sys.float_info.epsilon
"""Relative width below which doubles no longer describe a box well."""


def _everywhere(_: Balls) -> bool:
    return True


class Search(NamedTuple):
    """Result of a search.

    Every zero in the searched box that `admits` accepts is enclosed by one of `zeros` or lies in
    one of `undecided` or `unexamined`.

    Attributes:
        zeros: boxes that hold exactly one zero each, and no zero is listed twice; the
            zero can lie slightly outside the searched box.
        regions: larger boxes that hold exactly one zero each, one of `zeros`.
        undecided: boxes that are too narrow to be cut again, where nothing was decided.
        unexamined: boxes left when the budget was spent.
        boxes_examined: how many boxes were examined.

    """

    zeros: list[Balls]
    regions: list[Balls]
    undecided: list[Box]
    unexamined: list[Box]
    boxes_examined: int

    def same(self, one: Balls, other: Balls) -> bool:
        """Say whether a zero in `one` and a zero in `other` are proved to be the same."""
        return any(inside(one, region) and inside(other, region) for region in self.regions)


def find_zeros(
    equations: Equations,
    box: Box,
    *,
    max_boxes: int,
    precision: int = 128,
    min_width: float = 2.0**-36,
    admits: Callable[[Balls], bool] = _everywhere,
) -> Search:
    """Enclose every zero of `equations` in `box`.

    Boxes are examined from the largest to the smallest, so that isolated zeros are found before
    a curve of zeros uses up the budget. A box narrower than `min_width` times the first one, and
    those left when the budget is spent, are undecided: degenerate zeros, curves of zeros, and
    edges of the domain end there.

    Args:
        equations: what must vanish.
        box: where.
        max_boxes: how many boxes to examine at most.
        precision: bits to which the enclosures of zeros are refined.
        min_width: the smallest width, as a share of that of `box`.
        admits: says whether a box may hold a zero that counts; the others are not searched.

    """
    narrow = [min_width * (high - low) for low, high in box]
    branch = _Branch(equations, narrow, precision, admits)
    examined, queue = _exhaust(branch.examine, box, max_boxes)
    return Search(branch.zeros, branch.regions, branch.undecided, queue, examined)


def exclude(
    equations: Equations,
    box: Box,
    *,
    max_boxes: int,
    min_width: float = 2.0**-6,
    admits: Callable[[Balls], bool] = _everywhere,
) -> Search:
    """Return the parts of `box` that may hold zeros as `undecided`, and look for none of them.

    For equations with a wide parameter, whose zeros form sets with an interior.
    """
    narrow = [min_width * (high - low) for low, high in box]
    undecided: list[Box] = []

    def examine(part: Box) -> list[Box]:
        about = tangent(equations, part) if admits(hulls(part)) else None
        if about is None:
            return []
        halves = _halves(part, about.rows, narrow)
        if not halves:
            undecided.append(part)
        return halves

    examined, queue = _exhaust(examine, box, max_boxes)
    return Search([], [], undecided, queue, examined)


def certify_near(equations: Equations, points: Sequence[Balls], *, precision: int = 128) -> Search:
    """Prove one zero close to each of `points`, or say that this failed.

    A point is a tiny box of balls; the caller has found it, for example by Newton's iteration.
    Boxes of several sizes are tried about it, relative to the largest coordinate of all points, and
    to 1; the smallest is returned as undecided where none of them is proved to hold one zero. Every
    zero in one of `points` is enclosed, or undecided.
    """
    length = max((abs(float(x)) for point in points for x in point), default=0.0)
    branch = _Branch(equations, [], precision)
    with working_precision(precision):
        for point in points:
            regions = [
                [x + arb(0, size * 2.0**-bits) for x in point]
                for size in (length, 1.0)
                for bits in SCALES
                if size > 0
            ]
            if not any(branch.certify(region) for region in regions):
                branch.undecided.append(spans(regions[-1]))
    return Search(branch.zeros, branch.regions, branch.undecided, [], len(points))


class _Branch:
    """The state of one search: zeros found so far and boxes given up."""

    def __init__(
        self,
        equations: Equations,
        narrow: Sequence[float],
        precision: int,
        admits: Callable[[Balls], bool] = _everywhere,
    ):
        self.equations = equations
        self.narrow = narrow
        self.precision = precision
        self.admits = admits
        self.zeros: list[Balls] = []
        self.regions: list[Balls] = []
        self.undecided: list[Box] = []

    def examine(self, part: Box) -> list[Box]:
        """Decide about one box; return what is left of it to examine."""
        ball = hulls(part)
        if any(inside(ball, region) for region in self.regions) or not self.admits(ball):
            return []
        about = tangent(self.equations, part)
        if about is None:
            return []
        _, middle, offset, at_middle, rows = about
        inverse = approximate_inverse(rows)
        if inverse is not None:
            image = krawczyk(inverse, middle, at_middle, rows, offset)
            if not overlap(image, ball):
                return []
            if inside(image, ball):
                self._record(image, ball)
                return []
            if all(k.rad() < x.rad() for k, x in zip(image, ball, strict=True)):
                region = _around(part, image)
                if self.certify(region) and inside(ball, region):
                    return []
            smaller = tuple(map(_meet, part, image))
            if all(_width(s) < _CONTRACTED * _width(p) for s, p in zip(smaller, part, strict=True)):
                return [smaller]
            part = smaller
        halves = _halves(part, rows, self.narrow)
        if not halves:
            self.undecided.append(part)
        return halves

    def certify(self, region: Balls) -> bool:
        """Try to prove that `region` holds one zero; record it."""
        try:
            image = krawczyk_image(self.equations, region)
        except OutsideDomain:
            return False
        if image is None or not inside(image, region):
            return False
        self._record(image, region)
        return True

    def _record(self, image: Balls, region: Balls) -> None:
        """Add the one zero in `region`, or only the region where the zero is known."""
        enclosure = refine(self.equations, image, precision=self.precision)
        # A region that holds a known zero holds no other, and a zero in a known region is known.
        known = any(inside(enclosure, other) for other in self.regions)
        if not known and not any(inside(zero, region) for zero in self.zeros):
            if any(overlap(enclosure, zero) for zero in self.zeros):
                self.undecided.append(spans(enclosure))
                return
            self.zeros.append(enclosure)
        self.regions.append(region)


def _exhaust(
    examine: Callable[[Box], list[Box]], box: Box, max_boxes: int
) -> tuple[int, list[Box]]:
    queue = deque([box])
    examined = 0
    with working_precision(_SEARCH_BITS):
        while queue and examined < max_boxes:
            examined += 1
            queue.extend(examine(queue.popleft()))
    return examined, list(queue)


def _around(part: Box, image: Balls) -> Balls:
    """Return a box about the middle of `image` with `part` in its interior."""
    region = []
    for (low, high), k in zip(part, image, strict=True):
        centre = float(k)
        radius = 1.01 * max(high - centre, centre - low)
        region.append(hull(centre - radius, centre + radius))
    return region


def _meet(interval: tuple[float, float], k: arb) -> tuple[float, float]:
    """Cut `interval` down to about `k`, with room left to prove something in its interior."""
    low, high = span(k)
    room = _ROOM * _width(interval)
    return max(low - room, interval[0]), min(high + room, interval[1])


def _width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


def _halves(part: Box, rows: list[Balls], narrow: Sequence[float]) -> list[Box]:
    """Cut a box across the coordinate that changes F most; nothing where all are too narrow.

    Coordinates in which the Jacobian is unbounded come first: nothing can be decided before that.
    """
    best, coordinate = (False, -1.0), None
    for j, (low, high) in enumerate(part):
        width = high - low
        if width <= max(narrow[j], _ROUNDING * max(-low, high)):
            continue
        smear = width * max(float(row[j].abs_upper()) for row in rows)
        score = (False, smear) if math.isfinite(smear) else (True, width)
        if score > best:
            best, coordinate = score, j
    if coordinate is None:
        return []
    low, high = part[coordinate]
    cut = low + _CUT * (high - low)
    before, after = part[:coordinate], part[coordinate + 1 :]
    return [(*before, (low, cut), *after), (*before, (cut, high), *after)]
