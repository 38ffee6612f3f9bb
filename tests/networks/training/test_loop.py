"""Training that stops and goes on: the same bits, and refusals of other settings."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow._checks import ArgumentError
from samflow._status import Status
from samflow.losses import network
from samflow.losses.evaluation import few_outputs, same_outputs
from samflow.networks.training.attacks import PGD
from samflow.networks.training.loop import first_state, switch, train
from samflow.networks.training.states import TrainState, load_state, save_state

NUM, SIZE = 10, 4


@pytest.fixture(scope="module")
def small():
    model = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=jr.key(0))
    x, y = jr.uniform(jr.key(1), (NUM, 3)), jr.randint(jr.key(2), (NUM,), 0, 2)
    loss = network(model, x, y, loss="cross_entropy", name="small")
    return loss, loss.flatten(model)


def _gd(loss, **extra):
    return sf.Map(loss, sf.GD(), lr=0.2, **extra)


def _sam(loss):
    return sf.Map(loss, sf.SAM(rho=0.1), lr=0.2, momentum=0.9, weight_decay=1e-3)


def _friendly(loss):
    return sf.Map(loss, sf.rules.FSAM(rho=0.1), lr=0.1, momentum=0.5)


def test_full_batch_training_is_the_map(small):
    loss, w = small
    system = _sam(loss)
    seen = []
    ended = train(system, first_state(system, w), until=5, on_step=seen.append)
    z = system.lift(w)
    for state in seen:
        np.testing.assert_allclose(state.z, z, rtol=1e-13, atol=1e-15)  # compiled otherwise
        z = system.step(z)
    assert [state.epoch for state in seen] == [0, 1, 2, 3, 4, 5]
    assert (ended.status, ended.failed_at) == (Status.out_of_steps, None)
    assert ended.state is seen[-1]


@pytest.mark.parametrize("drop_last", [False, True])
def test_an_epoch_takes_every_example_once_in_an_order_of_its_own(drop_last):
    """On ½(w − yᵢ)² a step of lr 1 goes to the mean target of its batch: the batches show."""
    y = 2.0 ** np.arange(NUM)
    loss = sf.losses.mean([sf.loss(f"(x - {each})**2/2") for each in y])
    system = sf.Map(loss, sf.GD(), lr=1.0)
    seen = []
    start = first_state(system, [0.0], key=jr.key(5))
    train(system, start, until=2, batch_size=SIZE, drop_last=drop_last, on_step=seen.append)
    sizes = [4, 4] if drop_last else [4, 4, 2]
    means = [float(state.z[0]) for state in seen[1:]]
    sums = np.array(means) * np.array(sizes * 2)
    first, second = np.split(np.round(sums).astype(int), 2)
    for epoch in (first, second):
        members = [{i for i in range(NUM) if each >> i & 1} for each in epoch.tolist()]
        assert [len(each) for each in members] == sizes
        assert len(set.union(*members)) == sum(sizes)
    assert not np.array_equal(first, second)


RULES = [(_gd, None, None), (_sam, SIZE, None), (_friendly, SIZE, None), (_sam, 5, PGD(0.1))]


@pytest.mark.parametrize(("make", "batch_size", "attack"), RULES)
def test_a_run_that_goes_on_from_disk_has_the_same_bits(small, tmp_path, make, batch_size, attack):
    loss, w = small
    system, how = make(loss), {"batch_size": batch_size, "attack": attack}
    path, seen = tmp_path / "state.npz", []
    whole = train(system, first_state(system, w), until=4, on_step=seen.append, **how)
    for cut in seen[:: 1 if batch_size is None else 2]:  # within epochs and at their ends
        save_state(path, cut, system, **how)
        loaded = load_state(path, make(loss), **how)
        np.testing.assert_array_equal(loaded.z, cut.z)
        assert loaded[2:] == cut[2:]
        again = train(make(loss), loaded, until=4, **how)
        np.testing.assert_array_equal(again.state.z, whole.state.z)


def test_an_interrupted_run_is_on_disk_and_says_how_to_go_on(small, tmp_path):
    loss, w = small
    system, path = _sam(loss), tmp_path / "state.npz"
    whole = train(system, first_state(system, w), until=3, batch_size=SIZE)

    def stop(state):
        if (state.epoch, state.step) == (1, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        train(system, first_state(system, w), until=3, batch_size=SIZE, save_to=path, on_step=stop)
    assert "epoch 1, step 2" in caught.value.__notes__[0]
    assert "load_state" in caught.value.__notes__[0]
    loaded = load_state(path, system, batch_size=SIZE)
    assert loaded[2:] == (1, 2)
    again = train(system, loaded, until=3, batch_size=SIZE, save_to=path)
    np.testing.assert_array_equal(again.state.z, whole.state.z)
    assert load_state(path, system, batch_size=SIZE)[2:] == (3, 0)


def test_it_is_saved_on_the_way(small, tmp_path):
    loss, w = small
    system, path = _gd(loss), tmp_path / "state.npz"
    found = []

    def look(state):
        found.append(load_state(path, system).epoch if path.exists() else None)

    train(system, first_state(system, w), until=5, save_to=path, save_every=2, on_step=look)
    assert found == [None, None, None, 2, 2, 4]


def test_a_switch_keeps_or_drops_the_velocity(small):
    loss, w = small
    before, after = _gd(loss, momentum=0.9), _sam(loss)
    state = train(before, first_state(before, w), until=2, batch_size=SIZE).state
    kept, dropped = switch(state, before, after), switch(state, before, after, momentum="zero")
    np.testing.assert_array_equal(kept.z, state.z)
    np.testing.assert_array_equal(dropped.z[: loss.dim], state.z[: loss.dim])
    assert not dropped.z[loss.dim :].any()
    assert kept[2:] == (2, 0)
    plain = switch(state, before, _gd(loss))
    np.testing.assert_array_equal(plain.z, state.z[: loss.dim])
    assert not switch(plain, _gd(loss), after).z[loss.dim :].any()


def test_a_switch_keeps_the_memory_of_a_rule_of_one_kind(small):
    loss, w = small
    friendly, less = _friendly(loss), sf.Map(loss, sf.rules.FSAM(rho=0.01), lr=0.1)
    state = train(friendly, first_state(friendly, w), until=2).state
    memory = state.z[2 * loss.dim :]
    assert memory.any()
    np.testing.assert_array_equal(switch(state, friendly, less).z[loss.dim :], memory)
    assert not switch(state, friendly, less, momentum="zero").z[loss.dim :].any()
    rule = sf.rules.DPSAT(rho=0.01)
    other = sf.Map(loss, rule, lr=0.1)
    start = rule.init(loss, state.z[: loss.dim])
    np.testing.assert_array_equal(switch(state, friendly, other).z[loss.dim :], start)


def test_a_run_that_diverges_says_where(tmp_path):
    """w ↦ −3w from 1: 3¹³ > 10⁶ > 3¹², so that step 12, counted from 0, fails."""
    system = sf.Map(sf.loss("x**2/2"), sf.GD(), lr=4.0)
    ended = train(system, first_state(system, [1.0]), until=50, save_to=tmp_path / "s.npz")
    assert (ended.status, ended.failed_at) == (Status.diverged, (12, 0))
    assert float(ended.state.z[0]) == 3.0**12
    assert load_state(tmp_path / "s.npz", system).epoch == 12
    for unit in (1e-9, 1e9):  # the same step in other units
        ended = train(system, first_state(system, [unit]), until=50)
        assert (ended.status, ended.failed_at) == (Status.diverged, (12, 0))
    undefined = sf.Map(sf.loss("x**2/2"), sf.SAM(rho=0.1), lr=0.1)
    ended = train(undefined, first_state(undefined, [0.0]), until=5)
    assert (ended.status, ended.failed_at) == (Status.not_finite, (0, 0))


def test_an_attack_of_radius_0_trains_like_none(small):
    loss, w = small
    system = _sam(loss)
    clean = train(system, first_state(system, w), until=2, batch_size=SIZE)
    same = train(system, first_state(system, w), until=2, batch_size=SIZE, attack=PGD(0.0))
    np.testing.assert_allclose(same.state.z, clean.state.z, rtol=1e-12)  # another program
    moved = train(system, first_state(system, w), until=2, batch_size=SIZE, attack=PGD(0.3))
    assert jnp.abs(moved.state.z - clean.state.z).max() > 1e-3


def test_chunks_train_like_the_whole(small):
    loss, w = small
    whole, chunked = _sam(loss), _sam(loss.in_chunks(3))
    for batch_size in (None, SIZE):
        a = train(whole, first_state(whole, w), until=2, batch_size=batch_size)
        b = train(chunked, first_state(chunked, w), until=2, batch_size=batch_size)
        np.testing.assert_allclose(a.state.z, b.state.z, rtol=1e-11)


def test_states_of_other_settings_are_refused(small, tmp_path):
    loss, w = small
    system, path = _sam(loss), tmp_path / "state.npz"
    save_state(path, first_state(system, w), system, batch_size=SIZE)
    others = {
        "lr 0.2 in the file, 0.1 here": eqx.tree_at(lambda s: s.lr, system, jnp.asarray(0.1)),
        "rule.rho 0.1 in the file, 0.2 here": sf.Map(
            loss, sf.SAM(rho=0.2), lr=0.2, momentum=0.9, weight_decay=1e-3
        ),
        "rule sam in the file, gd here": _gd(loss, momentum=0.9),
        "data": _sam(dataclasses.replace(loss, x=loss.x + 1e-9)),
        "loss small": _sam(dataclasses.replace(loss, name="other")),
    }
    for words, other in others.items():
        with pytest.raises(ArgumentError, match=words):
            load_state(path, other, batch_size=SIZE)
    with pytest.raises(ArgumentError, match="batch_size 4 in the file, None here"):
        load_state(path, system)
    with pytest.raises(ArgumentError, match="attack none in the file, PGD"):
        load_state(path, system, batch_size=SIZE, attack=PGD(0.1))


def test_states_of_networks_that_differ_in_no_array_are_refused(small, tmp_path):
    loss, w = small
    path = save_state(tmp_path / "state.npz", first_state(_gd(loss), w), _gd(loss))
    model = eqx.nn.MLP(3, 2, 4, 1, activation=jax.nn.relu, key=jr.key(0))
    other = network(model, loss.x, loss.y, loss="cross_entropy", name="small")
    with pytest.raises(ArgumentError, match="has different outputs: small differs in something"):
        load_state(path, _gd(other))
    square, fourth = (_gd(sf.loss(lambda w, p=p: (w**p).sum(), dim=2)) for p in (2, 4))
    save_state(path, first_state(square, jnp.array([0.5, 1.0])), square)
    assert load_state(path, square).z.tolist() == [0.5, 1.0]
    with pytest.raises(ArgumentError, match="has different outputs"):
        load_state(path, fourth)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_may_differ_by_what_machines_do(small, dtype):
    loss, w = small
    loss = dataclasses.replace(loss, options=loss.options._replace(dtype=dtype))
    outputs = few_outputs(loss, w)
    off = 1e5 * loss.precision * np.abs(outputs).max()
    assert same_outputs(loss, outputs, outputs + 0.99 * off)
    assert not same_outputs(loss, outputs, outputs + 1.01 * off)
    assert same_outputs(loss, np.nan * outputs, np.nan * outputs)
    assert not same_outputs(loss, outputs, np.nan * outputs)


def test_files_that_are_no_states_are_refused(small, tmp_path):
    system, path = _gd(small[0]), tmp_path / "state.npz"
    with pytest.raises(ArgumentError, match="cannot be read as one"):
        load_state(path, system)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ArgumentError, match="cannot be read as one"):
        load_state(path, system)
    np.savez(path, format=np.array("another"))
    with pytest.raises(ArgumentError, match=r"this version of samflow saved, but .* is not"):
        load_state(path, system)


def test_damaged_states_are_refused(small, tmp_path):
    loss, w = small
    system, path = _sam(loss), tmp_path / "state.npz"
    save_state(path, first_state(system, w), system)
    whole = path.read_bytes()
    at = whole.index(np.asarray(w).tobytes())
    for content in (b"", whole[:50], whole[:-30], whole[:at] + b"\xff" + whole[at + 1 :]):
        path.write_bytes(content)
        with pytest.raises(ArgumentError, match="cannot be read as one"):
            load_state(path, system)


def test_states_that_are_not_finite_are_refused(small, tmp_path):
    loss, w = small
    system, path = _sam(loss), tmp_path / "state.npz"
    state = first_state(system, w)
    broken = state._replace(z=state.z.at[3].set(jnp.nan))
    with pytest.raises(ArgumentError, match="finite z, but 1 of 52 entries are not"):
        save_state(path, broken, system)
    with pytest.raises(ArgumentError, match="finite z"):
        train(system, broken, until=1)
    save_state(path, state, system)
    stored = dict(np.load(path))
    np.savez(path, **stored | {"z": np.asarray(broken.z)})  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match="finite z"):
        load_state(path, system)


def test_bad_input_fails_at_the_door(small, tmp_path):
    loss, w = small
    system = _sam(loss)
    state = first_state(system, w)
    with pytest.raises(ArgumentError, match=r"`w` must have shape \(26,\)"):
        first_state(system, w[:3])
    with pytest.raises(ArgumentError, match="z of shape"):
        train(_gd(loss), state, until=2)
    with pytest.raises(ArgumentError, match="`until` must be a whole number of at least 1"):
        train(system, state, until=0)
    with pytest.raises(ArgumentError, match="`until` must be at least the state's epoch"):
        train(system, state._replace(epoch=3), until=2)
    with pytest.raises(ArgumentError, match="at most the number of examples, 10, but is 11"):
        train(system, state, until=2, batch_size=11)
    with pytest.raises(ArgumentError, match="not a mean over examples"):
        train(
            sf.Map(sf.losses.beale(), sf.GD(), lr=0.1),
            TrainState(jnp.zeros(2), jr.key(0)),
            until=1,
            batch_size=1,
        )
    with pytest.raises(ArgumentError, match="in a folder that exists"):
        train(system, state, until=2, save_to=tmp_path / "none" / "state.npz")
    with pytest.raises(ArgumentError, match=r"end in \.npz"):
        save_state(tmp_path / "state", state, system)
    with pytest.raises(ArgumentError, match="Unknown momentum `half`"):
        switch(state, system, system, momentum="half")
    with pytest.raises(ArgumentError, match="must have 26 weights"):
        switch(state, system, sf.Map(sf.losses.beale(), sf.GD(), lr=0.1))
    with pytest.raises(ArgumentError, match="must be a PGD"):
        train(system, state, until=2, attack="pgd")  # pyright: ignore[reportArgumentType]


def test_a_base_with_moments_trains_stops_and_switches(small, tmp_path):
    """Its state goes on bit for bit, is not that of another base, and a change of rule keeps it."""
    loss, w = small
    before = sf.AdaptiveMap(loss, sf.GD(), lr=0.02, base=sf.Adam())
    after = sf.AdaptiveMap(loss, sf.SAM(rho=0.1), lr=0.01, base=sf.Adam())
    first = first_state(before, w)
    state = train(before, first, until=3, batch_size=SIZE).state
    save_state(tmp_path / "s.npz", train(before, first, until=1, batch_size=SIZE).state, before)
    loaded = load_state(tmp_path / "s.npz", before)
    resumed = train(before, loaded, until=3, batch_size=SIZE).state
    np.testing.assert_array_equal(resumed.z, state.z)
    with pytest.raises(ArgumentError, match="base"):
        load_state(tmp_path / "s.npz", sf.AdaptiveMap(loss, sf.GD(), lr=0.02, base=sf.AdamW()))
    np.testing.assert_array_equal(switch(state, before, after).z, state.z)
    velocity = switch(state, before, sf.Map(loss, sf.GD(), lr=0.1, momentum=0.9)).z[loss.dim :]
    assert not velocity.any()
