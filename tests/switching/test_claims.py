"""What is said of P1 to P4 without an end, or at no minimum; and that both studies are one."""

import math
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow.networks import Checkpoint
from samflow.switching import ClaimVerdict
from samflow.switching.claims import convergence_claim, flatter_claim, valley_claim
from samflow.switching.linear_regime import Fitted, decay_windows, growth_windows, steadiest
from samflow.switching.modes import leading_mode
from samflow.switching.orbit_analysis import no_minimum
from samflow.switching.rates import Rate

SYSTEM = sf.Map(sf.losses.valley(), sf.USAM(rho=0.2), lr=0.3)


def _mode(sharpness, lowest=0.0):
    point = jnp.array([math.sqrt(sharpness - 1), 0.0])
    return leading_mode(SYSTEM, point)._replace(lowest=lowest)


def test_a_verdict_is_its_word():
    assert str(ClaimVerdict.not_measured) == "not measured"
    assert [str(verdict) for verdict in ClaimVerdict][:2] == ["holds", "fails"]


@pytest.mark.parametrize(("lowest", "negative"), [(-1.01e-3 * 2, True), (-0.99e-3 * 2, False)])
def test_an_orbit_that_settles_where_the_hessian_is_negative_fails(lowest, negative):
    """λ_min below −λ_max/1000 is a negative curvature: on both sides of that."""
    here, there = _mode(5.0), _mode(2.0, lowest)
    why = no_minimum(there)
    claims = (
        valley_claim(0.0, 1.0, "the rise", no_minimum=why),
        flatter_claim(SYSTEM, here, there, no_minimum=why),
    )
    assert [claim.verdict for claim in claims] == ["fails" if negative else "holds"] * 2
    assert all(("is not a minimum" in str(claim)) == negative for claim in claims)


def test_without_an_end_nothing_is_measured_whatever_the_numbers_are():
    here, there = _mode(5.0), _mode(2.0)
    rate = Fitted(Rate(there.growth, there.growth, there.growth, 0, 20), (there.growth,) * 3)
    for no_end, verdict in (("it left", "not measured"), ("", "holds")):
        claims = (
            valley_claim(0.0, 1.0, "the rise", no_end=no_end),
            flatter_claim(SYSTEM, here, there, no_end=no_end),
            convergence_claim(SYSTEM, there, rate, no_end=no_end),
        )
        assert [claim.verdict for claim in claims] == [verdict] * 3
        assert all(("(it left)" in str(claim)) == bool(no_end) for claim in claims)


@pytest.mark.parametrize(("barrier", "verdict"), [(0.0099, "holds"), (0.0101, "fails")])
def test_a_barrier_on_both_sides_of_a_hundredth(barrier, verdict):
    assert valley_claim(barrier, 1.0, "the rise").verdict == verdict
    assert valley_claim(math.nan, 1.0, "the rise").verdict == "fails"


def test_the_window_with_the_steadiest_prediction_is_taken():
    """The rate of growth is 0.5 for 40 steps and then 0.49: only a part of it is linear."""
    logs = np.r_[np.zeros(1), np.cumsum(np.where(np.arange(80) < 40, 0.5, 0.49))]
    windows = growth_windows(np.exp(logs - 40))
    assert len(windows) > 1
    assert all(later.stop < earlier.stop for earlier, later in pairwise(windows))
    found = steadiest(windows, 0.5, lambda step: 0.5 if step <= 40 else 0.49)
    assert found.drift(0.5) == 0
    assert found.rate.slope == pytest.approx(0.5, rel=1e-12)  # rounding only
    back = decay_windows(np.exp(-logs), 0, 80, np.array([0.6]))
    late = steadiest(back, -0.49, lambda step: -0.5 if step < 40 else -0.49)
    assert late.drift(-0.49) == 0
    assert late.rate.slope == pytest.approx(-0.49, rel=1e-12)
    assert steadiest([], 0.5, lambda step: 0.5) == Fitted()


def test_from_the_same_minimum_both_studies_find_the_same():
    """A compiled loop and steps one by one, from the same displacement: twins."""
    checkpoint = Checkpoint(SYSTEM.loss, jnp.array([2.0, 0.0]))  # pyright: ignore[reportArgumentType]
    one = sf.two_phase(SYSTEM, checkpoint.w, num_steps=60, displacement=3e-7)
    other = sf.late_switch(SYSTEM, checkpoint, num_epochs=59, displacement=3e-7)
    assert one.status is other.status is sf.Status.converged
    assert one.converged_at == other.converged_at
    assert str(one).splitlines()[:5] == str(other).splitlines()[:5]
    for first, second in zip(one.phases, other.phases, strict=True):
        assert first.verdict == second.verdict == "holds"
        # Rounding of the first steps grows with the escape, by e^16, and settles elsewhere.
        np.testing.assert_allclose(first[3:6], second[3:6], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(one.end, other.end, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(one.escaping[:20], other.escaping[:20], rtol=1e-6)


def test_at_weights_zero_the_displacement_is_in_units_of_the_loss():
    """1 − cos(x/k) has its minimum at 0, where ‖w‖ is no length."""
    kicks = []
    for k in (1.0, 1024.0):
        loss = sf.loss(f"1 - cos(x/{k})")
        system = sf.Map(loss, sf.USAM(rho=k**2), lr=1.2 * k**2)
        checkpoint = Checkpoint(loss, jnp.zeros(1))  # pyright: ignore[reportArgumentType]
        found = sf.late_switch(system, checkpoint, num_epochs=50, num_points=3)
        kicks.append(float(dict(found.provenance)["displacement"]))
    assert kicks[1] == pytest.approx(1024 * kicks[0], rel=1e-9)
