"""Models and loaders as training loops have them, against PyTorch's own dense Hessians."""

import dataclasses
from collections import OrderedDict
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.losses.loaders import read

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional
torch.set_num_threads(1)
live_checkpoint: Any = sf.networks.live_checkpoint

RNG = np.random.default_rng(0)
X, Y = torch.tensor(RNG.normal(size=(12, 3))), torch.tensor(RNG.integers(2, size=12))
W = torch.tensor(RNG.normal(size=(2, 3)))


def loader(batch_size=5, **settings):
    data = torch.utils.data.TensorDataset(X, Y)
    return torch.utils.data.DataLoader(data, batch_size=batch_size, **settings)


def linear():
    made = nn.Linear(3, 2, bias=False).double()
    made.weight.data.copy_(W)
    return made.eval()


def curvature(function, shape=(2, 3)):
    """The dense Hessian of a function of the weights, flat, by PyTorch itself."""
    h = torch.autograd.functional.hessian(function, W.reshape(shape))
    size = int(np.prod(shape))
    return h.reshape(size, size).numpy()


def cross_entropy(w):
    return functional.cross_entropy(X @ w.T, Y)


EXPECTED = curvature(cross_entropy)


def held(checkpoint):
    """Return the dense Hessian at a checkpoint."""
    return np.asarray(checkpoint.loss.hessian(checkpoint.w))


def exact(actual, expected, rtol=1e-12):
    """The same operations in another order: rounding of sums of a dozen terms."""
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@dataclasses.dataclass
class ModelOutput(OrderedDict):
    """As in transformers: a mapping, a record, and made by names."""

    loss: object = None
    logits: object = None

    def __post_init__(self):
        self.update({k: v for k, v in vars(self).items() if v is not None})


class Replies(nn.Module):
    """A linear map that returns its outputs as asked."""

    def __init__(self, reply):
        super().__init__()
        self.inside, self.reply = linear(), reply

    def forward(self, x):
        return self.reply(self.inside(x))


class WithLoss(nn.Module):
    """As in transformers: takes names, and returns a loss where it is given labels."""

    def __init__(self):
        super().__init__()
        self.inside = linear()

    def forward(self, inputs, labels=None):
        f = self.inside(inputs)
        loss = None if labels is None else functional.cross_entropy(f, labels)
        return ModelOutput(loss=loss, logits=f)


REPLIES = {
    "`logits`": lambda f: {"logits": f, "hidden": f[:, :1]},
    "`scores`": lambda f: {"scores": f},
    "the first of 2 entries": lambda f: (f, f.mean()),
    "logits of a record": lambda f: ModelOutput(logits=f),
}


@pytest.mark.parametrize("where", REPLIES)
def test_outputs_are_found_in_what_a_module_returns(where):
    module = Replies(REPLIES[where]).eval()
    checkpoint = live_checkpoint(module, loader(), nn.CrossEntropyLoss())
    exact(held(checkpoint), EXPECTED)
    assert any(where.partition(" of a")[0].strip("`") in note for note in checkpoint.notes)
    # A function gets the whole record, as in a training loop.
    record = module(X)
    picked = lambda f: next(t for t in (f.values() if isinstance(f, dict) else f) if t.ndim == 2)  # noqa: E731
    assert torch.equal(picked(record), linear()(X))
    by_hand = live_checkpoint(
        module, loader(), lambda f, y: functional.cross_entropy(picked(f), y, reduction="none")
    )
    exact(held(by_hand), EXPECTED)


def test_outputs_that_could_be_several_are_refused():
    module = Replies(lambda f: {"a": f, "b": f}).eval()
    with pytest.raises(ArgumentError, match=r"returns dict with 'a', 'b'\. Pass `forward`"):
        live_checkpoint(module, loader(), nn.CrossEntropyLoss())


