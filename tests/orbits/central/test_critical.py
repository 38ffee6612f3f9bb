"""Eigenpairs of a direction's derivative: by products as from the whole matrix, and slopes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow.orbits.central import critical
from samflow.orbits.central.critical import bend, direction, leading_modes, slope

DIM = 40
SPECTRUM = np.linspace(-1, 6, DIM) ** 2


def curved(w):
    """A loss in 40 weights with a third derivative, so that Dd of USAM is not symmetric."""
    return jnp.vdot(jnp.asarray(SPECTRUM) * w, w) / 2 + jnp.sum(jnp.sin(w)) * jnp.sum(w[:3] ** 2)


@pytest.fixture(scope="module")
def system():
    return sf.Map(sf.loss(curved, dim=DIM), sf.USAM(rho=0.02), lr=0.01, weight_decay=0.1)


@pytest.fixture(scope="module")
def w():
    return jnp.asarray(np.random.default_rng(5).standard_normal(DIM) / 3)


def test_products_find_what_the_whole_matrix_has(system, w, monkeypatch):
    found = leading_modes(system, w, 3)
    assert found.residual <= 1e-4
    monkeypatch.setattr(critical, "DENSE_DIM", DIM)
    dense = leading_modes(system, w, 3)
    matrix = np.array(jax.jacfwd(lambda w: direction(system, w))(w))
    assert np.linalg.norm(matrix - matrix.T) > 0.005 * np.linalg.norm(matrix)
    assert np.allclose(dense.left @ dense.right.T, np.eye(3), atol=1e-10)
    assert np.allclose(found.left @ found.right.T, np.eye(3), atol=1e-10)
    # A residual of 1e-4 and a matrix that is not normal: to first order, with conditions near 1
    assert np.allclose(found.values, dense.values, rtol=2e-4)
    assert np.allclose(np.abs((found.right * dense.right).sum(axis=1)), 1, atol=1e-4)
    again = leading_modes(system, w, 3, found.block)
    assert np.allclose(again.values, found.values, rtol=1e-4)


def test_the_slope_is_the_gradient_of_the_eigenvalue(system, w, monkeypatch):
    monkeypatch.setattr(critical, "DENSE_DIM", DIM)
    modes = leading_modes(system, w, 1)
    u, v = jnp.asarray(modes.right[0]), jnp.asarray(modes.left[0])
    to = jnp.asarray(np.random.default_rng(6).standard_normal(DIM))
    h = 1e-4
    values = [leading_modes(system, w + s * h * to, 1).values[0] for s in (1, -1)]
    measured = (values[0] - values[1]) / (2 * h)
    assert measured == pytest.approx(float(slope(system, w, v, u) @ to), rel=1e-5)  # h²
    # and D²d is symmetric: vᵀ D²d[to, u] is the same number
    assert measured == pytest.approx(float(bend(system, w, to, u) @ v), rel=1e-5)


def test_what_is_not_finite_is_nan(system, w):
    assert np.isnan(leading_modes(system, w * np.nan, 2).values).all()
