"""Files made to harm: no signal ends the process, no memory is filled, nothing hangs."""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile

import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors
from orbax.checkpoint import msgpack_utils
from safetensors.numpy import save_file

from samflow._checks import ArgumentError
from samflow.networks.checkpoints import _notes
from samflow.networks.files import tensors as readers
from samflow.networks.files.tensors import read_leaves, read_tensors
from samflow.networks.files.trees import flatten

MB = 2**20


def peak():
    """Return the most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write_torch(path, tree):
    pytest.importorskip("torch").save(tree, path)


def write_equinox(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def refused(path, message, **settings):
    """Say that a file is refused with a message, soon, and without memory for its promises."""
    before, began = peak(), time.perf_counter()
    with pytest.raises(ArgumentError, match=message) as error:
        read_tensors(path, **settings)
    assert time.perf_counter() - began < 5.0  # instead of for ever
    assert peak() - before < 600 * MB  # instead of 2 to 7 GB, and 256 MiB are let be
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 3_100
    return str(error.value)


# S1: another process writes to the file while it is read


def test_a_torch_file_is_not_mapped(tmp_path, monkeypatch):
    """A page that is mapped and no longer there is a SIGBUS, which nothing in Python catches."""
    torch = pytest.importorskip("torch")
    path, load = tmp_path / "w.pt", torch.load
    write_torch(path, {"w": torch.zeros(MB)})

    def cutting(*arguments, **settings):
        assert not settings["mmap"]
        tree = load(*arguments, **settings)
        os.truncate(path, 1)
        return tree

    monkeypatch.setattr(torch, "load", cutting)
    refused(path, "must not change while it is read, .* changed")


def test_a_safetensors_file_is_not_mapped(tmp_path, monkeypatch):
    path, opened = tmp_path / "w.safetensors", safetensors.safe_open
    save_file({"w": np.zeros(MB)}, path)

    def watching(name, **settings):
        assert not os.path.samefile(name, path)
        return opened(name, **settings)

    monkeypatch.setattr(safetensors, "safe_open", watching)
    assert read_tensors(path).tensors["w"].shape == (MB,)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_a_file_that_is_rewritten_all_the_time_does_not_end_the_process(tmp_path, form):
    path = tmp_path / f"w.{form}"
    if form == "pt":
        write_torch(path, {"w": pytest.importorskip("torch").zeros(MB)})
    else:
        save_file({"w": np.zeros(MB)}, path)
    program = textwrap.dedent(f"""
        import threading
        from samflow._checks import ArgumentError
        from samflow.networks.files import read_tensors
        content, ends = open({str(path)!r}, "rb").read(), threading.Event()
        def rewrite():
            while not ends.is_set():
                with open({str(path)!r}, "r+b") as file:
                    file.truncate(1)
                    file.write(content)
        thread = threading.Thread(target=rewrite)
        thread.start()
        whole = refused = 0
        for _ in range(50):
            try:
                read_tensors({str(path)!r})
                whole += 1
            except ArgumentError:
                refused += 1
        ends.set(); thread.join()
        print(whole, refused)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr  # -7 is SIGBUS
    assert sum(map(int, done.stdout.split())) == 50


@pytest.mark.parametrize("form", ["pt", "safetensors", "npz", "msgpack", "eqx"])
def test_a_file_that_changed_while_it_was_read_is_refused(tmp_path, form, monkeypatch):
    path = tmp_path / f"w.{form}"
    if form == "pt":
        write_torch(path, {"w": pytest.importorskip("torch").zeros(3)})
    elif form == "safetensors":
        save_file({"w": np.zeros(3)}, path)
    elif form == "npz":
        np.savez(path, w=np.zeros(3))
    elif form == "msgpack":
        path.write_bytes(msgpack_utils.msgpack_serialize({"w": np.zeros(3)}))
    else:
        write_equinox(path)
    assert len(read_tensors(path).tensors) == 1
    digest = readers._digest_of
    later = path.stat().st_mtime_ns + 1

    def changing(file):
        os.utime(path, ns=(later, later))  # as if written to with as many bytes
        return digest(file)

    monkeypatch.setattr(readers, "_digest_of", changing)
    with pytest.raises(ArgumentError, match=r"must not change while it is read, .* changed"):
        read_tensors(path)


