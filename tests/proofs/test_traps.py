"""Traps of normalised SAM: proved sets, refuting orbits, and what is refused."""

import json
import re

import numpy as np
import pytest

import samflow as sf
from analysis.proved_traps import Polynomial, certify, contradicts
from samflow import Verdict, losses
from samflow._checks import ArgumentError
from samflow.cli import saddle_text
from samflow.proofs import certify_trap, traps
from samflow.rules import NSAM, SAM, USAM, PracticalSAM


def sam(loss, *, rho=0.1, lr=0.1, **settings):
    return sf.Map(loss, SAM(rho=rho), lr=lr, **settings)


def saddle(*lams):
    return losses.saddle(lams)


def test_beale_is_proved_and_its_cycle_lies_in_the_trap():
    system = sam(losses.beale(), rho=0.05, lr=0.01)
    found = certify_trap(system, [0.0, 1.0])
    assert found.verdict is Verdict.proved
    assert "proved" in found.summary()
    # Four times the ball of the quadratic part, 0.01 · 0.05 · 27.75 = 0.0139, is the default.
    assert found.within == pytest.approx(4 * 0.01 * 0.05 * 27.75)
    assert 0.00806 < found.radius <= found.within
    # The quadratic part is kept from ‖g‖ < 0.05 · 27.75, that is ‖w − w*‖ < 0.05.
    assert found.radius < found.entered_from == pytest.approx(0.05, rel=0.05)
    assert json.loads(found.to_json())["verdict"] == "proved"


def test_orbits_of_beale_come_to_the_trap_and_stay():
    system = sam(losses.beale(), rho=0.05, lr=0.01)
    found = certify_trap(system, [0.0, 1.0])
    assert found.num_steps is not None
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    orbits = sf.iterate(
        system, np.array([0.0, 1.0]) + found.entered_from * circle, num_steps=found.num_steps
    )
    away = np.linalg.norm(orbits.final_w - np.array([0.0, 1.0]), axis=-1)
    assert away.max() <= found.radius


@pytest.mark.parametrize(
    ("lam", "lr", "verdict"),
    [
        (1.0, 0.1, "proved"),
        (1.0, 1.9, "proved"),
        (1.0, 2.1, "refuted"),
        (-1.0, 0.1, "proved"),
        (-9.0, 0.1, "proved"),
        (-11.0, 0.1, "refuted"),
    ],
)
def test_one_dimension_is_decided_on_both_sides_of_each_threshold(lam, lr, verdict):
    """λ > 0: the 2-cycle attracts iff lr λ < 2. λ < 0: |w| ≤ lr·rho·|λ| is kept iff lr|λ| < 1."""
    found = certify_trap(sam(saddle(lam), lr=lr), [0.0])
    assert found.verdict == verdict
    if lam < 0 and verdict == "proved":
        # The least invariant interval is lr·rho·|λ|; a thousandth is added for the proof.
        assert found.radius == pytest.approx(lr * 0.1 * abs(lam), rel=2e-3)
        assert found.radius > lr * 0.1 * abs(lam)


@pytest.mark.parametrize(
    ("rho", "lr", "verdict"),
    [(0.9, 0.01, "proved"), (0.9, 0.001, "proved"), (1.1, 0.01, "refuted")],
)
def test_the_quartic_holds_only_below_rho_1(rho, lr, verdict):
    """Its quadratic part holds for every rho."""
    found = certify_trap(sam(losses.quartic(), rho=rho, lr=lr), [0.0, 0.0])
    assert found.verdict == verdict
    assert (found.escape is not None) == (verdict == "refuted")


def test_a_weak_saddle_is_refuted_by_a_long_orbit():
    """λ = 1, −0.04 at lr .1: below 1/19 the 2-cycle repels, at a rate of 0.1 % a step."""
    system = sam(saddle(1.0, -0.04))
    found = certify_trap(system, [0.0, 0.0])
    assert found.verdict is Verdict.refuted
    assert found.escape is not None
    assert found.fails == (0.1, 0.1)
    assert found.escape.num_steps > 5000
    start = 1e-9 * np.array(found.escape.direction)
    orbit = sf.iterate(system, start, num_steps=found.escape.num_steps + 10)
    assert np.linalg.norm(orbit.final_w) > found.within


