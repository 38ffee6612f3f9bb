"""Monitors in loops of PyTorch and optax: the same rows as in JAX, optimisers read as they are."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Status
from samflow.networks import Monitor, OptaxMonitor, TorchMonitor, first_state, train

torch = pytest.importorskip("torch")

NUM, LR, EVERY = 12, 0.4, 4


@pytest.fixture(scope="module")
def jax_loss():
    model = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=jr.key(0))
    x, y = jr.normal(jr.key(1), (NUM, 3)), jr.randint(jr.key(2), (NUM,), 0, 2)
    return sf.losses.network(model, x, y, loss="cross_entropy", name="small")


@pytest.fixture
def module(jax_loss):
    """The same network in PyTorch, with the same weights, and the same data."""
    made = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)
    ).double()
    w = _start(jax_loss)
    torch.nn.utils.vector_to_parameters(torch.tensor(np.asarray(w)), made.parameters())
    x, y = (
        torch.tensor(np.asarray(jax_loss.x)),
        torch.tensor(np.asarray(jax_loss.y), dtype=torch.int64),
    )
    return made, (x, y)


def _start(loss):
    return 0.5 * jr.normal(jr.key(3), (loss.dim,))


def _torch_loop(module, batch, optimizer, monitor, steps):
    for _ in range(steps + 1):
        monitor(module, batch)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(batch[0]), batch[1]).backward()
        optimizer.step()


def _tree(loss, w):
    return eqx.filter(loss.unflatten(w), eqx.is_array)


def _optax_loop(loss, tx, monitor, steps):
    w = _start(loss)
    state, gradient, apply = tx.init(_tree(loss, w)), jax.jit(jax.grad(loss)), jax.jit(tx.update)
    for _ in range(steps + 1):
        monitor(loss.unflatten(w), state)
        updates, state = apply(_tree(loss, gradient(w)), state)
        w = w + loss.flatten(updates)


def test_the_rows_of_pytorch_are_those_of_jax_on_the_same_weights(jax_loss, module):
    system = sf.Map(jax_loss, sf.GD(), lr=LR, momentum=0.5, weight_decay=0.01)
    settings = {"every": EVERY, "compare": (sf.SAM(rho=0.1),)}
    ours = Monitor(**settings)
    train(system, first_state(system, _start(jax_loss)), until=12, monitor=ours)
    optimizer = torch.optim.SGD(module[0].parameters(), lr=LR, momentum=0.5, weight_decay=0.01)
    theirs = TorchMonitor(optimizer, **settings)
    _torch_loop(*module, optimizer, theirs, 12)
    one, other = ours.record, theirs.record
    assert one.steps.tolist() == other.steps.tolist() == [0, 4, 8, 12]
    assert one.update == other.update == ("gd with momentum 0.5",) * 4
    assert one.num_products.tolist() == other.num_products.tolist()
    for name in ("loss", "gradient_norm", "eigenvalues", "edge", "edges", "cosine"):
        # Twelve steps and nine products in another order of operations.
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9)
    # Of the weights of steps k − 2, k − 1 and k; before the first row there are none.
    np.testing.assert_allclose(one.turn, other.turn, rtol=1e-6)
    assert np.isfinite(other.turn).tolist() == [False, True, True, True]


def _preconditioned(jax_loss, w, p):
    product = jax.jit(lambda w, v: jax_loss.hvp(w, v))
    hessian = np.stack([product(w, unit) for unit in jnp.eye(jax_loss.dim)])
    return np.linalg.eigvalsh(hessian / np.sqrt(np.outer(p, p)))[-1]


def test_adam_of_pytorch_and_of_optax_has_the_preconditioned_edge(jax_loss, module):
    """P = (√(v/(1 − β₂ᵏ)) + ε)(1 − β₁ᵏ) by hand, λ of P^(-1/2) H P^(-1/2) of a dense Hessian."""
    lr, steps = 0.01, 8
    optimizer = torch.optim.Adam(module[0].parameters(), lr=lr, eps=1e-3)
    ours = TorchMonitor(optimizer, every=EVERY, tol=1e-6, max_products=30)
    _torch_loop(*module, optimizer, ours, steps)
    numbers = {"learning_rate": lr, "eps": 1e-3}
    theirs = OptaxMonitor(jax_loss, "adam", numbers, every=EVERY, tol=1e-6, max_products=30)
    _optax_loop(jax_loss, optax.adam(lr, eps=1e-3), theirs, steps)
    w, m, v, gradient = _start(jax_loss), 0.0, 0.0, jax.jit(jax.grad(jax_loss))
    for k in range(1, steps + 1):
        g = gradient(w)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = (jnp.sqrt(v / (1 - 0.999**k)) + 1e-3) * (1 - 0.9**k)
        w = w - lr * m / p
    exact = _preconditioned(jax_loss, w, np.asarray(p))
    for record in (ours.record, theirs.record):
        assert record.steps.tolist() == [0, 4, 8]
        # optax computes 1 − β₂ᵏ in single precision.
        assert record.preconditioned[-1, 0] == pytest.approx(exact, rel=1e-5)
        assert record.preconditioned_status[-1, 0] == Status.located
        assert record.curvature[-1] == record.preconditioned[-1, 0]
        assert record.edge[1:] == pytest.approx(38 / lr)
        # Before the first step there are no moments: nothing is to be compared with an edge.
        assert math.isnan(record.edge[0])
        assert record.preconditioned_status[0, 0] == Status.undefined


@pytest.mark.parametrize(
    ("numbers", "edge"),
    [
        ({"momentum": 0.9}, 3.8 / LR),
        ({"momentum": 0.9, "nesterov": True}, 3.8 / 2.8 / LR),
        ({"momentum": 0.9, "dampening": 0.5}, 3.8 / (0.5 * LR)),
        ({"weight_decay": 0.3}, 2 / LR - 0.3),
        ({"maximize": True}, None),
    ],
)
def test_the_numbers_of_sgd_are_read(module, numbers, edge):
    optimizer = torch.optim.SGD(module[0].parameters(), lr=LR, **numbers)
    row = TorchMonitor(optimizer)(*module)
    assert row["edge"] == pytest.approx(math.nan if edge is None else edge, nan_ok=True)


def test_a_rule_around_the_optimiser_and_a_new_lr_count(module):
    optimizer = torch.optim.SGD(module[0].parameters(), lr=LR)
    monitor = TorchMonitor(optimizer, rule=sf.SAM(rho=0.1), every=1)
    monitor(*module)
    optimizer.param_groups[0]["lr"] = LR / 2  # as a scheduler does
    monitor(*module)
    record = monitor.record
    assert record.lr.tolist() == [LR, LR / 2]
    g = record.gradient_norm
    expected = g / 0.2 * (np.sqrt(1 + 0.8 / (record.lr * g)) - 1)
    np.testing.assert_allclose(record.edge, expected, rtol=1e-12)
    assert (record.direction_cosine != record.cosine).all()


class _Mine(torch.optim.SGD):
    """An optimiser of which samflow knows nothing, though its class is derived from SGD."""


@pytest.mark.parametrize("kind", [torch.optim.Adagrad, _Mine])
def test_of_an_unknown_optimiser_the_edge_is_unknown(module, kind):
    record_of = TorchMonitor(kind(module[0].parameters(), lr=LR))
    row = record_of(*module)
    assert math.isnan(row["edge"])
    assert "edge unknown" in row["update"]
    assert row["eigenvalue_status"][0] == Status.located
    assert "unknown" in str(record_of.record)


def test_groups_with_different_numbers_have_no_edge(module):
    first, _, last = module[0]
    groups = [{"params": first.parameters()}, {"params": last.parameters(), "lr": LR / 2}]
    row = TorchMonitor(torch.optim.SGD(groups, lr=LR))(*module)
    assert math.isnan(row["edge"])
    assert "groups differ in lr" in row["update"]


def test_an_optimiser_of_another_model_and_dropout_in_training_mode_are_refused(module):
    other = torch.optim.SGD(torch.nn.Linear(3, 4).parameters(), lr=LR)
    with pytest.raises(ArgumentError, match="4 of 4 are not among its parameters"):
        TorchMonitor(other)(*module)
    half = torch.optim.SGD(module[0][0].parameters(), lr=LR)
    with pytest.raises(ArgumentError, match=r"2 of 4 .*2\.weight, 2\.bias"):
        TorchMonitor(half)(*module)
    dropping = torch.nn.Sequential(module[0], torch.nn.Dropout(0.5))
    own = torch.optim.SGD(dropping.parameters(), lr=LR)
    with pytest.raises(ArgumentError, match=r"dropout .*Dropout 1"):
        TorchMonitor(own)(dropping, module[1])
    row = TorchMonitor(own, dropout="off")(dropping, module[1])
    plain = TorchMonitor(torch.optim.SGD(module[0].parameters(), lr=LR))(*module)
    assert row["loss"] == pytest.approx(plain["loss"], rel=1e-12)
    assert TorchMonitor(own)(dropping.eval(), module[1])["loss"] == row["loss"]
    with pytest.raises(ArgumentError, match="batch"):
        TorchMonitor(own)(dropping, module[1][0])


def test_monitors_of_loops_go_on_from_their_state(jax_loss):
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=LR, momentum=0.5)
    told = {"momentum": 0.5}
    whole = OptaxMonitor(jax_loss, "sgd", told, every=EVERY)
    _optax_loop(jax_loss, tx, whole, 12)
    assert whole.record.edge == pytest.approx(3 / LR)  # the injected rate is in single precision
    system = sf.Map(jax_loss, sf.GD(), lr=LR, momentum=0.5)
    ours = Monitor(every=EVERY)
    train(system, first_state(system, _start(jax_loss)), until=12, monitor=ours)
    # Twelve steps with a rate that is rounded at 3e-8, in differences of weights.
    np.testing.assert_allclose(whole.record.turn, ours.record.turn, rtol=1e-4)
    w, state = _start(jax_loss), tx.init(_tree(jax_loss, _start(jax_loss)))
    first = OptaxMonitor(jax_loss, "sgd", told, every=1)
    first(jax_loss.unflatten(w), state)
    saved = first.state_dict()
    first(jax_loss.unflatten(0.9 * w), state)
    second = OptaxMonitor(jax_loss, "sgd", told, every=1)
    second.load_state_dict(saved)
    second(jax_loss.unflatten(0.9 * w), state)
    a, b = first.record.to_dataset(), second.record.to_dataset()
    for name in a.variables:
        np.testing.assert_array_equal(a[name].values, b[name].values)


def test_a_state_of_optax_that_is_not_the_one_told_is_refused_or_unknown(jax_loss):
    tree = _tree(jax_loss, _start(jax_loss))
    adam = optax.adam(0.1).init(tree)
    with pytest.raises(ArgumentError, match="ScaleByAdamState"):
        OptaxMonitor(jax_loss, "sgd", {"learning_rate": 0.1})(tree, adam)
    told = OptaxMonitor(jax_loss, "sgd", {"learning_rate": 0.1, "momentum": 0.9}, every=1)
    with pytest.raises(ArgumentError, match="momentum"):
        told(tree, optax.sgd(0.1).init(tree))
    with pytest.raises(ArgumentError, match="another model"):
        told(tree, optax.sgd(0.1, momentum=0.9).init(jnp.zeros(5)))
    for monitor in (OptaxMonitor(jax_loss), OptaxMonitor(jax_loss, "adam")):
        assert math.isnan(monitor(tree, adam)["edge"])
    with pytest.raises(ArgumentError, match="optimiser"):
        OptaxMonitor(jax_loss, "lion")
    with pytest.raises(ArgumentError, match="hyperparams"):
        OptaxMonitor(jax_loss, "sgd", {"beta1": 0.9})


def test_batches_of_all_examples_have_the_curvature_along_the_gradient(module):
    optimizer = torch.optim.SGD(module[0].parameters(), lr=LR)
    count = len(module[1][0])
    monitor = TorchMonitor(optimizer, batch_size=count, num_batches=2)
    row = monitor(*module)
    network = sf.losses.torch_network(module[0], *module[1])
    g = network.gradient(network.flatten())
    along = float(g @ network.hvp(network.flatten(), g) / (g @ g))
    assert row["batch_sharpness"] == pytest.approx(along, rel=1e-9)
    assert row["batch_sharpness_error"] == pytest.approx(0, abs=1e-9)


class _Hidden(torch.nn.Module):
    """Dropout that is no module of its own."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.last = kind, torch.nn.Linear(4, 2)
        if kind == "lstm":
            self.part = torch.nn.LSTM(1, 4, num_layers=2, dropout=0.5, batch_first=True)
        elif kind == "attention":
            self.first = torch.nn.Linear(1, 4)
            self.part = torch.nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)
        else:
            self.part = torch.nn.Linear(3, 4)

    def forward(self, x):
        if self.kind == "lstm":
            return self.last(self.part(x[..., None])[0][:, -1])
        if self.kind == "attention":
            h = self.first(x[..., None])
            return self.last(self.part(h, h, h)[0].mean(1))
        return self.last(torch.nn.functional.dropout(self.part(x), 0.5, self.training))


