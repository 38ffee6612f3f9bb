"""The complementarity problem: its conditions, NNLS in the diagonal case, and no solution."""

import numpy as np
import pytest
from scipy.optimize import nnls

from samflow.orbits.central.complementarity import parts, solve


def problem(seed, size, skew):
    """Return C, of any size, and a strictly monotone R, symmetric where `skew` is 0."""
    generator = np.random.default_rng(seed)
    dim = size * (size + 1) // 2 + 3
    forces = generator.standard_normal((size, size, dim))
    forces = forces + forces.transpose(1, 0, 2)
    turn = generator.standard_normal((dim, dim))
    metric = np.eye(dim) + skew * (turn - turn.T) / np.sqrt(dim)
    response = np.einsum("ijp,pq,lmq->ijlm", forces, metric, forces)
    slack = generator.standard_normal((size, size))
    return (slack + slack.T) * 10.0 ** generator.integers(-6, 4), response


@pytest.mark.parametrize("skew", [0.0, 0.3])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_solution_meets_all_conditions(size, skew):
    ranks = set()
    for seed in range(20):
        slack, response = problem(seed, size, skew)
        found = solve(slack, response)
        assert found.solved
        rest = slack + np.einsum("ijlm,lm->ij", response, found.variance)
        rest = (rest + rest.T) / 2
        unit = np.linalg.norm(slack)
        rounding = 1e-14 * np.linalg.norm(found.variance)
        assert np.linalg.eigvalsh(found.variance)[0] >= -rounding
        assert np.linalg.eigvalsh(rest)[0] >= -1e-8 * unit
        assert abs((rest * found.variance).sum()) <= 1e-8 * unit * np.linalg.norm(found.variance)
        ranks.add(np.linalg.matrix_rank(found.variance, tol=1e-9 * unit))
        again = solve(slack, response, start=found.normal)
        assert np.allclose(again.variance, found.variance, atol=1e-7 * np.abs(found.variance).max())
    assert len(ranks) > 1  # problems of several ranks are among them


def test_without_coupling_it_is_nonnegative_least_squares():
    generator = np.random.default_rng(3)
    seen = set()
    for _ in range(20):
        forces, target = generator.standard_normal((6, 3)), generator.standard_normal(6)
        least, _ = nnls(forces, target)
        slack = np.diag(-forces.T @ target)
        response = np.zeros((3, 3, 3, 3))
        for i in range(3):
            for j in range(3):
                response[i, i, j, j] = (forces.T @ forces)[i, j]
                if i != j:
                    response[i, j, i, j] = 1.0
        assert np.allclose(solve(slack, response).variance, np.diag(least), atol=1e-8)
        seen.add(int((least > 0).sum()))
    assert len(seen) > 1


def test_one_eigenvalue_in_closed_form():
    response = np.full((1, 1, 1, 1), 4.0)
    assert solve(np.array([[-2e-9]]), response).variance[0, 0] == pytest.approx(5e-10, rel=1e-14)
    assert solve(np.array([[2.0]]), response).variance[0, 0] == 0.0


def test_no_solution_is_not_one():
    for response in (-np.ones((1, 1, 1, 1)), np.zeros((1, 1, 1, 1))):
        assert not solve(np.array([[-1.0]]), response).solved
    slack, response = problem(0, 2, 0.0)
    assert not solve(-np.eye(2), -response).solved
    assert not solve(np.full_like(slack, np.nan), response).solved


def test_the_two_parts_of_a_matrix():
    matrix = np.array([[1.0, 2.0], [2.0, 1.0]])  # eigenvalues 3 and −1
    plus, minus = parts(matrix)
    assert np.allclose(plus - minus, matrix)
    assert np.allclose(plus @ minus, 0)
    assert np.allclose([np.trace(plus), np.trace(minus)], [3, 1])
