"""Search for every fixed point of GD or USAM in a box; each is proved to exist.

Fixed points of GD have g(w) = 0. Fixed points of USAM have g(w + rho g(w)) = 0: they are critical
points, or "hallucinated" points, whose ascent point w + rho g(w) is another critical point (arXiv
2509.21818). The search first finds all critical points that an ascent step from the box can reach,
inside the box or outside. For each of them it then finds every w in the box whose ascent point it
is.
"""

import itertools
import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import sympy
from flint import arb, fmpq

from samflow._types import Box
from samflow.proofs._undecided import (
    BUDGET,
    DEGENERATE,
    DOMAIN,
    EDGE,
    ORIGIN,
    TARGET,
    Undecided,
    undecided,
)
from samflow.proofs.balls import (
    Ball,
    Balls,
    OutsideDomain,
    finite,
    hulls,
    spans,
    working_precision,
)
from samflow.proofs.equations import AscentEquations, GradientEquations
from samflow.proofs.planar import planar_zeros
from samflow.proofs.search import Search, exclude, find_zeros

RESULTANTS = "resultants and Krawczyk's operator"
SUBDIVISION = "subdivision and Krawczyk's operator"

_MAX_PIECES = 256
"""Pieces of the box on which the ascent points are enclosed one by one."""


_MARGIN = 0.01
"""What is added around the ascent points, as a share of the box."""


class Limits(NamedTuple):
    """Settings of a search for a proof.

    Attributes:
        max_boxes: the most boxes examined in one search; the faces of a sphere share them.
        precision: bits of the final enclosures.
        max_points: the most fixed points listed.
        separate: whether a sum over disjoint sets of variables is solved set by set.
        algebra: whether polynomials in two variables are solved by resultants.

    """

    max_boxes: int = 20_000
    precision: int = 128
    max_points: int = 10_000
    separate: bool = True
    algebra: bool = True


class Located(NamedTuple):
    """A fixed point `w` and its ascent point, which is `w` itself at a critical point."""

    w: Balls
    ascent: Balls
    hallucinated: bool


class Location(NamedTuple):
    """Every fixed point in the box is one of `points` or lies in one of `undecided`."""

    points: list[Located]
    undecided: list[Undecided]
    boxes_examined: int
    method: str


def locate(equations: GradientEquations, box: Box, *, rho: Ball, settings: Limits) -> Location:
    """Enclose every zero of g(w + rho g(w)) in `box`; with rho = 0, every zero of g."""
    with working_precision(settings.precision):
        return _locate(equations, box, rho, settings)


def _locate(equations: GradientEquations, box: Box, rho: Ball, settings: Limits) -> Location:
    place = Place(equations, box)
    reach = box if rho.is_zero() else _reach(equations, box, rho)
    bounded = np.isfinite(reach).all()
    search, method = _critical_points(equations, reach if bounded else box, settings)
    if not bounded and method != RESULTANTS:
        place.undecided.append(Undecided(box, DOMAIN))
    for zero in search.zeros:
        place.keep(Located(zero, zero, False), search)
    examined = search.boxes_examined
    if rho.is_zero():
        place.undecided += _gaps(search, box)
        return Location(place.points, place.undecided, examined, method)

    for zero in search.zeros:
        if not meet(zero, reach):
            continue
        ascent = AscentEquations(equations, rho, zero)
        inverse = find_zeros(
            ascent, box, max_boxes=settings.max_boxes, precision=settings.precision
        )
        examined += inverse.boxes_examined
        for w in inverse.zeros:
            if not inverse.same(w, zero):
                place.keep(Located(w, zero, True), inverse)
        place.undecided += _gaps(inverse, box)
    for gap in _gaps(search, reach):
        target = AscentEquations(equations, rho, hulls(gap.box))
        left = exclude(target, box, max_boxes=settings.max_boxes)
        examined += left.boxes_examined
        place.undecided += undecided([*left.undecided, *left.unexamined], TARGET)
    return Location(place.points, place.undecided, examined, method)


def _critical_points(
    equations: GradientEquations, reach: Box, settings: Limits
) -> tuple[Search, str]:
    if settings.algebra:
        search = planar_zeros(equations, precision=settings.precision)
        if search is not None:
            return search, RESULTANTS
    search = find_zeros(
        equations, reach, max_boxes=settings.max_boxes, precision=settings.precision
    )
    return search, SUBDIVISION


