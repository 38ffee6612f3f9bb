"""A state_dict on disk becomes weights and buffers of a loss."""

import numpy as np
import pytest

from samflow._checks import ArgumentError
from samflow.networks import diagnose, load_checkpoint, torch_network

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
    with pytest.raises(ArgumentError, match=r"lacks 0.weight \(4, 4\).* has besides first.weight"):
        load_checkpoint(path, torch_network(module, *data))


def test_buffers_of_another_shape_are_named(path, data):
    state = torch.load(path.parent / "plain.pt")
    state["norm.running_mean"] = torch.zeros(5, dtype=torch.float64)
    torch.save(state, path)
    with pytest.raises(ArgumentError, match=r"`norm.running_mean` must have shape \(4,\)"):
        load_checkpoint(path, torch_network(made(2), *data))


def test_a_torch_checkpoint_is_diagnosed_as_it_is(path, data):
    found = load_checkpoint(path, torch_network(made(2), *data))
    report = diagnose(found, rho=0.1, lr=0.1, batch_size=4, k=2, trace_products=6)
    h = np.asarray(found.loss.hessian(found.w))
    values = np.linalg.eigvalsh((h + h.T) / 2)
    np.testing.assert_allclose(report.pairs.values, values[[0, 1, -2, -1]], rtol=1e-9)
    assert "Batch norm takes its running statistics." in report.notes
    usam = report.verdicts[1]
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
    with pytest.raises(ArgumentError, match="the mean over chunks is another loss"):
        loss.in_chunks(4).with_options(batch_norm="train")
    assert float(loss(w)) == float(torch_network(module, *data)(w))
