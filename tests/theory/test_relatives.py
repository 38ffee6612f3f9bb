"""The relatives of SAM near a critical point: closed forms against the maps on quadratics."""

import itertools

import numpy as np
import pytest
import sympy

from samflow import theory
from tests.tiers import slow

x, y = theory.relatives.curvature_across, theory.relatives.ascent_across


def unit(v):
    length = np.linalg.norm(v)
    return v / length if length else np.full_like(v, np.nan)


# Each rule on ½wᵀHw, from its paper's formula: (H, rho, w, memory) -> (d, memory).


def sam(h, rho, w, m):
    return h @ (w + rho * unit(h @ w)), m


def asam(scale):
    def rule(h, rho, w, m):
        g = h @ w
        return h @ (w + rho * scale**2 * g / np.linalg.norm(scale * g)), m

    return rule


def multistep(k, average=False):
    def rule(h, rho, w, m):
        ends, p = [], w
        for _ in range(k):
            p = p + rho / k * unit(h @ p)
            ends.append(h @ p)
        return (np.mean(ends, axis=0) if average else ends[-1]), m

    return rule


def ssam(h, rho, w, m):
    g = h @ w
    return np.linalg.norm(g) * unit(h @ (w + rho * unit(g))), m


def lookahead(alpha):
    def rule(h, rho, w, m):
        ahead = w - alpha * sam(h, rho, w, m)[0]
        return sam(h, rho, ahead, m)

    return rule


def gcsam(h, rho, w, m):
    g = h @ w
    return h @ (w + rho * unit(g - g.mean())), m


def fsam(sigma, decay):
    def rule(h, rho, w, m):
        g = h @ w
        return h @ (w + rho * unit(g - sigma * m)), decay * m + (1 - decay) * g

    return rule


def vasso(theta):
    def rule(h, rho, w, m):
        m = (1 - theta) * m + theta * (h @ w)
        return h @ (w + rho * unit(m)), m

    return rule


def dpsat(h, rho, w, m):
    d = h @ (w + rho * unit(m))
    return d, d


def orbit(rule, h, w0, *, rho, lr, steps, m0=None, leave=1e3):
    """Iterate until the orbit has left, or has come to where the rule is undefined."""
    h, w = np.atleast_2d(np.asarray(h, float)), np.asarray(w0, float)
    m, points = h @ w if m0 is None else np.asarray(m0, float), [w]
    for _ in range(steps):
        d, m = rule(h, rho, w, m)
        if np.isnan(d).any():
            break
        w = w - lr * d
        points.append(w)
        if not np.linalg.norm(w) < leave:
            break
    return np.array(points)


# SAM: the invariant ball


@pytest.mark.parametrize(
    ("lams", "lr"),
    [
        ((-1.0,), 0.3),
        ((1.0, -0.5), 0.3),
        ((1.0, -1.2), 0.1),
        ((-1.0, -2.0, -0.9), 0.2),
        ((0.7, 1.6, -2.0, -1.8), 0.4),
        ((3.0, -4.0), 0.2),
    ],
)
def test_orbits_stay_in_the_invariant_ball_and_enter_it(lams, lr):
    lams, rho = np.array(lams), 0.7
    inner, outer = map(float, theory.invariant_ball(lams, rho=rho, lr=lr))
    rng = np.random.default_rng(5)
    for start in (0.999 * outer, 0.5 * outer, 1e-3 * inner):
        z = start * unit(rng.normal(size=len(lams)))
        sizes = [
            np.linalg.norm(lams * w)
            for w in orbit(sam, np.diag(lams), z / lams, rho=rho, lr=lr, steps=4000)
        ]
        assert max(sizes) < outer
        assert max(sizes[-1000:]) <= inner * (1 + 1e-12)  # rounding


def test_in_one_dimension_the_ball_is_the_trap_exactly():
    lam, rho, lr = sympy.Rational(-3, 2), sympy.Rational(1, 5), sympy.Rational(1, 2)
    inner, outer = theory.invariant_ball([lam], rho=rho, lr=lr)
    assert inner == abs(lam) * theory.trap_radius(lam, rho=rho, lr=lr)
    assert outer == rho * abs(lam)
    critical = 1 / abs(lam)
    assert theory.invariant_ball([lam], rho=rho, lr=critical) is not None
    assert theory.invariant_ball([lam], rho=rho, lr=critical * sympy.Rational(1001, 1000)) is None


