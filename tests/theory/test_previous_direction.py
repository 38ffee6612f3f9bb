"""DP-SAT under noise: closed forms against quadrature and a linear recursion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samflow.systems.update_moments import gaussian_direction
from samflow.theory import (
    noisy_radius,
    previous_direction_drift,
    previous_direction_moment,
    unit_response,
)
from samflow.theory.diffusion import put
from samflow.theory.previous_direction import num_weights


def of(expression, n, **values):
    return put(expression.subs(num_weights, n), **values)


@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_the_answer_of_a_unit_vector_is_the_slope_of_its_mean(n):
    """E[y/‖y‖] by quadrature in log t, which `unit_response` does not use."""
    variance = 2.5
    mean = lambda m: gaussian_direction(m, variance * jnp.eye(n))[0]  # noqa: E731
    slope = jax.jacfwd(mean)(jnp.zeros(n))
    expected = of(unit_response(), n) / np.sqrt(variance)
    np.testing.assert_allclose(slope, expected * np.eye(n), rtol=1e-9, atol=1e-10)
    # for many weights the length of the noise is √n, to 1/(4n)
    assert of(unit_response(), 4000) == pytest.approx(4000**-0.5, rel=1e-4)


@pytest.mark.parametrize("lam", [-1.0, 0.7])
def test_the_moment_is_that_of_the_linear_recursion(lam):
    """State (x, d): d⁺ = λx + r d + noise, x⁺ = x − ηd⁺; the distance to it falls like η."""
    rho, s, n, t = 0.4, 1.5, 3, 1.2
    kappa = of(unit_response(), n)
    r = lam * of(noisy_radius(), n, rho=rho, noise=s)
    assert r == pytest.approx(lam * rho * kappa / np.sqrt(s), rel=1e-14)
    variance = s + (rho * lam) ** 2 * (1 / n - kappa**2)
    errors = []
    for lr in (2e-3, 1e-3):
        a = np.array([[1 - lr * lam, -lr * r], [lam, r]])
        g, p = np.array([-lr, 1.0]), np.zeros((2, 2))
        for _ in range(round(t / lr)):
            p = a @ p @ a.T + variance * np.outer(g, g)
        got = of(previous_direction_moment(), n, lam=lam, rho=rho, lr=lr, noise=s, time=t)
        errors.append(abs(got / p[0, 0] - 1))
    assert errors[0] < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


def test_without_an_ascent_it_is_sgd_and_no_saddle_attracts():
    values = {"lam": -1.0, "noise": 1.0}
    sgd = of(previous_direction_moment(), 2, rho=0, lr=0.01, time=2.0, **values)
    assert sgd == pytest.approx(0.005 * (np.exp(4) - 1), rel=1e-12)
    for rho in (0.1, 1.0, 100.0):
        assert -1 < of(previous_direction_drift(), 2, rho=rho, **values) < 0
