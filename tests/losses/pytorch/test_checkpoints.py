"""A state_dict on disk becomes weights and buffers of a loss."""

import numpy as np
import pytest

from samflow._checks import ArgumentError
from samflow.losses import torch_network
from samflow.networks import Effort, diagnose, load_checkpoint, save_checkpoint

torch = pytest.importorskip("torch")


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(4, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.second = torch.nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.tanh(self.norm(self.first(x))))


def made(seed):
    torch.manual_seed(seed)
    return Tied().double()


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(12, 4)), rng.integers(4, size=12)


@pytest.fixture
def path(tmp_path, data):
    """Weights and running statistics after a few steps in training mode."""
    module = made(1)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    x, y = torch.tensor(data[0]), torch.tensor(data[1])
    for _ in range(5):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        optimiser.step()
    torch.save({"state_dict": module.state_dict(), "epoch": 5}, tmp_path / "model.pt")
    torch.save(module.state_dict(), tmp_path / "plain.pt")
    return tmp_path / "model.pt"


def test_weights_and_buffers_are_the_files(path, data):
    fresh = torch_network(made(2), *data)
    found = load_checkpoint(path, fresh)
    module = made(2)
    module.load_state_dict(torch.load(path.parent / "plain.pt"))
    expected = torch_network(module, *data)
    np.testing.assert_array_equal(found.w, expected.flatten())
    assert float(found.loss(found.w)) == float(expected(expected.flatten()))
    # The statistics matter: those that a new module starts with give another loss.
    assert abs(float(fresh(found.w)) - float(found.loss(found.w))) > 1e-6
    assert found.notes[0] == "opened state_dict"
    assert "norm.running_mean" in found.notes[-1]
    loaded = found.loss.unflatten(found.w)
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, rtol=0, atol=0)


def test_a_checkpoint_of_another_module_names_what_is_missing(path, data):
    module = torch.nn.Sequential(torch.nn.Linear(4, 4)).double()
    with pytest.raises(ArgumentError, match=r"lacks 0.weight \(4, 4\).* also has first.weight"):
        load_checkpoint(path, torch_network(module, *data))


def test_buffers_of_another_shape_are_named(path, data):
    state = torch.load(path.parent / "plain.pt")
    state["norm.running_mean"] = torch.zeros(5, dtype=torch.float64)
    torch.save(state, path)
    with pytest.raises(ArgumentError, match=r"`norm.running_mean` must have shape \(4,\)"):
        load_checkpoint(path, torch_network(made(2), *data))


def test_a_torch_checkpoint_is_diagnosed_as_it_is(path, data):
    found = load_checkpoint(path, torch_network(made(2), *data))
    effort = Effort(num_eigenpairs=2, trace_products=6)
    report = diagnose(found, rho=0.1, lr=0.1, batch_size=4, effort=effort)
    h = np.asarray(found.loss.hessian(found.w))
    values = np.linalg.eigvalsh((h + h.T) / 2)
    np.testing.assert_allclose(report.pairs.values, values[[0, 1, -2, -1]], rtol=1e-9)
    assert "Batch norm takes its running statistics." in report.notes
    usam = report.rules[1]
    assert usam.rule == "usam"
    assert len(report.mean_square) == 3


def test_options_of_a_torch_loss_can_be_changed(data):
    module = made(3)
    with torch.no_grad():
        module.norm.running_mean.fill_(0.3)
    loss = torch_network(module, *data)
    w = loss.flatten()
    other = loss.with_options(batch_norm="train", label_smoothing=0.1, weight_decay=0.2)
    expected = torch_network(
        module, *data, batch_norm="train", label_smoothing=0.1, weight_decay=0.2
    )
    assert float(other(w)) == float(expected(w)) != float(loss(w))
    np.testing.assert_array_equal(other.gradient(w), expected.gradient(w))
    with pytest.raises(ArgumentError, match="the mean over chunks is a different loss"):
        loss.in_chunks(4).with_options(batch_norm="train")
    assert float(loss(w)) == float(torch_network(module, *data)(w))


def rewritten(path, **tensors):
    state = torch.load(path.parent / "plain.pt") | tensors
    torch.save({name: t for name, t in state.items() if t is not None}, path)


