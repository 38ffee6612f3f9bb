"""Tensors of other libraries' files: the same bits come back, and no code of a file is run."""

import asyncio
import functools
import hashlib
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
from orbax.checkpoint import msgpack_utils
from safetensors.numpy import save_file

from samflow._checks import ArgumentError
from samflow.networks.files.tensors import read_leaves, read_tensors

RNG = np.random.default_rng(0)
NESTED = {
    "params": {
        "dense": {
            "kernel": RNG.normal(size=(3, 2)).astype(np.float32),
            "bias": RNG.normal(size=2).astype(ml_dtypes.bfloat16),
        },
        "norm": {"scale": RNG.normal(size=4).astype(np.float16)},
    },
    "stats": {"count": np.array(7, np.int32), "seen": np.array([True, False])},
}
FLAT = {
    "params.dense.kernel": NESTED["params"]["dense"]["kernel"],
    "params.dense.bias": NESTED["params"]["dense"]["bias"],
    "params.norm.scale": NESTED["params"]["norm"]["scale"],
    "stats.count": NESTED["stats"]["count"],
    "stats.seen": NESTED["stats"]["seen"],
}


def write_torch(path, tensors, **settings):
    torch = pytest.importorskip("torch")

    def tensor(array):
        if array.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
        return torch.tensor(array)

    torch.save({name: tensor(array) for name, array in tensors.items()}, path, **settings)


def write_legacy_torch(path, tensors):
    write_torch(path, tensors, _use_new_zipfile_serialization=False)


def write_npz(path, tensors):
    with path.open("wb") as file:
        np.savez(file, **tensors)


def write_flax(path, tensors):
    """Write with Orbax's copy of the encoder of Flax."""
    path.write_bytes(msgpack_utils.msgpack_serialize(tensors))


def write_equinox(path, tensors):
    with path.open("wb") as file:
        eqx.tree_serialise_leaves(file, list(tensors.values()))


def write_orbax(path, tree):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, tree)


FILES = {
    "safetensors": lambda path, tensors: save_file(tensors, path),
    "torch": write_torch,
    "legacy torch": write_legacy_torch,
    "npz": write_npz,
    "flax": write_flax,
    "equinox": write_equinox,
}


@pytest.fixture(params=FILES)
def written(request, tmp_path):
    """Return a format's name and a file of it, without a suffix that would tell."""
    path = tmp_path / "weights"
    FILES[request.param](path, FLAT)
    return request.param.removeprefix("legacy "), path


def assert_same_bits(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), name
        assert found[name].tobytes() == array.tobytes(), name
        assert found[name].flags.writeable, name


def test_the_same_bits_come_back_whatever_the_file_is_called(written):
    form, path = written
    file = read_tensors(path)
    names = [str(i) for i in range(len(FLAT))] if form == "equinox" else list(FLAT)
    assert_same_bits(file.tensors, dict(zip(names, FLAT.values(), strict=True)))
    assert (file.format, file.unwrapped, file.left_out) == (form, (), ())
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_names_come_in_the_order_of_the_file(written):
    form, path = written
    if form == "safetensors":  # which sorts by size of the type
        sizes = [array.dtype.itemsize for array in read_tensors(path).tensors.values()]
        assert sizes == sorted(sizes, reverse=True)
    elif form == "flax":  # whose writer sorts by name
        assert list(read_tensors(path).tensors) == sorted(FLAT)
    elif form != "equinox":
        assert list(read_tensors(path).tensors) == list(FLAT)


def test_a_key_chooses_a_group(written):
    form, path = written
    if form == "equinox":
        with pytest.raises(ArgumentError, match="an Equinox file has no names"):
            read_tensors(path, group="params")
        return
    file = read_tensors(path, group="params.dense")
    assert_same_bits(file.tensors, NESTED["params"]["dense"])
    assert file.unwrapped == ("params.dense",)
    known = "Known: `params`, `stats`, `params.dense`, `params.norm`"
    for key in ("param", "params.dense.kernel", "dense"):
        with pytest.raises(
            ArgumentError, match=f"`group` must name a group .* but is {key!r}.*{known}"
        ):
            read_tensors(path, group=key)


