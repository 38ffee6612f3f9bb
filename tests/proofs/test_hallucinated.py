"""SAM's fixed points that are no critical points: closed forms, an angle scan, a count, orbits."""

import numpy as np
import pytest
import sympy
from flint import arb
from scipy.optimize import brentq

import samflow as sf
from samflow import Kind, Verdict, losses
from samflow.proofs._certify import certify, certify_fixed_points
from samflow.proofs._locate import Limits
from samflow.proofs.equations import GradientEquations, SphereEquations

X, Y, Z = sympy.symbols("x y z", real=True)
SQUARE = ((-3, 3), (-3, 3))
QUARTIC = X**2 / 2 - Y**2 / 2 + Y**4 / 4
WELL = (X**2 - 1) ** 2 / 4


def elsewhere(certificate):
    return [p for p in certificate.points if p.origin == "hallucinated"]


def places(certificate):
    return np.array([p.midpoint for p in elsewhere(certificate)])


def targets(certificate):
    return np.array([np.mean(p.ascent, axis=1) for p in elsewhere(certificate)])


def by_scan(loss, rho, box, angles=20_000):
    """Scan each circle about a listed critical point for signs of the gradient across: the twin."""
    gradient = sympy.lambdify(loss.symbols, loss.gradient_formula)
    low, high = np.array(box, dtype=float).T
    found = []
    for target in (np.array(point.w) for point in loss.critical_points):

        def ahead(angle, target=target):
            e = np.array([np.cos(angle), np.sin(angle)])
            w = (target - rho * e.T).T if np.ndim(angle) == 0 else target[:, None] - rho * e
            return e, w, np.array(gradient(*w))

        def across(angle):
            e, _, g = ahead(angle)
            return -e[1] * g[0] + e[0] * g[1]

        grid = np.linspace(0.1, 0.1 + 2 * np.pi, angles)
        signs = np.sign(across(grid))
        for i in np.flatnonzero(signs[:-1] != signs[1:]):
            angle = brentq(across, grid[i], grid[i + 1], xtol=1e-15)
            e, w, g = ahead(angle)
            if e @ g > 0 and (low <= w).all() and (w <= high).all():
                found.append((*w, *target))
    return np.array(sorted(found)).reshape(-1, 4)


@pytest.mark.parametrize(
    ("name", "rho", "count"),
    [
        ("beale", 0.05, 4),
        ("beale", 1.0, 4),
        ("beale", 4.0, 5),
        ("himmelblau", 0.1, 12),
        ("himmelblau", 2.0, 12),
        ("himmelblau", 4.0, 14),
        ("himmelblau", 5.0, 18),
        ("six_hump_camel", 0.05, 22),
        ("six_hump_camel", 0.5, 26),
        ("six_hump_camel", 1.0, 34),
        ("six_hump_camel", 1.25, 38),
        ("goldstein_price", 0.3, 14),
    ],
)
def test_an_angle_scan_finds_the_same_points_with_the_same_targets(name, rho, count):
    loss = losses.ZOO[name]()
    found = certify(loss.expression, loss.symbols, loss.domain, rule="sam", rho=rho)
    assert found.verdict is Verdict.proved
    twin = by_scan(loss, rho, loss.domain)
    ours = np.hstack([places(found), targets(found)])
    assert len(ours) == len(twin) == count
    # The listed critical points are accurate to 1e-15; a flat crossing costs the angle digits.
    np.testing.assert_allclose(ours[np.lexsort(ours.T[::-1])], twin, atol=1e-8)
    assert len(found.points) - count == len(loss.critical_points)


@pytest.mark.parametrize(("rho", "lam"), [(0.25, -2.0), (1.0, -0.5)])
def test_on_a_concave_parabola_they_are_at_plus_and_minus_rho(rho, lam):
    found = certify(lam * X**2 / 2, (X,), ((-2, 2),), rule="sam", rho=rho)
    assert found.verdict is Verdict.proved
    assert found.summary().startswith("exactly 2 fixed points and 1 critical point")
    np.testing.assert_allclose(places(found), [[-rho], [rho]], rtol=1e-15)
    for p in elsewhere(found):
        assert p.kind is Kind.repelling
        assert p.eigenvalues[0].real == pytest.approx((-lam, -lam), rel=1e-15)
        assert p.ascent[0] == pytest.approx((0, 0), abs=1e-15)


