"""Files of Lightning and of averaged models are read as they are, and run nothing."""

import argparse
import collections
from pathlib import Path

import numpy as np
import pytest

from samflow._checks import ArgumentError
from samflow.losses import torch_network
from samflow.networks import load_checkpoint, read_tensors

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 3)), RNG.integers(2, size=6)
RAN = []


class Settings:
    """An object of the user's, as `save_hyperparameters` pickles them."""

    def __init__(self):
        self.width = 3

    def __setstate__(self, state):
        RAN.append("state")


class Executes:
    """Runs a line of code when it is unpickled."""

    def __init__(self, line):
        self.line = line

    def __reduce__(self):
        return exec, (self.line,)


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)
    )


def lightning(module, **more):
    """What Lightning writes of a module whose attribute `model` is a network."""
    state = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    return {
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": collections.OrderedDict(state, **{"criterion.weight": torch.ones(2)}),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(4, 3)}}}],
        "hparams_name": "kwargs",
        **more,
    }


def hyperparameters(tmp_path):
    mark = tmp_path / "ran"
    return mark, {
        "width": 4,
        "args": argparse.Namespace(lr=0.1),
        "settings": Settings(),
        "backbone": torch.nn.Linear(2, 2),
        "code": Executes(f"open({str(mark)!r}, 'w').close()"),
        "where": Path("data"),
        "activation": torch.nn.functional.relu,
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_lightning_is_read_and_runs_nothing(tmp_path, zipped):
    module, (mark, given) = network(), hyperparameters(tmp_path)
    if not zipped:  # of PyTorch before 1.6, which pickles modules in a way of its own
        del given["backbone"]
    path = tmp_path / "last.ckpt"
    content = lightning(module, hyper_parameters=given)
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    loss = torch_network(network(1).eval(), X, Y)
    found = load_checkpoint(path, loss)
    assert not mark.exists()
    assert RAN == []
    expected = torch_network(module.eval(), X, Y)
    np.testing.assert_array_equal(found.w, expected.flatten())
    assert "opened state_dict and model." in found.notes[0]
    left = next(note for note in found.notes if note.startswith("left out"))
    assert "pytorch-lightning_version" in left
    torch.load(path, weights_only=False)  # what another reader runs
    assert mark.exists()
    assert RAN == ["state"]
    RAN.clear()


def test_the_objects_of_other_files_are_refused_as_before(tmp_path):
    """Only the version of Lightning beside a state_dict lets objects be passed over."""
    mark, given = hyperparameters(tmp_path)
    content = lightning(network(), hyper_parameters=given)
    del content["pytorch-lightning_version"]
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ArgumentError, match="also holds an object of"):
        read_tensors(tmp_path / "a.pt")
    assert not mark.exists()
    assert RAN == []


def test_names_as_they_are_and_other_attributes(tmp_path):
    module = network()
    loss = torch_network(network(1).eval(), X, Y)
    w = torch_network(module.eval(), X, Y).flatten()
    plain = lightning(module)
    plain["state_dict"] = module.state_dict()
    torch.save(plain, tmp_path / "plain.ckpt")
    np.testing.assert_array_equal(load_checkpoint(tmp_path / "plain.ckpt", loss).w, w)
    compiled = lightning(module)
    compiled["state_dict"] = {f"net._orig_mod.{n}": t for n, t in module.state_dict().items()}
    compiled["state_dict"]["temperature"] = torch.ones(())
    torch.save(compiled, tmp_path / "compiled.ckpt")
    np.testing.assert_array_equal(load_checkpoint(tmp_path / "compiled.ckpt", loss).w, w)
    twice = lightning(module)
    twice["state_dict"] |= {f"ema.{n}": t + 1 for n, t in module.state_dict().items()}
    torch.save(twice, tmp_path / "twice.ckpt")
    with pytest.raises(ArgumentError, match=r"under `state_dict\.model`, `state_dict\.ema`"):
        load_checkpoint(tmp_path / "twice.ckpt", loss)
    for group in ("state_dict.model", "state_dict.ema"):
        one = load_checkpoint(tmp_path / "twice.ckpt", loss, group=group)
        np.testing.assert_allclose(one.w, w + (group == "state_dict.ema"), rtol=1e-6)  # float32


def test_an_averaged_model_is_its_module(tmp_path):
    module = network()
    averaged = torch.optim.swa_utils.AveragedModel(module)
    for _ in range(3):
        with torch.no_grad():
            for p in module.parameters():
                p += 1
        averaged.update_parameters(module)
    torch.save(averaged.state_dict(), tmp_path / "swa.pt")
    torch.save({"model_state_dict": averaged.state_dict()}, tmp_path / "within.pt")
    loss = torch_network(network(1).eval(), X, Y)
    expected = torch_network(averaged.module.eval(), X, Y).flatten()
    for name, count in (("swa.pt", "n_averaged"), ("within.pt", "model_state_dict.n_averaged")):
        found = load_checkpoint(tmp_path / name, loss)
        np.testing.assert_array_equal(found.w, expected)
        assert count in read_tensors(tmp_path / name).left_out
        assert any("with_statistics" in note for note in found.notes)
    plain = module.state_dict() | {"n_averaged": torch.ones(4)}  # a network's own of that name
    torch.save(plain, tmp_path / "own.pt")
    assert "n_averaged" in read_tensors(tmp_path / "own.pt").tensors
