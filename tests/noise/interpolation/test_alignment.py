"""The bounds of Zhou et al. and Wu et al. as necessary conditions, and where they are none."""

import numpy as np
import pytest
from scipy.optimize import minimize

import samflow as sf
from samflow._checks import ArgumentError
from tests.noise.problems import random_rows, system

SLACK = 1e-8  # ten times the width of a threshold's bracket


def threshold_and_bound(rows, rho, corrected=False, **how):
    step = system(rows, rho, lr=0.1, **how)
    dim = np.shape(rows)[1]
    found = sf.noise.stability_threshold(step, np.zeros(dim))
    return found.value, sf.noise.alignment_bound(step, np.zeros(dim), corrected=corrected).lr


def test_alignment_is_the_least_ratio_over_weights():
    rows = random_rows(0)
    n, h = len(rows), rows.T @ rows / len(rows)
    found = sf.noise.alignment_bound(system(rows, lr=0.1), np.zeros(3))
    norm = np.linalg.norm(h)

    def ratio(w):
        gradients = rows * (rows @ w)[:, None]
        covariance = gradients.T @ gradients / n - np.outer(h @ w, h @ w)
        return np.trace(covariance @ h) / (w @ h @ w * norm**2)

    assert found.hessian_norm == pytest.approx(norm, rel=1e-12)
    tried = np.random.default_rng(1).normal(size=(200, 3))
    best = min(tried, key=ratio)
    assert found.alignment <= ratio(best)
    least = minimize(ratio, best, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    assert found.alignment == pytest.approx(least.fun, rel=1e-9)  # its error is of second order


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_with_replacement_what_breaks_the_bound_of_sgd_is_unstable(seed, batch_size):
    rows = random_rows(40 + seed, d=1 + seed % 3)
    exact, bound = threshold_and_bound(rows, None, batch_size=batch_size, replacement=True)
    assert exact <= bound * (1 + SLACK)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("fresh", [True, False], ids=["two draws", "one draw"])
def test_with_replacement_what_breaks_the_bound_of_usam_is_unstable(seed, batch_size, fresh):
    # two draws: a theorem; one draw: no counter-example is known
    rows = random_rows(60 + seed, d=1 + seed % 3)
    how = {"batch_size": batch_size, "replacement": True, "fresh": fresh}
    for rho in (0.1, 2.0):
        exact, bound = threshold_and_bound(rows, rho, **how)
        assert exact <= bound * (1 + SLACK)


def test_without_replacement_the_printed_bound_is_broken_by_a_stable_minimum():
    # n equal orthogonal rows, all in one batch: GD with λ = s/n, stable up to η = 2/λ; γ = 1 − 1/n,
    # so the printed bound stops at η = √(n/(n − 1))/λ, and the corrected one says nothing
    n = 4
    rows = 2 * np.eye(n)
    lam = 4 / n
    exact, bound = threshold_and_bound(rows, None, batch_size=n)
    assert exact == pytest.approx(2 / lam, rel=1e-8)
    assert bound == pytest.approx(np.sqrt(n / (n - 1)) / lam, rel=1e-12)
    assert bound < exact
    corrected = threshold_and_bound(rows, None, corrected=True, batch_size=n)[1]
    assert corrected == np.inf
    between = system(rows, lr=(bound + exact) / 2, batch_size=n)
    assert sf.noise.alignment_bound(between, np.zeros(n)).violated
    assert sf.mean_square_rate(between, np.zeros(n)).stable


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("batch_size", [2, 4])
def test_without_replacement_the_corrected_bound_of_sgd_holds(seed, batch_size):
    rows = random_rows(80 + seed, d=1 + seed % 3)
    exact, bound = threshold_and_bound(rows, None, corrected=True, batch_size=batch_size)
    assert exact <= bound * (1 + SLACK)


def test_one_example_has_no_noise_and_the_bound_says_nothing():
    step = system(np.eye(1), lr=0.1)
    bound = sf.noise.alignment_bound(step, np.zeros(1))
    assert bound.alignment == 0
    assert bound.lr == np.inf
    assert sf.noise.stability_threshold(step, np.zeros(1)).value == pytest.approx(2.0, rel=1e-8)


def test_misuse_is_refused():
    with pytest.raises(ArgumentError, match="without momentum"):
        sf.noise.alignment_bound(system(random_rows(1), lr=0.1, momentum=0.5), np.zeros(3))


def test_a_value_that_is_no_number_is_not_located():
    with np.errstate(over="ignore", invalid="ignore"):
        found = sf.noise.alignment_bound(system(1e120 * np.eye(2), lr=1e-200), np.zeros(2))
    assert np.isnan(found.value)
    assert np.isnan(found.lr)
    assert found.status is sf.Status.not_finite
