"""Batch norm's statistics computed anew: against PyTorch's own `update_bn` on a copy."""

import copy

import jax.numpy as jnp
import numpy as np
import pytest

from samflow._checks import ArgumentError
from samflow.losses.pytorch import torch_network

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional
torch.set_num_threads(1)

EXAMPLES = 12
RNG = np.random.default_rng(0)
X, Y = 1 + 2 * RNG.normal(size=(EXAMPLES, 2, 6, 6)), RNG.integers(3, size=EXAMPLES)


class Net(nn.Module):
    """Convolutions with batch norm of every kind, one of them called twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.more, self.twice = nn.Conv2d(4, 4, 3, padding=1), nn.SyncBatchNorm(4, momentum=0.3)
        self.dense, self.flat = nn.Linear(16, 5), nn.BatchNorm1d(5, affine=False)
        self.idle = nn.BatchNorm1d(5)
        self.last = nn.Linear(5, 3)

    def forward(self, x):
        x = torch.tanh(self.norm(self.conv(x)))
        x = torch.tanh(self.twice(self.more(x)))
        x = functional.avg_pool2d(torch.tanh(self.twice(self.more(x))), 2)
        return self.last(torch.tanh(self.flat(self.dense(x.flatten(1)))))


class Dense(nn.Module):
    """One batch norm under two names, of numbers and not of images."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)
        self.again = self.norm

    def forward(self, x):
        return self.last(torch.tanh(self.again(self.first(x.mean(dim=(2, 3))))))


def made(kind, **settings):
    torch.manual_seed(0)
    module = kind().double()
    module.train()
    module(torch.tensor(RNG.normal(size=X.shape)))  # running statistics that are not 0 and 1
    loss = torch_network(module, X, Y, **settings)
    w = loss.flatten() + 0.3 * jnp.asarray(np.random.default_rng(1).normal(size=loss.dim))
    return module, loss, w


def updated(module, loss, w, batches):
    """A copy of the module at w, with statistics as PyTorch's users compute them."""
    twin = copy.deepcopy(module)
    twin.load_state_dict(loss.unflatten(w))
    torch.optim.swa_utils.update_bn([torch.tensor(x) for x in batches], twin)
    return twin.eval()


def assert_like(twin, loss, w):
    own = loss.unflatten(w)
    for name, buffer in twin.named_buffers():
        if "running" in name and not name.startswith("idle"):
            np.testing.assert_allclose(own[name], buffer, rtol=1e-13, atol=1e-15, err_msg=name)
    f = twin(torch.tensor(X)).detach()
    np.testing.assert_allclose(loss.predict(w), f, atol=1e-13)
    expected = functional.cross_entropy(f, torch.tensor(Y))
    assert float(loss(w)) == pytest.approx(float(expected), rel=1e-13)


@pytest.mark.parametrize("kind", [Net, Dense])
def test_statistics_are_those_of_update_bn_over_one_batch(kind):
    module, loss, w = made(kind)
    before = copy.deepcopy(module.state_dict())
    modes = [each.training for each in module.modules()]
    stale = float(loss(w))
    found = loss.with_statistics(w)
    assert_like(updated(module, loss, w, [X]), found, w)
    assert abs(float(found(w)) - stale) > 1e-3
    assert float(loss(w)) == stale
    assert found.options == loss.options
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert [each.training for each in module.modules()] == modes
    assert [n.momentum for n in module.modules() if hasattr(n, "momentum")] == [
        n.momentum for n in kind().modules() if hasattr(n, "momentum")
    ]


def test_the_variance_is_that_of_all_inputs_without_bias():
    _, loss, w = made(Dense)
    a = dict(zip(loss.weight_names, loss.split(w), strict=True))
    h = X.mean(axis=(2, 3)) @ a["first.weight"].T + a["first.bias"]
    found = loss.statistics(w)
    np.testing.assert_allclose(found["norm.running_mean"], h.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found["norm.running_var"], h.var(axis=0, ddof=1), rtol=1e-13)
    part = loss.batch([0, 0, 5]).statistics(w)
    np.testing.assert_allclose(
        part["norm.running_mean"], (2 * h[0] + h[5]) / 3, rtol=1e-13, atol=1e-15
    )


