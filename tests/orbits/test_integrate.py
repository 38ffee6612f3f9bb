"""Flows against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError


def test_linear_flows_are_exponentials():
    """Gradient flow on ½Σλw² is w e^(−λt), USAM's is w e^(−U t)."""
    lam, rho = np.array([2.0, -0.5]), 0.3
    loss = sf.losses.saddle(lam)
    w0 = np.array([1.0, 0.2])
    for rule, rate in ((sf.GD(), lam), (sf.USAM(rho=rho), lam * (1 + rho * lam))):
        found = sf.integrate(sf.Flow(loss, rule), w0, t1=3.0, num_times=7)
        exact = w0 * np.exp(-rate * np.asarray(found.times)[:, None])
        # rtol = 1e-8 a step; about 100 steps.
        np.testing.assert_allclose(found.w, exact, rtol=1e-6, atol=1e-9)
        assert sf.Status(int(found.status)) is sf.Status.reached_end
        assert np.isinf(found.arrived_at)  # smooth rules come to no critical point in finite time


def test_tighter_tolerances_give_a_smaller_error():
    system, exact = sf.Flow(sf.losses.double_well(), sf.GD()), None
    ends = {
        tol: float(sf.integrate(system, [0.1], t1=4.0, rtol=tol, atol=tol).w[-1, 0])
        for tol in (1e-4, 1e-7, 1e-12)
    }
    # ẋ = x − x³ has x² = 1/(1 + (1/x₀² − 1) e^(−2t)).
    exact = 1 / np.sqrt(1 + (1 / 0.01 - 1) * np.exp(-8.0))
    errors = [abs(end - exact) for end in ends.values()]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-10


def test_every_ending_has_its_status():
    saddle = sf.losses.saddle((1.0, -1.0))
    gd, sam = sf.Flow(saddle, sf.GD()), sf.Flow(saddle, sf.SAM(rho=0.5))
    ends = sf.integrate(gd, [[1.0, 0.0], [0.1, 1.0]], t1=100.0)
    assert [sf.Status(int(c)).name for c in ends.status] == ["reached_end", "diverged"]
    # e^t reaches the ball's edge at t = log 1e6, up to the last adaptive step.
    assert float(ends.stopped_at[1]) == pytest.approx(np.log(1e6), rel=0.05)
    # No state is given for a time at which the solution was outside.
    kept = np.isfinite(np.asarray(ends.w[1])).all(axis=1)
    np.testing.assert_array_equal(kept, ends.times <= ends.stopped_at[1])
    at_singularity = sf.integrate(sam, [0.0, 0.0], t1=1.0)
    assert sf.Status(int(at_singularity.status)) is sf.Status.sliding
    assert float(at_singularity.arrived_at) == 0
    short = sf.integrate(gd, [1.0, 0.1], t1=10.0, max_steps=3)
    assert sf.Status(int(short.status)) is sf.Status.out_of_steps
    assert np.isnan(short.w[-1]).all()  # nothing is padded


def test_sam_is_held_at_a_critical_point():
    """On ½w² it arrives at w = 0 at T = log(1 + |w₀|/rho), and stays (test_sliding says more)."""
    flow = sf.Flow(sf.losses.saddle((1.0,)), sf.SAM(rho=0.5))
    arrival = np.log(1 + 0.1 / 0.5)
    before = sf.integrate(flow, [0.1], t1=0.9 * arrival)
    assert sf.Status(int(before.status)) is sf.Status.reached_end
    assert np.isinf(before.arrived_at)
    after = sf.integrate(flow, [0.1], t1=2.0)
    assert sf.Status(int(after.status)) is sf.Status.sliding
    assert float(after.arrived_at) == pytest.approx(arrival, abs=1e-8)
    assert float(after.stopped_at) == 2.0
    np.testing.assert_array_equal(np.asarray(after.w)[np.asarray(after.times) > arrival], 0)


def test_a_singularity_ahead_is_no_budget_overrun():
    """ẋ = −1/x from 1 reaches 0, where it ends, at t = ½."""
    found = sf.integrate(sf.Flow(sf.loss("log(x)"), sf.GD()), [1.0], t1=1.0)
    assert sf.Status(int(found.status)) is sf.Status.step_size_vanished
    assert float(found.stopped_at) == pytest.approx(0.5, abs=0.011)  # kept times are 0.01 apart


def test_lorenz_keeps_its_symmetry():
    """A flow that is no optimiser: (x, y, z) → (−x, −y, z) maps orbits to orbits."""
    lorenz = sf.FunctionFlow(
        lambda s: jnp.array(
            [10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]]
        ),
        dim=3,
    )
    orbit = sf.integrate(lorenz, [[1.0, 2.0, 3.0], [-1.0, -2.0, 3.0]], t1=2.0)
    np.testing.assert_allclose(orbit.w[0] * np.array([-1, -1, 1]), orbit.w[1], atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"t1": -1.0}, "`t1` must be finite and greater than 0"),
        ({"t1": float("nan")}, "`t1`"),
        ({"w0": [1.0]}, "shape"),
        ({"num_times": 1}, "at least 2"),
        ({"rtol": 0.0}, "`rtol`"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    system = sf.Flow(sf.losses.beale(), sf.GD())
    with pytest.raises(ArgumentError, match=words):
        sf.integrate(system, **({"w0": [0.0, 0.0], "t1": 1.0} | arguments))
