"""What has kinks is named, and what is smooth is not."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from samflow.losses import network
from samflow.losses._kinks import kinks


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (jnp.tanh, ()),
        (jax.nn.softmax, ()),
        (jax.nn.log_softmax, ()),
        (jax.nn.gelu, ()),
        (jax.nn.relu, ("relu",)),
        (jax.nn.leaky_relu, ("leaky_relu",)),
        (lambda x: jnp.maximum(x, 0.0), ("maximum",)),
        (lambda x: jnp.abs(x).sum(), ("abs",)),
        (lambda x: jax.lax.map(jax.nn.relu, x), ("relu",)),
        (jax.checkpoint(lambda x: jnp.minimum(x, 1.0)), ("minimum",)),
    ],
)
def test_kinks_are_found_wherever_they_are(function, found):
    assert kinks(function, jnp.ones(3)) == found


@pytest.mark.parametrize(("activation", "found"), [(jnp.tanh, ()), (jax.nn.relu, ("relu",))])
def test_a_network_knows_its_kinks_in_chunks_too(activation, found):
    model = eqx.nn.MLP(3, 2, 4, 1, activation=activation, key=jr.key(0))
    loss = network(model, np.ones((5, 3)), np.ones((5, 2)))
    assert loss.kinks == loss.in_chunks(2).kinks == found
