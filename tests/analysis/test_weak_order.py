"""The operators by which weak orders are measured, where everything is known."""

import numpy as np
import pytest

import samflow as sf
from analysis import weak_order

N = weak_order.POINTS**2


def test_the_equation_with_constant_coefficients_in_closed_form():
    """E φ = e^(−C₁₁/2) sin(x + b₁) + e^(−C₂₂/2) cos(y + b₂); C₁₂ enters sin(x + y) alone."""
    b, c = np.array([0.7, -0.3]), np.array([[0.4, 0.1], [0.1, 0.2]])
    constant = weak_order.Model(np.tile(b, (N, 1)), np.tile(c, (N, 1, 1)))
    x, y = weak_order.grid().T
    expected = np.exp(-0.2) * np.sin(x + 0.7) + np.exp(-0.1) * np.cos(y - 0.3)
    np.testing.assert_allclose(weak_order.after_model(constant), expected, atol=1e-12)


def test_the_map_on_linear_losses_in_closed_form(monkeypatch):
    """Each step adds −lr times one of three vectors: the characteristic function to the power k."""
    slopes = np.array([[2.0, 0.8], [-0.9, 1.2], [0.8, -0.4]])
    losses = sf.losses.mean([sf.loss(f"{a}*x + {b}*y") for a, b in slopes])
    monkeypatch.setattr(weak_order, "torus_loss", lambda: losses)
    lr, x, y = 1 / 8, *weak_order.grid().T
    factors = np.exp(-1j * lr * slopes).mean(axis=0) ** 8
    expected = np.imag(factors[0] * np.exp(1j * x)) + np.real(factors[1] * np.exp(1j * y))
    found = weak_order.after_map.__wrapped__("usam", 0.3, lr)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_an_order_is_found_beside_terms_of_higher_order(p):
    lr = weak_order.LRS
    found, interval = weak_order.order(3 * lr**p * (1 + 0.5 * lr**0.5 - lr))
    # log(1 + s) beyond its first two terms, at s = √lr / 2 ≤ 1/16.
    assert found == pytest.approx(p, abs=1e-3)
    assert interval < 1e-3