def test_without_a_negative_eigenvalue_the_ball_is_entered_from_everywhere():
    assert theory.invariant_ball([1, 2], rho=1, lr=sympy.Rational(1, 10))[1] == sympy.oo
    assert theory.invariant_ball([1, 25], rho=1, lr=sympy.Rational(1, 10)) is None


# ASAM


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_adaptive_bounds_on_both_sides(ratio):
    lam, lr, rho = 1.0, 0.3, 0.2
    weak, strong = map(float, theory.adaptive_cycle_bounds(lam, ratio=ratio, lr=lr))
    scale = np.array([0.8, 0.8 * ratio])
    radius = float(theory.cycle_radius(lam, rho=rho * scale[0], lr=lr))
    for m, holds in ((1.2 * weak, 1), (0.8 * weak, 0), (0.98 * strong, 1), (1.02 * strong, 0)):
        start = np.array([radius, 1e-6 * radius])
        points = orbit(asam(scale), np.diag([lam, -m]), start, rho=rho, lr=lr, steps=8000)
        # The slowest multiplier here is 1 ∓ .0012: e^∓9 in 8000 steps.
        across = np.abs(points[:, 1])
        assert across[-1] < 0.01 * across[0] if holds else across.max() > 100 * across[0]
        if holds:
            assert abs(points[-1][0]) == pytest.approx(radius, rel=1e-6)


def test_adaptive_bounds_with_equal_scales_are_those_of_sam():
    lam, lr = sympy.symbols("lam lr", positive=True)
    adaptive = theory.adaptive_cycle_bounds(lam, ratio=1, lr=lr)
    plain = theory.saddle_cycle_bounds(lam, lr=lr)
    at = {lam: sympy.Rational(3, 2), lr: sympy.Rational(1, 4)}
    for one, other in zip(adaptive, plain, strict=True):
        assert sympy.simplify((one - other).subs(at)) == 0


# F-SAM and VaSSO


@pytest.mark.parametrize(("sigma", "decay"), [(0.3, 0.6), (0.5, 0.1), (0.5, 0.9), (0.0, 0.6)])
def test_friendly_bounds_are_where_the_update_across_stops_to_contract(sigma, decay):
    lam, lr = sympy.Rational(3, 2), sympy.Rational(1, 5)
    sigma, decay = sympy.nsimplify(sigma), sympy.nsimplify(decay)
    at_plus, at_minus, gap = theory.update_conditions(theory.friendly_update(sigma, decay))

    def values(m):
        at = {x: -lr * m, y: (m / lam) ** 2 * (2 - lr * lam)}
        return [expr.subs(at) for expr in (at_plus, at_minus, gap)]

    weak, strong = theory.friendly_cycle_bounds(lam, lr=lr, sigma=sigma, decay=decay)
    assert sympy.simplify(values(weak)[0]) == 0
    assert sympy.simplify(values(strong)[1]) == 0
    assert all(value > 0 for value in values((weak + strong) / 2))


@pytest.mark.parametrize(("sigma", "decay"), [(0.3, 0.6), (0.5, 0.6)])
def test_friendly_cycles_on_both_sides_of_both_bounds(sigma, decay):
    lam, lr, rho = 1.0, 0.3, 1.0
    bounds = theory.friendly_cycle_bounds(lam, lr=lr, sigma=sigma, decay=decay)
    weak, strong = map(float, bounds)
    c = float(theory.cycle_radius(lam, rho=rho, lr=lr))
    memory = [-(1 - decay) * lam * c / (1 + decay), 0.0]
    for m, holds in ((1.03 * weak, 1), (0.97 * weak, 0), (0.97 * strong, 1), (1.03 * strong, 0)):
        h = np.diag([lam, -m])
        points = orbit(
            fsam(sigma, decay), h, [c, 1e-8], rho=rho, lr=lr, steps=8000, m0=memory, leave=10
        )
        assert (abs(points[-1][1]) < 1e-12) == holds


