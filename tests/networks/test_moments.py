"""Checkpoints of adaptive optimisers, judged by the preconditioned Hessian from their state."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
import torch

import samflow as sf
from samflow import networks
from samflow._checks import ArgumentError
from samflow.losses import network
from samflow.networks import (
    Checkpoint,
    Effort,
    SecondMoment,
    diagnose,
    load_moment,
    optax_moment,
    torch_moment,
)
from samflow.spectra import extreme_eigenpairs, preconditioned_eigenpairs

SHARPEST, FLATTEST = 4.0, 1.0
EFFORT = Effort(num_eigenpairs=1, trace_products=6)


@pytest.fixture(scope="module")
def minimum():
    """A linear model at its minimum, H = diag(4, 1)."""
    x = np.sqrt(2) * np.diag(np.sqrt([SHARPEST, FLATTEST]))
    model = eqx.nn.Linear(2, 1, use_bias=False, key=jr.key(0))
    loss = network(model, x, x @ np.array([[3.0], [-1.0]]), name="linear")
    return Checkpoint(loss, jnp.array([3.0, -1.0]))


def trained(make, steps=5, shape=(1, 2), named=False):
    """Return an optimiser of torch after some steps of given gradients."""
    w = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    optimiser = make([("weight", w)] if named else [w])
    for k in range(steps):
        w.grad = torch.linspace(0.1, 0.3 + 0.1 * k, w.numel(), dtype=torch.float64).reshape(shape)
        optimiser.step()
    return optimiser


MAKERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, eps=1e-3, weight_decay=0.2),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.9, eps=1e-3),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_preconditioner_is_what_torch_divides_by(minimum, name):
    """The next step of torch with a gradient that leaves v as it is, against lr P⁻¹m⁺."""
    optimiser = trained(MAKERS[name], named=True)
    found = torch_moment(minimum.loss, optimiser.state_dict())
    assert (found.base.name, found.step) == (name, 5)
    assert found.weight_decay == (0.1 if name == "adam" else 0.0)
    (group,) = optimiser.param_groups
    (w,) = group["params"]
    state, before = optimiser.state[w], w.detach().clone()
    v = state["square_avg" if name == "rmsprop" else "exp_avg_sq"].clone()
    w.grad = torch.sqrt(v)  # so that v⁺ = v
    decay = group["weight_decay"]
    if name == "adam":
        w.grad = w.grad - decay * before
    optimiser.step()
    m = np.sqrt(v.numpy()) if name == "rmsprop" else state["exp_avg"].numpy()
    moved = (w.detach() - before).numpy()
    moved = moved + 0.1 * decay * before.numpy() if name == "adamw" else moved
    after = SecondMoment(found.base, found.v, 6)
    np.testing.assert_allclose(moved.ravel(), -0.1 * m.ravel() / after.preconditioner, rtol=1e-9)


VARIANTS = {
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.7), eps=1e-3, amsgrad=True),
    "centred": lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.9, eps=1e-3, centered=True),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_divide_by_the_largest_moment_and_by_the_variance(minimum, name):
    """The last step of torch is lr P⁻¹m with the P of its state; the gradient fell before it."""
    optimiser = trained(VARIANTS[name])
    (w,) = optimiser.param_groups[0]["params"]
    before, w.grad = w.detach().clone(), torch.tensor([[0.02, -0.03]], dtype=torch.float64)
    optimiser.step()
    state = optimiser.state[w]
    m = state["exp_avg"] if name == "amsgrad" else w.grad
    found = torch_moment(minimum.loss, optimiser.state_dict())
    moved = (w.detach() - before).numpy().ravel()
    np.testing.assert_allclose(moved, -0.1 * m.numpy().ravel() / found.preconditioner, rtol=1e-9)
    plain = state["exp_avg_sq"] if name == "amsgrad" else state["square_avg"]
    assert (found.v != plain.numpy().ravel()).all()


def test_the_state_of_optax_has_the_same_moment(minimum):
    optimiser, w = optax.chain(optax.clip(9.0), optax.adam(0.1, 0.8, 0.9, eps=1e-3)), jnp.zeros(2)
    tree = minimum.loss.unflatten(w)
    for params in (w, tree):
        state = optimiser.init(params)
        for k in range(5):
            g = jnp.linspace(0.1, 0.3 + 0.1 * k, 2)
            grads = g if params is w else minimum.loss.unflatten(g)
            _, state = optimiser.update(grads, state, params)
        found = optax_moment(minimum.loss, state, sf.Adam(beta1=0.8, beta2=0.9, eps=1e-3))
        plain = trained(lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.9), eps=1e-3))
        theirs = torch_moment(minimum.loss, plain.state_dict())
        np.testing.assert_allclose(found.preconditioner, theirs.preconditioner, rtol=1e-12)


def test_the_verdict_has_two_sides(minimum):
    """P⁻¹H = diag(4/P₁, 1/P₂), P⁻¹H(I + ρH); the edge of Adam is 38/lr."""
    v = np.array([0.04, 1e-4])
    moments = SecondMoment(sf.Adam(bias_correction=False, eps=0.0), v, 9)
    for rule, top in ((sf.GD(), 1 / 1e-2), (sf.USAM(rho=0.5), 1.5 / 1e-2)):
        for share, verdict in ((0.999, "below the edge"), (1.001, "past the edge")):
            lr = share * 38 / top
            found = diagnose(
                minimum, rho=0.5, lr=lr, rules=[rule], effort=EFFORT, moments=moments
            ).adaptive
            np.testing.assert_allclose(found.sharpness, top, rtol=1e-9)
            np.testing.assert_allclose(found.largest_lr, 38 / top, rtol=1e-6)  # less its residual
            assert found.verdict == (verdict,)
            assert verdict in found.statements()[0]
    decayed = SecondMoment(sf.AdamW(bias_correction=False, eps=0.0, weight_decay=0.01), v, 9)
    found = diagnose(minimum, rho=0.5, lr=0.1, rules=["gd"], effort=EFFORT, moments=decayed)
    np.testing.assert_allclose(found.adaptive.edge, 19 * (2 - 0.1 * 0.01) / 0.1, rtol=1e-12)
    assert str(found).startswith("gd with adamw at lr = 0.1 is below the edge")


class Executes:
    """Runs a line of code when it is unpickled."""

    def __init__(self, line):
        self.line = line

    def __reduce__(self):
        return exec, (self.line,)


def test_a_moment_in_a_file_is_that_of_the_optimiser_and_nothing_is_run(minimum, tmp_path):
    state = trained(MAKERS["adamw"]).state_dict()
    path, mark = tmp_path / "last.ckpt", tmp_path / "ran"
    code = Executes(f"open({str(mark)!r}, 'w').close()")
    lightning = {"pytorch-lightning_version": "2.5.0", "state_dict": {"weight": torch.ones(1, 2)}}
    lightning |= {"hyper_parameters": {"code": code}, "optimizer_states": [state]}
    for content in (state, {"model": {}, "optimizer_state_dict": state}, lightning):
        torch.save(content, path)
        found, given = load_moment(path, minimum.loss), torch_moment(minimum.loss, state)
        np.testing.assert_array_equal(found.v, given.v)
        assert (found.base, found.step, found.lr, found.source) == (given.base, 5, 0.1, str(path))
    torch.save(
        {**lightning, "optimizer_states": [state, trained(MAKERS["adam"]).state_dict()]}, path
    )
    assert load_moment(path, minimum.loss, entry="optimizer_states.1").base.name == "adam"
    assert not mark.exists()
    with pytest.raises(ArgumentError, match=r"one of `optimizer_states.0`, `optimizer_states.1`"):
        load_moment(path, minimum.loss)
    halves = {name: v.bfloat16() for name, v in state["state"][0].items() if name != "step"}
    halves = {0: {**state["state"][0], **halves}}
    torch.save({"param_groups": state["param_groups"], "state": halves}, path)  # of 8 bits
    np.testing.assert_allclose(load_moment(path, minimum.loss).v, given.v, rtol=2.0**-8)


def test_a_file_without_the_state_of_one_optimiser_is_refused(minimum, tmp_path):
    path, state = tmp_path / "file.pt", trained(MAKERS["adam"]).state_dict()
    with_code = {**state, "code": Executes("1")}
    cases = {
        "has only `model`": ({"model": {"weight": torch.ones(1, 2)}}, None),
        "`entry` must be left out": (state, "optimizer"),
        "`entry` must be one of `a`": ({"a": state}, "b"),
        "reading it would run its code": (with_code, None),
    }
    for words, (content, entry) in cases.items():
        torch.save(content, path)
        with pytest.raises(ArgumentError, match=words):
            load_moment(path, minimum.loss, entry=entry)
    np.savez(tmp_path / "file.npz", exp_avg_sq=np.ones(2))
    with pytest.raises(ArgumentError, match=r"another kind \(npz\)"):
        load_moment(tmp_path / "file.npz", minimum.loss)


def test_eigenpairs_are_those_of_the_matrix():
    """Of P^(-1/2)(H + ρH² + δ)P^(-1/2), formed; and with P = 1 those of H."""
    loss = sf.loss("x**4 + x*y**2 - 3*y*z + z**2 + x*z**3")
    w, p = jnp.array([0.4, -0.7, 0.9]), np.array([0.1, 2.0, 30.0])
    h, root = np.asarray(loss.hessian(w)), np.sqrt(p)
    matrix = (h + 0.3 * h @ h + 0.05 * np.eye(3)) / root / root[:, None]
    found = preconditioned_eigenpairs(loss, w, p, rho=0.3, weight_decay=0.05)
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(matrix)[[0, -1]], rtol=1e-9)
    plain = preconditioned_eigenpairs(loss, w, np.ones(3))
    np.testing.assert_allclose(plain.values, extreme_eigenpairs(loss, w).values, rtol=1e-9)


def test_states_of_others_are_named(minimum):
    loss, adam = minimum.loss, lambda p, **more: torch.optim.Adam(p, lr=0.1, **more)
    two = torch.optim.Adam([torch.zeros(1, requires_grad=True)] * 1 + [torch.zeros(2)], lr=0.1)
    cases = {
        "whose weight has shape": trained(adam, shape=(2, 1)).state_dict(),
        "with 1 arrays, but its optimiser has 2": two.state_dict(),
        "no step was made": trained(adam, steps=0).state_dict(),
        "maximize": trained(lambda p: adam(p, maximize=True)).state_dict(),
        "keeps none, as SGD": trained(lambda p: torch.optim.SGD(p, lr=0.1)).state_dict(),
        "its state has .'momentum_buffer'": trained(
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)
        ).state_dict(),
        "Adam, AdamW or RMSprop": trained(lambda p: torch.optim.Adagrad(p)).state_dict(),
        "param_groups": {"exp_avg_sq": [1.0]},
        "its state has .*'mu_product'": trained(torch.optim.NAdam).state_dict(),
        "such as RAdam": trained(torch.optim.RAdam).state_dict(),
        "its state has .'acc_delta'": trained(torch.optim.Adadelta).state_dict(),
    }
    for words, state in cases.items():
        with pytest.raises(ArgumentError, match=words):
            torch_moment(loss, state)
    with pytest.raises(ArgumentError, match="these names are not in both"):
        torch_moment(loss, trained(adam).state_dict(), names=["bias"])
    with pytest.raises(ArgumentError, match="second moment `nu`"):
        optax_moment(loss, optax.sgd(0.1).init(jnp.zeros(2)), sf.Adam())
    other = {"a": jnp.zeros(2)}
    with pytest.raises(ArgumentError, match="built like"):
        optax_moment(loss, optax.adam(0.1).init(other), sf.Adam())
    moments = SecondMoment(sf.Adam(), np.ones(3), 1)
    with pytest.raises(ArgumentError, match="with 2 weights, but has 3"):
        diagnose(minimum, rho=0.1, lr=0.1, moments=moments)
    for wrong in (lambda: SecondMoment(sf.Lion(), np.ones(2), 1),
                  lambda: SecondMoment(sf.Adam(), -np.ones(2), 1),
                  lambda: SecondMoment(sf.Adam(), np.ones(2), 0)):  # fmt: skip
        with pytest.raises(ArgumentError):
            wrong()
    assert networks.Preconditioned


def test_a_state_that_does_not_say_which_decay_it_has_is_refused(minimum):
    """Older versions of torch write the same for Adam and AdamW, whose decays are two things."""
    state = trained(MAKERS["adamw"]).state_dict()
    (group,) = state["param_groups"]
    assert group.pop("decoupled_weight_decay") is True
    with pytest.raises(ArgumentError, match="whether `decoupled_weight_decay`"):
        torch_moment(minimum.loss, state)
    group["decoupled_weight_decay"] = True
    assert torch_moment(minimum.loss, state).base.name == "adamw"
    del group["decoupled_weight_decay"]
    group["weight_decay"] = 0.0  # without decay both are one
    assert torch_moment(minimum.loss, state).base.name == "adam"


def test_numbers_of_a_state_may_be_tensors_and_must_be_numbers(minimum):
    loss, state = minimum.loss, trained(MAKERS["adam"]).state_dict()
    (group,), moments = state["param_groups"], state["state"][0]

    def read(**others):
        changed = {name: others.pop(name) for name in list(others) if name in moments}
        more = others.pop("more", [])
        return torch_moment(
            loss,
            {"param_groups": [group | others, *more], "state": {0: moments | changed}},
        )

    as_tensors = {name: torch.tensor(group[name]) for name in ("lr", "eps")}
    found = read(betas=tuple(map(torch.tensor, group["betas"])), step=5, **as_tensors)
    assert found.lr == pytest.approx(0.1, rel=2.0**-24)  # a tensor of 32 bits
    double = torch.tensor(0.1, dtype=torch.float64)
    assert read(more=[group | {"params": [], "lr": double}]).lr == 0.1
    refused = {
        "one lr": {"more": [group | {"params": [], "lr": 0.1 * (1 + 1e-9)}]},
        "one decoupled_weight_decay": {
            "more": [group | {"params": [], "decoupled_weight_decay": True}]
        },
        "whole number of steps": {"step": 2.5},
        "finite number as step": {"step": torch.tensor(float("nan"))},
        "at least 1": {"step": 0},
        "two betas": {"betas": 0.9},
        "real numbers as exp_avg_sq": {"exp_avg_sq": torch.ones(1, 2) * 1j},
        "be finite": {"exp_avg_sq": torch.tensor([[1.0, float("nan")]])},
        "at least 0": {"exp_avg_sq": torch.tensor([[1.0, -1.0]])},
        "its moment has": {"exp_avg_sq": torch.zeros(1).expand(10**14)},
        "each array once": {"params": [0, 0]},
        "list of dictionaries": {"params": [[0]]},
    }
    for words, others in refused.items():
        with pytest.raises(ArgumentError, match=words):
            read(**others)