# S2: folders of Orbax


def write_orbax(path, tree, **settings):
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False, **settings)) as checkpointer:
        checkpointer.save(path, tree)
    return path


@pytest.mark.parametrize("key", ["shape", "chunks"])
@pytest.mark.parametrize("third", [False, True])
def test_huge_shapes_and_chunks_are_refused_before_they_are_opened(tmp_path, key, third):
    folder = write_orbax(tmp_path / "c", {"w": np.ones(2)}, use_zarr3=third)
    place = folder / "w" / ("zarr.json" if third else ".zarray")
    metadata = json.loads(place.read_text())
    lengths = {"shape": metadata["shape"]}
    lengths["chunks"] = (
        metadata["chunk_grid"]["configuration"]["chunk_shape"] if third else metadata["chunks"]
    )
    lengths[key][0] = 2**50
    place.write_text(json.dumps(metadata))
    refused(folder, r"`w`.* fills 9007199254740992\. .*give max_bytes=")
    for length in (-1, "2", 2.5, True, None):
        lengths[key][0] = length
        place.write_text(json.dumps(metadata))
        refused(folder, "the array `w` has lengths")


def test_chunks_that_are_not_there_are_no_zeros(tmp_path):
    folder = write_orbax(tmp_path / "c", {"w": np.ones(2)})
    mark = json.loads((folder / "_METADATA").read_text())
    (folder / "w" / "0").unlink()
    refused(folder, "truncated, damaged")
    mark["store_array_data_equal_to_fill_value"] = False  # as of an Orbax that leaves out zeros
    (folder / "_METADATA").write_text(json.dumps(mark))
    refused(folder, "`w` must be complete, .* Save it again with Orbax")
    (folder / "w" / ".zarray").unlink()
    refused(folder, "the array `w` is missing")


@pytest.mark.parametrize("place", ["pipe", "w/0", "w/.zarray", "d/pipe"])
def test_a_pipe_in_a_folder_does_not_stop_the_reading(tmp_path, place):
    folder = write_orbax(tmp_path / "c", {"w": np.ones(2)})
    (folder / "d").mkdir()
    (folder / place).unlink(missing_ok=True)
    os.mkfifo(folder / place)
    refused(folder, "must be a folder of files, .* is a pipe or a device")


def test_links_to_files_are_followed_and_those_to_folders_refused(tmp_path):
    folder = write_orbax(tmp_path / "c", {"w": np.ones(2)})
    (folder / "w" / "0").rename(tmp_path / "blob")  # as in the cache of a hub
    (folder / "w" / "0").symlink_to(tmp_path / "blob")
    assert read_tensors(folder).tensors["w"].tolist() == [1, 1]
    (folder / "all").symlink_to("/")
    refused(folder, "is a link to a folder")


def test_names_in_a_folder_cannot_speak_to_the_terminal(tmp_path):
    """They get into what is said of a checkpoint, which a person prints."""
    hostile = "a\x1b[31m\x9b2J\u202e"
    write_orbax(tmp_path / "step" / hostile, {"w": np.ones(2), hostile: 3})
    file = read_tensors(tmp_path / "step")
    assert file.unwrapped == (hostile,)  # as it is, for who goes on with it
    assert file.left_out == (hostile,)
    for note in _notes(file, [], {}, [], [], []):
        assert note.isprintable()
    assert len(_notes(file, [], {}, [], [], [])) == 2
    write_orbax(tmp_path / "step" / "b\x1b[2J", {"w": np.ones(2)})
    refused(tmp_path / "step", "must be one checkpoint")


# S3: containers in containers in several places


@pytest.mark.parametrize("kind", [dict, list])
@pytest.mark.parametrize("tensors", [True, False])
def test_shared_containers_are_looked_at_once(tmp_path, kind, tensors):
    torch = pytest.importorskip("torch")
    tree = torch.ones(1) if tensors else 3
    for _ in range(40):
        tree = {"a": tree, "b": tree} if kind is dict else [tree, tree]
    write_torch(tmp_path / "w.pt", {"t": tree, "w": torch.ones(1)})
    if tensors:
        refused(tmp_path / "w.pt", "at most 4000000 names, .* has 1099511627777", group="t")
    else:
        file = read_tensors(tmp_path / "w.pt")
        assert (list(file.tensors), file.left_out) == (["w"], ("t",))


