"""Tensors of other libraries' files, by name, as NumPy arrays; no code of a file is ever run."""

import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from samflow._checks import ArgumentError, excerpt
from samflow._types import NumpyArray
from samflow.networks.files.array_files import (
    ARRAY_MAGIC,
    has_hyperparameters,
    leaves_of,
    read_equinox,
    read_npz,
)
from samflow.networks.files.budget import Budget, changed, plain_files, size_of, states
from samflow.networks.files.flax_files import looks_like_msgpack, read_flax
from samflow.networks.files.orbax_files import orbax_item, read_orbax
from samflow.networks.files.safetensors_files import read_safetensors, read_sharded, shards
from samflow.networks.files.torch_files import LEGACY_MAGIC, read_torch
from samflow.networks.files.trees import Contents, listed, reading

_READERS: dict[str, Callable[[Path, str | None, Budget], Contents]] = {
    "safetensors": read_safetensors,
    "safetensors index": read_sharded,
    "torch": read_torch,
    "orbax": read_orbax,
    "flax": read_flax,
    "equinox": read_equinox,
    "npz": read_npz,
}

_SUFFIXES = {
    ".safetensors": "safetensors",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    ".ckpt": "torch",
    ".msgpack": "flax",
    ".eqx": "equinox",
    ".npz": "npz",
}

_KNOWN = (
    "Known are: safetensors (also with an index), a PyTorch state_dict, Flax msgpack, Equinox "
    "leaves and NumPy npz; and as a folder an Orbax checkpoint or safetensors."
)

_LONGEST_HEADER = 100_000_000  # the limit of the safetensors library


class TensorFile(NamedTuple):
    """What `read_tensors` found in a file or a folder."""

    tensors: dict[str, NumpyArray]
    """The tensors by dotted name, in the file's order and in their stored types."""

    format: str
    """Which of safetensors, torch, orbax, flax, equinox and npz it is."""

    sha256: str
    """The digest of the file; of several files that of their names and digests, sorted."""

    unwrapped: tuple[str, ...]
    """The way to the tensors inside the file: dictionaries that were opened, prefixes taken off."""

    left_out: tuple[str, ...]
    """The entries beside the tensors that are none, or were passed on the way; full names."""


def read_tensors(
    path: str | os.PathLike[str], *, group: str | None = None, max_bytes: int | None = None
) -> TensorFile:
    """Return the tensors in a file or folder that another library wrote, bit for bit.

    The format is recognised by content: safetensors (one file, or several with an index), what
    `torch.save` wrote of a state_dict or of a dictionary that holds one, Flax msgpack, the leaves
    of `equinox.tree_serialise_leaves`, NumPy npz, and the folder of an Orbax checkpoint. Nothing
    in a file is run: pickles, whole PyTorch modules, TorchScript and object arrays are refused. Of
    a checkpoint of Lightning, which holds objects beside its tensors, these objects are not made.

    `group` names the group of tensors to read, as "model.encoder"; the names then go on from there.
    Without it all are read, except that of a PyTorch checkpoint the one dictionary `state_dict`,
    `model_state_dict`, `model_state`, `model`, `net` or `ema` is opened. The prefixes `module.`
    and `_orig_mod.` of PyTorch's wrappers are taken off where every name has them, and of an
    averaged model (SWA) the count `n_averaged` is left out. The arrays are
    the caller's own; tensors that shared memory no longer do. An Equinox file has no names: there
    they are "0", "1", … (see `read_leaves`).

    All tensors together may fill `max_bytes` of memory; by default 256 MiB and eight times the
    size of the file, so that a small file cannot fill the machine.

    Not guaranteed: that no bit changed since it was written, for which most formats have no check
    (compare `sha256`), and that an Equinox file has all its leaves, as it does not say how many.

    Raises:
        ArgumentError: for what is missing, empty, cut short, damaged, of an unknown format, too
            large in memory, changed while it was read or not readable without running code; for a
            `group` that is not there, and where several groups could be meant and none is named.
        ImportError: where the package that a format needs is not installed.

    """
    path = existing(path)
    if group is not None and not (isinstance(group, str) and group):
        raise ArgumentError(
            f"Argument `group` must be a name such as 'model.encoder', but is {excerpt(group)}."
        )
    try:
        place, form = _in_folder(path) if path.is_dir() else (path, recognised(path))
        contents, digest = _read(place, form, group, max_bytes)
    except OSError as error:
        raise unreadable(path, error) from error
    item = (place.name,) if form == "orbax" and place != path else ()
    return TensorFile(
        contents.tensors,
        form.removesuffix(" index"),
        digest,
        (*item, *contents.unwrapped),
        contents.left_out,
    )


def _read(place: Path, form: str, group: str | None, max_bytes: int | None) -> tuple[Contents, str]:
    """Return the contents of a file or folder that stays the same meanwhile, and its digest."""
    before = states(files := _files(place, form))
    budget = Budget(place, size_of(before), max_bytes)
    try:
        contents = _READERS[form](place, group, budget)
        digest = _digest(place, files)
    except ArgumentError:
        if states(_files(place, form)) != before:
            raise changed(place) from None
        raise
    if states(_files(place, form)) != before:
        raise changed(place)
    return contents, digest


def _files(place: Path, form: str) -> list[Path]:
    """Return the files that are read."""
    if form == "orbax":
        return plain_files(place)
    return [place, *shards(place)] if form == "safetensors index" else [place]


