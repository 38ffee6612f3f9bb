"""Arrays that Flax saved as msgpack, decoded without Flax."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samflow._checks import excerpt
from samflow._extras import optional
from samflow._types import NumpyArray
from samflow.networks.files.budget import Budget
from samflow.networks.files.trees import (
    Contents,
    below,
    flatten,
    is_numeric,
    named_once,
    reading,
    under,
)

_CHUNKED = "__msgpack_chunked_array__"
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3  # Flax's codes of types that msgpack does not have
_DICTIONARY, _ENTRY = 64, 96  # bytes of Python's memory, of which a byte of msgpack may make one


def looks_like_msgpack(head: bytes) -> bool:
    """Say whether bytes begin a map of msgpack whose first key is a text."""
    if not head:
        return False
    start = 1 if head[0] & 0xF0 == 0x80 else {0xDE: 3, 0xDF: 5}.get(head[0])
    key = head[start] if start is not None and len(head) > start else 0
    return key & 0xE0 == 0xA0 or key in (0xD9, 0xDA, 0xDB)


def read_flax(path: Path, group: str | None, budget: Budget) -> Contents:
    """Return the arrays of flax.serialization.to_bytes or msgpack_serialize by dotted name.

    Source: flax.serialization of Flax 0.12: an array is the extension 1, that is the msgpack of
    its shape, the name of its type and its bytes in C order; one of 1 GiB or more is a map of
    flat pieces.
    """
    msgpack = optional("msgpack", "Reading a Flax file")
    with reading(path, "Flax msgpack file"):

        def extension(code: int, data: bytes) -> Any:
            if code == _COMPLEX:
                return complex(*msgpack.unpackb(data))
            if code in (_ARRAY, _SCALAR):
                return _array(*msgpack.unpackb(data, raw=True))
            raise ValueError(f"it holds the extension {code} of msgpack, which Flax does not write")

        def mapping(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
            budget.take("its dictionaries", _DICTIONARY + _ENTRY * len(pairs))
            named_once(path, [str(name) for name, _ in pairs])
            return dict(pairs)

        def sequence(entries: list[Any]) -> list[Any]:
            budget.take("its lists", _ENTRY + _ENTRY * len(entries))
            return entries

        tree = msgpack.unpackb(
            path.read_bytes(),
            ext_hook=extension,
            object_pairs_hook=mapping,
            list_hook=sequence,
            raw=False,
            strict_map_key=False,
        )
        tree = _joined(tree)
    found, besides = flatten(path, tree, lambda leaf: isinstance(leaf, np.ndarray))
    names = under(path, found, group)
    return Contents(
        {name: found[full] for name, full in names.items()},
        (group,) if group is not None else (),
        below(besides, group),
    )


def _array(shape: list[int], kind: bytes, data: bytes) -> NumpyArray:
    dtype = np.dtype(kind.decode())  # JAX has told NumPy the names of its short floats
    if not is_numeric(dtype):
        raise ValueError(f"an array is of type {dtype}, not of numbers")
    return np.frombuffer(data, dtype).reshape(_checked(shape)).copy()


def _checked(shape: Sequence[int]) -> Sequence[int]:
    """Return a shape; NumPy would choose a length of -1 itself."""
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError(f"an array is of shape {excerpt(shape)}")
    return shape


def _joined(tree: Any) -> Any:
    """Return the tree with every array that was stored in pieces in one piece."""
    if not isinstance(tree, Mapping):
        return tree
    if _CHUNKED not in tree:
        return {name: _joined(branch) for name, branch in tree.items()}
    shape, pieces = (
        tuple(tree[part][str(i)] for i in range(len(tree[part]))) for part in ("shape", "chunks")
    )
    return np.concatenate(pieces).reshape(_checked(shape))
