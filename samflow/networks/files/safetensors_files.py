"""Tensors in safetensors files, one or several with an index."""

import json
import math
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np

from samflow._checks import ArgumentError
from samflow._extras import optional
from samflow._types import NumpyArray
from samflow.networks.files.budget import Budget
from samflow.networks.files.trees import Contents, listed, reading, under, without_prefixes

_DTYPES = {
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    "C64": "<c8",
    "BOOL": "?",
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}


def read_safetensors(path: Path, group: str | None, budget: Budget) -> Contents:
    """Return the tensors of one file in the order in which they lie there."""
    header = _header(path)
    names, prefixes = without_prefixes(under(path, header, group))
    return Contents(_tensors(path, header, names, budget), _opened(group, prefixes))


def read_sharded(index: Path, group: str | None, budget: Budget) -> Contents:
    """Return the tensors of all the files that an index of Hugging Face names, in its order."""
    places = _weight_map(index)
    names, prefixes = without_prefixes(under(index, places, group))
    tensors = {}
    for shard in shards(index):
        there = {name for name, place in places.items() if place == shard.name}
        if there != set(header := _header(shard)):
            raise ArgumentError(
                f"Argument `path` must be an index of its files, but {str(index)!r} and "
                f"{shard.name} disagree on {listed(sorted(there ^ set(header)))}."
            )
        wanted = {n: full for n, full in names.items() if full in there}
        tensors |= _tensors(shard, header, wanted, budget)
    return Contents({name: tensors[name] for name in names}, _opened(group, prefixes))


def shards(index: Path) -> list[Path]:
    """Return the files that an index names, which must lie beside it."""
    files = [index.parent / name for name in sorted(set(_weight_map(index).values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ArgumentError(
            "Argument `path` must have all its files beside it, but these files named in "
            f"{str(index)!r} are missing: {listed(missing)}."
        )
    return files


def _opened(group: str | None, prefixes: tuple[str, ...]) -> tuple[str, ...]:
    return (group, *prefixes) if group is not None else prefixes


def _weight_map(index: Path) -> dict[str, str]:
    with reading(index, "index of safetensors files"):
        places = json.loads(index.read_bytes())["weight_map"]
        if not isinstance(places, dict):
            raise TypeError("`weight_map` is not a dictionary")
        for name in places.values():
            # A path could lead out of the folder, to any file.
            if not isinstance(name, str) or Path(name).name != name:
                raise ValueError(f"{name!r} is not the name of a file beside it")
        return places


def _header(path: Path) -> dict[str, dict]:
    """Return type, shape and place of every tensor, in the order of their places."""
    safetensors = optional("safetensors", "Reading a safetensors file")
    with reading(path, "safetensors file"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            content = file.read(length)
        # The library checks that header, places and length of the file agree. It maps files into
        # memory, and if another process cut this one, the system would end ours; so it gets a
        # copy, whose tensors are a hole.
        with tempfile.NamedTemporaryFile() as copy:
            copy.write(length.to_bytes(8, "little") + content)
            copy.truncate(path.stat().st_size)
            copy.flush()
            with safetensors.safe_open(copy.name, framework="numpy"):
                pass
        header = json.loads(content)
        header.pop("__metadata__", None)
        for entry in header.values():
            entry["start"] = 8 + length + entry["data_offsets"][0]
        return dict(sorted(header.items(), key=lambda item: item[1]["start"]))


def _tensors(
    path: Path, header: dict[str, dict], names: dict[str, str], budget: Budget
) -> dict[str, NumpyArray]:
    # Read here, since the library's own reading for NumPy knows no float of 8 bits.
    tensors = {}
    with reading(path, "safetensors file"), path.open("rb") as file:
        for name, full in names.items():
            kind, shape = header[full]["dtype"], header[full]["shape"]
            if kind not in _DTYPES:
                raise ArgumentError(
                    f"Tensor `{full}` must be of a type that NumPy or ml_dtypes has, but is of "
                    f"{kind}. Save it as F32."
                )
            dtype = np.dtype(_DTYPES[kind])
            budget.take(f"tensor `{full}`", math.prod(shape) * dtype.itemsize)
            file.seek(header[full]["start"])
            flat = np.fromfile(file, dtype, math.prod(shape))
            tensors[name] = flat.reshape(shape)
    return tensors
