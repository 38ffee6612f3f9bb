"""What `diagnose` says of a rule, and what a late switch shows, in other units."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow.losses import network_function
from samflow.networks import Checkpoint, Effort, diagnose
from samflow.switching import late_switch
from tests.units import FEW, rescaled_rule

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
            verdict = found.rules[0].verdict
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
