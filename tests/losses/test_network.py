"""A network's loss as a function of its flat weights, against NumPy and dense derivatives."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from samflow._checks import ArgumentError
from samflow.losses.base import AbstractLoss
from samflow.losses.models import network, network_function
from samflow.losses.network import NetworkLoss
from samflow.losses.pytorch import torch_network

INPUTS, HIDDEN, OUTPUTS, EXAMPLES = 5, 4, 3, 7
DIM = HIDDEN * INPUTS + HIDDEN + OUTPUTS * HIDDEN + OUTPUTS


def mlp(seed=0, inputs=INPUTS):
    return eqx.nn.MLP(inputs, OUTPUTS, HIDDEN, 1, activation=jnp.tanh, key=jr.key(seed))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(EXAMPLES, INPUTS)), np.eye(OUTPUTS)[rng.integers(OUTPUTS, size=7)]


@pytest.fixture(scope="module", params=["squared", "cross_entropy"])
def loss(request, data):
    return network(mlp(), *data, loss=request.param)


@pytest.fixture(scope="module")
def w():
    return jnp.asarray(np.random.default_rng(1).normal(size=DIM))


def numpy_loss(kind, w, x, y):
    """The same loss with the layout written out by hand: W₁, b₁, W₂, b₂, row by row."""
    w = np.asarray(w)
    cuts = np.cumsum([HIDDEN * INPUTS, HIDDEN, OUTPUTS * HIDDEN])
    w1, b1, w2, b2 = np.split(w, cuts)
    f = np.tanh(x @ w1.reshape(HIDDEN, INPUTS).T + b1) @ w2.reshape(OUTPUTS, HIDDEN).T + b2
    if kind == "squared":
        return 0.5 * np.mean(np.sum((f - y) ** 2, axis=1))
    logsumexp = np.log(np.sum(np.exp(f), axis=1))
    return np.mean(logsumexp * y.sum(axis=1) - np.sum(y * f, axis=1))


def test_the_flat_loss_is_the_forward_pass_written_in_numpy(loss, data, w):
    # A few dozen additions of numbers of order 1: rounding only.
    assert float(loss(w)) == pytest.approx(numpy_loss(loss.options.criterion, w, *data), rel=1e-13)


def test_weights_are_named_and_laid_out_as_documented(loss):
    assert loss.weight_names == (
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
    )
    assert loss.weight_shapes == ((HIDDEN, INPUTS), (HIDDEN,), (OUTPUTS, HIDDEN), (OUTPUTS,))
    assert (loss.dim, loss.domain, loss.elementwise) == (DIM, None, False)


def test_flatten_is_the_inverse_of_unflatten(loss, w):
    model = mlp(seed=3)
    np.testing.assert_array_equal(loss.flatten(loss.unflatten(w)), w)
    again = loss.unflatten(loss.flatten(model))
    np.testing.assert_array_equal(again.layers[1].weight, model.layers[1].weight)
    x = jnp.ones(INPUTS)
    np.testing.assert_array_equal(again(x), model(x))


def test_gradient_matches_central_differences(loss, data, w):
    h = 1e-5  # error h²/6 · L''' + eps/h ≈ 1e-10
    numeric = [
        (
            numpy_loss(loss.options.criterion, w + e, *data)
            - numpy_loss(loss.options.criterion, w - e, *data)
        )
        / (2 * h)
        for e in h * np.eye(DIM)
    ]
    np.testing.assert_allclose(loss.gradient(w), numeric, atol=2e-9)


def test_hessian_matches_differences_of_the_gradient_and_reverse_over_reverse(loss, w):
    dense = np.asarray(jax.jit(lambda loss, w: loss.hessian(w))(loss, w))
    h = 1e-5  # as above: error about 1e-10, with eps/h on gradients of order 1
    g = jax.jit(jax.vmap(lambda w: loss.gradient(w)))
    numeric = (g(w + h * jnp.eye(DIM)) - g(w - h * jnp.eye(DIM))) / (2 * h)
    np.testing.assert_allclose(dense, numeric, atol=2e-9)
    twin = jax.jit(lambda loss, w: jax.jacrev(jax.jacrev(loss))(w))
    np.testing.assert_allclose(dense, twin(loss, w), atol=1e-13)
    np.testing.assert_allclose(dense, dense.T, atol=1e-13)


def test_hessian_vector_products_are_the_inherited_ones_and_match_the_dense_hessian(loss, w):
    assert NetworkLoss.hvp is AbstractLoss.hvp
    v = jnp.asarray(np.random.default_rng(2).normal(size=DIM))
    hvp, hessian = jax.jit(lambda loss, w: (loss.hvp(w, v), loss.hessian(w)))(loss, w)
    np.testing.assert_allclose(hvp, hessian @ v, atol=1e-12)


def test_a_linear_model_has_the_textbook_hessian():
    """For f = Wx, H = I ⊗ XᵀX/n: the mean is over examples, not over outputs."""
    # 64 columns are made at a time: 10·13 = 130 leave a ragged last batch.
    x = np.random.default_rng(0).normal(size=(4, 10))
    model = eqx.nn.Linear(10, 13, use_bias=False, key=jr.key(0))
    loss = network(model, x, np.zeros((4, 13)))
    expected = np.kron(np.eye(13), x.T @ x / 4)
    np.testing.assert_allclose(loss.hessian(jnp.zeros(130)), expected, atol=1e-14)


def test_data_are_arguments_of_the_compiled_program_not_constants(loss, w):
    arrays = jax.tree.leaves(loss)
    assert [a.shape for a in arrays] == [(EXAMPLES, INPUTS), (EXAMPLES, OUTPUTS)]
    program = jax.make_jaxpr(lambda loss, w: loss.hvp(w, w))(loss, w)
    assert sum(np.size(c) for c in program.consts) == 0


def test_two_losses_of_the_same_network_compile_once(data):
    traced = []

    class Traced(eqx.Module):
        a: jax.Array

        def __call__(self, x):
            traced.append(1)
            return self.a @ x

    compiled = eqx.filter_jit(lambda loss, w: loss(w))
    x, y = data
    for scale in (1.0, 2.0):
        loss = network(Traced(scale * jnp.ones((OUTPUTS, INPUTS))), scale * x, y)
        before = len(traced)
        compiled(loss, jnp.ones(loss.dim))
    assert len(traced) == before


def test_single_precision_weights_become_doubles(data):
    model = jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_array(a) else a, mlp())
    loss = network(model, *data)
    assert loss.flatten(model).dtype == jnp.float64
    assert loss.unflatten(loss.flatten(model)).layers[0].weight.dtype == jnp.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"y": np.zeros((EXAMPLES - 1, OUTPUTS))},
            "one row per example of `x`, that is 7, but has 6",
        ),
        ({"y": np.zeros((EXAMPLES, OUTPUTS + 1))}, r"shape of the network's outputs, \(7, 3\)"),
        ({"y": np.zeros(EXAMPLES)}, r"outputs, \(7, 3\), but has shape \(7,\)"),
        ({"x": np.zeros((EXAMPLES, INPUTS + 1))}, r"one of shape \(6,\) fails"),
        ({"x": np.full((EXAMPLES, INPUTS), np.nan)}, "7 of 7 examples are not; the first .* 0"),
        ({"y": np.where(np.arange(7)[:, None] == 4, np.inf, np.zeros((7, 3)))}, "is example 4"),
        ({"x": np.zeros((0, INPUTS))}, r"n ≥ 1, but has shape \(0, 5\)"),
        ({"x": 3.0}, r"n ≥ 1, but has shape \(\)"),
        ({"x": [["a"]]}, "must be real numbers .* but is not: str"),
        ({"x": np.ones((EXAMPLES, INPUTS)) + 1j}, "must be real numbers .* complex128"),
        ({"y": np.zeros((EXAMPLES, OUTPUTS)) + 5j}, "must be real numbers .* complex128"),
        ({"x": np.zeros((EXAMPLES, INPUTS), "M8[s]")}, "must be real numbers .* datetime64"),
        ({"loss": "square"}, "Unknown loss `square`. Did you mean squared?"),
        ({"model": 3.0}, "must be callable on one example, but is float"),
        ({"model": jnp.tanh}, "holds no float array"),
    ],
)
def test_bad_input_fails_at_the_door(data, change, message):
    x, y = data
    arguments = {"model": mlp(), "x": x, "y": y, "loss": "squared"} | change
    model = arguments.pop("model")
    with pytest.raises(ArgumentError, match=message):
        network(model, arguments.pop("x"), arguments.pop("y"), **arguments)


def test_data_may_have_the_bytes_of_another_machine(data):
    x, y = np.asarray(data[0]), np.asarray(data[1])
    model = mlp()
    loss = network(model, x, y)
    w = loss.flatten(model)
    assert float(network(model, x.astype(">f8"), y.astype(">f8"))(w)) == float(loss(w))


class Indexed(eqx.Module):
    a: jax.Array
    order: jax.Array

    def __call__(self, x):
        return (self.a @ x)[self.order]


def test_whole_numbers_in_a_network_are_no_weights(data):
    model = Indexed(jnp.ones((OUTPUTS, INPUTS)), jnp.arange(OUTPUTS)[::-1])
    loss = network(model, *data)
    assert (loss.weight_names, loss.dim) == (("a",), OUTPUTS * INPUTS)
    np.testing.assert_array_equal(loss.unflatten(loss.flatten(model)).order, [2, 1, 0])


def test_complex_weights_and_arrays_of_numpy_are_refused(data):
    with pytest.raises(ArgumentError, match=r"real floating-point arrays .* complex128"):
        network(Indexed(1j * jnp.ones((OUTPUTS, INPUTS)), None), *data)
    with pytest.raises(ArgumentError, match=r"real floating-point arrays .* ndarray int64"):
        network(Indexed(jnp.ones((OUTPUTS, INPUTS)), np.arange(3)), *data)


def test_flattening_another_network_is_refused(loss):
    with pytest.raises(ArgumentError, match="must be built like the network"):
        loss.flatten(mlp(inputs=INPUTS + 1))


def test_frozen_arrays_are_held_and_are_no_weights(data, w):
    model = mlp()
    whole = network(model, *data)
    loss = network(model, *data, frozen=["layers.0"])
    assert loss.weight_names == ("layers.1.weight", "layers.1.bias")
    held = whole.flatten(model)[: HIDDEN * (INPUTS + 1)]
    v = w[HIDDEN * (INPUTS + 1) :]
    assert float(loss(v)) == pytest.approx(float(whole(jnp.concatenate([held, v]))), rel=1e-14)
    np.testing.assert_array_equal(loss.flatten(model), whole.flatten(model)[len(held) :])
    with pytest.raises(ArgumentError, match=r"none of layers.0.weight, .* begins with 'layers.2'"):
        network(model, *data, frozen=["layers.2"])
    with pytest.raises(ArgumentError, match="is a single string"):
        network(model, *data, frozen="layers.0")


def test_classes_are_one_hot_rows(data, w):
    x, y = data
    classes = y.argmax(axis=1)
    for criterion in ("squared", "cross_entropy"):
        rows, whole = (network(mlp(), x, t, loss=criterion) for t in (y, classes))
        assert float(rows(w)) == float(whole(w))
        assert float(rows.misclassified(w)) == float(whole.misclassified(w))
    f = network(mlp(), x, y).predict(w)
    assert float(rows.misclassified(w)) == np.mean(np.argmax(f, axis=1) != classes)
    with pytest.raises(ArgumentError, match="classes 0 to 2, but 1 of 7 are not; the first is 3"):
        network(mlp(), x, np.where(np.arange(7) == 5, 3, classes), loss="cross_entropy")
    with pytest.raises(ArgumentError, match="classes 0 to 2, but 1 of 7 are not; the first is -1"):
        network(mlp(), x, np.where(np.arange(7) == 5, -1, classes), loss="cross_entropy")


def test_label_smoothing_mixes_targets_with_the_uniform_ones(data, w):
    x, y = data
    smooth = network(mlp(), x, y.argmax(axis=1), loss="cross_entropy", label_smoothing=0.1)
    mixed = network(mlp(), x, 0.9 * y + 0.1 / OUTPUTS, loss="cross_entropy")
    assert float(smooth(w)) == pytest.approx(float(mixed(w)), rel=1e-14)
    with pytest.raises(
        ArgumentError, match="`label_smoothing` must be 0 unless the loss is cross_entropy"
    ):
        network(mlp(), x, y, label_smoothing=0.1)
    with pytest.raises(ArgumentError, match=r"`label_smoothing` must be in \[0, 1\)"):
        network(mlp(), x, y, loss="cross_entropy", label_smoothing=1.0)


def test_weight_decay_counted_adds_its_share_to_value_gradient_and_curvature(data, w):
    plain, decayed = network(mlp(), *data), network(mlp(), *data, weight_decay=0.2)
    assert float(decayed(w) - plain(w)) == pytest.approx(0.1 * float(w @ w), rel=1e-12)
    np.testing.assert_allclose(decayed.gradient(w) - plain.gradient(w), 0.2 * w, atol=1e-14)
    np.testing.assert_allclose(decayed.hvp(w, w) - plain.hvp(w, w), 0.2 * w, atol=1e-13)


def test_a_network_in_single_precision_takes_and_returns_doubles(data, w):
    single, double = network(mlp(), *data, dtype="float32"), network(mlp(), *data)
    assert single.unflatten(w).layers[0].weight.dtype == jnp.float32
    assert single.gradient(w).dtype == single.hvp(w, w).dtype == jnp.float64
    # Rounding of sums of ten numbers of order 1 in single precision, and not that of doubles.
    error = np.abs(single.gradient(w) - double.gradient(w)).max()
    assert 1e-12 < error < 1e-5
    assert (single.precision, double.precision) == (2.0**-23, 2.0**-52)
    with pytest.raises(ArgumentError, match="`dtype` must be float32 or float64, but is 'float16'"):
        network(mlp(), *data, dtype="float16")
    with pytest.raises(ArgumentError, match="`dtype` must be float32 or float64, but is 'flaot32'"):
        network(mlp(), *data, dtype="flaot32")


def test_a_function_of_parameters_is_the_module_that_computes_the_same(data, w):
    model = mlp()
    module = network(model, *data, loss="cross_entropy")
    params = [{"weight": np.asarray(m.weight), "bias": m.bias} for m in model.layers]

    def function(params, x):
        first, last = params
        hidden = jnp.tanh(x @ first["weight"].T + first["bias"])
        return hidden @ last["weight"].T + last["bias"]

    loss = network_function(function, params, *data, loss="cross_entropy", name="own")
    assert loss.weight_names == ("0.bias", "0.weight", "1.bias", "1.weight")
    v = loss.flatten(params)
    assert float(loss(v)) == pytest.approx(float(module(module.flatten(model))), rel=1e-13)
    np.testing.assert_array_equal(loss.unflatten(v)[1]["bias"], params[1]["bias"])


def test_the_state_of_a_function_is_taken_along_and_is_no_weight(data):
    params, state = {"a": jnp.ones((OUTPUTS, INPUTS))}, {"mean": jnp.full(INPUTS, 0.5)}
    function = lambda p, s, x: (x - s["mean"]) @ p["a"].T  # noqa: E731
    loss = network_function(function, params, *data, state=state, batch_norm="eval")
    assert loss.dim == OUTPUTS * INPUTS
    x, y = data
    expected = 0.5 * np.mean(np.sum(((x - 0.5).sum(axis=1, keepdims=True) - y) ** 2, axis=1))
    assert float(loss(jnp.ones(loss.dim))) == pytest.approx(expected, rel=1e-13)
    assert len(jax.tree.leaves(loss)) == 3  # x, y and the state: arguments of what is compiled


def test_tokens_stay_whole_numbers():
    class Embedded(eqx.Module):
        table: jax.Array

        def __call__(self, tokens):
            return self.table[tokens].sum(axis=0)

    loss = network(Embedded(jnp.ones((4, 2))), [[0, 3], [1, 1]], [[1.0, 0.0], [0.0, 1.0]])
    assert jnp.issubdtype(loss.x.dtype, jnp.integer)
    assert float(loss(jnp.ones(8))) == 0.5 * (1 + 4)


def test_cross_entropy_of_a_single_logit_is_refused():
    """It is 0 whatever the network returns."""
    model = eqx.nn.Linear(2, 1, key=jr.key(0))
    with pytest.raises(ArgumentError, match="fewer than two classes"):
        network(model, np.ones((3, 2)), np.ones((3, 1)), loss="cross_entropy")


def test_the_losses_of_every_library_are_made_alike():
    """Common options have the same names, the same defaults and the same order."""
    makers = network, network_function, torch_network
    options = [
        {
            n: p.default
            for n, p in inspect.signature(f).parameters.items()
            if p.kind is p.KEYWORD_ONLY
        }
        for f in makers
    ]
    common = ["loss", "name", "label_smoothing", "weight_decay", "batch_norm", "dtype"]
    for each in options:
        assert list(each)[: len(common)] == common
        assert [each[name] for name in common] == [None, None, 0.0, 0.0, None, None]
    first = [list(inspect.signature(f).parameters)[:3] for f in (network, makers[2])]
    assert first == [["model", "x", "y"]] * 2


def test_booleans_are_inputs_and_no_classes():
    x, linear = np.eye(3, dtype=bool), lambda p, x: x @ p["a"]
    params, classes = {"a": jnp.arange(6.0).reshape(3, 2)}, np.array([0, 1, 1])
    w = jnp.arange(6.0)
    loss = network_function(linear, params, x, classes)
    assert float(loss(w)) == float(network_function(linear, params, x.astype(float), classes)(w))
    rows = np.eye(2, dtype=bool)[classes]
    named = network_function(linear, params, x, rows, loss="cross_entropy")
    assert float(named(w)) == pytest.approx(float(loss(w)), rel=1e-15)  # one-hot rows
    for y in (classes == 1, rows):  # as classes; as rows that can be values
        with pytest.raises(ArgumentError, match=r"is boolean. Use y.astype\(int\) or"):
            network_function(linear, params, x, y)