@pytest.mark.parametrize("tensor", [torch.full((4,), torch.nan).double(), torch.zeros(4).int()])
def test_buffers_that_are_no_finite_floats_are_named(path, data, tensor):
    rewritten(path, **{"norm.running_mean": tensor})
    with pytest.raises(ArgumentError, match=r"`norm.running_mean` must be"):
        load_checkpoint(path, torch_network(made(2), *data))


def test_variances_below_zero_are_refused(path, data):
    rewritten(path, **{"norm.running_var": torch.tensor([1.0, -0.5, 1.0, 1.0]).double()})
    with pytest.raises(ArgumentError, match=r"`norm.running_var` must be variances.* -0.5"):
        load_checkpoint(path, torch_network(made(2), *data))


def test_what_is_not_in_the_file_is_said(path, data):
    absent = ("norm.running_mean", "norm.num_batches_tracked", "second.weight")
    rewritten(path, **dict.fromkeys(absent))
    notes = load_checkpoint(path, torch_network(made(2), *data)).notes
    assert notes[-1] == "not in the file, so that the network's own are used: norm.running_mean"


def test_statistics_are_saved_and_give_the_same_loss(path, data):
    found = load_checkpoint(path, torch_network(made(2), *data))
    saved = save_checkpoint(path.parent / "w.safetensors", *found[:2])
    again = load_checkpoint(saved, torch_network(made(3), *data, chunk_size=12))
    assert float(again.loss(again.w)) == float(found.loss(found.w))
    assert int(again.loss.unflatten(again.w)["norm.num_batches_tracked"]) == 5
    broken = found.loss.with_extras({"norm.running_var": np.full(4, np.nan)})
    with pytest.raises(ArgumentError, match=r"`norm.running_var` holds 4 NaN"):
        save_checkpoint(saved, broken, found.w)


def test_buffers_of_narrow_floats_are_widened(path, data):
    narrow = torch.tensor([0.5, -1.25, 3.0, 0.0], dtype=torch.bfloat16)
    rewritten(path, **{"norm.running_mean": narrow, "norm.running_var": narrow.abs().half()})
    state = load_checkpoint(path, torch_network(made(2), *data)).loss.objective.network.state()
    torch.testing.assert_close(state["norm.running_mean"], narrow.double(), rtol=0, atol=0)


class Masked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.module = torch.nn.Linear(4, 4)
        self.register_buffer("mask", torch.triu(torch.full((4, 4), -torch.inf), 1))
        self.register_buffer("used", torch.eye(4, dtype=torch.bool))

    def forward(self, x):
        return self.module(x) + torch.exp(self.mask).sum() + self.used.sum()


def test_masks_and_truth_values_come_back(tmp_path, data):
    loss = torch_network(Masked().double(), *data)
    path = save_checkpoint(tmp_path / "w.safetensors", loss, loss.flatten())
    found = load_checkpoint(path, torch_network(Masked().double(), *data))
    assert float(found.loss(found.w)) == float(loss(loss.flatten()))
    for name, tensor in found.loss.unflatten(found.w).items():
        torch.testing.assert_close(tensor, loss.unflatten(loss.flatten())[name], rtol=0, atol=0)


class Wrapped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.module = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.module(x)


@pytest.mark.parametrize("wrap", [Wrapped, lambda: torch.nn.DataParallel(Wrapped())])
def test_the_networks_own_prefixes_stay(tmp_path, data, wrap):
    module = wrap().double()
    loss = torch_network(module, *data)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    found = load_checkpoint(tmp_path / "w.pt", loss)
    np.testing.assert_array_equal(found.w, loss.flatten())
    assert found.notes == ()
    torch.save(torch.nn.DataParallel(module).state_dict(), tmp_path / "w.pt")
    found = load_checkpoint(tmp_path / "w.pt", loss)
    np.testing.assert_array_equal(found.w, loss.flatten())
    assert found.notes == ("opened module.",)


def test_tied_weights_are_one(path, data):
    loss, state = torch_network(made(2), *data), torch.load(path.parent / "plain.pt")
    expected = load_checkpoint(path, loss).w
    rewritten(path, **{"first.weight": None})
    np.testing.assert_array_equal(load_checkpoint(path, loss).w, expected)
    rewritten(path, **{"second.weight": torch.nextafter(state["first.weight"], torch.ones(4, 4))})
    with pytest.raises(ArgumentError, match=r"`first.weight` and `second.weight` must be the same"):
        load_checkpoint(path, loss)
