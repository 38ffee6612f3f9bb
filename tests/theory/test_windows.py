"""Windows of parameters: both sides of each end, what binds, and what happens there."""

import random
from fractions import Fraction

import numpy as np
import pytest
import sympy

from samflow import theory
from samflow.theory import Event, Window
from samflow.theory.symbols import beta, lam, lr, rho

BEALE_SADDLE = (Fraction(111, 4), Fraction(-111, 4))
MOMENTA = {"none": 0.0, "heavy_ball": 0.6, "nesterov": 0.6}


def is_zero(expr):
    return sympy.simplify(expr) == 0


def spectral_radius(eigenvalues, *, rule, rho, lr, momentum, scheme):
    """Iterate nothing, solve nothing symbolic: numpy's eigenvalues of the whole update."""
    n = len(eigenvalues)
    h = np.diag(np.asarray(eigenvalues, dtype=float))
    eye = np.eye(n)
    up = eye + rho * h
    u = {
        "gd": h,
        "usam": h @ up,
        "two-step-usam": h @ up @ up,
        "nested-usam": h @ (eye + rho * h @ up),
        "hessian-usam": h @ (eye + rho * h @ h),
    }[rule]
    blocks = {
        "none": [[eye - lr * u]],
        "heavy_ball": [[eye - lr * u, -lr * momentum * eye], [u, momentum * eye]],
        "nesterov": [[eye - lr * (1 + momentum) * u, -lr * momentum**2 * eye], [u, momentum * eye]],
    }
    return abs(np.linalg.eigvals(np.block(blocks[scheme]))).max()


@pytest.mark.parametrize("scheme", theory.SCHEMES)
def test_symbolic_rho_window(scheme):
    high = theory.flip_threshold(scheme) / (lr * lam**2) - 1 / lam
    below, above = (theory.symbolic_rho_window(sign, scheme=scheme) for sign in (-1, 1))
    assert is_zero(below.high.value - high)
    assert is_zero(above.high.value - high)
    assert below.low.value == -1 / lam
    assert (below.low.event, below.high.event) == (Event.plus_one, Event.flip)
    assert (above.low.value, above.low.event, above.low.closed) == (0, Event.none, True)


def test_symbolic_windows_print():
    assert theory.symbolic_rho_window(-1).text() == "-1/λ < ρ < -1/λ + 2/(η·λ²)"
    assert theory.symbolic_rho_window(-1, flow=True).text() == "-1/λ < ρ"
    assert theory.symbolic_lr_window("gd").latex() == r"0 < \eta < \frac{2}{\lambda}"
    assert theory.symbolic_rho_window(1).latex().startswith(r"0 \le \rho < ")


def test_a_symbolic_window_does_not_say_whether_it_is_empty():
    with pytest.raises(ValueError, match="free symbols"):
        _ = theory.symbolic_rho_window(-1).is_empty
    with pytest.raises(ValueError, match="sign"):
        theory.symbolic_rho_window(0)


def test_beale_saddle_attracts_the_flow_from_four_over_111():
    window = theory.rho_window(BEALE_SADDLE)
    assert window.low.value == sympy.Rational(4, 111)
    assert (window.low.event, window.low.eigenvalue) == (Event.plus_one, -sympy.Rational(111, 4))
    assert (window.high.value, window.high.event) == (sympy.oo, Event.none)
    assert Fraction(4, 111) not in window
    assert Fraction(4, 110) in window


def test_beale_saddle_of_the_map_is_let_go_again_by_the_positive_eigenvalue():
    window = theory.rho_window(BEALE_SADDLE, lr=Fraction(1, 100))
    size = sympy.Rational(111, 4)
    assert window.high.value == 200 / size**2 - 1 / size
    assert (window.high.eigenvalue, window.high.event) == (size, Event.flip)
    assert not window.is_empty
    # 1/|λ| < 2/(ηλ²) − 1/λ needs ηλ < 1.
    assert theory.rho_window(BEALE_SADDLE, lr=Fraction(4, 111)).is_empty
    assert not theory.rho_window(BEALE_SADDLE, lr=Fraction(4, 112)).is_empty


