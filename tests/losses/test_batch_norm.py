"""Modules of equinox with batch norm: its modes, and its statistics computed anew."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from samflow._checks import ArgumentError
from samflow.losses import network, network_function

EXAMPLES = 9
X, Y = 1 + 2 * jr.normal(jr.key(0), (EXAMPLES, 3)), jr.normal(jr.key(1), (EXAMPLES, 2))
MODES = pytest.mark.parametrize("mode", ["batch", "ema"])


def perceptron(mode):
    def make(key):
        first, last = jr.split(key)
        return eqx.nn.Sequential(
            [
                eqx.nn.Linear(3, 4, key=first),
                eqx.nn.BatchNorm(4, "batch", mode=mode),
                eqx.nn.Lambda(jnp.tanh),
                eqx.nn.Linear(4, 2, key=last),
                eqx.nn.BatchNorm(2, "batch", mode=mode),
            ]
        )

    model, state = eqx.nn.make_with_state(make)(jr.key(2))
    _, state = jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name="batch")(
        jr.normal(jr.key(3), X.shape), state
    )
    return model, state


def made(mode, batch_norm="eval"):
    model, state = perceptron(mode)
    loss = network(model, X, Y, state=state, batch_norm=batch_norm)
    return model, state, loss, loss.flatten(model) + 0.3 * jr.normal(jr.key(4), (loss.dim,))


def by_hand(loss, w, x, stats=None):
    """The network in NumPy, with given statistics or with those of its inputs; and these."""
    a = [np.asarray(p) for p in loss.split(w)]
    used = []

    def normalised(h, scale, shift):
        used.append((h.mean(axis=0), h.var(axis=0)) if stats is None else stats[len(used)])
        mean, variance = used[-1]
        return (h - mean) / np.sqrt(variance + 1e-5) * scale + shift

    h = np.tanh(normalised(np.asarray(x) @ a[0].T + a[1], a[2], a[3]))
    return normalised(h @ a[4].T + a[5], a[6], a[7]), used


@MODES
def test_statistics_are_those_of_all_inputs(mode):
    _, state, loss, w = made(mode)
    before = [np.array(leaf) for leaf in jax.tree.leaves(state)]
    found = loss.with_statistics(w)
    f, _ = by_hand(loss, w, X)
    np.testing.assert_allclose(found.predict(w), f, atol=1e-13)
    assert np.abs(loss.predict(w) - f).max() > 0.1
    assert found.options == loss.options
    assert found.has_statistics
    for leaf, kept in zip(jax.tree.leaves(state), before, strict=True):
        np.testing.assert_array_equal(leaf, kept)
    # On examples that they are not of: each by itself.
    x = jr.normal(jr.key(5), (2, 3))
    np.testing.assert_allclose(
        found.outputs(w, x)[:1], found.outputs(w, x[:1]), rtol=1e-14, atol=1e-15
    )


def test_in_training_mode_the_batch_decides():
    _, _, loss, w = made("batch", batch_norm="train")
    f, _ = by_hand(loss, w, X)
    for _ in range(2):  # the state of the first pass is dropped
        np.testing.assert_allclose(loss.predict(w), f, atol=1e-13)
    part = by_hand(loss, w, X[:2])[0]
    np.testing.assert_allclose(loss.batch([0, 1]).predict(w), part, atol=1e-13)
    assert not loss.has_statistics
    with pytest.raises(ArgumentError, match="with batch_norm='train', has none"):
        loss.with_statistics(w)


@MODES
def test_statistics_of_a_loss_in_chunks_are_the_mean_over_chunks(mode):
    _, _, loss, w = made(mode)
    # The last example, alone, goes with the four before it.
    parts = [by_hand(loss, w, rows)[1] for rows in (X[:4], X[4:])]
    shares = np.array([4, 5]) / 9
    mean = [
        [sum(s * p[layer][i] for s, p in zip(shares, parts, strict=True)) for i in (0, 1)]
        for layer in (0, 1)
    ]
    found = loss.in_chunks(4).with_statistics(w)
    assert found.chunk_size == 4
    np.testing.assert_allclose(found.predict(w), by_hand(loss, w, X, mean)[0], atol=1e-13)
    whole = loss.in_chunks(9).with_statistics(w)
    assert float(whole(w)) == pytest.approx(float(loss.with_statistics(w)(w)), rel=1e-13)


@MODES
def test_a_layer_called_twice_has_the_mean_of_its_calls(mode):
    class Twice(eqx.Module):
        layer: eqx.nn.Linear
        norm: eqx.nn.BatchNorm
        fixed: eqx.nn.BatchNorm
        idle: eqx.nn.BatchNorm

        def __init__(self, key):
            self.layer = eqx.nn.Linear(3, 3, key=key)
            self.norm, self.fixed, self.idle = (
                eqx.nn.BatchNorm(3, "batch", channelwise_affine=False, mode=mode) for _ in range(3)
            )

        def __call__(self, x, state):
            x, state = self.norm(self.layer(x), state)
            x, state = self.norm(self.layer(x), state)
            return self.fixed(x, state, inference=True)

    model, state = eqx.nn.make_with_state(Twice)(jr.key(0))
    state = jax.tree.map(lambda a: jnp.full_like(a, 2), state)
    loss = network(model, X, X, state=state, batch_norm="eval")
    w = loss.flatten(model)
    a, b = loss.split(w)
    h = X @ a.T + b
    mean, variance = h.mean(axis=0), h.var(axis=0)
    h = (h - mean) / np.sqrt(variance + 1e-5) @ a.T + b
    mean, variance = (mean + h.mean(axis=0)) / 2, (variance + h.var(axis=0)) / 2
    found = loss.with_statistics(w).state
    index = model.norm.ema_state_index if mode == "ema" else model.norm.batch_state_index
    scale = 1 if mode == "ema" else 1 - model.norm.momentum
    np.testing.assert_allclose(found.get(index)[0] / scale, mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.get(index)[1] / scale, variance, rtol=1e-12)
    for layer in (model.fixed, model.idle):
        index = layer.ema_state_index if mode == "ema" else layer.batch_state_index
        for own, kept in zip(found.get(index), state.get(index), strict=True):
            np.testing.assert_array_equal(own, kept)


def test_a_module_may_take_all_examples_at_once():
    model, state = perceptron("batch")

    class Whole(eqx.Module):
        inner: eqx.nn.Sequential

        def __call__(self, x, state):
            taken = jax.vmap(self.inner, in_axes=(0, None), out_axes=(0, None), axis_name="batch")
            return taken(x, state)

    loss = network(Whole(model), X, Y, state=state, batch_norm="eval", per_example=False)
    train = network(Whole(model), X, Y, state=state, batch_norm="train", per_example=False)
    w = loss.flatten(Whole(model)) + 0.2
    assert float(loss.with_statistics(w)(w)) == pytest.approx(float(train(w)), rel=1e-13)
    assert float(train(w)) == float(train(w))


def test_statistics_are_had_in_a_compiled_function_and_of_a_batch():
    _, _, loss, w = made("batch")
    compiled = jax.jit(lambda w: loss.with_statistics(w)(w))
    assert float(compiled(w)) == pytest.approx(float(loss.with_statistics(w)(w)), rel=1e-13)
    part = loss.batch([0, 3, 4])
    found = part.with_statistics(w)
    np.testing.assert_allclose(
        found.predict(w), by_hand(loss, w, X[jnp.array([0, 3, 4])])[0], atol=1e-13
    )
    assert float(found.whole(w)) == float(loss.with_extras(part.statistics(w))(w))


def test_running_statistics_are_the_default():
    model, state = perceptron("batch")
    default, known = (network(model, X, Y, state=state, batch_norm=b) for b in (None, "eval"))
    assert default.options == known.options
    w = known.flatten(model)
    assert float(default(w)) == float(known(w))


def test_bad_input_fails_at_the_door():
    model, state = perceptron("batch")
    with pytest.raises(ArgumentError, match="`state` must be a State, but is dict"):
        network(model, X, Y, state={}, batch_norm="eval")
    other = eqx.tree_at(lambda m: m.layers[1].axis_name, model, "rows")
    with pytest.raises(ArgumentError, match=r"over one axis, .* but has 'batch', 'rows'"):
        network(other, X, Y, state=state, batch_norm="eval")
    whole = eqx.nn.BatchNorm(3, "batch", mode="batch")
    with pytest.raises(ArgumentError, match="must not contain its initial state"):
        network(whole, X, X, state=eqx.nn.State(whole), batch_norm="eval")


def test_statistics_of_a_function_are_not_known():
    function = lambda p, s, x: (x - s["mean"]) @ p["a"].T  # noqa: E731
    params, state = {"a": jnp.ones((2, 3))}, {"mean": jnp.zeros(3)}
    loss = network_function(function, params, X, Y, state=state, batch_norm="eval")
    assert not loss.has_statistics
    assert not loss.in_chunks(2).has_statistics
    with pytest.raises(ArgumentError, match="`recompute` to `late_switch`"):
        loss.with_statistics(jnp.ones(6))
    with pytest.raises(ArgumentError, match="an equinox module with its state"):
        loss.statistics(jnp.ones(6))