def test_mappings_are_arguments_and_a_models_own_loss_is_that_of_its_batches():
    module = WithLoss().eval()
    batches = [
        {"inputs": X[i : i + 5], "labels": Y[i : i + 5], "text": ["a"] * len(X[i : i + 5])}
        for i in (0, 5, 10)
    ]
    own = live_checkpoint(module, batches)
    assert "the module's own" in own.loss.criterion
    assert "mean over 3 batches of 2 to 5 examples, by their sizes" in own.loss.criterion
    exact(held(own), EXPECTED)  # a mean over examples: by sizes it is that of all
    given = live_checkpoint(module, batches, nn.CrossEntropyLoss())
    exact(held(given), EXPECTED)
    exact(np.asarray(given.loss.in_chunks(4).hessian(given.w)), EXPECTED)
    with pytest.raises(ArgumentError, match="for a loss of whole batches"):
        own.loss.in_chunks(4)
    single = [{"image": batch["inputs"], "y": batch["labels"], "index": Y} for batch in batches[:1]]
    single[0]["index"] = torch.arange(5)
    with pytest.raises(ArgumentError, match="must give what the model takes, input"):
        live_checkpoint(linear(), single)
    del single[0]["index"]
    images = [{"image": X, "labels": Y}]  # no name of the module's, which takes labels, too
    exact(held(live_checkpoint(module, images)), EXPECTED)
    assert live_checkpoint(linear(), single).loss.num_examples == 5


