"""What a diagnosis must not hide: neutral directions, silent weights, wrong products, waiting."""

import dataclasses
import itertools
import sys
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow import networks
from samflow._checks import ArgumentError
from samflow.losses import network, network_function
from samflow.networks import Checkpoint, Effort, diagnose
from samflow.networks.diagnosis.judgement import neutral_values
from samflow.networks.diagnosis.progress import stage
from samflow.spectra.krylov import Stopped
from samflow.spectra.products import watched
from samflow.spectra.spectrum import extreme_eigenpairs

ASK = {"rho": 0.1, "lr": 0.1}
TWO, THREE = (Effort(num_eigenpairs=k, trace_products=6) for k in (2, 3))


def softmax_head(dtype=None):
    """A linear head with a bias on symmetric data: critical at 0, H = (I/3 − J/9) ⊗ diag(1, 1)."""
    x = np.array([[1.0], [-1.0]] * 3)
    model = eqx.nn.Linear(1, 3, key=jr.key(0))
    loss = network(model, x, np.repeat([0, 1, 2], 2), dtype=dtype)
    return Checkpoint(loss, jnp.zeros(6))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_neutral_directions_of_a_softmax_are_counted_and_not_called_stable(dtype):
    """Adding one number to all scores, by the bias or by x, changes nothing: two zeros of six."""
    found = diagnose(softmax_head(dtype), effort=THREE, **ASK)
    # Each 3 × 3 block is I/3 − J/9, eigenvalues 0, 1/3, 1/3; single precision rounds at 1e-7.
    np.testing.assert_allclose(found.pairs.values, [0, 0, 1 / 3, 1 / 3, 1 / 3, 1 / 3], atol=1e-6)
    assert found.neutral == 2
    for each in found.rules[:2]:
        assert (each.stability, each.neutral) == ("neutral", 2)
        assert "apart from 2 neutral directions" in each.statement
        assert each.largest_lr == pytest.approx(2 * 3 / (1 + each.effective_rho / 3), rel=1e-5)
        # 1/log(1 − lr·U) with U = λ(1 + rho λ) at λ = 1/3: nothing of the zeros is in it.
        u = (1 + each.effective_rho / 3) / 3
        assert f"by a factor e in {-1 / np.log(1 - 0.1 * u):.3g} steps" in each.statement
    assert "inf" not in str(found)
    assert "Every direction measured that is not neutral is stable if lr < " in str(found)
    (note,) = (n for n in found.notes if "neutral, with λ = 0 to rounding" in n)
    assert note.startswith("2 of 6 directions looked at are neutral")
    assert "adding one number to all scores" in note


def test_weight_decay_of_the_step_makes_neutral_directions_die_out():
    found = diagnose(softmax_head(), effort=THREE, weight_decay=0.1, **ASK).rules[0]
    assert (found.stability, found.neutral) == ("stable", 0)
    assert f"in {-1 / np.log(1 - 0.1 * 0.1):.3g} steps" in found.statement


