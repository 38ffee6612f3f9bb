"""Training whose numbers change with the step, against optax; it stops and goes on."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow.losses import network
from samflow.networks import diagnose, first_state, load_state, save_state, switch, train
from samflow.networks.checkpoints import Checkpoint
from tests.networks.training.test_kills import ROOT, killed, system_of_ten

NUM, BATCH, EPOCHS = 10, 4, 4
STEPS = 3 * EPOCHS  # three batches an epoch, the last of two examples
LR = optax.cosine_decay_schedule(0.3, STEPS)
"""Optax counts in int32, which makes its linear schedules single precision in its own SGD."""


@pytest.fixture(scope="module")
def small():
    model = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=jr.key(0))
    x, y = jr.uniform(jr.key(1), (NUM, 3)), jr.randint(jr.key(2), (NUM,), 0, 2)
    loss = network(model, x, y, loss="cross_entropy", name="small")
    return loss, loss.flatten(model)


def radius(k):
    return jnp.where(k < 5, 0.0, 0.1)


def scheduled(loss, lr=LR):
    return sf.Map(loss, sf.USAM(radius), lr=lr, momentum=0.9)


def test_training_in_batches_is_that_of_optax(small):
    """The step goes on through epochs; the batches are those of the state's order."""
    loss, w = small
    system = scheduled(loss)
    seen = []
    train(system, first_state(system, w), until=EPOCHS, batch_size=BATCH, on_step=seen.append)
    sgd = optax.sgd(LR, momentum=0.9)
    optimiser = sgd.init(w)
    step = jax.jit(lambda batch, w, rho: batch.gradient(w + rho * batch.gradient(w)))
    for k in range(STEPS):
        epoch, i = divmod(k, 3)
        key = jr.split(jr.fold_in(seen[k].key, epoch))[0]
        chosen = np.asarray(jr.permutation(key, NUM))[BATCH * i : BATCH * (i + 1)]
        updates, optimiser = sgd.update(step(loss.batch(chosen), w, radius(k)), optimiser)
        w = optax.apply_updates(w, updates)
        np.testing.assert_allclose(seen[k + 1].z[: loss.dim], w, rtol=1e-12, atol=1e-14)


def test_a_run_that_stops_within_an_epoch_goes_on_at_its_step(small, tmp_path):
    loss, w = small
    system, path = scheduled(loss), tmp_path / "state.npz"
    seen = []
    whole = train(system, first_state(system, w), until=3, batch_size=BATCH, on_step=seen.append)
    save_state(path, seen[4], system, batch_size=BATCH)
    there = load_state(path, scheduled(loss), batch_size=BATCH)
    rest = train(scheduled(loss), there, until=3, batch_size=BATCH)
    np.testing.assert_array_equal(rest.state.z, whole.state.z)
    assert (there.epoch, there.step) == (1, 1)


TRAINER = """
    import sys
    sys.path.insert(0, {root!r})
    from samflow.networks import first_state, train
    from tests.networks.training.test_schedules import of_ten
    system = of_ten()
    def ready(state):
        if state.epoch == 40:
            print("ready", flush=True)
    train(
        system, first_state(system, [1.0, 1.0]), until=10**6, batch_size=3, save_to={path!r},
        save_every=1, on_step=ready,
    )
"""


def of_ten():
    before = system_of_ten()
    return sf.Map(before.loss, sf.USAM(radius), lr=lambda k: 0.1 / (1 + k), momentum=0.5)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_at_its_step(tmp_path):
    system, path = of_ten(), tmp_path / "state.npz"
    killed(TRAINER.format(root=ROOT, path=str(path)), 0.1)
    there = load_state(path, system, batch_size=3)
    until = there.epoch + 2
    assert there.epoch >= 39
    rest = train(system, there, until=until, batch_size=3)
    whole = train(system, first_state(system, [1.0, 1.0]), until=until, batch_size=3)
    # Compiled with other flags in the process that was killed: rounding, which contracts.
    np.testing.assert_allclose(rest.state.z, whole.state.z, rtol=1e-12)


def test_states_of_other_schedules_are_refused(small, tmp_path):
    """Of another function by its name, of the same function by its values."""
    loss, w = small
    system, path = scheduled(loss), tmp_path / "state.npz"
    save_state(path, first_state(system, w), system)
    load_state(path, scheduled(loss))
    longer = optax.cosine_decay_schedule(0.3, STEPS + 1)
    for other in (longer, lambda k: 0.1 + 0 * k, 0.3):
        with pytest.raises(ArgumentError, match=r"these differ: lr schedule .* in the"):
            load_state(path, scheduled(loss, other))


def test_a_switch_of_the_radius_is_the_switch_of_a_late_switch(small):
    """GD with momentum for two epochs of three steps, then USAM, in one map and in two."""
    loss, w = small
    how = {"lr": 0.2, "momentum": 0.9}
    before, after = sf.Map(loss, sf.GD(), **how), sf.Map(loss, sf.USAM(0.1), **how)
    first = train(before, first_state(before, w), until=2, batch_size=BATCH).state
    two = train(after, switch(first, before, after), until=4, batch_size=BATCH).state
    late = sf.Map(loss, sf.USAM(lambda k: jnp.where(k < 6, 0.0, 0.1)), **how)
    one = train(late, first_state(late, w), until=4, batch_size=BATCH).state
    np.testing.assert_allclose(one.z, two.z, rtol=1e-12, atol=1e-14)  # compiled otherwise


def test_only_the_steps_that_are_left_are_looked_at(small):
    """Up to the last one: in the full batch an epoch is one step."""
    loss, w = small
    system = sf.Map(loss, sf.GD(), lr=lambda k: jnp.where(k < 2, jnp.nan, 0.25 - 0.0625 * k))
    with pytest.raises(ArgumentError, match=r"`lr` must be .* nan at step 0\."):
        train(system, first_state(system, w), until=3)
    state = first_state(system, w)._replace(epoch=2)
    train(system, state, until=5)
    with pytest.raises(ArgumentError, match=r"`lr` must be .* returns -0\.0625 at step 5\."):
        train(system, state, until=6)


def test_a_report_on_weights_takes_numbers(small):
    loss, w = small
    for given, words in (
        ({"rho": 0.1, "lr": LR}, "`lr` must be a number for a report"),
        ({"rho": 0.1, "lr": 0.1, "rules": [sf.SAM(radius)]}, "`rho` must be a number for a"),
    ):
        with pytest.raises(ArgumentError, match=words):
            diagnose(Checkpoint(loss, w), **given)
