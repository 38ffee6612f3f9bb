"""Examples of a data loader, read once and held: batches of arrays, tuples or mappings of such."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from samflow import _checks
from samflow._checks import ArgumentError, excerpt
from samflow._memory import available, told

_TARGETS = ("labels", "label", "targets", "target", "y")
_PART = 0.4
"""The part of the memory that is free which examples may fill: joining them takes twice as much."""
_COMPARED = 3

Unpack = Callable[[Any], tuple[Any, Any]]
"""Takes a batch and returns inputs and targets."""


class Read(NamedTuple):
    """What one reading of a loader gave.

    Attributes:
        x: inputs of all examples: an array, or a tuple or a mapping of arrays.
        y: targets; None where a batch has none.
        target: under which name a mapping had the targets; "" for no mapping.
        sizes: of the batches.
        notes: what a person should know of the reading.

    """

    x: Any
    y: Any
    target: str
    sizes: tuple[int, ...]
    notes: tuple[str, ...]


def read(
    data: Any,
    *,
    unpack: Unpack | None = None,
    max_examples: int | None = None,
    max_bytes: int | None = None,
) -> Read:
    """Read a loader once, to its end, and hold what it gave.

    Every product of a Hessian is then of the same examples in the same order, whether the loader
    shuffles or draws at random.

    Args:
        data: an iterable of batches, as a DataLoader is; or a tuple of arrays (inputs, targets).
        unpack: takes a batch and returns (inputs, targets); None: of a mapping the targets are
            under "labels", "label", "targets", "target" or "y", of a tuple or a list they come
            last, and inputs are the rest.
        max_examples: after so many the reading ends; None for all.
        max_bytes: of memory that the examples may fill; None: 40 % of what is free.

    Raises:
        ArgumentError: for what gives no batches, batches that are no arrays of as many examples
            each, or differ in their shapes; and where the examples fill more memory, with how much
            all of them would take.

    """
    if isinstance(data, tuple) and all(hasattr(each, "shape") for each in data):
        x, y = _unpacked(data) if unpack is None else unpack(data)
        return Read(x, y, "", (_length(data),), ())
    if not isinstance(data, Iterable):
        raise ArgumentError(
            "Argument `dataloader` must be an iterable of batches, as torch.utils.data.DataLoader "
            f"is, or a tuple of arrays (x, y), but is a {type(data).__name__}. Put a Dataset into "
            "a DataLoader."
        )
    if max_examples is not None:
        max_examples = _checks.count("max_examples", max_examples)
    most = _PART * available() if max_bytes is None else _checks.count("max_bytes", max_bytes)
    held: list[tuple[Any, Any]] = []
    target = ""
    sizes: list[int] = []
    bytes_held, shortened = 0, False
    for batch in data:
        batch = _as_arrays(batch)
        size = _length(batch)
        room = size if max_examples is None else max_examples - sum(sizes)
        if room <= 0:
            shortened = True
            break
        if room < size:
            batch, size, shortened = _first(batch, room), room, True
        held.append(_unpacked(batch) if unpack is None else unpack(batch))
        target = _target(batch) if unpack is None else ""
        sizes.append(size)
        bytes_held += _bytes(batch)
        if bytes_held > most:
            raise _too_large(data, sum(sizes), len(sizes), bytes_held, most)
    if not held:
        raise ArgumentError(
            "Argument `dataloader` must give batches, but gives none. A generator that was read "
            "before is empty: make a new one."
        )
    x = _joined([x for x, _ in held])
    y = None if held[0][1] is None else _joined([y for _, y in held])
    return Read(x, y, target, tuple(sizes), _notes(data, sum(sizes), shortened))


def _notes(data: Any, count: int, shortened: bool) -> tuple[str, ...]:
    """Say what a loader of PyTorch does that a second reading would show."""
    notes = [f"The first {count} examples of the loader are held."] if shortened else []
    sampler, dataset = getattr(data, "sampler", None), getattr(data, "dataset", None)
    if sampler is not None and not type(sampler).__name__.startswith("Sequential"):
        notes.append(
            f"The loader draws its examples in a new order each time ({type(sampler).__name__}). "
            f"It was read once: every product is of the same {count} examples in the same batches."
        )
    whole = _size_of(sampler)
    if getattr(data, "drop_last", False) and whole is not None and not shortened and count < whole:
        notes.append(f"The loader leaves out {whole - count} of {whole} examples: drop_last.")
    if _draws(dataset):
        notes.append(
            "The data set gives other numbers for the same example each time, as augmentations do. "
            "One draw of each is held: the loss is of these."
        )
    return tuple(notes)


def _draws(dataset: Any) -> bool:
    """Whether a data set gives different arrays for one index."""
    count = _size_of(dataset)
    if count is None:
        return False
    try:
        pairs = [(_numbers(dataset[i]), _numbers(dataset[i])) for i in range(min(count, _COMPARED))]
    except Exception:  # of a data set without items by number, as those that are only iterated
        return False
    return any(
        not np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f")
        for one, other in pairs
        for a, b in zip(one, other, strict=False)
    )


def _numbers(tree: Any) -> list[np.ndarray]:
    return [array for array in map(np.asarray, _leaves(tree)) if array.dtype.kind in "biuf"]


def _size_of(held: Any) -> int | None:
    try:
        return len(held)
    except (TypeError, NotImplementedError):  # the second of data sets without an end
        return None


def _too_large(data: Any, count: int, batches: int, held: int, most: float) -> ArgumentError:
    total = _size_of(data)
    whole = "" if total is None else f", so that all take about {told(held * total / batches)}"
    return ArgumentError(
        f"Memory for the examples must be at most {told(most)}, but {count} of them take "
        f"{told(held)}{whole}. Give max_examples={max(1, int(count * most / held))}, or max_bytes, "
        "or give `torch_network` arrays on disk (numpy.memmap) with a `chunk_size`."
    )


def _as_arrays(batch: Any) -> Any:
    """Return a batch with lists of arrays as tuples; texts of a mapping are left out."""
    if isinstance(batch, Mapping):
        made = {str(name): _as_arrays(each) for name, each in batch.items() if not _texts(each)}
        return {name: each for name, each in made.items() if each is not None}
    if isinstance(batch, (tuple, list)):
        numbers = all(np.isscalar(each) for each in batch) and len(batch) > 0
        return np.asarray(batch) if numbers else tuple(map(_as_arrays, batch))
    return batch


def _texts(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, (list, tuple)) and any(isinstance(each, str) for each in value)
    )


def _target(batch: Any) -> str:
    """Return the name of the targets in a mapping; "" where there are none, and for no mapping."""
    found = [name for name in _TARGETS if isinstance(batch, Mapping) and name in batch]
    if len(found) > 1:
        raise ArgumentError(
            f"Argument `dataloader` must give one entry of targets, but gives {found}. Pass "
            f"unpack=lambda batch: ({{...}}, batch[{found[0]!r}])."
        )
    return found[0] if found else ""


def _unpacked(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, Mapping):
        target = _target(batch)
        return {name: each for name, each in batch.items() if name != target}, batch.get(target)
    if isinstance(batch, tuple) and len(batch) > 1:
        inputs = batch[:-1]
        return inputs[0] if len(inputs) == 1 else inputs, batch[-1]
    return batch[0] if isinstance(batch, tuple) and batch else batch, None


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, Mapping):
        for each in tree.values():
            yield from _leaves(each)
    elif isinstance(tree, (tuple, list)):
        for each in tree:
            yield from _leaves(each)
    else:
        yield tree


def _length(batch: Any) -> int:
    shapes = [tuple(getattr(each, "shape", ())) for each in _leaves(batch)]
    lengths = {shape[0] if shape else None for shape in shapes}
    if len(lengths) != 1 or None in lengths or lengths == {0}:
        shown = ", ".join(map(str, shapes)) or excerpt(batch)
        raise ArgumentError(
            "Argument `dataloader` must give batches of arrays with one row per example each, but "
            f"one batch has arrays of shapes {shown}. Pass `unpack`."
        )
    return int(lengths.pop() or 0)


def _bytes(batch: Any) -> int:
    return sum(int(each.nbytes) for each in _leaves(batch))


def _first(tree: Any, count: int) -> Any:
    return _mapped(lambda array: array[:count], tree)


def _mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _mapped(function, each) for name, each in tree.items()}
    if isinstance(tree, (tuple, list)):
        return tuple(_mapped(function, each) for each in tree)
    return function(tree)


def _joined(trees: list[Any]) -> Any:
    first = trees[0]
    if isinstance(first, Mapping):
        return {name: _joined([tree[name] for tree in trees]) for name in first}
    if isinstance(first, (tuple, list)):
        return tuple(_joined(list(parts)) for parts in zip(*trees, strict=True))
    shapes = {tuple(tree.shape[1:]) for tree in trees}
    if len(shapes) > 1:
        raise ArgumentError(
            "Argument `dataloader` must give examples of one shape, but batches have examples of "
            f"shapes {', '.join(map(str, sorted(shapes)))}. Pad them to one length, as a tokenizer "
            'does with padding="max_length", or use batches of one shape.'
        )
    if hasattr(first, "new_empty"):  # a tensor of PyTorch
        joined = first.new_empty((sum(map(len, trees)), *first.shape[1:]))
        start = 0
        for tree in trees:
            joined[start : start + len(tree)] = tree
            start += len(tree)
        return joined
    return np.concatenate([np.asarray(tree) for tree in trees])


def accepted(forward: Callable[..., Any], x: Any) -> tuple[Any, tuple[str, ...]]:
    """Return inputs as arguments of a function, and the names of those that it does not take.

    Of a mapping the entries are taken that the function has arguments for; a single entry that it
    has none for is its first argument.

    Raises:
        ArgumentError: where there are several and it takes none of them.

    """
    if not isinstance(x, Mapping):
        return x, ()
    known = inspect.signature(forward).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known):
        return x, ()
    names = {each.name for each in known}
    taken = {name: each for name, each in x.items() if name in names}
    left = tuple(name for name in x if name not in names)
    if taken:
        return taken, left
    if len(x) == 1:
        return next(iter(x.values())), ()
    raise ArgumentError(
        f"Argument `dataloader` must give what the model takes, {', '.join(sorted(names))}, but "
        f"gives {', '.join(x)}. Pass `unpack`, such as unpack=lambda b: (b['image'], b['label'])."
    )
