"""PyTorch modules as losses: against PyTorch itself, NumPy, and equinox with the same weights."""

import copy
import gc
import operator
import types
import weakref

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._random import words
from samflow.losses import network
from samflow.losses.finite_sum import FiniteSum
from samflow.losses.network_base import NetworkOptions
from samflow.losses.pytorch import TorchLoss, torch_network
from samflow.losses.pytorch.objective import received, returned
from samflow.spectra import spectral_density, trace, update_multipliers
from samflow.spectra.products import hessian_product
from samflow.spectra.spectrum import extreme_eigenpairs

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional
torch.set_num_threads(1)

INPUTS, HIDDEN, OUTPUTS, EXAMPLES = 5, 4, 3, 7
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(EXAMPLES, INPUTS)), RNG.integers(OUTPUTS, size=EXAMPLES)


def seeded(make):
    torch.manual_seed(0)
    return make().double()


def mlp(hidden=HIDDEN):
    return seeded(
        lambda: nn.Sequential(nn.Linear(INPUTS, hidden), nn.Tanh(), nn.Linear(hidden, OUTPUTS))
    )


def normalised():
    return seeded(
        lambda: nn.Sequential(
            nn.Linear(INPUTS, HIDDEN),
            nn.BatchNorm1d(HIDDEN),
            nn.Tanh(),
            nn.Dropout(0.5),
            nn.Linear(HIDDEN, OUTPUTS),
        )
    )


def direction(loss, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=loss.dim))


def torch_mean(module, w, criterion=functional.cross_entropy, x=X, y=Y):
    """The loss as a PyTorch user writes it, with weights in a flat tensor."""
    names, shapes = zip(*((n, p.shape) for n, p in module.named_parameters()), strict=True)
    parts = torch.split(w, [s.numel() for s in shapes])
    weights = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
    f = torch.func.functional_call(module, weights, (torch.tensor(x),))
    return criterion(f, torch.tensor(y))


def equinox_twin(module, x=X, y=Y, **kwargs):
    """The same network in JAX, with the weights copied layer by layer."""
    first, _, last = module
    made = eqx.nn.MLP(INPUTS, OUTPUTS, first.out_features, 1, activation=jnp.tanh, key=jr.key(0))
    where = lambda m: [a for layer in m.layers for a in (layer.weight, layer.bias)]  # noqa: E731
    arrays = [
        jnp.asarray(p.detach().numpy()) for layer in (first, last) for p in layer.parameters()
    ]
    made = eqx.tree_at(where, made, arrays)
    return network(made, x, y, loss="cross_entropy", **kwargs), made


@pytest.fixture(scope="module")
def pair():
    """The loss of a module, its twin, and the weights of both."""
    module = mlp()
    twin, model = equinox_twin(module)
    loss = torch_network(module, X, Y)
    np.testing.assert_array_equal(loss.flatten(), twin.flatten(model))
    return loss, twin, loss.flatten()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")  # torch.func.hessian
def test_derivatives_are_those_of_torch_func(pair):
    loss, _, w = pair
    module, v = mlp(), direction(loss)
    function = lambda w: torch_mean(module, w)  # noqa: E731
    at = torch.tensor(np.asarray(w))
    # The same operations up to the order of sums of seven terms.
    assert float(loss(w)) == pytest.approx(float(function(at)), rel=1e-14)
    np.testing.assert_allclose(loss.gradient(w), torch.func.grad(function)(at), atol=1e-15)
    hessian = torch.func.hessian(function)(at).numpy()
    np.testing.assert_allclose(loss.hessian(w), hessian, atol=1e-14)
    np.testing.assert_allclose(loss.hvp(w, v), hessian @ v, atol=1e-13)


def test_derivatives_are_those_of_the_twin_in_jax(pair):
    loss, twin, w = pair
    v = direction(loss)
    assert loss.weight_shapes == twin.weight_shapes
    for wrap in (lambda f: f, jax.jit):
        for make in (
            lambda s: lambda w: s(w),
            lambda s: s.gradient,
            lambda s: s.hessian,
            lambda s: lambda w: s.hvp(w, v),
            lambda s: lambda w: jax.jvp(s.gradient, (w,), (v,))[1],
            lambda s: s.predict,
            lambda s: s.misclassified,
        ):
            np.testing.assert_allclose(wrap(make(loss))(w), make(twin)(w), atol=1e-13)


def test_names_and_options_are_those_of_the_module(pair):
    loss, _, _ = pair
    assert loss.weight_names == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert (loss.name, loss.dim, loss.num_examples) == ("Sequential", 39, EXAMPLES)
    assert loss.options == NetworkOptions("cross_entropy", 0.0, 0.0, "none", "float64")
    assert (loss.domain, loss.elementwise, loss.kinks, loss.unused) == (None, False, (), ())
    assert isinstance(loss, FiniteSum)


