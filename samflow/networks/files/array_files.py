"""Arrays that NumPy or Equinox saved: named in an archive, or one after another in a file."""

import json
import math
import zipfile
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from samflow._checks import ArgumentError
from samflow._types import NumpyArray
from samflow.networks.files.budget import Budget
from samflow.networks.files.trees import Contents, named_once, reading, under

ARRAY_MAGIC = b"\x93NUMPY"


def read_npz(path: Path, group: str | None, budget: Budget) -> Contents:
    """Return the arrays of an archive of numpy.savez, read with `allow_pickle=False`."""
    tensors, left_out = {}, []
    with reading(path, "npz file"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        named_once(path, [name.removesuffix(".npy") for name in names])
        members = {name.removesuffix(".npy"): name for name in names}
        wanted = under(path, members, group)
        left_out += [name for name in wanted.values() if not members[name].endswith(".npy")]
        wanted = {short: name for short, name in wanted.items() if name not in left_out}
        for name in wanted.values():
            with archive.open(members[name]) as file:
                size = archive.getinfo(members[name]).file_size
                budget.take(f"array `{name}`", _check_header(path, name, file, size))
        for short, name in wanted.items():
            # Opened anew, not rewound: after a step back zipfile checks no sum (CRC-32) any more.
            with archive.open(members[name]) as file:
                array = _numbers(name, np.lib.format.read_array(file, allow_pickle=False))
            if array is None:
                left_out.append(name)
            else:
                tensors[short] = array
    return Contents(tensors, (group,) if group is not None else (), tuple(left_out))


def read_equinox(path: Path, group: str | None, budget: Budget) -> Contents:
    """Return the leaves of equinox.tree_serialise_leaves, named by their places from 0 on."""
    if group is not None:
        raise ArgumentError(
            f"Argument `group` must be left out, but is {group!r}: an Equinox file has no names."
        )
    leaves, head = leaves_of(path)
    return Contents({str(i): leaf for i, leaf in enumerate(leaves)}, head)


def leaves_of(path: Path) -> tuple[list[NumpyArray], tuple[str, ...]]:
    """Return the arrays in a file one after another, and what had to be opened before them."""
    leaves = []
    with reading(path, "Equinox file"), path.open("rb") as file:
        size = path.stat().st_size
        head = _skip_hyperparameters(file)
        while (place := file.tell()) < size:
            if file.read(len(ARRAY_MAGIC)) != ARRAY_MAGIC:
                raise ValueError(f"no array begins at byte {place}, after leaf {len(leaves) - 1}")
            name = str(len(leaves))
            file.seek(place)
            _check_header(path, name, file, size - place)
            file.seek(place)
            array = _numbers(name, np.lib.format.read_array(file, allow_pickle=False))
            if array is None:
                raise ValueError(f"leaf {name} holds no numbers")
            leaves.append(array)
    return leaves, head


def has_hyperparameters(line: bytes) -> bool:
    """Say whether a line is a JSON object, which Equinox's guide writes before the leaves."""
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _skip_hyperparameters(file: IO[bytes]) -> tuple[str, ...]:
    if file.read(1) == b"{":
        file.readline()
        return ("a first line of JSON",)
    file.seek(0)
    return ()


def _check_header(path: Path, name: str, file: IO[bytes], available: int) -> int:
    """Return the bytes of an array.

    Refuse one that needs a pickle, or that the next `available` bytes cannot hold.
    """
    start = file.tell()
    version = np.lib.format.read_magic(file)
    header: Any = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if header is None:
        raise ValueError(f"array {name} has the unknown version {version}")
    shape, _, dtype = header(file)
    if dtype.hasobject:
        raise ArgumentError(
            f"Argument `path` must hold numbers, but array `{name}` of {str(path)!r} holds Python "
            "objects: reading them would run the file's code, which samflow never does. Save it as "
            "an array of numbers."
        )
    # NumPy makes room for what the header says before it looks how much there is.
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size > available - (file.tell() - start):
        raise ValueError(f"array {name} of shape {shape} and type {dtype} is incomplete")
    return size


def _numbers(name: str, array: NumpyArray) -> NumpyArray | None:
    """Return an array of numbers, or None for texts, dates and records."""
    if array.dtype.kind in "biufc":
        return array
    if array.dtype.kind != "V" or array.dtype.names:
        return None
    # NumPy stores a type that it does not have as raw bytes, without the type's name. Of two
    # bytes it is bfloat16, as jax.numpy.load has it too.
    if array.dtype.itemsize == 2:
        return array.view(ml_dtypes.bfloat16)
    raise ArgumentError(
        f"Array `{name}` must be of a type that NumPy has, but is of {array.dtype.itemsize} raw "
        "byte(s) per entry, and the file does not say what they mean. Save it as float32."
    )
