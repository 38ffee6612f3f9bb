"""Eigenpairs of a matrix that changes, from those of before, against dense ones."""

import numpy as np
import pytest

from samflow.spectra.tracking import accepted, dense, track

DIM = 60


def _matrix(seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((DIM, DIM)))
    values = np.r_[10.0, 8.0, 5.0, np.linspace(1.0, -1.0, DIM - 3)]
    return (q * values) @ q.T


def _nearby(matrix, size, seed=1):
    change = np.random.default_rng(seed).standard_normal((DIM, DIM))
    return matrix + size * (change + change.T) / (2 * np.sqrt(DIM))


@pytest.mark.parametrize("count", [1, 3])
def test_pairs_are_those_of_the_dense_matrix_and_warm_ones_take_under_ten_products(count):
    matrix, start = _matrix(), np.ones((1, DIM))
    cold = track(lambda v: matrix @ v, start, count=count, tol=1e-9, max_products=DIM)
    exact = np.linalg.eigvalsh(matrix)[::-1]
    # A residual of 1e-8 makes an error of its square over the gap, 2.
    np.testing.assert_allclose(cold.found.values, exact[:count], atol=1e-14 * DIM)
    assert cold.block.shape == (count + 1, DIM)
    moved, calls = _nearby(matrix, 0.3), []

    def product(v):
        calls.append(1)
        return moved @ v

    warm = track(product, cold.block, count=count, tol=0.02, max_products=9)
    exact = np.linalg.eigvalsh(moved)[::-1]
    assert warm.found.num_steps == len(calls) < 10
    assert (warm.found.residuals <= 0.02 * exact[0]).all()
    gap = 1.5  # of the moved matrix, at least
    bound = (warm.found.residuals**2).sum() / gap
    np.testing.assert_allclose(warm.found.values, exact[:count], atol=bound)


def test_residuals_are_those_of_the_pairs():
    matrix = _matrix()
    found = track(lambda v: matrix @ v, np.ones((1, DIM)), count=2, tol=0.1, max_products=6).found
    rest = found.vectors @ matrix - found.values[:, None] * found.vectors
    np.testing.assert_allclose(found.residuals, np.linalg.norm(rest, axis=1), atol=1e-13)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(2), atol=1e-13)


def test_an_eigenvalue_that_overtakes_is_seen():
    """8 becomes 12 and passes 10: the guard has its vector."""
    matrix = _matrix()
    cold = track(lambda v: matrix @ v, np.ones((1, DIM)), count=1, tol=1e-6, max_products=DIM)
    _, vectors = np.linalg.eigh(matrix)
    second = vectors[:, -2]
    moved = matrix + 4 * np.outer(second, second)
    warm = track(lambda v: moved @ v, cold.block, count=1, tol=0.02, max_products=9)
    assert warm.found.values[0] == pytest.approx(12, abs=0.02)


def test_too_few_products_show_in_the_residual_and_a_product_that_is_not_finite_in_all():
    matrix = _matrix()
    found = track(lambda v: matrix @ v, np.ones((1, DIM)), count=1, tol=1e-6, max_products=2).found
    assert (found.num_steps, found.residuals[0] > 1e-6 * found.scale) == (2, True)
    found = track(lambda v: np.nan * v, np.ones((1, DIM)), count=2, tol=0.1, max_products=9).found
    assert np.isnan(found.values).all()
    assert np.isnan(found.residuals).all()


def test_a_multiple_of_the_identity_and_the_zero_matrix_are_exhausted():
    for value in (3.0, 0.0):
        found = track(lambda v, c=value: c * v, np.ones((1, DIM)), count=2, tol=0.1, max_products=9)
        np.testing.assert_allclose(found.found.values, value, atol=1e-15)
        assert found.found.num_steps == 2


def test_outside_of_an_invariant_space_an_eigenvalue_is_seen_from_a_fresh_direction():
    """A is diagonal. 8 of e₆ exceeds 5 and 4 of the block e₁, e₂, whose residuals are 0."""
    diagonal = np.r_[5.0, 4.0, np.linspace(1, -1, DIM - 2)]
    block, fresh = np.eye(DIM)[:2], np.random.default_rng(0).standard_normal(DIM)
    diagonal[5] = 8.0
    how = {"count": 1, "tol": 0.02, "max_products": 9}
    blind = track(lambda v: diagonal * v, block, **how)
    assert (blind.found.values[0], blind.found.residuals[0], blind.looked) == (5.0, 0.0, 0)
    seen = track(lambda v: diagonal * v, block, fresh=fresh, num_looks=3, **how)
    assert seen.found.values[0] == pytest.approx(8.0, abs=0.01)
    assert (seen.looked, seen.found.num_steps < 10) == (3, True)


def test_a_further_eigenvalue_is_accepted_only_below_the_gap_to_the_next():
    values = np.array([10.0, 5.0, 4.9, 4.85, 1.0])
    assert accepted(np.array([0.19, 0.09, 0.1]), values, 0.02).tolist() == [True, True, False]
    # Equal ones have no gap: there tol² · 10 = 0.004 counts.
    assert accepted(np.array([0.1, 0.003]), np.array([10.0, 5.0, 5.0]), 0.02).all()


def test_a_held_matrix_has_the_eigenvalues_of_eigvalsh():
    matrix = _matrix()
    found = dense(matrix, count=3, num_products=DIM)
    np.testing.assert_allclose(found.found.values, np.linalg.eigvalsh(matrix)[::-1][:3], rtol=1e-13)
    assert found.accepted.all()
    assert not dense(np.nan * matrix, count=3, num_products=DIM).accepted.any()
