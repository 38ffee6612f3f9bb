"""Formulas for gradient and Hessian together: the same polynomials, in fewer operations."""

import pytest
import sympy

import samflow as sf
from samflow.losses._factored import derivatives

X, Y = sympy.symbols("x y", real=True)
POLYNOMIALS = {
    "beale": sf.losses.beale().expression,
    "goldstein_price": sf.losses.goldstein_price().expression,
    "a sum in a sum in a product": (X * (Y + (X - Y) ** 2) ** 3 - 1) ** 2 + Y,
    "the whole is a product": X * (X + Y) ** 2,
    "constant": sympy.Integer(3),
}


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_the_formulas_are_the_derivatives(name):
    expression = POLYNOMIALS[name]
    made = derivatives(expression, (X, Y))
    names = made.symbols[2:]
    for i in reversed(range(len(names))):  # a definition holds names before its own
        made = made._replace(
            formulas=tuple(f.subs(names[i], made.definitions[i]) for f in made.formulas)
        )
    want = [expression.diff(*by) for by in ((X,), (Y,), (X, X), (X, Y), (Y, Y))]
    assert all(sympy.expand(a - b) == 0 for a, b in zip(made.formulas, want, strict=True))


def test_sums_are_not_multiplied_out():
    """Beale's three residuals are computed once, and y − 1 is not written as (2y − 2)/2."""
    made = derivatives(POLYNOMIALS["beale"], (X, Y))
    constants = [sympy.Rational(n, d) for n, d in ((3, 2), (9, 4), (21, 8))]
    residuals = [X * Y**k - X + c for k, c in enumerate(constants, start=1)]
    assert sorted(made.definitions, key=str) == sorted(residuals, key=str)
    assert all(formula.as_coeff_Mul()[0] == 2 for formula in made.formulas)
