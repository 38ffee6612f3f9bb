"""Checkpoints of Lightning: their tensors, beside objects of any class that are not made."""

import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from samflow._checks import ArgumentError
from samflow.networks.files.trees import listed

VERSION = "pytorch-lightning_version"
"""The entry by which Lightning's files are told."""

_MOST_ROUNDS = 20
_WITHIN = ("", "_orig_mod.", "module.")


class _Inert:
    """Stands for an object of the file: takes what the file has for it and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Inert":
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_inert(torch: Any, path: Path) -> Mapping[str, Any] | None:
    """Return what a file of Lightning holds, with an inert object in the place of each foreign one.

    The hyperparameters of such a file are pickled objects. PyTorch's reader of weights alone, which
    runs no code, is told that each name of a foreign class or function stands for `_Inert`.

    Returns:
        The dictionary; None of a file that is none of Lightning, or that this reader refuses.

    """
    names: set[str] = set()
    if zipfile.is_zipfile(path):
        try:
            names |= set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        except Exception:  # of a damaged file, of which the reading itself tells more
            return None
    for _ in range(_MOST_ROUNDS):
        try:
            with torch.serialization.safe_globals([(_Inert, name) for name in sorted(names)]):
                tree = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
        except pickle.UnpicklingError as error:
            foreign = re.search(r"GLOBAL (\S+)", str(error))
            if foreign is None or foreign[1] in names:
                return None
            names |= {foreign[1], f"builtins.{foreign[1]}"}
            continue
        known = isinstance(tree, Mapping) and VERSION in tree
        return tree if known and isinstance(tree.get("state_dict"), Mapping) else None
    return None


def attribute_of(
    path: Any, names: Iterable[str], weights: Iterable[str], left_out: Iterable[str]
) -> str:
    """Return under which attribute of its module a file of Lightning has a network, with a dot.

    "" for a file that is none of Lightning, or has the network's names as they are.

    Raises:
        ArgumentError: where it is there under several.

    """
    names, weights = dict.fromkeys(names), list(weights)  # in the file's order
    if VERSION not in left_out or all(weight in names for weight in weights):
        return ""
    firsts = dict.fromkeys(f"{name.partition('.')[0]}." for name in names if "." in name)
    starts = [first + rest for first in firsts for rest in _WITHIN]
    fits = [start for start in starts if all(start + weight in names for weight in weights)]
    if len(fits) > 1:
        groups = [f"state_dict.{start.rstrip('.')}" for start in fits]
        raise ArgumentError(
            f"Argument `group` must say which network to read of {str(path)!r}, which holds it "
            f"under {listed(groups)}. Pass group={groups[0]!r}, for example."
        )
    return fits[0] if fits else ""
