"""The vision transformer: its size, its patches, and that it is smooth."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from samflow._checks import ArgumentError
from samflow.losses import network
from samflow.networks.transformer import vision_transformer


def test_the_default_transformer_has_the_documented_number_of_weights():
    model = vision_transformer(jr.key(0))
    made = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))
    width, tokens = 64, 16
    layer = 4 * width * (width + 1) + 4 * width * (width + 1) + width * (4 * width + 1) + 4 * width
    ends = 50 * width + tokens * width + 2 * width + 10 * (width + 1)
    assert made == ends + 4 * layer == 204_938
    assert model(jnp.zeros((1, 28, 28))).shape == (10,)


def test_patches_are_squares_of_the_image_row_by_row():
    model = vision_transformer(jr.key(0), side=6, patch=3, in_channels=2, width=4, depth=1, heads=2)
    image = jnp.arange(72.0).reshape(2, 6, 6)
    cut = model.patches(image)
    assert cut.shape == (4, 18)
    np.testing.assert_array_equal(cut[1], jnp.ravel(image[:, :3, 3:]))
    np.testing.assert_array_equal(cut[2], jnp.ravel(image[:, 3:, :3]))


def test_attention_of_equal_tokens_is_what_each_offers():
    layer = vision_transformer(jr.key(0), side=4, patch=2, width=6, depth=1, heads=3).layers[0]
    token = jr.normal(jr.key(1), (6,))
    offered = layer.attention.last(layer.attention.offers(token)[12:])
    mixed = layer.attention(jnp.stack([token] * 5))
    np.testing.assert_allclose(mixed, jnp.stack([offered] * 5), atol=1e-14)  # rounding


def test_tokens_without_a_place_are_a_set():
    model = vision_transformer(jr.key(0), side=4, patch=2, width=6, depth=2, heads=2)
    tokens = jr.normal(jr.key(1), (4, 6))
    once, turned = tokens, tokens[::-1]
    for layer in model.layers:
        once, turned = layer(once), layer(turned)
    np.testing.assert_allclose(turned, once[::-1], atol=1e-13)  # rounding


def test_its_loss_has_no_kinks():
    model = vision_transformer(jr.key(0), side=4, patch=2, width=4, depth=1, heads=2)
    loss = network(model, jnp.zeros((2, 1, 4, 4)), [0, 9], loss="cross_entropy")
    assert loss.kinks == ()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"patch": 5}, "`patch` must divide `side`, 28"), ({"heads": 3}, "`heads` must divide")],
)
def test_sizes_that_do_not_divide_are_refused(sizes, message):
    with pytest.raises(ArgumentError, match=message):
        vision_transformer(jr.key(0), **sizes)