@pytest.mark.slow
@pytest.mark.parametrize("m", [0.09, 0.06])
def test_the_cycle_holds_a_saddle_that_has_no_invariant_ball(m):
    """Proposition 10 needs m ≥ lr = 0.1; the cycle attracts from m = 1/19 on."""
    found = certify_trap(sam(saddle(1.0, -m)), [0.0, 0.0])
    assert found.verdict is Verdict.proved
    assert found.traps[0].form == "box"
    assert found.traps[0].num_returns > 1


def test_a_range_is_proved_as_a_whole_and_refuted_at_a_point():
    system = sam(saddle(-1.0))
    whole = certify_trap(system, [0.0], rho=(0.05, 0.2), lr=(0.1, 0.3))
    assert whole.verdict is Verdict.proved
    rng = np.random.default_rng(0)
    for trap in whole.traps:
        for rho, lr in zip(*(rng.uniform(*ends, 20) for ends in trap.part), strict=True):
            assert lr * rho <= trap.radius <= whole.radius
    failing = certify_trap(system, [0.0], lr=(0.5, 1.5))
    assert failing.verdict is Verdict.refuted
    assert failing.fails is not None
    assert failing.fails[1] > 1


@pytest.mark.parametrize(("c", "k"), [(1e8, 1.0), (1.0, 1e-6), (1e-8, 1e6)])
@pytest.mark.parametrize("rho", [0.9, 1.1])
def test_verdicts_do_not_depend_on_units(c, k, rho):
    text = "{c}*((x/{k})**2/2 - (y/{k})**2/2 + (y/{k})**4/4)"
    scaled = sf.loss(text.format(c=repr(c), k=repr(k)))
    lr = 0.01
    found = certify_trap(sam(scaled, rho=k * rho, lr=lr * k**2 / c), [0.0, 0.0])
    plain = certify_trap(sam(losses.quartic(), rho=rho, lr=lr), [0.0, 0.0])
    assert found.verdict is plain.verdict
    assert found.within == pytest.approx(k * plain.within, rel=1e-9)
    if found.verdict is Verdict.proved:
        assert found.radius == pytest.approx(k * plain.radius, rel=1e-6)


@pytest.mark.parametrize("i", range(10))
def test_orbits_do_not_contradict_a_verdict(i):
    rng = np.random.default_rng([5, i])
    polynomial = Polynomial(rng, 1 + i % 2)
    rho, lr = float(rng.uniform(0.02, 0.4)), float(rng.uniform(0.01, 0.4)) / polynomial.largest
    found = certify(polynomial, rho, lr, max_cells=1_000)
    assert not contradicts(found, polynomial, rng, 200)


def test_a_wrong_verdict_is_contradicted():
    """Twice the step size that was proved: the detector of the test above, and of the study."""
    rng = np.random.default_rng(0)
    polynomial = Polynomial(np.random.default_rng([5, 1]), 2)
    found = certify(polynomial, 0.05, 0.05)
    assert found.verdict is Verdict.proved
    assert not contradicts(found, polynomial, rng)
    assert contradicts(sf_replace(found, lr=(0.1, 0.1)), polynomial, rng)


def sf_replace(record, **fields):
    """Return a record with other fields."""
    return type(record)(**{**vars(record), **fields})


@pytest.mark.slow
def test_three_dimensions():
    rng = np.random.default_rng([5, 100])
    for _ in range(2):
        polynomial = Polynomial(rng, 3)
        found = certify(polynomial, 0.05, 0.1 / polynomial.largest)
        assert not contradicts(found, polynomial, rng)


def test_the_region_decides_what_refuted_means():
    """The first images of starts near the saddle are up to 0.0139 away and more."""
    system = sam(losses.beale(), rho=0.05, lr=0.01)
    for within, verdict in ((0.01, Verdict.refuted), (0.02, Verdict.proved)):
        found = certify_trap(system, [0.0, 1.0], within=within)
        assert found.verdict is verdict
        assert found.summary().startswith(f"trap within {within:g} of the critical point for every")