@pytest.mark.parametrize(
    "change",
    [
        {"label_smoothing": 0.1},
        {"weight_decay": 0.3},
        {"loss": "squared"},
        {"loss": "squared", "y": np.arange(21.0).reshape(7, 3)},
        {"y": np.full((7, 3), 1 / 3), "label_smoothing": 0.2},
    ],
    ids=str,
)
def test_every_criterion_is_that_of_the_twin(change):
    settings = {"y": Y, "loss": "cross_entropy"} | change
    y, module = settings.pop("y"), mlp()
    loss = torch_network(module, X, y, **settings)
    _, model = equinox_twin(module)
    twin = network(model, X, y, **settings)
    w, v = loss.flatten(), direction(loss)
    assert float(loss(w)) == pytest.approx(float(twin(w)), rel=1e-13)
    np.testing.assert_allclose(loss.gradient(w), twin.gradient(w), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(loss.hvp(w, v), twin.hvp(w, v), rtol=1e-12, atol=1e-12)
    assert float(loss.misclassified(w)) == pytest.approx(float(twin.misclassified(w)))


def test_label_smoothing_is_that_of_pytorch():
    module = mlp()
    loss = torch_network(module, X, Y, label_smoothing=0.1)
    f = module(torch.tensor(X)).detach()
    expected = functional.cross_entropy(f, torch.tensor(Y), label_smoothing=0.1)
    assert float(loss(loss.flatten())) == pytest.approx(float(expected), rel=1e-14)


@pytest.mark.parametrize(
    "criterion", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="none")]
)
def test_a_criterion_may_be_a_function_of_each_example_or_a_mean(pair, criterion):
    loss, _, w = pair
    own = torch_network(mlp(), X, Y, loss=criterion, chunk_size=3)
    assert own.options.criterion == "CrossEntropyLoss"
    assert float(own(w)) == pytest.approx(float(loss(w)), rel=1e-14)
    np.testing.assert_allclose(own.gradient(w), loss.gradient(w), atol=1e-15)
    assert float(own.misclassified(w)) == float(loss.misclassified(w))


def test_a_function_is_never_taken_for_the_built_in_criterion_of_its_name():
    loss = torch_network(mlp(), X, Y, loss=functional.cross_entropy)
    assert loss.options.criterion == "cross_entropy (a function)"
    assert loss.has_classes
    bare = torch_network(mlp(), X, RNG.normal(size=(EXAMPLES, OUTPUTS)), loss=nn.MSELoss())
    assert not bare.has_classes
    with pytest.raises(
        ArgumentError, match="`label_smoothing` must be 0 unless the loss is cross_entropy"
    ):
        torch_network(mlp(), X, Y, loss=functional.cross_entropy, label_smoothing=0.3)
    with pytest.raises(
        ArgumentError, match="`label_smoothing` must be 0 unless the loss is cross_entropy"
    ):
        loss.with_options(label_smoothing=0.3)


def test_outputs_may_have_more_axes_and_the_mean_is_over_positions():
    x, y = RNG.normal(size=(6, 2, INPUTS)), RNG.integers(OUTPUTS, size=(6, 2))
    module = mlp()
    loss = torch_network(module, x, y)
    f = module(torch.tensor(x)).detach().reshape(-1, OUTPUTS)
    expected = functional.cross_entropy(f, torch.tensor(y).reshape(-1))
    assert float(loss(loss.flatten())) == pytest.approx(float(expected), rel=1e-14)
    assert loss.predict(loss.flatten()).shape == (6, 2, OUTPUTS)


def snapshot(module):
    return (
        {n: t.clone() for n, t in module.state_dict().items()},
        [m.training for m in module.modules()],
        [(p.requires_grad, p.grad, p.data_ptr(), p._version) for p in module.parameters()],
        [(b.data_ptr(), b._version) for b in module.buffers()],
    )


def assert_same(before, after):
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][n], after[0][n]) for n in before[0])
    assert before[1:] == after[1:]


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_the_module_of_the_user_is_never_changed(batch_norm):
    module = normalised()
    module[3].eval()
    x = torch.tensor(X)
    before, data = snapshot(module), x.clone()
    random = torch.get_rng_state()
    loss = torch_network(module, x, Y, batch_norm=batch_norm)
    w = loss.flatten() + 0.1
    for call in (loss, loss.gradient, lambda w: loss.hvp(w, w), loss.predict, loss.unflatten):
        call(w)
    assert_same(before, snapshot(module))
    assert torch.equal(x, data)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
    with pytest.raises(ArgumentError):
        torch_network(module, X[:, 1:], Y)
    assert_same(before, snapshot(module))


def test_a_pass_that_raises_midway_changes_nothing():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(INPUTS, OUTPUTS), nn.BatchNorm1d(OUTPUTS)
            self.allowed = [4]  # three passes at the door

        def forward(self, x):
            f = self.norm(self.layer(x))
            self.allowed[0] -= 1
            if self.allowed[0] < 0:
                raise KeyError("late")
            return f

    module = seeded(Late)
    before = snapshot(module)
    flags = torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()
    loss = torch_network(module, X, Y, batch_norm="train")
    w = loss.flatten()
    loss(w)
    with pytest.raises(KeyError, match="late"):
        loss(w)
    assert_same(before, snapshot(module))
    assert module.allowed == [4]
    now = torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()
    assert now == flags


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_batch_norm_has_the_statistics_asked_for(batch_norm):
    module = normalised()
    module.train()
    for _ in range(3):
        module(torch.tensor(RNG.normal(1.0, 2.0, size=(9, INPUTS))))
    loss = torch_network(module, X, Y, batch_norm=batch_norm)
    norm = module[1]
    a = {n: p.detach().numpy() for n, p in module.named_parameters()}
    h = X @ a["0.weight"].T + a["0.bias"]
    mean, variance = h.mean(axis=0), h.var(axis=0)
    if batch_norm == "eval":
        mean, variance = norm.running_mean.numpy(), norm.running_var.numpy()
    h = (h - mean) / np.sqrt(variance + norm.eps) * a["1.weight"] + a["1.bias"]
    f = np.tanh(h) @ a["4.weight"].T + a["4.bias"]
    np.testing.assert_allclose(loss.predict(loss.flatten()), f, atol=1e-13)
    assert loss.options.batch_norm == batch_norm
    w, v = loss.flatten(), direction(loss)
    h = 1e-5  # error h²/6 · L'''' + eps/h, about 1e-9
    numeric = (loss.gradient(w + h * v) - loss.gradient(w - h * v)) / (2 * h)
    np.testing.assert_allclose(loss.hvp(w, v), numeric, atol=1e-7)
    if batch_norm == "train":
        with pytest.raises(ArgumentError, match="the mean over chunks is a different loss"):
            loss.in_chunks(3)
    else:
        assert float(loss.in_chunks(3)(w)) == pytest.approx(float(loss(w)), rel=1e-14)


