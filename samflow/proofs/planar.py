"""All critical points, in the whole plane, of a polynomial in two variables, by resultants.

Where g₁ and g₂ have no common factor, a critical point (x, y) has Res_y(g₁, g₂)(x) = 0 and
Res_x(g₁, g₂)(y) = 0: the real roots of two polynomials span a grid that holds them all.
Reference: Cox, Little, O'Shea, Ideals, Varieties, and Algorithms, chapter 3, section 6.
"""

from typing import Any

import sympy
from flint import Ordering, fmpq, fmpq_mpoly_ctx, fmpq_poly

from samflow.losses.limits import MAX_TERMS, expanded_terms
from samflow.proofs.balls import OutsideDomain, working_precision
from samflow.proofs.equations import GradientEquations
from samflow.proofs.search import Search, certify_near

_MAX_BEZOUT = 150
"""Largest product of the degrees of g₁ and g₂ for which resultants take less than a second."""


def planar_zeros(equations: GradientEquations, *, precision: int = 128) -> Search | None:
    """Enclose every critical point in the plane; None where this method does not apply.

    It applies to polynomials with rational coefficients in two variables whose critical points
    are isolated, also as complex points. Degenerate ones come back as `undecided`.
    """
    polynomials = _coprime_gradient(equations)
    if polynomials is None:
        return None
    with working_precision(precision):
        axes = [_real_roots(*polynomials, coordinate) for coordinate in (0, 1)]
        grid = [[x, y] for x in axes[0] for y in axes[1]]
        candidates = [point for point in grid if _may_vanish(equations, point)]
    return certify_near(equations, candidates, precision=precision)


def _may_vanish(equations: GradientEquations, point: list[Any]) -> bool:
    try:
        return all(0 in value for value in equations.value(point))
    except OutsideDomain:
        return False


def _coprime_gradient(equations: GradientEquations) -> tuple[Any, Any] | None:
    symbols = equations.symbols
    if len(symbols) != 2 or not all(g.is_polynomial(*symbols) for g in equations.gradient):
        return None
    ring = fmpq_mpoly_ctx.get(["x", "y"], Ordering.lex)
    pair, bezout = [], 1
    if sum(expanded_terms(g) for g in equations.gradient) > MAX_TERMS:
        return None
    for g in equations.gradient:
        polynomial = sympy.Poly(g, *symbols)
        if polynomial.is_zero or not all(c.is_Rational for c in polynomial.coeffs()):
            return None
        bezout *= polynomial.total_degree()
        terms: dict[tuple[int, ...], Any] = {
            degrees: fmpq(int(c.p), int(c.q)) for degrees, c in polynomial.terms()
        }
        pair.append(ring.from_dict(terms))
    if bezout > _MAX_BEZOUT or not pair[0].gcd(pair[1]).is_constant():
        return None
    return pair[0], pair[1]


def _real_roots(first: Any, second: Any, coordinate: int) -> list[Any]:
    """Return the real roots of the resultant that is left with one `coordinate`, as balls."""
    resultant = first.resultant(second, "yx"[coordinate])
    coefficients = {degrees[coordinate]: c for degrees, c in resultant.to_dict().items()}
    dense = [coefficients.get(i, 0) for i in range(max(coefficients) + 1)]
    # flint gives real roots an imaginary part of exactly 0.
    roots: Any = fmpq_poly(dense).complex_roots()
    return [root.real for root, _ in roots if root.imag.is_zero()]
