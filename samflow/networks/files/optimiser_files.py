"""The state of an optimiser in a file of PyTorch; no code of the file is run."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samflow._checks import ArgumentError, excerpt
from samflow.networks.files.budget import Budget, changed, size_of, states
from samflow.networks.files.tensors import existing, recognised, unreadable
from samflow.networks.files.torch_files import load_inert
from samflow.networks.files.trees import listed

_PARTS = {"state", "param_groups"}


def read_optimiser(
    path: str | os.PathLike[str], *, entry: str | None = None, max_bytes: int | None = None
) -> Mapping[str, Any]:
    """Return the `optimizer.state_dict()` in a file of `torch.save`.

    The file is this dictionary, or has it as an entry, as `optimizer_state_dict`, or in a list, as
    the `optimizer_states` of Lightning. It is read as weights are: pickled objects are refused, or
    not made.

    Args:
        path: the file.
        entry: where the state is, as "optimizer_states.0"; None: the only one that is there.
        max_bytes: of memory that the file's tensors may fill, as for `read_tensors`.

    Raises:
        ArgumentError: for another kind of file, one that cannot be read, and one without such a
            state, or with several and no `entry`.
        ImportError: where PyTorch is not installed.

    """
    path = existing(path)
    try:
        form = "folder" if path.is_dir() else recognised(path)
        if form != "torch":
            raise ArgumentError(
                "Argument `path` must be a file of PyTorch with the state of an optimiser, but "
                f"{str(path)!r} is a file of another kind ({form}). Write one by "
                "torch.save(optimizer.state_dict(), 'optimizer.pt')."
            )
        before = states([path])
        tree = load_inert(path, Budget(path, size_of(before), max_bytes))
        if states([path]) != before:
            raise changed(path)
    except OSError as error:
        raise unreadable(path, error) from error
    found = dict(_within(tree))
    if entry is not None and entry in found:
        return found[entry]
    if entry is None and len(found) == 1:
        return next(iter(found.values()))
    raise _not_one(path, tree, list(found), entry)


def _within(tree: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the states of optimisers in a file, by the way to each; "" for the file itself."""
    if _is_state(tree):
        yield "", tree
        return
    for name, each in tree.items() if isinstance(tree, Mapping) else ():
        if _is_state(each):
            yield str(name), each
        elif isinstance(each, (list, tuple)):
            yield from ((f"{name}.{i}", one) for i, one in enumerate(each) if _is_state(one))


def _is_state(tree: Any) -> bool:
    return isinstance(tree, Mapping) and set(tree) >= _PARTS


def _not_one(path: Path, tree: Any, found: list[str], entry: str | None) -> ArgumentError:
    if not found or found == [""]:
        has = listed(tree) if isinstance(tree, Mapping) else f"a {type(tree).__name__}"
        problem = (
            f"Argument `path` must hold the state of an optimiser, but {str(path)!r} has only {has}"
            if not found
            else f"Argument `entry` must be left out, but is {excerpt(entry)}: {str(path)!r} is "
            "the state of one optimiser"
        )
        return ArgumentError(
            f"{problem}. A state has `state` and `param_groups`, as optimizer.state_dict() returns."
        )
    what = "is left out" if entry is None else f"is {excerpt(entry)}"
    return ArgumentError(
        f"Argument `entry` must be one of {listed(found)}, the states of optimisers in "
        f"{str(path)!r}, but {what}."
    )