def test_batch_norm_without_running_statistics_is_said_to_take_those_of_the_batch():
    module = seeded(
        lambda: nn.Sequential(nn.Linear(INPUTS, 3), nn.BatchNorm1d(3, track_running_stats=False))
    )
    assert torch_network(module, X, Y).options.batch_norm == "train"
    with pytest.raises(ArgumentError, match="the mean over chunks is a different loss"):
        torch_network(module, X, Y, chunk_size=2)


def test_the_loss_stays_when_the_module_is_trained_further():
    module = normalised()
    loss = torch_network(module, X, Y)
    w, before = loss.flatten(), loss(loss.flatten())
    kept = np.array(w)
    module.train()
    module(torch.tensor(X))  # moves the running statistics
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(2.0)
    np.testing.assert_array_equal(w, kept)
    assert loss(w) == before
    np.testing.assert_array_equal(loss.flatten(), 2 * kept)  # the weights that it has now


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(6, 3), nn.Linear(3, 6, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens):
        return self.out(self.embed(tokens).sum(dim=1))


def test_a_tied_weight_counts_once_and_has_the_derivatives_of_both_its_uses():
    tokens, y = np.array([[0, 3], [1, 1], [5, 2]]), np.array([1, 0, 4])
    module = seeded(Tied)
    loss = torch_network(module, tokens, y)
    assert (loss.weight_names, loss.dim) == (("embed.weight",), 18)

    def by_hand(w):
        e = w.reshape(6, 3)
        f = e[tokens].sum(axis=1) @ e.T
        return -jnp.mean(jax.nn.log_softmax(f)[jnp.arange(3), y])

    w = loss.flatten() + 0.1
    assert float(loss(w)) == pytest.approx(float(by_hand(w)), rel=1e-14)
    np.testing.assert_allclose(loss.gradient(w), jax.grad(by_hand)(w), atol=1e-14)
    np.testing.assert_allclose(loss.hessian(w), jax.hessian(by_hand)(w), atol=1e-13)
    state = loss.unflatten(w)
    assert set(state) == {"embed.weight", "out.weight"}
    assert state["embed.weight"] is state["out.weight"]
    np.testing.assert_array_equal(loss.flatten({"out.weight": state["out.weight"]}), w)


def test_a_module_of_two_names_keeps_nothing_of_a_pass():
    norm, layer = nn.BatchNorm1d(5), seeded(lambda: nn.Linear(5, 5, dtype=torch.float64))
    module = nn.Sequential(layer, norm.double(), nn.Tanh(), layer, norm)
    loss = torch_network(module, X, np.tanh(X), loss="squared", batch_norm="train")
    before, w = loss.unflatten(loss.flatten()), loss.flatten()
    loss.gradient(w + 1)
    loss.hvp(w + 1, w)
    after = loss.unflatten(w)
    assert set(after) == set(module.state_dict())
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    assert not any(t.requires_grad for t in loss.objective.network.module.buffers())
    assert {id(p) for p in loss.objective.network.module.parameters()} == {
        id(p) for p in module.parameters()
    }


def test_frozen_parameters_are_used_from_their_own_memory_and_are_no_weights():
    module = mlp()
    whole = torch_network(module, X, Y)
    module[0].requires_grad_(False)
    loss = torch_network(module, X, Y)
    assert loss.weight_names == ("2.weight", "2.bias")
    held = INPUTS * HIDDEN + HIDDEN
    w = whole.flatten()
    np.testing.assert_allclose(loss.gradient(w[held:]), whole.gradient(w)[held:], atol=1e-16)
    np.testing.assert_allclose(loss.hessian(w[held:]), whole.hessian(w)[held:, held:], atol=1e-15)
    shared = dict(loss.objective.network.module.module.named_parameters())["0.weight"]
    assert shared.data_ptr() == module[0].weight.data_ptr()
    assert [p.requires_grad for p in module.parameters()] == [False, False, True, True]


def test_flatten_and_unflatten_are_inverse_and_load_into_the_module():
    module = normalised()
    loss = torch_network(module, X, Y)
    w = direction(loss)
    state = loss.unflatten(w)
    other = normalised()
    other.load_state_dict(state)
    np.testing.assert_array_equal(loss.flatten(other), w)
    np.testing.assert_array_equal(loss.flatten(state), w)
    state["0.weight"].zero_()
    np.testing.assert_array_equal(loss.flatten(other), w)
    with pytest.raises(
        ArgumentError, match=r"must hold '0.weight' of shape \(4, 5\), but has none"
    ):
        loss.flatten({})
    with pytest.raises(
        ArgumentError, match=r"'0.weight' of shape \(4, 5\), but has one .* \(25, 5\)"
    ):
        loss.flatten(mlp(hidden=25))
    with pytest.raises(ArgumentError, match="a module or a mapping"):
        loss.flatten(3.0)


