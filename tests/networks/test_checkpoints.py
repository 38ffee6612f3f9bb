"""Weights on disk: the same bits come back, and nothing else is let in."""

import hashlib
import json
import os
import stat
import sys

import equinox as eqx
import jax.random as jr
import numpy as np
import pytest
from orbax.checkpoint.msgpack_utils import msgpack_serialize
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import samflow
from samflow import networks
from samflow._checks import ArgumentError
from samflow.networks import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def trained():
    return networks.digits_loss(jr.key(0), num_images=10, hidden=3)


@pytest.fixture
def path(tmp_path, trained):
    return save_checkpoint(tmp_path / "digits.safetensors", *trained)


def test_the_same_bits_come_back(path, trained):
    loss, w = trained
    checkpoint = load_checkpoint(path, loss)
    again = checkpoint.w
    assert checkpoint.loss is loss
    assert checkpoint.notes == ()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint.source == f"{path} (safetensors, sha256 {digest[:12]})"
    assert again.dtype == w.dtype
    assert np.asarray(again).tobytes() == np.asarray(w).tobytes()
    assert float(loss(again)) == float(loss(w))


def test_tensors_are_named_and_shaped_as_the_network_has_them(path, trained):
    loss, w = trained
    tensors = load_file(path)
    assert set(tensors) == set(loss.weight_names)
    model = loss.unflatten(w)
    np.testing.assert_array_equal(tensors["layers.0.weight"], model.layers[0].weight)
    np.testing.assert_array_equal(tensors["layers.1.bias"], model.layers[1].bias)


def test_metadata_name_the_version_and_the_shapes(path, trained):
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["samflow"] == samflow.__version__
    assert metadata["loss"] == "digits(10 images, 3 hidden units)"
    assert json.loads(metadata["shapes"])["layers.0.weight"] == [3, 64]


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(path, trained):
    loss, w = trained
    save_checkpoint(path, loss, 2 * w)
    np.testing.assert_array_equal(load_checkpoint(path, loss).w, 2 * w)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_file_keeps_its_permissions_and_a_link_its_target(path, trained):
    loss, w = trained
    path.chmod(0o600)
    link = path.with_name("link.safetensors")
    link.symlink_to(path)
    save_checkpoint(link, loss, 3 * w)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    np.testing.assert_array_equal(load_checkpoint(path, loss).w, 3 * w)
    before = os.umask(0o077)
    try:
        new = save_checkpoint(path.with_name(f"{'n' * 240}.safetensors"), loss, w)
    finally:
        os.umask(before)
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    with pytest.raises(ArgumentError, match="must have a name of at most 255 bytes"):
        save_checkpoint(path.with_name(f"{'n' * 250}.safetensors"), loss, w)


