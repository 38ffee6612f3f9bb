"""The critical set of a formula by exact algebra: isolated points, curves, surfaces."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import sympy

from samflow._types import Box
from samflow.equilibria.continua.geometry import Geometry, curves, sheets
from samflow.equilibria.continua.parametrise import parametrisation
from samflow.equilibria.continua.records import SingularPoint
from samflow.equilibria.continua.trace import SINGULAR
from samflow.equilibria.continua.zeros import Zeros
from samflow.proofs import real_zeros, varieties
from samflow.proofs.balls import Balls, OutsideDomain, Program, exact, working_precision
from samflow.proofs.polynomials import Numeric
from samflow.proofs.varieties import Piece

_PRECISION = 128


class CriticalSet(NamedTuple):
    """All critical points of a formula in a box.

    Attributes:
        isolated: each alone, shape (points, dim).
        enclosures: of those of them that are proved to be isolated, in the same order.
        continua: curves and surfaces, as far as they were found from many starts.
        zeros: the equations of each piece of them that has one dimension throughout.
        complete: whether `isolated` are proved to be all isolated ones in the box. The
            continua are then the real zeros of the equations that they have.
        size: the sides of the box.

    """

    isolated: np.ndarray
    enclosures: list[Balls]
    continua: list[Geometry]
    zeros: list[tuple[Zeros, int]]
    complete: bool
    size: np.ndarray

    @property
    def proved(self) -> np.ndarray:
        """Those of the isolated points that are proved to be isolated."""
        return self.isolated[: len(self.enclosures)]


def critical_set(
    expression: sympy.Expr,
    gradient: Sequence[Any],
    symbols: Sequence[Any],
    box: Box,
    num_starts: int,
) -> CriticalSet | None:
    """Return the zeros of a gradient; None where the formula is no polynomial of modest size.

    Args:
        expression: the loss, defined where it is finite.
        gradient: its partial derivatives; polynomials or quotients of such.
        symbols: the variables.
        box: where to look.
        num_starts: starts for samples of curves and surfaces.

    """
    decomposed = varieties.pieces(gradient, symbols)
    if decomposed is None:
        return None
    found = decomposed.pieces
    program = Program([expression, *gradient], symbols)
    enclosures, complete = _isolated(found, program, box)
    continua, known = [], []
    wide = [piece for piece in found if piece.dimension]
    for piece in wide:
        zeros, geometries = _real_part(piece, symbols, gradient, program, box, num_starts)
        if piece.is_unmixed:
            known.append((zeros, piece.dimension))
        continua += geometries
    continua, alone = _with_singular(continua, wide, program, box)
    isolated = np.array([*map(middle, enclosures), *alone]).reshape(-1, len(box))
    size = np.array([high - low for low, high in box])
    # A real point of a piece of which no curve was found may be a point apart.
    empty = any(not any(c.piece == piece for c in continua) for piece in wide)
    complete = complete and decomposed.whole and not empty and not len(alone)
    return CriticalSet(isolated, enclosures, continua, known, complete, size)


def _isolated(found: Sequence[Piece], program: Program, box: Box) -> tuple[list[Balls], bool]:
    points, complete = [], True
    wide = [piece for piece in found if piece.dimension]
    for piece in found:
        if piece.dimension:
            continue
        solved = real_zeros.real_points(piece, wide)
        if solved is None:
            complete = False
            continue
        for point in solved:
            inside = _inside(point, box)
            if inside is None or (inside and not _defined(program, point)):
                complete = False
            elif inside and not any(_same(point, other) for other in points):
                points.append(point)
    return points, complete


def _same(one: Balls, other: Balls) -> bool:
    return all(x.overlaps(y) for x, y in zip(one, other, strict=True))


def middle(point: Balls) -> list[float]:
    """Return a point of balls in floating point; a coordinate that may be 0 is 0."""
    return [0.0 if 0 in x else float(x) for x in point]


def _inside(point: Balls, box: Box) -> bool | None:
    """Say whether a point lies in the closed box; None where an edge passes through its ball."""
    sides = []
    for x, (low, high) in zip(point, box, strict=True):
        if x.lower() >= low and x.upper() <= high:
            sides.append(True)
        elif x.upper() < low or x.lower() > high:
            sides.append(False)
        else:
            number = real_zeros.rational(x)
            sides.append(None if number is None else low <= number <= high)
    return False if False in sides else None if None in sides else True


def _defined(program: Program, point: Balls) -> bool:
    """Say whether loss and gradient are finite there, and the gradient may vanish."""
    with working_precision(_PRECISION):
        try:
            loss, *gradient = program(point)
        except OutsideDomain:
            return False
    return loss.is_finite() and all(g.is_finite() and 0 in g for g in gradient)


def _real_part(
    piece: Piece,
    symbols: Sequence[Any],
    gradient: Sequence[Any],
    program: Program,
    box: Box,
    num_starts: int,
) -> tuple[Zeros, list[Geometry]]:
    """Return the equations of a piece, and the curves or sheets of its real points in the box."""
    low, high = np.array(box).T
    starts = np.random.default_rng(0).uniform(low, high, size=(num_starts, len(box)))
    zeros = Zeros.of(Numeric(piece.equations), box, starts)
    nothing = np.zeros((num_starts, len(box), 0))
    ends, solved = zeros.solve(zeros.units(starts), nothing, len(box) - piece.dimension)
    solved &= zeros.inside(ends)
    seeds = np.array([u for u in ends[solved] if _defined_near(program, zeros.weights(u))]).reshape(
        -1, len(box)
    )
    found = (
        curves(zeros, seeds)
        if piece.dimension == 1
        else sheets(zeros, seeds, piece.dimension, known=True)
    )
    names = [str(symbol) for symbol in symbols]
    made = parametrisation(piece, symbols, gradient) if found else ""
    geometries = []
    for geometry in found:
        k = len(geometry.u) // 2
        w, tangents = zeros.weights(geometry.u[k]), geometry.tangents[k]
        proved = real_zeros.is_real_manifold(piece, w, tangents)
        geometries.append(
            geometry._replace(
                equations=piece.texts(names), parametrisation=made, proved=proved, piece=piece
            )
        )
    return zeros, geometries


def _defined_near(program: Program, w: np.ndarray) -> bool:
    with working_precision(53):
        try:
            values = program([exact(x) for x in w])
        except OutsideDomain:
            return False
    return all(value.is_finite() for value in values)


def _with_singular(
    continua: list[Geometry], wide: Sequence[Piece], program: Program, box: Box
) -> tuple[list[Geometry], np.ndarray]:
    """Add crossings and singular points to the curves; return those on no curve as well."""
    places: list[tuple[str, np.ndarray, tuple[Piece, ...]]] = []
    for i, piece in enumerate(wide):
        if piece.dimension == 1:
            for point in real_zeros.singular_points(piece) or []:
                if _inside(point, box) and _defined(program, point):
                    places.append(("singular", np.array(middle(point)), (piece,)))
        for other in wide[:i]:
            for point in real_zeros.common_points(piece, other) or []:
                if _inside(point, box) and _defined(program, point):
                    places.append(("crossing", np.array(middle(point)), (piece, other)))
    alone = []
    for what, w, owners in places:
        met = [i for i, c in enumerate(continua) if c.piece in owners and c.meets(w)]
        ends = any(SINGULAR in continua[i].ends for i in met)
        if not met and what == "singular":
            alone.append(w)
        name = "crossing" if what == "singular" and not ends else what
        point = SingularPoint(tuple(map(float, w)), name, True)
        for i in met:
            if all(point.w != other.w for other in continua[i].singular):
                continua[i] = continua[i]._replace(singular=(*continua[i].singular, point))
    return continua, np.array(alone).reshape(-1, len(box))