def test_a_loss_in_chunks_is_the_whole_loss(pair):
    whole, _, w = pair
    loss = torch_network(mlp(), X, Y, chunk_size=3)  # 3, 3 and 1
    assert [p.num_examples for _, p in loss.chunks(3)] == [3, 3, 1]
    v = direction(whole)
    # Sums of seven terms in another order.
    assert float(loss(w)) == pytest.approx(float(whole(w)), rel=1e-14)
    np.testing.assert_allclose(loss.gradient(w), whole.gradient(w), atol=1e-15)
    np.testing.assert_allclose(loss.hvp(w, v), whole.hvp(w, v), atol=1e-14)
    np.testing.assert_allclose(loss.hessian(w), whole.hessian(w), atol=1e-14)
    np.testing.assert_allclose(loss.predict(w), whole.predict(w), atol=1e-15)
    assert float(loss.misclassified(w)) == pytest.approx(float(whole.misclassified(w)))
    shares = sum(share * part.gradient(w) for share, part in whole.chunks(4))
    np.testing.assert_allclose(shares, whole.gradient(w), atol=1e-15)
    assert whole.in_chunks(2).chunk_size == 2


def test_batches_count_repeated_examples_as_often(pair):
    loss, twin, w = pair
    drawn, expected = (s.batch(np.array([5, 0, 5, -1])) for s in (loss, twin))
    assert float(drawn(w)) == pytest.approx(float(expected(w)), rel=1e-14)
    np.testing.assert_allclose(drawn.gradient(w), expected.gradient(w), atol=1e-15)
    assert drawn.whole is loss
    again = drawn.batch([1, 2])
    np.testing.assert_allclose(again(w), twin.batch(jnp.array([0, 5]))(w), rtol=1e-14)
    mask = np.arange(EXAMPLES) < 2
    np.testing.assert_allclose(loss.batch(mask)(w), twin.batch(np.arange(2))(w), rtol=1e-14)
    traced = jax.jit(lambda i: loss.batch(i).gradient(w))(jnp.array([5, 0, 5]))
    np.testing.assert_allclose(traced, twin.batch(np.array([5, 0, 5])).gradient(w), atol=1e-15)
    mean = sum(s(w) for s in loss.shards(1)) / EXAMPLES
    assert float(mean) == pytest.approx(float(loss(w)), rel=1e-14)
    for wrong in ([7], [-8], [0.5], [], [[1]]):
        with pytest.raises(ArgumentError, match="Argument `indices` must be"):
            loss.batch(wrong)


def test_data_may_lie_on_disk_or_behind_an_index(pair, tmp_path):
    loss, _, w = pair
    on_disk = np.memmap(tmp_path / "x", dtype=">f8", mode="w+", shape=X.shape)
    on_disk[:] = X
    on_disk.flush()
    on_disk = np.memmap(tmp_path / "x", dtype=">f8", mode="r", shape=X.shape)
    read = []

    class Indexed:
        def __len__(self):
            return EXAMPLES

        def __getitem__(self, index):
            read.append(len(range(EXAMPLES)[index]) if isinstance(index, slice) else len(index))
            return X[index].tolist()

    for x in (on_disk, Indexed(), jnp.asarray(X), X.tolist(), torch.tensor(X)):
        made = torch_network(mlp(), x, torch.tensor(Y), chunk_size=2)
        np.testing.assert_allclose(made.gradient(w), loss.gradient(w), atol=1e-15)
    assert max(read) == 2


def test_inputs_may_be_named_or_several(pair):
    class Reply(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, values, mask):
            return types.SimpleNamespace(logits=self.net(values * mask[:, None]))

    loss, _, w = pair
    mask = np.ones(EXAMPLES, dtype=np.int64)
    named = torch_network(
        Reply(),
        {"values": X, "mask": mask},
        Y,
        forward=lambda module, x: module(**x).logits,
        chunk_size=4,
    )
    several = torch_network(Reply(), (X, mask), Y, forward=lambda module, x: module(*x).logits)
    for made in (named, several):
        np.testing.assert_allclose(made.gradient(w), loss.gradient(w), atol=1e-15)
    with pytest.raises(
        ArgumentError, match=r"one tensor, but returns SimpleNamespace\. Pass `forw"
    ):
        torch_network(Reply(), (X, mask), Y)
    with pytest.raises(ArgumentError, match=r"`x\['mask'\]` must have one row .* 7, but has 6"):
        torch_network(Reply(), {"values": X, "mask": mask[1:]}, Y)


