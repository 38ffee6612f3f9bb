"""The formulas of one eigenvalue, against their definitions and against numpy's eigenvalues."""

import subprocess
import sys

import numpy as np
import pytest
import sympy

from samflow import theory
from samflow.theory.symbols import beta, grad_norm, lam, lr, multiplier, rho, scaled_curvature

U = lam * (1 + rho * lam)
x = scaled_curvature
z = multiplier


def is_zero(expr):
    return sympy.simplify(expr) == 0


def matrices(scheme, x, beta):
    """Write the update in (w, v) with η = 1 and U = x by hand: an independent twin."""
    x, beta = np.broadcast_arrays(x, beta)
    if scheme == "heavy_ball":
        rows = [[1 - x, -beta], [x, beta]]
    else:
        rows = [[1 - (1 + beta) * x, -(beta**2)], [x, beta]]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def test_theory_does_not_import_jax():
    code = "import sys, samflow.theory; assert not {'jax', 'equinox'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_effective_curvature_is_the_derivative_of_the_direction():
    assert theory.effective_curvature("gd") == lam
    assert is_zero(theory.effective_curvature("usam") - U)
    assert is_zero(theory.flow_eigenvalue("usam") + U)


def test_sam_has_no_multipliers():
    for formula in (theory.effective_curvature, theory.multipliers, theory.flow_eigenvalue):
        with pytest.raises(ValueError, match="not differentiable"):
            formula("sam")
    with pytest.raises(ValueError, match="Unknown rule `adam`"):
        theory.effective_curvature("adam")
    with pytest.raises(ValueError, match="Unknown scheme of momentum `polyak`"):
        theory.multipliers("gd", "polyak")


def test_characteristic_polynomials():
    heavy_ball = z**2 - (1 + beta - x) * z + beta
    nesterov = z**2 - (1 + beta) * (1 - x) * z + beta * (1 - x)
    assert is_zero(theory.characteristic_polynomial("none") - (z - (1 - x)))
    assert is_zero(theory.characteristic_polynomial("heavy_ball") - heavy_ball)
    assert is_zero(theory.characteristic_polynomial("nesterov") - nesterov)


@pytest.mark.parametrize("scheme", theory.SCHEMES)
def test_multipliers_are_the_eigenvalues_of_the_update_matrix(scheme):
    rng = np.random.default_rng(0)
    roots = theory.multipliers("usam", scheme)
    matrix = theory.update_matrix("usam", scheme)
    for _ in range(20):
        names = {"lam": rng.normal(), "rho": rng.uniform(0, 3), "lr": rng.uniform(0.1, 2)}
        values = names | {"momentum": rng.uniform(0, 1)}
        dense = np.array(matrix.subs(zip((lam, rho, lr, beta), values.values(), strict=True)))
        expected = np.sort_complex(np.linalg.eigvals(dense.astype(float)))
        ours = np.sort_complex([complex(theory.evaluate(root, **values)) for root in roots])
        # A double root moves like the square root of the rounding error.
        np.testing.assert_allclose(ours, expected, atol=1e-7)


@pytest.mark.parametrize("scheme", ["heavy_ball", "nesterov"])
def test_update_matrix_is_the_update(scheme):
    w, v = sympy.symbols("w v")
    d = U * w
    velocity = beta * v + d
    step = velocity if scheme == "heavy_ball" else d + beta * velocity
    by_hand = sympy.Matrix([w - lr * step, velocity])
    ours = theory.update_matrix("usam", scheme) * sympy.Matrix([w, v])
    assert (by_hand - ours).expand() == sympy.zeros(2, 1)


def test_jury_conditions():
    assert [is_zero(a - b) for a, b in zip(theory.jury("none"), (x, 2 - x, 1), strict=True)]
    heavy_ball = (x, 2 * (1 + beta) - x, 1 - beta)
    nesterov = (x, 2 + 2 * beta - (1 + 2 * beta) * x, 1 - beta * (1 - x))
    for scheme, conditions in (("heavy_ball", heavy_ball), ("nesterov", nesterov)):
        for ours, by_hand in zip(theory.jury(scheme), conditions, strict=True):
            assert is_zero(ours - by_hand)


def test_flip_thresholds():
    assert theory.flip_threshold("none") == 2
    assert is_zero(theory.flip_threshold("heavy_ball") - 2 * (1 + beta))
    assert is_zero(theory.flip_threshold("nesterov") - (2 + 2 * beta) / (1 + 2 * beta))


@pytest.mark.parametrize("scheme", ["heavy_ball", "nesterov"])
def test_a_multiplier_is_minus_one_at_the_flip_and_one_at_zero(scheme):
    polynomial = theory.characteristic_polynomial(scheme)
    assert is_zero(polynomial.subs({x: theory.flip_threshold(scheme), z: -1}))
    assert is_zero(polynomial.subs({x: 0, z: 1}))


@pytest.mark.parametrize("scheme", ["heavy_ball", "nesterov"])
def test_attraction_needs_exactly_that_x_is_between_zero_and_the_flip(scheme):
    rng = np.random.default_rng(1)
    momentum = rng.uniform(0, 1, 5000)
    kappa = sympy.lambdify(beta, theory.flip_threshold(scheme))(momentum)
    for factor, attracts in ((-1e-4, False), (1e-4, True), (0.9999, True), (1.0001, False)):
        radius = abs(np.linalg.eigvals(matrices(scheme, factor * kappa, momentum))).max(axis=-1)
        assert ((radius < 1) == attracts).all()
    inside = rng.uniform(0, 1, 5000) * kappa
    assert (abs(np.linalg.eigvals(matrices(scheme, inside, momentum))) < 1).all()


