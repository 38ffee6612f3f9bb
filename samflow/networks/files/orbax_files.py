"""Arrays that Orbax saved, on any devices, restored as NumPy arrays."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from samflow._checks import ArgumentError, excerpt
from samflow._extras import optional
from samflow._types import NumpyArray
from samflow.networks.files.budget import Budget
from samflow.networks.files.trees import (
    Contents,
    below,
    is_numeric,
    listed,
    named_once,
    reading,
    under,
)

MARK = "_METADATA"

_ARRAYS = ("jax.Array", "np.ndarray")  # how Orbax calls them; others are scalar, string, None, …


def orbax_item(folder: Path) -> Path | None:
    """Return the folder of the one tree of arrays in a checkpoint, or None if it is no checkpoint.

    A checkpoint is that folder itself, or a step of a CheckpointManager with it as an item.
    """
    if folder.name.endswith(".orbax-checkpoint-tmp"):
        raise ArgumentError(
            "Argument `path` must be a finished checkpoint, but Orbax did not finish writing "
            f"{str(folder)!r}."
        )
    if (folder / MARK).is_file():
        return folder
    items = sorted(mark.parent for mark in folder.glob(f"*/{MARK}"))
    if len(items) == 1:
        return items[0]
    default = folder / "default"
    if default in items:
        return default
    found = items or sorted({mark.parent.parent for mark in folder.glob(f"*/*/{MARK}")})
    if found:
        raise ArgumentError(
            f"Argument `path` must be one checkpoint, but {str(folder)!r} holds "
            f"{listed(item.name for item in found)}. Pass {str(found[-1])!r}, for example."
        )
    return None


def read_orbax(folder: Path, group: str | None, budget: Budget) -> Contents:
    """Return the arrays of a tree by dotted name, whatever devices they were saved from.

    Plain numbers are left out, NumPy's scalars among them: Orbax stores the two alike.

    Read with TensorStore and not with Orbax, which reads many arrays at a time in an event loop
    that it closes at the first that fails, and asks for devices where it is not told otherwise.
    Source: Orbax's guide to its checkpoint format; its versions 0.5 to 0.12.
    """
    tensorstore = optional("tensorstore", "Reading an Orbax checkpoint")
    with reading(folder, "Orbax checkpoint"):
        stored = json.loads((folder / MARK).read_bytes())
        entries = [
            (".".join(str(part["key"]) for part in entry["key_metadata"]), entry["value_metadata"])
            for entry in stored["tree_metadata"].values()
        ]
        arrays = [name for name, value in entries if value["value_type"] in _ARRAYS]
        names = under(folder, named_once(folder, arrays), group)
        tensors = {
            name: _array(tensorstore, folder, full, stored, budget) for name, full in names.items()
        }
    besides = [name for name, value in entries if value["value_type"] not in _ARRAYS]
    return Contents(tensors, (group,) if group is not None else (), below(besides, group))


def _array(
    tensorstore: Any, folder: Path, name: str, stored: dict[str, Any], budget: Budget
) -> NumpyArray:
    if ".." in Path(name).parts:
        raise ValueError(f"`{name}` leads out of the folder")
    base = {"driver": "file", "path": f"{folder.resolve()}/"}
    if (folder / "manifest.ocdbt").is_file():
        place = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
    else:
        place = {**base, "path": f"{base['path']}{name}/"}
    third = bool(stored.get("use_zarr3"))
    found = tensorstore.KvStore.open(place).result().read("zarr.json" if third else ".zarray")
    _check_sizes(name, json.loads(found.result().value or b"null"), budget)
    spec = {
        "driver": "zarr3" if third else "zarr",
        "kvstore": place,
        "fill_missing_data_reads": False,  # otherwise a lost chunk would be read as zeros
    }
    try:
        opened = tensorstore.open(spec, open=True, read=True).result()
        array = np.array(opened.read().result())
    except ValueError as error:
        if "missing" not in str(error) or stored.get("store_array_data_equal_to_fill_value"):
            raise
        raise ArgumentError(
            f"Array `{name}` must be complete, but in {str(folder)!r} a part of it is missing. The "
            "version of Orbax that wrote it leaves out parts that are all 0, and these cannot be "
            "told from lost ones. Save it again with Orbax 0.6 or newer."
        ) from error
    if not is_numeric(array.dtype):
        raise ValueError(f"`{name}` is of type {array.dtype}, not of numbers")
    return array


def _check_sizes(name: str, metadata: Any, budget: Budget) -> None:
    """Count the bytes of an array, and refuse chunks too large: TensorStore would try to get them.

    `metadata` are those of zarr 2 or 3, in which a chunk may be made of chunks.
    """
    if not isinstance(metadata, dict):
        raise ValueError(f"the array `{name}` is missing")
    second = "chunks" in metadata
    chunks = metadata["chunks" if second else "chunk_grid"]
    chunks = chunks if second else chunks["configuration"]["chunk_shape"]
    shape = _lengths(name, metadata["shape"], 0)
    inner = [
        codec["configuration"]["chunk_shape"]
        for codec in metadata.get("codecs", ())
        if "chunk_shape" in codec.get("configuration", ())
    ]
    item = np.dtype(metadata["dtype" if second else "data_type"]).itemsize
    budget.take(f"array `{name}`", math.prod(shape) * item)
    for each in (chunks, *inner):
        budget.check(f"chunks of array `{name}`", math.prod(_lengths(name, each, 1)) * item)


def _lengths(name: str, value: Any, least: int) -> list[int]:
    if not isinstance(value, list) or any(type(n) is not int or n < least for n in value):
        raise ValueError(f"the array `{name}` has lengths {excerpt(value)}")
    return value
