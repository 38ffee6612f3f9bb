"""Branch and prune against closed forms, resultants, and Newton from many starts."""

import itertools

import numpy as np
import pytest
import sympy
from flint import arb

from samflow.proofs.balls import spans
from samflow.proofs.equations import AscentEquations, GradientEquations
from samflow.proofs.planar import planar_zeros
from samflow.proofs.search import certify_near, exclude, find_zeros

X, Y, Z = sympy.symbols("x y z", real=True)


def search(loss, symbols, box, max_boxes=20_000):
    return find_zeros(GradientEquations(loss, symbols), box, max_boxes=max_boxes)


def complete(found):
    return not found.undecided and not found.unexamined


def midpoints(zeros):
    return sorted(tuple(float(x) for x in zero) for zero in zeros)


def newton_from_many_starts(loss, symbols, box, starts=600, seed=0):
    """Return the critical points in `box` that plain Newton in NumPy reaches: the twin."""
    gradient = [sympy.diff(loss, s) for s in symbols]
    hessian = [[sympy.diff(g, s) for s in symbols] for g in gradient]
    g, h = sympy.lambdify(symbols, gradient), sympy.lambdify(symbols, hessian)
    low, high = np.array(box, dtype=float).T
    found = []
    for w in np.random.default_rng(seed).uniform(low, high, (starts, len(symbols))):
        for _ in range(60):
            try:
                step = np.linalg.solve(np.array(h(*w), float), np.array(g(*w), float))
            except (np.linalg.LinAlgError, OverflowError):
                break
            w = w - step
            if not np.isfinite(w).all() or np.abs(w).max() > 1e6:
                break
            if np.abs(step).max() < 1e-13 * (1 + np.abs(w).max()):
                break
        else:
            continue
        converged = np.isfinite(w).all() and np.abs(np.array(g(*w), float)).max() < 1e-8
        inside = converged and (w > low).all() and (w < high).all()
        if inside and not any(np.abs(w - other).max() < 1e-6 for other in found):
            found.append(w)
    return sorted(tuple(w) for w in found)


MCCORMICK = sympy.sin(X + Y) + (X - Y) ** 2 - 3 * X / 2 + 5 * Y / 2 + 1
GRIEWANK = 1 + (X**2 + Y**2) / 4000 - sympy.cos(X) * sympy.cos(Y / sympy.sqrt(2))
CAMEL = (4 - sympy.Rational(21, 10) * X**2 + X**4 / 3) * X**2 + X * Y + (4 * Y**2 - 4) * Y**2
COUPLED = X**4 + Y**4 + Z**4 - X * Y - Y * Z - 3 * Z * X - X**2


@pytest.mark.parametrize(
    ("loss", "symbols", "box", "count"),
    [
        (MCCORMICK, (X, Y), ((-1.5, 4), (-3, 4)), 3),
        (GRIEWANK, (X, Y), ((-5, 5), (-5, 5)), 17),
        (CAMEL, (X, Y), ((-3, 3), (-2, 2)), 15),
        (COUPLED, (X, Y, Z), ((-3, 3),) * 3, 3),
    ],
    ids=["mccormick", "griewank", "camel", "three coupled"],
)
def test_the_list_is_the_one_that_newton_finds_from_many_starts(loss, symbols, box, count):
    found = search(loss, symbols, box)
    assert complete(found)
    assert len(found.zeros) == count
    twin = newton_from_many_starts(loss, symbols, box)
    assert len(twin) == count
    distances = np.abs(np.array(midpoints(found.zeros))[:, None] - np.array(twin)).max(axis=-1)
    assert distances.min(axis=1).max() < 1e-9  # Newton's own tolerance


def random_quartic(seed):
    rng = np.random.default_rng(seed)
    terms = [(i, j) for i in range(5) for j in range(5 - i) if i + j > 0]
    loss = sum(sympy.Rational(int(rng.integers(-20, 21)), 8) * X**i * Y**j for i, j in terms)
    return sympy.Add(loss, X**4 + Y**4)


