"""The zeros of polynomials as a union of points, curves and surfaces, by factorising Gröbner bases.

Where an element of a Gröbner basis is a product, the zeros are the union of those of its factors,
each with the rest of the basis: split until no element is a product. The dimension of a piece is
read from the leading monomials. Reference: Cox, Little, O'Shea, Ideals, Varieties, and Algorithms,
chapters 2 and 9; factorising: Czapor, J. Symbolic Computation 7 (1989) 49.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import sympy
from flint import Ordering, arb, fmpq, fmpq_poly, fmpz_mpoly_ctx, fmpz_mpoly_vec

from samflow.losses.limits import MAX_TERMS, expanded_terms
from samflow.proofs.balls import Balls, Program, working_precision
from samflow.proofs.search import certify_near

Polynomial: TypeAlias = Any
"""A `flint.fmpz_mpoly`."""

_LIMITS = (100, 400, 3000)
"""The largest basis, the longest polynomial, the most bits of a coefficient: tenths of a second."""
_MAX_SUBSETS = 12
_MAX_SPLITS = 400
_MAX_MINORS = 60
_MAX_RANK = 4
"""Minors of matrices of more variables than these are not looked at."""
_MAX_VARIABLES = 8
_PRECISION = 128
_SEPARATING = (1, 2, -3, 5, -7)
"""u = Σ cⁱxᵢ is tried for these c: one at which no two points have the same u will do."""


class Piece(NamedTuple):
    """A part of the zeros that no element of its Gröbner basis splits further.

    Attributes:
        basis: its Gröbner basis, integer polynomials without a repeated factor.
        dimension: of its complex zeros; of its real ones at most that.
        auxiliary: how many variables at the end are none of the weights.
        generators: n − d polynomials of the basis that generate it; () where none are known.

    """

    basis: tuple[Polynomial, ...]
    dimension: int
    auxiliary: int = 0
    generators: tuple[Polynomial, ...] = ()

    @property
    def is_unmixed(self) -> bool:
        """Whether as many polynomials as codimensions generate the ideal.

        Then every part of the zeros has the dimension of the whole (Macaulay's unmixedness
        theorem): no point of them is isolated as a complex point. And where the gradients of the
        generators are independent the real zeros are a manifold, by the implicit function theorem.
        """
        return bool(self.generators)

    @property
    def equations(self) -> tuple[Polynomial, ...]:
        """The generators where they are known, else the whole basis."""
        return self.generators or self.basis

    def contains(self, other: "Piece") -> bool:
        """Say whether the zeros of `other` are proved to be among these."""
        if self.auxiliary != other.auxiliary:
            return False
        basis = fmpz_mpoly_vec(list(other.basis), self.basis[0].context())
        return all(p.reduction_primitive_part(basis).is_zero() for p in self.basis)

    def texts(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the equations as text, in variables of these names."""
        return tuple(str(self.expression(p, names)) for p in self.equations)

    @staticmethod
    def expression(polynomial: Polynomial, symbols: Sequence[Any]) -> Any:
        """Return a polynomial of the basis in sympy, in the symbols or names given."""
        symbols = [sympy.Symbol(s, real=True) if isinstance(s, str) else s for s in symbols]
        terms = {tuple(map(int, k)): int(c) for k, c in polynomial.to_dict().items()}
        return sympy.Poly.from_dict(terms, *symbols).as_expr()


class Decomposition(NamedTuple):
    """The zeros of polynomials as pieces.

    Attributes:
        pieces: those of the largest dimension first.
        whole: whether every zero is known to lie on a piece on which all parts have its dimension:
            else a piece may hold isolated points that no other lists.

    """

    pieces: list[Piece]
    whole: bool


def pieces(polynomials: Sequence[sympy.Expr], symbols: Sequence[Any]) -> Decomposition | None:
    """Return the common zeros of rational functions as pieces, none of which holds another.

    Args:
        polynomials: quotients of polynomials with rational coefficients; of each the numerator
            counts, so that zeros of a denominator are not excluded.
        symbols: the variables.

    Returns:
        The pieces; None where the functions are no such quotients, or the bases grow too large.

    """
    made = _integer_polynomials(polynomials, symbols)
    found = None if made is None else _decomposed(made)
    if found is None or made is None:
        return None
    whole, split = True, []
    for piece in found:
        parts, known = _by_rank(piece, made)
        whole &= known
        split += parts
    kept = _none_in_another([_with_generators(piece) for piece in split])
    whole &= all(piece.is_unmixed for piece in kept if piece.dimension)
    return Decomposition(kept, whole)