def test_single_precision_is_near_double_and_half_is_raised_to_it():
    double = torch_network(mlp(), X, Y)
    w, v = double.flatten(), direction(double)
    for module, dtype in ((mlp().float(), None), (mlp(), torch.float32), (mlp(), "float32")):
        single = torch_network(module, X, Y, dtype=dtype)
        assert (single.options.dtype, single.precision) == ("float32", 2.0**-23)
        assert single.gradient(w).dtype == single.hvp(w, v).dtype == jnp.float64
        # Rounding of sums of ten numbers of order 1 in single precision, and not of doubles.
        error = np.abs(single.gradient(w) - double.gradient(w)).max()
        assert 1e-12 < error < 1e-6
        np.testing.assert_allclose(single.hvp(w, v), double.hvp(w, v), atol=1e-5)
    half = mlp().half()
    loss = torch_network(half, X, Y)
    assert loss.options.dtype == "float32"
    assert half[0].weight.dtype == torch.float16
    np.testing.assert_allclose(loss.flatten(), w, atol=1e-3)  # halves have 11 bits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(single.gradient(w), single.gradient(w))
        error = np.abs(single.gradient(w) - double.gradient(w)).max()
    assert error < 1e-6
    with pytest.raises(ArgumentError, match=r"`dtype` must be float32 .* is .*float16"):
        torch_network(mlp(), X, Y, dtype=torch.float16)
    with pytest.raises(ArgumentError, match="`dtype` must be float32 or float64, but is 'flaot32'"):
        torch_network(mlp(), X, Y, dtype="flaot32")


def test_where_jax_is_in_single_precision_a_network_is_too():
    jax.config.update("jax_enable_x64", False)
    try:
        loss = torch_network(mlp().float(), X, Y)
        w = loss.flatten()
        assert w.dtype == loss.gradient(w).dtype == loss.hvp(w, w).dtype == jnp.float32
        with pytest.raises(ArgumentError, match=r"torch.float64 needs double precision"):
            torch_network(mlp(), X, Y)
    finally:
        jax.config.update("jax_enable_x64", True)


def test_arrays_share_memory_and_are_not_written():
    w = jnp.arange(1000.0)
    tensor = received(torch, w)
    assert tensor.data_ptr() == w.unsafe_buffer_pointer()
    made = torch.arange(1000.0, dtype=torch.float64)
    assert returned(made, w).unsafe_buffer_pointer() == made.data_ptr()

    class Clipping(nn.Module):
        """Writes its weights and its inputs, as clipped networks and in-place layers do."""

        def __init__(self):
            super().__init__()
            self.layer, self.first = nn.Linear(INPUTS, OUTPUTS), nn.ReLU(inplace=True)

        def forward(self, x):
            self.layer.weight.data.clamp_(-0.1, 0.1)
            return self.layer(self.first(x))

    module = seeded(Clipping)
    with torch.no_grad():
        module.layer.weight.mul_(10.0)
    x = torch.tensor(X)
    before = snapshot(module)
    loss = torch_network(module, x, Y)
    w = loss.flatten()
    kept = np.array(w)
    g = loss.gradient(w)
    first = np.array(g)
    product = loss.product_at(w)
    image = product(w)
    second = np.array(image)
    for _ in range(3):  # memory that PyTorch uses again
        for call in (loss, loss.gradient, product, loss.predict):
            call(w + 1.0)
    np.testing.assert_array_equal(w, kept)
    np.testing.assert_array_equal(g, first)
    np.testing.assert_array_equal(image, second)
    assert_same(before, snapshot(module))
    np.testing.assert_array_equal(x, X)


def test_the_caller_may_reuse_the_array_that_a_product_was_made_at(pair):
    loss, _, w = pair
    for made in (loss, loss.in_chunks(3)):
        at = np.array(w)
        product = made.product_at(at)
        expected = np.array(product(w))
        at[:] = 7.0
        np.testing.assert_array_equal(product(w), expected)


class Watched(torch.autograd.Function):
    tokens: list = []  # noqa: RUF012

    @staticmethod
    def forward(ctx, x):
        class Token:
            pass

        ctx.token = Token()
        Watched.tokens.append(weakref.ref(ctx.token))
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g


def test_the_graph_lives_as_long_as_the_product_and_is_made_once(pair):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            return Watched.apply(self.net(x))

    _, twin, w = pair
    loss = torch_network(Net(), X, Y)
    Watched.tokens.clear()
    product = hessian_product(loss, w)
    for seed in range(3):
        v = direction(loss, seed)
        np.testing.assert_allclose(product(np.asarray(v)), twin.hvp(w, v), atol=1e-13)
    assert len(Watched.tokens) == 1
    assert Watched.tokens[0]() is not None
    del product
    gc.collect()
    assert Watched.tokens[0]() is None
    Watched.tokens.clear()
    product = loss.in_chunks(4).product_at(w)
    product(w)
    gc.collect()
    assert [token() for token in Watched.tokens] == [None, None]


class TorchConvolution(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 2, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(18, OUTPUTS),
        )


def test_a_network_of_convolutions_is_its_twin_and_its_kinks_are_named():
    x = RNG.normal(size=(6, 1, 8, 8))
    module = seeded(TorchConvolution)
    loss = torch_network(module, x, Y[:6])
    keys = jr.split(jr.key(0))
    model = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(1, 2, 3, key=keys[0]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.MaxPool2d(2, 2),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(18, OUTPUTS, key=keys[1]),
        ]
    )
    twin = network(model, x, Y[:6], loss="cross_entropy")
    w, v = loss.flatten(), direction(loss)
    assert float(loss(w)) == pytest.approx(float(twin(w)), rel=1e-13)
    np.testing.assert_allclose(loss.gradient(w), twin.gradient(w), atol=1e-13)
    np.testing.assert_allclose(loss.hvp(w, v), twin.hvp(w, v), atol=1e-12)
    assert loss.kinks == ("max_pool2d", "relu")


