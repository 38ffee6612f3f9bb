"""Mean-square growth along one direction, against enumeration and the exact operator."""

import itertools

import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.noise.interpolation._least_squares import least_squares
from samflow.noise.interpolation.directional import mean_square_along

ROWS = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, -1.0]])
"""Examples ½(aᵢ·w)²: every one is fitted at w = 0, with Hessian aᵢaᵢᵀ."""
LOSS, W = least_squares(ROWS), np.zeros(2)
V = np.linalg.eigh(ROWS.T @ ROWS)[1][:, -1]


def enumerated(lr, rho, batch_size):
    """E[(vᵀ(I − ηH_B(I + ρH_B))v)²] over all batches."""
    found = []
    for batch in itertools.combinations(range(len(ROWS)), batch_size):
        h = ROWS[list(batch)].T @ ROWS[list(batch)] / batch_size
        found.append((V @ (np.eye(2) - lr * h @ (np.eye(2) + rho * h)) @ V) ** 2)
    return np.mean(found)


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_the_mean_over_batches_is_the_enumerated_one(batch_size, rho):
    system = sf.Map(LOSS, sf.USAM(rho=rho), lr=0.3)
    found = mean_square_along(
        system, W, 5 * V, batch_size=batch_size, num_batches=200, key=jr.key(0)
    )
    # Four standard errors: fails by chance for one seed in 16,000; the seed is fixed.
    expected = enumerated(0.3, rho, batch_size)
    assert abs(found.radius - expected) < 4 * found.standard_error
    assert 0 < found.standard_error < 0.2 * expected


def test_the_whole_data_leave_no_error():
    found = mean_square_along(
        sf.Map(LOSS, sf.GD(), lr=0.3), W, V, batch_size=4, num_batches=2, key=jr.key(0)
    )
    assert found.standard_error == 0
    assert found.radius == pytest.approx(enumerated(0.3, 0.0, 4), rel=1e-12)


@pytest.mark.parametrize("lr", [0.2, 0.3, 1.2])
def test_it_is_a_lower_bound_on_the_exact_radius(lr):
    system = sf.Map(LOSS, sf.GD(), lr=lr)
    exact = sf.mean_square_rate(sf.StochasticMap(system, sf.noise.MiniBatch(1)), W).radius
    assert enumerated(lr, 0.0, 1) <= exact
    found = mean_square_along(system, W, V, batch_size=1, num_batches=200, key=jr.key(1))
    assert found.stability == ("unstable" if lr == 1.2 else "no growth along v")
    assert (exact > 1) or found.stability != "unstable"


def test_bad_input_fails_at_the_door():
    system = sf.Map(LOSS, sf.GD(), lr=0.1)
    ask = {"batch_size": 1, "key": jr.key(0)}
    with pytest.raises(ArgumentError, match="at most the number of examples, 4, but is 5"):
        mean_square_along(system, W, V, batch_size=5, key=jr.key(0))
    with pytest.raises(ArgumentError, match="no momentum"):
        mean_square_along(sf.Map(LOSS, sf.GD(), lr=0.1, momentum=0.9), W, V, **ask)
    with pytest.raises(ArgumentError, match="mean over examples, but beale is not"):
        mean_square_along(sf.Map(sf.losses.beale(), sf.GD(), lr=0.1), W, V, **ask)
    with pytest.raises(ArgumentError, match=r"`v` must have shape \(2,\)"):
        mean_square_along(system, W, [1.0], **ask)