@pytest.mark.parametrize(("factor", "neutral"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("precision", [2.0**-52, 2.0**-23])
def test_an_eigenvalue_is_neutral_below_what_its_float_type_resolves(factor, neutral, precision):
    """1e-6 of the largest in double precision, a hundred roundings in single."""
    edge = max(1e-6, 100 * precision)
    pairs = extreme_eigenpairs(sf.losses.Quadratic((factor * edge * 4, 4.0)), [0.0, 0.0])
    for scale in (1.0, 1e-9, 1e9):  # a verdict has no unit
        scaled = dataclasses.replace(pairs, values=scale * pairs.values)
        assert neutral_values(scaled, precision).tolist() == [neutral, False]
    nothing = dataclasses.replace(pairs, values=0 * pairs.values)
    assert not neutral_values(nothing, precision).any()


def test_weights_that_no_gradient_reaches_are_named_with_the_reason():
    """y = (a + [stop](b)) x and an unused c; d, at 0 in a product, only looks so."""

    def function(p, x):
        return (p["a"] + jax.lax.stop_gradient(p["b"]) + p["d"] * p["e"]) * x

    params = {name: jnp.zeros(2) for name in "abcde"}
    x = np.random.default_rng(0).normal(size=(5, 2))
    loss = network_function(function, params, x, x)
    found = diagnose(Checkpoint(loss, jnp.zeros(10)), effort=TWO, **ASK)
    assert found.without_gradient == ("b", "c")
    assert any(n.startswith("No gradient reaches b, though the loss depends") for n in found.notes)
    assert any(n.startswith("The loss does not depend on c near here") for n in found.notes)
    whole = network_function(
        lambda p, x: (p["a"] + p["d"] * p["e"]) * x, params, x, x, frozen=["b", "c"]
    )
    found = diagnose(Checkpoint(whole, jnp.zeros(6)), effort=TWO, **ASK)
    assert found.without_gradient == ()
    assert not any("gradient reaches" in note or "depend on" in note for note in found.notes)


class Straight(eqx.Module):
    """A layer whose outputs are rounded, with the gradient passed straight through."""

    a: jax.Array
    through: bool = eqx.field(static=True)

    def __call__(self, x):
        y = self.a @ x
        return y + jax.lax.stop_gradient(jnp.round(4 * y) / 4 - y) if self.through else y


@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("kind", ["network", "function"])
def test_extreme_eigenvalues_alone_warn_where_products_and_gradients_disagree(kind, through):
    """The gradient at hand does not change with the weights, and Hv says that it does."""
    x = np.random.default_rng(0).normal(size=(6, 3))
    loss = network(Straight(jnp.ones((2, 3)), through), x, x[:, :2])
    w = jnp.linspace(-1, 1, 6)
    if kind == "function":
        inner = loss
        loss = sf.loss(lambda w: inner(w), dim=6)
    if through:
        with pytest.warns(
            UserWarning, match=r"differ by 1 of Hv: (kinks \(.*round|a second derivative)"
        ):
            extreme_eigenpairs(loss, w)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extreme_eigenpairs(loss, w, compare=not through)


def test_a_small_network_has_its_hessian_by_one_product_a_weight():
    """No compiled loop goes over its columns, in which XLA is slow; the record says which way."""
    x = np.random.default_rng(0).normal(size=(5, 2))
    loss = network(eqx.nn.Linear(2, 2, key=jr.key(0)), x, np.arange(5) % 2)
    w, made = jnp.linspace(-1, 1, 6), itertools.count(1)
    with watched(lambda: next(made)):
        pairs = extreme_eigenpairs(loss, w, k=2, compare=False)
    assert (pairs.method, pairs.num_products, next(made)) == ("dense", 6, 7)
    exact = np.linalg.eigvalsh(jax.hessian(loss)(w))
    np.testing.assert_allclose(pairs.values, np.r_[exact[:2], exact[-2:]], atol=1e-14)


def test_a_stage_tells_how_long_it_will_take():
    """Products of one second each, by a clock of our own."""
    told, clock = [], itertools.count()
    quadratic = network(
        eqx.nn.Linear(2, 1, use_bias=False, key=jr.key(0)), np.eye(2), np.ones((2, 1))
    )
    product = sf.spectra.products.hessian_product(quadratic, jnp.zeros(2))
    with stage(told.append, "trace", 10, clock=lambda: float(next(clock))):
        for _ in range(6):
            product(np.ones(2))
    assert told == [
        "trace",
        "trace: product 2 of at most 10, about 8 s left",
        "trace: product 4 of at most 10, about 6 s left",
        "trace: product 6 of at most 10, about 4 s left",
    ]
    product(np.ones(2))  # outside of a stage nothing is told
    assert len(told) == 4


@pytest.mark.parametrize(("products", "reached"), [(1, "nothing"), (6, "pairs"), (60, "rules")])
def test_an_interrupt_comes_with_what_is_known(products, reached, monkeypatch):
    loss, w = networks.digits_loss(jr.key(0), num_images=10, hidden=3)
    made = itertools.count(1)

    def count():
        if next(made) == products:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        sys.modules["samflow.networks.diagnosis.measurements"], "stage", lambda *_: watched(count)
    )
    effort = Effort(num_eigenpairs=1, trace_products=200)
    with pytest.raises(networks.Interrupted) as stopped:
        diagnose(Checkpoint(loss, w), rho=0.1, lr=0.1, rules=["gd"], effort=effort)
    found, left = stopped.value.found, stopped.value.left
    if reached == "nothing":
        assert (found, left) == (None, ("eigenvalues", "gd", "trace"))
    elif reached == "pairs":
        assert left[0] == "eigenvalues"
        assert found.num_products == products - 1
        exact = np.linalg.eigvalsh(loss.hessian(w))
        for value, residual in zip(found.values, found.residuals, strict=True):
            assert np.abs(exact - float(value)).min() <= float(residual) + 1e-12
    else:
        assert (left, found.trace) == (("trace",), None)
        assert [each.rule for each in found.rules] == ["gd"]
        assert "Stopped before: trace." in str(found)
    assert isinstance(stopped.value, KeyboardInterrupt)
    with pytest.raises(Stopped), watched(itertools.chain([None] * 40).__next__):
        raise Stopped(None)


def test_what_cannot_be_computed_names_what_can():
    x, y = np.ones((3, 2)), np.arange(3) % 2
    dropout = eqx.nn.Sequential([eqx.nn.Linear(2, 2, key=jr.key(0)), eqx.nn.Dropout(0.5)])
    with pytest.raises(ArgumentError, match=r"network itself raised RuntimeError.*inference_mode"):
        network(dropout, x, y)
    assert network(eqx.nn.inference_mode(dropout), x, y).dim == 6
    linen = pytest.importorskip("flax.linen")
    module = linen.Dense(2)
    with pytest.raises(
        ArgumentError, match=r"`sf.losses.network_function\(lambda p, x: module.app"
    ):
        network(module, x, y)
    params = module.init(jr.key(0), x)["params"]
    loss = network_function(lambda p, x: module.apply({"params": p}, x), params, x, y)
    assert loss.dim == 6


def test_a_module_of_pytorch_given_to_jax_is_told_where_it_belongs():
    torch = pytest.importorskip("torch")
    with pytest.raises(ArgumentError, match=r"Use `sf.losses.torch_network\(model, x, y\)`"):
        network(torch.nn.Linear(2, 2), np.ones((3, 2)), np.arange(3) % 2)


def test_embeddings_with_sparse_gradients_are_those_with_dense_ones():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional

    class Tokens(torch.nn.Module):
        def __init__(self, sparse, function):
            super().__init__()
            torch.manual_seed(0)
            self.table = torch.nn.Embedding(6, 3, sparse=sparse)
            self.last, self.function = torch.nn.Linear(3, 4), function
            self.double()

        def forward(self, x):
            if self.function:
                found = functional.embedding(x, self.table.weight, sparse=self.table.sparse)
            else:
                found = self.table(x)
            return self.last(torch.tanh(found.sum(dim=1)))

    x, y = np.array([[0, 1], [2, 5], [1, 1]]), np.array([0, 1, 3])
    for function in (False, True):
        module = Tokens(True, function)
        sparse = sf.losses.torch_network(module, x, y)
        dense = sf.losses.torch_network(Tokens(False, function), x, y)
        w = dense.flatten()
        np.testing.assert_array_equal(sparse.gradient(w), dense.gradient(w))
        np.testing.assert_array_equal(sparse.hvp(w, w), dense.hvp(w, w))
        assert module.table.sparse


@pytest.mark.parametrize("needs", [True, False])
def test_reentrant_gradient_checkpointing_is_refused_with_the_remedy(needs):
    """As a first layer, whose inputs need no gradient, it would leave its weights without one."""
    torch = pytest.importorskip("torch")
    from torch.utils.checkpoint import checkpoint

    class Net(torch.nn.Module):
        def __init__(self, reentrant):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)
            self.reentrant = reentrant
            self.double()

        def forward(self, x):
            x = x + 0 * self.last.weight.sum() if needs else x
            inner = lambda x: torch.tanh(self.first(x))  # noqa: E731
            return self.last(checkpoint(inner, x, use_reentrant=self.reentrant))

    x, y = np.ones((3, 2)), np.arange(3) % 2
    with pytest.raises(ArgumentError, match=r"reentrant.*use_reentrant=False"):
        sf.losses.torch_network(Net(True), x, y)
    loss = sf.losses.torch_network(Net(False), x, y)
    assert loss.unused == ()
    assert np.abs(loss.hvp(loss.flatten(), jnp.ones(loss.dim))).min() >= 0


def test_a_part_under_no_grad_is_named():
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)
            self.double()

        def forward(self, x):
            with torch.no_grad():
                x = torch.tanh(self.first(x))
            return self.last(x)

    x = np.random.default_rng(0).normal(size=(4, 2))
    loss = sf.losses.torch_network(Net(), x, np.arange(4) % 2)
    found = diagnose(Checkpoint(loss, loss.flatten()), effort=TWO, rules=["gd"], **ASK)
    assert found.without_gradient == ("first.weight", "first.bias")
    assert any("No gradient reaches first.weight, first.bias" in note for note in found.notes)
