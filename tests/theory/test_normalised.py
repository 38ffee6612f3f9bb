"""Normalised SAM near a critical point: each formula put back into the map, and orbits."""

import numpy as np
import pytest
import sympy

from samflow import theory

c, eps, eta, mu, other, radius = sympy.symbols("c epsilon eta mu other radius", positive=True)
mass = sympy.Symbol("m", positive=True)  # |λ| of a negative eigenvalue
b = sympy.Symbol("b", nonnegative=True)


def is_zero(expr):
    return sympy.simplify(expr) == 0


def direction(lam, w, side):
    """Return λ(w + ρ g/|g|) in one dimension, where side = sign w."""
    return lam * (w + radius * sympy.sign(lam) * side)


def orbit(lams, w0, *, rho, lr, steps, momentum=0.0, scheme="none"):
    """Iterate SAM on ½ Σ λᵢ wᵢ², from rest; stop where it has left for good."""
    w, v = np.array(w0, dtype=float), np.zeros(len(lams))
    points = [w]
    for _ in range(steps):
        g = lams * w
        d = lams * (w + rho * g / np.linalg.norm(g))
        v = momentum * v + d
        w = w - lr * (d + momentum * v if scheme == "nesterov" else v)
        points.append(w)
        if np.linalg.norm(w) > 1e3:
            break
    return np.array(points)


def test_the_map_is_homogeneous_so_rho_is_only_a_scale():
    lams, w0 = np.array([1.0, -0.7]), np.array([0.03, 0.02])
    once = orbit(lams, w0, rho=0.1, lr=0.3, steps=20)
    twice = orbit(lams, 2 * w0, rho=0.2, lr=0.3, steps=20)
    # A factor of 2 is exact in floating point.
    np.testing.assert_array_equal(twice, 2 * once)


def test_two_cycle_of_the_plain_map():
    cycle = theory.cycle_radius(mu, rho=radius, lr=eta)
    assert is_zero(cycle - eta * radius * mu / (2 - eta * mu))
    assert is_zero(cycle - eta * direction(mu, cycle, 1) + cycle)
    two_steps = sympy.diff(c - eta * direction(mu, c, 1), c) ** 2
    assert is_zero(two_steps - theory.cycle_multiplier(mu, lr=eta))


def test_two_cycle_along_a_negative_eigenvalue():
    cycle = theory.cycle_radius(-mass, rho=radius, lr=eta)
    assert is_zero(cycle - eta * direction(-mass, cycle, 1) + cycle)
    assert cycle.subs({eta: 1, mass: 1, radius: 1}) == sympy.Rational(1, 3)


@pytest.mark.parametrize("scheme", ["heavy_ball", "nesterov"])
def test_two_cycle_with_momentum(scheme):
    cycle = theory.cycle_radius(mu, rho=radius, lr=eta, momentum=b, scheme=scheme)
    d = direction(mu, cycle, 1)
    v = sympy.Symbol("v")
    (arriving,) = sympy.solve(b * v + d + v, v)  # the velocity changes sign in a step
    leaving = -arriving
    step = leaving if scheme == "heavy_ball" else d + b * leaving
    assert is_zero(cycle - eta * step + cycle)
    if scheme == "heavy_ball":
        assert is_zero(cycle - eta * radius * mu / (2 * (1 + b) - eta * mu))


@pytest.mark.parametrize("scheme", theory.SCHEMES)
def test_on_the_cycle_the_effective_curvature_is_at_the_flip(scheme):
    cycle = theory.cycle_radius(mu, rho=radius, lr=eta, momentum=b, scheme=scheme)
    kappa = theory.evaluate(theory.flip_threshold(scheme), momentum=b)
    assert is_zero(eta * mu * (1 + radius / cycle) - kappa)


@pytest.mark.parametrize(
    ("lr", "momentum", "scheme", "holds"),
    [
        (1.9, 0.0, "none", True),
        (2.1, 0.0, "none", False),
        (3.1, 0.6, "heavy_ball", True),  # 2(1 + β) = 3.2
        (3.3, 0.6, "heavy_ball", False),
        (1.4, 0.6, "nesterov", True),  # 3.2/2.2 = 1.4545
        (1.5, 0.6, "nesterov", False),
    ],
)
def test_the_cycle_holds_up_to_the_flip_threshold(lr, momentum, scheme, holds):
    settings = {"rho": 0.1, "lr": lr, "momentum": momentum, "scheme": scheme}
    assert theory.stable_cycles([1.0], lr=lr, momentum=momentum, scheme=scheme) == ((0,) * holds)
    points = orbit(np.array([1.0]), [0.01], steps=3000, **settings)
    if holds:
        radius = float(theory.cycle_radius(1.0, **settings))
        # The slowest multiplier here is below 0.98: after 3000 steps only rounding is left.
        assert abs(points[-2:, 0]) == pytest.approx([radius, radius], rel=1e-10)
    else:
        assert abs(points[-1, 0]) > 1e3


