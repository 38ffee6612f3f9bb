"""The drift along a valley: the series of the update, its limit, and orbits."""

import numpy as np
import pytest
import sympy

from samflow import theory

u, height, eta, radius = sympy.symbols("u s eta radius", positive=True)
b = sympy.Symbol("b", nonnegative=True)


def is_zero(expr):
    return sympy.simplify(expr) == 0


def valley_gradient(w):
    """Return the gradient of ½(1 + u²)v²."""
    return np.array([w[0] * w[1] ** 2, (1 + w[0] ** 2) * w[1]])


def sam_orbit(w, *, rho, lr, steps, momentum=0.0, scheme="none"):
    velocity, points = np.zeros(2), [np.array(w, dtype=float)]
    for _ in range(steps):
        w = points[-1]
        g = valley_gradient(w)
        d = valley_gradient(w + rho * g / np.linalg.norm(g))
        velocity = momentum * velocity + d
        points.append(w - lr * (d + momentum * velocity if scheme == "nesterov" else velocity))
    return np.array(points)


def test_the_step_along_the_valley_to_leading_order_in_rho():
    curvature = sympy.Function("lambda")
    size = sympy.Symbol("Lambda", positive=True)
    slope = sympy.Symbol("slope", real=True)
    v = radius * height
    # With λ(u) = Λ + slope·(u' − u) to first order; curvature of λ enters at higher orders of ρ.
    g = sympy.Matrix([slope * v**2 / 2, size * v])
    ascent = sympy.Matrix([0, v]) + radius * g / sympy.sqrt(g.dot(g))
    along = slope * ascent[1] ** 2 / 2
    leading = sympy.limit(along / radius**2, radius, 0)
    assert is_zero(leading - slope * (height + 1) ** 2 / 2)
    across = (size + slope * ascent[0]) * ascent[1]
    assert is_zero(sympy.limit(across / radius, radius, 0) - size * (height + 1))
    # On the cycle of `across`, height + 1 is the ascent distance.
    on_cycle = theory.cycle_radius(size, rho=1, lr=eta) + 1
    assert is_zero(on_cycle - theory.ascent_distance(size, rho=1, lr=eta))
    drift = theory.valley_drift(curvature(u), u, rho=radius, lr=eta)
    expected = -leading.subs(height, on_cycle - 1) * radius**2
    assert is_zero(drift.subs(curvature(u).diff(u), slope).subs(curvature(u), size) - expected)


def test_the_printed_drift():
    drift = theory.valley_drift(1 + u**2, u, rho=radius, lr=eta)
    assert is_zero(drift + u * (2 * radius / (2 - eta * (1 + u**2))) ** 2)


def test_the_sharpness_flow_is_the_limit_of_small_steps():
    drift = theory.valley_drift(1 + u**2, u, rho=radius, lr=eta)
    limit = theory.sharpness_flow(1 + u**2, u, rho=radius)
    assert is_zero(drift.subs(eta, 0) - limit)
    assert is_zero(limit + radius**2 * sympy.diff(1 + u**2, u) / 2)


@pytest.mark.parametrize("scheme", ["heavy_ball", "nesterov"])
def test_momentum_in_the_limit_of_small_steps_is_a_longer_step(scheme):
    drift = theory.valley_drift(1 + u**2, u, rho=radius, lr=0, momentum=b, scheme=scheme)
    assert is_zero(drift * (1 - b) - theory.sharpness_flow(1 + u**2, u, rho=radius))


@pytest.mark.parametrize(
    ("scheme", "momentum"), [("none", 0.0), ("heavy_ball", 0.5), ("nesterov", 0.5)]
)
def test_orbits_drift_as_predicted_up_to_a_relative_error_of_rho_squared(scheme, momentum):
    lr, errors = 0.5, []
    for rho in (0.004, 0.002, 0.001):
        settings = {"rho": rho, "lr": lr, "momentum": momentum, "scheme": scheme}
        points = sam_orbit([0.6, 0.3 * rho], steps=220, **settings)
        measured = (points[220, 0] - points[200, 0]) / (20 * lr)
        formula = theory.valley_drift(1 + u**2, u, **settings)
        errors.append(measured / float(formula.subs(u, points[210, 0])) - 1)
    assert abs(errors[0]) < 20 * 0.004**2  # measured: 2 to 10 times ρ²
    # Halving ρ divides an error of order ρ² by 4, less what u has moved meanwhile: also order ρ².
    assert np.divide(errors[:-1], errors[1:]) == pytest.approx([4, 4], abs=0.1)