@pytest.mark.parametrize("cut", [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0])
def test_a_truncated_file_is_refused(written, cut):
    form, path = written
    whole = path.read_bytes()
    path = path.with_suffix({"torch": ".pt", "flax": ".msgpack"}.get(form, f".{form}"))
    path.write_bytes(whole[: min(int(cut * len(whole)), len(whole) - 1)])
    with pytest.raises(ArgumentError, match=r"is empty|truncated|is a pickle"):
        read_tensors(path)


def test_an_empty_file_and_a_missing_one_are_refused(tmp_path):
    (tmp_path / "empty.pt").touch()
    with pytest.raises(ArgumentError, match=r"must hold tensors, but .*empty\.pt' is empty"):
        read_tensors(tmp_path / "empty.pt")
    with pytest.raises(ArgumentError, match=r"must be a file or a folder, .* does not exist"):
        read_tensors(tmp_path / "none.pt")
    with pytest.raises(ArgumentError, match="must be a file or a folder, but is 3"):
        read_tensors(3)
    with pytest.raises(ArgumentError, match="`group` must be a name"):
        read_tensors(tmp_path / "empty.pt", group="")


@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n", b"weights", b"\xff" * 40, b'{"a": 1}\n'])
def test_unknown_bytes_are_refused_and_the_known_formats_named(tmp_path, content):
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=r"of a known format.* begins .*Known are: safetensors"):
        read_tensors(path)


def test_a_zip_archive_of_other_things_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "notes.zip", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(ArgumentError, match=r"is a zip archive of `notes\.txt`"):
        read_tensors(tmp_path / "notes.zip")