@pytest.mark.parametrize("m", [0.1, 0.5, 1.0])
def test_with_sigma_one_no_saddle_holds_f_sam(m):
    assert theory.friendly_cycle_bounds(1, lr=0.3, sigma=1, decay=0.6)[0] == sympy.oo
    rng = np.random.default_rng(2)
    for _ in range(5):
        start = 1e-3 * unit(rng.normal(size=2))
        points = orbit(
            fsam(1.0, 0.6), np.diag([1, -m]), start, rho=1.0, lr=0.1, steps=20_000, m0=[0, 0]
        )
        assert np.linalg.norm(points[-1]) > 1e2


@pytest.mark.parametrize("theta", [0.4, 0.9])
def test_suppressed_bounds_are_where_the_update_across_stops_to_contract(theta):
    lam, lr, theta = sympy.Rational(3, 2), sympy.Rational(1, 5), sympy.nsimplify(theta)
    at_plus, at_minus, gap = theory.update_conditions(theory.suppressed_update(theta))
    weak, strong, pair = theory.suppressed_cycle_bounds(lam, lr=lr, theta=theta)
    along = lambda m: {x: -lr * m, y: (m / lam) ** 2 * (2 - lr * lam)}  # noqa: E731
    assert sympy.simplify(at_plus.subs(along(weak))) == 0
    assert sympy.simplify(at_minus.subs(along(strong))) == 0
    assert sympy.simplify(gap.subs(along(pair))) == 0


@pytest.mark.parametrize("theta", [0.5, 0.9])
def test_suppressed_cycles_on_both_sides_of_both_bounds(theta):
    lam, lr, rho = 1.0, 0.3, 1.0
    weak, strong, _ = map(float, theory.suppressed_cycle_bounds(lam, lr=lr, theta=theta))
    c = float(theory.cycle_radius(lam, rho=rho, lr=lr))
    memory = [-theta * lam * c / (2 - theta), 0.0]
    for m, holds in ((1.03 * weak, 1), (0.97 * weak, 0), (0.97 * strong, 1), (1.03 * strong, 0)):
        h = np.diag([lam, -m])
        points = orbit(vasso(theta), h, [c, 1e-8], rho=rho, lr=lr, steps=8000, m0=memory, leave=10)
        assert (np.abs(points[-100:, 1]).max() < 1e-9) == holds


def test_suppressed_cycle_loses_to_a_complex_pair_where_the_memory_is_long():
    # θ = .1, η = .9: the pair's bound .1235 lies between the others, .043 and 1.82.
    weak, strong, pair = theory.suppressed_cycle_bounds(1.0, lr=0.9, theta=0.1)
    assert weak < pair < strong
    c = float(theory.cycle_radius(1.0, rho=1.0, lr=0.9))
    for m, holds in ((0.97 * float(pair), True), (1.03 * float(pair), False)):
        points = orbit(
            vasso(0.1), np.diag([1, -m]), [c, 1e-8], rho=1, lr=0.9, steps=8000, leave=10,
            m0=[-0.1 * c / 1.9, 0.0],
        )  # fmt: skip
        assert (abs(points[-1][1]) < 1e-9) == holds


# Optimistic SAM and multi-step SAM across their cycles


def test_optimistic_bounds_are_where_the_update_across_stops_to_contract():
    lam, lr, alpha = sympy.Rational(3, 2), sympy.Rational(1, 5), sympy.Rational(1, 20)
    weak, strong = theory.optimistic_cycle_bounds(lam, lr=lr, lookahead=alpha)

    def conditions(m):
        v = theory.optimistic_curvature(lam, -m, lr=lr, lookahead=alpha)
        return theory.update_conditions(theory.optimistic_update(v, lr=lr, lookahead=alpha))

    assert sympy.simplify(conditions(weak)[0]) == 0
    assert sympy.simplify(conditions(strong)[1]) == 0
    assert all(value > 0 for value in conditions((weak + strong) / 2))