@pytest.mark.parametrize("kind", ["lstm", "attention", "function"])
def test_dropout_that_is_no_module_of_its_own_is_refused_too(module, kind):
    net, batch = _Hidden(kind).double(), module[1]
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    before = torch.get_rng_state()
    with pytest.raises(ArgumentError, match="must not have dropout in training mode"):
        TorchMonitor(optimizer)(net, batch)
    assert torch.equal(torch.get_rng_state(), before)
    row = TorchMonitor(optimizer)(net.eval(), batch)
    exact = torch.nn.functional.cross_entropy(net(batch[0]), batch[1]).item()
    assert row["loss"] == pytest.approx(exact, rel=1e-12)


def test_batch_norm_in_training_mode_is_no_dropout(module):
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(3), module[0]).double().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    row = TorchMonitor(optimizer)(net, module[1])
    exact = torch.nn.functional.cross_entropy(net(module[1][0]), module[1][1]).item()
    assert row["loss"] == pytest.approx(exact, rel=1e-9)


def test_weights_that_are_unfrozen_count_from_then_on(module):
    net, batch = module
    net[0].requires_grad_(False)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    monitor = TorchMonitor(optimizer, every=1)
    monitor(net, batch)
    net[0].requires_grad_(True)
    row, alone = monitor(net, batch), TorchMonitor(optimizer)(net, batch)
    assert row["gradient_norm"] == pytest.approx(alone["gradient_norm"], rel=1e-12)
    assert row["eigenvalues"] == pytest.approx(alone["eigenvalues"], rel=1e-12)
    assert row["gradient_norm"] > monitor.record.gradient_norm[0]