def info_nce(f, y):
    """A contrastive loss: each example against all others of its batch."""
    f = functional.normalize(f)
    return functional.cross_entropy(f @ f.T / 0.5, torch.arange(len(f)) // 2 * 2)


def test_a_contrastive_loss_is_computed_of_whole_batches():
    def expected(size):
        def mean(w):
            f = X @ w.T
            parts = [f[i : i + size] for i in range(0, len(f), size)]
            return sum(len(part) / len(f) * info_nce(part, None) for part in parts)

        return curvature(mean)

    for size in (12, 4, 5):
        checkpoint = live_checkpoint(linear(), loader(size), info_nce)
        assert "info_nce is no mean over examples" in " ".join(checkpoint.notes)
        exact(held(checkpoint), expected(size), rtol=1e-11)
    assert np.abs(expected(4) - expected(12)).max() > 0.01  # another loss: batches decide
    with pytest.raises(ArgumentError, match=r"must be a mean over examples.*`batches=64`"):
        sf.losses.torch_network(linear(), X, Y, loss=info_nce)
    with pytest.raises(ArgumentError, match="`batch_size` must be None"):
        sf.networks.diagnose(linear(), loader(4), info_nce, rho=0.1, lr=0.1, batch_size=4)
    four = sf.losses.torch_network(linear(), X, Y, loss=info_nce, batches=4)
    shard = four.shards(4)[1]
    w = four.flatten()
    assert float(shard(w)) == pytest.approx(float(info_nce(X[4:8] @ W.T, None)), rel=1e-12)
    with pytest.raises(ArgumentError, match="must be the size of the batches"):
        four.shards(6)
    for batches, message in ((0, "batches"), ([5, 5], "add up to the 12 examples")):
        with pytest.raises(ArgumentError, match=message):
            sf.losses.torch_network(linear(), X, Y, loss=info_nce, batches=batches)
    with pytest.raises(ArgumentError, match="`batches` must be None for cross_entropy"):
        sf.losses.torch_network(linear(), X, Y, loss="cross_entropy", batches=4)


def entropy_of(module, batch):
    return functional.cross_entropy(module(batch[0]), batch[1])


def test_a_loss_that_may_be_chunked_is_the_same_by_examples_and_by_batches():
    each = lambda f, y: functional.cross_entropy(f, y, reduction="none")  # noqa: E731
    by_examples = live_checkpoint(linear(), loader(), each)
    assert not by_examples.loss.by_batch
    by_batches = live_checkpoint(linear(), loader(), batch_loss=entropy_of)
    assert by_batches.loss.by_batch
    assert by_batches.loss.criterion.startswith(
        "Loss: entropy_of, a function of a batch, mean over 3"
    )
    for each in (by_examples, by_batches):
        exact(held(each), EXPECTED)
    with pytest.raises(ArgumentError, match="loss of a batch alone"):
        by_batches.loss.predict(by_batches.w)
    with pytest.raises(ArgumentError, match="leave out `loss_fn`"):
        live_checkpoint(linear(), loader(), each, batch_loss=entropy_of)


@pytest.fixture
def one_process(tmp_path):
    """A group of one, which DistributedDataParallel needs."""
    place = f"file://{tmp_path}/group"
    torch.distributed.init_process_group("gloo", init_method=place, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_wrappers_are_taken_off(one_process):
    module = linear()
    wrapped = {
        "DistributedDataParallel": nn.parallel.DistributedDataParallel(module),
        "DataParallel": nn.DataParallel(module),
        "AveragedModel": torch.optim.swa_utils.AveragedModel(module),
    }
    for name, each in wrapped.items():
        checkpoint = live_checkpoint(each.eval(), loader(), nn.CrossEntropyLoss())
        assert f"Computed without its wrapper {name}." in checkpoint.notes
        assert checkpoint.loss.weight_names == ("weight",)
        exact(held(checkpoint), EXPECTED)
    assert live_checkpoint(module, loader(), nn.CrossEntropyLoss()).notes == ()


class FullyShardedDataParallel(nn.Module):
    """By its name and the package that it claims to be of, what shards weights."""

    __module__ = "torch.distributed.fsdp"


def test_sharded_weights_are_refused():
    with pytest.raises(ArgumentError, match=r"sharded over devices\. Load the full state_dict"):
        live_checkpoint(FullyShardedDataParallel(), loader())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is:DeprecationWarning")  # PyTorch's
def test_what_is_compiled_runs_as_it_was_written():
    """Slow: PyTorch takes six seconds to import its compiler."""
    for module in (torch.compile(linear()), nn.Sequential(torch.compile(linear()))):
        checkpoint = live_checkpoint(module.eval(), loader(), nn.CrossEntropyLoss())
        exact(held(checkpoint), EXPECTED)


def test_a_loader_that_shuffles_is_read_once_and_said_to():
    module, before = linear(), torch.get_rng_state()
    checkpoint = live_checkpoint(module, loader(shuffle=True), nn.CrossEntropyLoss())
    assert torch.equal(torch.get_rng_state(), before)
    assert any("new order each time (RandomSampler)" in note for note in checkpoint.notes)
    exact(held(checkpoint), EXPECTED)
    v = jnp.arange(6.0)
    one, other = (checkpoint.loss.hvp(checkpoint.w, v) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert live_checkpoint(linear(), loader(), nn.CrossEntropyLoss()).notes == ()
    few = live_checkpoint(linear(), loader(drop_last=True), nn.CrossEntropyLoss())
    assert any("leaves out 2 of 12 examples: drop_last" in note for note in few.notes)
    two = read(loader(), max_examples=7)
    assert two.sizes == (5, 2)
    assert "The first 7 examples" in two.notes[0]
    np.testing.assert_array_equal(two.x, X[:7])


class Augmented(torch.utils.data.Dataset):
    """Gives another picture of the same example each time."""

    def __init__(self, noise):
        self.noise = noise

    def __len__(self):
        return 6

    def __getitem__(self, i):
        return X[i] + self.noise * torch.randn(3), Y[i]


def test_a_data_set_that_draws_at_random_is_noticed():
    for noise, draws in ((0.1, True), (0.0, False)):
        found = read(torch.utils.data.DataLoader(Augmented(noise), batch_size=3))
        assert any("other numbers for the same example" in note for note in found.notes) == draws


def test_examples_that_fill_memory_are_refused_with_how_much():
    with pytest.raises(ArgumentError, match=r"10 of them take .* all take about .*max_examples=8"):
        read(loader(), max_bytes=270)  # 32 bytes each
    assert read(loader(), max_bytes=12 * 32).sizes == (5, 5, 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.utils.data.TensorDataset(X, Y), "Put a Dataset into a DataLoader"),
        (iter(()), "gives none. A generator that was read before"),
        (5, "must be an iterable of batches"),
        ([X[:4], X[4:]], "must give targets"),
        ([(X[:4], Y[:3])], "with one row per example each"),
        ([(X[:4], Y[:4]), (X[4:, :2], Y[4:])], "examples of one shape.*Pad them"),
        ([{"input": X, "y": Y, "labels": Y}], "one entry of targets"),
    ],
)
def test_loaders_that_do_not_fit_are_refused(data, message):
    with pytest.raises(ArgumentError, match=message):
        live_checkpoint(linear(), data)


def with_dropout(p=0.1):
    return nn.Sequential(nn.Dropout(p), linear()).train()


class Quiet(nn.Module):
    """Drops out by a function, which no type of a layer shows."""

    def __init__(self):
        super().__init__()
        self.inside = linear()

    def forward(self, x):
        return self.inside(functional.dropout(x, 0.5, training=self.training))


NORMED = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).double()


