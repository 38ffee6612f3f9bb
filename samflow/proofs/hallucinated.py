"""Where normalised SAM stands still: on spheres about critical points, each point proved to exist.

g(w + rho g/‖g‖) = 0 with g(w) ≠ 0 says that the ascent point is a critical point w*, at the
distance rho, and that g(w) = μ(w* − w) with μ > 0: on the sphere of radius rho about w* the loss
is critical at w, and its gradient points inwards. So all critical points that are no farther than
rho from the box come first, and then, for each of them, its sphere: n − 1 unknowns on each of the
2n faces of a cube. Source: arXiv 2509.21818; docs/theory, section 3.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import sympy

from samflow._types import Box
from samflow.proofs._krawczyk import overlap
from samflow.proofs._locate import Limits, Located, Place, meet
from samflow.proofs._undecided import (
    CROWD,
    CURVE,
    DEGENERATE,
    ORIGIN,
    TARGET,
    Undecided,
    regroup,
    undecided,
)
from samflow.proofs.balls import Ball, Balls, OutsideDomain, hulls, span, spans, working_precision
from samflow.proofs.blocks import Proved, Solved, count, product, solve, undecided_product
from samflow.proofs.enclosures import eigenvalues, normalised_jacobian, symmetric_eigenvalues
from samflow.proofs.equations import GradientEquations, SphereEquations, dot
from samflow.proofs.search import Search, exclude, find_zeros

SPHERES = "spheres about critical points"

_MARGIN = 0.01
"""What is added around what an ascent step can reach, as a share of the box and the step."""


def solve_hallucinated(
    expression: sympy.Expr,
    symbols: Sequence[sympy.Symbol],
    box: Box,
    *,
    rho: Ball,
    settings: Limits,
) -> Solved:
    """Enclose every w in `box` with g(w + rho g/‖g‖) = 0 and g(w) ≠ 0; rho > 0.

    The norm joins all coordinates: the points of a sum over blocks are no product, but the
    critical points that they ascend to are.
    """
    coordinates = tuple(range(len(symbols)))
    with working_precision(settings.precision):
        targets = solve(expression, symbols, _reach(box, rho), rho=0 * rho, settings=settings)
    examined = sum(block.boxes_examined for block in targets)
    if count(targets) > settings.max_points:
        return Solved(coordinates, [], [Undecided(box, CROWD)], examined, SPHERES)
    equations = GradientEquations(expression, symbols)
    place = Place(equations, box)
    with working_precision(settings.precision):
        for target in product(targets):
            examined += _search(_faces(equations, target.point.w, rho), place, settings)
        for gap in undecided_product(targets):
            examined += _leave_open(_faces(equations, hulls(gap.box), rho), place, settings)
        points = [_spectra(equations, point, rho) for point in place.points]
    return Solved(coordinates, points, regroup(place.undecided), examined, SPHERES)


def _reach(box: Box, rho: Ball) -> Box:
    """Return a box that holds all that is no farther than rho from `box`."""
    step = span(rho)[1]
    room = [step + _MARGIN * (step + high - low) for low, high in box]
    return tuple((low - x, high + x) for (low, high), x in zip(box, room, strict=True))


def _faces(equations: GradientEquations, centre: Balls, rho: Ball) -> list[SphereEquations]:
    return [
        SphereEquations(equations, centre, rho, axis, side)
        for axis in range(len(centre))
        for side in (1, -1)
    ]


class _Found(NamedTuple):
    """A zero `u` on one face of a sphere, and the search that found it."""

    face: SphereEquations
    search: Search
    u: Balls

    def same(self, other: "_Found") -> bool:
        """Say whether two zeros are proved to be one, which lies where two faces meet."""
        seen = self.face.coordinates(other.face.unit(other.u))
        return seen is not None and self.search.same(seen, self.u)


def _search(faces: list[SphereEquations], place: Place, settings: Limits) -> int:
    """Add the points of one sphere to `place`; return how many boxes were examined."""
    found: list[_Found] = []
    examined = 0
    for face in faces:
        search = _zeros(face, place.box, settings, len(faces))
        examined += search.boxes_examined
        gaps = (search.undecided, DEGENERATE), (search.unexamined, CURVE)
        for parts, reason in gaps:
            place.undecided += undecided(_shadows(face, parts, place.box), reason)
        for u in search.zeros:
            new = _Found(face, search, u)
            if not any(new.same(old) or old.same(new) for old in found):
                _keep(new, found, place)
                found.append(new)
    return examined


def _keep(new: _Found, found: list[_Found], place: Place) -> None:
    """Add a zero of one face to `place` where g points inwards, unless it may be known."""
    w = new.face.point(new.u)
    inward = new.face.inward(new.u)
    if inward < 0 or not meet(w, place.box):
        return
    if not inward > 0:
        place.undecided.append(Undecided(spans(w), ORIGIN))
    elif any(overlap(w, old.face.point(old.u)) for old in found):
        place.undecided.append(Undecided(spans(w), DEGENERATE))
    else:
        place.keep(Located(w, new.face.centre, True), new.search)


def _leave_open(faces: list[SphereEquations], place: Place, settings: Limits) -> int:
    """Leave open what an ascent step may send to a critical point that is itself undecided."""
    examined = 0
    for face in faces:
        left = exclude(
            face, _face(face), max_boxes=settings.max_boxes, admits=_admits(face, place.box)
        )
        examined += left.boxes_examined
        parts = [*left.undecided, *left.unexamined]
        place.undecided += undecided(_shadows(face, parts, place.box), TARGET)
    return examined


def _zeros(face: SphereEquations, box: Box, settings: Limits, share: int) -> Search:
    admits = _admits(face, box)
    if len(face.centre) == 1:  # two points, each of them a face without unknowns
        return Search([[]] if admits([]) else [], [], [], [], 1)
    return find_zeros(
        face,
        _face(face),
        max_boxes=max(1, settings.max_boxes // share),
        precision=settings.precision,
        admits=admits,
    )


def _face(face: SphereEquations) -> Box:
    return ((-1.0, 1.0),) * (len(face.centre) - 1)


def _admits(face: SphereEquations, box: Box) -> Callable[[Balls], bool]:
    """Return what says whether a part of a face may hold a w in `box` with e·g ≥ 0."""

    def admits(u: Balls) -> bool:
        try:
            return meet(face.point(u), box) and not face.inward(u) < 0
        except OutsideDomain:
            return False

    return admits


def _shadows(face: SphereEquations, parts: Sequence[Box], box: Box) -> list[Box]:
    """Return boxes around the w in `box` that parts of a face may hold."""
    shadows, admits = [], _admits(face, box)
    for part in parts:
        if not admits(hulls(part)):
            continue
        w = spans(face.point(hulls(part)))
        pairs = zip(w, box, strict=True)
        shadows.append(tuple((max(a, low), min(b, high)) for (a, b), (low, high) in pairs))
    return shadows


def _spectra(equations: GradientEquations, point: Located, rho: Ball) -> Proved:
    """Return a point with the eigenvalues of H and of SAM's Jacobian Dd there."""
    g, h = equations.linearise(point.w)
    unit = [(p - x) / rho for p, x in zip(point.ascent, point.w, strict=True)]
    jacobian = normalised_jacobian(equations.hessian(point.ascent), h, unit, dot(unit, g) / rho)
    return Proved(point, symmetric_eigenvalues(h), eigenvalues(jacobian))