def test_what_lies_in_two_places_has_both_names(tmp_path):
    torch = pytest.importorskip("torch")
    layer = {"weight": torch.ones(2), "steps": 3}
    write_torch(tmp_path / "w.pt", {"a": layer, "b": [layer]})
    for group, names in ((None, ["a.weight", "b.0.weight"]), ("b", ["0.weight"])):
        if group is None:
            continue  # several groups, and none is a state_dict
        assert list(read_tensors(tmp_path / "w.pt", group=group).tensors) == names
    endless = {"w": torch.ones(1)}
    endless["again"] = endless
    write_torch(tmp_path / "e.pt", {"model": endless})
    refused(tmp_path / "e.pt", "must nest at most 64 deep")


def test_keys_of_any_size_have_names():
    tree = {10**5000: 1.0, 7: 1.0, ("a", 1): 1.0}
    found, _ = flatten(pathlib.Path("w"), tree, lambda leaf: isinstance(leaf, float))
    assert list(found) == ["a very large int", "7", "('a', 1)"]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_key_whose_hash_would_not_end_is_refused(tmp_path, zipped):
    """The tuple ((t, t), (t, t)) and so on, of which each level is there once in the pickle."""
    torch = pytest.importorskip("torch")
    path, levels = tmp_path / "w.pt", 40
    torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=zipped)
    assert len(read_tensors(path).tensors) == 1
    key = b"K\x01" + b"".join(
        b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(levels)
    )
    hostile = b"\x80\x02}" + key + b"K\x01s."
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (("a/data.pkl", hostile), ("a/version", b"3\n")):
                archive.writestr(name, content)
    else:
        content = path.read_bytes()
        start = content.index(b"\x80\x02}q\x00X\x01\x00\x00\x00w")
        path.write_bytes(content[:start] + hostile + content[content.index(b".", start) + 1 :])
    refused(path, "a tuple in it has .* parts, because it contains others many times")


# S4: one budget for the whole file