def _reach(equations: GradientEquations, box: Box, rho: Ball) -> Box:
    """Return a box around all the ascent points w + rho g(w) of `box`."""
    pieces = max(1, int(_MAX_PIECES ** (1 / len(box)) + 1e-9))
    edges = [np.linspace(low, high, pieces + 1).tolist() for low, high in box]
    parts = itertools.product(*(list(itertools.pairwise(axis)) for axis in edges))
    ascent = AscentEquations(equations, rho, [arb(0)] * len(box))
    reach = np.array([[np.inf, -np.inf]] * len(box))  # stays so where no piece has ascent points
    for part in parts:
        try:
            image = np.array(spans(_image(ascent, hulls(part))))
        except OutsideDomain:
            continue
        reach[:, 0] = np.minimum(reach[:, 0], image[:, 0])
        reach[:, 1] = np.maximum(reach[:, 1], image[:, 1])
    # A margin, since ascent can send the whole box to a line, and a line has no interior.
    margin = _MARGIN * np.ptp(box, axis=1)
    reach += np.stack([-margin, margin], axis=1)
    return tuple((float(low), float(high)) for low, high in reach)


def _image(ascent: AscentEquations, ball: Balls) -> Balls:
    """Return w + rho g(w) on a box, by the narrower of the natural and the mean-value form."""
    natural, rows = ascent.linearise(ball)
    middle = [x.mid() for x in ball]
    image = []
    for i, value in enumerate(ascent.value(middle)):
        for r, x, m in zip(rows[i], ball, middle, strict=True):
            value += r * (x - m)
        image.append(value if value.rad() < natural[i].rad() else natural[i])
    return image


def meet(ball: Balls, box: Box) -> bool:
    """Say whether a ball may have a point in common with `box`."""
    pairs = zip(ball, box, strict=True)
    # Not written as >= and <=: NaN must count as meeting the box.
    return not any(x.upper() < low or x.lower() > high for x, (low, high) in pairs)


def _gaps(search: Search, box: Box) -> list[Undecided]:
    """Return the parts of `box` that `search` did not decide."""
    gaps = []
    for boxes, reason in ((search.undecided, DEGENERATE), (search.unexamined, BUDGET)):
        gaps += undecided([part for part in boxes if meet(hulls(part), box)], reason)
    return gaps


class Place:
    """The fixed points inside a box, and the parts of it of which that is not known."""

    def __init__(self, equations: GradientEquations, box: Box):
        self.equations = equations
        self.box = box
        self.points: list[Located] = []
        self.undecided: list[Undecided] = []

    def keep(self, point: Located, search: Search) -> None:
        """Add `point` if it lies in the box, where the loss is defined."""
        if not meet(point.w, self.box):
            return
        try:
            defined = all(finite(self.equations.loss(at)) for at in (point.w, point.ascent))
        except OutsideDomain:
            return
        here = spans(point.w)
        if not defined:
            self.undecided.append(Undecided(here, DOMAIN))
        elif point.hallucinated and all(0 in g for g in self.equations.value(point.w)):
            self.undecided.append(Undecided(here, ORIGIN))
        elif self._inside(point.w):
            self.points.append(point)
        elif point.hallucinated:
            self.undecided.append(Undecided(here, EDGE))
        else:
            side = self._exact_side(point.w, search)
            if side:
                self.points.append(point)
            elif side is None:
                self.undecided.append(Undecided(here, EDGE))

    def _inside(self, w: Balls) -> bool:
        pairs = zip(w, self.box, strict=True)
        return all(x.lower() >= low and x.upper() <= high for x, (low, high) in pairs)

    def _exact_side(self, w: Balls, search: Search) -> bool | None:
        """Say whether `w` lies in the closed box, where it is a rational point; else None."""
        # Small denominators are looked for in units of the box, a power of two.
        unit = Fraction(2) ** round(math.log2(max(high - low for low, high in self.box)))
        rational = [unit * (Fraction(float(x)) / unit).limit_denominator(2**20) for x in w]
        numbers = [sympy.Rational(x.numerator, x.denominator) for x in rational]
        at = dict(zip(self.equations.symbols, numbers, strict=True))
        if not all(g.subs(at).is_zero for g in self.equations.gradient):
            return None
        if not search.same(w, [arb(fmpq(x.numerator, x.denominator)) for x in rational]):
            return None
        return all(low <= x <= high for x, (low, high) in zip(rational, self.box, strict=True))