def _none_in_another(found: list[Piece]) -> list[Piece]:
    kept: list[Piece] = []
    for piece in sorted(found, key=lambda piece: -piece.dimension):
        if not any(other.contains(piece) for other in kept):
            kept.append(piece)
    return kept


def _by_rank(piece: Piece, polynomials: list[Polynomial]) -> tuple[list[Piece], bool]:
    """Split a piece of dimension d ≥ 1 that may hold parts of less dimension; say if that is known.

    On a part of dimension d the Jacobian of the polynomials has rank n − d at most: it lies on the
    zeros of the larger minors. The rest of the piece is where of each of those some generator m is
    not 0, so that 1 − tm = 0 for a t.
    """
    count = piece.basis[0].context().nvars()
    rank = count - piece.dimension + 1
    if not piece.dimension or _with_generators(piece).is_unmixed:
        return [piece], True
    if len(polynomials) != count or count > _MAX_RANK:
        return [piece], False
    slopes = [[p.derivative(i) for i in range(count)] for p in polynomials]
    chosen = list(itertools.combinations(range(count), rank))
    if len(chosen) ** 2 > _MAX_MINORS:
        return [piece], False
    minors = [
        _determinant([[slopes[i][j] for j in columns] for i in rows])
        for rows, columns in itertools.product(chosen, chosen)
    ]
    low = _decomposed([*piece.basis, *(minor for minor in minors if not minor.is_zero())])
    if low is None:
        return [piece], False
    wide = [part for part in low if part.dimension]
    ring = fmpz_mpoly_ctx.get([*(f"x{i}" for i in range(count)), "t"], Ordering.degrevlex)
    lifted, t = [_lifted(p, ring) for p in piece.basis], ring.gens()[-1]
    factors = list(itertools.islice(itertools.product(*(p.basis for p in wide)), _MAX_MINORS + 1))
    if len(factors) > _MAX_MINORS:
        return low, False
    high: list[Piece] = []
    for factor in factors:
        product = functools.reduce(lambda a, b: a * b, factor, 1 + 0 * piece.basis[0])
        found = _decomposed([*lifted, 1 - t * _lifted(product, ring)])
        if found is None or any(part.dimension for part in found):
            return low, False
        high += [part._replace(auxiliary=1) for part in found]
    return [*low, *high], True


def _with_generators(piece: Piece) -> Piece:
    """Find as many polynomials of the basis as codimensions that generate the others."""
    codimension = piece.basis[0].context().nvars() - piece.dimension
    whole = set(map(str, piece.basis))
    subsets = itertools.combinations(piece.basis, codimension)
    for subset in itertools.islice(subsets, _MAX_SUBSETS) if piece.dimension else ():
        found = _groebner(list(subset))
        if found is not None and set(map(str, found)) == whole:
            return piece._replace(generators=subset)
    return piece


def _lifted(polynomial: Polynomial, ring: Any) -> Polynomial:
    """Return a polynomial in a ring with one more variable, at the end."""
    return ring.from_dict({(*k, 0): v for k, v in polynomial.to_dict().items()})


def _integer_polynomials(
    expressions: Sequence[sympy.Expr], symbols: Sequence[Any]
) -> list[Polynomial] | None:
    if len(symbols) > _MAX_VARIABLES:
        return None
    if not all(part.is_rational_function(*symbols) for part in expressions):
        return None
    if sum(expanded_terms(part) for part in expressions) > MAX_TERMS:
        return None
    ring = fmpz_mpoly_ctx.get([f"x{i}" for i in range(len(symbols))], Ordering.degrevlex)
    found = []
    for part in expressions:
        top = part
        if not part.is_polynomial(*symbols):
            top = sympy.fraction(sympy.together(part))[0]
        if not top.is_polynomial(*symbols):
            return None
        polynomial = sympy.Poly(top, *symbols)
        if not all(c.is_Rational for c in polynomial.coeffs()):
            return None
        whole: Any = polynomial.clear_denoms()[1]
        found.append(ring.from_dict({degrees: int(c) for degrees, c in whole.terms()}))
    return [p for p in found if not p.is_zero()]