def test_transverse_multiplier_from_the_map():
    cycle = theory.cycle_radius(mu, rho=radius, lr=eta)
    for lam_j in (other, -other):
        norm = sympy.sqrt((mu * cycle) ** 2 + (lam_j * eps) ** 2)
        after = eps - eta * lam_j * (eps + radius * lam_j * eps / norm)
        multiplier = sympy.diff(after, eps).subs(eps, 0)
        printed = 1 - eta * lam_j - (lam_j / mu) ** 2 * (2 - eta * mu)
        # subs leaves |2 − ημ|: the cycle exists only where it is positive.
        multiplier = multiplier.subs(eta, sympy.Rational(1, 3)).subs(mu, sympy.Rational(5, 4))
        printed = printed.subs(eta, sympy.Rational(1, 3)).subs(mu, sympy.Rational(5, 4))
        ours = 1 - theory.transverse_curvature(sympy.Rational(5, 4), lam_j, lr=sympy.Rational(1, 3))
        assert is_zero(multiplier - printed)
        assert is_zero(ours - printed)


@pytest.mark.parametrize("scheme", theory.SCHEMES)
def test_saddle_cycle_bounds_are_the_roots_of_the_transverse_conditions(scheme):
    momentum = 0 if scheme == "none" else b
    settings = {"lr": eta, "momentum": momentum, "scheme": scheme}
    kappa = theory.evaluate(theory.flip_threshold(scheme), momentum=momentum)
    across = theory.transverse_curvature(mu, -mass, **settings)
    weak, strong = theory.saddle_cycle_bounds(mu, **settings)
    assert is_zero(across.subs(mass, weak))
    assert is_zero(across.subs(mass, strong) - kappa)
    # κ − x = (m + λ)(κλ − (κ − ηλ)m)/λ²: the other root is negative, so `strong` is the only bound.
    factored = (mass + mu) * (kappa * mu - (kappa - eta * mu) * mass) / mu**2
    assert is_zero(kappa - across - factored)


def test_the_printed_form_of_the_strong_bound():
    _, strong = theory.saddle_cycle_bounds(mu, lr=eta)
    printed = mass**2 * (2 - eta * mu) - mu**2 * (2 + eta * mass)
    assert is_zero(printed.subs(mass, strong))


@pytest.mark.parametrize("scheme", theory.SCHEMES)
def test_stable_cycles_are_where_all_transverse_conditions_hold(scheme):
    rng = np.random.default_rng(9)
    momentum = 0 if scheme == "none" else 0.5
    kappa = float(theory.evaluate(theory.flip_threshold(scheme), momentum=momentum))
    answers = set()
    for _ in range(150):
        lams = rng.normal(size=3)
        lr = rng.uniform(0.05, 1.5)
        x = np.array([[lr * b + (b / a) ** 2 * (kappa - lr * a) for b in lams] for a in lams])
        np.fill_diagonal(x, lr * lams)  # along the cycle itself the map is linear
        expected = tuple(np.flatnonzero(((x > 0) & (x < kappa)).all(axis=1)))
        assert theory.stable_cycles(lams, lr=lr, momentum=momentum, scheme=scheme) == expected
        answers.add(len(expected))
    assert answers == {0, 1}


def test_a_repeated_largest_eigenvalue_has_no_attracting_cycle():
    assert theory.stable_cycles([1, 1], lr=sympy.Rational(1, 10)) == ()
    assert theory.transverse_curvature(1, 1, lr=sympy.Rational(1, 10)) == 2  # multiplier −1
    assert theory.stable_cycles([1, 0], lr=sympy.Rational(1, 10)) == ()


def test_the_known_saddle_threshold():
    weak, strong = theory.saddle_cycle_bounds(1, lr=sympy.Rational(1, 10))
    assert (weak, strong) == (sympy.Rational(1, 19), sympy.Rational(20, 19))


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize(("strength", "held"), [(0.06, True), (0.04, False)])
def test_orbits_are_held_by_a_saddle_above_the_weak_bound(strength, held, start):
    w0 = np.random.default_rng(start).normal(size=2) * 0.01
    points = orbit(np.array([1.0, -strength]), w0, rho=0.1, lr=0.1, steps=20000)
    if held:
        cycle = float(theory.cycle_radius(1.0, rho=0.1, lr=0.1))
        # The transverse multiplier is 1 − x = 0.999: after 20000 steps e⁻¹⁷ of 0.01 is left.
        assert abs(points[-1]) == pytest.approx([cycle, 0.0], abs=1e-8)
    else:
        assert np.linalg.norm(points[-1]) > 1e3


