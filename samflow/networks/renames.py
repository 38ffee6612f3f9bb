"""Names in a file and in a network: renaming, and what to rename where they do not fit."""

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from samflow import _checks
from samflow._types import NumpyArray
from samflow.networks.files.trees import LISTED, listed

_COMPARED = 50
"""Missing names for which the most alike is looked for, one by one."""

Rename = Mapping[str, str] | Callable[[str], str]


class MismatchError(_checks.ArgumentError):
    """Names of a file's tensors are not those of the network.

    Attributes:
        problem: what is missing and what is there besides.
        rename: what would bring the file's names to the network's, empty where nothing is known.
        leave_out: what would then be left.

    """

    def __init__(
        self, problem: str, call: str, rename: Mapping[str, str], leave_out: Sequence[str]
    ) -> None:
        """Hold the remedy apart from the problem: the command line has another one."""
        what = "Renamed? Use" if rename else f"Not needed? Give leave_out={list(leave_out)}, as in"
        super().__init__(f"{problem}. {what} `{call}`." if call else f"{problem}.")
        self.problem, self.rename, self.leave_out = problem, dict(rename), tuple(leave_out)


def renamed(tensors: dict[str, NumpyArray], rename: Rename | None) -> dict[str, NumpyArray]:
    """Return tensors under their new names.

    Raises:
        ArgumentError: for keys that are neither names of the file nor beginnings of some, names
            that are none, and two tensors of one name.

    """
    if rename is None:
        return tensors
    if isinstance(rename, Mapping):
        unknown = [name for name in rename if not _applies(name, tensors)]
        if unknown:
            raise _checks.ArgumentError(
                f"Argument `rename` must have the file's names as keys, but has "
                f"{listed(unknown, '{}')}; or their beginnings with a dot, as 'model.'."
            )
        names = {name: _new(name, rename) for name in tensors}
    elif callable(rename):
        names = {name: rename(name) for name in tensors}
    else:
        raise _checks.ArgumentError(
            "Argument `rename` must be a mapping of names or a function of a name, but is "
            f"{type(rename).__name__}."
        )
    wrong = next((new for new in names.values() if not isinstance(new, str)), None)
    if wrong is not None:
        raise _checks.ArgumentError(f"Argument `rename` must give names, but gives {wrong!r}.")
    if len(set(names.values())) < len(names):
        raise _checks.ArgumentError("Argument `rename` must not give two tensors the same name.")
    return {names[name]: tensor for name, tensor in tensors.items()}


def _applies(key: Any, tensors: Mapping[str, Any]) -> bool:
    return key in tensors or (_is_prefix(key) and any(n.startswith(key) for n in tensors))


def _is_prefix(key: Any) -> bool:
    return isinstance(key, str) and (key == "" or key.endswith("."))


def _new(name: str, rename: Mapping[str, Any]) -> Any:
    """Return the new name of a tensor: by its whole name, or by its longest beginning."""
    if name in rename:
        return rename[name]
    keys = [key for key in rename if _is_prefix(key) and name.startswith(key)]
    longest = max(keys, key=len, default=None)
    new = None if longest is None else rename[longest]
    if longest is None:
        return name
    return f"{new}{name[len(longest) :]}" if isinstance(new, str) else new


def check_names(
    path: str | os.PathLike[str],
    tensors: Mapping[str, NumpyArray],
    shapes: Mapping[str, tuple[int, ...]],
    others: Iterable[str],
    group: str | None,
) -> None:
    """Refuse a file without the network's names; say how to call `load_checkpoint` instead.

    Args:
        path: of the file.
        tensors: those of the file, by their names, without `others`.
        shapes: of the network's weights.
        others: names that the network has besides, as those of buffers.
        group: where the tensors are in the file.

    Raises:
        MismatchError: where names are missing or besides.

    """
    missing = [name for name in shapes if name not in tensors]
    unknown = [name for name in tensors if name not in shapes]
    if not missing and not unknown:
        return
    text = f"Argument `path` must hold the tensors of the network, but {os.fspath(path)!r}"
    if missing:
        text += f" lacks {_with_shapes(missing, shapes)}"
    if unknown:
        text += " and" if missing else ""
        there = {name: tensor.shape for name, tensor in tensors.items()}
        text += f" also has {_with_shapes(unknown, there)}"
    rename = _suggested(missing, unknown, tensors, shapes)
    taken = {name for name in unknown if _new(name, rename) in {*shapes, *others}}
    left = _beginnings([name for name in unknown if name not in taken], [*taken, *shapes])
    if missing and not rename:
        left = []
    call = [repr(os.fspath(path)), "loss"]
    call += [f"group={group!r}"] if group is not None else []
    call += [f"rename={_shown(rename)}"] if rename else []
    call += [f"leave_out={left[:LISTED]}"] if left else []
    known = f"load_checkpoint({', '.join(call)})" if rename or left else ""
    raise MismatchError(text, known, rename, left)


def _with_shapes(names: list[str], shapes: Mapping[str, tuple[int, ...]]) -> str:
    return listed((f"{name} {shapes[name]}" for name in names), "{}")


def _shown(rename: Mapping[str, str]) -> str:
    pairs = [f"{old!r}: {new!r}" for old, new in rename.items()]
    return "{" + ", ".join(pairs[:LISTED]) + (", …" if len(pairs) > LISTED else "") + "}"


def _suggested(
    missing: list[str],
    unknown: list[str],
    tensors: Mapping[str, NumpyArray],
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, str]:
    """Return one change of beginnings that gives every name, or pairs of names that are alike."""
    alike: dict[tuple[int, ...], list[str]] = {}
    for name in unknown:
        alike.setdefault(tensors[name].shape, []).append(name)
    if len(missing) > 1:
        first = min(missing, key=lambda name: len(alike.get(shapes[name], [])))
        for old, new in filter(None, (_change(u, first) for u in alike.get(shapes[first], []))):
            moved = {new + u[len(old) :]: u for u in unknown if u.startswith(old)}
            if all(m in moved and tensors[moved[m]].shape == shapes[m] for m in missing):
                return {old: new}
    pairs: dict[str, str] = {}
    for name in missing[:_COMPARED]:
        free = [u for u in alike.get(shapes[name], []) if u not in pairs]
        near = difflib.get_close_matches(name, free, n=1, cutoff=0.3)
        pairs |= {near[0]: name} if near else {}
    return pairs


def _change(old: str, new: str) -> tuple[str, str] | None:
    """Return which beginning up to a dot would have to become which other one."""
    a, b = old.split("."), new.split(".")
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    if len(a) == len(old.split(".")):  # not even the last part is the same
        return None
    return "".join(f"{part}." for part in a), "".join(f"{part}." for part in b)


def _beginnings(names: list[str], others: list[str]) -> list[str]:
    """Return the names, those of a group that nothing else is in by the group's."""
    used = {name.split(".")[0] for name in others}
    return list(dict.fromkeys(n if n.split(".")[0] in used else n.split(".")[0] for n in names))
