"""Balls must hold what they are said to hold, and say nothing where a formula is undefined."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
from flint import arb, ctx, fmpq

from samflow.proofs.balls import (
    OutsideDomain,
    Program,
    constant,
    exact,
    hull,
    hulls,
    span,
    working_precision,
)

X, Y = sympy.symbols("x y", real=True)

FORMULAS = [
    X**2 * Y - 3 * X / 7 + sympy.pi,
    (X - Y) ** 5 / (1 + X**2) ** 2,
    sympy.sqrt(X**2 + Y**2 + 1) - (X**2 + 1) ** sympy.Rational(-2, 3),
    sympy.exp(-X) * sympy.cos(3 * Y) + sympy.sin(X * Y) * sympy.tanh(Y),
    sympy.log(3 + X) * sympy.atan(Y) + sympy.sinh(X) - sympy.cosh(Y) / sympy.E,
    sympy.asin(X / 4) + sympy.acos(Y / 4) + sympy.tan(X / 3),
]


@pytest.mark.parametrize("formula", FORMULAS, ids=str)
def test_an_enclosure_holds_the_value_at_every_sampled_point(formula):
    program = Program([formula], (X, Y))
    rng = np.random.default_rng(0)
    for _ in range(40):
        centre, radius = rng.uniform(-2, 2, 2), rng.uniform(0, 0.5, 2)
        box = hulls([(c - r, c + r) for c, r in zip(centre, radius, strict=True)])
        (enclosure,) = program(box)
        for shift in rng.uniform(-1, 1, (5, 2)):
            at = centre + shift * radius
            value = formula.subs({X: at[0], Y: at[1]}).evalf(25)  # an independent evaluator
            assert enclosure.contains(arb(str(value)))


@pytest.mark.parametrize("power", [2, 4, 6])
def test_even_powers_of_a_box_about_zero_are_not_negative(power):
    (enclosure,) = Program([X**power], (X,))([hull(-1.0, 2.0)])
    assert enclosure >= 0
    assert enclosure.contains(arb(2) ** power)


def test_odd_powers_of_a_box_about_zero_keep_their_sign():
    (enclosure,) = Program([X**3], (X,))([hull(-2.0, 1.0)])
    assert enclosure.contains(arb(-8))
    assert enclosure.contains(arb(1))


def test_a_box_partly_outside_the_domain_says_nothing():
    for formula in (sympy.log(X), sympy.sqrt(X), 1 / X, sympy.asin(X + 1)):
        (enclosure,) = Program([formula], (X,))([hull(-0.5, 0.5)])
        assert not enclosure.is_finite()
        assert 0 in enclosure  # so that no test can discard the box
        assert span(enclosure) == (-math.inf, math.inf)


def test_a_box_wholly_outside_the_domain_says_so():
    for formula in (sympy.log(X), sympy.sqrt(X), X ** sympy.Rational(-1, 3), sympy.asin(X)):
        with pytest.raises(OutsideDomain):
            Program([formula], (X,))([hull(-3.0, -2.0)])


def test_doubles_are_taken_as_the_dyadic_numbers_they_are():
    tenth = Fraction(0.1)
    with working_precision(200):
        assert exact(0.1) == arb(fmpq(tenth.numerator, tenth.denominator))
        assert exact(0.1) != exact(sympy.Rational(1, 10))


@pytest.mark.parametrize(
    "number",
    [
        sympy.Rational(-7, 3),
        sympy.pi * sympy.E,
        sympy.sqrt(2) + sympy.exp(sympy.Rational(1, 3)),
        sympy.log(3) ** sympy.sqrt(2),
    ],
    ids=str,
)
def test_constants_are_enclosed_at_any_precision(number):
    for bits in (53, 200):
        with working_precision(bits):
            value = constant(number)
            with working_precision(400):
                assert value.overlaps(arb(str(number.evalf(100))))
            assert value.rel_accuracy_bits() > bits - 10
    assert ctx.prec == 53


@pytest.mark.parametrize("value", [1 / 3, 1e-320, 5e-324, 1e300, 0.0, -2 / 7])
def test_spans_round_outwards(value):
    with working_precision(200):
        third = arb(value) / 3
        low, high = span(third)
        assert arb(low) <= third <= arb(high)
        assert high - low <= max(2 * math.ulp(value / 3), 1e-323)  # one unit in the last place


def test_spans_of_numbers_beyond_doubles_are_unbounded():
    assert span(arb(2) ** 2000) == (float.fromhex("0x1.fffffffffffffp+1023"), math.inf)
