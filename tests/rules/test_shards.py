"""m-SAM: shards of a sum, and of a network's examples."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.rules import MSAM, NSAM, SAM
from tests import contracts

RHO = 0.1


@pytest.fixture(scope="module")
def network():
    model = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=jr.key(0))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    return model, x, y, sf.losses.network(model, x, y)


@pytest.mark.parametrize("size", [2, 6])
def test_a_networks_shards_ascend_one_by_one(network, size):
    """Against a loop over networks that are made of a part of the data each."""
    model, x, y, loss = network
    w, g = loss.flatten(model), eqx.filter_jit(lambda part, w: part.gradient(w))
    directions = []
    for i in range(0, 6, size):
        part = sf.losses.network(model, x[i : i + size], y[i : i + size])
        gradient = g(part, w)
        directions.append(g(part, w + RHO * gradient / jnp.linalg.norm(gradient)))
    found = eqx.filter_jit(MSAM(RHO, shard_size=size).direction)(loss, w)
    np.testing.assert_allclose(found, np.mean(directions, axis=0), rtol=1e-12, atol=1e-15)
    sam = eqx.filter_jit(SAM(RHO).direction)(loss, w)
    assert np.allclose(found, sam, rtol=1e-12, atol=0) is (size == 6)  # one shard is SAM


def test_the_least_gradient_of_a_shard_is_the_distance_to_the_jump(network):
    model, _, _, loss = network
    w = loss.flatten(model)
    g = eqx.filter_jit(lambda part, w: part.gradient(w))
    lengths = [float(jnp.linalg.norm(g(shard, w))) for shard in loss.shards(2)]
    least = eqx.filter_jit(MSAM(RHO, shard_size=2).singularity)(loss, w)
    assert float(least) == pytest.approx(min(lengths), rel=1e-13)


PAIR = sf.losses.mean([sf.loss("(x - 1)**2 + y**2"), sf.loss("3*(x + 1/3)**2 + y**2")])
"""Its minimum, 0, is the minimum of neither part."""


def test_at_a_minimum_that_fits_no_example_it_is_smooth_and_not_at_rest():
    """Mean of Hᵢ(w + rho ĝᵢ) − Hᵢcᵢ: along x −2·rho/2 + 6·rho/2 = 2 rho."""
    w = jnp.zeros(2)
    np.testing.assert_array_equal(PAIR.gradient(w), 0)
    system = sf.Flow(PAIR, MSAM(RHO))
    np.testing.assert_allclose(system.velocity(w), [-2 * RHO, 0], atol=1e-16)
    assert float(system.singularity(w)) == 2
    contracts.check_jacobian_is_finite_differences(system, w)
    contracts.check_undefined(sf.Flow(PAIR, NSAM(RHO)), w)
    contracts.check_undefined(sf.Flow(PAIR, MSAM(RHO, shard_size=2)), w)


def test_it_is_undefined_where_a_shard_is_at_rest():
    w = jnp.array([1.0, 0.0])
    assert float(jnp.linalg.norm(PAIR.gradient(w))) > 1
    contracts.check_undefined(sf.Flow(PAIR, MSAM(RHO)), w)
    contracts.check_defined(sf.Flow(PAIR, NSAM(RHO)), w)


def test_an_interpolating_minimum_is_one_of_every_shard():
    """Per-example ascent adds rho ‖aᵢ‖ along each aᵢ: the regulariser is a trace (section 4)."""
    loss = sf.losses.mean([sf.loss("(x + 2*y)**2/2"), sf.loss("(3*x - y)**2/2")])
    contracts.check_undefined(sf.Map(loss, MSAM(RHO), lr=0.1), jnp.zeros(2))
    w = jnp.array([0.3, 0.4])
    a = np.array([[1.0, 2.0], [3.0, -1.0]])
    r = a @ w
    expected = np.mean(
        [(r[i] + RHO * np.sign(r[i]) * np.linalg.norm(a[i])) * a[i] for i in range(2)], axis=0
    )
    np.testing.assert_allclose(MSAM(RHO).direction(loss, w), expected, rtol=1e-14)


@pytest.mark.parametrize("size", [1, 2])
def test_sums_run_in_both_layouts(size):
    system = sf.Map(PAIR, MSAM(RHO, shard_size=size), lr=0.1, momentum=0.5)
    assert system.elementwise
    zs = jnp.array([[0.3, 0.8, 0.1, 0.0], [1.1, -0.4, 0.0, 0.2]])
    contracts.check_components_are_points(system, zs)
    contracts.check_vmap_is_loop(system, zs)
    contracts.check_jit_is_eager(system, zs[0])


class Quadratic(eqx.Module):
    centre: np.ndarray
    scale: float

    def __call__(self, w):
        return self.scale * jnp.sum((w - self.centre) ** 2)


def test_parts_that_differ_in_more_than_their_arrays_are_not_one_program():
    """Same arrays' shapes, another constant: it must not be lost."""
    centres = [jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]), jnp.array([-1.0, 0.5])]
    w = jnp.array([0.3, 0.8])
    for scales in ((1.0, 1.0, 1.0), (1.0, 2.0, 1.0)):
        parts = [
            sf.loss(Quadratic(c, s), dim=2, name="q") for c, s in zip(centres, scales, strict=True)
        ]
        found = MSAM(RHO).direction(sf.losses.mean(parts), w)
        expected = [SAM(RHO).direction(part, w) for part in parts]
        np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-14)


def test_a_loss_that_is_no_sum_is_one_example():
    w = jnp.array([0.3, 0.8])
    loss = sf.losses.beale()
    np.testing.assert_array_equal(MSAM(RHO).direction(loss, w), SAM(RHO).direction(loss, w))
    with pytest.raises(ArgumentError, match="must divide the number of examples, 1, but is 2"):
        MSAM(RHO, shard_size=2).direction(loss, w)


def test_a_shard_size_that_leaves_a_rest_is_refused(network):
    with pytest.raises(ArgumentError, match="must divide the number of examples, 6, but is 4"):
        MSAM(RHO, shard_size=4).direction(network[3], jnp.zeros(network[3].dim))
    with pytest.raises(ArgumentError, match="must divide the number of examples, 2, but is 3"):
        MSAM(RHO, shard_size=3).singularity(PAIR, jnp.zeros(2))