def test_the_weakest_negative_eigenvalue_binds():
    window = theory.rho_window([5, -1, -3])
    assert (window.low.value, window.low.eigenvalue) == (1, -1)


@pytest.mark.parametrize("scheme", theory.SCHEMES)
def test_rho_window_holds_on_both_sides_of_both_ends(scheme):
    rng = np.random.default_rng(4)
    settings = {"lr": 0.1, "momentum": MOMENTA[scheme], "scheme": scheme}
    found = 0
    for _ in range(60):
        eigenvalues = rng.uniform(-2, 2, rng.integers(1, 4))
        window = theory.rho_window(eigenvalues, **settings)
        if window.is_empty:
            for radius in rng.uniform(0, 60, 20):
                assert spectral_radius(eigenvalues, rule="usam", rho=radius, **settings) > 1
            continue
        found += 1
        low, high = float(window.low.value), float(window.high.value)
        width = high - low
        for radius in (low + 1e-3 * width, low + 0.5 * width, high - 1e-3 * width):
            assert spectral_radius(eigenvalues, rule="usam", rho=radius, **settings) < 1
        outside = [high + 1e-3 * width]
        if window.low.event == Event.plus_one:
            outside.append(low - 1e-3 * low)
        for radius in outside:
            assert spectral_radius(eigenvalues, rule="usam", rho=radius, **settings) > 1
    assert 10 < found < 60  # both answers occur


@pytest.mark.parametrize("scheme", theory.SCHEMES)
@pytest.mark.parametrize("rule", theory.RULES)
def test_lr_window_holds_on_both_sides(rule, scheme):
    rng = np.random.default_rng(5)
    radius = 0.8
    found = 0
    for _ in range(60):
        settings = {"rule": rule, "rho": radius, "momentum": MOMENTA[scheme], "scheme": scheme}
        eigenvalues = rng.uniform(-3, 2, rng.integers(1, 3))
        window = theory.lr_window(eigenvalues, **settings)
        if window.is_empty:
            assert window.high.event == Event.plus_one
            assert float(window.high.eigenvalue) in eigenvalues
            for step in rng.uniform(0.001, 3, 20):
                assert spectral_radius(eigenvalues, lr=step, **settings) > 1
            continue
        found += 1
        high = float(window.high.value)
        assert spectral_radius(eigenvalues, lr=0.999 * high, **settings) < 1
        assert spectral_radius(eigenvalues, lr=1.001 * high, **settings) > 1
    assert 5 < found < 60


@pytest.mark.parametrize("scheme", theory.SCHEMES)
@pytest.mark.parametrize("rule", theory.CUBIC)
def test_rho_windows_of_degree_three_hold_on_both_sides(rule, scheme):
    """No λ < 0 attracts, however large rho; λ > 0 does until the largest one flips."""
    rng = np.random.default_rng(9)
    settings = {"lr": 0.3, "momentum": MOMENTA[scheme], "scheme": scheme}
    empty = {Event.plus_one: 0, Event.flip: 0}
    for _ in range(60):
        eigenvalues = rng.uniform(-4, 14, rng.integers(1, 3))
        window = theory.rho_window(eigenvalues, rule=rule, **settings)
        if window.is_empty:
            empty[window.high.event] += 1
            for radius in (0.0, *rng.uniform(0, 5, 10)):
                assert spectral_radius(eigenvalues, rule=rule, rho=radius, **settings) > 1
            continue
        assert (window.low.value, window.high.eigenvalue) == (0, max(eigenvalues))
        high = float(window.high.value)
        assert spectral_radius(eigenvalues, rule=rule, rho=0.999 * high, **settings) < 1
        assert spectral_radius(eigenvalues, rule=rule, rho=1.001 * high, **settings) > 1
    assert empty[Event.plus_one] > 3
    assert empty[Event.flip] > 3
    assert sum(empty.values()) < 55


