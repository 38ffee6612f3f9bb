"""The spread of workers that mix their weights: closed forms against scipy's Lyapunov equations."""

import numpy as np
import pytest
import scipy.linalg
import sympy

from samflow import theory

LAMS, SIGMA = [1.2, 0.4], np.array([[0.5, 0.2], [0.2, 0.3]])


def ring(n, share):
    return np.eye(n) * (1 - 2 * share) + share * (
        np.roll(np.eye(n), 1, 0) + np.roll(np.eye(n), -1, 0)
    )


@pytest.mark.parametrize("mix_last", [False, True])
def test_the_spread_of_workers_solves_its_lyapunov_equations(mix_last):
    """Of all n·2 weights at once: x⁺ = (W⊗I − η I⊗H)x − ηξ, less the mean."""
    n, lr, h = 5, 0.3, np.diag(LAMS)
    w = ring(n, 0.3)
    away = np.eye(n) - np.ones((n, n)) / n
    step, noise = np.kron(w, np.eye(2)) - lr * np.kron(np.eye(n), h), np.kron(np.eye(n), SIGMA)
    if mix_last:
        step = np.kron(w, np.eye(2) - lr * h)
        noise = np.kron(w @ w, SIGMA)
    out = np.kron(away, np.eye(2))
    whole = scipy.linalg.solve_discrete_lyapunov(out @ step, lr**2 * out @ noise @ out)
    blocks = whole.reshape(n, 2, n, 2)
    expected = sum(blocks[i, :, i] for i in range(n)) / n
    gossip = np.linalg.eigvalsh(w).tolist()
    found = theory.consensus_covariance(LAMS, SIGMA, gossip=gossip, lr=lr, mix_last=mix_last)
    np.testing.assert_allclose(np.array(found, float), expected, rtol=1e-10)


def test_the_mean_is_sgd_with_a_smaller_noise():
    n, lr = 5, 0.3
    a = np.eye(2) - lr * np.diag(LAMS)
    expected = scipy.linalg.solve_discrete_lyapunov(a, lr**2 * SIGMA / n)
    found = theory.mean_covariance(LAMS, SIGMA, num_workers=n, lr=lr)
    np.testing.assert_allclose(np.array(found, float), expected, rtol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_the_eigenvalues_of_a_ring(n):
    expected = np.linalg.eigvalsh(ring(n, 0.25))
    np.testing.assert_allclose(
        sorted(map(float, theory.ring_gossip(n, share=0.25))), expected, atol=1e-12
    )


def test_workers_that_average_are_one_and_a_lone_worker_has_no_spread():
    half = sympy.Rational(1, 2)
    assert theory.consensus_covariance([1], [[1]], gossip=[1], lr=half) == sympy.zeros(1, 1)
    # W = 11ᵀ/n and mixing last: all have the same weights.
    averaging = {"gossip": [1, 0, 0], "lr": half}
    same = theory.consensus_covariance([1], [[1]], mix_last=True, **averaging)
    assert same == sympy.zeros(1, 1)
    # Mixing first they differ by one step's noise, two thirds of it: η²/(1 − η²) · 2/3.
    apart = theory.consensus_covariance([1], [[1]], **averaging)
    assert apart[0] == sympy.Rational(2, 9)


def test_workers_that_part_are_refused():
    kept = theory.consensus_covariance([2.0], [[1.0]], gossip=[1, -0.5], lr=0.24)
    assert kept[0] > 0  # |−.5 − .48| < 1
    with pytest.raises(ValueError, match="the workers part"):
        theory.consensus_covariance([2.0], [[1.0]], gossip=[1, -0.5], lr=0.26)
