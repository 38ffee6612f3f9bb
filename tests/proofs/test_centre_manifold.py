"""Power series and centre manifolds, against sympy and closed forms."""

import math

import numpy as np
import pytest
import sympy
from flint import fmpq

from samflow.losses._tape import tape
from samflow.proofs.centre_manifold import Centre, reduced, solve, twice
from samflow.proofs.series import FLOATS, RATIONALS, NotRational, Series

X = sympy.Symbol("x", real=True)
ORDER = 6


def taylor(formula, at):
    return [sympy.diff(formula, X, k).subs(X, at) / math.factorial(k) for k in range(ORDER + 1)]


def series(formula, at, algebra, one):
    start = Series([at * one, one, *[0 * one] * (ORDER - 1)])
    return tape((formula,), (X,)).run([start], algebra)[0].c


@pytest.mark.parametrize(
    ("formula", "at"),
    [
        (sympy.exp(X), 0),
        (sympy.sin(X) * sympy.cos(X), 0),
        (sympy.log(1 + X), 0),
        ((1 + X) ** sympy.Rational(-3, 2), 0),
        (sympy.sqrt(X), 4),
        (sympy.tan(X) + sympy.tanh(X), 0),
        (sympy.atan(X) * sympy.asin(X), 0),
        (sympy.cosh(X) - sympy.sinh(X), 0),
        (X**3 / (1 + X**2), 2),
    ],
    ids=str,
)
def test_series_have_the_coefficients_of_taylor(formula, at):
    exact = [sympy.Rational(int(c.p), int(c.q)) for c in series(formula, at, RATIONALS, fmpq(1))]
    assert exact == [sympy.nsimplify(c) for c in taylor(formula, at)]
    shifted = formula.subs(X, X + sympy.Rational(1, 8))
    found = series(shifted, float(at), FLOATS, 1.0)
    np.testing.assert_allclose(found, [float(c) for c in taylor(shifted, at)], atol=1e-13)


@pytest.mark.parametrize("formula", [sympy.exp(X), sympy.sqrt(X), sympy.pi * X, sympy.log(X)])
def test_what_is_no_rational_number_is_refused(formula):
    with pytest.raises(NotRational):
        series(formula, 2, RATIONALS, fmpq(1))


def test_a_centre_manifold_by_hand():
    """x⁺ = x + xy, y⁺ = y/2 + x²: h = 2x² + h₄x⁴, r = x + 2x³ + h₄x⁵.

    h(r) = h/2 + x² at order 4: 2·2·2 + h₄ = h₄/2, so h₄ = −16.
    """
    half = fmpq(1, 2)
    centre = Centre(1, [fmpq(1), fmpq(0)], [fmpq(1), fmpq(0)], discrete=True)

    def advance(z):
        x, y = z
        return [x + x * y, y * half + x * x]

    jacobian = [[fmpq(1), fmpq(0)], [fmpq(0), half]]
    found = reduced(advance, [fmpq(0)] * 2, jacobian, centre, 5)
    assert found == [0, 2, 0, -16]


def test_the_centre_manifold_of_a_flow_by_hand():
    """ẋ = xy, ẏ = −y − x²: h = −x² − 2x⁴, ṡ = −s³ − 2s⁵."""
    centre = Centre(0, [fmpq(1), fmpq(0)], [fmpq(1), fmpq(0)], discrete=False)
    jacobian = [[fmpq(0), fmpq(0)], [fmpq(0), fmpq(-1)]]

    def velocity(z):
        x, y = z
        return [x * y, -y - x * x]

    assert reduced(velocity, [fmpq(0)] * 2, jacobian, centre, 5) == [0, -1, 0, -2]


def test_a_reduced_map_moves_as_the_map_itself_does():
    """Two steps from a point that many steps have brought to the manifold, about a flip."""
    rng = np.random.default_rng(2)
    square, cube = rng.normal(size=(2, 3))
    vectors = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    jacobian = vectors @ np.diag([-1.0, 0.4, -0.3]) @ vectors.T

    def advance(z):
        total = z[0] + z[1] + z[2]
        power = total * total
        linear = [sum((z[j] * jacobian[i, j] for j in range(3)), 0 * z[0]) for i in range(3)]
        return [linear[i] + power * square[i] + power * total * cube[i] for i in range(3)]

    def step(z):
        return np.array([x.c[0] for x in advance([Series([v]) for v in z])])

    centre = Centre(-1, vectors[:, 0].tolist(), vectors[:, 0].tolist(), discrete=True)
    a = reduced(advance, [0.0] * 3, jacobian.tolist(), centre, 5)
    b = twice(a, 5)
    assert abs(b[0]) < 1e-13  # s ↦ s + b₃s³: no square after two flips
    assert b[1] == pytest.approx(-2 * (a[1] + a[0] ** 2), rel=1e-12)
    z = 0.01 * vectors[:, 0]
    for _ in range(60):
        z = step(z)
    s = vectors[:, 0] @ z
    moved = vectors[:, 0] @ step(step(z)) - s
    # s⁶ is left out: relative to s³ some 1e-6, times coefficients of size 1 to 100.
    assert moved == pytest.approx(sum(c * s**k for k, c in enumerate(b, start=2)), rel=1e-3)


def test_elimination_solves_rational_systems_exactly():
    matrix = [[fmpq(0), fmpq(2)], [fmpq(3), fmpq(1)]]
    assert solve(matrix, [fmpq(1), fmpq(2)]) == [fmpq(1, 2), fmpq(1, 2)]
