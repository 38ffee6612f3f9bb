"""A late switch of a network: the exact rates, both sides of the threshold, and resumption."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Status
from samflow.losses import network, network_function
from samflow.losses.pytorch import torch_network
from samflow.networks import Checkpoint
from samflow.networks.conventions import CONVENTIONS, make_map
from samflow.networks.training.attacks import PGD
from samflow.networks.training.loop import first_state, switch, train
from samflow.networks.training.states import load_state
from samflow.spectra.directions import roots
from samflow.switching import late_switch, line_barrier, sweep_switch
from samflow.switching.connectivity import path_barrier

LR = 0.4
SHARPNESS = 4.25  # of ½(ab − 1)² at (2, ½): a² + b²


def _linear(params, x):
    return x * params["a"] * params["b"]


@pytest.fixture(scope="module")
def valley():
    """L = ½(ab − 1)²: minima ab = 1, of sharpness a² + b², least at a = b = 1."""
    params = {"a": jnp.array([2.0]), "b": jnp.array([0.5])}
    loss = network_function(_linear, params, [[1.0]], [[1.0]], name="two weights")
    return Checkpoint(loss, loss.flatten(params))


def _affine(params, x):
    return x @ params["matrix"].T


@pytest.fixture(scope="module")
def regression():
    """A quadratic: least squares of one output."""
    x, y = jr.normal(jr.key(0), (8, 3)), jr.normal(jr.key(1), (8, 1))
    params = {"matrix": jnp.zeros((1, 3))}
    loss = network_function(_affine, params, x, y, name="least squares")
    return Checkpoint(loss, loss.flatten(params))


@pytest.fixture(scope="module")
def small():
    """A perceptron with held-out data."""
    model = eqx.nn.MLP(2, 2, 3, 1, activation=jnp.tanh, key=jr.key(0))
    x = jr.uniform(jr.key(1), (18, 2))
    y = (x[:, 0] > x[:, 1]).astype(int)
    loss = network(model, x[:10], y[:10], loss="cross_entropy", name="small")
    test = network(model, x[10:], y[10:], loss="cross_entropy", name="small, test")
    return loss, test, loss.flatten(model)


def _usam(loss, scaled, sharpness=SHARPNESS, **extra):
    """USAM with lr·U(sharpness) = scaled."""
    rho = (scaled / (LR * sharpness) - 1) / sharpness
    return sf.Map(loss, sf.USAM(rho=rho), lr=LR, **extra)


def test_all_four_phases_of_a_network_with_a_known_valley(valley):
    system = _usam(valley.loss, 2.6)
    found = late_switch(system, valley, num_epochs=400, trace_products=6)
    assert found.holds
    assert found.status is Status.converged
    escape, same, flatter, final = found.phases
    assert found.sharpness[0] == pytest.approx(SHARPNESS, rel=1e-6)  # the kick moves it by 1e-7
    assert found.effective_curvature == pytest.approx(2.6 / LR, rel=1e-6)
    assert escape.closed_form == pytest.approx(math.log(1.6), rel=1e-6)
    assert escape.predicted == pytest.approx(math.log(1.6), rel=1e-6)
    assert escape.mean == pytest.approx(math.log(1.6), rel=1e-3)  # over the window
    assert escape.measured == pytest.approx(math.log(1.6), rel=1e-3)
    assert same.measured <= same.tolerance
    a, b = np.asarray(found.end)
    assert a * b == pytest.approx(1, abs=1e-4)
    assert found.sharpness[1] == pytest.approx(a * a + b * b, rel=1e-5)  # ab is 1 to 1e-5
    assert flatter.measured < min(flatter.predicted, SHARPNESS)
    assert final.measured == pytest.approx(final.predicted, abs=final.tolerance)
    assert found.trace is not None
    assert [float(each.value) for each in found.trace] == pytest.approx(found.sharpness, abs=1e-3)


def test_momentum_enters_the_rates(valley):
    system = _usam(valley.loss, 3.2, momentum=0.5)
    found = late_switch(system, valley, num_epochs=400)
    x, beta = 3.2, 0.5
    exact = np.abs(np.roots([1, x - 1 - beta, beta])).max()
    assert found.phases[0].closed_form == pytest.approx(math.log(exact), rel=1e-6)
    assert found.phases[0].verdict == "holds"
    assert found.phases[0].measured == pytest.approx(math.log(exact), rel=1e-2)
    np.testing.assert_allclose(
        np.sort(roots(system, x / LR)), np.sort(np.roots([1, x - 1 - beta, beta])), rtol=1e-12
    )


def test_an_escape_too_quick_to_be_fitted_is_not_measured(valley):
    found = late_switch(_usam(valley.loss, 3.6), valley, num_epochs=50, displacement=1e-5)
    assert not found.escape.found
    assert found.phases[0].verdict == "not measured"
    assert "too few steps" in found.phases[0].reason
    assert "not measured" in str(found.phases[0])
    assert not found.holds
    # From the kick that the predicted rate asks for it can be measured.
    chosen = late_switch(_usam(valley.loss, 3.6), valley, num_epochs=50)
    assert chosen.phases[0].verdict == "holds"
    assert chosen.escape.slope == pytest.approx(math.log(2.6), rel=2e-3)


def test_below_the_threshold_no_escape_is_predicted_and_none_happens(valley):
    found = late_switch(_usam(valley.loss, 1.9), valley, num_epochs=200)
    escape, same, flatter, final = found.phases
    assert "no escape is predicted" in escape.statement
    assert escape.verdict == "holds"
    assert escape.measured < 10
    assert same.verdict == "holds"
    assert flatter.verdict == "not claimed"
    assert final.closed_form == pytest.approx(math.log(0.9), rel=1e-5)
    assert final.verdict == "holds"


def test_a_run_that_leaves_for_ever_is_reported():
    loss = sf.loss("x**2")
    checkpoint = Checkpoint(loss, jnp.zeros(1))  # pyright: ignore[reportArgumentType]
    found = late_switch(sf.Map(loss, sf.USAM(rho=0.5), lr=0.6), checkpoint, num_epochs=100)
    assert found.status is Status.diverged
    assert found.failed_at is not None
    assert [phase.verdict for phase in found.phases] == ["holds"] + ["not measured"] * 3
    assert all("diverged" in phase.reason for phase in found.phases[1:])
    # lr·U = 0.6·2·(1 + 0.5·2) = 2.4.
    assert found.escape.slope == pytest.approx(math.log(1.4), rel=1e-9)
    assert np.isnan(found.end).all()


def test_of_normalised_sam_no_rate_is_claimed(valley):
    system = sf.Map(valley.loss, sf.SAM(rho=0.05), lr=0.1)
    found = late_switch(system, valley, num_epochs=60)
    escape, _, flatter, final = found.phases
    assert (escape.verdict, final.verdict) == ("not claimed", "not claimed")
    assert math.isnan(found.edge)
    assert flatter.verdict == "holds"  # the bounce across the valley drives it down
    assert found.sharpness[1] < found.sharpness[0]


def test_an_adaptive_optimiser_is_refused_with_the_reason(valley):
    system = sf.AdaptiveMap(valley.loss, sf.USAM(rho=0.2), lr=0.3, base=sf.Adam())
    with pytest.raises(ArgumentError, match="P1 to P4 are not predicted for other optimisers"):
        late_switch(system, valley)


def test_mini_batches_on_a_quadratic(regression):
    """One valley: no barrier, exactly. A batch of all examples has the multiplier of the map."""
    loss = regression.loss
    system = sf.Map(loss, sf.USAM(rho=0.05), lr=0.1)
    found = late_switch(system, regression, num_epochs=6, batch_size=8, measure_every=2)
    assert found.barrier.height == 0
    escape, same, _, final = found.phases
    assert same.verdict == "holds"
    assert (escape.verdict, final.verdict) == ("not claimed", "not claimed")
    lam = np.linalg.eigvalsh(np.asarray(loss.hessian(regression.w)))[-1]
    assert escape.predicted == pytest.approx(math.log(abs(1 - 0.1 * lam * (1 + 0.05 * lam))))
    assert found.epochs.tolist() == [0, 2, 4, 6]
    assert found["train loss"][0] == pytest.approx(float(loss(regression.w)), rel=1e-14)
    assert np.isnan(found["train error"]).all()  # targets are no classes
    assert len(found.along) == 7
    assert found.loss.size == 0


def test_the_record_reads_and_turns_into_json(small):
    loss, test, w = small
    system = sf.Map(loss, sf.SAM(rho=0.1), lr=0.2, momentum=0.9)
    found = late_switch(
        system, Checkpoint(loss, w), num_epochs=2, batch_size=5, test=test, attack=PGD(0.05)
    )
    assert found["test error"][-1] == float(test.misclassified(found.end))
    assert found["adversarial error"][-1] >= found["test error"][-1]
    assert "adversarial error" in str(found)
    assert '"status": "out of steps"' in found.to_json()
    assert found.to_dataset()["measured"].shape == (3, 5)
    with pytest.raises(ArgumentError, match="Unknown column `loss`"):
        found["loss"]


def test_a_barrier_is_that_of_the_line():
    well = sf.losses.double_well()
    along = path_barrier(lambda w: well, jnp.array([-1.0]), jnp.array([1.0]), 101)
    known = line_barrier(well, [-1.0], [1.0])
    assert along[:2] == (pytest.approx(0.25), 0.5)
    np.testing.assert_allclose(along.losses, known.losses, rtol=1e-14)


def test_statistics_are_recomputed_along_the_line_or_it_is_said(regression):
    options = regression.loss.options._replace(batch_norm="eval")
    loss = dataclasses.replace(regression.loss, options=options)
    checkpoint, system = Checkpoint(loss, regression.w), sf.Map(loss, sf.GD(), lr=0.1)
    asked = []

    def recompute(w):
        asked.append(w)
        return loss

    without = late_switch(system, checkpoint, num_epochs=1, batch_size=4)
    assert without.barrier_recomputed is None
    assert "were not recomputed" in without.notes[0]
    found = late_switch(
        system, checkpoint, num_epochs=1, batch_size=4, recompute=recompute, num_points=11
    )
    assert found.barrier_recomputed is not None
    assert found.barrier_recomputed.height == found.barrier.height == 0
    assert "recomputed at every point" in found.phases[1].statement
    assert not found.notes
    np.testing.assert_allclose(asked[5], (found.start + found.end) / 2, rtol=1e-14)


def _same(first, second):
    for name, value in first.to_dict().items():
        assert value == second.to_dict()[name], name


def test_an_interrupted_switch_goes_on_with_the_same_bits(valley, tmp_path):
    system, path = _usam(valley.loss, 2.6), tmp_path / "run.npz"
    whole = late_switch(system, valley, num_epochs=150)

    def stop(message):
        if message.startswith("epoch 100"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        late_switch(system, valley, num_epochs=150, save_to=path, progress=stop)
    told = []
    again = late_switch(system, valley, num_epochs=150, save_to=path, progress=told.append)
    assert "continuing from epoch 100, step 0" in told
    _same(whole, again)
    _same(whole, late_switch(system, valley, num_epochs=150, save_to=path))
    with pytest.raises(ArgumentError, match=r"rule\.rho"):
        late_switch(_usam(valley.loss, 2.7), valley, num_epochs=150, save_to=path)


def test_the_velocity_and_the_order_of_the_batches_go_on(small):
    loss, _, w = small
    before = sf.Map(loss, sf.GD(), lr=0.2, momentum=0.9)
    after = sf.Map(loss, sf.SAM(rho=0.1), lr=0.2, momentum=0.9)
    state = train(before, first_state(before, w), until=2, batch_size=4).state
    start = switch(state, before, after)
    checkpoint = Checkpoint(loss, before.position(state.z))
    found = late_switch(after, checkpoint, num_epochs=2, batch_size=4, start=start)
    direct = train(after, start, until=4, batch_size=4)
    np.testing.assert_array_equal(found.end, after.position(direct.state.z))
    with pytest.raises(ArgumentError, match="must have the checkpoint's weights"):
        late_switch(after, Checkpoint(loss, w), num_epochs=2, batch_size=4, start=start)


@pytest.fixture(scope="module")
def sweep(small, tmp_path_factory):
    loss, test, w = small
    before = sf.Map(loss, sf.GD(), lr=0.2, momentum=0.9)
    after = sf.Map(loss, sf.SAM(rho=0.1), lr=0.2, momentum=0.9)
    starts = jnp.stack([w, 0.5 * w])
    folder = tmp_path_factory.mktemp("sweep") / "kept"
    settings: Any = {
        "total_epochs": 3,
        "switch_epochs": [2],
        "batch_size": 4,
        "test": test,
    }
    settings = settings | {"key": jr.key(4), "save_to": folder}
    return before, after, starts, settings, sweep_switch(before, after, starts, **settings)


def test_the_arms_of_a_sweep_are_direct_training(small, sweep):
    loss, test, _ = small
    before, after, starts, _, found = sweep
    assert found.switch_epochs.tolist() == [0, 2, 3]
    hessian = eqx.filter_jit(lambda loss, w: loss.hessian(w))
    for i, w in enumerate(starts):
        key = jr.fold_in(jr.key(4), i)
        first = train(before, first_state(before, w, key=key), until=2, batch_size=4).state
        ends = [
            train(after, first_state(after, w, key=key), until=3, batch_size=4),
            train(after, switch(first, before, after), until=3, batch_size=4),
            train(before, first_state(before, w, key=key), until=3, batch_size=4),
        ]
        for arm, end in enumerate(ends):
            w1 = end.state.z[: loss.dim]
            exact = np.linalg.eigvalsh(np.asarray(hessian(loss, w1)))[-1]
            assert found.sharpness[arm, i] == pytest.approx(exact, rel=1e-6)
            assert found.train_loss[arm, i] == pytest.approx(float(loss(w1)), rel=1e-12)
            assert found.test_error[arm, i] == float(test.misclassified(w1))
    # Before all along switches at its end.
    assert found.barrier[2].max() < 1e-15  # points of a line of no length are rounded
    np.testing.assert_array_equal(found.sharpness[2], found.switch_sharpness[2])


def test_a_sweep_on_disk_is_not_made_again(sweep):
    before, after, starts, settings, found = sweep
    told = []
    again = sweep_switch(before, after, starts, **settings, progress=told.append)
    _same(found, again)
    assert not [message for message in told if message.startswith(("epoch", "sharpness"))]
    with pytest.raises(ArgumentError, match="start"):
        sweep_switch(before, after, starts + 1, **settings)


def test_the_weights_of_an_arm_are_had_from_the_folder(small, sweep):
    before, after, _, settings, found = sweep
    path = settings["save_to"] / "seed1" / "after_00002.npz"
    state = load_state(path, after, batch_size=4)
    assert (state.epoch, state.step) == (3, 0)
    w = after.position(state.z)
    assert float(small[0](w)) == pytest.approx(float(found.train_loss[1, 1]), rel=1e-12)
    with pytest.raises(ArgumentError, match="settings"):
        load_state(path, before, batch_size=4)


def test_a_sweep_of_another_length_does_not_take_the_results(sweep):
    before, after, starts, settings, _ = sweep
    with pytest.raises(ArgumentError, match="total_epochs 3 in the file, 4 here"):
        sweep_switch(before, after, starts, **settings | {"total_epochs": 4})


def test_an_interrupted_sweep_goes_on_with_the_same_bits(sweep, tmp_path):
    before, after, starts, settings, found = sweep
    settings: Any = settings | {"save_to": tmp_path}
    calls = []

    def stop(message):
        calls.append(message)
        if message.startswith("epoch") and len(calls) > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep_switch(before, after, starts, **settings, progress=stop)
    _same(found, sweep_switch(before, after, starts, **settings))


def test_intervals_are_students_over_seeds(sweep):
    found = sweep[-1]
    values = found.sharpness[1] - found.sharpness[2]
    exact = scipy.stats.t.interval(0.95, 1, values.mean(), values.std(ddof=1) / math.sqrt(2))
    low, mean, high = found.difference("sharpness", 2, 3)
    assert (low, high) == pytest.approx(exact)
    assert mean == pytest.approx(values.mean())
    assert found.interval("test_error").shape == (3, 3)
    means = found.sharpness.mean(axis=1)
    first, *_ = str(found).splitlines()
    best = found.switch_epochs[means.argmin()]
    assert first.startswith(f"Flattest at the end: switch at epoch {best}, mean sharpness")
    assert first.endswith(
        f"without a switch {means[-1]:.4g}. 0 of 6 runs diverged or were not finite."
    )
    assert "±" in str(found)
    assert '"total_epochs": 3' in found.to_json()
    with pytest.raises(ArgumentError, match="must be one of"):
        found.difference("sharpness", 1, 3)


def test_adversarial_training_switched_on_late(small):
    loss, test, w = small
    system = sf.Map(loss, sf.GD(), lr=0.2)
    found = sweep_switch(
        system,
        system,
        w,
        total_epochs=2,
        switch_epochs=[1],
        batch_size=5,
        attack=PGD(0.1),
        test=test,
    )
    assert (found.adversarial_error >= found.test_error).all()
    assert len(set(found.train_loss[:, 0].tolist())) == 3
    assert found.after.endswith("under attack")


def test_a_trunk_that_diverges_leaves_its_arms_empty(regression):
    loss = regression.loss
    wild, tame = sf.Map(loss, sf.GD(), lr=1e3), sf.Map(loss, sf.GD(), lr=0.01)
    found = sweep_switch(wild, tame, regression.w + 1, total_epochs=20, switch_epochs=[10])
    assert found.status[:, 0].tolist() == [Status.out_of_steps, Status.diverged, Status.diverged]
    assert np.isfinite(found.sharpness[0, 0])
    assert np.isnan(found.sharpness[1:]).all()
    assert "without a switch none. 2 of 3 runs diverged" in str(found)


def test_bad_input_fails_at_the_door(small, valley, tmp_path):
    loss, _, w = small
    system = sf.Map(loss, sf.GD(), lr=0.1)
    checkpoint = Checkpoint(loss, w)
    with pytest.raises(ArgumentError, match="`num_epochs` must be a whole number of at least 50"):
        late_switch(system, checkpoint, num_epochs=10)
    with pytest.raises(ArgumentError, match="`num_epochs` must be a whole number of at least 1"):
        late_switch(system, checkpoint, num_epochs=0, batch_size=2)
    with pytest.raises(ArgumentError, match="`num_epochs` is missing"):
        late_switch(system, checkpoint, batch_size=2)
    with pytest.raises(ArgumentError, match="at most the number of examples"):
        late_switch(system, checkpoint, num_epochs=1, batch_size=11)
    with pytest.raises(ArgumentError, match="`checkpoint` must have 17 weights"):
        late_switch(system, valley, num_epochs=1, batch_size=2)
    with pytest.raises(ArgumentError, match="must be a Checkpoint"):
        late_switch(system, w, num_epochs=1, batch_size=2)
    with pytest.raises(ArgumentError, match="`test` must have 17 weights"):
        late_switch(system, checkpoint, num_epochs=1, batch_size=2, test=valley.loss)
    with pytest.raises(ArgumentError, match="`num_points` must be a whole number of at least 3"):
        late_switch(system, checkpoint, num_epochs=1, batch_size=2, num_points=2)
    with pytest.raises(ArgumentError, match="`displacement`"):
        late_switch(system, checkpoint, num_epochs=1, batch_size=2, displacement=-1)
    with pytest.raises(ArgumentError, match="in a folder that exists"):
        late_switch(
            system, checkpoint, num_epochs=1, batch_size=2, save_to=tmp_path / "no" / "run.npz"
        )
    sweep: Any = {"total_epochs": 2, "switch_epochs": [1], "batch_size": 2}
    with pytest.raises(ArgumentError, match="at most `total_epochs`, 2, but holds 3"):
        sweep_switch(system, system, w, **{**sweep, "switch_epochs": [3]})
    with pytest.raises(ArgumentError, match="`switch_epochs` must be a whole number"):
        sweep_switch(system, system, w, **{**sweep, "switch_epochs": [-1]})
    with pytest.raises(ArgumentError, match="`total_epochs` must be"):
        sweep_switch(system, system, w, **{**sweep, "total_epochs": 0})
    with pytest.raises(ArgumentError, match="`after` must have 17 weights"):
        sweep_switch(system, sf.Map(valley.loss, sf.GD(), lr=0.1), w, **{**sweep, "batch_size": 1})
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ArgumentError, match="must be a folder, but"):
        sweep_switch(system, system, w, **sweep, save_to=file)
    with pytest.raises(ArgumentError, match="in a folder that exists"):
        sweep_switch(system, system, w, **sweep, save_to=tmp_path / "no" / "deeper")


def _equinox_with_batch_norm(x, y):
    def make(key):
        first, last = jr.split(key)
        norm = eqx.nn.BatchNorm(4, "batch", mode="batch")
        layers = [eqx.nn.Linear(2, 4, key=first), norm, eqx.nn.Linear(4, 2, key=last)]
        return eqx.nn.Sequential([*layers[:2], eqx.nn.Lambda(jnp.tanh), layers[2]])

    model, state = eqx.nn.make_with_state(make)(jr.key(0))
    loss = network(model, x, y, state=state, loss="cross_entropy", batch_norm="eval")
    return loss, loss.flatten(model), 1.0


def _torch_with_batch_norm(x, y):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = [torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh()]
    module = torch.nn.Sequential(*layers, torch.nn.Linear(4, 2)).double()
    loss = torch_network(module, np.asarray(x), np.asarray(y))
    return loss, loss.flatten(), len(x) / (len(x) - 1)


@pytest.mark.parametrize("made", [_equinox_with_batch_norm, _torch_with_batch_norm])
def test_the_statistics_of_a_network_are_recomputed_along_the_line(made):
    x = 1 + 2 * jr.uniform(jr.key(1), (12, 2))
    y = (x[:, 0] > x[:, 1]).astype(int)
    loss, start, unbiased = made(x, y)
    system = sf.Map(loss, sf.SAM(rho=0.1), lr=2.0)
    found = late_switch(system, Checkpoint(loss, start), num_epochs=3, batch_size=4, num_points=5)
    assert found.barrier_recomputed is not None
    assert not found.notes
    assert "recomputed at every point" in found.phases[1].statement
    assert np.abs(found.barrier_recomputed.losses - found.barrier.losses).min() > 1e-3
    for i in (0, 1, 4):
        w = (1 - i / 4) * found.start + i / 4 * found.end
        a, b, scale, shift, c, d = map(np.asarray, loss.split(w))
        h = np.asarray(x) @ a.T + b
        h = (h - h.mean(axis=0)) / np.sqrt(unbiased * h.var(axis=0) + 1e-5)
        f = np.tanh(h * scale + shift) @ c.T + d
        chosen = f[np.arange(12), np.asarray(y)]
        expected = np.mean(np.log(np.exp(f).sum(axis=1)) - chosen)
        assert found.barrier_recomputed.losses[i] == pytest.approx(expected, rel=1e-12)


def test_a_network_without_running_statistics_has_one_barrier(small):
    loss, _, w = small
    system = sf.Map(loss, sf.GD(), lr=0.1)
    found = late_switch(system, Checkpoint(loss, w), num_epochs=1, batch_size=5, num_points=3)
    assert found.barrier_recomputed is None
    assert not found.notes


def test_the_map_must_be_on_the_checkpoints_loss(small):
    loss, test, w = small
    checkpoint = Checkpoint(loss, w)
    with pytest.raises(ArgumentError, match="must have the checkpoint's loss, small, but its"):
        late_switch(sf.Map(test, sf.GD(), lr=0.1), checkpoint, num_epochs=50)
    with pytest.raises(ArgumentError, match="has different values"):
        late_switch(
            # pyright: ignore[reportArgumentType]
            sf.Map(sf.loss("x**4"), sf.GD(), lr=0.1),
            Checkpoint(sf.loss("x**2"), jnp.zeros(1)),
            num_epochs=50,
        )


def test_networks_that_differ_in_no_array_are_told_apart(small):
    loss, _, w = small
    model = eqx.tree_at(lambda m: m.activation, loss.unflatten(w), jax.nn.relu)
    other = network(model, loss.x, loss.y, loss=loss.options.criterion, name=loss.name)
    with pytest.raises(ArgumentError, match="has different outputs, as with another activation"):
        late_switch(sf.Map(other, sf.GD(), lr=0.1), Checkpoint(loss, w), num_epochs=50)


@pytest.mark.parametrize("made", [_equinox_with_batch_norm, _torch_with_batch_norm])
def test_running_statistics_and_data_tell_losses_apart(made):
    x = 1 + 2 * jr.uniform(jr.key(1), (12, 2))
    y = (x[:, 0] > x[:, 1]).astype(int)
    loss, w, _ = made(x, y)
    short: Any = {"num_epochs": 1, "batch_size": 4, "num_points": 3}
    for other in (loss.with_statistics(w), made(x + 0.01, y)[0]):
        with pytest.raises(ArgumentError, match="has different data or arrays"):
            late_switch(sf.Map(loss, sf.GD(), lr=0.1), Checkpoint(other, w), **short)
    again = sf.Map(made(x, y)[0], sf.GD(), lr=0.1)
    assert not late_switch(again, Checkpoint(loss, w), **short).notes


def test_options_that_a_convention_changes_are_told(small):
    loss, _, w = small
    convention = CONVENTIONS["davda54"]._replace(label_smoothing=0.1)
    system = make_map(convention, loss, rho=0.05, lr=0.1)
    found = late_switch(system, Checkpoint(loss, w), num_epochs=1, batch_size=5, num_points=3)
    told = "The checkpoint's loss has label_smoothing=0.0, that of the map 0.1."
    assert found.notes == (told,)


def test_a_single_last_example_joins_the_chunk_before_it():
    x = 1 + 2 * jr.uniform(jr.key(1), (9, 2))
    loss, w, _ = _equinox_with_batch_norm(x, (x[:, 0] > x[:, 1]).astype(int))
    found = loss.in_chunks(4).statistics(w)
    first, last = (loss.batch(jnp.arange(*ends)).statistics(w) for ends in ((0, 4), (4, 9)))
    for name, value in first.items():
        if jnp.issubdtype(value.dtype, jnp.floating):
            expected = (4 * value + 5 * last[name]) / 9
            np.testing.assert_allclose(found[name], expected, rtol=1e-13)
    np.testing.assert_allclose(loss.in_chunks(9).statistics(w)[name], loss.statistics(w)[name])
