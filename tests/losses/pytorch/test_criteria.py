"""The criteria of PyTorch modules, against torch.nn.functional itself over random shapes."""

import functools

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from samflow._checks import ArgumentError
from samflow.losses import network
from samflow.losses.pytorch import torch_network

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional
torch.set_num_threads(1)


class Table(nn.Module):
    """Outputs of any shape, each a weight of its own: f = a * x."""

    def __init__(self, shape, seed=0):
        super().__init__()
        self.a = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
        self.double()

    def forward(self, x):
        return self.a * x.reshape(-1, *[1] * self.a.ndim)


def table(rng, shape, n):
    """A module with outputs (n, *shape), its inputs, and outputs as a function of the weights."""
    module, x = Table(shape), rng.normal(size=n)
    return module, x, lambda w: torch.as_tensor(x).reshape(-1, *[1] * len(shape)) * w


def assert_same(loss, outputs, criterion, y, shape):
    """Value, gradient and product are autograd's of the criterion that PyTorch computes."""
    w, v = loss.flatten(), jnp.asarray(np.random.default_rng(1).normal(size=loss.dim))
    function = lambda w: criterion(outputs(w.reshape(shape)), torch.as_tensor(y))  # noqa: E731
    at, along = torch.tensor(np.asarray(w)), torch.tensor(np.asarray(v))
    value, gradient = torch.autograd.functional.vjp(function, at)
    # Sums of some hundred terms of order 1 in another order.
    assert float(loss(w)) == pytest.approx(float(value), rel=1e-12)
    np.testing.assert_allclose(loss.gradient(w), gradient, atol=1e-13)
    product = torch.autograd.functional.hvp(function, at, along)[1]
    np.testing.assert_allclose(loss.hvp(w, v), product, atol=1e-12)
    if loss.num_examples > 2:
        parts = loss.in_chunks(2)
        assert float(parts(w)) == pytest.approx(float(value), rel=1e-12)
        np.testing.assert_allclose(parts.gradient(w), gradient, atol=1e-13)
        np.testing.assert_allclose(parts.hvp(w, v), product, atol=1e-12)
        shares = sum(share * part(w) for share, part in loss.chunks(2))
        assert float(shares) == pytest.approx(float(value), rel=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_criteria_are_those_of_pytorch_over_random_shapes(seed):
    """Class axis 1, ignored targets, class weights, smoothing, the mean over all positions."""
    rng = np.random.default_rng(seed)
    classes, n = int(rng.integers(2, 5)), int(rng.integers(2, 6))
    inner = tuple(int(d) for d in rng.choice([1, 2, classes, 5], size=seed % 4))
    shape = (classes, *inner)
    ignored = int(rng.choice([-100, -1, 0]))
    y = rng.integers(classes, size=(n, *inner))
    y[rng.random(y.shape) < 0.3] = ignored
    y.flat[0] = 1
    settings = {
        "ignore_index": ignored,
        "label_smoothing": float(rng.choice([0.0, 0.1])),
        "reduction": str(rng.choice(["mean", "none"])),
        "weight": None if seed % 3 == 0 else torch.tensor(rng.uniform(0.5, 2, classes)),
    }
    module, x, outputs = table(rng, shape, n)
    for criterion in (
        nn.CrossEntropyLoss(**settings),
        functools.partial(functional.cross_entropy, **settings),
    ):
        loss = torch_network(module, x, y, loss=criterion)
        assert_same(loss, outputs, lambda f, y, c=criterion: c(f, y).mean(), y, shape)
    w = loss.flatten()
    f = outputs(torch.tensor(np.asarray(w)).reshape(shape)).numpy()
    seen = y != ignored
    assert float(loss.misclassified(w)) == pytest.approx(np.mean((f.argmax(1) != y)[seen]))
    left = "counted as 0" if settings["reduction"] == "none" else "left out"
    share = f"{(~seen).sum()} of {y.size} targets are {ignored} and {left}"
    assert (share in loss.criterion) == bool((~seen).any())
    assert ("classes weighted by" in repr(loss)) == (settings["weight"] is not None)


@pytest.mark.parametrize("weight", [None, [1.0, 3.0, 0.5]])
def test_the_negative_log_likelihood_is_that_of_pytorch(weight):
    rng = np.random.default_rng(0)
    module, x, outputs = table(rng, (3, 2), 4)
    y = rng.integers(3, size=(4, 2))
    y[1] = -100
    weight = weight and torch.tensor(weight, dtype=torch.float64)
    criterion = nn.NLLLoss(weight=weight)
    assert_same(torch_network(module, x, y, loss=criterion), outputs, criterion, y, (3, 2))


def test_images_whose_sides_are_as_many_as_their_classes_are_taken_as_pytorch_takes_them():
    rng = np.random.default_rng(2)
    module, x, outputs = table(rng, (3, 3, 3), 4)
    y = rng.integers(3, size=(4, 3, 3))
    loss = torch_network(module, x, y)
    assert_same(loss, outputs, functional.cross_entropy, y, (3, 3, 3))
    assert "(classes on axis 1), mean over 4 examples of 9 positions" in repr(loss)


def test_tokens_have_their_classes_last_where_nothing_else_fits():
    """(n, length, K) with targets (n, length), as of language models: the mean over tokens."""
    rng = np.random.default_rng(3)
    module, x, outputs = table(rng, (6, 4), 3)
    y = rng.integers(4, size=(3, 6))
    y[0, 4:] = -100
    loss = torch_network(module, x, y)
    mean = lambda f, y: functional.cross_entropy(f.reshape(-1, 4), y.reshape(-1))  # noqa: E731
    assert_same(loss, outputs, mean, y, (6, 4))
    assert loss.criterion.startswith("Loss: cross-entropy of integer labels (classes on the last")
    assert "2 of 18 targets are -100 and left out" in loss.criterion
    with pytest.raises(ArgumentError, match=r"classes are on axis 1 .*movedim\(-1, 1\)"):
        torch_network(module, x, y, loss=nn.CrossEntropyLoss())
    moved = {"forward": lambda module, x: module(x).movedim(-1, 1)}
    strict = torch_network(module, x, y, loss=nn.CrossEntropyLoss(), **moved)
    assert float(strict(strict.flatten())) == pytest.approx(float(loss(loss.flatten())), rel=1e-14)


def test_targets_that_fit_two_axes_are_refused_unless_the_criterion_is_pytorchs():
    rng = np.random.default_rng(4)
    module, x, outputs = table(rng, (4, 4), 3)
    y = rng.integers(4, size=(3, 4))
    with pytest.raises(ArgumentError, match=r"which axis .* Give loss=torch.nn.CrossEntropyLoss"):
        torch_network(module, x, y)
    loss = torch_network(module, x, y, loss=functional.cross_entropy)
    assert_same(loss, outputs, functional.cross_entropy, y, (4, 4))


def test_rows_of_probabilities_have_the_axis_along_which_they_sum_to_one():
    rng = np.random.default_rng(5)
    module, x, outputs = table(rng, (4, 3), 3)
    first, last = (rng.dirichlet(np.ones(k), size=(3, m)) for k, m in ((4, 3), (3, 4)))
    first = np.moveaxis(first, -1, 1)
    loss = torch_network(module, x, first, loss="cross_entropy", label_smoothing=0.1)
    smooth = functools.partial(functional.cross_entropy, label_smoothing=0.1)
    assert_same(loss, outputs, smooth, first, (4, 3))
    assert "rows of probabilities" in loss.criterion
    loss = torch_network(module, x, last, loss="cross_entropy")
    moved = lambda f, y: functional.cross_entropy(f.movedim(-1, 1), y.movedim(-1, 1))  # noqa: E731
    assert_same(loss, outputs, moved, last, (4, 3))
    with pytest.raises(ArgumentError, match="sum to 1 along neither"):
        torch_network(module, x, first + 1, loss="cross_entropy")


def test_batches_divide_by_what_counts_in_them_as_pytorch_does():
    rng = np.random.default_rng(6)
    module, x, outputs = table(rng, (3,), 6)
    y = np.array([0, -100, 2, -100, 1, 1])
    loss = torch_network(module, x, y)
    w = loss.flatten()
    chosen = np.array([0, 1, 4, 4])
    f = outputs(module.a.detach())[chosen]
    expected = functional.cross_entropy(f, torch.tensor(y[chosen]))
    assert float(loss.batch(chosen)(w)) == pytest.approx(float(expected), rel=1e-14)
    assert np.isnan(float(loss.batch([1, 3])(w)))  # 0/0, as PyTorch
    mean = np.mean([float(shard(w)) for shard in loss.shards(3)])  # two of three count in each
    assert mean == pytest.approx(float(loss(w)), rel=1e-14)
    with pytest.raises(ArgumentError, match="shards that count the same in the mean"):
        loss.shards(1)


def test_what_no_criterion_can_take_is_refused():
    rng = np.random.default_rng(7)
    module, x, _ = table(rng, (3,), 4)
    y = rng.integers(3, size=4)
    three = nn.CrossEntropyLoss(weight=torch.ones(4, dtype=torch.float64))
    for change, message in (
        ({"loss": three}, "one weight per class, 3, but has weights of shape"),
        ({"loss": nn.CrossEntropyLoss(reduction="sum")}, 'reduction="none" or "mean"'),
        ({"y": np.full(4, -100)}, "targets that count, but all 4 are -100"),
        ({"y": np.where(np.arange(4) == 2, 7, y)}, "classes 0 to 2, but 1 of 4 .* first is 7"),
        ({"y": np.eye(3, dtype=int)[[0, 1, 2, 0]]}, "`loss` must be given for targets that are wh"),
    ):
        arguments = {"y": y} | change
        with pytest.raises(ArgumentError, match=message):
            torch_network(module, x, arguments.pop("y"), **arguments)


@pytest.mark.parametrize("labels", [True, False])
def test_one_default_serves_both_libraries(labels):
    """Whole numbers are classes under cross-entropy, floats are values under a square."""
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(5, 2)), rng.integers(3, size=5) if labels else rng.normal(size=(5, 3))
    torch.manual_seed(0)
    module = nn.Linear(2, 3).double()
    model = eqx.nn.Linear(2, 3, key=jr.key(0))
    arrays = [jnp.asarray(p.detach().numpy()) for p in module.parameters()]
    model = eqx.tree_at(lambda m: [m.weight, m.bias], model, arrays)
    losses = torch_network(module, x, y), network(model, x, y)
    w = losses[0].flatten()
    values = [float(loss(w)) for loss in losses]
    assert values[0] == pytest.approx(values[1], rel=1e-13)
    f = module(torch.tensor(x)).detach()
    squared = float(0.5 * ((f - torch.tensor(y)) ** 2).sum() / 5) if not labels else None
    expected = float(functional.cross_entropy(f, torch.tensor(y))) if labels else squared
    assert values[0] == pytest.approx(expected, rel=1e-13)
    word = "Loss: cross-entropy of integer labels" if labels else "Loss: squared error"
    for loss in (*losses, losses[1].in_chunks(2)):
        assert repr(loss).startswith(word)
