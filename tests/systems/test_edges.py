"""Edges of stability: closed forms, and what maps do on a quadratic on both sides of them."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow.systems.edges import adaptive_edge, edge_of_stability, update_of

LR, RHO, BETA = 0.1, 0.3, 0.8
SCHEMES = {"none": {}, "heavy": {"momentum": BETA}, "nesterov": {"momentum": BETA, "nesterov": 1}}
KAPPA = {"none": 2, "heavy": 2 * (1 + BETA), "nesterov": (2 + 2 * BETA) / (1 + 2 * BETA)}


def _map(rule, scheme, **more):
    extra = {**SCHEMES[scheme], **more}
    extra["nesterov"] = bool(extra.get("nesterov"))
    return sf.Map(sf.losses.Quadratic((1.0,)), rule, lr=LR, **extra)


def _grows(curvature, lr, beta, nesterov):
    """Return whether |w| grows a thousandfold before it falls so, on d = curvature · w."""
    w, v = 1.0, 0.0
    while 1e-3 < math.hypot(w, lr * v) < 1e3:
        d = curvature * w
        v = beta * v + d
        w -= lr * (d + beta * v if nesterov else v)
    return abs(w) > 1


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_a_map_on_a_quadratic_is_stable_below_its_edge_and_not_above(scheme, decay):
    size, (beta, nesterov) = 0.7, (BETA if scheme != "none" else 0.0, scheme == "nesterov")
    for rule, effective in ((sf.GD(), 0.0), (sf.USAM(rho=RHO), RHO), (sf.SAM(rho=RHO), RHO / size)):
        edge = edge_of_stability(_map(rule, scheme, weight_decay=decay), size)
        below, above = ((1 + part) * edge for part in (-0.01, 0.01))
        u = lambda lam, r=effective: lam * (1 + r * lam) + decay  # noqa: E731
        # A thousand is beyond what a stable orbit with momentum may grow before it decays.
        assert not _grows(u(below), LR, beta, nesterov)
        assert _grows(u(above), LR, beta, nesterov)


def test_one_step_of_sam_keeps_the_distance_exactly_at_its_edge():
    """At ‖g‖ = G, w ↦ −w where λ is Long and Bartlett's edge, closer below and farther above."""
    edge = edge_of_stability(_map(sf.SAM(rho=RHO), "none"), 0.7)
    assert edge == pytest.approx(0.7 / (2 * RHO) * (math.sqrt(1 + 8 * RHO / (LR * 0.7)) - 1))
    for part, sign in ((-1e-6, -1), (0.0, 0), (1e-6, 1)):
        lam = edge * (1 + part)
        w = 0.7 / lam
        system = sf.Map(sf.losses.Quadratic((lam,)), sf.SAM(rho=RHO), lr=LR)
        change = float(abs(system.step(jnp.array([w]))[0])) / w - 1
        assert np.sign(round(change, 10)) == sign


def test_the_edges_in_closed_form():
    for scheme, kappa in KAPPA.items():
        assert edge_of_stability(_map(sf.GD(), scheme)) == pytest.approx(kappa / LR)
        usam = (math.sqrt(1 + 4 * kappa * RHO / LR) - 1) / (2 * RHO)
        assert edge_of_stability(_map(sf.USAM(rho=RHO), scheme), 3.0) == pytest.approx(usam)
    assert adaptive_edge(LR, 0.9) == pytest.approx(38 / LR)
    assert adaptive_edge(LR) == pytest.approx(2 / LR)


def test_an_adaptive_step_flips_at_its_edge():
    """m⁺ = β₁m + (1 − β₁)λw, w⁺ = (1 − lr·a)w − lr·m⁺ on both sides of the edge."""
    beta, decay = 0.9, 0.4
    for a in (0.0, decay):
        edge = adaptive_edge(LR, beta, decoupled_decay=a)
        for part, grows in ((-0.01, False), (0.01, True)):
            lam = edge * (1 + part)
            matrix = np.array([[1 - LR * a - LR * (1 - beta) * lam, -LR * beta],
                               [(1 - beta) * lam, beta]])  # fmt: skip
            assert (np.abs(np.linalg.eigvals(matrix)).max() > 1) == grows


def test_an_edge_that_is_unknown_is_nan_and_one_beyond_reach_is_0():
    asam = sf.rules.ASAM(rho=RHO)
    assert math.isnan(edge_of_stability(_map(asam, "none"), 0.7))
    assert math.isnan(edge_of_stability(_map(sf.SAM(rho=RHO), "none"), 0.0))
    assert math.isnan(edge_of_stability(_map(sf.GD(), "none"), math.nan))
    assert edge_of_stability(_map(sf.GD(), "none", weight_decay=21.0)) == 0.0


def test_a_map_states_its_update():
    update = update_of(_map(sf.USAM(rho=RHO), "nesterov"))
    assert update.name == "usam(rho=0.3) with Nesterov momentum 0.8"
    assert update.preconditioner is None
    assert update.edge(1.0) == edge_of_stability(_map(sf.USAM(rho=RHO), "nesterov"), 1.0)