@pytest.mark.parametrize(
    ("layer", "kinks"),
    [
        (nn.GELU(), ()),
        (nn.Softplus(), ()),
        (nn.ELU(), ()),
        (nn.CELU(2.0), ()),
        (nn.SELU(), ("elu",)),
        (nn.ReLU6(), ("hardtanh",)),
        (nn.LeakyReLU(), ("leaky_relu",)),
        (nn.PReLU(), ("prelu",)),
        (nn.Hardswish(), ("hardswish",)),
        (nn.Hardsigmoid(), ("hardtanh",)),
        (nn.Threshold(0.1, 0.1), ("threshold",)),
        (nn.Softshrink(), ("softshrink",)),
    ],
    ids=str,
)
def test_kinks_are_those_of_slopes_that_jump(layer, kinks):
    module = seeded(
        lambda: nn.Sequential(nn.Linear(INPUTS, HIDDEN), layer, nn.Linear(HIDDEN, OUTPUTS))
    )
    loss = torch_network(module, X, Y)
    assert loss.kinks == kinks
    w, v = loss.flatten(), direction(loss)
    h = 1e-6  # no unit passes a kink within h v; rounding eps/h
    numeric = (loss.gradient(w + h * v) - loss.gradient(w - h * v)) / (2 * h)
    np.testing.assert_allclose(loss.hvp(w, v), numeric, atol=1e-7)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(INPUTS, 8), nn.Linear(8, OUTPUTS)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")

    def forward(self, x):
        h = self.layer(self.inner(x))
        return self.head(functional.scaled_dot_product_attention(h, h, h).mean(dim=1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.LSTM(INPUTS, 4, batch_first=True), nn.Linear(4, OUTPUTS)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Parametrised(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.utils.parametrizations.weight_norm(nn.Linear(INPUTS, OUTPUTS))

    def forward(self, x):
        return self.layer(x).sum(dim=1)


class WeightNorm(nn.Module):
    """As torch.nn.utils.weight_norm was: a tensor of a graph as a plain attribute."""

    def __init__(self):
        super().__init__()
        self.v = nn.Parameter(torch.randn(OUTPUTS, INPUTS))
        self.made = self.v / self.v.norm()
        self.register_forward_pre_hook(lambda m, _: setattr(m, "made", m.v / m.v.norm()))

    def forward(self, x):
        return (x @ self.made.T).sum(dim=1)


@pytest.mark.parametrize("make", [Attention, Recurrent, Parametrised, WeightNorm])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_layers_of_every_sort_have_second_derivatives(make, precision):
    x = RNG.normal(size=(EXAMPLES, 3, INPUTS))
    module = seeded(make)
    before = snapshot(module)
    loss = torch_network(module, x, Y, dtype=precision)
    assert loss.unused == ()
    w, v = loss.flatten(), direction(loss)
    double = torch_network(module, x, Y)
    h = 1e-5  # error h²/6 · L'''' + eps/h, about 1e-9
    numeric = (double.gradient(w + h * v) - double.gradient(w - h * v)) / (2 * h)
    size = np.abs(numeric).max()
    tol = 1e-6 if precision == "float64" else 1e-4
    np.testing.assert_allclose(loss.hvp(w, v), numeric, atol=tol * size)
    assert_same(before, snapshot(module))


@pytest.fixture(scope="module")
def wide():
    """As `pair`, with more weights than are diagonalised whole."""
    module = mlp(hidden=25)
    loss = torch_network(module, X, Y)
    twin, _ = equinox_twin(module)
    assert loss.dim > 200
    return loss, twin, loss.flatten()


def test_spectra_are_those_of_the_twin(wide, pair):
    for loss, twin, w in (wide, pair):
        found, expected = (extreme_eigenpairs(s, w, k=2) for s in (loss, twin))
        np.testing.assert_allclose(found.values, expected.values, atol=1e-10)
        found, expected = (trace(s, w, num_products=20, key=jr.key(0)) for s in (loss, twin))
        np.testing.assert_allclose(found.value, expected.value, rtol=1e-8)
        # Few steps: the last Ritz values of many hang on rounding.
        found, expected = (
            spectral_density(s, w, key=jr.key(0), num_probes=2, num_steps=8) for s in (loss, twin)
        )
        np.testing.assert_allclose(found.nodes, expected.nodes, atol=1e-8)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_multipliers_are_those_of_the_twin(wide, pair, momentum):
    for loss, twin, w in (wide, pair):
        systems = (sf.Map(s, sf.USAM(0.05), lr=4.0, momentum=momentum) for s in (loss, twin))
        found, expected = (update_multipliers(s, w, k=1) for s in systems)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-8)


@pytest.mark.parametrize("rule", [sf.GD(), sf.USAM(0.05), sf.SAM(0.05)], ids=lambda r: r.name)
def test_orbits_under_a_callback_are_those_of_the_twin(pair, rule):
    loss, twin, w = pair
    found, expected = (sf.iterate(sf.Map(s, rule, lr=0.1), w, num_steps=20) for s in (loss, twin))
    np.testing.assert_allclose(found.w, expected.w, atol=1e-13)


def test_minibatches_and_shards_are_those_of_the_twin(pair):
    loss, twin, w = pair
    for rule in (sf.USAM(0.05), sf.rules.MSAM(0.05, shard_size=2)):
        steps = [
            sf.StochasticMap(sf.Map(s, rule, lr=0.1), sf.systems.MiniBatch(4)) for s in (loss, twin)
        ]
        drawn = words(jr.key_data(jr.key(0)), 0, 0, steps[0].num_words)
        found, expected = (
            eqx.filter_jit(lambda m, drawn: m.step(w, drawn))(m, drawn) for m in steps
        )
        np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9, "weight_decay": 0.01}], ids=str)