def test_optimistic_cycles_on_both_sides_of_both_bounds():
    lam, lr, alpha, rho = 1.0, 0.2, 0.1, 0.5
    weak, strong = map(float, theory.optimistic_cycle_bounds(lam, lr=lr, lookahead=alpha))
    c = float(theory.optimistic_cycle_radius(lam, rho=rho, lr=lr, lookahead=alpha))

    def optimistic(h, rho, w, m):
        d = sam(h, rho, w - alpha * m, m)[0]
        return d, d

    for m, holds in ((1.03 * weak, 1), (0.97 * weak, 0), (0.97 * strong, 1), (1.03 * strong, 0)):
        points = orbit(
            optimistic, np.diag([lam, -m]), [c, 1e-8], rho=rho, lr=lr, steps=8000, leave=10,
            m0=[-2 * c / lr, 0.0],
        )  # fmt: skip
        assert (np.abs(points[-100:, 1]).max() < 1e-9) == holds


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_multistep_cycles_need_a_k_times_stronger_saddle(k):
    lam, lr, rho = 1.0, 0.1, 0.4
    weak = k * float(theory.saddle_cycle_bounds(lam, lr=lr)[0])
    for average in (False, True):
        about = {"lr": lr, "num_steps": k, "average": average}
        c = float(theory.multistep_cycle_radius(lam, rho=rho, **about))
        for m in (1.05 * weak, 0.95 * weak, 0.6, 0.9):
            x = float(theory.multistep_curvature(lam, -m, **about))
            if not average:
                assert (x > 0) == (m > weak)
            points = orbit(
                multistep(k, average), np.diag([lam, -m]), [c, 1e-6 * c], rho=rho, lr=lr, steps=4000
            )
            across = np.abs(points[:, 1])
            # Within 5 % of the bound |1 − x| is off 1 by .0003 or more: e¹ in 4000 steps.
            if 0 < x < 2:
                assert across[-1] < 0.5 * across[0]
                assert abs(points[-1][0]) == pytest.approx(c, rel=1e-3)
            else:
                assert across.max() > 2 * across[0]


# Multi-step SAM and lookahead-SAM in one dimension


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("k", [1, 2, slow(3), slow(4), slow(5)])
def test_multistep_slides_at_the_predicted_distances_from_a_maximum(k, average):
    rho, lr = np.sqrt(0.9), np.pi * 3e-4
    rests = [float(r) for r in theory.multistep_rests(rho=rho, num_steps=k, average=average)]
    ends = set()
    for w0 in np.linspace(0.0131, 0.9871, 14) * rho:
        end = abs(orbit(multistep(k, average), [[-1.0]], [w0], rho=rho, lr=lr, steps=8000)[-1][0])
        # Between rests lie repelling points of the averaged rule; from near ρ it may still leave.
        near = [rest for rest in rests if abs(rest - end) < 3 * lr]
        assert near or end > max(rests)
        ends |= set(near)
    assert ends == set(rests)
    if not average:
        assert (0.0 in rests) == (k % 2 == 1)


def test_multistep_is_sam_at_a_one_dimensional_minimum():
    for k, steps in itertools.product((1, 2, 5), (1, 7, 100)):
        one = orbit(sam, [[2.0]], [0.3], rho=0.5, lr=0.1, steps=steps)
        many = orbit(multistep(k), [[2.0]], [0.3], rho=0.5, lr=0.1, steps=steps)
        np.testing.assert_allclose(one, many, rtol=1e-12)


@pytest.mark.parametrize("lam", [2.0, -2.0])
def test_lookahead_rests_beside_the_critical_point(lam):
    rho, alpha, lr = 0.5, 0.1, 1e-5
    rest = float(theory.lookahead_rest(lam, rho=rho, lookahead=alpha))
    for start in (1e-4, 0.5 * rest, 1.5 * rest):
        end = orbit(lookahead(alpha), [[lam]], [start], rho=rho, lr=lr, steps=30_000)[-1][0]
        assert abs(end - rest) < 10 * lr  # one step is η|λ|ρ(1 + ...) ≤ 2e-5


LOOKAHEAD = [(0.05, 0.05), (0.3, 0.3), (0.3, 0.05), (0.2, 0.4)]


@pytest.mark.parametrize(("lr", "alpha"), LOOKAHEAD)
@pytest.mark.parametrize("other", [-0.1, -0.6, -1.2, 0.5])
def test_the_cycles_of_lookahead_sam_have_these_multipliers(lr, alpha, other):
    lam, rho = 1.0, 0.1
    about = {"rho": rho, "lr": lr, "lookahead": alpha}
    middle, swing = map(float, theory.lookahead_cycle(lam, **about))
    assert (middle == 0) == (alpha == 0.05 < lr / 2)
    h, rule = np.diag([lam, other]), lookahead(alpha)

    def twice(w):
        for _ in range(2):
            w = w - lr * rule(h, rho, w, None)[0]
        return w

    w, e = np.array([middle + swing, 0.0]), 1e-7 * swing
    np.testing.assert_allclose(twice(w), w, atol=1e-15)
    got = [(twice(w + d)[i] - twice(w - d)[i]) / (2 * e) for i, d in enumerate(e * np.eye(2))]
    along = (1 - lr * lam * (1 - alpha * lam)) ** 2
    across = float(theory.lookahead_multiplier(lam, other, **about))
    np.testing.assert_allclose(got, [along, across], rtol=1e-6, atol=1e-7)  # differences, h²


