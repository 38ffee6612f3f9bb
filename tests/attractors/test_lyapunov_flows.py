"""Lyapunov exponents of flows."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from tests import references


class Linear(eqx.Module):
    matrix: jax.Array

    def __call__(self, z):
        return self.matrix @ z


def linear(matrix):
    return sf.FunctionFlow(Linear(jnp.asarray(matrix)), dim=len(matrix))


def status(found):
    return sf.Status(int(found.status)).name


def test_lorenz():
    def field(s):
        return jnp.array(
            [10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]]
        )

    found = sf.lyapunov_spectrum(
        sf.FunctionFlow(field, dim=3), [1.0, 2.0, 3.0], t1=600.0, t_transient=20.0, rtol=1e-9
    )
    assert status(found) == "reached_end"
    assert float(found.stopped_at) == pytest.approx(620.0)
    # div f = −41/3 everywhere: the sum has no statistical error, only that of the steps.
    assert float(found.sum) == pytest.approx(-41 / 3, abs=1e-7)
    *exact, dimension = references.LYAPUNOV_LORENZ
    for value, error, expected in zip(found.exponents, found.standard_error, exact, strict=True):
        # 0 belongs to the field itself, whose length varies by a factor e^5: 5/600.
        assert float(value) == pytest.approx(expected, abs=5 * float(error) + 0.009)
        assert float(error) < 0.02
    assert float(found.kaplan_yorke) == pytest.approx(dimension, abs=0.01)


def test_a_linear_flow_has_the_real_parts_of_its_eigenvalues():
    """Five dimensions, by QR, and the three largest only."""
    rates = np.array([0.2, -0.1, -0.05, -1.0, -3.0])
    basis = np.linalg.qr(np.random.default_rng(5).standard_normal((5, 5)))[0]
    system = linear(basis @ np.diag(rates) @ basis.T)
    found = sf.lyapunov_spectrum(system, np.zeros(5), t1=20.0, t_transient=400.0, num_exponents=3)
    # rtol = 1e-8 a step; the frame falls into place like e^(−.05 · 400) = 2e-9.
    np.testing.assert_allclose(found.exponents, [0.2, -0.05, -0.1], atol=1e-7)
    assert np.isnan(float(found.kaplan_yorke))  # their sum is positive, and the rest unknown


def test_every_ending_has_its_status():
    saddle, starts = linear(np.diag([0.3, -0.5])), [[0.0, 1.0], [1.0, 0.0]]
    found = sf.lyapunov_spectrum(saddle, starts, t1=30.0, t_transient=30.0, escape_radius=10.0)
    assert found.count() == {"diverged": 1, "reached end": 1}
    # The frame falls into place like e^(−.8 · 30) = 4e-11.
    np.testing.assert_allclose(found.exponents[0], [0.3, -0.5], atol=1e-7)
    # e^(.3 t) = 10, up to the last adaptive step.
    assert float(found.stopped_at[1]) == pytest.approx(np.log(10) / 0.3, rel=0.2)
    assert np.isnan(found.exponents[1]).all()
    short = sf.lyapunov_spectrum(saddle, starts, t1=30.0, max_steps=3)
    assert short.count() == {"out of steps": 2}
    assert np.isnan(short.exponents).all()


def test_sam_is_not_followed_past_a_critical_point():
    """On ½w² it arrives at w = 0 at T = log(1 + |w₀|/rho), where its field ends."""
    flow = sf.Flow(sf.losses.saddle((1.0,)), sf.SAM(rho=0.5))
    arrival = np.log(1 + 0.1 / 0.5)
    before = sf.lyapunov_spectrum(flow, [0.1], t1=0.9 * arrival, max_steps=2000)
    # Two solutions keep their distance to first order like e^(−t): the slope is −1.
    assert float(before.exponents[0]) == pytest.approx(-1.0, abs=1e-7)
    after = sf.lyapunov_spectrum(flow, [0.1], t1=2.0, max_steps=2000)
    # The steps chatter around w = 0 or vanish there; which of the two, rounding decides.
    assert status(after) in ("out_of_steps", "step_size_vanished", "undefined")
    assert float(after.stopped_at) == pytest.approx(arrival, abs=0.001)
    assert np.isnan(after.exponents).all()
    at = sf.lyapunov_spectrum(flow, [0.0], t1=2.0, max_steps=2000)
    assert status(at) == "undefined"
    assert str(at) == "no Lyapunov exponents: undefined at time 0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"t1": None}, "`t1` must be a number, but is None"),
        ({"t1": -1.0}, "`t1` must be finite and greater than 0"),
        ({"t_transient": -1.0}, "`t_transient` must be finite and at least 0"),
        ({"num_steps": 10}, "`num_steps` must be left out for a flow, but is 10. Use `t1`"),
        ({"rtol": 0.0}, "`rtol`"),
        ({"max_steps": 0}, "`max_steps`"),
        ({"num_exponents": 3}, "at most 2"),
        ({"w0": [1.0]}, "shape"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    system = sf.Flow(sf.losses.beale(), sf.GD())
    given = {"w0": [0.0, 0.0], "t1": 1.0} | arguments
    with pytest.raises(ArgumentError, match=words):
        sf.lyapunov_spectrum(system, given.pop("w0"), **given)
