"""`samflow checkpoint`: the library's numbers on a file, a model and data; misuse is one line."""

import itertools
import json
import subprocess
import sys

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from safetensors.numpy import save_file

from samflow import networks
from samflow._checks import ArgumentError
from samflow.cli import run
from samflow.cli.models import LossSettings, examples_of, make_loss
from samflow.losses import network
from samflow.spectra.products import watched

CODE = """
import gc
import signal

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from samflow.losses import network

NUMBER = 3

def linear():
    return eqx.nn.Linear(2, 1, use_bias=False, key=jr.key(0))

def data():
    x = np.sqrt(2) * np.diag([2.0, 1.0])
    return x, x @ np.array([[3.0], [-1.0]])

def ready():
    return network(linear(), *data(), name="ready")

def normed():
    def make(key):
        norm = eqx.nn.BatchNorm(2, "batch", mode="batch", channelwise_affine=False)
        return eqx.nn.Sequential([norm, eqx.nn.Linear(2, 1, use_bias=False, key=key)])

    return eqx.nn.make_with_state(make)(jr.key(0))

def interrupted():
    def interrupt(phase, info):
        gc.callbacks.remove(interrupt)
        signal.raise_signal(signal.SIGINT)

    gc.callbacks.append(interrupt)
    gc.collect()
    return linear()

def wrong():
    return 3

class Failing(eqx.Module):
    a: object

    def __call__(self, x):
        raise RuntimeError("a fault of my own")

def failing():
    return Failing(linear().weight)

def broken():
    raise KeyError("no such layer")

def drifting():
    x = np.random.default_rng(0).normal(size=(20, 16))
    model = eqx.nn.MLP(16, 4, 12, 1, activation=np.tanh, key=jr.key(0))
    model = eqx.tree_at(lambda m: m.activation, model, jax.numpy.tanh)
    return network(model, x, np.arange(20) % 4, name="drifting")
"""
ARGUMENTS = ["checkpoint", "weights.safetensors", "--model", "own_models:linear"]
WITH_DATA = [*ARGUMENTS, "--data", "own_models:data", "--loss", "squared"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with code, data and weights at the minimum of a loss with H = diag(4, 1)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_models.py").write_text(CODE)
    x = np.sqrt(2) * np.diag([2.0, 1.0])
    y = x @ np.array([[3.0], [-1.0]])
    np.savez(tmp_path / "data.npz", x=x, y=y)
    model = eqx.nn.Linear(2, 1, use_bias=False, key=jr.key(0))
    loss = network(model, x, y)
    networks.save_checkpoint(tmp_path / "weights.safetensors", loss, jnp.array([3.0, -1.0]))
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        WITH_DATA,
        [*ARGUMENTS, "--data", "data.npz", "--loss", "squared"],
        [*ARGUMENTS[:-1], "own_models:ready"],
        [*WITH_DATA, "--chunk-size", "1"],
    ],
    ids=["function", "npz", "loss", "chunks"],
)
def test_json_has_the_known_answers(arguments, capsys):
    assert run([*arguments, "--rho", "0.1", "--lr", "0.1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(found["pairs"]["values"], [1, 4], rtol=1e-12)
    assert found["nearness"]["level"] == "critical"
    assert [v["stability"] for v in found["rules"][:2]] == ["stable", "stable"]
    assert found["rules"][1]["scaled_curvature"] == pytest.approx(0.1 * 4 * 1.4)


def test_hold_samples_the_sphere(capsys):
    """Of a quadratic loss S(e) = rho ‖He‖², between rho λ² of both ends."""
    assert run([*WITH_DATA, "--rho", "0.1", "--hold", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"]["values"] == pytest.approx([1, 4])
    assert found["hold"]["verdict"] == "held"
    assert (found["hold"]["least"], found["hold"]["greatest"]) == pytest.approx((0.1, 1.6))
    assert run([*WITH_DATA, "--rho", "0.1", "--hold"]) == 0
    assert "holds in every direction sampled (sampled, not proved)" in capsys.readouterr().out


def test_a_convention_by_name(capsys):
    assert run([*WITH_DATA, "--convention", "optax", "--rho", "0.1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [v["rule"] for v in found["rules"]] == ["gd", "usam", "sam"]
    assert any("optax" in note for note in found["notes"])


@pytest.mark.parametrize(("lr", "verdict"), [("0.49", "stable"), ("0.51", "unstable")])
def test_both_sides_of_the_edge(lr, verdict, capsys):
    assert run([*WITH_DATA, "--rule", "gd", "--lr", lr, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rules"][0]["stability"] == verdict


def test_the_table_has_what_a_reader_looks_for(capsys):
    assert run([*WITH_DATA, "--batch-size", "1"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for piece in ("sha256", "At a critical point", "eigenvalue of H", "trace 5", "edge of λ"):
        assert piece in out
    assert "gd in mini-batches: stable" in out
    assert "sharpest direction in: weight 100%" in out
    assert "no weight decay is part of it" in out


def test_blocks_of_layers_are_printed_if_asked_for(capsys):
    assert run(WITH_DATA) == 0
    assert "Diagonal blocks" not in capsys.readouterr().out
    assert run([*WITH_DATA, "--by-layer"]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.strip().startswith("weight "))
    assert row.split() == ["weight", "2", "1", "4", "4", "5", "0", "located"]
    assert run([*WITH_DATA, "--by-layer", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["blocks"]
    assert (found["names"], found["largest"]) == (["weight"], [pytest.approx(4.0, rel=1e-14)])


def test_data_may_be_a_loader(folder, capsys):
    pytest.importorskip("torch")
    code = """
def loader():
    import torch
    x, y = map(torch.tensor, data())
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), shuffle=True)
"""
    (folder / "own_models.py").write_text(CODE + code)
    sys.modules.pop("own_models", None)
    assert run([*ARGUMENTS, "--data", "own_models:loader", "--loss", "squared", "--json"]) == 0
    captured = capsys.readouterr()
    np.testing.assert_allclose(json.loads(captured.out)["pairs"]["values"], [1.0, 4.0], rtol=1e-12)
    assert "in a new order each time (RandomSampler)" in captured.err


def test_the_state_of_an_optimiser_in_a_file_is_judged_too(folder, capsys):
    """H = diag(4, 1), P = (.02, .01), P⁻¹H = diag(200, 100), edge 38/lr: stable for lr < .19."""
    torch = pytest.importorskip("torch")
    w = torch.zeros((1, 2), requires_grad=True)
    adam = torch.optim.Adam([w], lr=0.5, eps=1e-12)
    w.grad = torch.tensor([[0.2, 0.1]])
    adam.step()  # P = |g|(1 − β₁)
    saved = {"model": {"weight": torch.tensor([[3.0, -1.0]])}, "optimizer": adam.state_dict()}
    torch.save(saved, folder / "last.pt")
    own = ["checkpoint", "last.pt", *WITH_DATA[2:], "--rule", "gd"]
    for more in (["--optimizer-state", "last.pt"], ["--optimizer-entry", "optimizer"]):
        for lr, verdict in (("0.189", "below the edge"), ("0.191", "past the edge")):
            assert run([*own, *more, "--lr", lr]) == 0
            out = " ".join(capsys.readouterr().out.split())
            assert f"gd with adam at lr = {lr} is {verdict}: the largest eigenvalue" in out
            assert "lr < 0.19 is stable" in out
            assert (
                f"adam after 1 steps (last.pt); its last lr was 0.5, and the verdict is for {lr}"
                in out
            )


def test_a_picture_is_written_beside_the_table(folder, capsys):
    assert run([*WITH_DATA, "-o", "spectrum.png"]) == 0
    assert (folder / "spectrum.png").read_bytes().startswith(b"\x89PNG")
    assert "eigenvalue of H" in capsys.readouterr().out


def test_names_of_the_file_are_mapped_and_left_out(folder, capsys):
    tensors = {"fc.weight": np.array([[3.0, -1.0]]), "head.bias": np.ones(1)}
    save_file(tensors, folder / "others.safetensors")
    others = ["checkpoint", "others.safetensors", *WITH_DATA[2:]]
    assert run(others) == 2
    line = "--rename=fc.weight=weight --leave-out=head"
    assert f"Use: samflow {' '.join(others)} {line}" in capsys.readouterr().err
    assert run([*others, "--rename", "fc.weight=weight", "--leave-out", "head"]) == 0
    assert "left out head.bias" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*WITH_DATA, "--rename", "weight"], "`--rename` must be OLD=NEW"),
        ([*WITH_DATA, "--leave-out", "head"], "no name begins with 'head'"),
        (ARGUMENTS, "`--data` is missing: weights alone define no loss"),
        ([*ARGUMENTS[:-1], "own_models"], "must be module:function"),
        ([*ARGUMENTS[:-1], "no_models:linear"], "'no_models' cannot"),
        ([*ARGUMENTS[:-1], "own_models:NUMBER"], "has no function 'NUMBER'"),
        ([*ARGUMENTS[:-1], "own_models:ready", "--data", "data.npz"], "is already a loss"),
        ([*ARGUMENTS, "--data", "own_models:linear"], "returned Linear"),
        ([*ARGUMENTS, "--data", "none.npz"], "must be a file"),
        ([*ARGUMENTS, "--data", "empty.npz"], "complete .npz file of numbers"),
        ([*ARGUMENTS, "--data", "half.npz"], "lacks y; it has x"),
        ([*ARGUMENTS, "--data", "single.npz"], "complete .npz file of numbers"),
        ([*ARGUMENTS, "--data", "broken.npz"], "complete .npz file of numbers"),
        ([*ARGUMENTS, "--data", "flat.npz", "--examples", "1"], "one array has no rows"),
        ([*ARGUMENTS, "--data", f"{'n' * 300}.npz"], "must be a file"),
        ([*WITH_DATA, "--rename", "a=b", "--rename", "a=c"], "one is there twice"),
        ([*ARGUMENTS[:-1], ".own_models:linear"], "must be module:function"),
        ([*WITH_DATA, "--examples", "3"], "at most 2"),
        ([*WITH_DATA, "--rho", "0"], "`rho` must be finite and greater than 0"),
        ([*WITH_DATA, "--loss", "suqared"], "Did you mean squared"),
        ([*WITH_DATA, "--convention", "goggle"], "Did you mean google"),
        ([*WITH_DATA, "-o", "found.exe"], "must end in"),
        ([*ARGUMENTS[:-1], "own_models:wrong", "--data", "data.npz"], "must be callable"),
        (
            [*ARGUMENTS[:-1], "own_models:ready", "--loss", "squared", "--examples", "1"],
            "`--loss`, `--examples` must be left out",
        ),
        ([*ARGUMENTS[:-1], "own_models:ready", "--batch-norm", "train"], "`--batch-norm` must be"),
        ([*WITH_DATA, "--batch-norm", "train"], "for a model without state"),
        (["checkpoint", "none.pt", *WITH_DATA[2:]], "none.pt"),
        ([*WITH_DATA, "--optimizer-state", "none.pt"], "'none.pt' does not exist"),
        ([*WITH_DATA, "--optimizer-entry", "a"], "of another kind (safetensors)"),
    ],
)
def test_misuse_is_one_line_and_code_2(arguments, words, folder, capsys):
    (folder / "empty.npz").write_bytes(b"")
    np.savez(folder / "half.npz", x=np.ones(2))
    np.savez(folder / "flat.npz", x=np.ones(()), y=np.ones(()))
    np.save(folder / "single.npy", np.ones(2))
    (folder / "single.npy").rename(folder / "single.npz")
    np.savez_compressed(folder / "broken.npz", x=np.arange(99.0), y=np.arange(99.0))
    content = bytearray((folder / "broken.npz").read_bytes())
    content[60:70] = bytes(10)
    (folder / "broken.npz").write_bytes(content)
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        (
            "broken",
            "data",
            "The code of --model own_models:broken raised KeyError: 'no such layer'",
        ),
        ("linear", "broken", "The code of --data own_models:broken raised KeyError"),
        ("failing", "data", "the network itself raised RuntimeError: a fault of my own"),
    ],
)
def test_what_the_users_own_code_raises_is_called_so(model, data, words, capsys):
    arguments = [*ARGUMENTS[:-1], f"own_models:{model}", "--data", f"own_models:{data}"]
    assert run(arguments) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "internal" not in err


def test_an_error_of_ours_stays_one_of_ours(monkeypatch, capsys):
    code = compile("def fault(*a, **k):\n    raise RuntimeError('ours')", networks.__file__, "exec")
    made = {}
    exec(code, made)
    monkeypatch.setattr(networks, "diagnose", made["fault"])
    assert run(WITH_DATA) == 1
    assert "Error: internal: RuntimeError: ours" in capsys.readouterr().err


def test_the_answer_comes_first_and_then_the_loss_that_was_taken(folder, capsys):
    """H = diag(4, 1): GD is stable below lr = 2/4, USAM with rho = 1/4 below 2/(4(1 + 1))."""
    line = [*WITH_DATA[:-2], "--rho", "0.25", "--lr", "0.3", "--rule", "gd", "--rule", "usam"]
    assert run(line) == 0  # without --loss: targets are floats
    out = capsys.readouterr().out
    assert " ".join(out.split()).startswith(
        "At lr 0.3 gd is below the edge, usam is past the edge; lr < 0.25 is safe for each, or rho "
        "< 0.166 at this lr. At lr = 0.3, gd is stable in every direction measured; usam is "
        "unstable. Every direction measured is stable if lr < 0.5 for gd and lr < 0.25 for usam."
    )
    assert "\nLoss: squared error, ½‖f(x) − y‖²" in out


def test_one_beginning_is_renamed_for_all_as_files_of_trainers_need_it(folder, capsys):
    """SWA has its weights under module. beside n_averaged, Lightning under the attribute's name."""
    loss = make_loss("own_models:drifting", None, None, LossSettings())
    w = loss.flatten(loss.unflatten(jnp.ones(loss.dim)))
    tensors = dict(zip(loss.weight_names, map(np.asarray, loss.split(w)), strict=True))
    swa = {f"module.{name}": t for name, t in tensors.items()} | {"n_averaged": np.array(5)}
    save_file(swa, folder / "swa.safetensors")
    line = ["checkpoint", "swa.safetensors", "--model", "own_models:drifting", "-k", "1"]
    assert run(line) == 2
    words = capsys.readouterr().err.split("Use: samflow ")[1].split()
    assert words[-2:] == ["--rename=module.=", "--leave-out=n_averaged"]
    with pytest.raises(
        networks.MismatchError, match=r"rename=\{'module.': ''\}, leave_out=\['n_av"
    ):
        networks.load_checkpoint(folder / "swa.safetensors", loss)
    found = networks.load_checkpoint(
        folder / "swa.safetensors", loss, rename={"module.": ""}, leave_out=["n_averaged"]
    )
    np.testing.assert_array_equal(found.w, w)
    other = {f"net.{n}": t for n, t in tensors.items()} | {"net.extra": np.ones(7)}
    save_file(other, folder / "lightning.safetensors")
    assert run(["checkpoint", "lightning.safetensors", *words[2:6]]) == 2
    assert "--rename=net.= --leave-out=net.extra" in capsys.readouterr().err


@pytest.mark.parametrize("products", [1, 12, 38, 55])
def test_a_stop_prints_what_is_known_and_how_to_go_on(products, folder, monkeypatch, capsys):
    """An interrupt at each of several products: in the search, the first rule, the trace."""
    made = itertools.count(1)

    def count():
        if next(made) == products:
            raise KeyboardInterrupt

    module = sys.modules["samflow.networks.diagnosis.measurements"]
    monkeypatch.setattr(module, "stage", lambda *args: watched(count))
    loss = make_loss("own_models:drifting", None, None, LossSettings())
    networks.save_checkpoint(folder / "w.safetensors", loss, jnp.linspace(-1, 1, loss.dim))
    line = ["checkpoint", "w.safetensors", "--model", "own_models:drifting", "-k", "1"]
    assert run([*line, "--max-products", "60", "--trace-products", "20"]) == 130
    out, err = capsys.readouterr()
    assert "Interrupted. Not done: " in err
    assert "Go on with the same command" in err
    assert "trace" in err
    assert ("Eigenvalues so far" in out) == (products == 12)
    assert ("Stopped before: " in out) == (products >= 38)
    if products == 1:
        assert out == ""


def test_few_products_leave_eigenvalues_open_and_it_is_said(folder, capsys):
    loss = make_loss("own_models:drifting", None, None, LossSettings())
    networks.save_checkpoint(folder / "w.safetensors", loss, jnp.linspace(-1, 1, loss.dim))
    line = ["checkpoint", "w.safetensors", "--model", "own_models:drifting", "-k", "1"]
    line += ["--rule", "gd", "--trace-products", "6", "--max-products"]
    assert run([*line, "5"]) == 1
    out, err = capsys.readouterr()
    assert "by Lanczos, 5 Hessian-vector products" in out
    assert "(deflated, 6 products)" in out
    assert "Allow more than --max-products 5" in err


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_a_module_with_state_has_the_batch_norm_asked_for(batch_norm):
    settings = LossSettings(loss="squared", batch_norm=batch_norm)
    loss = make_loss("own_models:normed", "data.npz", None, settings)
    assert loss.options.batch_norm == batch_norm
    assert loss.has_statistics == (batch_norm == "eval")


def test_the_first_examples_of_several_inputs(folder):
    code = "import numpy as np\ndef data():\n    x = np.arange(6.0).reshape(3, 2)\n"
    code += "    return {'a': x, 'b': (x, x[:, 0])}, np.arange(3)\n"
    (folder / "several_inputs.py").write_text(code)
    x, y = examples_of("several_inputs:data", 2)
    assert [len(each) for each in (x["a"], *x["b"], y)] == [2, 2, 2, 2]
    with pytest.raises(ArgumentError, match="at most 3"):
        examples_of("several_inputs:data", 4)


def test_an_interrupt_that_python_ignores_ends_the_command(folder):
    arguments = [*ARGUMENTS[:-1], "own_models:interrupted", *WITH_DATA[4:], "-o", "found.json"]
    main = [sys.executable, "-c", "from samflow.cli import main; main()"]
    done = subprocess.run(
        [*main, *arguments], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")
    assert not (folder / "found.json").exists()


def test_a_stop_while_s_is_sampled_keeps_the_report(monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(networks, "sample_sliding", stop)
    assert run([*WITH_DATA, "--rho", "0.1", "--hold"]) == 130
    said = capsys.readouterr()
    assert "eigenvalue of H" in said.out
    assert "Not done: S over directions (--hold)" in said.err
