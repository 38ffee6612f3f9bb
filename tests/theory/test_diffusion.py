"""Closed forms for noise near a critical point, against loops, limits and the paper's numbers."""

import math

import numpy as np
import pytest
import sympy

from samflow.theory import diffusion
from samflow.theory.diffusion import (
    MODELS,
    exact_second_moment,
    kim_momentum_second_moment,
    leading_difference,
    put,
    second_moment_limit,
    stationary_second_moment,
)
from samflow.theory.symbols import lam, lr, rho

POINT = {"lam": -1, "lr": 0.01, "noise": 1 / 32}


def recursion(lam, rho, lr, momentum, variance, steps, scheme="heavy_ball"):
    u, gain = lam * (1 + rho * lam), 1 + rho * lam
    velocity = np.array([u, momentum])
    if scheme == "nesterov":
        weights = np.array([1.0, 0.0]) - lr * (np.array([u, 0.0]) + momentum * velocity)
        g = np.array([-lr * (1 + momentum), 1.0])
    else:
        weights, g = np.array([1.0, 0.0]) - lr * velocity, np.array([-lr, 1.0])
    a, p = np.stack([weights, velocity]), np.zeros((2, 2))
    for _ in range(steps):
        p = a @ p @ a.T + variance * gain**2 * np.outer(g, g)
    return p[0, 0]


@pytest.mark.parametrize("lam_", [-2.0, -0.3, 0.7])
@pytest.mark.parametrize("rho_", [0.0, 0.4, 2.0])
def test_exact_moment_is_the_recursion(lam_, rho_):
    values = {"lam": lam_, "rho": rho_, "lr": 0.03, "noise": 0.2}
    for steps in (0, 1, 17):
        expected = recursion(lam_, rho_, 0.03, 0.0, 0.2, steps)
        got = put(exact_second_moment(), num_steps=steps, **values)
        assert got == pytest.approx(expected, rel=1e-10, abs=1e-15)


@pytest.mark.parametrize("scheme", ["none", "heavy_ball", "nesterov"])
@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_stationary_moment_is_where_the_recursion_ends(scheme, momentum):
    if scheme == "none" and momentum:
        momentum = 0.0
    values = {"lam": 1.5, "rho": 0.2, "lr": 0.1, "momentum": momentum, "noise": 0.3}
    expected = recursion(1.5, 0.2, 0.1, momentum, 0.3, 2000, scheme)
    assert put(stationary_second_moment(scheme), **values) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("lam_", [-1.0, 1.0])
def test_limit_is_approached_at_first_order_in_lr(momentum, lam_):
    """At fixed t the distance to the exact moment falls like lr: halving it halves the error."""
    errors = []
    for lr_ in (4e-5, 2e-5):
        steps = round(1.0 * (1 - momentum) / lr_)
        exact = recursion(lam_, 0.3, lr_, momentum, 1.0, steps)
        values = {"lam": lam_, "rho": 0.3, "lr": lr_, "momentum": momentum, "noise": 1.0}
        errors.append(abs(put(second_moment_limit(), time=1.0, **values) / exact - 1))
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)  # the next order is lr smaller


def test_numbers_of_the_three_models():
    """docs/theory at λ = −1, η = .01, B = 32, t = 2: exact, ours and [K]'s, rounded there."""
    for rho_, exact, ours, kim in (
        (0.1, 0.00490, 0.00501, 0.00473),
        (0.5, 4.95e-4, 4.99e-4, 1.074e-3),
    ):
        assert put(exact_second_moment(), num_steps=200, rho=rho_, **POINT) == pytest.approx(
            exact, rel=2e-3
        )
        for model, number in (("update", ours), ("kim", kim)):
            limit = second_moment_limit(model)
            got = put(limit, time=2, momentum=0, rho=rho_, **POINT)
            assert got == pytest.approx(number, rel=2e-3)


def test_leading_differences():
    s, t = diffusion.noise, diffusion.time
    expected = {
        "update": -2 * s * t * lr * lam * rho,  # linear in t: the batch's noise in the ascent
        "fresh": s * t**2 * lr * lam**2 * rho,
        "descent": s * t**2 * lr * lam**2 * rho,
        "kim": 2 * s * t**2 * lr * lam**2 * rho,  # = 2ηt²|λ|³ρ/B with s = |λ|/B, as [K] prints
    }
    for model, formula in expected.items():
        assert sympy.simplify(leading_difference(model) - formula) == 0
    assert set(expected) == set(MODELS)