def test_gradient_descent_is_that_of_the_optimiser_of_pytorch(settings):
    module = mlp()
    loss = torch_network(module, X, Y)
    system = sf.Map(loss, sf.GD(), lr=0.1, **settings)
    z = system.lift(loss.flatten())
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, **settings)
    for _ in range(5):
        optimiser.zero_grad()
        functional.cross_entropy(module(torch.tensor(X)), torch.tensor(Y)).backward()
        optimiser.step()
        z = system.step(z)
    np.testing.assert_allclose(system.position(z), loss.flatten(module), atol=1e-14)


def test_large_arrays_pass_through_callbacks_without_waiting_for_ever():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.ones(5_000_000))

        def forward(self, x):
            return x * (self.a**2).sum()

    loss = torch_network(Sum(), np.ones(1), np.zeros(1), loss=lambda f, y: 1e-7 * f)
    w = jnp.ones(loss.dim)
    run = jax.jit(lambda w: jax.lax.fori_loop(0, 3, lambda _, w: w - jnp.sin(loss.gradient(w)), w))
    expected = w[0]
    for _ in range(3):
        expected = expected - jnp.sin(2e-7 * expected)
    np.testing.assert_allclose(run(w), expected, rtol=1e-6)


def test_weights_that_the_loss_does_not_see_have_gradient_zero_and_are_named():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen, self.hidden = nn.Linear(INPUTS, OUTPUTS), nn.Linear(INPUTS, OUTPUTS)

        def forward(self, x):
            return self.seen(x) + self.hidden(x).detach()

    loss = torch_network(seeded(Cut), X, Y)
    assert loss.unused == ("hidden.weight", "hidden.bias")
    w = loss.flatten()
    half = loss.dim // 2
    assert np.abs(loss.gradient(w)[:half]).max() > 0
    np.testing.assert_array_equal(loss.gradient(w)[half:], np.zeros(half))
    np.testing.assert_array_equal(loss.hvp(w, w)[half:], np.zeros(half))
    other = mlp()
    with pytest.raises(ArgumentError, match="depends on none"):
        torch_network(mlp(), X, Y, forward=lambda module, x: other(x))


