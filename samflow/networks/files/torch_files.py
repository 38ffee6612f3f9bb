"""Weights that PyTorch saved, read without running any code of the file."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from samflow._checks import ArgumentError
from samflow._extras import optional
from samflow._types import NumpyArray
from samflow.networks.files.budget import Budget
from samflow.networks.files.lightning import read_inert
from samflow.networks.files.pickles import check_hashes
from samflow.networks.files.trees import (
    Contents,
    below,
    damaged,
    flatten,
    listed,
    reading,
    under,
    without_prefixes,
)

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch.save began a file before PyTorch 1.6."""

AVERAGED = "n_averaged"
"""The count that `torch.optim.swa_utils.AveragedModel` keeps beside its module."""

_LEGACY_PICKLES = 5  # a number, a version, the system, the tensors, the keys of their storages

_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "ema")

_BITS = {  # floats that NumPy does not have itself, with a PyTorch integer as wide
    "bfloat16": "int16",
    "float8_e4m3fn": "int8",
    "float8_e4m3fnuz": "int8",
    "float8_e5m2": "int8",
    "float8_e5m2fnuz": "int8",
    "float8_e8m0fnu": "int8",
}

_REMEDY = (
    "If you trust the file, load it and save only its tensors: torch.save(model.state_dict(), "
    "'weights.pt')."
)

_SMALL_PICKLE = 2**20
"""Bytes that the pickle in a file may have beyond those of the file; torch.save packs nothing."""


def read_torch(path: Path, group: str | None, budget: Budget) -> Contents:
    """Return the tensors of a state_dict, or of the one that a checkpoint holds."""
    torch = _safe_torch()
    tree = load_inert(path, budget)
    if not isinstance(tree, Mapping):
        raise ArgumentError(
            f"Argument `path` must hold a dictionary of tensors, but {str(path)!r} holds a "
            f"{type(tree).__name__}. {_REMEDY}"
        )
    opened, passed = [], []
    if group is None:
        tree, opened, passed = _open(path, tree, torch.is_tensor)
    found, besides = flatten(path, tree, torch.is_tensor)
    if not found:
        raise ArgumentError(
            f"Argument `path` must hold tensors, but {str(path)!r} holds none, only "
            f"{listed(besides) or 'an empty dictionary'}."
        )
    found, count = _without_average(found)
    names, prefixes = without_prefixes(under(path, found, group))
    besides = [".".join((*opened, name)) for name in (*besides, *count)]
    for full in names.values():
        _take(budget, full, found[full])
    return Contents(
        {name: _array(torch, full, found[full]) for name, full in names.items()},
        (*opened, *([group] if group is not None else []), *prefixes),
        (*passed, *below(besides, group)),
    )


