"""The zeros of polynomials as a union of points, curves and surfaces, by factorising Gröbner bases.

Where an element of a Gröbner basis is a product, the zeros are the union of those of its factors,
each with the rest of the basis: split until no element is a product. The dimension of a piece is
read from the leading monomials. Reference: Cox, Little, O'Shea, Ideals, Varieties, and Algorithms,
chapters 2 and 9; factorising: Czapor, J. Symbolic Computation 7 (1989) 49.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import sympy
from flint import Ordering, fmpz_mpoly_ctx, fmpz_mpoly_vec

from samflow.losses.limits import MAX_TERMS, expanded_terms

Polynomial: TypeAlias = Any
"""A `flint.fmpz_mpoly`."""

_LIMITS = (100, 400, 3000)
"""The largest basis, the longest polynomial, the most bits of a coefficient: tenths of a second."""
_MAX_SUBSETS = 12
_MAX_SPLITS = 400
MAX_MINORS = 60
_MAX_RANK = 4
"""Minors of matrices of more variables than these are not looked at."""
_MAX_VARIABLES = 8


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
    found = None if made is None else decomposed(made)
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
    if len(chosen) ** 2 > MAX_MINORS:
        return [piece], False
    minors = [
        determinant([[slopes[i][j] for j in columns] for i in rows])
        for rows, columns in itertools.product(chosen, chosen)
    ]
    low = decomposed([*piece.basis, *(minor for minor in minors if not minor.is_zero())])
    if low is None:
        return [piece], False
    wide = [part for part in low if part.dimension]
    ring = fmpz_mpoly_ctx.get([*(f"x{i}" for i in range(count)), "t"], Ordering.degrevlex)
    raised, t = [lifted(p, ring) for p in piece.basis], ring.gens()[-1]
    factors = list(itertools.islice(itertools.product(*(p.basis for p in wide)), MAX_MINORS + 1))
    if len(factors) > MAX_MINORS:
        return low, False
    high: list[Piece] = []
    for factor in factors:
        product = functools.reduce(lambda a, b: a * b, factor, 1 + 0 * piece.basis[0])
        found = decomposed([*raised, 1 - t * lifted(product, ring)])
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


def lifted(polynomial: Polynomial, ring: Any) -> Polynomial:
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


def decomposed(polynomials: list[Polynomial]) -> list[Piece] | None:
    """Return the zeros as pieces; None where a basis grows too large."""
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


def determinant(rows: list[list[Polynomial]]) -> Polynomial:
    """Return a determinant, by its first row: there are a few variables."""
    if len(rows) == 1:
        return rows[0][0]
    total = 0 * rows[0][0]
    for j, entry in enumerate(rows[0]):
        rest = determinant([row[:j] + row[j + 1 :] for row in rows[1:]])
        total += (-1) ** j * entry * rest
    return total
