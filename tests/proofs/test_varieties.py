"""Critical sets of polynomials as points, curves and surfaces, against what is known of each."""

import numpy as np
import pytest
import sympy

from samflow.proofs.polynomials import Numeric
from samflow.proofs.real_zeros import (
    common_points,
    is_real_manifold,
    real_points,
    singular_points,
)
from samflow.proofs.varieties import Piece, pieces

X, Y, Z = sympy.symbols("x y z", real=True)
TWO_CIRCLES = (X**2 + Y**2) ** 2 + (X**2 + Z**2) ** 2 - 2 * (2 * X**2 + Y**2 + Z**2)


def decomposed(loss, symbols):
    return pieces([sympy.diff(loss, symbol) for symbol in symbols], symbols)


def critical(loss, symbols):
    return decomposed(loss, symbols).pieces


def places(piece):
    return sorted(tuple(map(float, point)) for point in real_points(piece))


@pytest.mark.parametrize(
    ("loss", "symbols", "dimensions"),
    [
        (TWO_CIRCLES, (X, Y, Z), [1, 1, 0, 0, 0, 0, 0]),
        ((X**2 + Y**2 - 1) ** 2, (X, Y), [1, 0]),
        ((X**2 + Y**2 + Z**2 - 1) ** 4, (X, Y, Z), [2, 0]),
        ((X * Y * Z - 1) ** 2, (X, Y, Z), [2, 1, 1, 1]),
        (X**2 * Y**2, (X, Y), [1, 1]),
        (X**4 + Y**4, (X, Y), [0]),
        (Y**2 / (1 + X**2), (X, Y), [1]),  # a quotient
        (X**2 / 2 - sympy.log(X), (X,), [0, 0]),  # with a rational gradient; −1 is no domain
        (sympy.Integer(0) * X + 1 / X, (X,), []),
    ],
    ids=str,
)
def test_pieces_have_the_dimensions_that_are_known(loss, symbols, dimensions):
    assert [piece.dimension for piece in critical(loss, symbols)] == dimensions


def test_the_two_circles_have_their_equations_and_five_points_apart():
    found = critical(TWO_CIRCLES, (X, Y, Z))
    texts = {piece.texts("xyz") for piece in found if piece.dimension == 1}
    assert texts == {("x**2 + z**2 - 1", "y + z"), ("x**2 + z**2 - 1", "y - z")}
    apart = [place for piece in found if not piece.dimension for place in places(piece)]
    assert sorted(apart) == [(0, -1, 0), (0, 0, -1), (0, 0, 0), (0, 0, 1), (0, 1, 0)]
    one, other = (piece for piece in found if piece.dimension == 1)
    assert sorted(tuple(map(float, p)) for p in common_points(one, other)) == [
        (-1, 0, 0),
        (1, 0, 0),
    ]


@pytest.mark.parametrize(
    ("loss", "symbols"),
    [
        ((X**2 + Y - 11) ** 2 + (X + Y**2 - 7) ** 2, (X, Y)),  # nine points, one irreducible part
        ((X**2 - 2) ** 4 + (Y**3 - 2) ** 2, (X, Y)),
        (X**4 / 4 - X**2 / 2 + Y**2 * X + Y**4, (X, Y)),
    ],
    ids=str,
)
def test_real_points_are_those_of_another_solver(loss, symbols):
    """Against sympy's polynomial solver, and by residuals at 100 bits."""
    ours = [p for piece in critical(loss, symbols) for p in real_points(piece)]
    gradient = [sympy.diff(loss, symbol) for symbol in symbols]
    roots = sympy.solve_poly_system(gradient, *symbols) if len(ours) < 9 else None
    if roots is not None:
        numbers = [[complex(value.evalf(30)) for value in root] for root in roots]
        real = [np.real(z) for z in numbers if np.abs(np.imag(z)).max() < 1e-12]
        assert len({tuple(np.round(z, 9) + 0.0) for z in real}) == len(ours)
    else:
        assert len(ours) == 9
    for point in ours:
        assert max(float(x.rad()) for x in point) < 1e-28
        at = dict(
            zip(symbols, (sympy.Float(x.str(34, radius=False), 34) for x in point), strict=True)
        )
        assert max(abs(g.subs(at)) for g in gradient) < 1e-25  # slopes here are below 1e3


def test_curves_that_cross_themselves_end_or_hold_a_point_apart():
    """A loop y² = x²(x + 1), a cusp y² = x³, and y² = x²(x − 1), where 0 is an isolated point."""
    for curve in (Y**2 - X**2 * (X + 1), Y**2 - X**3, Y**2 - X**2 * (X - 1)):
        (piece, *_) = critical(curve**2, (X, Y))
        assert [tuple(map(float, p)) for p in singular_points(piece)] == [(0.0, 0.0)]
    (circle, _) = critical((X**2 + Y**2 - 1) ** 2, (X, Y))
    assert singular_points(circle) == []


