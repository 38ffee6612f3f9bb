"""Ensembles of flows by the kernel for them, beside diffrax, which is the reference."""

import jax.numpy as jnp
import numpy as np

import samflow as sf
from samflow._status import Status
from samflow.orbits import _ensemble_flow, segments


def both(system, starts, times, *, max_steps=10_000, rtol=1e-8):
    settings = segments.SolverSettings(jnp.asarray(times), rtol, 1e-2 * rtol, 1e3)
    starts = jnp.asarray(starts)
    mine = _ensemble_flow.flow_ensemble(system, starts, settings, jnp.asarray(max_steps))
    return mine, segments.smooth_segments(system, starts, settings, max_steps=max_steps)


def test_solutions_and_statuses_are_those_of_diffrax():
    """Three come to rest, and one leaves every ball in finite time."""
    flow = sf.FunctionFlow(lambda z: (-z[0], z[1] ** 2 - z[1]), dim=2, elementwise=True)
    starts = np.array([[1.0, 0.5], [-2.0, 0.9], [0.0, 0.0], [1.0, 2.0]])
    (mine, status, t, arrived), (states, known, reached) = both(flow, starts, [0.0, 0.5, 5.0])
    np.testing.assert_array_equal(status, known)
    assert [Status(int(code)).label for code in status] == ["reached end"] * 3 + ["diverged"]
    # x(t) = x₀ e^(−t); errors of some steps of 1e-8 each.
    np.testing.assert_allclose(mine[:3, -1, 0], starts[:3, 0] * np.exp(-5.0), atol=1e-7)
    np.testing.assert_allclose(mine[:3], states[:3], atol=1e-7)
    # y(t) = 1/(1 − e^t/2) leaves at t = log 2; both see it at the end of a step.
    np.testing.assert_allclose(t[3], np.log(2), atol=2e-2)
    np.testing.assert_allclose(reached[3], np.log(2), atol=2e-2)
    assert np.isnan(mine[3, -1]).all()
    assert np.isinf(arrived).all()  # a smooth flow arrives nowhere


def test_too_few_steps_are_said_and_an_error_falls_with_the_tolerance():
    flow = sf.Flow(sf.losses.quartic(), sf.USAM(rho=0.05))
    starts = [[1.0, 0.2], [0.5, -0.3]]
    (_, status, t, _), (_, known, reached) = both(flow, starts, [0.0, 1.0, 50.0], max_steps=5)
    np.testing.assert_array_equal(status, known)
    assert set(np.asarray(status).tolist()) == {Status.out_of_steps}
    np.testing.assert_allclose(t, reached, rtol=0.2)  # the same five steps, up to their lengths
    exact = np.array([1.0, 0.5]) * np.exp(-1.05 * 3)  # ẋ = −(1 + rho) x
    errors = []
    for rtol in (1e-6, 1e-9):
        (states, *_), _ = both(flow, starts, [0.0, 3.0], rtol=rtol)
        errors.append(float(np.abs(states[:, -1, 0] - exact).max()))
    assert errors[0] < 1e-6
    assert errors[1] < 1e-2 * errors[0]
