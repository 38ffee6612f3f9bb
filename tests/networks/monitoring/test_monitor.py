"""The monitor in `train`: what a row holds, how many products it takes, resumption bit for bit."""

import math
import shutil

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Status
from samflow.losses.evaluation import gradient, value
from samflow.networks import Monitor, first_state, load_state, train
from samflow.records import load_dataset

RHO, LR, EVERY = 0.05, 0.3, 10
WHAT = {
    "every": EVERY,
    "num_eigenvalues": 2,
    "batch_size": 16,
    "compare": (sf.GD(), sf.USAM(rho=RHO)),
}


@pytest.fixture(scope="module")
def digits():
    return sf.networks.digits_loss(jr.key(0), num_images=60, hidden=3)


@pytest.fixture(scope="module")
def system(digits):
    return sf.Map(digits[0], sf.SAM(rho=RHO), lr=LR)


@pytest.fixture(scope="module")
def watched(digits, system):
    """Rows of 60 steps, with the weights at each."""
    states, monitor = {}, Monitor(**WHAT)

    def keep(state):
        states[state.epoch] = np.asarray(state.z)

    train(system, first_state(system, digits[1]), until=60, on_step=keep, monitor=monitor)
    return monitor.record, states


@jax.jit
def _hvp(loss, w, v):
    return loss.hvp(w, v)


def _same(one, other):
    a, b = one.to_dataset(), other.to_dataset()
    assert a.sizes == b.sizes
    for name in a.variables:
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=name)


def test_rows_are_made_every_k_steps_and_hold_what_is_at_their_weights(digits, watched):
    (loss, _), (record, states) = digits, watched
    assert record.steps.tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert set(record.update) == {"sam(rho=0.05)"}
    for i in (0, 5):
        w = jnp.asarray(states[record.steps[i]])
        g = np.asarray(gradient(loss, w))
        assert record.loss[i] == pytest.approx(float(value(loss, w)), rel=1e-14)
        assert record.gradient_norm[i] == pytest.approx(np.linalg.norm(g), rel=1e-14)
        values, vectors = np.linalg.eigh([_hvp(loss, w, unit) for unit in np.eye(loss.dim)])
        # Each errs by the square of its residual over the gap below it.
        bound = record.eigenvalue_residuals[i] ** 2 / (values[::-1][:2] - values[::-1][1:3])
        assert (np.abs(record.eigenvalues[i] - values[::-1][:2]) <= bound).all()
        assert (record.eigenvalue_status[i] == Status.located).all()
        exact = abs(g @ vectors[:, -1]) / np.linalg.norm(g)
        assert record.cosine[i] == pytest.approx(exact, abs=record.cosine_error[i])
        d = np.asarray(gradient(loss, w + RHO * g / np.linalg.norm(g)))
        exact = abs(d @ vectors[:, -1]) / np.linalg.norm(d)
        assert record.direction_cosine[i] == pytest.approx(exact, abs=record.cosine_error[i])


def test_edges_are_those_of_the_map_and_of_the_rules_compared(watched):
    record, norm = watched[0], watched[0].gradient_norm
    sam = norm / (2 * RHO) * (np.sqrt(1 + 8 * RHO / (LR * norm)) - 1)
    np.testing.assert_allclose(record.edge, sam, rtol=1e-12)
    assert record.edge_names == ("gd", "usam")
    np.testing.assert_allclose(record.edges[:, 0], 2 / LR)
    np.testing.assert_allclose(record.edges[:, 1], (np.sqrt(1 + 8 * RHO / LR) - 1) / (2 * RHO))
    np.testing.assert_array_equal(record.curvature, record.sharpness)


def test_a_warm_call_takes_under_ten_products_and_says_how_many(digits, system, monkeypatch):
    made, plain = [], sf.networks.monitoring._monitor.value_gradient_product

    def counted(loss, w):
        height, g, product = plain(loss, w)
        made.append(0)

        def count(v):
            made[-1] += 1
            return product(v)

        return height, g, count

    monkeypatch.setattr(sf.networks.monitoring._monitor, "value_gradient_product", counted)
    monitor = Monitor(every=EVERY)
    train(system, first_state(system, digits[1]), until=60, monitor=monitor)
    assert monitor.record.num_products.tolist() == made
    assert max(made[1:]) < 10


def test_batch_sharpness_is_that_of_the_batches(digits, watched):
    (loss, _), (record, states) = digits, watched
    assert (record.batch_sharpness_error > 0).all()
    w, found = jnp.asarray(states[30]), []
    for chosen in np.random.default_rng(1).permuted(np.tile(np.arange(60), (200, 1)), axis=1):
        batch = loss.batch(chosen[:16])
        g = gradient(batch, w)
        found.append([float(g @ _hvp(batch, w, g)), float(g @ g)])
    along, squared = np.mean(found, axis=0)
    # Eight batches against two hundred others: four of their standard errors.
    assert record.batch_sharpness[3] == pytest.approx(
        along / squared, abs=4 * record.batch_sharpness_error[3]
    )