def read_leaves(path: str | os.PathLike[str]) -> list[NumpyArray]:
    """Return the arrays of an Equinox file in their order, which is that of the model's leaves.

    Equinox writes the leaves without names: only the model says where each belongs. Python's
    numbers come back as arrays without axes. A first line of JSON, as Equinox's guide writes it,
    is passed over.

    Raises:
        ArgumentError: for what is missing, empty, damaged, cut short within a leaf or no Equinox
            file.

    """
    path = existing(path)
    try:
        return _read_leaves(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _read_leaves(path: Path) -> list[NumpyArray]:
    form = "another kind of" if path.is_dir() else recognised(path)
    if form != "equinox":
        raise ArgumentError(
            f"Argument `path` must be a file of equinox.tree_serialise_leaves, but {str(path)!r} "
            f"is {'a folder' if path.is_dir() else f'a {form} file'}. Use read_tensors."
        )
    before = states([path])
    leaves = leaves_of(path)[0]
    if states([path]) != before:
        raise changed(path)
    return leaves


def unreadable(path: Path, error: OSError) -> ArgumentError:
    """Return the error for what the system does not let be read."""
    return ArgumentError(f"Argument `path` must be readable, but {str(path)!r} is not: {error}")


def existing(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file or a folder that is there."""
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentError(f"Argument `path` must be a file or a folder, but is {excerpt(path)}.")
    if not os.path.exists(path):  # False of a name that is too long, too
        raise ArgumentError(
            f"Argument `path` must be a file or a folder, but {os.fspath(path)!r} does not exist."
        )
    if not (os.path.isfile(path) or os.path.isdir(path)):
        raise ArgumentError(
            f"Argument `path` must be a file or a folder, but {os.fspath(path)!r} is a pipe or a "
            "device."
        )
    return Path(path)


def recognised(path: Path) -> str:
    """Return the format of a file by how it begins."""
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise ArgumentError(f"Argument `path` must hold tensors, but {str(path)!r} is empty.")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER:
        return "safetensors"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _in_archive(path)
    if head.startswith(ARRAY_MAGIC):
        return "equinox"
    if head.startswith(LEGACY_MAGIC):
        return "torch"
    if head.startswith(b"{"):
        return _after_brace(path)
    if head[0] == 0x80 and head[1:2] <= b"\x05":
        raise ArgumentError(
            f"Argument `path` must hold only tensors, but {str(path)!r} is a pickle: reading it "
            "would run its code, which samflow never does. If you trust the file, load it and save "
            "only its tensors: torch.save(model.state_dict(), 'weights.pt') or numpy.savez."
        )
    if looks_like_msgpack(head):
        return "flax"
    raise _unknown(path, f"begins with {head[:8]!r}")


def _in_archive(path: Path) -> str:
    with reading(path, "PyTorch or npz file"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise ArgumentError(
            f"Argument `path` must hold only tensors, but {str(path)!r} is a TorchScript archive, "
            "which is a program. If you trust it, save only its tensors: "
            "torch.save(torch.jit.load(path).state_dict(), 'weights.pt')."
        )
    if any(name.endswith("/data.pkl") for name in names):
        return "torch"
    if any(name.endswith(".npy") for name in names):
        return "npz"
    raise _unknown(path, f"is a zip archive of {listed(names) or 'nothing'}")


def _after_brace(path: Path) -> str:
    with path.open("rb") as file:
        line = file.readline(_LONGEST_HEADER)
        if file.read(len(ARRAY_MAGIC)) == ARRAY_MAGIC and has_hyperparameters(line):
            return "equinox"
    if path.name.endswith(".index.json"):
        return "safetensors index"
    raise _unknown(path, "begins like JSON, but is not an index called *.index.json")


def _unknown(path: Path, found: str) -> ArgumentError:
    suffix = _SUFFIXES.get(path.suffix)
    hint = (
        f" By its suffix it is a {suffix} file; it may be truncated or damaged." if suffix else ""
    )
    return ArgumentError(
        f"Argument `path` must be of a known format, but {str(path)!r} {found}.{hint} {_KNOWN}"
    )


def _in_folder(folder: Path) -> tuple[Path, str]:
    """Return what is to be read of a folder, and its format."""
    item = orbax_item(folder)
    if item is not None:
        return item, "orbax"
    for pattern in ("*.safetensors.index.json", "*.safetensors"):
        files = sorted(folder.glob(pattern))
        if len(files) > 1:
            raise ArgumentError(
                f"Argument `path` must be one checkpoint, but the folder {str(folder)!r} holds "
                f"{listed(file.name for file in files)}. Pass the file that you mean."
            )
        if files:
            return files[0], recognised(files[0])
    others = sorted(f.name for f in folder.iterdir() if f.suffix in _SUFFIXES)
    hint = f"Pass one of its files: {listed(others)}." if others else _KNOWN
    raise ArgumentError(
        f"Argument `path` must be a checkpoint, but the folder {str(folder)!r} has neither Orbax's "
        f"_METADATA nor safetensors in it. {hint}"
    )


def _digest(place: Path, files: list[Path]) -> str:
    if files == [place]:
        return _digest_of(place)
    folder = place if place.is_dir() else place.parent
    lines = sorted(f"{_digest_of(file)}  {file.relative_to(folder).as_posix()}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _digest_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