def test_on_a_quadratic_they_are_at_rho_along_each_descending_eigenvector():
    """Flow: |λ_i| along v_i and −λ_j(1 + λ_j/|λ_i|) across, whatever rho is."""
    rng = np.random.default_rng(3)
    lams = np.array([-3.0, -1.0, 0.5, 2.0])
    q = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    h = q @ np.diag(lams) @ q.T
    symbols = sympy.symbols("a b c d", real=True)
    w = sympy.Matrix(symbols)
    exact = sympy.Matrix(4, 4, lambda i, j: sympy.Rational(float((h[i, j] + h[j, i]) / 2)))
    rho = 0.75
    found = certify(
        sympy.expand((w.T * exact * w)[0] / 2), symbols, ((-2, 2),) * 4, rule="sam", rho=rho
    )
    assert found.verdict is Verdict.proved
    expected = np.array([s * rho * q[:, i] for i in (0, 1) for s in (-1, 1)])
    gaps = np.linalg.norm(places(found)[:, None] - expected, axis=2)
    assert gaps.shape == (4, 4)
    assert (gaps.min(axis=1) < 1e-14).all()
    for p, i in zip(elsewhere(found), gaps.argmin(axis=1) // 2, strict=True):
        across = [-lam * (1 + lam / abs(lams[i])) for j, lam in enumerate(lams) if j != i]
        values = sorted(np.mean(z.real) for z in p.eigenvalues)
        np.testing.assert_allclose(values, sorted([-lams[i], *across]), atol=1e-12)
        # Along the steepest descent every other descending direction leaves as well.
        assert sum(v > 0 for v in values) == 2 - i


def double_well(rho):
    """Return {w: target}: w + rho sign g(w) in {0, ±1} with g = w³ − w, solved by hand."""
    if rho < 1:
        return {-rho: 0.0, rho: 0.0}  # g < 0 in (0, 1), towards the maximum
    return {1 - rho: 1.0, rho - 1: -1.0} if rho < 2 else {}  # g > 0 in (−1, 0), towards 1


@pytest.mark.parametrize("rho", [0.25, 1 - 1e-9, 1 + 1e-9, 1.5, 2 - 1e-9, 2 + 1e-9, 5.0])
def test_the_double_well_on_both_sides_of_what_is_born_and_ends_in_critical_points(rho):
    found = certify(WELL, (X,), ((-3, 3),), rule="sam", rho=rho)
    assert found.verdict is Verdict.proved
    expected = sorted(double_well(rho).items())
    np.testing.assert_allclose(places(found).ravel(), [w for w, _ in expected], atol=1e-15)
    np.testing.assert_allclose(targets(found).ravel(), [p for _, p in expected], atol=1e-15)
    # In one dimension they have the stability that their target has for gradient descent.
    kind = Kind.repelling if rho < 1 else Kind.attracting
    assert {p.kind for p in elsewhere(found)} <= {kind}


@pytest.mark.parametrize(("rho", "where"), [(1, [-1.0, 0.0, 1.0]), (2, [-1.0, 1.0])])
def test_critical_points_exactly_rho_apart_are_left_open(rho, where):
    found = certify(WELL, (X,), ((-3, 3),), rule="sam", rho=rho)
    assert found.verdict is Verdict.inconclusive
    assert not elsewhere(found)
    assert {part.reason for part in found.inconclusive} == {
        "a fixed point that may or may not be a critical point"
    }
    middles = sorted(round(np.mean(part.box[0]), 12) for part in found.inconclusive)
    assert middles == where


def test_a_pair_is_born_at_a_fold():
    """Two double wells, −27x²/80 + x⁴/20 and y⁴/4 − y²/2, and the target (0, 1).

    g = μ(w* − w) with x ≠ 0 needs x² = 27/8 − 5μ and (y − 1)(y² + y + μ) = 0, so that on the
    circle of radius rho rho² = 27/8 + 5y + 5y² + (y − 1)²; least at y = −¼, where it is 4.
    """
    loss = -27 * X**2 / 80 + X**4 / 20 + Y**4 / 4 - Y**2 / 2
    fold = (np.sqrt(39) / 4, -0.25)
    box = tuple((w - 0.2, w + 0.2) for w in fold)
    counts = {}
    for rho in (1.999, 2.001):
        found = certify(loss, (X, Y), box, rule="sam", rho=rho)
        assert found.verdict is Verdict.proved
        counts[rho] = [p.kind for p in found.points]
        for x, y in places(found):
            assert 27 / 8 + 5 * y + 5 * y**2 + (y - 1) ** 2 == pytest.approx(rho**2, abs=1e-12)
            assert x**2 == pytest.approx(27 / 8 + 5 * (y + y**2), abs=1e-12)
    assert counts[1.999] == []
    assert len(counts[2.001]) == 2
    assert len(set(counts[2.001])) == 2  # the sign of the determinant changes at a fold
    at_fold = certify(loss, (X, Y), box, rule="sam", rho=2)
    assert at_fold.verdict is Verdict.inconclusive
    assert any(
        all(a <= w <= b for w, (a, b) in zip(fold, part.box, strict=True))
        for part in at_fold.inconclusive
    )


@pytest.mark.parametrize("rho", [0.01, 1.0, 100.0])
@pytest.mark.parametrize(
    "loss", [X**2 + Y**2, X**2 + 3 * Y**2 + X * Y, (X**2 + Y**2) + X**4], ids=str
)
def test_a_convex_loss_has_none(loss, rho):
    found = certify(loss, (X, Y), SQUARE, rule="sam", rho=rho)
    assert found.verdict is Verdict.proved
    assert [p.origin for p in found.points] == ["critical"]


def test_a_convex_loss_in_three_dimensions_and_rosenbrock_have_none():
    loss = X**2 + 2 * Y**2 + 3 * Z**2 + X * Y - Y * Z
    for expression, symbols in (
        (loss, (X, Y, Z)),
        (losses.rosenbrock().expression, losses.rosenbrock().symbols),
    ):
        found = certify(expression, symbols, ((-2, 2),) * len(symbols), rule="sam", rho=0.5)
        assert found.verdict is Verdict.proved
        assert not elsewhere(found)


def test_a_circle_of_them_is_left_open_with_the_reason():
    found = certify(
        -(X**2) - Y**2, (X, Y), SQUARE, rule="sam", rho=0.5, settings=Limits(max_boxes=2000)
    )
    assert found.verdict is Verdict.inconclusive
    assert not elsewhere(found)
    assert {part.reason for part in found.inconclusive} == {
        "the budget of boxes was spent: perhaps there is a continuum of fixed points"
    }
    for angle in np.linspace(0, 6, 50):
        w = 0.5 * np.array([np.cos(angle), np.sin(angle)])
        assert any(
            all(a <= x <= b for x, (a, b) in zip(w, part.box, strict=True))
            for part in found.inconclusive
        )


@pytest.mark.parametrize("n", [2, 3, 4])
def test_points_where_faces_of_the_cube_meet_are_counted_once(n):
    """H = I − 11ᵀ has one negative eigenvalue, along the diagonal, which is a corner."""
    symbols = sympy.symbols(f"x:{n}", real=True)
    loss = sum(x**2 for x in symbols) / 2 - sum(symbols) ** 2 / 2
    found = certify(loss, symbols, ((-2, 2),) * n, rule="sam", rho=0.5)
    assert found.verdict is Verdict.proved
    diagonal = np.full(n, 0.5 / np.sqrt(n))
    np.testing.assert_allclose(places(found), [-diagonal, diagonal], atol=1e-15)


def test_points_on_the_edge_of_the_box_and_beyond():
    """(0, ±½) on ½(x² − y²): outside, on the edge, inside; the target need not be inside."""
    loss = X**2 / 2 - Y**2 / 2
    for top, count in ((0.4, 0), (0.6, 1)):
        found = certify(loss, (X, Y), ((-1, 1), (0.25, top)), rule="sam", rho=0.5)
        assert found.verdict is Verdict.proved
        assert [p.origin for p in found.points] == ["hallucinated"] * count
    found = certify(loss, (X, Y), ((-1, 1), (0.25, 0.5)), rule="sam", rho=0.5)
    assert found.verdict is Verdict.inconclusive
    assert "edge" in found.inconclusive[0].reason


def test_next_to_degenerate_critical_points_nothing_is_claimed():
    """x⁴ − y⁴: (0, ±½) ascend to the origin, which no proof can count."""
    found = certify(X**4 - Y**4, (X, Y), SQUARE, rule="sam", rho=0.5)
    assert found.verdict is Verdict.inconclusive
    assert found.points == ()
    for y in (0.5, -0.5):
        (part,) = [u for u in found.inconclusive if u.box[1][0] <= y <= u.box[1][1]]
        assert part.reason == "the ascent point may be a critical point that is itself undecided"
        assert max(high - low for low, high in part.box) < 0.02


def test_a_proof_for_a_range_of_rho_holds_for_each():
    wide = certify(QUARTIC, (X, Y), SQUARE, rule="sam", rho=(1.5, 1.51))
    assert wide.verdict is Verdict.proved
    assert [p.kind for p in elsewhere(wide)] == [Kind.attracting] * 2
    for rho in (1.5, 1.505, 1.51):
        for p, whole in zip(
            elsewhere(certify(QUARTIC, (X, Y), SQUARE, rule="sam", rho=rho)),
            elsewhere(wide),
            strict=True,
        ):
            pairs = zip(p.midpoint, whole.enclosure, strict=True)
            assert all(a - 1e-15 <= x <= b + 1e-15 for x, (a, b) in pairs)


def test_without_a_radius_there_are_none():
    found = certify(QUARTIC, (X, Y), SQUARE, rule="sam", rho=0)
    assert found.verdict is Verdict.proved
    assert [p.origin for p in found.points] == ["critical"] * 3


def test_more_targets_than_are_listed_leave_the_box_open():
    found = certify(
        QUARTIC,
        (X, Y),
        ((-2, 2), (0.1, 0.9)),
        rule="sam",
        rho=0.5,
        settings=Limits(max_points=1),
    )
    assert found.verdict is Verdict.inconclusive
    assert "more critical points" in found.inconclusive[0].reason


@pytest.mark.parametrize(
    "make",
    [
        lambda loss, rule: sf.Flow(loss, rule),
        lambda loss, rule: sf.Map(loss, rule, lr=0.02),
        lambda loss, rule: sf.Map(loss, rule, lr=0.02, momentum=0.5),
        lambda loss, rule: sf.Map(loss, rule, lr=0.02, momentum=0.5, nesterov=True),
    ],
    ids=["flow", "plain", "heavy ball", "Nesterov"],
)
def test_kinds_and_eigenvalues_agree_with_the_jacobian(make):
    loss = losses.six_hump_camel()
    system = make(loss, sf.SAM(rho=0.6))
    found = certify_fixed_points(system, loss.domain)
    assert found.verdict is Verdict.proved
    assert len(elsewhere(found)) == 30
    for p in elsewhere(found):
        twin = sf.classify(system, p.midpoint)
        assert p.kind is twin.kind
        ours = np.array([complex(np.mean(z.real), np.mean(z.imag)) for z in p.eigenvalues])
        gaps = np.abs(ours[:, None] - twin.spectrum)
        assert gaps.min(axis=1).max() < 1e-7  # eigvals of 4×4: half the digits at a double one
        assert p.hessian[0][0] == pytest.approx(float(twin.curvature[0]), abs=1e-9)


def test_multiple_eigenvalues_across_are_enclosed():
    """diag(2, 2, −1): across (0, 0, ±rho) the flow has −2(1 + 2) = −6 twice, along it 1."""
    found = certify(X**2 + Y**2 - Z**2 / 2, (X, Y, Z), ((-1, 1),) * 3, rule="sam", rho=0.5)
    for p in elsewhere(found):
        assert (p.kind, p.kind_verdict) == (Kind.saddle, Verdict.proved)
        values = sorted(np.mean(z.real) for z in p.eigenvalues)
        np.testing.assert_allclose(values, [-6, -6, 1], atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [1, -1])
def test_the_equations_on_a_face_and_their_jacobian(axis, side):
    """F against its definition in NumPy, its Jacobian against central differences."""
    loss = X**2 * Y - Z**3 * X + Y**2 * Z
    centre, rho, u = np.array([0.3, -0.2, 0.5]), 0.7, np.array([0.4, -0.6])
    gradient = sympy.lambdify((X, Y, Z), [sympy.diff(loss, s) for s in (X, Y, Z)])
    face = SphereEquations(
        GradientEquations(loss, (X, Y, Z)), [arb(x) for x in centre], arb(rho), axis, side
    )
    others = [j for j in range(3) if j != axis]

    def twin(u):
        full = np.insert(u, axis, side)
        g = np.array(gradient(*(centre - rho * full / np.linalg.norm(full))))
        return np.array([g[j] - side * g[axis] * full[j] for j in others])

    balls = [arb(x) for x in u]
    np.testing.assert_allclose([float(x) for x in face.value(balls)], twin(u), atol=1e-14)
    rows = np.array([[float(x) for x in row] for row in face.linearise(balls)[1]])
    step = 1e-5 * np.eye(2)
    differences = np.array([(twin(u + s) - twin(u - s)) / 2e-5 for s in step]).T
    np.testing.assert_allclose(rows, differences, atol=1e-9)
    seen = face.coordinates(face.unit(balls))
    np.testing.assert_allclose([float(x) for x in seen], u, atol=1e-15)
    back = SphereEquations(face.gradient, face.centre, face.rho, axis, -side)
    assert back.coordinates(face.unit(balls)) is None


def test_an_orbit_stays_at_an_attracting_one_and_leaves_a_repelling_one():
    """On the quartic at rho = 3/2, (0, −½) has the multipliers 1 − lr(1 + 4) and 1 − 2 lr."""
    system = sf.Map(losses.quartic(), sf.SAM(rho=1.5), lr=0.1)
    found = certify_fixed_points(system, SQUARE)
    assert [(p.midpoint, p.kind) for p in elsewhere(found)] == [
        ((0.0, -0.5), Kind.attracting),
        ((0.0, 0.5), Kind.attracting),
    ]
    orbit = sf.iterate(system, [0.05, -0.4], num_steps=400)
    # both multipliers are at most 0.8, and 0.8^400 is below rounding
    np.testing.assert_allclose(orbit.final_w, [0.0, -0.5], atol=1e-15)
    assert np.linalg.norm(system.loss.gradient(orbit.final_w)) == pytest.approx(0.375)
    repelled = sf.iterate(
        sf.Map(losses.double_well(), sf.SAM(rho=0.5), lr=0.1), [0.5 + 1e-9], num_steps=100
    )
    away = float(repelled.final_w[0]) - 0.5
    assert away == pytest.approx(1e-9 * 1.1**100, rel=1e-4)  # 1 + lr a step; the rest is O(away)


@pytest.mark.parametrize(("lr", "kind"), [(0.399, Kind.attracting), (0.401, Kind.saddle)])
def test_the_map_flips_where_the_multiplier_says(lr, kind):
    """On the quartic at rho = 3/2: 1 − 5 lr passes −1 at lr = 2/5."""
    found = certify_fixed_points(sf.Map(losses.quartic(), sf.SAM(rho=1.5), lr=lr), SQUARE)
    assert {p.kind for p in elsewhere(found)} == {kind}
