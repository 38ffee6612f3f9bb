"""Comparisons of escape times claim nothing where paths were lost."""

import jax.random as jr
import pytest

import samflow as sf
from analysis.escape import _before
from samflow import noise

KEY = jr.key(0)


def times(loss, lr, radius, sigma=1.0):
    made = sf.StochasticMap(sf.Map(loss, sf.GD(), lr=lr), noise.isotropic_noise(1, sigma=sigma))
    return sf.escape_time(made, [0.0], radius=radius, key=KEY, num_paths=50, max_steps=400)


def test_a_path_that_is_lost_is_not_left_sooner():
    maximum = sf.losses.Quadratic((-1.0,))
    fast, slow = times(maximum, 0.2, 5.0), times(maximum, 0.05, 5.0)
    assert _before(fast, slow)
    assert not _before(slow, fast)
    lost = times(sf.loss("(x + 1)**(3/2)"), 0.5, 5.0, sigma=3.0)  # no slope below −1
    assert "not finite" in lost.count()
    assert not _before(lost, slow)
    assert not _before(slow, lost)


@pytest.mark.parametrize("lr", [0.05, 0.2])
def test_nothing_is_sooner_than_itself(lr):
    found = times(sf.losses.Quadratic((-1.0,)), lr, 5.0)
    assert not _before(found, found)
