"""Claims for whole ranges: proved, refuted with a witness, or open exactly at a threshold."""

import json

import numpy as np
import pytest

import samflow as sf
from samflow import Verdict, losses
from samflow._checks import ArgumentError
from samflow.proofs.claims import certify_stability

THRESHOLD = 4 / 111


def beale(**claim):
    return certify_stability(losses.beale(), (0, 1), **claim)


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ({"rho": (0.04, 10.0)}, "proved"),
        ({"rho": (0.0, 0.03)}, "refuted"),
        ({"rho": (0.03, 0.05)}, "refuted"),
        ({"rho": (0.0, 0.036), "claim": "saddle"}, "proved"),
        ({"rho": (0.04, 0.05), "lr": (1e-6, 1e-2)}, "proved"),
        ({"rho": (0.04, 0.05), "lr": (1e-6, 1.0)}, "refuted"),
        ({"rho": (0.04, 0.05), "lr": (1e-6, 1e-2), "momentum": 0.9}, "proved"),
        ({"rho": 0.05, "lr": 0.05}, "refuted"),  # 2/U = 0.0302 < 0.05 < 3.8/U = 0.0574
        ({"rho": 0.05, "lr": 0.05, "momentum": 0.9}, "proved"),
        ({"rho": 0.05, "lr": 0.05, "momentum": 0.9, "nesterov": True}, "refuted"),
        ({"rho": (0.1, 0.2), "lr": (1.0, 2.0), "claim": "repelling"}, "proved"),
        ({"rho": (0.1, 0.2), "lr": (1.0, 2.0), "claim": "repelling", "momentum": 0.5}, "refuted"),
        ({"rho": (0.1, 0.2), "lr": (1.0, 2.0), "claim": "saddle", "momentum": 0.5}, "proved"),
    ],
)
def test_claims_about_the_saddle_of_beale(claim, verdict):
    found = beale(**claim)
    assert found.verdict == verdict
    assert (found.fails is not None) == (verdict == "refuted")
    assert str(verdict) in found.summary()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_numpy_agrees_all_over_a_proved_range_and_in_the_part_that_fails(momentum, nesterov):
    """Spectral radii of the update itself, on a grid."""
    rho, lr = (0.04, 0.05), (1e-3, 0.01)
    settings = {"momentum": momentum, "nesterov": nesterov}

    def radius(rho, lr):
        system = sf.Map(losses.beale(), sf.USAM(rho=rho), lr=lr, **settings)
        jacobian = system.jacobian(system.lift(np.array([0.0, 1.0])))
        return np.abs(np.linalg.eigvals(jacobian)).max()

    assert beale(rho=rho, lr=lr, **settings).verdict is Verdict.proved
    assert all(radius(r, s) < 1 for r in np.linspace(*rho, 4) for s in np.linspace(*lr, 4))
    failing = beale(rho=(0.02, 0.05), lr=(1e-3, 0.1), **settings)
    assert failing.verdict is Verdict.refuted
    (r0, r1), (s0, s1) = failing.fails
    assert all(radius(r, s) > 1 for r in np.linspace(r0, r1, 4) for s in np.linspace(s0, s1, 4))


def test_the_part_left_open_is_about_the_threshold():
    found = beale(rho=(0.03, 0.05))
    ((low, high),) = found.undecided
    assert low <= THRESHOLD <= high
    assert high - low < 1e-8


def test_the_double_nearest_to_the_threshold_lies_below_it_and_refutes():
    found = beale(rho=(THRESHOLD, 0.05))
    assert found.verdict is Verdict.refuted
    assert found.fails == ((THRESHOLD, THRESHOLD),)
    assert beale(rho=(np.nextafter(THRESHOLD, 1), 0.05)).verdict is Verdict.proved


def test_a_range_that_begins_exactly_at_a_threshold_is_inconclusive():
    """1/|λ| = 1/4 is a double; at rho = 1/4 the multiplier is exactly 1."""
    found = certify_stability(losses.saddle((1.0, -4.0)), (0, 0), rho=(0.25, 1.0))
    assert found.verdict is Verdict.inconclusive
    assert found.undecided[0][0] == 0.25
    assert found.undecided[0][1] < 0.2500001
    later = certify_stability(losses.saddle((1.0, -4.0)), (0, 0), rho=(0.25000001, 1.0))
    assert later.verdict is Verdict.proved


def test_the_critical_point_is_found_and_proved_first():
    found = certify_stability(losses.beale(), (0.1, -2.6), rho=(1.3, 1.4))
    np.testing.assert_allclose(np.mean(found.point, axis=1), (0.100538, -2.644514), atol=1e-6)
    assert found.verdict is Verdict.proved  # 1/0.781027 = 1.28037
    assert certify_stability(losses.beale(), (0.1, -2.6), rho=(1.2, 1.4)).verdict == "refuted"


@pytest.mark.parametrize("formula", ["x**4", "(1 + x**2)*y**2", "x + 0*y", "exp(x)"])
def test_no_isolated_critical_point_no_claim(formula):
    loss = sf.loss(formula)
    found = certify_stability(loss, np.full(loss.dim, 0.3), rho=0.1)
    assert found.verdict is Verdict.inconclusive
    assert found.point is None
    assert "no critical point" in found.reason


def test_a_loss_without_a_formula_is_unsupported():
    loss = sf.loss(lambda w: w @ w, dim=2)
    assert certify_stability(loss, (0, 0), rho=0.1).verdict is Verdict.unsupported


@pytest.mark.parametrize(
    "claim",
    [
        {"rho": (0.2, 0.1)},
        {"rho": -1},
        {"rho": 0.1, "lr": 0},
        {"rho": (0.1, 0.2, 0.3)},
        {"rho": 0.1, "momentum": 1.0},
        {"rho": 0.1, "claim": "atracting"},
    ],
)
def test_bad_arguments_fail_at_the_door(claim):
    with pytest.raises(ArgumentError):
        beale(**claim)


def test_a_claim_turns_into_json():
    read = json.loads(beale(rho=(0.04, 0.05), lr=(1e-4, 1e-3)).to_json())
    assert read["verdict"] == "proved"
    assert read["lr"] == [1e-4, 1e-3]
    assert len(read["hessian"]) == 2
