"""Measured attraction radii against the proved one, and against closed forms beyond quadratics."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow import theory
from samflow._checks import ArgumentError
from samflow.equilibria.attraction import _directions, measured_attraction_radius
from samflow.losses.base import AbstractLoss
from tests.tiers import slow

RTOL = 1e-3


class Form(AbstractLoss):
    """½wᵀAw + ¼b Σw⁴, whose matrix is a leaf: one compiled program for each dimension."""

    a: jax.Array
    b: jax.Array
    dim: int = eqx.field(static=True)
    name: str = eqx.field(static=True, default="form")
    domain: None = None
    elementwise: bool = eqx.field(static=True, default=False)

    def __call__(self, w):
        return 0.5 * w @ self.a @ w + 0.25 * self.b * jnp.sum(w**4)

    def gradient(self, w):
        return self.a @ w + self.b * w * w * w

    def hessian(self, w):
        return self.a + jnp.diag(3 * self.b * w * w)


def flow(matrix, rho, b=0.0):
    loss = Form(jnp.asarray(matrix, float), jnp.asarray(b), len(matrix))
    return sf.Flow(loss, sf.SAM(rho=rho))


def random_matrix(rng, signs):
    """Return a matrix with eigenvalues of these signs along random axes, and the eigenvalues."""
    values = np.asarray(signs) * rng.uniform(0.5, 2.0, len(signs))
    axes = np.linalg.qr(rng.normal(size=(len(signs), len(signs))))[0]
    matrix = axes @ np.diag(values) @ axes.T
    return (matrix + matrix.T) / 2, values, axes


@pytest.mark.parametrize("dim", [slow(1), 2, slow(5)])
def test_on_quadratics_it_is_the_proved_radius(dim):
    """At rho min|λ₋| along its eigenvector there is an equilibrium; nothing else fails before."""
    rng = np.random.default_rng(dim)
    for signs in (-np.ones(dim), np.append(-1, np.ones(dim - 1))):
        matrix, values, axes = random_matrix(rng, signs)
        rho = rng.uniform(0.2, 1.0)
        found = measured_attraction_radius(flow(matrix, rho), np.zeros(dim), rtol=RTOL)
        exact = float(theory.attraction_radius(values.tolist(), rho=rho))
        assert found.status is sf.Status.located
        low, high = found.bracket
        assert found.radius == low < high <= low * (1 + RTOL)
        # Not above the true radius, but for what the flow cannot tell from it.
        assert exact * (1 - RTOL) <= low <= exact * (1 + 1e-6)
        weakest = axes[:, np.argmax(np.where(values < 0, values, -np.inf))]
        assert abs(weakest @ np.asarray(found.worst)) == pytest.approx(1.0, abs=0.05)
        assert found.num_directions == 64 + 2 * dim


def test_a_minimum_of_a_quadratic_has_no_radius():
    matrix, _, _ = random_matrix(np.random.default_rng(0), [1.0, 1.0])
    for largest in (None, 3.0):
        found = measured_attraction_radius(flow(matrix, 0.3), [0.0, 0.0], max_radius=largest)
        assert found.radius is None
        assert found.status is sf.Status.out_of_steps
        assert math.isinf(found.bracket[1])
        assert found.bracket[0] == (largest or pytest.approx(found.bracket[0]))
        assert np.isnan(found.worst).all()
    assert found.bracket[0] == 3.0


@pytest.mark.parametrize("rho", [0.3, 0.8])
def test_the_double_well_has_closed_forms(rho):
    """¼y⁴ − ½y²: y = rho is an equilibrium, as the ascent point is 0 there; it divides the basins.

    The maximum attracts |y| < rho, and the minimum 1 with λ = 2 attracts y > rho.
    """
    well = flow([[-1.0]], rho, b=1.0)
    at_maximum = measured_attraction_radius(well, [0.0], rtol=RTOL)
    at_minimum = measured_attraction_radius(well, [1.0], rtol=RTOL)
    assert at_maximum.radius == pytest.approx(rho, rel=RTOL)
    assert at_minimum.radius == pytest.approx(2 * (1 - rho), rel=RTOL)
    np.testing.assert_array_equal(at_minimum.worst, [-1.0])


def test_a_point_that_does_not_hold_has_radius_zero():
    for w in ([0.0], [1.0]):  # rho > 1: the maximum repels, and the minimum is crossed
        found = measured_attraction_radius(flow([[-1.0]], 1.1, b=1.0), w)
        assert found.radius == 0
        assert found.status is sf.Status.not_unique


def test_more_directions_keep_the_first_ones():
    few, many = (_directions(jnp.eye(3), count, jr.key(1)) for count in (4, 9))
    np.testing.assert_array_equal(few[:6], [*np.eye(3), *-np.eye(3)])
    np.testing.assert_array_equal(many[: len(few)], few)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1.0, atol=1e-14)


def test_the_record_is_valid_json():
    found = measured_attraction_radius(flow([[1.0]], 0.3), [0.0])
    assert '"out of steps"' in found.to_json()
    assert found.to_dict()["bracket"][1] is None


@pytest.mark.parametrize(
    ("system", "arguments", "words"),
    [
        (sf.Flow(sf.losses.saddle(), sf.USAM(rho=0.3)), {"w": [0.0, 0.0]}, "do not arrive"),
        (sf.Map(sf.losses.saddle(), sf.SAM(rho=0.3), lr=0.1), {"w": [0.0, 0.0]}, "Flow"),
        (flow(np.eye(2), 0.3), {"w": [0.1, 0.0]}, "must be a critical point"),
        # The same in units 10⁹ times as large.
        (flow(np.eye(2), 0.3e-9), {"w": [0.1e-9, 0.0]}, "must be a critical point"),
        (flow(np.diag([1.0, 0.0]), 0.3), {"w": [0.0, 0.0]}, "isolated"),
        (flow(np.eye(2), 0.3), {"w": [0.0]}, "shape"),
        (flow(np.eye(2), 0.3), {"w": [0.0, 0.0], "rtol": 0.0}, "`rtol`"),
        (flow(np.eye(2), 0.3), {"w": [0.0, 0.0], "max_radius": -1.0}, "`max_radius`"),
        (flow(np.eye(2), 0.3), {"w": [0.0, 0.0], "num_directions": -1}, "`num_directions`"),
    ],
)
def test_bad_arguments_are_refused(system, arguments, words):
    with pytest.raises(ArgumentError, match=words):
        measured_attraction_radius(system, **arguments)


@pytest.mark.parametrize(("k", "c"), [(1e-9, 1.0), (1.0, 1e6)])
def test_the_radius_does_not_depend_on_units(k, c):
    """L → c L(w/k), rho → k rho: ‖H(w − w*)‖ is c/k times itself, and the radius is rho|λ₋|."""
    hessian = c / k**2 * np.diag([1.0, -0.5])
    found = measured_attraction_radius(flow(hessian, 0.3 * k), [0.0, 0.0], rtol=0.01)
    assert found.radius == pytest.approx(0.15 * c / k, rel=0.02)  # twice the bracket's width