def _groups(net):
    named = dict(net.named_parameters())
    of = {d: [p for n, p in named.items() if n.endswith("bias") != (d > 0)] for d in (0.3, 0.0)}
    return [{"params": params, "weight_decay": decay} for decay, params in of.items()]


def test_biases_without_weight_decay_leave_the_preconditioned_sharpness(module, jax_loss):
    """Adam: λ₁ of P^(-1/2) (H + D) P^(-1/2), D = 0.3 on weights and 0 on biases. SGD: 2/lr - 0.3"""
    net, batch = module
    optimizer = torch.optim.Adam(_groups(net), lr=0.01, eps=1e-3)
    monitor = TorchMonitor(optimizer, every=EVERY)
    _torch_loop(net, batch, optimizer, monitor, EVERY - 1)
    row = monitor(net, batch)
    network = sf.losses.torch_network(net, *batch)
    w = network.flatten()
    hessian = np.stack([network.hvp(w, unit) for unit in jnp.eye(network.dim)])
    p, decay = [], []
    for name, each in net.named_parameters():
        state = optimizer.state[each]
        root = (state["exp_avg_sq"] / (1 - 0.999**EVERY)).sqrt().reshape(-1).numpy()
        p.append((root + 1e-3) * (1 - 0.9**EVERY))
        decay.append(np.full(each.numel(), 0.0 if name.endswith("bias") else 0.3))
    p, decay = np.concatenate(p), np.concatenate(decay)
    exact = np.linalg.eigvalsh((hessian + np.diag(decay)) / np.sqrt(np.outer(p, p)))[-1]
    assert row["preconditioned"][0] == pytest.approx(exact, rel=1e-9)
    assert row["edge"] == pytest.approx(38 / 0.01)
    # Before the first step λ₁ of H would be another quantity than in the rows after.
    assert np.isnan(monitor.record.curvature).tolist() == [True, False]
    assert TorchMonitor(torch.optim.SGD(_groups(net), lr=LR))(net, batch)["edge"] == pytest.approx(
        2 / LR - 0.3
    )


@pytest.mark.filterwarnings("error")
def test_batches_are_drawn_without_a_warning(module):
    optimizer = torch.optim.SGD(module[0].parameters(), lr=LR)
    row = TorchMonitor(optimizer, batch_size=4, num_batches=2)(*module)
    assert np.isfinite(row["batch_sharpness"])