class Malicious:
    """An object whose unpickling makes a file."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_loaded(tmp_path, protocol):
    path, witness = tmp_path / "weights.pt", tmp_path / "witness"
    path.write_bytes(pickle.dumps({"w": Malicious(witness)}, protocol))
    with pytest.raises(ArgumentError, match=r"is a pickle: reading it would run its code"):
        read_tensors(path)
    assert not witness.exists()
    pickle.loads(path.read_bytes())  # the attack is real
    assert witness.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_in_a_torch_file_is_run(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    path, witness = tmp_path / "weights.pt", tmp_path / "witness"
    content = {"state_dict": {"w": torch.ones(2)}, "extra": Malicious(witness)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ArgumentError, match=r"an object of `\w+\.mkdir`.* samflow never does"):
        read_tensors(path)
    assert not witness.exists()
    torch.load(path, weights_only=False)  # the attack is real
    assert witness.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module_is_refused_with_the_remedy(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    torch.save(torch.nn.Linear(2, 1), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ArgumentError, match=r"`torch\.nn.*Linear`.*save\(model\.state_dict\(\)"):
        read_tensors(path)


def test_torchscript_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; its files remain
        torch.jit.script(torch.nn.Linear(2, 1)).save(path)
    with pytest.raises(ArgumentError, match="is a TorchScript archive, which is a program"):
        read_tensors(path)


@pytest.mark.parametrize("write", [write_npz, write_equinox])
def test_object_arrays_are_not_unpickled(tmp_path, write):
    witness = tmp_path / "witness"
    array = np.array([Malicious(witness)], dtype=object)
    write(tmp_path / "weights", {"w": np.ones(2), "bad": array})
    with pytest.raises(ArgumentError, match=r"array `(bad|1)` .* holds Python objects"):
        read_tensors(tmp_path / "weights")
    assert not witness.exists()


def torch_net():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


def as_numpy(module):
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(
    "way", ["state_dict", "model_state_dict", "model", "net", "model.state_dict"]
)
def test_the_state_dict_of_a_checkpoint_is_opened(tmp_path, way):
    torch, net = pytest.importorskip("torch"), torch_net()
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.ones(4, 3)).sum().backward()
    optimiser.step()
    tree = net.state_dict()
    for name in reversed(way.split(".")):
        tree = {"epoch": 3, name: tree}
    tree |= {"optimizer": optimiser.state_dict(), "loss": torch.tensor(0.5)}
    torch.save(tree, tmp_path / "weights.pt")
    file = read_tensors(tmp_path / "weights.pt")
    assert_same_bits(file.tensors, as_numpy(net))
    assert file.unwrapped == tuple(way.split("."))
    assert set(file.left_out) == {"epoch", "optimizer", "loss"} | (
        {"model.epoch"} if "." in way else set()
    )


def test_several_groups_are_listed_and_a_key_decides(tmp_path):
    torch, net, ema = pytest.importorskip("torch"), torch_net(), torch_net()
    path = tmp_path / "weights.pt"
    torch.save({"model": net.state_dict(), "ema": ema.state_dict(), "step": 2}, path)
    message = r"`group` must say .*under `model`, `ema`.*group='model'"
    with pytest.raises(ArgumentError, match=message):
        read_tensors(path)
    assert_same_bits(read_tensors(path, group="ema").tensors, as_numpy(ema))
    torch.save({"actor": net.state_dict(), "rng": torch.ones(2)}, path)
    with pytest.raises(ArgumentError, match=r"under `actor`\. Pass group='actor'"):
        read_tensors(path)
    file = read_tensors(path, group="actor.0")
    assert (list(file.tensors), file.unwrapped) == (["weight", "bias"], ("actor.0",))


@pytest.mark.parametrize("prefixes", [("module.",), ("_orig_mod.",), ("_orig_mod.", "module.")])
def test_prefixes_of_wrappers_are_taken_off_where_all_names_have_them(tmp_path, prefixes):
    torch, net = pytest.importorskip("torch"), torch_net()
    path = tmp_path / "weights.pt"
    tree = {"".join(prefixes) + name: tensor for name, tensor in net.state_dict().items()}
    torch.save({"state_dict": tree}, path)
    file = read_tensors(path)
    assert_same_bits(file.tensors, as_numpy(net))
    assert file.unwrapped == ("state_dict", *prefixes)
    torch.save({**tree, "head": torch.ones(1)}, path)
    assert set(read_tensors(path).tensors) == {*tree, "head"}


def test_entries_of_a_state_dict_that_are_no_tensors_are_named(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2), "norm._extra_state": {"a": 1}, "k": 3}, tmp_path / "w.pt")
    file = read_tensors(tmp_path / "w.pt")
    assert (list(file.tensors), file.left_out) == (["w"], ("norm._extra_state", "k"))


@pytest.mark.parametrize("zipped", [True, False])
def test_every_kind_of_torch_tensor_has_its_values(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    square = torch.arange(6.0).reshape(2, 3)
    shared = torch.arange(4.0)
    tensors = {
        "transposed": square.T,
        "strided": torch.arange(10)[1::3],
        "scalar": torch.tensor(2.5, dtype=torch.bfloat16),
        "bfloat16": square.to(torch.bfloat16).T,
        "half": square.half(),
        "empty": torch.zeros(0, 3),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "tied": shared,
        "tied again": shared,
        "view": shared[2:],
    }
    if zipped:  # PyTorch cannot read its own old files of these
        tensors["float8"] = square.to(torch.float8_e4m3fn)
    torch.save(tensors, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    found = read_tensors(tmp_path / "w.pt").tensors
    assert list(found) == list(tensors)
    assert found["bfloat16"].dtype == found["scalar"].dtype == ml_dtypes.bfloat16
    assert not zipped or found["float8"].dtype == ml_dtypes.float8_e4m3fn
    for name, tensor in tensors.items():
        plain = tensor.detach().resolve_conj()
        small = plain.dtype in (torch.bfloat16, torch.half, torch.float8_e4m3fn)
        wanted = (plain.float() if small else plain).numpy()  # each short float is a float32
        np.testing.assert_array_equal(found[name].astype(wanted.dtype), wanted)
        assert found[name].shape == wanted.shape
        assert found[name].flags.c_contiguous


def test_torch_content_without_an_array_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    cases = {
        "holds a Tensor": torch.ones(2),
        "holds none, only `epoch`": {"epoch": 1},
        "`w` must be an array of numbers, but is of layout": {"w": torch.eye(2).to_sparse()},
        "`w` must be an array .*meta": {"w": torch.ones(2, device="meta")},
        "two called `a.b`": {"a.b": torch.ones(1), "a": [torch.ones(1), {"b": 1}]}
        | {"a": {"b": torch.ones(1)}},
    }
    for message, content in cases.items():
        torch.save(content, path)
        key = "a" if "two" in message else None
        with pytest.raises(ArgumentError, match=message):
            read_tensors(path, group=key)


def test_an_old_torch_is_refused(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    write_torch(tmp_path / "w.pt", FLAT)
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.9.1"))
    with pytest.raises(ImportError, match=r"needs torch 2\.10 or later, but 2\.9\.1"):
        read_tensors(tmp_path / "w.pt")


def shard(folder, **files):
    """Write tensors into several files with an index, as Hugging Face does."""
    places = {}
    for file, tensors in files.items():
        save_file(tensors, folder / f"{file}.safetensors")
        places |= dict.fromkeys(tensors, f"{file}.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def test_sharded_safetensors_are_read_from_all_their_files(tmp_path):
    names = list(FLAT)
    index = shard(tmp_path, a={n: FLAT[n] for n in names[::2]}, b={n: FLAT[n] for n in names[1::2]})
    (tmp_path / "config.json").write_text("{}")
    by_index, by_folder = read_tensors(index), read_tensors(tmp_path)
    assert_same_bits(by_index.tensors, FLAT)
    assert list(by_index.tensors) == names[::2] + names[1::2]
    assert by_index.format == by_folder.format == "safetensors"
    assert by_index.sha256 == by_folder.sha256
    assert_same_bits(read_tensors(index, group="stats").tensors, NESTED["stats"])
    changed = {n: np.zeros_like(FLAT[n]) for n in names[1::2]}
    shard(tmp_path, a={n: FLAT[n] for n in names[::2]}, b=changed)
    assert read_tensors(index).sha256 != by_index.sha256


def test_an_index_that_its_files_belie_is_refused(tmp_path):
    index = shard(tmp_path, a={"w": np.ones(2)}, b={"v": np.ones(2)})
    save_file({"u": np.ones(2)}, tmp_path / "b.safetensors")
    with pytest.raises(ArgumentError, match=r"and b\.safetensors disagree on `u`, `v`"):
        read_tensors(index)
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(ArgumentError, match=r"are missing: `b\.safetensors`"):
        read_tensors(index)
    for place in ("../b.safetensors", "/etc/passwd", 3):
        index.write_text(json.dumps({"weight_map": {"w": place}}))
        with pytest.raises(ArgumentError, match="is not the name of a file beside it"):
            read_tensors(index)
    index.write_text('{"weight_map": ')
    with pytest.raises(ArgumentError, match="must be a complete index of safetensors files"):
        read_tensors(index)


def test_a_folder_with_one_file_is_that_file(tmp_path):
    save_file(FLAT, tmp_path / "model.safetensors")
    file = read_tensors(tmp_path)
    assert_same_bits(file.tensors, FLAT)
    assert file.sha256 == read_tensors(tmp_path / "model.safetensors").sha256
    save_file(FLAT, tmp_path / "other.safetensors")
    with pytest.raises(ArgumentError, match=r"holds `model\.safetensors`, `other\.safetensors`"):
        read_tensors(tmp_path)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="has neither Orbax's _METADATA nor safetensors"):
        read_tensors(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ArgumentError, match=r"Pass one of its files: `pytorch_model\.bin`"):
        read_tensors(tmp_path)


def test_safetensors_of_torch_have_its_types(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    save_file(
        {"w": torch.tensor([1.5, -2.0]).to(torch.float8_e5m2), "c": torch.tensor([1 + 2j])},
        tmp_path / "w.safetensors",
    )
    found = read_tensors(tmp_path / "w.safetensors").tensors
    assert found["w"].dtype == ml_dtypes.float8_e5m2
    assert found["w"].tolist() == [1.5, -2.0]
    assert found["c"].tolist() == [1 + 2j]


def pytree_layout(path, tree):
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(path, tree)


def files_layout(path, tree):
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)) as checkpointer:
        checkpointer.save(path, tree)


def zarr3_layout(path, tree):
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_zarr3=True)) as checkpointer:
        checkpointer.save(path, tree)


@pytest.mark.parametrize("write", [write_orbax, pytree_layout, files_layout, zarr3_layout])
def test_an_orbax_checkpoint_has_its_arrays(tmp_path, write):
    tree = {**NESTED, "list": [jnp.arange(3), jnp.float16(2.0)], "step": 3}
    write(tmp_path / "c", jax.tree.map(lambda x: x if isinstance(x, int) else jnp.asarray(x), tree))
    file = read_tensors(tmp_path / "c")
    wanted = {**FLAT, "list.0": np.arange(3), "list.1": np.float16(2.0)}
    assert_same_bits(file.tensors, wanted)
    assert list(file.tensors) == sorted(wanted)
    assert (file.format, file.unwrapped, file.left_out) == ("orbax", (), ("step",))
    inner = read_tensors(tmp_path / "c", group="params.dense")
    assert_same_bits(inner.tensors, NESTED["params"]["dense"])
    assert (inner.unwrapped, inner.sha256) == (("params.dense",), file.sha256)
    with pytest.raises(ArgumentError, match="Known: `list`, `params`, `stats`"):
        read_tensors(tmp_path / "c", group="none")


def test_what_orbax_stores_besides_arrays_is_named(tmp_path):
    tree = {"w": np.ones(2), "text": "a", "none": None, "deep": {"x": 1.5, "y": {}}}
    pytree_layout(tmp_path / "c", {**tree, "list": [jnp.ones(1), "a", None, 3]})
    file = read_tensors(tmp_path / "c")
    assert set(file.tensors) == {"w", "list.0"}
    assert set(file.left_out) == {"text", "none", "deep.x", "deep.y", "list.1", "list.2", "list.3"}


def test_a_step_of_a_manager_is_read_and_its_folder_of_steps_is_not(tmp_path):
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        for step in (0, 1):
            manager.save(step, args=ocp.args.StandardSave(NESTED))
        manager.wait_until_finished()
    file = read_tensors(tmp_path / "run" / "1")
    assert_same_bits(file.tensors, FLAT)
    assert file.unwrapped == ("default",)
    with pytest.raises(ArgumentError, match=r"must be one checkpoint, .* holds `0`, `1`"):
        read_tensors(tmp_path / "run")
    item = {"state": ocp.args.StandardSave(NESTED), "meta": ocp.args.JsonSave({"a": 1})}
    with ocp.CheckpointManager(tmp_path / "items") as manager:
        manager.save(0, args=ocp.args.Composite(**item))
        manager.wait_until_finished()
    assert read_tensors(tmp_path / "items" / "0").unwrapped == ("state",)


def test_orbax_is_read_without_the_devices_that_wrote_it(tmp_path):
    code = f"""