def test_another_critical_point_in_the_region_is_named():
    """The maximum of cos does not hold lr 1.5 > 1; the minima at ±π, whose 2-cycle attracts, do."""
    found = certify_trap(sam(sf.loss("cos(y)"), lr=1.5), [0.0], within=5.0)
    assert found.verdict is Verdict.inconclusive
    assert found.reason == traps.NEIGHBOUR
    assert found.where is not None
    assert abs(found.where[0][0]) == pytest.approx(np.pi)
    place = f"{np.sign(found.where[0][0]) * np.pi:.4g}"
    told = f"another critical point lies in the region, near {place}"
    assert found.summary().endswith(f": inconclusive ({told})")
    assert f"({told})" in saddle_text._trap(found)
    nowhere = certify_trap(sam(sf.loss("x + y**2")), [0.0, 0.0])
    assert f"({traps.NO_POINT})" in saddle_text._trap(nowhere)


def test_an_ascent_out_of_the_domain_refutes():
    """log(x) ends at 0, at a distance of 1 from the minimum x = 1."""
    loss = sf.loss("x - log(x)")
    assert certify_trap(sam(loss, rho=0.5), [1.0]).verdict is Verdict.proved
    found = certify_trap(sam(loss, rho=1.5), [1.0])
    assert found.verdict is Verdict.refuted
    assert found.escape is not None
    assert found.escape.undefined
    assert "undefined" in found.summary()


@pytest.mark.parametrize(
    ("loss", "w", "reason"),
    [
        ("x**4 + y**2", [0.0, 0.0], traps.SINGULAR),
        ("x + y**2", [0.0, 0.0], traps.NO_POINT),
        ("x**2/2 - y**2/2", [0.5, 0.5], traps.ELSEWHERE),
    ],
)
def test_causes_have_names(loss, w, reason):
    found = certify_trap(sam(sf.loss(loss)), w)
    assert found.verdict is Verdict.inconclusive
    assert found.reason == reason
    assert reason in found.summary()


@pytest.mark.parametrize(
    ("system", "reason"),
    [
        (sam(saddle(1.0, -1.0), momentum=0.9), "momentum"),
        (sam(saddle(1.0, -1.0), weight_decay=0.1), "weight decay"),
        (sf.Map(saddle(1.0, -1.0), USAM(rho=0.1), lr=0.1), "of usam .* `sf.certify_stability`$"),
        (sf.Map(saddle(1.0, -1.0), sf.GD(), lr=0.1), "use `sf.certify_stability` with rho=0$"),
        (
            sf.Map(saddle(1.0, -1.0), PracticalSAM(rho=0.1, eps=1e-3), lr=0.1),
            "its ascent is .* as the supported rules SAM, NSAM and DNSAM do",
        ),
        (sam(sf.loss(lambda w: w @ w, dim=2)), "formula"),
    ],
)
def test_what_is_not_supported_says_so(system, reason):
    found = certify_trap(system, [0.0, 0.0])
    assert found.verdict is Verdict.unsupported
    assert re.search(reason, found.reason)
    assert found.reason in found.summary()


def test_the_same_rule_by_another_name():
    system = sf.Map(saddle(-1.0), NSAM(rho=0.1), lr=0.1)
    assert certify_trap(system, [0.0]).verdict is Verdict.proved


@pytest.mark.parametrize(
    "wrong",
    [
        {"rho": 0.0},
        {"rho": (0.2, 0.1)},
        {"rho": float("nan")},
        {"lr": -1.0},
        {"within": 0.0},
        {"max_cells": 0},
        {"max_steps": 1.5},
    ],
)
def test_bad_numbers_are_refused(wrong):
    with pytest.raises(ArgumentError):
        certify_trap(sam(saddle(-1.0)), [0.0], **wrong)


def test_a_flow_is_refused():
    with pytest.raises(ArgumentError, match="Map"):
        certify_trap(sf.Flow(saddle(-1.0), SAM(rho=0.1)), [0.0])  # pyright: ignore


def test_the_budget_ends_the_search():
    system = sam(losses.beale(), rho=0.05, lr=0.01)
    found = certify_trap(system, [0.0, 1.0], max_cells=20)
    assert found.verdict is Verdict.inconclusive
    assert found.reason == "the budget of cells was spent"
    assert found.where is not None
    place = ", ".join(f"{np.mean(ends):.4g}" for ends in found.where)
    assert found.summary().endswith(f"({found.reason}; not decided near ({place}))")