@pytest.mark.parametrize("scheme", theory.SCHEMES)
@pytest.mark.parametrize(("bound", "factor"), [(0, 0.97), (0, 1.03), (1, 0.97), (1, 1.03)])
def test_the_cycle_attracts_or_repels_next_to_both_bounds(scheme, bound, factor):
    momentum = 0.0 if scheme == "none" else 0.3
    settings = {"lr": 0.4, "momentum": momentum, "scheme": scheme}
    strength = float(theory.saddle_cycle_bounds(1.0, **settings)[bound]) * factor
    lams = np.array([1.0, -strength])
    attracts = (factor > 1) == (bound == 0)
    assert theory.stable_cycles(lams, **settings) == ((0,) if attracts else ())

    def moved(perturbation, steps):
        # Start on the cycle: w = c, and the velocity that arrives there.
        cycle = float(theory.cycle_radius(1.0, rho=0.1, **settings))
        w, v = np.array([cycle, perturbation]), np.array([-(cycle + 0.1) / (1 + momentum), 0.0])
        for _ in range(steps):
            g = lams * w
            d = lams * (w + 0.1 * g / np.linalg.norm(g))
            v = momentum * v + d
            w = w - settings["lr"] * (d + momentum * v if scheme == "nesterov" else v)
        return abs(w[1])

    # 3 % from the bound the multiplier is 0.3 to 6 % from 1: in 300 steps a factor of 2 or more,
    # and at most 1.06³⁰⁰ < 1e8, so that 1e-14 stays small beside the cycle.
    change = moved(1e-14, 300) / 1e-14
    assert (change < 1 / 2) if attracts else (change > 2)


def test_above_the_strong_bound_the_orbit_need_not_escape():
    lams = np.array([1.0, -1.2])
    assert theory.stable_cycles(lams, lr=0.1) == ()
    points = orbit(lams, [0.001, 0.002], rho=0.1, lr=0.1, steps=20000)
    # It wanders near the chaotic trap of the other axis, inside the repelling points ±ρ.
    assert abs(points).max() < 0.1


def test_fixed_points_of_the_map_at_negative_curvature_are_no_critical_points():
    for side in (1, -1):
        assert is_zero(direction(-mass, side * radius, side))
    assert is_zero(sympy.diff(c - eta * direction(-mass, c, 1), c) - (1 + eta * mass))


def test_the_trap_is_invariant_exactly_where_the_product_is_below_one():
    trap = theory.trap_radius(-mass, rho=radius, lr=eta)
    after = c - eta * direction(-mass, c, 1)  # increasing in c > 0: the extremes are at the ends
    assert is_zero(after.subs(c, 0) + trap)
    a = eta * mass
    assert is_zero(after.subs(c, trap) - a**2 * radius)  # ≤ aρ iff a ≤ 1


def test_orbits_stay_in_the_trap_and_expand_at_the_predicted_rate():
    lam, rho, lr = -1.0, 0.2, 0.3
    trap = float(theory.trap_radius(lam, rho=rho, lr=lr))
    points = orbit(np.array([lam]), [0.199], rho=rho, lr=lr, steps=3000)[:, 0]
    assert abs(points[100:]).max() <= trap * (1 + 1e-12)  # rounding
    assert len(set(points[-500:])) > 400  # no short cycle
    h, near = 1e-9, points[200]
    pair = [orbit(np.array([lam]), [w], rho=rho, lr=lr, steps=20)[:, 0] for w in (near, near + h)]
    rate = np.log(abs(pair[1][20] - pair[0][20]) / h) / 20
    # No sign change separates the pair in 20 steps; rounding is 1e-16/1e-9 of the distance.
    assert rate == pytest.approx(float(theory.trap_exponent(lam, lr=lr)), abs=1e-6)


def test_beyond_product_one_the_orbit_escapes():
    points = orbit(np.array([-1.0]), [0.05], rho=0.2, lr=1.1, steps=3000)
    assert abs(points[-1, 0]) > 1e3


def test_arrival_time_solves_the_flow():
    t, start = sympy.symbols("t w0", positive=True)
    above = (start + radius) * sympy.exp(-mu * t) - radius
    below = radius - (radius - start) * sympy.exp(mass * t)
    assert is_zero(sympy.diff(above, t) + direction(mu, above, 1))
    assert is_zero(sympy.diff(below, t) + direction(-mass, below, 1))
    assert (above.subs(t, 0), is_zero(below.subs(t, 0) - start)) == (start, True)
    assert is_zero(above.subs(t, sympy.log(1 + start / radius) / mu))
    assert is_zero(below.subs(t, -sympy.log(1 - start / radius) / mass))
    assert theory.arrival_time(2, 3, rho=1) == sympy.log(4) / 2
    assert theory.arrival_time(-2, -sympy.Rational(1, 2), rho=1) == sympy.log(2) / 2
    assert theory.arrival_time(-2, 1, rho=1) == sympy.oo
    assert theory.arrival_time(0, 1, rho=1) == sympy.oo
    assert theory.arrival_time(0, 0, rho=1) == 0