import jax, numpy as np, orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((2, 2), ("a", "b"))
w = jax.device_put(np.arange(24.0, dtype=np.float32).reshape(4, 6),
                   NamedSharding(mesh, PartitionSpec("a", "b")))
with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save({str(tmp_path / "c")!r}, {{"w": w}})
"""
    flags = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    subprocess.run([sys.executable, "-c", code], env=flags, check=True, capture_output=True)
    assert (tmp_path / "c" / "_sharding").read_text().count("NamedSharding") == 1
    wanted = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert_same_bits(read_tensors(tmp_path / "c").tensors, {"w": wanted})


def test_an_orbax_name_cannot_lead_out_of_its_folder(tmp_path):
    files_layout(tmp_path / "c", {"w": np.ones(2)})
    files_layout(tmp_path / "d", {"w": np.ones(2)})
    mark = tmp_path / "d" / "_METADATA"
    mark.write_text(mark.read_text().replace('"key": "w"', '"key": "../c/w"'))
    with pytest.raises(ArgumentError, match="leads out of the folder"):
        read_tensors(tmp_path / "d")


def test_orbax_is_read_where_an_event_loop_runs(tmp_path):
    write_orbax(tmp_path / "c", NESTED)

    async def cell():
        return read_tensors(tmp_path / "c")

    assert_same_bits(asyncio.run(cell()).tensors, FLAT)


@pytest.mark.parametrize("write", [write_orbax, files_layout])
@pytest.mark.parametrize("keep", [None, 0.0, 0.5, 0.9])
def test_a_damaged_orbax_checkpoint_is_refused(tmp_path, write, keep):
    write(tmp_path / "c", {"w": RNG.normal(size=500), "v": np.ones(3)})
    data = max(
        (f for f in (tmp_path / "c").rglob("*") if f.is_file()), key=lambda f: f.stat().st_size
    )
    for file in (data, tmp_path / "c" / "_METADATA"):
        whole = file.read_bytes()
        file.unlink() if keep is None else file.write_bytes(whole[: int(keep * len(whole))])
        with pytest.raises(ArgumentError, match=r"truncated|no.* safetensors"):
            read_tensors(tmp_path / "c")
        file.write_bytes(whole)
    assert len(read_tensors(tmp_path / "c").tensors) == 2


def test_an_unfinished_orbax_checkpoint_is_refused(tmp_path):
    write_orbax(tmp_path / "c", NESTED)
    (tmp_path / "c").rename(tmp_path / "c.orbax-checkpoint-tmp")
    with pytest.raises(ArgumentError, match="must be a finished checkpoint"):
        read_tensors(tmp_path / "c.orbax-checkpoint-tmp")


def test_flax_writes_what_is_read(tmp_path):
    serialization = pytest.importorskip("flax.serialization")
    path = tmp_path / "weights"
    path.write_bytes(serialization.to_bytes({**NESTED, "step": 3}))
    file = read_tensors(path)
    assert_same_bits(file.tensors, FLAT)
    assert (file.format, file.left_out) == ("flax", ("step",))


def test_flax_arrays_in_pieces_are_joined(tmp_path, monkeypatch):
    monkeypatch.setattr(msgpack_utils, "MAX_CHUNK_SIZE", 8)
    write_flax(tmp_path / "w", {"params": dict(NESTED["params"]["dense"])})
    assert b"__msgpack_chunked_array__" in (tmp_path / "w").read_bytes()
    found = read_tensors(tmp_path / "w", group="params").tensors
    np.testing.assert_array_equal(found["kernel"], NESTED["params"]["dense"]["kernel"])
    assert found["kernel"].dtype == np.float32


def test_flax_scalars_of_numpy_are_tensors_and_pythons_are_not(tmp_path):
    write_flax(tmp_path / "w", {"a": np.float32(2), "b": 2.0, "c": 1j, "d": "text", "e": None})
    file = read_tensors(tmp_path / "w")
    assert_same_bits(file.tensors, {"a": np.array(2, np.float32)})
    assert file.left_out == ("b", "c", "d", "e")


def test_msgpack_that_flax_does_not_write_is_refused(tmp_path):
    msgpack = pytest.importorskip("msgpack")
    for code, data in ((9, b""), (1, msgpack.packb(((1,), "object", bytes(8))))):
        path = tmp_path / "w"
        path.write_bytes(msgpack.packb({"w": msgpack.ExtType(code, data)}))
        with pytest.raises(ArgumentError, match="must be a complete Flax msgpack file"):
            read_tensors(path)


def test_equinox_leaves_go_back_into_the_model(tmp_path):
    model = eqx.nn.MLP(2, 1, 3, 2, key=jr.key(0))
    eqx.tree_serialise_leaves(tmp_path / "model.eqx", model)
    leaves = read_leaves(tmp_path / "model.eqx")
    arrays, rest = eqx.partition(model, eqx.is_array)
    again = eqx.combine(jax.tree.unflatten(jax.tree.structure(arrays), leaves), rest)
    assert eqx.tree_equal(again, model)
    assert list(read_tensors(tmp_path / "model.eqx").tensors) == [
        str(i) for i in range(len(leaves))
    ]


def test_equinox_numbers_and_a_line_of_settings(tmp_path):
    path = tmp_path / "model.eqx"
    with path.open("wb") as file:
        file.write(json.dumps({"width": 3}).encode() + b"\n")
        eqx.tree_serialise_leaves(file, [3, 2.5, True, np.arange(6).reshape(2, 3).T])
    file = read_tensors(path)
    assert [array.tolist() for array in file.tensors.values()] == [
        3,
        2.5,
        True,
        [[0, 3], [1, 4], [2, 5]],
    ]
    assert (file.format, file.unwrapped) == ("equinox", ("a first line of JSON",))
    assert len(read_leaves(path)) == 4


def test_read_leaves_refuses_other_files(tmp_path):
    save_file(FLAT, tmp_path / "w.safetensors")
    with pytest.raises(ArgumentError, match=r"is a safetensors file\. Use read_tensors"):
        read_leaves(tmp_path / "w.safetensors")
    with pytest.raises(ArgumentError, match=r"is a folder\. Use read_tensors"):
        read_leaves(tmp_path)


def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "w"
    np.lib.format.write_array_header_1_0(
        file := path.open("wb"), {"descr": "<f8", "fortran_order": False, "shape": (10**14,)}
    )
    file.close()
    with pytest.raises(ArgumentError, match=r"of shape \(100000000000000,\).* is incomplete"):
        read_tensors(path)


def test_what_numpy_stores_without_its_type_is_refused_but_for_bfloat16(tmp_path):
    write_npz(tmp_path / "w.npz", {"w": np.ones(2, ml_dtypes.float8_e4m3fn)})
    with pytest.raises(ArgumentError, match=r"`w` must be of a type that NumPy has.* 1 raw byte"):
        read_tensors(tmp_path / "w.npz")


def test_npz_entries_that_are_no_numbers_are_named(tmp_path):
    np.savez_compressed(tmp_path / "w.npz", w=np.ones(2), name=np.array("net"))
    file = read_tensors(tmp_path / "w.npz")
    assert (list(file.tensors), file.left_out) == (["w"], ("name",))


def test_a_changed_bit_in_npz_is_seen(tmp_path):
    write_npz(tmp_path / "w.npz", {"w": np.ones(2)})
    content = bytearray((tmp_path / "w.npz").read_bytes())
    content[content.index(np.ones(2).tobytes())] ^= 1
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(ArgumentError, match="Bad CRC-32"):
        read_tensors(tmp_path / "w.npz")


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    write_npz(tmp_path / "w.npz", {"w": np.ones(2)})
    with zipfile.ZipFile(tmp_path / "w.npz", "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("w.npy", archive.read("w.npy"))
    write_flax(tmp_path / "w.msgpack", {"w": np.ones(2)})
    pair = (tmp_path / "w.msgpack").read_bytes()[1:]
    (tmp_path / "w.msgpack").write_bytes(b"\x82" + pair + pair)
    for name in ("w.npz", "w.msgpack"):
        with pytest.raises(ArgumentError, match="has two called `w`"):
            read_tensors(tmp_path / name)


def test_a_tensor_expanded_beyond_what_is_stored_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(1).expand(10**13)}, tmp_path / "w.pt")
    with pytest.raises(ArgumentError, match="4 bytes are expanded to the shape"):
        read_tensors(tmp_path / "w.pt")
    torch.save({"w": torch.ones(1).expand(1000)}, tmp_path / "w.pt")
    np.testing.assert_array_equal(read_tensors(tmp_path / "w.pt").tensors["w"], np.ones(1000))


def test_names_cannot_speak_to_the_terminal(tmp_path):
    save_file({"a\x1b[31m.w\u202e": np.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ArgumentError, match=r"Known: `a\\x1b\[31m`") as error:
        read_tensors(tmp_path / "w.safetensors", group="other")
    assert str(error.value).isprintable()


def test_what_is_neither_file_nor_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(ArgumentError, match="is a pipe or a device"):
        read_tensors(tmp_path / "pipe.pt")
    with pytest.raises(ArgumentError, match="does not exist"):
        read_tensors(tmp_path / ("n" * 300))


def test_npz_arrays_may_have_any_names(tmp_path):
    write_npz(tmp_path / "w.npz", {"p/code/w": np.ones(2)})
    assert list(read_tensors(tmp_path / "w.npz").tensors) == ["p/code/w"]


def test_trees_without_end_are_refused(tmp_path):
    deep = functools.reduce(lambda tree, _: {"a": tree}, range(100), np.ones(1))
    write_flax(tmp_path / "w", deep)
    with pytest.raises(ArgumentError, match=r"must nest at most 64 deep, .* `a\.a\.a\.a…`"):
        read_tensors(tmp_path / "w")


@pytest.mark.parametrize(
    ("form", "module"), [("safetensors", "safetensors"), ("flax", "msgpack"), ("torch", "torch")]
)
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, form, module):
    FILES[form](tmp_path / "w", FLAT)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {module}.*pip install 'samflow\["):
        read_tensors(tmp_path / "w")
