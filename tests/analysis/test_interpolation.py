"""Batches of one against a dense twin that shares no code, and a claim that can fail."""

import numpy as np
import pytest

import samflow as sf
from analysis import interpolation
from analysis.interpolation import dense_radius, rows, system


def test_the_dense_twin_for_one_weight_in_closed_form():
    """With one weight J is a number: the radius is the mean of its square."""
    a, rho, lr = np.array([[1.0], [0.5], [2.0]]), 0.3, 0.1
    expected = np.mean((1 - lr * (1 + rho * a**2) * a**2) ** 2)
    assert dense_radius(a, rho, lr=lr) == pytest.approx(expected, rel=1e-14)


def test_the_operator_has_the_radius_of_its_dense_twin_and_of_no_neighbour():
    a, w = rows(1), np.zeros(interpolation.WEIGHTS)
    found = sf.mean_square_rate(system(a, 0.2), w).radius
    assert found == pytest.approx(dense_radius(a, 0.2, lr=0.1), rel=1e-9)
    assert found != pytest.approx(dense_radius(a, 0.201, lr=0.1), rel=1e-5)