def test_the_gradient_norm_falls_as_the_sum_over_eigenvalues_says():
    lams, w = sympy.symbols("l1 l2", real=True), sympy.symbols("w1 w2", real=True)
    h = sympy.diag(*lams)
    gradient = h * sympy.Matrix(w)
    norm = sympy.sqrt(gradient.dot(gradient))
    velocity = -h * (sympy.Matrix(w) + radius * gradient / norm)
    rate = sympy.Matrix([norm**2 / 2]).jacobian(w).dot(velocity)
    terms = [
        -(z**2) * lam * (1 + radius * lam / norm) for z, lam in zip(gradient, lams, strict=True)
    ]
    assert is_zero(rate - sum(terms))


def test_attraction_radius():
    assert theory.attraction_radius([1, -2, -3], rho=sympy.Rational(1, 2)) == 1
    assert theory.attraction_radius([1, 2], rho=1) == sympy.oo
    assert theory.attraction_radius([-2, 0], rho=1) == 2
    with pytest.raises(ValueError, match="nonzero"):
        theory.attraction_radius([0], rho=1)


def test_attraction_radius_is_never_below_the_printed_sufficient_one():
    rng = np.random.default_rng(10)
    for _ in range(200):
        lams = rng.normal(size=4)
        lams[0] = -abs(lams[0])
        printed = (lams**2).min() / (-lams.min())
        assert float(theory.attraction_radius(lams, rho=1.0)) >= printed * (1 - 1e-12)


def euler_arrival(lams, w, *, rho, dt, limit):
    """Follow the flow by small steps until it chatters at ‖Hw‖ of the order of dt; else None."""
    norm, small = np.linalg.norm(lams * w), 2 * rho * dt * (lams**2).max()
    for k in range(int(limit / dt)):
        if norm < small:
            return k * dt
        w = w - dt * lams * (w + rho * lams * w / norm)
        norm = np.linalg.norm(lams * w)
    return None


@pytest.mark.parametrize("seed", range(6))
def test_the_flow_arrives_from_inside_the_radius_within_the_bound(seed):
    rng = np.random.default_rng(seed)
    lams = rng.uniform(0.5, 2, 3) * np.array([1, -1, rng.choice([-1, 1])])
    w = rng.normal(size=3)
    w *= 0.97 * float(theory.attraction_radius(lams, rho=0.3)) / np.linalg.norm(lams * w)
    bound = float(theory.arrival_time_bound(lams, np.linalg.norm(lams * w), rho=0.3))
    time = euler_arrival(lams, w, rho=0.3, dt=1e-3, limit=bound + 1)
    assert time is not None
    assert time <= bound + 0.01  # Euler's error, some steps of 1e-3


def test_the_radius_is_the_best_possible():
    lams, rho = np.array([1.0, -0.5, -2.0]), 0.3
    radius = float(theory.attraction_radius(lams, rho=rho))
    start = np.array([0.0, 1.001 * radius / 0.5, 0.0])
    assert np.linalg.norm(lams * start) == pytest.approx(1.001 * radius)
    assert euler_arrival(lams, start, rho=rho, dt=1e-3, limit=20) is None


def test_arrival_time_bound_is_exact_in_one_dimension():
    for lam in (2, -2):
        exact = theory.arrival_time(lam, sympy.Rational(1, 2), rho=1)
        assert is_zero(theory.arrival_time_bound([lam], 1, rho=1) - exact)
    assert theory.arrival_time_bound([1, -1], 1, rho=1) == sympy.oo
    # f = min(r + 1, 2 (2 − r)) is 1 at both r = 0 and r = 3/2: the limit of the formula, r₀/f.
    assert theory.arrival_time_bound([1, -2], sympy.Rational(3, 2), rho=1) == sympy.Rational(3, 2)


def test_a_maximum_of_a_general_loss_is_reached_only_for_small_rho():
    y = sympy.Symbol("y", real=True)
    slope = y**3 - y  # the double well: λ = −1 at y = 0, where the quadratic says "for every ρ"
    velocity = -slope.subs(y, y - radius)  # right of 0 the ascent step is to the left
    at_zero = velocity.subs(y, 0)
    assert is_zero(at_zero - radius * (radius**2 - 1))
    assert at_zero.subs(radius, sympy.Rational(9, 10)) < 0  # towards 0
    assert at_zero.subs(radius, sympy.Rational(11, 10)) > 0  # away from 0
