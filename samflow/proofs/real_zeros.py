"""Real zeros of the pieces of a variety, in ball arithmetic: points enclosed, manifolds proved."""

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from flint import Ordering, arb, fmpq, fmpq_poly, fmpz_mpoly_ctx, fmpz_mpoly_vec

from samflow.proofs.balls import Balls, Program, working_precision
from samflow.proofs.search import certify_near
from samflow.proofs.varieties import (
    MAX_MINORS,
    Piece,
    Polynomial,
    decomposed,
    determinant,
    lifted,
)

_PRECISION = 128
_SEPARATING = (1, 2, -3, 5, -7)
"""u = Σ cⁱxᵢ is tried for these c: one at which no two points have the same u will do."""


def real_points(piece: Piece, besides: Sequence[Piece] = ()) -> list[Balls] | None:
    """Enclose every real zero of a piece of dimension 0, one ball for each coordinate.

    The basis is brought into the form p(u) = 0, xᵢ = qᵢ(u) with u a combination of the xᵢ and p
    irreducible: one zero for each root of p. That is a maximal ideal, so that all of these zeros
    lie on another piece or none does.

    Args:
        piece: of dimension 0.
        besides: pieces whose points are left out.

    Returns:
        The points; None where no combination that was tried brings the basis into this form.

    """
    count = piece.basis[0].context().nvars()
    weights = count - piece.auxiliary
    names = [f"x{i}" for i in range(count)]
    ring = fmpz_mpoly_ctx.get([*names, "u"], Ordering.lex)
    for c in _SEPARATING:
        *xs, u = ring.gens()
        combination = sum((c**i * x for i, x in enumerate(xs)), 0 * u) - u
        split = decomposed([*(lifted(p, ring) for p in piece.basis), combination])
        if split is None:
            return None
        solved = [_solved(part.basis, count) for part in split]
        if all(points is not None for points in solved):
            return [
                point[:weights]
                for part, points in zip(split, solved, strict=True)
                for point in points or []
                if not any(_holds(other, part) for other in besides)
            ]
    return None


def _holds(piece: Piece, part: Piece) -> bool:
    """Say whether the zeros of a maximal ideal, in more variables, lie on a piece."""
    ring = part.basis[0].context()
    more = ring.nvars() - piece.basis[0].context().nvars()
    basis = fmpz_mpoly_vec(list(part.basis), ring)
    for polynomial in piece.basis:
        terms = {(*k, *[0] * more): v for k, v in polynomial.to_dict().items()}
        if not ring.from_dict(terms).reduction_primitive_part(basis).is_zero():
            return False
    return True


def _solved(basis: Sequence[Polynomial], count: int) -> list[Balls] | None:
    """Return the real zeros of a basis of the form p(u), a x₀ − q₀(u), ...; None of another."""
    root, linear = None, {}
    for polynomial in basis:
        terms = {tuple(map(int, k)): v for k, v in polynomial.to_dict().items()}
        used = {i for k in terms for i, e in enumerate(k[:count]) if e}
        if not used:
            root = [terms.get((0,) * count + (e,), 0) for e in range(1 + max(k[-1] for k in terms))]
        elif len(used) == 1:
            (i,) = used
            unit = tuple(int(j == i) for j in range(count))
            if any(k[:count] not in (unit, (0,) * count) for k in terms) or any(
                k[-1] for k in terms if k[:count] == unit
            ):
                return None
            rest = {k[-1]: -v for k, v in terms.items() if k[:count] != unit}
            linear[i] = (fmpq(terms[(*unit, 0)]), rest)
        else:
            return None
    if root is None or len(linear) < count:
        return None
    with working_precision(_PRECISION):
        roots: Any = fmpq_poly(list(map(int, root))).complex_roots()
        # flint gives real roots an imaginary part of exactly 0.
        real = [value.real for value, _ in roots if value.imag.is_zero()]
        return [[_at(linear[i], value) for i in range(count)] for value in real]