def test_heavy_ball_at_beta_one_has_its_multipliers_on_the_unit_circle():
    angle = sympy.Symbol("θ", real=True)
    polynomial = theory.characteristic_polynomial("heavy_ball").subs(beta, 1)
    pair = (z - sympy.exp(sympy.I * angle)) * (z - sympy.exp(-sympy.I * angle))
    on_circle = polynomial.subs(x, 2 - 2 * sympy.cos(angle))
    assert is_zero((on_circle - pair).expand().rewrite(sympy.cos))
    before, after = (
        abs(np.linalg.eigvals(matrices("heavy_ball", np.array(1.3), b))) for b in (0.999, 1.001)
    )
    assert (before < 1).all()
    assert (after > 1).all()


def test_heavy_ball_multiplies_volume_by_beta_whatever_the_direction_field():
    w, v = sympy.symbols("w v")
    velocity = beta * v + sympy.Function("d")(w)
    update = sympy.Matrix([w - lr * velocity, velocity])
    assert is_zero(update.jacobian([w, v]).det() - beta)


@pytest.mark.parametrize("scheme", ["heavy_ball", "nesterov"])
def test_momentum_speeds_up_the_escape_beyond_plus_one(scheme):
    x = -np.random.default_rng(2).uniform(0.01, 2, 2000)
    radius = abs(np.linalg.eigvals(matrices(scheme, x, 0.5))).max(axis=-1)
    assert (radius > 1 - x).all()


def test_beyond_the_flip_heavy_ball_slows_escape_down_and_nesterov_speeds_it_up():
    x = np.random.default_rng(3).uniform(2.01, 5, 2000)
    heavy_ball, nesterov = (
        abs(np.linalg.eigvals(matrices(scheme, x, 0.5))).max(axis=-1)
        for scheme in ("heavy_ball", "nesterov")
    )
    assert (heavy_ball < x - 1).all()
    assert (nesterov > x - 1).all()


@pytest.mark.parametrize("scheme", theory.SCHEMES)
@pytest.mark.parametrize("rule", theory.RULES)
def test_the_edge_is_where_the_scaled_curvature_reaches_the_flip(rule, scheme):
    edge = theory.edge(rule, scheme)
    at_edge = lr * theory.effective_curvature(rule).subs(lam, edge)
    difference = at_edge - theory.flip_threshold(scheme)
    if rule in theory.CUBIC:  # roots of roots, which sympy does not always simplify
        places = [{rho: r, lr: 1 / r, beta: 1 / r / 4} for r in map(sympy.Integer, (1, 3, 7))]
        assert all(abs(difference.subs(at).evalf(40)) < 1e-35 for at in places)
    else:
        assert is_zero(difference)
    assert edge.subs({rho: 1, lr: 1, beta: 0}) > 0


def test_the_edge_of_usam_tends_to_that_of_gd():
    assert is_zero(sympy.limit(theory.edge("usam"), rho, 0) - theory.edge("gd"))


def test_the_printed_edges():
    usam = (sympy.sqrt(1 + 8 * rho / lr) - 1) / (2 * rho)
    sam = grad_norm / (2 * rho) * (sympy.sqrt(1 + 8 * rho / (lr * grad_norm)) - 1)
    assert is_zero(theory.edge("usam") - usam)
    assert is_zero(theory.edge("sam") - sam)  # Long and Bartlett 2024
    value = theory.evaluate(theory.edge("usam"), rho=0.2, lr=0.3)
    assert float(value) == pytest.approx(3.791529, abs=5e-7)  # the digits of the known answer


def test_the_edge_of_sam_is_a_sign_change_of_the_gradient_without_shrinking():
    g = grad_norm
    next_gradient = g - lr * lam * lam * (g / lam + rho)  # one step along the eigenvector, λ > 0
    assert is_zero((next_gradient / g).subs(lam, theory.edge("sam")) + 1)


def test_escape_rate_of_the_valley():
    rate = theory.evaluate(theory.escape_rate("usam"), lam=5, lr=sympy.Rational(3, 10), rho=0.2)
    assert float(rate) == pytest.approx(np.log(2), abs=1e-14)  # rounding only
    assert theory.evaluate(theory.escape_rate("usam"), lam=5, rho=0.2, lr=0.19) < 0


def test_the_quartic_flips_at_its_step_size():
    flip = theory.symbolic_lr_window("usam").high.value.subs(lam, 2)
    assert is_zero(flip - 1 / (1 + 2 * rho))


def test_the_quartic_has_nine_fixed_points_at_rho_six():
    y, radius = sympy.symbols("y rho", real=True)
    slope = y**3 - y
    direction = slope.subs(y, y + radius * slope)
    points = sympy.real_roots(sympy.Poly(direction.subs(radius, 6), y))
    expected = [0, 0.211325, 0.788675, 0.912871, 1]
    assert len(set(points)) == 9
    assert sorted({abs(float(p)) for p in points}) == pytest.approx(expected, abs=5e-7)
    double = direction.subs({radius: 4, y: -sympy.Rational(1, 2)})
    assert double == direction.diff(y).subs({radius: 4, y: -sympy.Rational(1, 2)}) == 0


def test_formulas_print_in_the_symbols_of_the_field():
    usam = theory.effective_curvature("usam")
    assert theory.text(usam) == "λ·(λ·ρ + 1)"
    assert theory.latex(usam) == r"\lambda \left(\lambda \rho + 1\right)"
    assert r"\|g\|" in theory.latex(theory.edge("sam"))
    assert theory.text(theory.edge("usam")) == "(√(1 + 8·ρ/η) - 1)/(2·ρ)"
