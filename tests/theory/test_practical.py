"""SAM with ε in the denominator: the closed forms against the map itself."""

import numpy as np
import pytest
import sympy

from samflow import theory
from samflow._status import Kind

LENGTH = {
    "outside": lambda g, eps: np.linalg.norm(g) + eps,
    "inside": lambda g, eps: np.sqrt(g @ g + eps**2),
}


def orbit(lams, w0, v0=0.0, *, rho, lr, eps, placement, steps, momentum=0.0):
    """Iterate practical SAM on ½ Σ λᵢ wᵢ², with heavy ball."""
    lams, w = np.asarray(lams, float), np.asarray(w0, float)
    v, points = v0 + np.zeros_like(w), [w]
    for _ in range(steps):
        g = lams * w
        v = momentum * v + lams * (w + rho * g / LENGTH[placement](g, eps))
        w = w - lr * v
        points.append(w)
        if np.linalg.norm(w) > 1e3:
            break  # it has left for good
    return np.array(points)


@pytest.mark.parametrize("placement", theory.PLACEMENTS)
def test_near_the_critical_point_it_is_usam_with_rho_over_eps(placement):
    usam = theory.effective_curvature("usam")
    replaced = usam.subs(theory.symbols.rho, theory.symbols.rho / theory.symbols.eps)
    assert sympy.simplify(theory.practical_curvature(placement) - replaced) == 0


@pytest.mark.parametrize("placement", theory.PLACEMENTS)
@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("lams", [(1.0,), (2.0, 0.3), (1.0, -0.6), (0.8, -1.0, 0.5), (-1.0, -2.0)])
def test_orbits_come_to_the_point_exactly_inside_the_window_in_eps(lams, momentum, placement):
    rho, lr = 0.3, 0.1
    scheme = "heavy_ball" if momentum else "none"
    window = theory.eps_window(lams, rho=rho, lr=lr, momentum=momentum, scheme=scheme)
    low, high = float(window.low.value), float(window.high.value)
    assert 0 < low < high  # every case here has an ε that helps
    cases = [(1.05 * low, True), (0.95 * low, False)]
    if np.isfinite(high):
        cases += [(0.95 * high, True), (1.05 * high, False)]
    for eps, comes in cases:
        # 5 % from the end the slowest multiplier is ≲ 1 − .05·η·|λ| ≈ .997: 8000 steps are e⁻²⁴.
        start = 1e-6 * np.ones(len(lams))
        settings = {"rho": rho, "lr": lr, "eps": eps, "placement": placement}
        points = orbit(lams, start, steps=8000, momentum=momentum, **settings)
        assert (np.linalg.norm(points[-1]) < 1e-12) == comes


def test_the_window_agrees_with_usam_verdicts_on_both_sides():
    lams = (1.0, -0.6, 0.2)
    window = theory.eps_window(lams, rho=0.3, lr=0.1)
    for end in (window.low.value, window.high.value):
        for factor in (0.999, 1.001):
            eps = float(end) * factor
            kind = theory.kind(lams, rule="usam", rho=0.3 / eps, lr=0.1)
            assert (kind is Kind.attracting) == (eps in window)


def test_the_lower_end_is_the_gradient_on_the_cycle_of_sam():
    lam, rho, lr = sympy.Rational(7, 5), sympy.Rational(1, 3), sympy.Rational(1, 10)
    window = theory.eps_window([lam], rho=rho, lr=lr)
    assert window.low.value == lam * theory.cycle_radius(lam, rho=rho, lr=lr)
    assert window.low.event is theory.Event.flip
    assert window.high.value == sympy.oo


def test_the_flow_needs_eps_below_rho_times_the_weakest_negative_eigenvalue():
    window = theory.eps_window([1, -2, -3], rho=sympy.Rational(1, 2))
    assert window.low.value == 0
    assert window.high.value == 1
    assert theory.eps_window([1, 2], rho=1).high.value == sympy.oo


def test_no_eps_helps_beyond_the_flip_of_gradient_descent():
    assert theory.eps_window([25.0], rho=0.1, lr=0.1).is_empty


@pytest.mark.parametrize("placement", theory.PLACEMENTS)
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("lam", [1.0, 4.0])
def test_the_cycle_shrinks_as_the_formula_says_and_ends_where_eps_covers_it(
    lam, momentum, placement
):
    rho, lr = 0.2, 0.1
    scheme = "heavy_ball" if momentum else "none"
    at = {"rho": rho, "lr": lr, "momentum": momentum, "scheme": scheme, "placement": placement}
    ideal = float(theory.practical_cycle(lam, eps=0, **at))
    radius = theory.cycle_radius(lam, rho=rho, lr=lr, momentum=momentum, scheme=scheme)
    assert ideal == pytest.approx(lam * float(radius), rel=1e-14)
    for share in (1e-9, 0.3, 0.9):
        predicted = float(theory.practical_cycle(lam, eps=share * ideal, **at))
        settings = {"rho": rho, "lr": lr, "eps": share * ideal, "placement": placement}
        # Near the cycle, w⁺ = −w: with heavy ball others of longer periods lie about it.
        w0 = 1.001 * predicted / lam
        points = orbit([lam], [w0], -2 * w0 / lr, steps=8000, momentum=momentum, **settings)
        # The cycle attracts at a rate of .99 a step or faster. At w = c the velocity of a cycle
        # is v = (w − w⁻)/−lr = −2c/lr, and after the step 2c/lr.
        np.testing.assert_allclose(lam * np.abs(points[-4:, 0]), predicted, rtol=1e-9)
    assert theory.practical_cycle(lam, eps=1.0001 * ideal, **at) == 0


def test_bad_arguments():
    with pytest.raises(ValueError, match="`placement` must be outside or inside, but is 'below'"):
        theory.practical_curvature("below")
    with pytest.raises(ValueError, match="`rho` must be greater than 0"):
        theory.eps_window([1.0], rho=0)


@pytest.mark.parametrize(
    ("momentum", "scheme"), [(0, "none"), (0.6, "heavy_ball"), (0.6, "nesterov")]
)
def test_the_windows_in_rho_and_in_eps_are_one_region(momentum, scheme):
    lams, about = (1.0, -0.6, 0.2), {"lr": 0.1, "momentum": momentum, "scheme": scheme}
    in_rho = theory.practical_rho_window(lams, eps=0.02, **about)
    for end in (in_rho.low, in_rho.high):
        for share, inside in ((1 - 1e-9, end is in_rho.high), (1 + 1e-9, end is in_rho.low)):
            rho = float(end.value) * share
            assert (rho in in_rho) == inside
            assert (0.02 in theory.eps_window(lams, rho=rho, **about)) == inside
    with pytest.raises(ValueError, match="`eps` must be greater than 0, but is 0"):
        theory.practical_rho_window(lams, eps=0)


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize("lam", [sympy.Rational(-3, 5), sympy.Rational(3, 4)])
def test_the_symbolic_window_in_eps_is_the_one_of_numbers(lam, flow):
    rho, lr = sympy.Rational(3, 10), sympy.Rational(1, 10)
    numbers = theory.eps_window((lam,), rho=rho, lr=None if flow else lr)
    symbolic = theory.symbolic_eps_window(int(sympy.sign(lam)), flow=flow)
    for end in ("low", "high"):
        formula, number = getattr(symbolic, end), getattr(numbers, end)
        assert theory.evaluate(formula.value, lam=lam, rho=rho, lr=lr) == number.value
        assert formula.event == number.event
