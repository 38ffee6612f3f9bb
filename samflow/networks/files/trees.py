"""Nested tensors as dotted names, and what the readers of tensor files have in common."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from samflow._checks import ArgumentError, excerpt, printable
from samflow._types import NumpyArray

_DEEPEST = 64
_MOST_NAMES = 4_000_000
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
LISTED = 6
"""Names that a message has before it says how many more there are."""


class Contents(NamedTuple):
    """What a reader finds in a file: tensors by name, what was opened, what is no tensor."""

    tensors: dict[str, NumpyArray]
    unwrapped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@contextmanager
def reading(path: Path, form: str) -> Iterator[None]:
    """Turn whatever a library raises on damaged bytes into one `ArgumentError`.

    Decoders raise of many types, their own and Python's, and document few of them.
    """
    try:
        yield
    except (ArgumentError, ImportError, MemoryError):
        raise
    except Exception as error:
        # TensorStore's reasons end in a page of settings.
        reason = str(error).partition(" [tensorstore_spec")[0].strip().partition("\n")[0]
        raise damaged(path, form, reason or type(error).__name__) from error


def damaged(path: Path, form: str, reason: str) -> ArgumentError:
    """Return the error for a file that begins as `form` does, and cannot be read as it."""
    return ArgumentError(
        f"Argument `path` must be a complete {form}, but {str(path)!r} is truncated, damaged or of "
        f"another kind: {reason}"
    )


def flatten(
    path: Path, tree: Any, is_tensor: Callable[[Any], bool]
) -> tuple[dict[str, Any], list[str]]:
    """Return the tensors in nested dictionaries and lists by dotted name, and the other entries.

    The order is the tree's. A branch without any tensor counts as one entry, by its own name. What
    lies in several places has a name for each.
    """
    found: dict[str, Any] = {}
    besides: list[str] = []
    survey = _Survey(path, is_tensor)
    if (named := survey.of(tree, ()).names) > _MOST_NAMES:
        raise ArgumentError(
            f"Argument `path` must have at most {_MOST_NAMES} names, but {str(path)!r} has "
            f"{named}, because some of its dictionaries or lists are contained in several places."
        )

    def walk(branch: Any, names: tuple[str, ...]) -> None:
        name = ".".join(names)
        if is_tensor(branch):
            named_once(path, [*found, name] if name in found else ())
            found[name] = branch
        elif not names or survey.of(branch, names).tensors:
            for child_name, child in _children(branch):
                walk(child, (*names, child_name))
        elif names:
            besides.append(name)

    walk(tree, ())
    return found, besides


class _Seen(NamedTuple):
    """What is known of a branch: whether tensors are in it, names that it makes, its height."""

    tensors: bool
    names: int
    height: int


class _Survey:
    """Looks at each object of a tree once, in however many places it lies."""

    def __init__(self, path: Path, is_tensor: Callable[[Any], bool]) -> None:
        self.path, self.is_tensor = path, is_tensor
        self.seen: dict[int, _Seen] = {}

    def of(self, branch: Any, names: tuple[str, ...]) -> _Seen:
        if not isinstance(branch, (Mapping, list, tuple)):
            return _Seen(self.is_tensor(branch), 1, 0)
        known = self.seen.get(id(branch))
        if len(names) + (known.height if known else 0) > _DEEPEST:
            raise ArgumentError(
                f"Argument `path` must nest at most {_DEEPEST} deep, but {str(self.path)!r} nests "
                f"deeper at `{'.'.join(names[:4])}…`."
            )
        if known is None:
            parts = [self.of(child, (*names, name)) for name, child in _children(branch)]
            tensors = any(part.tensors for part in parts)
            height = 1 + max((part.height for part in parts), default=0)
            names_made = sum(part.names for part in parts) if tensors else 1
            known = self.seen[id(branch)] = _Seen(tensors, names_made, height)
        return known


def named_once(path: Path, names: Sequence[str]) -> Sequence[str]:
    """Return `names`, if none is there twice, as "a.b" and "b" in "a" would be."""
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise ArgumentError(
            f"Argument `path` must name every tensor once, but {str(path)!r} has two called "
            f"`{twice}`."
        )
    return names


def _children(branch: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(branch, Mapping):
        yield from ((_word(name), child) for name, child in branch.items())
    elif isinstance(branch, (list, tuple)):
        yield from ((str(index), child) for index, child in enumerate(branch))


def is_numeric(dtype: np.dtype) -> bool:
    """Say whether a type is of numbers or booleans: not of texts, dates, durations or records."""
    short = dtype.kind == "V" and jnp.issubdtype(dtype, jnp.number)  # those of ml_dtypes
    return dtype.kind in "biufc" or bool(short)


def _word(name: Any) -> str:
    """Return a key as a part of a name: keys may be of any type, and numbers of any size."""
    return name if isinstance(name, str) else excerpt(name)


def under(path: Path, names: Iterable[str], group: str | None) -> dict[str, str]:
    """Return the names below `group`, each without it, with the full name it stands for."""
    names = list(names)
    if group is None:
        return {name: name for name in names}
    chosen = {name[len(group) + 1 :]: name for name in names if name.startswith(f"{group}.")}
    if not chosen:
        raise ArgumentError(
            f"Argument `group` must name a group of tensors in {str(path)!r}, but is {group!r}. "
            f"{_groups(names)}"
        )
    return chosen


def below(besides: Iterable[str], group: str | None) -> tuple[str, ...]:
    """Return those of the entries that are no tensors which lie below `group`."""
    return tuple(name for name in besides if group is None or name.startswith(f"{group}."))


def _groups(names: list[str]) -> str:
    groups: dict[str, None] = {}
    for name in names:
        groups |= dict.fromkeys(accumulate(name.split(".")[:-1], "{}.{}".format))
    if not groups:
        return "Its tensors are in no group: leave `group` out."
    return f"Known: {listed(sorted(groups, key=lambda group: (group.count('.'), group)))}."


def listed(names: Iterable[Any], form: str = "`{}`") -> str:
    """Return names for a message, each in a form, the first few of them where there are many."""
    names = [form.format(name) for name in names]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return printable(", ".join(names[:LISTED]) + more)


def without_prefixes(names: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return `names` without the prefixes of PyTorch's wrappers, and which these were.

    A prefix goes only where every name has it: otherwise it may be a part of the network.
    """
    names, removed = dict(names), []
    while names:
        prefix = next((p for p in _PREFIXES if all(n.startswith(p) for n in names)), None)
        if prefix is None:
            break
        names = {name.removeprefix(prefix): full for name, full in names.items()}
        removed.append(prefix)
    return names, tuple(removed)


def prefixes_of(unwrapped: Sequence[str], names: Sequence[str], known: Iterable[str]) -> int:
    """Return how many of the prefixes that were taken off are a part of the network's names.

    They are the last of `unwrapped`. As few as give the most of the names that are `known`.
    """
    known, most = set(known), 0
    while most < len(unwrapped) and unwrapped[-1 - most] in _PREFIXES:
        most += 1
    hits = lambda k: sum("".join((*_last(unwrapped, k), n)) in known for n in names)  # noqa: E731
    return max(range(most + 1), key=lambda k: (hits(k), -k))


def _last(names: Sequence[str], count: int) -> Sequence[str]:
    return names[len(names) - count :]