@pytest.mark.parametrize(("lr", "alpha"), [(0.3, 0.3), (0.2, 0.4)])
def test_weaker_saddles_hold_lookahead_sam_than_hold_sam(lr, alpha):
    weak = float(theory.lookahead_weak_bound(1, lr=lr, lookahead=alpha))
    assert weak < float(theory.saddle_cycle_bounds(1, lr=lr)[0])
    about = {"rho": 0.1, "lr": lr, "lookahead": alpha}
    for share, holds in ((1.3, True), (0.7, False)):
        assert (theory.lookahead_multiplier(1, -share * weak, **about) < 1) == holds
        start = 1e-4 * unit(np.array([1.0, 0.7]))
        end = orbit(
            lookahead(alpha), np.diag([1, -share * weak]), start, rho=0.1, lr=lr, steps=5000
        )[-1]
        assert (np.linalg.norm(end) < 0.1) == holds


def test_lookahead_sam_has_no_cycle_where_the_trial_step_crosses_or_between_the_two():
    about = {"rho": 1, "lr": sympy.Rational(1, 10)}
    assert theory.lookahead_cycle(1, lookahead=1, **about) is None
    assert theory.lookahead_cycle(-1, lookahead=0, **about) is None
    assert theory.lookahead_multiplier(1, -1, lookahead=1, **about) is sympy.nan
    assert theory.lookahead_cycle(1, lookahead=0, **about)[1] == theory.cycle_radius(1, **about)
    # With αλ > 1 the rule leaves a minimum.
    assert abs(orbit(lookahead(0.6), [[2.0]], [1e-3], rho=0.1, lr=0.1, steps=400)[-1][0]) > 10


# SSAM


@pytest.mark.parametrize("lam", [1.5, -1.5])
def test_renormalised_sam_is_gradient_descent_with_the_sign_of_curvature_removed(lam):
    points = orbit(ssam, [[lam]], [0.4], rho=0.5, lr=0.2, steps=40)
    multiplier = float(theory.renormalised_multiplier(lam, lr=0.2))
    np.testing.assert_allclose(points[:, 0], 0.4 * multiplier ** np.arange(41), rtol=1e-12)


def test_renormalised_sam_comes_to_saddles_and_maxima_below_the_bound():
    rng = np.random.default_rng(3)
    for _ in range(10):
        lams = rng.uniform(0.5, 2, size=3) * rng.choice([-1, 1], size=3)
        lr = 0.99 * float(theory.renormalised_largest_lr(lams))
        # To leading order in ‖w‖/ρ: 1e-6 here.
        points = orbit(ssam, np.diag(lams), 1e-6 * unit(rng.normal(size=3)), rho=1, lr=lr, steps=60)
        sizes = np.linalg.norm(points * lams, axis=1)
        assert (np.diff(sizes[sizes > 0]) < 0).all()
        assert sizes[-1] < sizes[0]


@pytest.mark.parametrize("lams", [(1.0, 0.5), (1.0, -0.2), (-1.0, -0.5)])
@pytest.mark.parametrize("x", [0.2, 0.7, 1.2, 1.9, 1.99, 2.01])
def test_renormalised_sam_has_these_rates_in_the_plane(lams, x):
    h, w, total, count = np.diag(lams), np.array([0.6, 0.8]) * 1e-7, 0.0, 600
    for _ in range(count):
        w = w - x * ssam(h, 1.0, w, None)[0]
        size = np.linalg.norm(w)
        total += np.log(size / 1e-7)
        w = w * (1e-7 / size)  # so that it stays near: the map is homogeneous there
    rate = float(theory.renormalised_rate(lams, lr=x))
    assert (rate < 0) == (x < 2)
    # The ray is not the start's: a constant of order 1 in the sum.
    assert total / count == pytest.approx(rate, abs=5 / count)