@pytest.mark.parametrize("rule", theory.CUBIC)
def test_flows_of_degree_three_attract_iff_every_eigenvalue_is_positive(rule):
    assert theory.rho_window([1, 2], rule=rule).high.value == sympy.oo
    window = theory.rho_window([1, -2], rule=rule)
    assert window.is_empty
    assert (window.high.eigenvalue, window.high.event) == (-2, Event.plus_one)
    assert window.describe(flow=True) == "attracts for no rho: λ = -2 grows at every rho"


def test_two_steps_leave_neutral_what_usam_turns():
    """λ(1 + ρλ)² = 0 at ρ = −1/λ and nowhere else."""
    for radius, neutral in ((Fraction(1, 2), 1), (Fraction(49, 100), 0), (Fraction(51, 100), 0)):
        window = theory.lr_window([-2, 1], rule="two-step-usam", rho=radius)
        assert (window.neutral, window.is_empty) == (neutral, not neutral)


def test_momentum_window_of_heavy_ball():
    window = theory.momentum_window([2, -1], rho=3, lr=Fraction(1, 5))
    assert window.low.value == sympy.Rational(2, 5)  # ηU/2 − 1 = (14/5)/2 − 1
    assert (window.low.event, window.low.eigenvalue) == (Event.flip, 2)
    assert (window.high.value, window.high.event) == (1, Event.neimark_sacker)
    for momentum, attracts in ((0.399, False), (0.401, True), (0.999, True)):
        settings = {"rule": "usam", "rho": 3, "lr": 0.2, "scheme": "heavy_ball"}
        assert (spectral_radius([2, -1], momentum=momentum, **settings) < 1) == attracts
    # x = ηU = 4 or more: the flip end meets β = 1, and nothing is left.
    assert theory.momentum_window([2], rule="gd", lr=2).is_empty


def test_momentum_window_of_nesterov():
    window = theory.momentum_window([1], rule="gd", lr=Fraction(3, 2), scheme="nesterov")
    assert (window.high.value, window.high.event) == (sympy.Rational(1, 2), Event.flip)
    for momentum, attracts in ((0.499, True), (0.501, False)):
        radius = spectral_radius(
            [1], rule="gd", rho=0, lr=1.5, momentum=momentum, scheme="nesterov"
        )
        assert (radius < 1) == attracts
    gentle = theory.momentum_window([1], rule="gd", lr=Fraction(1, 2), scheme="nesterov")
    assert (gentle.high.value, gentle.high.event) == (1, Event.none)
    assert theory.momentum_window([1], rule="gd", lr=2, scheme="nesterov").is_empty


def test_no_momentum_holds_a_saddle_of_gd():
    window = theory.momentum_window([1, -1], rule="gd", lr=0.1)
    assert window.is_empty
    assert (window.high.event, window.high.eigenvalue) == (Event.plus_one, -1)


def test_zero_eigenvalues_are_neutral_and_said_to_be():
    window = theory.rho_window([1, 0, -1], lr=Fraction(1, 10))
    assert (window.neutral, window.is_hyperbolic) == (1, False)
    assert window == theory.Window(rho, *_ends([1, -1]), neutral=1)
    assert theory.rho_window([1, -1]).is_hyperbolic
    assert theory.rho_window([1.0, 1e-17], lr=0.1).neutral == 0
    assert theory.rho_window([1.0, 1e-17], lr=0.1, tolerance=1e-12).neutral == 1
    assert theory.lr_window([-1, 2], rho=1).neutral == 1  # U(−1) = 0 at ρ = 1
    assert theory.momentum_window([0, 2], lr=0.1).neutral == 1


def _ends(eigenvalues):
    window = theory.rho_window(eigenvalues, lr=Fraction(1, 10))
    return window.low, window.high


