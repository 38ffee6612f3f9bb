"""Unified SAM and Monge SAM on quadratics: closed forms against orbits and flows in NumPy."""

import numpy as np
import pytest
import sympy

from samflow import theory


def unified(lams, w, *, rho, mix):
    z = lams * w
    return lams * (w + rho * ((1 - mix) * z + mix * z / np.linalg.norm(z)))


def monge(lams, w, *, rho, metric):
    z = lams * w
    size = np.linalg.norm(z)
    return lams * (w + rho * z / (size * np.sqrt(1 + (metric * size) ** 2)))


CASES = [
    (unified, {"mix": 0.4}, theory.unified_radius, theory.unified_ball),
    (unified, {"mix": 0.9}, theory.unified_radius, theory.unified_ball),
    (monge, {"metric": 0.5}, theory.monge_radius, theory.monge_ball),
    (monge, {"metric": 3.0}, theory.monge_radius, theory.monge_ball),
]


@pytest.mark.parametrize(("rule", "setting", "radius", "_ball"), CASES)
def test_the_flow_comes_in_from_the_radius_and_not_from_beyond(rule, setting, radius, _ball):
    """‖z‖ falls on the whole sphere iff it does along the eigenvectors: the form is a sum."""
    lams, rho = np.array([1.3, 0.4, -0.7, -1.1]), 0.3
    r = float(radius(lams.tolist(), rho=rho, **setting))
    turns = np.random.default_rng(1).normal(size=(500, 4))
    sides = [*np.eye(4), *(turns / np.linalg.norm(turns, axis=1)[:, None])]

    def slowest(size):
        # −½ d‖z‖²/dt = zᵀHd
        at = [(size * e, rule(lams, size * e / lams, rho=rho, **setting)) for e in sides]
        return min(z * lams @ d for z, d in at)

    assert slowest(0.999 * r) > 0
    assert slowest(1.001 * r) < 0


@pytest.mark.parametrize(("rule", "setting", "_radius", "ball"), CASES)
@pytest.mark.parametrize("lams", [(-1.0,), (1.0, -0.5), (-1.0, -2.0, -0.9), (2.5, -1.5)])
def test_orbits_stay_in_the_ball_and_enter_it(rule, setting, _radius, ball, lams):
    lams, rho, lr = np.array(lams), 0.3, 0.1
    inner, outer = map(float, ball(lams.tolist(), rho=rho, lr=lr, **setting))
    rng = np.random.default_rng(2)
    for start in (0.999 * outer, 0.5 * outer, 1e-3 * inner):
        start = min(start, 1e3)
        w = start / lams * (u := rng.normal(size=len(lams))) / np.linalg.norm(u)
        sizes = []
        for _ in range(1500):
            sizes.append(np.linalg.norm(lams * w))
            w = w - lr * rule(lams, w, rho=rho, **setting)
        assert max(sizes) < outer
        assert max(sizes[-300:]) <= inner * (1 + 1e-12)  # rounding


@pytest.mark.parametrize(("rule", "setting", "_radius", "_ball"), CASES)
@pytest.mark.parametrize("other", [-0.3, 0.6, -1.4])
def test_cycles_have_this_radius_and_these_multipliers(rule, setting, _radius, _ball, other):
    lam, rho, lr = 1.2, 0.3, 0.4
    lams = np.array([lam, other])
    about = {"rho": rho, "lr": lr, **setting}
    if rule is unified:
        c = float(theory.unified_cycle_radius(lam, **about))
        x = float(theory.unified_transverse(lam, other, **about))
        along = 1 - lr * float(theory.unified_curvature(lam, rho=rho, **setting))
    else:
        c = float(theory.monge_cycle_gradient(lam, **about)) / lam
        x = float(theory.transverse_curvature(lam, other, lr=lr))
        along = float(theory.monge_cycle_update(lam, **about))

    def step(w):
        return w - lr * rule(lams, w, rho=rho, **setting)

    w, h = np.array([c, 0.0]), 1e-6 * c
    np.testing.assert_allclose(step(w), -w, atol=1e-15)
    # Central differences: h² of the third derivatives, below 1e-9 here.
    slopes = [(step(w + h * e) - step(w - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(slopes, np.diag([along, 1 - x]), atol=1e-8)


def test_without_room_between_the_radii_no_ball_is_known():
    at = {"rho": 0.3, "lr": 0.1}
    assert theory.monge_ball([1, -0.5], metric=1, **at) is not None
    assert theory.monge_ball([1, -0.5], metric=1000, **at) is None  # R₁ ~ √(ρ|λ|/α) < R₀
    assert theory.unified_ball([1, -0.01], mix=0.5, **at) is None
    assert theory.unified_ball([30, -1], mix=0.5, **at) is None  # ηU₀ ≥ 2


def test_with_mix_one_and_with_metric_zero_all_is_sams():
    lams, rho, lr = [sympy.Rational(3, 2), sympy.Rational(-1, 2)], sympy.Rational(1, 5), 0.1
    sam = theory.attraction_radius(lams, rho=rho)
    assert theory.unified_radius(lams, rho=rho, mix=1) == sam == sympy.Rational(1, 10)
    assert theory.monge_radius(lams, rho=rho, metric=0) == sam
    for own in (
        theory.unified_ball(lams, rho=rho, mix=1, lr=lr),
        theory.monge_ball(lams, rho=rho, metric=0, lr=lr),
    ):
        assert own == theory.invariant_ball(lams, rho=rho, lr=lr)


def test_the_unnormalised_part_of_unified_sam_enlarges_the_radius_until_it_is_infinite():
    at = {"rho": 2, "mix": sympy.Rational(1, 2)}  # ρ(1 − μ) = 1
    assert theory.unified_radius([1, sympy.Rational(-1, 2)], **at) == 1
    assert theory.unified_radius([1, -1], **at) == sympy.oo
    assert theory.unified_radius([1, sympy.Rational(-99, 100)], **at) == 99


def test_monge_sam_keeps_a_saddle_at_every_metric_from_a_smaller_ball():
    sam = theory.attraction_radius([1, -2], rho=3)
    for metric in (sympy.Rational(1, 10), 1, 100):
        r = theory.monge_radius([1, -2], rho=3, metric=metric)
        assert sympy.simplify(r * sympy.sqrt(1 + metric**2 * r**2) - sam) == 0
        assert 0 < r < sam
    # α‖g‖ ≫ 1: r → √(ρ|λ|/α); the next term is smaller by 1/(2αℓ) = 1/1200.
    assert float(r) == pytest.approx(np.sqrt(6 / 100), rel=1e-3)


@pytest.mark.parametrize("lr", [0.1, 0.5])
def test_the_metric_up_to_which_the_cycle_of_monge_sam_attracts(lr):
    lam, rho = 1.0, 0.5
    most = float(theory.monge_largest_metric(lam, rho=rho, lr=lr))
    for metric, holds in ((0.97 * most, True), (1.03 * most, False)):
        update = float(theory.monge_cycle_update(lam, rho=rho, metric=metric, lr=lr))
        assert (abs(update) < 1) == holds
        c = w = float(theory.monge_cycle_gradient(lam, rho=rho, metric=metric, lr=lr))
        w *= 1 + 1e-6
        lams = np.array([lam])
        for _ in range(4000):
            w = (w - lr * monge(lams, np.array([w]), rho=rho, metric=metric)).item()
        assert (abs(abs(w) - c) < 1e-6 * c) == holds
    assert theory.monge_largest_metric(1, rho=rho, lr=1) == sympy.oo
    assert abs(theory.monge_cycle_update(1, rho=1, metric=1e6, lr=1.0)) < 1