def test_usam_leaves_the_sharp_minimum_at_log_two_a_step_and_ends_below_its_edge():
    rho, lr = 0.2, 0.3
    w, points = np.array([2.0, 1e-8]), []
    for _ in range(400):
        points.append(w)
        w = w - lr * valley_gradient(w + rho * valley_gradient(w))
    points = np.array(points)
    rate = np.log(abs(points[11, 1] / points[1, 1])) / 10
    predicted = theory.evaluate(theory.escape_rate("usam"), lam=5, rho=rho, lr=lr)
    # v grows to 2e-5 in these steps; the nonlinear terms are of relative size v².
    assert rate == pytest.approx(float(predicted), abs=1e-9)
    loss = (1 + points[:, 0] ** 2) * points[:, 1] ** 2 / 2
    assert loss.max() < 1  # it stays in the valley
    assert 1 + points[-1, 0] ** 2 < float(theory.evaluate(theory.edge("usam"), rho=rho, lr=lr))
    assert abs(points[-1, 1]) < 1e-12


def test_on_an_even_valley_the_two_weights_are_equal_and_give_the_sharpness_flow():
    curvature = 1 + u**2
    side = sympy.diff(curvature, u) * radius**2 / 2
    found = theory.two_sided_drift(side, side, a=curvature * radius, b=curvature * radius)
    assert is_zero(found - theory.sharpness_flow(curvature, u, rho=radius))


def test_a_third_derivative_slows_the_drift_at_relative_order_rho_squared():
    """On ½λ(u)v² + τ(u)v³/6: u̇ = −½λ′ρ² + ττ′ρ⁴/(12λ), exactly."""
    lam, bend = 1 + u**2, 3 + sympy.sin(u)
    v = sympy.Symbol("v", real=True)
    loss = lam * v**2 / 2 + bend * v**3 / 6
    along, across = sympy.diff(loss, u), sympy.diff(loss, v)
    found = theory.two_sided_drift(
        along.subs(v, radius),
        along.subs(v, -radius),
        a=across.subs(v, radius),
        b=-across.subs(v, -radius),
    )
    expected = theory.sharpness_flow(lam, u, rho=radius)
    expected += bend * sympy.diff(bend, u) * radius**4 / (12 * lam)
    assert is_zero(found - expected)


def test_on_the_two_cycle_of_a_quadratic_the_drift_is_that_of_the_closed_form():
    lam, lr, rho = sympy.Integer(3), sympy.Rational(1, 10), sympy.Rational(1, 5)
    slope = 1 - lr * lam
    cycle = theory.rotation_cycle(lam * rho, lam * rho, plus=slope, minus=slope, lr=lr)
    assert cycle.word == "+-"
    found = theory.rotation_drift(lambda height: height**2 / 2, cycle, rho=rho)
    curvature = 3 + u  # λ = 3 at u = 0, λ′ = 1
    expected = theory.valley_drift(curvature, u, rho=rho, lr=lr).subs(u, 0)
    assert is_zero(found - expected)


def test_the_drift_along_two_different_sides_is_the_mean_over_orbits():
    """½(1 + κu)(v + v²)², beside the sharpness flow, which is 20 % off."""
    kappa, rho, lr = 1e-6, 0.2, 0.02

    def gradient(w):
        h, slope = w[1] + w[1] ** 2, 1 + 2 * w[1]
        return np.array([kappa * h**2 / 2, (1 + kappa * w[0]) * h * slope])

    w, begin, steps = np.array([0.0, 1e-3]), 0.0, 6000
    for k in range(2000 + steps):
        begin = w[0] if k == 2000 else begin
        g = gradient(w)
        w = w - lr * gradient(w + rho * g / np.linalg.norm(g))
    found = (w[0] - begin) / (kappa * lr * steps)
    sides = {"along_plus": 0.24**2 / 2, "along_minus": 0.16**2 / 2}
    limit = float(theory.two_sided_drift(**sides, a=0.24 * 1.4, b=0.16 * 0.6))
    bends = [1 - lr * (1 + 6 * s * rho + 6 * rho**2) for s in (1, -1)]
    cycle = theory.rotation_cycle(
        0.24 * 1.4, 0.16 * 0.6, plus=bends[0], minus=bends[1], lr=lr, max_period=300
    )
    at_this_lr = theory.rotation_drift(lambda v: (v + v**2) ** 2 / 2, cycle, rho=rho)
    assert found == pytest.approx(limit, rel=2 * lr)
    # lr²/4 of the affine branches, and a part of a period of 131 of the 6,000 steps, times lr.
    assert found == pytest.approx(float(at_this_lr), rel=5e-4)
    assert abs(limit / (-(rho**2) / 2) - 1) > 0.15
