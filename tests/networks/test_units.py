"""What `diagnose` says of a rule, and what a late switch shows, in other units."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow.losses import network_function
from samflow.networks import Checkpoint, Effort, diagnose
from samflow.networks.diagnosis.judgement import nearness
from samflow.networks.diagnosis.measurements import Curvature
from samflow.networks.diagnosis.silent import silent_weights
from samflow.networks.saddles.critical import critical_point, is_critical
from samflow.networks.scales import problem_length
from samflow.spectra.spectrum import extreme_eigenpairs
from samflow.switching import late_switch
from tests.units import FEW, Scaled, rescaled_rule

FEW_PRODUCTS = Effort(trace_products=6)
LR, SHARPNESS = 0.4, 4.25  # of ½(ab − 1)² at (2, ½)


def checkpoint(c, k):
    """Return c·½(ab/k² − 1)² at (2k, k/2), a network of two weights."""
    root = np.sqrt(c)

    def model(params, x):
        return root * x * params["a"] * params["b"] / k**2

    params = {"a": jnp.array([2.0 * k]), "b": jnp.array([0.5 * k])}
    loss = network_function(model, params, [[1.0]], [[root]], loss="squared", name="two weights")
    return Checkpoint(loss, loss.flatten(params))


@pytest.mark.parametrize(("part", "level"), [(0.9, "critical"), (1.1, "near")])
def test_a_gradient_is_0_on_the_same_side_in_all_units(part, level):
    """‖g‖ = part · 1e-10 · max|λ| (‖w‖ + √(L/max|λ|)), with w = (3, 4), L = 8 and λ = 1, 2."""
    pairs = extreme_eigenpairs(sf.losses.Quadratic((1.0, 2.0)), [0.0, 0.0])
    for c, k in [(1.0, 1.0), *FEW]:
        at = Curvature(
            w=k * jnp.array([3.0, 4.0]),
            loss=8.0 * c,
            length=problem_length(5.0 * k, 8.0 * c, 2.0 * c / k**2),
            error=np.nan,
            gradient=np.array([part * 1e-10 * 2 * (5 + 2) * c / k, 0.0]),
            pairs=dataclasses.replace(pairs, values=pairs.values * c / k**2),
            next_sharpness=2 * c / k**2,
            difference=None,
            silent=None,
        )
        assert nearness(at).level == level, (c, k)


def test_weights_that_no_gradient_reaches_are_the_same_in_all_units():
    """y = (a + [stop](b))x and an unused c: b is cut off, c is idle."""
    for c, k in [(1.0, 1.0), *FEW]:
        root = np.sqrt(c)

        def model(p, x, root=root, k=k):
            return root * (p["a"] + jax.lax.stop_gradient(p["b"])) * x / k

        params = {name: jnp.ones(1) * k for name in "abc"}
        loss = network_function(model, params, [[1.0]], [[3.0 * root]], loss="squared")
        w = loss.flatten(params)
        found = silent_weights(loss, w, np.asarray(loss.gradient(w)), 2 * k)
        assert (found.cut, found.idle) == (("b",), ("c",)), (c, k)


def test_a_critical_point_is_found_in_all_units():
    """Of (x² − 1)²/4 + y²: the minimum at (1, 0), where max|λ| = 2, ‖w‖ = 1 and L = 0."""
    loss = sf.loss("(x**2 - 1)**2/4 + y**2")
    for c, k in [(1.0, 1.0), *FEW]:
        scaled = Scaled(loss, np.float64(c), np.float64(k))
        found = critical_point(scaled, k * np.array([1.7, 0.9]))
        assert found.status is sf.Status.located, (c, k)
        np.testing.assert_allclose(found.w / k, [1, 0], atol=1e-10)  # ‖g‖ ≤ 1e-11 · 2
        for part in (0.9, 1.1):  # g = 2y along y
            w = k * jnp.array([1.0, part * 1e-6])
            assert is_critical(scaled, w, 1e-6) == (part < 1), (c, k)


@pytest.mark.parametrize("scaled", [1.99, 2.01])
def test_a_verdict_is_the_same_in_all_units(scaled):
    """On both sides of lr·U(λ) = 2 for USAM, and of lr·λ = 2 for GD."""
    rho = (scaled / (LR * SHARPNESS) - 1) / SHARPNESS
    for c, k in [(1.0, 1.0), FEW[1], FEW[2]]:
        usam = rescaled_rule(sf.USAM(rho=rho), c, k)
        for lr, rule in ((LR, usam), (scaled / SHARPNESS, sf.GD())):
            found = diagnose(
                checkpoint(c, k), rho=1.0, lr=lr * k**2 / c, rules=[rule], effort=FEW_PRODUCTS
            )
            verdict = found.rules[0].stability
            assert (verdict == "unstable") == (scaled > 2), (c, k, rule)
            assert found.rules[0].scaled_curvature == pytest.approx(scaled, rel=1e-6)


def test_a_late_switch_is_the_same_in_all_units():
    rho = (2.6 / (LR * SHARPNESS) - 1) / SHARPNESS
    for c, k in [(1.0, 1.0), FEW[1]]:
        made = checkpoint(c, k)
        rule = rescaled_rule(sf.USAM(rho=rho), c, k)
        found = late_switch(sf.Map(made.loss, rule, lr=LR * k**2 / c), made, num_epochs=300)
        assert [phase.verdict for phase in found.phases] == ["holds"] * 4, (c, k)
        assert found.escape.slope == pytest.approx(np.log(1.6), rel=2e-3)