def test_expanded_tensors_share_a_budget(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "w.pt"
    write_torch(path, {str(i): torch.zeros(1).expand(2**25) for i in range(4)})
    message = refused(path, r"4 bytes are expanded to the shape \(33554432,\)")
    assert f"instead of at most {2**28 + 8 * path.stat().st_size}" in message
    assert "max_bytes=402653184 or more" in message  # the third no longer fits
    write_torch(path, {str(i): torch.ones(1).expand(2**10) for i in range(4)})
    assert len(read_tensors(path, max_bytes=2**14).tensors) == 4
    refused(path, "max_bytes=16384 or more", max_bytes=2**14 - 1)
    with pytest.raises(ArgumentError, match="`max_bytes` must be a whole number"):
        read_tensors(path, max_bytes=0)


def test_packed_zeros_share_a_budget(tmp_path):
    path = tmp_path / "w.npz"
    np.savez_compressed(path, **{name: np.zeros(MB, np.uint8) for name in "abc"})
    assert len(read_tensors(path).tensors) == 3
    assert len(read_tensors(path, max_bytes=3 * MB).tensors) == 3
    refused(path, r"with array `c` .* fills 3145728\. If you trust", max_bytes=3 * MB - 1)


def test_a_packed_pickle_is_refused_before_it_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "w.pt"
    write_torch(path, {"w": torch.ones(2)})
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    pickle = next(name for name in entries if name.endswith("data.pkl"))
    entries[pickle] = b"\x80\x02" + b"]0" * 3 * MB + entries[pickle][2:]  # lists, thrown away
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert path.stat().st_size < MB
    refused(path, r"with `\w+/data\.pkl`")


@pytest.mark.parametrize(("code", "what"), [(b"\x90", "lists"), (b"\x80", "dictionaries")])
def test_lists_and_dictionaries_of_msgpack_are_counted(tmp_path, code, what):
    """Each takes one byte of the file, and some sixty of memory."""
    path, count = tmp_path / "w.msgpack", 2**15
    array = msgpack_utils.msgpack_serialize({"w": np.ones(2)})[1:]
    path.write_bytes(b"\x82" + array + b"\xa1v\xdd" + count.to_bytes(4, "big") + code * count)
    assert list(read_tensors(path).tensors) == ["w"]
    refused(path, f"with its {what}", max_bytes=MB)


# S8: what NumPy reads and no network has


@pytest.mark.parametrize(
    ("shape", "kind", "data", "message"),
    [
        ([2], "<U1", b"a\0\0\0b\0\0\0", "of type <U1, not of numbers"),
        ([2], "|S1", b"ab", "not of numbers"),
        ([1], "<M8[D]", bytes(8), "not of numbers"),
        ([1], "<m8[s]", bytes(8), "not of numbers"),
        ([1], "|V2", bytes(2), "not of numbers"),
        ([-1], "float64", bytes(16), r"of shape \[-1\]"),
        ([2, -1], "float64", bytes(16), r"of shape \[2, -1\]"),
        ([2.0], "float64", bytes(16), r"of shape \[2\.0\]"),
        ([3], "float64", bytes(16), "cannot reshape"),
    ],
)
def test_flax_arrays_of_texts_and_dates_are_refused(tmp_path, shape, kind, data, message):
    msgpack = pytest.importorskip("msgpack")
    array = msgpack.packb((shape, kind, data))
    (tmp_path / "w").write_bytes(msgpack.packb({"w": msgpack.ExtType(1, array)}))
    refused(tmp_path / "w", message)


def test_flax_arrays_in_pieces_have_the_shape_that_is_told(tmp_path):
    msgpack = pytest.importorskip("msgpack")
    piece = msgpack.ExtType(1, msgpack.packb(((2,), "float64", bytes(16))))
    tree = {"__msgpack_chunked_array__": True, "shape": {"0": -1}, "chunks": {"0": piece}}
    (tmp_path / "w").write_bytes(msgpack.packb({"w": tree}))
    refused(tmp_path / "w", "is of shape")


def test_names_of_a_megabyte_are_cut(tmp_path):
    save_file({"n" * MB: np.ones(1)}, tmp_path / "w.safetensors")
    refused(tmp_path / "w.safetensors", "`group` must name a group", group="other" * MB)


# S10: places that cannot be read or written


@pytest.fixture
def open_folder():
    """A folder that other users may look into, as they may not into pytest's."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed, whom only root can become")
def test_a_file_of_another_user_is_refused(open_folder):
    tmp_path = open_folder
    save_file({"w": np.ones(2)}, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").chmod(0o600)
    folder = write_orbax(tmp_path / "c", {"w": np.ones(2)})
    (folder / "w").chmod(0o700)
    write_equinox(tmp_path / "w.eqx")
    (tmp_path / "w.eqx").chmod(0)
    os.seteuid(65534)
    try:
        for place in (tmp_path / "w.safetensors", folder, tmp_path / "w.eqx"):
            with pytest.raises(ArgumentError, match=r"must be readable, .* Permission denied"):
                read_tensors(place)
        with pytest.raises(ArgumentError, match=r"must be readable, .* Permission denied"):
            read_leaves(tmp_path / "w.eqx")
    finally:
        os.seteuid(0)


def many_tensors(path, count):
    tensors = {f"layers.{i // 100}.{i % 100}": np.full(1, i % 128, np.int8) for i in range(count)}
    save_file(tensors, path)
    began = time.process_time()
    file = read_tensors(path)
    taken = time.process_time() - began
    assert len(file.tensors) == count
    last = count - 1
    assert file.tensors[f"layers.{last // 100}.{last % 100}"].tolist() == [last % 128]
    return taken


def test_ten_thousand_tensors(tmp_path):
    assert many_tensors(tmp_path / "w.safetensors", 10_000) < 3  # 0.3 s of CPU; no square


@pytest.mark.slow
def test_a_million_tensors(tmp_path):
    assert many_tensors(tmp_path / "w.safetensors", 1_000_000) < 300  # 100 times as long
