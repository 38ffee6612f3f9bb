"""The mean of losses, and shards of examples."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._components import Components
from samflow.losses.finite_sum import FiniteSumLoss, mean, shards

PARTS = [sf.losses.beale(), sf.losses.himmelblau(), sf.loss("x*y"), sf.loss("x**2 - y**3")]
W = jnp.array([0.3, 0.8])


def test_value_and_derivatives_are_the_means():
    loss = mean(PARTS)
    for read in (lambda p: p(W), lambda p: p.gradient(W), lambda p: p.hessian(W)):
        expected = np.mean([read(part) for part in PARTS], axis=0)
        np.testing.assert_allclose(read(loss), expected, rtol=1e-14)
    v = jnp.array([1.0, -2.0])
    np.testing.assert_allclose(loss.hvp(W, v), loss.hessian(W) @ v, rtol=1e-13)


def test_it_is_elementwise_if_all_its_parts_are():
    loss = mean(PARTS)
    assert loss.elementwise
    together = jnp.stack(loss.gradient(Components(*W)).parts)
    np.testing.assert_allclose(together, loss.gradient(W), rtol=1e-14)
    assert not mean([PARTS[0], sf.loss(lambda w: jnp.sum(w), dim=2)]).elementwise


@pytest.mark.parametrize("m", [1, 2, 4])
def test_shards_have_their_size_and_their_mean_is_the_loss(m):
    loss = mean(PARTS, name="four")
    assert (loss.num_examples, loss.dim, loss.name) == (4, 2, "four")
    made = loss.shards(m)
    assert len(made) == 4 // m
    assert all(isinstance(s, FiniteSumLoss) and s.num_examples == m for s in made) or m == 1
    found = np.mean([s.gradient(W) for s in made], axis=0)
    np.testing.assert_allclose(found, loss.gradient(W), rtol=1e-14)
    first = np.mean([part(W) for part in PARTS[:m]])
    assert float(made[0](W)) == pytest.approx(float(first), rel=1e-14)


@pytest.mark.parametrize("m", [1, 2, 3, 6])
def test_a_networks_shards_take_its_examples_in_order(m):
    model = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=jr.key(0))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    loss = sf.losses.network(model, x, y)
    w = loss.flatten(model)
    made = loss.shards(m)
    assert loss.num_examples == 6
    assert [s.num_examples for s in made] == [m] * (6 // m)
    np.testing.assert_array_equal(jnp.concatenate([s.x for s in made]), x)
    np.testing.assert_array_equal(made[-1].y, y[-m:])
    assert float(np.mean([s(w) for s in made])) == pytest.approx(float(loss(w)), rel=1e-14)


def test_the_formula_of_the_mean_is_for_symbols_and_proofs():
    loss = mean([sf.loss("(a - 1)**2 + b"), sf.loss("(x + 1)**2*y")])
    formula = loss.formula
    assert [str(s) for s in formula.symbols] == ["a", "b"]
    np.testing.assert_allclose(formula.gradient(W), loss.gradient(W), rtol=1e-14)
    crossed = mean([sf.loss("x - y**2"), sf.loss("y**3 + x", variables=["y", "x"])])
    np.testing.assert_allclose(crossed.formula.gradient(W), crossed.gradient(W), rtol=1e-14)
    assert mean([sf.loss("x"), sf.loss(lambda w: w[0] ** 2, dim=1)]).formula is None
    assert mean([sf.loss(lambda w: w[0] ** 2, dim=1), sf.loss("x")]).formula is None
    gd = sf.Map(mean([sf.loss("(x - 1)**2"), sf.loss("(x + 1)**2")]).formula, sf.GD(), lr=0.1)
    assert sf.certify_fixed_points(gd, ((-2, 2),)).verdict is sf.Verdict.proved


def test_the_domain_is_where_all_parts_have_one():
    assert mean(PARTS[:2]).domain == ((-4.5, 4.5), (-4.5, 4.5))
    assert mean([PARTS[1], PARTS[2]]).domain == PARTS[1].domain
    assert mean(PARTS[2:]).domain is None
    boxes = [((-1, 2), (0, 1)), ((0, 3), (-5, 0.5))]
    parts = [sf.loss("x*y", domain=box) for box in boxes]
    assert mean(parts).domain == ((0, 2), (0, 0.5))


def test_any_other_loss_is_one_example():
    assert shards(PARTS[0], 1) == (PARTS[0],)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mean([]), "must hold at least one loss, but is empty"),
        (lambda: mean([PARTS[0], "beale"]), "`losses` must be a Loss, but is 'beale'"),
        (lambda: mean([PARTS[0], sf.loss("x")]), r"the same number of weights, but have \[2, 1\]"),
        (
            lambda: mean([sf.loss("x", domain=((0, 1),)), sf.loss("2*x", domain=((2, 3),))]),
            "common domain.*low < high",
        ),
        (lambda: mean(PARTS).shards(3), "must divide the number of examples, 4, but is 3"),
        (lambda: mean(PARTS).shards(0), "`shard_size` must be a whole number of at least 1"),
        (lambda: shards(PARTS[0], 2), "must divide the number of examples, 1, but is 2"),
    ],
)
def test_bad_arguments_are_refused(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()
