"""Programs that are not optimised compute the same."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import samflow as sf
from analysis.compiling import initialised, quickly


def test_models_made_by_one_program_are_those_made_one_by_one():
    make = lambda key: eqx.nn.MLP(2, 1, 3, 1, activation=jnp.tanh, key=key)  # noqa: E731
    keys = list(jr.split(jr.key(0), 2))
    made, x = initialised(make, keys), jnp.array([0.3, -0.2])
    for key, model in zip(keys, made, strict=True):
        expected = make(key)
        np.testing.assert_allclose(model(x), expected(x), rtol=1e-14)
        assert model.activation is expected.activation
    assert not np.array_equal(made[0](x), made[1](x))


def test_arrays_are_traced_and_the_rest_belongs_to_the_program():
    calls = []

    @quickly
    def gradient(loss, scale, w):
        calls.append(loss.name)
        return scale * loss.gradient(w)

    w = jnp.array([2.0, 1.0])
    first, second = sf.losses.Quadratic((1.0, 3.0)), sf.losses.Quadratic((2.0, -1.0))
    np.testing.assert_array_equal(gradient(first, 2, w), [4.0, 6.0])
    np.testing.assert_array_equal(gradient(second, 2, w), [8.0, -2.0])
    assert len(calls) == 1  # eigenvalues are leaves: one program
    np.testing.assert_array_equal(gradient(second, 3, w), [12.0, -3.0])
    assert len(calls) == 2  # a number of Python is not
