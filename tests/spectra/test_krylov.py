"""Residuals of Krylov methods are those of the products that were taken."""

import numpy as np
import pytest

from samflow.spectra.krylov import arnoldi, lanczos, settled

DIM = 300


def spread(seed=0):
    """Return a symmetric matrix with a cluster at 0 and a few eigenvalues apart."""
    generator = np.random.default_rng(seed)
    basis = np.linalg.qr(generator.normal(size=(DIM, DIM)))[0]
    values = np.concatenate([[-1.0, 2.0, 3.0, 5.0], 1e-2 * generator.normal(size=DIM - 4)])
    return (basis * values) @ basis.T


def run(process, matrix, steps, *, k=3, tol=0.0):
    generator = np.random.default_rng(1)
    made = process(
        lambda v: matrix @ v,
        generator.standard_normal(len(matrix)),
        max_steps=steps,
        generator=generator,
    )
    first = process is arnoldi  # whose values descend in modulus; those of Lanczos ascend
    wanted = (lambda size: np.arange(k)) if first else (lambda size: np.arange(size - k, size))
    return settled(made, wanted, tol=tol, max_steps=steps)


def errors(matrix, found):
    return np.linalg.norm(found.vectors @ matrix.T - found.values[:, None] * found.vectors, axis=1)


@pytest.mark.parametrize("process", [lanczos, arnoldi])
@pytest.mark.parametrize("steps", [5, 7])
def test_residuals_are_those_of_fresh_products(process, steps):
    found = run(process, spread(), steps)
    assert found.residuals.max() > 1e-6  # cut short
    np.testing.assert_allclose(found.residuals, errors(spread(), found), rtol=1e-9, atol=1e-13)


def test_a_product_that_is_not_symmetric_shows_in_the_residuals():
    """What T leaves out counts: the last entry of an eigenvector of T alone would not tell."""
    skew = np.random.default_rng(2).normal(size=(DIM, DIM)) / DIM
    crooked = spread() + 1e-2 * (skew - skew.T)
    found = run(lanczos, crooked, 40)
    np.testing.assert_allclose(found.residuals, errors(crooked, found), rtol=1e-9, atol=1e-13)
    straight = run(lanczos, spread(), 40)
    assert straight.residuals[-1] < 1e-12 < 1e-5 < found.residuals[-1]


@pytest.mark.parametrize("process", [lanczos, arnoldi])
def test_a_run_ends_with_the_first_residuals_that_do(process):
    whole = run(process, spread(), 40)
    found = run(process, spread(), 40, tol=1e-4)
    assert found.num_steps < whole.num_steps
    assert (found.residuals <= 1e-4 * found.scale).all()
    before = run(process, spread(), found.num_steps - 1)
    assert not (before.residuals <= 1e-4 * before.scale).all()


def test_an_exhausted_space_is_left_for_repeated_eigenvalues():
    found = run(lanczos, np.diag([1.0] * 5 + [2.0] * 3), 8, k=8)
    np.testing.assert_allclose(found.values, [1.0] * 5 + [2.0] * 3, atol=1e-12)
    np.testing.assert_allclose(found.residuals, 0, atol=1e-12)


@pytest.mark.parametrize("process", [lanczos, arnoldi])
def test_a_product_that_is_not_finite_ends_the_run_without_values(process):
    matrix = spread()
    matrix[7, 7] = np.nan
    found = run(process, matrix, 12)
    assert found.num_steps == 1
    assert np.isnan(found.values).all()
    assert np.isnan(found.vectors).all()
    assert np.isnan(found.residuals).all()
    assert found.vectors.shape == (3, DIM)