def test_a_linear_loss_has_no_curvature():
    module = nn.Linear(INPUTS, 1).double()
    loss = torch_network(module, X, Y, loss=lambda f, y: f[:, 0])
    np.testing.assert_array_equal(loss.hessian(loss.flatten()), np.zeros((6, 6)))


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] ** 2 * g


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (Once.apply, "once_differentiable"),
        (lambda f: torch.cdist(f, f.detach() + 1.0)[:, :OUTPUTS], "_cdist_backward"),
    ],
)
def test_an_operation_without_a_second_derivative_is_refused(function, reason):
    loss = torch_network(mlp(), X, Y, forward=lambda module, x: function(module(x)))
    w = loss.flatten()
    assert np.isfinite(loss.gradient(w)).all()
    with pytest.raises(ArgumentError, match=f"no second derivative of it: .*{reason}"):
        loss.hvp(w, w)


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError,
    ],
)
def test_where_memory_runs_out_a_chunk_size_is_named(error):
    class Large(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.most = mlp(), [100]

        def forward(self, x):
            if len(x) > self.most[0]:
                raise error()
            return self.net(x)

    x, y = np.tile(X, (2, 1)), np.tile(Y, 2)
    module = Large()
    loss = torch_network(module, x, y)
    loss.objective.network.module.module.most[0] = 7
    w = loss.flatten()
    for call in (loss, loss.gradient, loss.product_at, loss.predict):
        with pytest.raises(ArgumentError, match=r"14 examples at once\. Use `loss.in_chunks\(3\)`"):
            call(w)
    assert np.isfinite(float(loss.in_chunks(7)(w)))
    loss.objective.network.module.module.most[0] = 0
    with pytest.raises(
        ArgumentError, match=r"1 example at once\. Even a single example is too much"
    ):
        loss.in_chunks(1)(w)
    module.most[0] = 3
    with pytest.raises(ArgumentError, match=r"8 examples at once\. .* `chunk_size=2`"):
        torch_network(module, x, y)


def complex_module():
    return nn.Linear(INPUTS, OUTPUTS, dtype=torch.complex128)


def spoilt(name, value):
    module = mlp()
    with torch.no_grad():
        dict(module.named_parameters())[name][0] = value
    return module


def randomised():
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            return functional.dropout(self.net(x), training=True)

    return Random()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": 3.0}, "`model` must be a Module, but is float"),
        ({"model": mlp().requires_grad_(False)}, "none of the 4 parameters of Sequential does"),
        ({"model": complex_module()}, "real floating-point weights, but 'weight' is of .*complex"),
        ({"model": spoilt("2.bias", np.nan)}, "finite weights, but '2.bias' is not"),
        ({"model": mlp().to("meta")}, "'0.weight' is on the device `meta`"),
        ({"model": nn.LazyLinear(3)}, "lazy parameters"),
        ({"model": randomised()}, "`model` must be deterministic, but .* differ by .*dropout"),
        ({"x": X[:, 1:]}, r"7 of shape \(4,\) fail: mat1 and mat2 shapes cannot be multiplied"),
        (
            {"x": np.where(np.arange(7)[:, None] == 4, np.inf, X)},
            "1 of 7 .* the first is example 4",
        ),
        ({"x": X[:0], "y": Y[:0]}, r"n ≥ 1, but has shape \(0, 5\)"),
        ({"x": 3.0}, r"n ≥ 1, but has shape \(\)"),
        ({"x": [["a"]] * 7}, "real numbers, but one is of type"),
        ({"x": {}}, "must hold arrays, but one is empty"),
        ({"x": X + 1j}, "real numbers, but one is of type complex128"),
        ({"y": Y[1:]}, "`y` must have one row per example of `x`, that is 7, but has 6"),
        ({"y": np.where(np.arange(7) == 5, 3, Y)}, "classes 0 to 2, but 1 of 7 .* first is 3"),
        ({"y": np.where(np.arange(7) == 5, -1, Y)}, "classes 0 to 2, but 1 of 7 .* is -1"),
        ({"y": Y + 0.5}, r"outputs, \(7, 3\), but has shape \(7,\) and type torch.float64"),
        ({"y": np.zeros((7, 4))}, r"outputs, \(7, 3\), but has shape \(7, 4\)"),
        ({"y": (Y, Y)}, r"outputs, \(7, 3\), but is no array"),
        ({"y": Y == 1}, r"`y` must be whole numbers .* but is boolean. Use y.astype\(int\)"),
        ({"y": np.eye(3, dtype=bool)[Y]}, "but is boolean"),
        ({"y": np.full((7, 3), np.nan)}, "`y` must be finite, but 7 of 7"),
        ({"loss": "cross-entropy"}, "Unknown loss `cross-entropy`. Did you mean cross_entropy"),
        ({"loss": nn.CrossEntropyLoss(reduction="sum")}, "mean over examples, but for 7 examples"),
        (
            {"loss": lambda f, y: f},
            r"one loss per example, shape \(7,\).* but returns shape \(7, 3\)",
        ),
        (
            {"loss": "squared", "label_smoothing": 0.1},
            "`label_smoothing` must be 0 unless the loss is cross",
        ),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be in \[0, 1\)"),
        ({"weight_decay": -1.0}, "`weight_decay` must be finite and at least 0"),
        ({"batch_norm": "evla"}, "Unknown batch_norm `evla`. Did you mean eval"),
        ({"chunk_size": 0}, "`chunk_size` must be a whole number of at least 1"),
        ({"device": "cuda:7"}, "`device` must be one that PyTorch can use, but is 'cuda:7'"),
        (
            {"forward": lambda module, x: module(x).sum()},
            r"one row .* of shape \(\) for 7 examples",
        ),
        ({"forward": lambda module, x: module(x)[:, 0]}, r"one number per class .* shape \(7,\)"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_input_fails_at_the_door(change, message):
    arguments = {"model": mlp(), "x": X, "y": Y} | change
    with pytest.raises(ArgumentError, match=message):
        torch_network(arguments.pop("model"), arguments.pop("x"), arguments.pop("y"), **arguments)


def test_means_that_weigh_examples_unlike_are_refused_unless_they_are_known():
    """A subclass may compute anything; that it leaves examples out shows in its settings."""

    class Own(nn.CrossEntropyLoss):
        pass

    x, y = np.random.default_rng(0).normal(size=(40, 5)), np.repeat([0, 1], 20)
    uneven = Own(weight=torch.tensor([1.0, 3.0, 1.0], dtype=torch.float64))
    with pytest.raises(ArgumentError, match="must be a mean over examples, but for 8 examples"):
        torch_network(mlp(), x, y, loss=uneven)
    alike = Own(weight=torch.full((3,), 2.0, dtype=torch.float64))
    assert torch_network(mlp(), x, y, loss=alike).num_examples == 40
    for where in (3, 38):
        y = np.where(np.arange(40) == where, -100, 1)
        with pytest.raises(
            ArgumentError, match=r'target is -100, and there are some.* reduction="none"'
        ):
            torch_network(mlp(), x, y, loss=Own())
        loss = torch_network(mlp(), x, y, loss=Own(reduction="none"))
        w = loss.flatten()
        # The sum over 39 examples in 40 shares; chunks add it up in another order.
        assert float(loss.in_chunks(7)(w)) == pytest.approx(float(loss(w)), rel=1e-6)


def test_a_dataset_that_takes_no_slices_is_refused():
    class Dataset(torch.utils.data.Dataset):
        def __len__(self):
            return EXAMPLES

        def __getitem__(self, index):
            return X[operator.index(index)], Y[index]

    with pytest.raises(
        ArgumentError, match="that can be selected by slices and by arrays of indices"
    ):
        torch_network(mlp(), Dataset(), Y)


def test_weights_that_are_not_finite_give_values_that_are_not(pair):
    loss, _, w = pair
    assert np.isnan(float(loss(w.at[0].set(jnp.nan))))
    assert np.isnan(loss.gradient(w.at[0].set(jnp.nan))).any()


def test_a_copy_of_the_loss_is_another_loss_of_the_same_numbers(pair):
    loss, _, w = pair
    assert loss == copy.copy(loss)
    assert isinstance(loss.in_chunks(2), TorchLoss)
    assert float(loss.in_chunks(2)(w)) == pytest.approx(float(loss(w)), rel=1e-14)


def test_cross_entropy_of_a_single_logit_is_refused():
    """It is 0 whatever the network returns."""
    with pytest.raises(ArgumentError, match="fewer than two classes"):
        torch_network(nn.Linear(4, 1), np.ones((3, 4)), np.ones((3, 1)), loss="cross_entropy")