def test_each_model_is_the_limit_of_the_update_it_describes():
    """Drift and intensity from each update written out for ½λw² + ξw."""
    w, xi, other = sympy.symbols("w xi other", real=True)
    whole, here, there = (lambda w, shift=shift: lam * w + shift for shift in (0, xi, other))
    updates = {
        "update": here(w + rho * here(w)),
        "fresh": there(w + rho * here(w)),
        "descent": here(w + rho * whole(w)),
    }
    for name, d in updates.items():
        d = sympy.expand(d)
        variance = sum(sympy.diff(d, x) ** 2 for x in (xi, other))
        model = MODELS[name]
        assert sympy.simplify(sympy.diff(d, w) - model.drift) == 0
        assert sympy.simplify(lr * diffusion.noise * variance - model.intensity) == 0
    composed = sympy.diff((lam * (w + rho * lam * w) ** 2) / 2, w)
    assert sympy.simplify(sympy.diff(composed, w) - MODELS["kim"].drift) == 0


def test_both_derivations_of_the_gap_from_their_steps():
    """SGD − SAM of E x² at k = t/η, from the sum over steps: no diffusion limit is taken.

    With unchanged noise the constant is 1 for the update and 2 for [K]'s descent on
    w ↦ L(w + ρg(w)); with the batch's noise in the ascent too there is a term linear in t.
    """
    s, t = diffusion.noise, sympy.Symbol("t", positive=True)
    usam, kim = 1 - lr * lam * (1 + rho * lam), 1 - lr * lam * (1 + rho * lam) ** 2
    steps = {"one batch": (usam, 1 + rho * lam), "descent": (usam, 1), "kim": (kim, 1)}
    gaps = {}
    for name, (a, gain) in steps.items():
        # η² gain² s Σ a^(2j) over j < k = t/η, over η
        moment = lr * s * gain**2 * (1 - sympy.exp(2 * t / lr * sympy.log(a))) / (1 - a**2)
        slope = sympy.diff(moment, rho).subs(rho, 0)
        gaps[name] = sympy.series(-sympy.limit(slope, lr, 0), t, 0, 3).removeO()
    assert sympy.simplify(gaps["descent"] - s * lam**2 * t**2) == 0
    assert sympy.simplify(gaps["kim"] - 2 * s * lam**2 * t**2) == 0
    # with s = |λ|/B this is 2tλ²/B at a saddle
    assert sympy.simplify(gaps["one batch"].expand().coeff(t, 1) + 2 * s * lam) == 0


def test_sam_is_below_sgd_for_every_t_and_rho_below_the_threshold():
    """Both η²(1 + ρλ)² and |1 − ηU| are less than SGD's: exact, so also at the first step."""
    for rho_ in (0.01, 0.3, 0.7, 0.99):
        for steps in (1, 2, 10, 500):
            sam, sgd = (
                put(exact_second_moment(), num_steps=steps, rho=r, **POINT) for r in (rho_, 0)
            )
            assert sam < sgd


def test_two_draws_carry_sam_farther_at_first():
    """After one step the moment is η²s(1 + ρ²λ²); later the drift decides."""
    limit, sgd = (second_moment_limit(m) for m in ("fresh", "update"))
    values = POINT | {"momentum": 0}
    for time, farther in ((0.01, True), (2.0, False)):
        sam = put(limit, time=time, rho=0.3, **values)
        assert (sam > put(sgd, time=time, rho=0, **values)) == farther
    a, gain = 1 + 0.01 * 0.7, 1e-4 / 32 * (1 + 0.09)
    exact = [gain * sum(a ** (2 * j) for j in range(k)) for k in (1, 200)]
    plain = [put(exact_second_moment(), num_steps=k, rho=0, **POINT) for k in (1, 200)]
    assert exact[0] > plain[0]
    assert exact[1] < plain[1]


def test_kim_momentum_without_momentum_or_rho():
    """At β = 0, ρ = 0 theorem 3 is the diffusion limit and a first term of order η²."""
    values = {"lam": -1, "rho": 0, "lr": 1e-3, "momentum": 0, "noise": 0.1, "time": 1.0}
    first = 1e-6 * 0.1 / 2 * (1 - math.exp(-1000)) ** 2
    rest = put(second_moment_limit("kim"), **values)
    assert put(kim_momentum_second_moment(), **values) == pytest.approx(first + rest, rel=1e-10)