def _without_average(found: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the tensors of an averaged model without the count of what it is the average of."""
    others = {name: tensor for name, tensor in found.items() if name != AVERAGED}
    if AVERAGED not in found or not all(name.startswith("module.") for name in others):
        return found, []
    return others, [AVERAGED]


def _safe_torch() -> Any:
    torch = optional("torch", "Reading a PyTorch file")
    # Before 2.10 a crafted file could run code even with weights_only=True: CVE-2025-32434
    # (mended in 2.6) and CVE-2026-24747.
    if torch.__version__ < (2, 10):
        raise ImportError(
            f"Reading a PyTorch file safely needs torch 2.10 or later, but {torch.__version__} is "
            "installed: pip install --upgrade 'samflow[torch]'"
        )
    return torch


def load_inert(path: Path, budget: Budget) -> Any:
    """Return what `torch.save` wrote: tensors and plain containers. No code of the file is run."""
    torch = _safe_torch()
    with reading(path, "PyTorch file"):
        if zipfile.is_zipfile(path):
            _check_archive(path, budget)
        else:
            with path.open("rb") as file:
                for _ in range(_LEGACY_PICKLES):
                    check_hashes(file, budget.size)
        try:
            # Not mapped into memory: if another process cut the file, the system would end ours.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=False)
        except pickle.UnpicklingError as error:
            foreign = re.search(r"GLOBAL (\S+)", str(error))
            if foreign is None:
                detail = str(error).rpartition("WeightsUnpickler error:")[2].strip()
                raise damaged(path, "PyTorch file", detail.partition("\n")[0]) from None
            if (tree := read_inert(torch, path)) is not None:
                return tree
            raise ArgumentError(
                f"Argument `path` must hold only tensors, but {str(path)!r} also holds an object "
                f"of `{foreign[1]}`: reading it would run its code, which samflow never does. "
                f"{_REMEDY}"
            ) from None


def _check_archive(path: Path, budget: Budget) -> None:
    """Refuse an archive that is small only because it is packed."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    budget.check("all its entries", sum(entry.file_size for entry in entries))
    for entry in entries:
        # A pickle makes up to 70 bytes of each of its own.
        if entry.filename.endswith(".pkl") and entry.file_size > _SMALL_PICKLE + budget.size:
            budget.check(f"`{entry.filename}`", 70 * entry.file_size)
    with zipfile.ZipFile(path) as archive:
        for entry in entries:
            if entry.filename.endswith("data.pkl"):
                check_hashes(archive.read(entry), entry.file_size)


def _take(budget: Budget, name: str, tensor: Any) -> None:
    """Count the bytes of a tensor as an array; many places may stand for one that is stored."""
    size, stored = tensor.numel() * tensor.element_size(), _stored(tensor)
    if stored < size and budget.taken + size > budget.most:
        raise ArgumentError(
            f"Tensor `{name}` must not be larger than its stored data, but {stored} bytes are "
            f"expanded to the shape {tuple(tensor.shape)}, and with them the file fills "
            f"{budget.taken + size} bytes of memory instead of at most {budget.most}. Save its "
            f".clone(), or give max_bytes={budget.taken + size} or more."
        )
    budget.take(f"tensor `{name}`", size)


def _stored(tensor: Any) -> int:
    try:
        return tensor.untyped_storage().nbytes()
    except (NotImplementedError, RuntimeError):  # PyTorch's own: sparse ones have no storage
        return tensor.numel() * tensor.element_size()


def _open(path: Path, tree: Mapping, is_tensor: Any) -> tuple[Mapping, list[str], list[str]]:
    """Return the state_dict inside a checkpoint, the way to it, and what lies beside the way."""
    opened: list[str] = []
    passed: list[str] = []
    while groups := _groups(path, tree, is_tensor):
        wrappers = [name for name in groups if name in _WRAPPERS]
        if len(wrappers) != 1:
            found = [".".join((*opened, str(name))) for name in wrappers or groups]
            raise ArgumentError(
                f"Argument `group` must say which tensors to read of {str(path)!r}, which holds "
                f"them under {listed(found)}. Pass group={found[0]!r}, for example."
            )
        passed += [".".join((*opened, str(name))) for name in tree if name != wrappers[0]]
        opened.append(wrappers[0])
        tree = tree[wrappers[0]]
    return tree, opened, passed


def _groups(path: Path, tree: Mapping, is_tensor: Any) -> list[Any]:
    """Return the entries that are dictionaries of tensors; a state_dict has none but its extras."""
    return [
        name
        for name, value in tree.items()
        if isinstance(value, Mapping)
        and not str(name).endswith("_extra_state")
        and flatten(path, value, is_tensor)[0]
    ]


def _array(torch: Any, name: str, tensor: Any) -> NumpyArray:
    tensor, kind = tensor.detach(), str(tensor.dtype).removeprefix("torch.")
    plain = tensor.layout is torch.strided and not (tensor.is_quantized or tensor.is_nested)
    if not plain or tensor.device.type != "cpu":
        raise ArgumentError(
            f"Tensor `{name}` must be an array of numbers, but is of layout {tensor.layout}, type "
            f"{tensor.dtype} and device {tensor.device}. Save its .to_dense() or .dequantize()."
        )
    if kind in _BITS:
        bits = tensor.view(getattr(torch, _BITS[kind])).numpy()
        return np.array(bits, order="C").view(getattr(ml_dtypes, kind))
    try:
        return np.array(tensor.resolve_conj().resolve_neg().numpy(), order="C")
    except TypeError as error:
        raise ArgumentError(
            f"Tensor `{name}` must be of a type that NumPy knows, but is of {tensor.dtype}. "
            "Save its .float()."
        ) from error