def test_a_real_manifold_is_proved_and_a_complex_one_is_not():
    (circle, _) = critical((X**2 + Y**2 - 1) ** 2, (X, Y))
    at, tangent = np.array([0.6, 0.8]), np.array([[-0.8, 0.6]])
    assert is_real_manifold(circle, at, tangent)
    assert not is_real_manifold(circle, np.array([0.7, 0.8]), tangent)  # off the circle
    (lines,) = critical((X**2 + Y**2) ** 2, (X, Y))  # complex lines that meet in a real point
    assert lines.dimension == 1
    assert not is_real_manifold(lines, np.zeros(2), tangent)


def test_what_is_no_polynomial_or_too_large_is_not_answered():
    assert decomposed(sympy.exp(X) * Y, (X, Y)) is None
    assert decomposed(sympy.sqrt(2) * X**2, (X,)) is None  # no rational coefficient
    dense = sum(X**i * Y**j * Z**k * (i + 2 * j - k + 1) for i, j, k in np.ndindex(5, 5, 5))
    assert decomposed(sympy.expand(dense), (X, Y, Z)) is None  # within seconds


def test_points_that_no_factor_parts_from_a_curve_are_found():
    """f² + h²: a curve f = h = 0 and isolated points, all zeros of a basis without a product.

    Against Newton's method from many starts: every nondegenerate point it finds is listed.
    """
    f, h = X * Z - Y + 1, X**2 + Y * Z - 2
    loss = sympy.expand(f**2 + h**2)
    found = decomposed(loss, (X, Y, Z))
    curves = [piece for piece in found.pieces if piece.dimension]
    assert [piece.dimension for piece in curves] == [1]
    ours = [
        [float(x) for x in point]
        for piece in found.pieces
        if not piece.dimension
        for point in real_points(piece, curves)
    ]
    gradient = sympy.lambdify((X, Y, Z), [sympy.diff(loss, s) for s in (X, Y, Z)])
    hessian = sympy.lambdify((X, Y, Z), sympy.hessian(loss, (X, Y, Z)))
    rng, theirs = np.random.default_rng(0), set()
    for start in rng.normal(size=(300, 3)) * 2:
        w = start
        for _ in range(60):
            step = np.linalg.lstsq(np.array(hessian(*w)), np.array(gradient(*w)), rcond=None)[0]
            w = w - step / max(1.0, np.linalg.norm(step))
        spectrum = np.abs(np.linalg.eigvalsh(np.array(hessian(*w), dtype=float)))
        small = np.linalg.norm(np.array(gradient(*w), dtype=float)) < 1e-9
        if small and spectrum.min() > 1e-6 * spectrum.max():
            theirs.add(tuple(np.round(w, 6) + 0.0))
    assert found.whole
    assert theirs
    gaps = np.linalg.norm(np.array(sorted(theirs))[:, None] - np.array(ours), axis=2)
    assert gaps.min(axis=1).max() < 1e-5
    for point in ours:
        assert abs(f.subs(dict(zip((X, Y, Z), point, strict=True)))) > 1e-6  # on no curve


def test_what_is_not_parted_is_not_called_whole():
    """Six weights of rank 1: minors of 6 × 6 matrices are not looked at."""
    more = sympy.symbols("u1:4 v1:4", real=True)
    loss = sum((more[i] * more[3 + j] - (i + 2 * j - 1)) ** 2 for i in range(3) for j in range(3))
    assert not decomposed(loss, more).whole


def test_a_point_on_a_curve_is_left_out():
    """The line y = 0 holds the origin, and not (0, 1), though no basis is contained in another."""
    line = Piece(critical(Y**2, (X, Y))[0].basis, 1)
    every = critical(X**2 + (Y**2 - Y) ** 2, (X, Y))
    kept = [p for piece in every for p in real_points(piece, [line])]
    assert sorted(tuple(map(float, p)) for p in kept) == [(0.0, 0.5), (0.0, 1.0)]


def test_numbers_and_slopes_are_those_of_the_formula():
    piece = critical((X * Y * Z - 1) ** 2, (X, Y, Z))[0]
    points = np.random.default_rng(0).normal(size=(3, 3))
    numeric = Numeric(piece.basis)
    x, y, z = points.T
    np.testing.assert_allclose(numeric.value(points)[:, 0], x * y * z - 1, rtol=1e-14)
    slopes = np.stack([y * z, x * z, x * y], axis=1)
    np.testing.assert_allclose(numeric.jacobian(points)[:, 0], slopes, rtol=1e-14)