def _decomposed(polynomials: list[Polynomial]) -> list[Piece] | None:
    if not polynomials:
        return []
    queue, found, seen = [polynomials], [], set()
    for _ in range(_MAX_SPLITS):
        if not queue:
            break
        basis = _groebner(queue.pop())
        if basis is None:
            return None
        key = frozenset(map(str, basis))
        if key in seen or any(p.is_constant() for p in basis):
            continue
        seen.add(key)
        parts = _split(basis)
        if parts is None:
            found.append(Piece(tuple(basis), _dimension(basis)))
        else:
            queue += parts
    if queue:
        return None
    return _none_in_another(found)


def _groebner(polynomials: list[Polynomial]) -> list[Polynomial] | None:
    """Return the reduced Gröbner basis, or None where it grows too large."""
    basis: Any = fmpz_mpoly_vec(polynomials, polynomials[0].context())
    found, whole = basis.buchberger_naive(limits=_LIMITS)
    return list(found.autoreduction()) if whole else None


def _split(basis: list[Polynomial]) -> list[list[Polynomial]] | None:
    """Return bases whose zeros together are those of `basis`; None: no element is a product."""
    for i, polynomial in enumerate(basis):
        factors = polynomial.factor()[1]
        rest = basis[:i] + basis[i + 1 :]
        if len(factors) > 1 or factors[0][1] > 1:
            return [[*rest, factor] for factor, _ in factors]
    return None


def _dimension(basis: list[Polynomial]) -> int:
    """Return the largest number of variables of which no leading monomial is made."""
    leading = [{i for i, e in enumerate(p.monoms()[0]) if e} for p in basis]
    count = basis[0].context().nvars()
    return next(
        size
        for size in range(count, -1, -1)
        for free in itertools.combinations(range(count), size)
        if not any(monomial <= set(free) for monomial in leading)
    )


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
        split = _decomposed([*(_lifted(p, ring) for p in piece.basis), combination])
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
    if not 0 < len(chosen) <= _MAX_MINORS:
        return None
    slopes = [[p.derivative(i) for i in range(count)] for p in equations]
    minors = [_determinant([[slopes[i][j] for j in cols] for i in at]) for at, cols in chosen]
    minors = [minor for minor in minors if not minor.is_zero()]
    return _points_of([*piece.basis, *minors])


def common_points(one: Piece, other: Piece) -> list[Balls] | None:
    """Enclose the real points that two pieces share; None where these are no finite number."""
    return _points_of([*one.basis, *other.basis])


def _points_of(polynomials: list[Polynomial]) -> list[Balls] | None:
    parts = _decomposed(polynomials)
    if parts is None or any(part.dimension for part in parts):
        return None
    found = [real_points(part) for part in parts]
    if any(points is None for points in found):
        return None
    return [point for points in found for point in points or []]


def _determinant(rows: list[list[Polynomial]]) -> Polynomial:
    if len(rows) == 1:
        return rows[0][0]
    total = 0 * rows[0][0]
    for j, entry in enumerate(rows[0]):
        rest = _determinant([row[:j] + row[j + 1 :] for row in rows[1:]])
        total += (-1) ** j * entry * rest
    return total


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


class Numeric:
    """Polynomials in floating point, with their Jacobian, at many points.

    Each is divided by its largest coefficient.
    """

    def __init__(self, polynomials: Sequence[Polynomial]) -> None:
        """Take the coefficients and exponents of integer polynomials."""
        self._parts = [_arrays(polynomial) for polynomial in polynomials]

    def value(self, points: np.ndarray) -> np.ndarray:
        """Return the polynomials at points (k, n), shape (k, polynomials)."""
        return np.stack([_monomials(points, e) @ c for c, e in self._parts], axis=1)

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        """Return their gradients, shape (k, polynomials, n)."""
        return np.stack(
            [np.stack(list(_slopes(points, c, e)), axis=1) for c, e in self._parts], axis=1
        )


def _arrays(polynomial: Polynomial) -> tuple[np.ndarray, np.ndarray]:
    terms = polynomial.to_dict()
    largest = max(abs(int(c)) for c in terms.values())
    numbers = np.array([float(Fraction(int(c), largest)) for c in terms.values()])
    return numbers, np.array([list(map(int, k)) for k in terms], dtype=int)


def _monomials(points: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    return np.prod(points[:, None, :] ** exponents, axis=2)


def _slopes(points: np.ndarray, c: np.ndarray, exponents: np.ndarray) -> Iterator[np.ndarray]:
    for i in range(exponents.shape[1]):
        lower = exponents.copy()
        lower[:, i] = np.maximum(lower[:, i] - 1, 0)
        yield _monomials(points, lower) @ (c * exponents[:, i])