def _at(line: tuple[Any, dict[int, Any]], u: Any) -> Any:
    scale, rest = line
    return sum((arb(int(c)) * u**e for e, c in rest.items()), arb(0)) / arb(scale)


def singular_points(piece: Piece) -> list[Balls] | None:
    """Enclose the real points at which the gradients of a curve's basis span too little.

    None where these are no finite number of points, or too many minors define them.
    """
    count = piece.basis[0].context().nvars()
    rank, equations = count - piece.dimension, piece.equations
    columns, rows = itertools.combinations(range(count), rank), range(len(equations))
    chosen = list(itertools.product(itertools.combinations(rows, rank), columns))
    if not 0 < len(chosen) <= MAX_MINORS:
        return None
    slopes = [[p.derivative(i) for i in range(count)] for p in equations]
    minors = [determinant([[slopes[i][j] for j in cols] for i in at]) for at, cols in chosen]
    minors = [minor for minor in minors if not minor.is_zero()]
    return _points_of([*piece.basis, *minors])


def common_points(one: Piece, other: Piece) -> list[Balls] | None:
    """Enclose the real points that two pieces share; None where these are no finite number."""
    return _points_of([*one.basis, *other.basis])


def _points_of(polynomials: list[Polynomial]) -> list[Balls] | None:
    parts = decomposed(polynomials)
    if parts is None or any(part.dimension for part in parts):
        return None
    found = [real_points(part) for part in parts]
    if any(points is None for points in found):
        return None
    return [point for points in found for point in points or []]


class SliceEquations:
    """A piece of dimension d cut by d planes, on balls: for Krawczyk's operator.

    A regular zero of it proves that the piece is a real manifold of dimension d there, if it
    `is_unmixed`.
    """

    def __init__(self, piece: Piece, at: np.ndarray, tangents: np.ndarray) -> None:
        """Cut `piece` by the planes through `at` across `tangents` (d, n)."""
        count = piece.basis[0].context().nvars()
        symbols = [sympy.Symbol(f"x{i}", real=True) for i in range(count)]
        expressions: list[Any] = [piece.expression(p, symbols) for p in piece.generators]
        for tangent in tangents:
            parts = zip(tangent, symbols, at, strict=True)
            expressions.append(
                sum(sympy.Rational(float(t)) * (x - sympy.Rational(float(a))) for t, x, a in parts)
            )
        slopes = [sympy.diff(part, symbol) for part in expressions for symbol in symbols]
        self._count, self._value = count, Program(expressions, symbols)
        self._both = Program([*expressions, *slopes], symbols)

    def value(self, point: Balls) -> Balls:
        """Return the equations on `point`."""
        return self._value(point)

    def linearise(self, box: Balls) -> tuple[Balls, list[Balls]]:
        """Return them and their Jacobian on `box`."""
        n, values = self._count, self._both(box)
        return values[:n], [values[i : i + n] for i in range(n, n + n * n, n)]


def is_real_manifold(piece: Piece, at: np.ndarray, tangents: np.ndarray) -> bool:
    """Say whether it is proved that near `at` the real zeros of a piece fill a manifold.

    Its dimension is that of the piece; so it is wherever the gradients of its basis are
    independent.
    """
    if not piece.is_unmixed:
        return False
    with working_precision(_PRECISION):
        found = certify_near(SliceEquations(piece, at, tangents), [[arb(float(x)) for x in at]])
    return len(found.zeros) == 1


def rational(ball: Any, largest: int = 2**20) -> Fraction | None:
    """Return the one rational number of a small denominator in a narrow ball, if there is one."""
    guess = Fraction(float(ball.mid())).limit_denominator(largest)
    inside = ball.contains(arb(fmpq(guess.numerator, guess.denominator)))
    return guess if inside and ball.rad() < 2.0**-60 else None
