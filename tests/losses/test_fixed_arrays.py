"""What decides a loss besides its weights: data, frozen weights and buffers, and nothing else."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from samflow.losses import network
from samflow.losses.chunked import ChunkedLoss
from samflow.losses.evaluation import fixed_arrays
from samflow.losses.pytorch import torch_network

X = np.random.default_rng(0).normal(size=(6, 3))
Y = np.random.default_rng(1).normal(size=(6, 1))


def in_jax(*, weight=0.0, frozen=0.0, x=X, y=Y, **options):
    model = eqx.nn.MLP(3, 1, 2, 1, key=jr.key(0))
    model = eqx.tree_at(lambda m: m.layers[0].weight, model, jnp.full((2, 3), weight))
    model = eqx.tree_at(lambda m: m.layers[1].bias, model, jnp.full(1, frozen))
    return network(model, x, y, frozen=["layers.1.bias"], **options)


def in_torch(*, weight=0.0, frozen=0.0, x=X, y=Y, **options):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    torch.nn.init.constant_(model[0].weight, weight)
    torch.nn.init.constant_(model[2].bias, frozen)
    model[2].bias.requires_grad_(False)
    return torch_network(model, x, y, loss="squared", **options)


def alike(one, other):
    pairs = zip(fixed_arrays(one), fixed_arrays(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("make", [in_jax, in_torch])
def test_data_and_frozen_weights_are_in_it_and_weights_are_not(make):
    assert alike(make(), make())
    assert alike(make(), make(weight=1.0))
    assert not alike(make(), make(frozen=1.0))
    assert not alike(make(), make(x=X + (np.arange(6) == 5)[:, None]))
    assert not alike(make(), make(y=Y + 1))


def test_chunks_do_not_matter():
    assert alike(in_jax(), ChunkedLoss(in_jax(), 2))
    assert alike(in_torch(), in_torch(chunk_size=2))


def test_buffers_are_in_it():
    torch = pytest.importorskip("torch")

    def made(mean):
        model = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.BatchNorm1d(1))
        torch.nn.init.constant_(model[0].weight, 1.0)
        torch.nn.init.constant_(model[0].bias, 0.0)
        model[1].running_mean.fill_(mean)
        return torch_network(model, X, Y, loss="squared", batch_norm="eval")

    assert alike(made(0.0), made(0.0))
    assert not alike(made(0.0), made(1.0))