def test_a_failed_write_leaves_the_old_file(path, trained, monkeypatch):
    loss, w = trained

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, loss, 2 * w)
    monkeypatch.undo()
    np.testing.assert_array_equal(load_checkpoint(path, loss).w, w)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def changed(path, **tensors):
    save_file({**load_file(path), **tensors}, path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"layers.0.bias": np.zeros(4)}, r"`layers.0.bias` must have shape \(3,\).*\(4,\)"),
        ({"layers.0.weight": np.zeros((64, 3))}, "It is transposed"),
        ({"layers.0.bias": np.zeros(3, np.int64)}, "float type that float64 holds .* is int64"),
        ({"layers.1.bias": np.r_[np.zeros(9), np.nan]}, "`layers.1.bias` must be finite.* 1 of 10"),
        (
            {"layers.2.bias": np.zeros(3)},
            r"also has layers.2.bias \(3,\)\. Not needed\? Give leave_out=\['layers.2.bias'\]",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(path, trained, tensors, message):
    changed(path, **tensors)
    with pytest.raises(ArgumentError, match=message):
        load_checkpoint(path, trained[0])


def test_a_missing_tensor_is_named(path, trained):
    tensors = load_file(path)
    del tensors["layers.1.weight"]
    save_file(tensors, path)
    with pytest.raises(ArgumentError, match=r"lacks layers.1.weight \(10, 3\)\."):
        load_checkpoint(path, trained[0])


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(path, trained, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArgumentError, match="Argument `path`"):
        load_checkpoint(path, trained[0])


def test_other_files_are_refused(tmp_path, trained):
    with pytest.raises(ArgumentError, match=r"none\.safetensors"):
        load_checkpoint(tmp_path / "none.safetensors", trained[0])
    with pytest.raises(ArgumentError, match="folder"):
        load_checkpoint(tmp_path, trained[0])
    pickle = tmp_path / "weights.pkl"
    pickle.write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.")
    with pytest.raises(ArgumentError, match="pickle"):
        load_checkpoint(pickle, trained[0])
    with pytest.raises(ArgumentError, match="`loss` must be a"):
        load_checkpoint(pickle, samflow.losses.beale())


def test_narrower_tensors_are_widened_exactly_and_it_is_said(path, trained):
    narrow = {name: array.astype(np.float16) for name, array in load_file(path).items()}
    save_file(narrow, path)
    loss, _ = trained
    found = load_checkpoint(path, loss)
    assert found.notes == ("widened from float16",)
    for name, part in zip(loss.weight_names, loss.split(found.w), strict=True):
        np.testing.assert_array_equal(part, narrow[name].astype(float))


def test_numbers_beyond_the_type_that_computes_are_refused_and_rounded_ones_told(path, trained):
    loss, w = trained
    single = loss.with_options(dtype="float32")
    rounded = "rounded to the type that the network computes in: layers.0.weight"
    assert any(note.startswith(rounded) for note in load_checkpoint(path, single).notes)
    assert load_checkpoint(path, loss).notes == ()
    save_checkpoint(path, loss, w.astype(np.float32).astype(float))
    assert load_checkpoint(path, single).notes == ()
    changed(path, **{"layers.0.bias": np.array([0.0, 1e300, 0.0])})
    load_checkpoint(path, loss)
    with pytest.raises(
        ArgumentError,
        match=r"`layers.0.bias` must be numbers that float32, the precision",
    ):
        load_checkpoint(path, single)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rename": 5}, "`rename` must be a mapping of names or a function"),
        ({"rename": {"layers.0.weight": 5}}, "`rename` must give names, but gives 5"),
        ({"leave_out": 5}, "`leave_out` must be a list of names, but is 5"),
    ],
)
def test_names_must_be_names(path, trained, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        load_checkpoint(path, trained[0], **arguments)


def test_renamed_tensors_are_recognised_and_taken_by_a_mapping_or_a_function(path, trained):
    loss, w = trained
    tensors = load_file(path)
    save_file({name.replace("layers.", "fc"): array for name, array in tensors.items()}, path)
    with pytest.raises(ArgumentError, match=r"rename=\{.*'fc0.weight': 'layers.0.weight'"):
        load_checkpoint(path, loss)
    mapping = {name.replace("layers.", "fc"): name for name in tensors}
    for rename in (mapping, lambda name: name.replace("fc", "layers.")):
        np.testing.assert_array_equal(load_checkpoint(path, loss, rename=rename).w, w)
    with pytest.raises(ArgumentError, match="the file's names as keys, but has nothing"):
        load_checkpoint(path, loss, rename={"nothing": "layers.0.weight"})
    with pytest.raises(ArgumentError, match="two tensors the same name"):
        load_checkpoint(path, loss, rename=lambda name: "x")


def test_what_the_network_does_not_have_is_left_out_on_demand_and_it_is_said(path, trained):
    loss, w = trained
    more = {"head.weight": np.ones(3), "head.bias": np.ones(1), "position_ids": np.arange(4)}
    save_file(load_file(path) | more, path)
    found = load_checkpoint(path, loss, leave_out=["head", "position_ids"])
    np.testing.assert_array_equal(found.w, w)
    assert found.notes == ("left out position_ids, head.bias, head.weight",)
    for wrong, words in (
        ("head", "a list of names, but is 'head'"),
        (["hea"], "no name begins with 'hea'; it has position_ids"),
        (["head", "position_ids", "layers.0"], "lacks layers.0.weight"),
    ):
        with pytest.raises(ArgumentError, match=words):
            load_checkpoint(path, loss, leave_out=wrong)


def test_files_of_equinox_are_put_into_the_network_in_its_order(tmp_path, trained):
    loss, w = trained
    path = tmp_path / "model.eqx"
    eqx.tree_serialise_leaves(path, loss.unflatten(w))
    np.testing.assert_array_equal(load_checkpoint(path, loss).w, w)
    other, _ = networks.digits_loss(jr.key(0), num_images=10, hidden=4)
    with pytest.raises(ArgumentError, match=r"`layers.0.weight` must have shape \(4, 64\)"):
        load_checkpoint(path, other)


def test_a_tree_of_flax_is_found_under_its_key(tmp_path, trained):
    path = tmp_path / "weights.msgpack"
    params = {"last": {"kernel": np.arange(6.0).reshape(3, 2), "bias": np.ones(2)}}
    path.write_bytes(msgpack_serialize({"params": params, "step": 3}))
    function = lambda p, x: x @ p["last"]["kernel"] + p["last"]["bias"]  # noqa: E731
    loss = samflow.losses.network_function(function, params, np.ones((1, 3)), [[6.0, 9.0]])
    found = load_checkpoint(path, loss, group="params")
    np.testing.assert_array_equal(found.w, loss.flatten(params))
    assert float(loss(found.w)) == 0.5 * (1 + 1)
    with pytest.raises(ArgumentError, match=r"lacks last\.bias"):
        load_checkpoint(path, loss)


def test_what_cannot_be_saved_is_refused_before_writing(tmp_path, trained):
    loss, w = trained
    with pytest.raises(ArgumentError, match=r"must end in \.safetensors"):
        save_checkpoint(tmp_path / "weights.npz", loss, w)
    with pytest.raises(ArgumentError, match="must be in a folder that exists"):
        save_checkpoint(tmp_path / "no" / "w.safetensors", loss, w)
    with pytest.raises(ArgumentError, match="must be finite"):
        save_checkpoint(tmp_path / "w.safetensors", loss, w.at[3].set(np.nan))
    with pytest.raises(ArgumentError, match="must have shape"):
        save_checkpoint(tmp_path / "w.safetensors", loss, w[:-1])
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_names_the_extra(path, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"safetensors.*pip install 'samflow\[networks\]'"):
        load_checkpoint(path, trained[0])


def test_frozen_arrays_are_taken_from_the_file_too(path, trained):
    whole, w = trained
    other = networks.perceptron(jr.key(1), hidden=3)
    loss = samflow.losses.network(other, whole.x, whole.y, frozen=["layers.0"])
    assert loss.extra_names == ("layers.0.weight", "layers.0.bias")
    found = load_checkpoint(path, loss)
    assert float(found.loss(found.w)) == pytest.approx(float(whole(w)), rel=1e-14)
    # Those that the network came with make another loss.
    assert abs(float(loss(found.w)) - float(whole(w))) > 1e-6
    assert found.notes == ("besides the weights, layers.0.weight, layers.0.bias are from the file",)
    changed(path, **{"layers.0.bias": np.zeros(4)})
    with pytest.raises(ArgumentError, match=r"`layers.0.bias` must have shape \(3,\)"):
        load_checkpoint(path, loss)


def test_frozen_arrays_are_saved_and_give_the_same_loss(tmp_path, trained):
    whole, _ = trained
    loss, other = (
        samflow.losses.network(
            networks.perceptron(jr.key(seed), hidden=3), whole.x, whole.y, frozen=["layers.0"]
        )
        for seed in (1, 2)
    )
    w = loss.flatten(networks.perceptron(jr.key(1), hidden=3))
    path = save_checkpoint(tmp_path / "w.safetensors", loss.in_chunks(4), w)
    with safe_open(path, framework="numpy") as file:
        assert "layers.0.weight" not in json.loads(file.metadata()["shapes"])
    found = load_checkpoint(path, other)
    assert float(found.loss(found.w)) == float(loss(w)) != float(other(w))
    tensors = load_file(path)
    save_file({n: t for n, t in tensors.items() if n != "layers.0.bias"}, path)
    notes = load_checkpoint(path, other).notes
    assert notes[-1] == "not in the file, so that the network's own are used: layers.0.bias"
    save_file(tensors | {"layers.0.bias": np.r_[0, np.nan, 0]}, path)
    with pytest.raises(ArgumentError, match=r"`layers.0.bias` must be finite.* 1 of 3"):
        load_checkpoint(path, other)
    save_file(tensors | {"layers.0.bias": np.zeros(3, np.int64)}, path)
    with pytest.raises(ArgumentError, match=r"`layers.0.bias` must be of a float type"):
        load_checkpoint(path, other)