def test_exact_numbers_give_exact_ends_and_floats_give_floats():
    exact = theory.rho_window([sympy.sqrt(2), -sympy.sqrt(2)], lr=sympy.Rational(1, 10))
    assert exact.low.value == 1 / sympy.sqrt(2)
    assert exact.high.value.is_Float is False
    approximate = theory.rho_window([np.sqrt(2), -np.sqrt(2)], lr=0.1)
    assert approximate.high.value.is_Float
    # Both are the same formula; the float is rounded a few times.
    assert float(approximate.high.value) == pytest.approx(float(exact.high.value), rel=1e-14)


def test_an_eigenvalue_that_is_zero_in_disguise_is_neutral():
    disguised = sympy.sqrt(2) * sympy.sqrt(3 + 2 * sympy.sqrt(2)) - sympy.sqrt(2) - 2
    assert theory.rho_window([1, disguised]).neutral == 1


def test_late_switch_window_is_what_gd_keeps_and_usam_leaves():
    window = theory.late_switch_window()
    low, high = (theory.evaluate(end.value, rho=0.2, lr=0.3) for end in (window.low, window.high))
    assert float(low) == pytest.approx(3.791529, abs=5e-7)
    assert float(high) == pytest.approx(2 / 0.3, rel=1e-15)
    for sharpness, keeps, leaves in ((3.79, True, False), (5.0, True, True), (6.7, False, True)):
        settings = {"rho": 0.2, "lr": 0.3, "momentum": 0, "scheme": "none"}
        assert (spectral_radius([sharpness], rule="gd", **settings) < 1) == keeps
        assert (spectral_radius([sharpness], rule="usam", **settings) > 1) == leaves


def test_membership_respects_closed_ends():
    window = theory.rho_window([1], lr=1)
    assert 0 in window
    assert window.high.value not in window
    empty = Window(beta, window.low, window.low)
    assert not empty.is_empty  # [0, 0] has one point
    assert theory.rho_window([2], lr=1).is_empty  # [0, 0) has none


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.rho_window([1], rule="gd"), "must be `usam`"),
        (lambda: theory.rho_window([]), "at least one number"),
        (lambda: theory.rho_window([float("nan")]), "finite number"),
        (lambda: theory.rho_window(["λ"]), "must be a number"),
        (lambda: theory.rho_window([sympy.I]), "must be real"),
        (lambda: theory.rho_window([1], lr=0), "greater than 0"),
        (lambda: theory.rho_window([1], scheme="nesterov"), "must be given with momentum"),
        (lambda: theory.rho_window([1], lr=1, momentum=0.5), "must be 0 with scheme `none`"),
        (lambda: theory.lr_window([1], momentum=1, scheme="nesterov"), r"\[0, 1\)"),
        (lambda: theory.lr_window([1], rho=-1), "at least 0"),
        (lambda: theory.lr_window([1], rule="sam"), "not differentiable"),
        (lambda: theory.momentum_window([1], lr=1, scheme="none"), "heavy_ball or nesterov"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_windows_and_verdicts_agree_exactly_at_and_beside_every_end():
    rng = random.Random(11)
    epsilon = Fraction(1, 10**12)
    for _ in range(60):
        scheme = rng.choice(theory.SCHEMES)
        momentum = Fraction(0 if scheme == "none" else rng.randint(0, 9), 10)
        eigenvalues = [Fraction(rng.choice([-1, 1]) * rng.randint(1, 30), 10) for _ in range(3)]
        settings = {"lr": Fraction(rng.randint(1, 30), 20), "momentum": momentum, "scheme": scheme}
        window = theory.rho_window(eigenvalues, **settings)
        for end in (window.low.value, window.high.value):
            for shift in (-epsilon, 0, epsilon):
                radius = Fraction(int(end.p), int(end.q)) + shift
                if radius >= 0:
                    kind_there = theory.kind(eigenvalues, rule="usam", rho=radius, **settings)
                    assert (kind_there == "attracting") == (radius in window)
