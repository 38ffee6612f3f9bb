"""Losses computed outside of JAX, against the same loss inside of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samflow as sf
from samflow import _checks
from samflow._checks import ArgumentError
from samflow.losses import network
from samflow.losses.eager import AbstractEagerLoss, compiled, is_eager
from samflow.networks import perceptron
from samflow.spectra import update_multipliers
from samflow.systems import Map


class NumpyQuartic(AbstractEagerLoss):
    """Σ (wᵢ⁴/4 + cᵢ wᵢ²/2) in NumPy alone, which no tracer can pass."""

    c: np.ndarray
    name: str = eqx.field(static=True, default="quartic in NumPy")
    dim: int = eqx.field(static=True, default=3)
    domain: None = eqx.field(static=True, default=None)

    def value_at(self, w):
        w = np.asarray(w)
        return np.sum(w**4 / 4 + self.c * w**2 / 2)

    def gradient_at(self, w):
        w = np.asarray(w)
        return w**3 + self.c * w

    def product_at(self, w):
        diagonal = 3 * np.asarray(w) ** 2 + self.c
        return lambda v: diagonal * np.asarray(v)


C, W = np.array([-1.0, 0.5, 2.0]), jnp.array([0.3, -0.7, 0.2])
OUTSIDE = NumpyQuartic(C)
INSIDE = sf.loss("x**4/4 + y**4/4 + z**4/4 - x**2/2 + y**2/4 + z**2")
RULES = {
    "gd": sf.GD(),
    "usam": sf.USAM(rho=0.3),
    "sam": sf.SAM(rho=0.3),
    "asam": sf.rules.ASAM(rho=0.1),
}


@pytest.mark.parametrize(
    "wrap", [lambda f: f, lambda f: jax.jit(lambda w: f(w))], ids=["eager", "compiled"]
)
def test_values_and_derivatives_are_those_of_the_same_loss_in_jax(wrap):
    v = jnp.array([1.0, -2.0, 0.5])
    for make in (
        lambda loss: lambda w: loss(w),
        lambda loss: loss.gradient,
        lambda loss: lambda w: loss.hvp(w, v),
        lambda loss: loss.hessian,
        lambda loss: jax.grad(loss.__call__),
        lambda loss: lambda w: jax.jvp(loss.gradient, (w,), (v,))[1],
        lambda loss: jax.jacfwd(loss.gradient),
    ):
        # Rounding of a few operations on numbers of order 1.
        np.testing.assert_allclose(wrap(make(OUTSIDE))(W), make(INSIDE)(W), atol=1e-14)


def test_no_number_passes_through_a_callback_where_nothing_is_compiled():
    seen = []

    class Watched(NumpyQuartic):
        def gradient_at(self, w):
            seen.append(w)
            return super().gradient_at(w)

    Watched(C).gradient(W)
    assert seen[0] is W
    np.testing.assert_array_equal(jax.vmap(Watched(C).gradient)(W[None]), [OUTSIDE.gradient(W)])


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_every_map_and_its_jacobian_take_such_a_loss(name, momentum):
    outside, inside = (Map(s, RULES[name], lr=0.1, momentum=momentum) for s in (OUTSIDE, INSIDE))
    z = inside.lift(W)
    np.testing.assert_allclose(outside.step(z), inside.step(z), atol=1e-14)
    # The largest alone: with momentum the others come in complex pairs of one modulus, √momentum.
    found, expected = (update_multipliers(s, W, k=1) for s in (outside, inside))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-12)


def test_analyses_that_compile_take_such_a_loss_through_a_callback():
    outside, inside = (Map(s, sf.USAM(rho=0.3), lr=0.1) for s in (OUTSIDE, INSIDE))
    ends = [sf.iterate(s, W, num_steps=50).w for s in (outside, inside)]
    np.testing.assert_allclose(*ends, atol=1e-13)
    assert sf.classify(outside, jnp.zeros(3)).kind == sf.classify(inside, jnp.zeros(3)).kind


def test_compiled_functions_run_such_a_loss_as_it_is():
    assert is_eager({"a": [OUTSIDE]})
    assert not is_eager(INSIDE)
    traced = compiled(lambda loss, w: _checks.is_traced(w))
    assert bool(traced(INSIDE, W))
    assert not traced(OUTSIDE, W)


def test_a_third_derivative_is_refused_by_jax():
    with pytest.raises(ValueError, match=r"callbacks do not support JVP"):
        jax.jacfwd(OUTSIDE.hessian)(W)


@pytest.fixture(scope="module")
def chunked():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 64)), rng.integers(10, size=10)
    model = perceptron(jax.random.key(0), hidden=3)
    loss = network(model, x, y, loss="cross_entropy", weight_decay=0.1)
    return loss, loss.in_chunks(4), loss.flatten(model)


def test_a_loss_in_chunks_is_the_whole_loss(chunked):
    whole, parts, w = chunked
    assert [p.num_examples for _, p in parts.chunks(4)] == [4, 4, 2]
    assert (parts.dim, parts.num_examples, parts.options) == (whole.dim, 10, whole.options)
    # Sums of ten terms in another order.
    assert float(parts(w)) == pytest.approx(float(whole(w)), rel=1e-14)
    np.testing.assert_allclose(parts.gradient(w), whole.gradient(w), atol=1e-15)
    np.testing.assert_allclose(parts.predict(w), whole.predict(w), atol=1e-15)
    assert float(parts.misclassified(w)) == pytest.approx(float(whole.misclassified(w)))
    system, twin = (Map(s, sf.SAM(rho=0.1), lr=0.1, momentum=0.9) for s in (parts, whole))
    z = twin.lift(w)
    np.testing.assert_allclose(system.step(z), twin.step(z), atol=1e-14)


def test_batch_statistics_do_not_go_in_chunks():
    function = lambda p, x: (x - x.mean(axis=0)) @ p["a"]  # noqa: E731
    x, y = np.arange(8.0).reshape(4, 2), np.zeros((4, 1))
    params = {"a": np.ones((2, 1))}
    loss = sf.losses.network_function(function, params, x, y, batch_norm="train")
    with pytest.raises(ArgumentError, match=r"the mean over chunks is a different loss"):
        loss.in_chunks(2)
    with pytest.raises(ArgumentError, match=r"Unknown batch_norm `evla`. Did you mean eval"):
        sf.losses.network_function(function, params, x, y, batch_norm="evla")
