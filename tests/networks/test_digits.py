"""The digits and the perceptron: shapes, scales and layout as documented."""

import sys

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from samflow import networks
from samflow._checks import ArgumentError


def test_digits_are_scaled_to_one_and_labelled_one_hot():
    x, y = networks.load_digits(300)
    assert (x.shape, y.shape, x.dtype) == ((300, 64), (300, 10), jnp.float64)
    assert (x.min(), x.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(y.sum(axis=1), 1.0)
    assert (networks.load_digits(100)[1].sum(axis=0) > 0).all()


def test_fewer_images_are_the_first_ones():
    few, many = networks.load_digits(10), networks.load_digits(300)
    np.testing.assert_array_equal(few[0], many[0][:10])
    # The data set opens with 0, 1, ..., 9.
    np.testing.assert_array_equal(few[1], np.eye(10))


def test_the_loss_has_the_perceptrons_weights_and_depends_on_the_key_alone():
    loss, w = networks.digits_loss(jr.key(0), num_images=20, hidden=3)
    assert loss.dim == 3 * 64 + 3 + 10 * 3 + 10 == len(w)
    np.testing.assert_array_equal(w, loss.flatten(networks.perceptron(jr.key(0), hidden=3)))
    assert not np.array_equal(w, loss.flatten(networks.perceptron(jr.key(1), hidden=3)))
    w1, b1, w2, b2 = (np.asarray(a) for a in loss.split(w))
    x, y = (np.asarray(a) for a in networks.load_digits(20))
    f = np.tanh(x @ w1.T + b1) @ w2.T + b2
    assert float(loss(w)) == pytest.approx(0.5 * np.mean(np.sum((f - y) ** 2, 1)), rel=1e-13)


@pytest.mark.parametrize("number", [0, 1798, 2.5])
def test_numbers_of_images_that_do_not_exist_are_refused(number):
    with pytest.raises(ArgumentError, match="`num_images` must be"):
        networks.load_digits(number)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"scikit-learn.*pip install 'samflow\[networks\]'"):
        networks.load_digits(10)