def test_a_layer_that_no_pass_reaches_keeps_its_statistics():
    module, loss, w = made(Net)
    assert not [name for name in loss.statistics(w) if name.startswith("idle")]
    found = loss.with_statistics(w).unflatten(w)
    assert torch.equal(found["idle.running_var"], module.idle.running_var)


@pytest.mark.parametrize("kind", [Net, Dense])
def test_chunks_of_one_size_are_the_batches_of_update_bn(kind):
    module, loss, w = made(kind, chunk_size=4)
    found = loss.with_statistics(w)
    assert_like(updated(module, loss, w, [X[:4], X[4:8], X[8:]]), found, w)
    whole = torch_network(module, X, Y).with_statistics(w)
    assert abs(float(found(w)) - float(whole(w))) > 1e-4  # it depends on the chunk size


def test_a_smaller_chunk_weighs_less_and_a_single_example_joins():
    _, loss, w = made(Dense)
    a = dict(zip(loss.weight_names, loss.split(w), strict=True))
    h = X.mean(axis=(2, 3)) @ a["first.weight"].T + a["first.bias"]

    def mean_variance(*sizes):
        parts = np.split(np.asarray(h), np.cumsum(sizes)[:-1])
        return sum(len(p) * p.var(axis=0, ddof=1) for p in parts) / EXAMPLES

    for chunk_size, sizes in ((5, (5, 5, 2)), (11, (12,))):
        found = loss.in_chunks(chunk_size).statistics(w)
        np.testing.assert_allclose(found["norm.running_mean"], h.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found["norm.running_var"], mean_variance(*sizes), rtol=1e-12)


def test_one_number_a_channel_has_no_variance():
    _, loss, w = made(Dense)
    with pytest.raises(ArgumentError, match="more than one number per channel, but 1 at once"):
        loss.in_chunks(1).with_statistics(w)
    with pytest.raises(ArgumentError, match="more than one number per channel"):
        loss.batch([0]).with_statistics(w)


@pytest.mark.parametrize(
    ("norm", "batch_norm"),
    [
        (nn.Identity(), "eval"),
        (nn.BatchNorm1d(4), "train"),
        (nn.BatchNorm1d(4, track_running_stats=False), "eval"),
    ],
    ids=["none", "train", "untracked"],
)
def test_a_loss_without_running_statistics_says_so(norm, batch_norm):
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, 4), norm, nn.Linear(4, 3)).double()
    loss = torch_network(module, X, Y, batch_norm=batch_norm)
    assert not loss.has_statistics
    with pytest.raises(ArgumentError, match="must have running statistics of batch norm"):
        loss.with_statistics(loss.flatten())


def test_batch_norm_that_tracks_none_stays_with_the_batch():
    own, other = nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False)
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, 4), own, nn.Linear(4, 4), other).double()
    loss = torch_network(module, X, Y)
    assert loss.has_statistics
    w = loss.flatten() + 0.1
    assert_like(updated(module, loss, w, [X]), loss.with_statistics(w), w)


def test_the_loss_that_a_batch_is_of_has_the_same_statistics():
    _, loss, w = made(Dense)
    found = loss.with_statistics(w).batch([3, 4])
    again = loss.batch([3, 4]).with_extras(loss.statistics(w))
    assert float(found(w)) == float(again(w))
    assert float(again.whole(w)) == float(found.whole(w)) != float(loss(w))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_what_a_hook_makes_in_a_pass_is_not_copied():
    torch.manual_seed(0)
    layer = nn.utils.weight_norm(nn.Linear(72, 4))
    module = nn.Sequential(nn.Flatten(), layer, nn.BatchNorm1d(4)).double()
    loss = torch_network(module, X, Y)
    w = loss.flatten()
    loss.gradient(w)  # leaves a weight that is a function of others
    f = loss.with_statistics(w).predict(w)
    np.testing.assert_allclose(np.mean(f, axis=0), 0, atol=1e-13)
    train = loss.with_options(batch_norm="train").predict(w)
    # The variance of the other is less by (n − 1)/n, up to eps.
    np.testing.assert_allclose(f, train * np.sqrt(11 / 12), rtol=1e-4)