@pytest.mark.parametrize("seed", range(12))
def test_subdivision_and_resultants_agree_on_random_quartics(seed):
    equations = GradientEquations(random_quartic(seed), (X, Y))
    everywhere = planar_zeros(equations)
    box = ((-50.0, 50.0), (-50.0, 50.0))
    found = find_zeros(equations, box, max_boxes=20_000)
    assert everywhere is not None
    assert complete(found)
    assert complete(everywhere)
    inside = [w for w in midpoints(everywhere.zeros) if max(map(abs, w)) < 50]
    np.testing.assert_allclose(midpoints(found.zeros), inside, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("seed", range(12))
def test_resultants_miss_no_real_root(seed):
    """The grid has as many lines as Sturm's theorem counts real roots (sympy)."""
    equations = GradientEquations(random_quartic(seed), (X, Y))
    first, second = (sympy.Poly(g, X, Y) for g in equations.gradient)
    for keep, drop in ((X, Y), (Y, X)):
        eliminant = sympy.Poly(sympy.resultant(first.as_expr(), second.as_expr(), drop), keep)
        lines = {spans(zero)[(X, Y).index(keep)] for zero in planar_zeros(equations).zeros}
        assert len(lines) <= eliminant.count_roots()


def test_resultants_do_not_apply_to_curves_of_critical_points():
    assert planar_zeros(GradientEquations((X * Y - 1) ** 2, (X, Y))) is None
    assert planar_zeros(GradientEquations(sympy.exp(X * Y), (X, Y))) is None
    assert planar_zeros(GradientEquations(X**2 + sympy.sqrt(2) * Y**2, (X, Y))) is None


QUARTIC = X**2 / 2 - Y**2 / 2 + Y**4 / 4


@pytest.mark.parametrize(
    ("box", "count"),
    [
        (((-63, 65), (-63, 65)), 3),  # the first cuts run through the zero at the origin
        (((-1, 1), (-1, 1)), 3),  # zeros on two faces are found as well
        (((-1, 1), (0, 2)), 2),
        (((-2, 2), (-2, 2)), 3),  # centred
        (((-1e10, 1e10), (-1e10, 1e10)), 3),
        (((-1e-12, 1e-12), (1 - 1e-12, 1 + 1e-12)), 1),
        (((1e-13, 1e-12), (1 - 1e-12, 1 + 1e-12)), 0),
        (((0.25, 2), (-2, 2)), 0),
    ],
)
def test_no_zero_is_lost_on_a_face_or_counted_twice(box, count):
    found = search(QUARTIC, (X, Y), box)
    inside = [
        w
        for w in midpoints(found.zeros)
        if all(low <= x <= high for x, (low, high) in zip(w, box, strict=True))
    ]
    assert len(inside) == count
    assert complete(found)


@pytest.mark.parametrize("shift", [0, 1, 7])
def test_a_grid_of_zeros_on_the_faces_of_all_sub_boxes(shift):
    """cos has a critical point at every multiple of π; the box is cut at many of them."""
    loss = sympy.cos(sympy.pi * X)
    found = search(loss, (X,), ((-63.0 + shift, 65.0 + shift),))
    assert len(found.zeros) == 129
    assert complete(found)


@pytest.mark.parametrize(
    ("loss", "box"),
    [(CAMEL, ((-3, 3), (-2, 2))), (GRIEWANK, ((-5, 5), (-5, 5))), (MCCORMICK, ((-2, 4), (-3, 4)))],
    ids=["camel", "griewank", "mccormick"],
)
def test_enclosures_are_as_narrow_as_doubles_allow(loss, box):
    for zero in search(loss, (X, Y), box).zeros:
        for low, high in spans(zero):
            assert high - low <= 2 * np.spacing(abs(high)) + 1e-323


@pytest.mark.parametrize(
    "loss", [X**3 + Y**2, X**4 + Y**4, (X**2 + Y**2) ** 2, X**4 + Y**2 * X + Y**2]
)
def test_degenerate_zeros_are_never_proved(loss):
    found = search(loss, (X, Y), ((-1, 1), (-1, 1)))
    assert not found.zeros
    assert found.undecided
    assert not found.unexamined  # the search narrows down to the point, and ends
    assert np.abs(found.undecided).max() < 1e-8


def test_a_curve_of_zeros_ends_at_the_budget_and_hides_no_isolated_one():
    found = search((X * Y - 1) ** 2 / 2, (X, Y), ((-4, 4), (-4, 4)), max_boxes=3000)
    assert found.boxes_examined == 3000
    assert midpoints(found.zeros) == [(0.0, 0.0)]
    for t in (0.3, 1.0, 3.7):  # the hyperbola lies in what is left
        assert any(
            a <= t <= b and c <= 1 / t <= d
            for (a, b), (c, d) in (*found.undecided, *found.unexamined)
        )


def test_close_zeros_are_told_apart():
    loss = (X**2 - sympy.Rational(1, 10**12)) ** 2 + Y**2
    found = search(loss, (X, Y), ((-1, 1), (-1, 1)))
    np.testing.assert_allclose(midpoints(found.zeros), [(-1e-6, 0), (0, 0), (1e-6, 0)], atol=1e-18)


def test_the_edge_of_a_domain_is_left_undecided_and_nothing_beyond_it_is_claimed():
    found = search(X - sympy.log(X), (X,), ((-1, 4),))
    assert midpoints(found.zeros) == [(1.0,)]
    assert all(low <= 0 <= high or abs(low) < 1e-8 for ((low, high),) in found.undecided)


@pytest.mark.parametrize("low", [-3.0, -1.0, -0.1])
def test_a_box_whose_middle_lies_outside_of_the_domain_is_not_thrown_away(low):
    found = search(X * sympy.log(X), (X,), ((low, 0.6),))  # log x + 1 vanishes at 1/e
    np.testing.assert_allclose(midpoints(found.zeros), [(np.exp(-1),)], rtol=1e-15)


def test_the_preimages_of_a_critical_point_under_the_ascent_step():
    """y + 6(y³ − y) = 1 has the roots 1 and (−3 ± √3)/6."""
    equations = GradientEquations(QUARTIC, (X, Y))
    ascent = AscentEquations(equations, arb(6), [arb(0), arb(1)])
    found = find_zeros(ascent, ((-2, 2), (-2, 2)), max_boxes=2000)
    roots = sorted([1.0, (-3 + 3**0.5) / 6, (-3 - 3**0.5) / 6])
    np.testing.assert_allclose([w[1] for w in midpoints(found.zeros)], roots, rtol=1e-15)


def test_exclude_keeps_every_point_that_may_solve():
    equations = GradientEquations(QUARTIC, (X, Y))
    wide = AscentEquations(equations, arb(1) / 2, [arb(0, 0.1), arb(0, 0.1)])
    left = exclude(wide, ((-2, 2), (-2, 2)), max_boxes=5000).undecided
    for x, y in itertools.product(np.linspace(-2, 2, 41), repeat=2):
        p = np.array([x + 0.5 * x, y + 0.5 * (y**3 - y)])
        if np.abs(p).max() <= 0.1:
            assert any(a <= x <= b and c <= y <= d for (a, b), (c, d) in left)


def test_certify_near_proves_a_zero_and_refuses_a_degenerate_one():
    proved = certify_near(GradientEquations(QUARTIC, (X, Y)), [[arb(0), arb(1)]])
    assert midpoints(proved.zeros) == [(0.0, 1.0)]
    refused = certify_near(GradientEquations(X**4, (X,)), [[arb(0)]])
    assert not refused.zeros
    assert len(refused.undecided) == 1


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_styblinski_tang_without_use_of_its_separability(n):
    symbols = sympy.symbols(f"x:{n}", real=True)
    loss = sum(x**4 - 16 * x**2 + 5 * x for x in symbols) / 2
    found = search(loss, symbols, ((-5.0, 5.0),) * n)
    assert len(found.zeros) == 3**n
    assert complete(found)
    one = np.sort(np.roots([4, 0, -32, 5]).real)
    np.testing.assert_allclose(
        midpoints(found.zeros), list(itertools.product(one, repeat=n)), rtol=1e-12
    )