def test_renormalised_sam_from_beyond_the_radius_leaves_a_maximum():
    far = orbit(ssam, [[-1.0]], [1.01], rho=1.0, lr=0.1, steps=500)
    assert abs(far[-1][0]) > 100


# GCSAM


@pytest.mark.parametrize("seed", range(8))
def test_centralised_sam_slides_at_the_predicted_rate(seed):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    h = q @ np.diag(rng.uniform(0.5, 1.5, 3) * rng.choice([-1, 1], 3)) @ q.T
    ones, inverse = np.ones(3), np.linalg.inv(h)
    form = float(theory.centralised_form(sympy.Matrix(h))[0])
    assert form == pytest.approx(ones @ inverse @ ones, rel=1e-9)
    rate, lr = form / (ones @ inverse @ inverse @ ones), 1e-4
    w0 = 0.03 * inverse @ ones
    points = orbit(gcsam, h, w0, rho=1.0, lr=lr, steps=10_000)
    # Seen through the left null vector of the sliding motion. Steps hover by O(lr·rho) = 1e-4, and
    # on the way |a| ≲ .1 in the sum ρHa that holds the rest of the gradient at 0.
    s = (points @ inverse @ ones) / (ones @ inverse @ inverse @ ones)
    np.testing.assert_allclose(s[-1] / s[0], np.exp(-rate), rtol=0.02)


def test_centralised_form_of_blocks():
    h = sympy.diag(1, -2, 4)
    assert theory.centralised_form(h, (1, 2)) == sympy.diag(1, sympy.Rational(-1, 4))
    assert theory.centralised_form(h)[0] == 1 - sympy.Rational(1, 2) + sympy.Rational(1, 4)


# m-SAM, average-direction SAM, DP-SAT


@pytest.mark.parametrize("lams", [(1.0, 3.0), (2.0, -0.5), (4.0, -1.0, 0.3)])
def test_sharded_cycle(lams):
    lams, rho, lr = np.array(lams), 0.3, 0.2
    w = 0.1
    for _ in range(3000):
        w -= lr * np.mean(lams * (w + rho * np.sign(lams * w)))
    assert abs(w) == pytest.approx(float(theory.sharded_cycle_radius(lams, rho=rho, lr=lr)))


def test_gaussian_average_is_the_expectation():
    a, b = sympy.symbols("a b")
    loss = a**4 - 3 * a * b**2 + b**6 + a
    rho = 0.7
    averaged = sympy.lambdify((a, b), theory.gaussian_average(loss, (a, b), rho=rho))
    # Gauss–Hermite with 8 nodes an axis is exact for degree 15.
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    weights = weights / weights.sum()
    f = sympy.lambdify((a, b), loss)
    sd = rho / np.sqrt(2)
    grid = sum(
        p * q * f(0.4 + sd * s, -0.9 + sd * t)
        for (s, p), (t, q) in itertools.product(zip(nodes, weights, strict=True), repeat=2)
    )
    assert averaged(0.4, -0.9) == pytest.approx(grid, rel=1e-12)
    with pytest.raises(ValueError, match="must be a polynomial"):
        theory.gaussian_average(sympy.sin(a), (a,), rho=1)


def test_averaging_turns_the_quartics_saddle_at_a_third_of_the_dimension():
    a, b = sympy.symbols("a b")
    loss = a**2 / 2 - b**2 / 2 + b**4 / 4
    rho = sympy.Symbol("rho", positive=True)
    averaged = theory.gaussian_average(loss, (a, b), rho=rho)
    curvature = sympy.diff(averaged, b, 2).subs({a: 0, b: 0})
    assert sympy.simplify(curvature - (3 * rho**2 / 2 - 1)) == 0
    assert theory.gaussian_average(a**2 - b**2, (a, b), rho=1) == a**2 - b**2


def test_previous_gradient_ascent_goes_to_minus_rho_at_a_minimum_and_leaves_a_maximum():
    for w0 in (0.3, -0.3):
        points = orbit(dpsat, [[1.0]], [w0], rho=0.5, lr=0.1, steps=300)
        assert abs(points[-1][0]) == pytest.approx(0.5, abs=1e-9)
        assert np.linalg.norm(orbit(dpsat, [[-1.0]], [w0], rho=0.5, lr=0.1, steps=300)[-1]) > 1e2