def test_a_run_that_was_stopped_goes_on_with_the_same_rows(digits, system, watched, tmp_path):
    path, killed = tmp_path / "state.npz", tmp_path / "killed.npz"
    stop = RuntimeError("the machine went away")

    def fail(state):
        if state.epoch == 37:
            shutil.copy(path, killed)  # what a kill leaves: the state of step 35
            raise stop

    with pytest.raises(RuntimeError):
        train(
            system,
            first_state(system, digits[1]),
            until=60,
            save_to=path,
            save_every=5,
            on_step=fail,
            monitor=Monitor(**WHAT),
        )
    for left, epoch in ((path, 37), (killed, 35)):
        monitor = Monitor(**WHAT)
        state = load_state(left, system, monitor=monitor)
        assert state.epoch == epoch
        assert monitor.record.steps.tolist() == [0, 10, 20, 30]
        train(system, state, until=60, monitor=monitor)
        _same(monitor.record, watched[0])


def test_rows_of_another_monitor_are_refused_and_a_state_without_rows_too(digits, system, tmp_path):
    path, start = tmp_path / "state.npz", first_state(system, digits[1])
    train(system, start, until=1, save_to=path, monitor=Monitor(every=1))
    with pytest.raises(ArgumentError, match=r"these differ: every=1; every=2"):
        load_state(path, system, monitor=Monitor(every=2))
    load_state(path, system)
    train(system, start, until=1, save_to=path)
    with pytest.raises(ArgumentError, match="has none"):
        load_state(path, system, monitor=Monitor(every=1))


def test_a_training_that_goes_back_makes_its_rows_anew(digits, system, watched):
    monitor, states = Monitor(every=EVERY), watched[1]
    train(system, first_state(system, digits[1]), until=60, monitor=monitor)
    back = first_state(system, states[20])._replace(epoch=20)
    train(system, back, until=40, monitor=monitor)
    assert monitor.record.steps.tolist() == [0, 10, 20, 30, 40]


def test_a_file_is_written_while_it_runs_and_at_the_end(digits, system, tmp_path, monkeypatch):
    monkeypatch.setattr(sf.networks.monitoring._monitor, "_WRITTEN_EVERY", -1.0)
    path, seen = tmp_path / "run.nc", {}
    monitor = Monitor(every=EVERY, save_to=path)

    def look(state):
        if state.epoch == 25:
            seen["rows"] = load_dataset(path).sizes["row"]

    train(system, first_state(system, digits[1]), until=30, on_step=look, monitor=monitor)
    assert seen == {"rows": 3}
    assert load_dataset(path).identical(monitor.record.to_dataset())


def test_what_is_wrong_is_refused_before_it_starts(digits, system, tmp_path):
    for wrong in (
        {"every": 0},
        {"tol": 0.0},
        {"max_products": 1},
        {"num_batches": 1},
        {"motion": 1},
    ):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            Monitor(**wrong)
    with pytest.raises(ArgumentError, match="compare"):
        Monitor(compare=("gd",))
    with pytest.raises(ArgumentError, match="save_to"):
        Monitor(save_to=tmp_path / "run.csv")
    with pytest.raises(ArgumentError, match="monitor"):
        train(system, first_state(system, digits[1]), until=1, monitor=lambda state: None)


def test_a_gradient_of_zero_has_no_cosine_and_weights_that_are_not_finite_no_eigenvalue():
    loss = sf.losses.Quadratic((3.0, 1.0, -1.0))
    system = sf.Map(loss, sf.GD(), lr=0.1)
    monitor = Monitor(every=1)
    monitor.see(system, jnp.zeros(3), step=0)
    monitor.see(system, jnp.array([jnp.nan, 0.0, 1.0]), step=1)
    record = monitor.record
    assert record.cosine_status.tolist() == [Status.no_gradient, Status.not_finite]
    assert np.isnan(record.cosine).all()
    assert record.eigenvalues[0, 0] == pytest.approx(3.0, abs=0.01)


def test_the_distance_to_a_central_flow_is_that_of_the_two_step_mean():
    loss = sf.loss("(1 + x**2)*(sqrt(1 + y**2) - 1) - x/2000")
    system = sf.Map(loss, sf.GD(), lr=0.5)
    w = jnp.array([1.6, 0.01])
    flow = sf.central_flow(system, w, num_steps=40, keep_every=10)
    run = np.asarray(sf.iterate(system, w, num_steps=40, keep_every=1).states)
    monitor = Monitor(every=10, central=flow)
    train(system, first_state(system, w), until=40, monitor=monitor)
    record = monitor.record
    np.testing.assert_allclose(record.distance, flow.distance(run), rtol=1e-9)  # NaN at both ends
    np.testing.assert_array_equal(record.predicted_loss[1:4], flow.mean_loss[1:4])
    losses = np.array([float(loss(point)) for point in run])
    mean = (losses[9:-1:10] + 2 * losses[10::10][:4] + np.r_[losses[11::10], np.nan][:4]) / 4
    np.testing.assert_allclose(record.mean_loss[1:4], mean[:3], rtol=1e-12)