@pytest.mark.parametrize(
    ("module", "named"),
    [(with_dropout(), "Dropout '0'"), (NORMED, "BatchNorm1d '0'"), (Quiet().train(), "computes")],
)
def test_a_mode_that_matters_is_asked_for(module, named):
    with pytest.raises(ArgumentError, match=f"is in training mode.*{named}.*model.eval"):
        live_checkpoint(module, loader(), nn.CrossEntropyLoss())
    assert live_checkpoint(module, loader(), mode="eval").loss.options.batch_norm in (
        "eval",
        "none",
    )
    assert module.training
    live_checkpoint(module.eval(), loader())
    module.train()


def test_a_mode_that_does_not_matter_is_not_asked_for():
    for module in (linear().train(), with_dropout(0.0)):
        exact(held(live_checkpoint(module, loader(), nn.CrossEntropyLoss())), EXPECTED)
    taken = live_checkpoint(NORMED, loader(), mode="train")
    assert taken.loss.options.batch_norm == "train"
    with pytest.raises(ArgumentError, match="mode"):
        live_checkpoint(NORMED, loader(), mode="training")


class Attention(nn.Module):
    """One head of attention over three numbers as tokens."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(1, 3, bias=False).double()

    def forward(self, x):
        q, k, v = self.inside(x[..., None]).split(1, dim=-1)
        return functional.scaled_dot_product_attention(q, k, v).squeeze(-1)[:, :2]


def test_attention_has_second_derivatives_and_says_how():
    module = Attention().eval()
    checkpoint = live_checkpoint(module, loader(), nn.CrossEntropyLoss())
    assert any("math kernel" in note for note in checkpoint.notes)

    def by_hand(w):
        q, k, v = (X[..., None] @ w.T).split(1, dim=-1)
        f = (torch.softmax(q @ k.mT, dim=-1) @ v).squeeze(-1)[:, :2]
        return functional.cross_entropy(f, Y)

    h = torch.autograd.functional.hessian(by_hand, module.inside.weight.detach())
    exact(held(checkpoint), h.reshape(3, 3).numpy())


class Fused(torch.autograd.Function):
    """As the kernels of packages: a gradient, and no more."""

    @staticmethod
    def forward(ctx, f):
        ctx.save_for_backward(f)
        return f**2

    @staticmethod
    def backward(ctx, g):
        slope = 2 * ctx.saved_tensors[0].detach()
        if g.requires_grad:
            raise RuntimeError("derivative for aten::_flash_attention_backward is not implemented")
        return g * slope


def test_attention_without_second_derivatives_has_its_cure_named():
    fused = Replies(Fused.apply).eval()
    checkpoint = live_checkpoint(fused, loader(), nn.CrossEntropyLoss())
    assert np.isfinite(checkpoint.loss.gradient(checkpoint.w)).all()
    with pytest.raises(ArgumentError, match=r"of attention: .*scaled_dot_product_attention"):
        checkpoint.loss.hvp(checkpoint.w, checkpoint.w)


class Casts(nn.Module):
    """Switches autocast on by itself, or casts by hand."""

    def __init__(self, autocast):
        super().__init__()
        self.inside, self.autocast = linear().float(), autocast

    def forward(self, x):
        if self.autocast:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.inside(x)
        return self.inside(x).bfloat16().float()


def test_curvature_is_that_of_float32_whatever_the_module_is_in():
    """Of single precision; bfloat16 has 3 digits, and would miss the tolerance a hundredfold."""
    check = lambda made: exact(held(made), EXPECTED, rtol=1e-5)  # noqa: E731
    auto = live_checkpoint(Casts(autocast=True).eval(), loader(), nn.CrossEntropyLoss())
    check(auto)
    assert auto.notes == ()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check(live_checkpoint(linear().float(), loader(), nn.CrossEntropyLoss()))
    by_hand = live_checkpoint(Casts(autocast=False).eval(), loader(), nn.CrossEntropyLoss())
    assert any("itself casts to bfloat16" in note for note in by_hand.notes)
    half = linear().bfloat16()
    raised = live_checkpoint(half, loader(), nn.CrossEntropyLoss())
    assert any("Parameters are of bfloat16" in note for note in raised.notes)
    assert not any("itself casts" in note for note in raised.notes)
    widened = linear()
    widened.weight.data.copy_(half.weight.double())
    same = live_checkpoint(widened, loader(), nn.CrossEntropyLoss())
    exact(held(raised), held(same), rtol=1e-5)


class LowRank(nn.Module):
    """A frozen matrix with an adapter of rank 1."""

    def __init__(self):
        super().__init__()
        self.base = linear().requires_grad_(False)
        self.a = nn.Parameter(torch.ones(1, 3).double())
        self.b = nn.Parameter(torch.ones(2, 1).double())

    def forward(self, x):
        return self.base(x) + x @ self.a.T @ self.b.T


def test_only_what_is_trained_is_a_weight():
    checkpoint = live_checkpoint(LowRank().eval(), loader(), nn.CrossEntropyLoss())
    assert checkpoint.loss.weight_names == ("a", "b")
    assert any("6 of 11 parameters are frozen" in note for note in checkpoint.notes)

    def by_hand(a, b):
        return functional.cross_entropy(X @ (W + b @ a).T, Y)

    blocks = torch.autograd.functional.hessian(
        by_hand, (torch.ones(1, 3).double(), torch.ones(2, 1).double())
    )
    rows = [
        torch.cat([b.reshape(n, -1) for b in row], 1) for row, n in zip(blocks, (3, 2), strict=True)
    ]
    exact(held(checkpoint), torch.cat(rows).numpy())


def test_a_diagnosis_of_a_model_is_that_of_its_checkpoint():
    effort = sf.networks.Effort(trace_products=6)
    settings = {"rho": 0.1, "lr": 0.1, "rules": ("gd",), "effort": effort}
    found = sf.networks.diagnose(linear(), loader(), nn.CrossEntropyLoss(), **settings)
    exact(found.pairs.values, np.linalg.eigvalsh(EXPECTED), 1e-9)
    assert "Weights: Linear as it is" in str(found)
    checkpoint = live_checkpoint(linear(), loader(), nn.CrossEntropyLoss())
    with pytest.raises(ArgumentError, match="`dataloader` is for a model"):
        sf.networks.diagnose(checkpoint, loader(), **settings)
    with pytest.raises(ArgumentError, match="or give a model with its `dataloader`"):
        sf.networks.diagnose(linear(), **settings)
    with pytest.raises(ArgumentError, match="is in training mode"):
        sf.networks.diagnose(with_dropout(), loader(), **settings)
    assert sf.networks.diagnose(with_dropout(), loader(), mode="eval", **settings).dim == 6


def test_the_optimiser_beside_the_model_gives_the_moments():
    module = linear().train()
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    functional.cross_entropy(module(X), Y).backward()
    g = module.weight.grad.numpy().ravel()
    optimiser.step()
    checkpoint = live_checkpoint(module, loader(), nn.CrossEntropyLoss())
    moments = sf.networks.torch_moment(checkpoint.loss, optimiser.state_dict())
    np.testing.assert_allclose(moments.v, 0.001 * g**2, rtol=1e-12)


def jax_twin():
    model = eqx.nn.Linear(3, 2, use_bias=False, key=jr.key(0))
    return eqx.tree_at(lambda m: m.weight, model, jnp.asarray(W.numpy()))


def test_modules_of_jax_are_taken_with_the_same_loader():
    nnx, linen = pytest.importorskip("flax.nnx"), pytest.importorskip("flax.linen")
    kernel = jnp.asarray(W.numpy().T)
    dense = nnx.Linear(3, 2, use_bias=False, rngs=nnx.Rngs(0))
    dense.kernel.set_value(kernel)
    bound = linen.Dense(2, use_bias=False).bind({"params": {"kernel": kernel}})
    names = {"weight": jax_twin(), "kernel": dense}
    for name, model in (*names.items(), ("kernel", bound)):
        checkpoint = live_checkpoint(model, loader())
        assert checkpoint.loss.weight_names == (name,)
        order = np.arange(6) if name == "weight" else np.arange(6).reshape(2, 3).T.ravel()
        exact(held(checkpoint), EXPECTED[np.ix_(order, order)])
    with pytest.raises(ArgumentError, match=r"Pass module.bind\(variables\)"):
        live_checkpoint(linen.Dense(2), loader())
    with pytest.raises(ArgumentError, match="`batch_loss` is for modules of PyTorch"):
        live_checkpoint(dense, loader(), batch_loss=lambda m, b: 0.0)


def test_modules_of_jax_with_dropout_have_a_named_cure():
    nnx, linen = pytest.importorskip("flax.nnx"), pytest.importorskip("flax.linen")
    dropped = eqx.nn.Sequential([eqx.nn.Dropout(0.5), jax_twin()])
    with pytest.raises(ArgumentError, match=r"equinox\.nn\.inference_mode"):
        live_checkpoint(dropped, loader())
    exact(held(live_checkpoint(eqx.nn.inference_mode(dropped), loader())), EXPECTED)

    class Dropped(nnx.Module):
        def __init__(self):
            self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
            self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
            self.last = nnx.Linear(3, 2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.last(self.norm(self.drop(x)))

    model = Dropped()
    with pytest.raises(
        ArgumentError, match=r"BatchNorm, Dropout in training mode. Call model.eval"
    ):
        live_checkpoint(model, loader())
    model.eval()
    checkpoint = live_checkpoint(model, loader())
    assert checkpoint.loss.options.batch_norm == "eval"
    np.testing.assert_allclose(
        checkpoint.loss.predict(checkpoint.w), model(jnp.asarray(X.numpy())), atol=1e-6
    )

    class Linen(linen.Module):
        @linen.compact
        def __call__(self, x, train):
            return linen.Dense(2)(linen.Dropout(0.5, deterministic=not train)(x))

    variables = Linen().init(jr.key(0), jnp.ones((1, 3)), train=False)
    made = live_checkpoint(Linen().bind(variables), loader())
    assert made.notes[0] == "The module is called with train=False."
    assert np.isfinite(float(made.loss(made.w)))
    assert jax.tree.structure(made.loss.unflatten(made.w)) is not None