def test_a_map_with_a_base_states_its_preconditioned_edge():
    """On a quadratic P^(-1/2) H P^(-1/2) is diagonal: its largest entry is max λᵢ/Pᵢ."""
    lams, lr = np.array([3.0, 1.0, 0.5]), 0.01
    loss = sf.losses.Quadratic(tuple(lams))
    system = sf.AdaptiveMap(loss, sf.GD(), lr=lr, base=sf.Adam(eps=0.1))
    states, monitor = [], Monitor(every=3, tol=1e-6)
    start = first_state(system, jnp.array([1.0, -2.0, 3.0]))
    train(system, start, until=6, monitor=monitor, on_step=states.append)
    record = monitor.record
    assert math.isnan(record.edge[0])  # no moments yet
    for i in (1, 2):
        p = np.asarray(system.preconditioner(states[3 * i].z))
        assert record.preconditioned[i, 0] == pytest.approx((lams / p).max(), rel=1e-9)
        assert record.edge[i] == pytest.approx(38 / lr)
        assert record.sharpness[i] == pytest.approx(3.0)
    lion = sf.AdaptiveMap(loss, sf.GD(), lr=lr, base=sf.Lion())
    other = Monitor(every=1)
    train(lion, first_state(lion, jnp.ones(3)), until=1, monitor=other)
    assert np.isnan(other.record.edge).all()


def _sharpest(loss, states):
    """Return λ₁ of the dense Hessians."""
    return np.array([np.linalg.eigvalsh(np.asarray(loss.hessian(w)))[-1] for w in states])


def test_an_eigenvalue_that_overtakes_in_a_direction_of_its_own_is_seen():
    """H is diagonal; ∂²L/∂z² = 20(3z² − 1) rises from −20 to 40 past the constants 4 and 2."""
    loss, start = sf.loss("2*x**2 + y**2 + 5*(z**2 - 1)**2"), jnp.array([0.1, 0.1, 0.01])
    system = sf.Map(loss, sf.GD(), lr=0.01)
    monitor = Monitor(every=10)
    train(system, first_state(system, start), until=100, monitor=monitor)
    states = sf.iterate(system, start, num_steps=100, keep_every=10).states
    record = monitor.record
    np.testing.assert_allclose(record.sharpness, _sharpest(loss, states), rtol=1e-12)
    assert record.sharpness[-1] == pytest.approx(40, rel=1e-6)
    assert (record.num_products == 3).all()  # a product for each weight


@pytest.mark.parametrize("count", [1, 3])
def test_what_decouples_is_seen_by_products_too(count):
    """L = ½Σ(uᵢvᵢ − aᵢ)²: H has blocks of two, and each pair grows in its own time to λ = 2aᵢ."""
    goals = np.r_[1.0, 0.9, 0.8, np.linspace(0.3, 0.05, 107)]
    loss = sf.loss(lambda w: 0.5 * jnp.sum((w[:110] * w[110:] - goals) ** 2), dim=220)
    start = jnp.asarray(np.tile(np.r_[0.01, 0.01, 0.3, np.full(107, 0.01)], 2))
    system = sf.Map(loss, sf.GD(), lr=0.1)
    monitor = Monitor(every=10, num_eigenvalues=count)
    train(system, first_state(system, start), until=300, monitor=monitor)
    states = sf.iterate(system, start, num_steps=300, keep_every=10).states
    record, exact = monitor.record, _sharpest(loss, states)
    assert exact[0] < 0.8 * exact[-1]
    assert record.num_products[1:].mean() < 10
    found = record.eigenvalue_status[:, 0] == Status.located
    assert found[5:].all()
    # A residual of 2 % of λ, which is its largest error.
    np.testing.assert_allclose(record.sharpness[found], exact[found], rtol=0.02)


@pytest.mark.parametrize(("every", "said"), [(2, True), (3, False)])
def test_a_cycle_of_period_two_that_rows_see_in_one_phase_is_said(every, said):
    """L = (x² − 1)²/4 has H = 3x² − 1; for lr = 1.2 GD has a cycle, which differs in both phases.

    On a cycle x, y each step is −1 times the one before. Rows two steps apart see one H alone.
    """
    loss = sf.loss("(x**2 - 1)**2/4")
    system = sf.Map(loss, sf.GD(), lr=1.2)
    start = jnp.asarray(sf.iterate(system, jnp.array([0.8]), num_steps=2000).states[-1])
    monitor = Monitor(every=every)
    train(system, first_state(system, start), until=30, monitor=monitor)
    record = monitor.record
    assert np.isnan(record.turn[0])
    np.testing.assert_allclose(record.turn[1:], -1, rtol=1e-6)
    assert np.unique(record.sharpness.round(6)).size == (1 if said else 2)
    assert ("one phase" in str(record)) == said
    assert "at most at the rows" in str(record)
