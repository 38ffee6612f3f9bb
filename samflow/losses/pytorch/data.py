"""Examples for a PyTorch module: arrays in memory, on disk or behind an index, part by part."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from samflow._checks import ArgumentError
from samflow.losses.pytorch.autograd import first_line

_CHECKED_AT_ONCE = 4096
"""Examples that are looked at together: data on disk are not read as a whole."""


class Examples(NamedTuple):
    """Inputs and targets, of which parts are made into tensors of their own.

    Attributes:
        torch: the library.
        x: an array, or a tuple or a dictionary of arrays; whatever has a length and takes slices
            and arrays of indices.
        y: likewise.
        dtype: of the floating-point numbers.
        device: where the tensors belong.

    """

    torch: Any
    x: Any
    y: Any
    dtype: Any
    device: Any

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(next(_arrays("x", self.x))[1])

    def part(self, chosen: slice | np.ndarray) -> tuple[Any, Any]:
        """Return the examples at an index; what a module does to them is not seen outside."""
        return self._taken(self.x, chosen), self._taken(self.y, chosen)

    def _taken(self, tree: Any, chosen: slice | np.ndarray) -> Any:
        return _mapped(lambda array: self._tensor(array[self._index(array, chosen)]), tree)

    def _index(self, array: Any, chosen: slice | np.ndarray) -> Any:
        if self.torch.is_tensor(array) and not isinstance(chosen, slice):
            return self.torch.tensor(
                np.array(chosen), device=array.device
            )  # of a copy: it may be read-only
        return chosen

    def _tensor(self, part: Any) -> Any:
        if not self.torch.is_tensor(part):
            part = self.torch.from_numpy(_native(np.asarray(part)))
        dtype = self.dtype if part.is_floating_point() else None
        return part.detach().to(device=self.device, dtype=dtype, copy=True)

    def spans(self, at_once: int | None) -> Iterator[slice]:
        """Yield slices of all examples."""
        size = min(_CHECKED_AT_ONCE, at_once or _CHECKED_AT_ONCE)
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))

    def check(self, at_once: int | None) -> None:
        """Refuse examples that are not finite in the type that the module computes in."""
        for name, tree in (("x", self.x), ("y", self.y)):
            finite = [self._finite(self._taken(tree, span)) for span in self.spans(at_once)]
            bad = np.concatenate([~each for each in finite])
            if bad.any():
                raise ArgumentError(
                    f"Argument `{name}` must be finite, but {bad.sum()} of {bad.size} examples are "
                    f"not; the first is example {bad.argmax()}."
                )

    def _finite(self, tree: Any) -> np.ndarray:
        parts = [part for _, part in _arrays("", tree)]
        each = [self.torch.isfinite(part).reshape(len(part), -1).all(dim=1) for part in parts]
        return np.logical_and.reduce([good.cpu().numpy() for good in each])


def examples(torch: Any, x: Any, y: Any, dtype: Any, device: Any) -> Examples:
    """Check that inputs and targets are arrays of as many examples each, and hold them."""
    made = Examples(torch, _mapped(_array, x), _mapped(_array, y), dtype, device)
    lengths = {
        label: _length(label, array)
        for name, tree in (("x", made.x), ("y", made.y))
        for label, array in _arrays(name, tree)
    }
    if len({label[0] for label in lengths}) < 2:
        raise ArgumentError("Arguments `x` and `y` must hold arrays, but one is empty.")
    first = next(iter(lengths))
    for label, length in lengths.items():
        if length != lengths[first]:
            raise ArgumentError(
                f"Argument `{label}` must have one row per example of `{first}`, that is "
                f"{lengths[first]}, but has {length}."
            )
    try:
        made.part(slice(0, 1))
        made.part(np.zeros(1, dtype=int))
    except Exception as error:  # of whatever holds the data
        raise ArgumentError(
            "Arguments `x` and `y` must be numbers that can be selected by slices and by arrays of "
            f"indices, as in x[0:2] and x[[0, 5]], but that fails: {first_line(error)}. Stack the "
            "examples of a Dataset into tensors."
        ) from error
    return made


def sliced(tree: Any, chosen: slice) -> Any:
    """Return the examples of `chosen` in tensors that were taken."""
    return _mapped(lambda tensor: tensor[chosen], tree)


def shapes(tree: Any) -> str:
    """Return the shapes of one example's arrays, as messages show them."""
    return ", ".join(str(tuple(tensor.shape[1:])) for _, tensor in _arrays("", tree))


def _mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _mapped(function, each) for name, each in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_mapped(function, each) for each in tree)
    return function(tree)


def _arrays(name: str, tree: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, (Mapping, tuple)):
        yield name, tree
        return
    pairs = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    for key, each in pairs:
        yield from _arrays(f"{name}[{key!r}]", each)


def _array(value: Any) -> Any:
    """Return what can be sliced as it is, numbers of Python as NumPy has them."""
    if np.ma.is_masked(value):
        raise ArgumentError("Arguments `x` and `y` must be numbers, but some entries are masked.")
    by_index = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return value if by_index and not isinstance(value, (list, str)) else np.asarray(value)


def _length(name: str, array: Any) -> int:
    shape = tuple(getattr(array, "shape", (None,)))
    if shape == () or len(array) == 0:
        raise ArgumentError(
            f"Argument `{name}` must have shape (n, ...) with n ≥ 1, but has shape {shape}."
        )
    return len(array)


def _native(array: np.ndarray) -> np.ndarray:
    """Return a copy in the machine's order of bytes, which PyTorch may take over."""
    kind = array.dtype.kind
    if kind not in "biuf":
        try:  # bfloat16, which NumPy does not have itself; texts and objects are no numbers
            return array.astype(np.float32, casting="safe", order="C")
        except TypeError as error:
            raise ArgumentError(
                f"Arguments `x` and `y` must be real numbers, but one is of type {array.dtype}."
            ) from error
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def as_slice(order: np.ndarray) -> slice | np.ndarray:
    """Return indices in sequence as a slice, others as they are."""
    first = int(order[0])
    in_sequence = first >= 0 and (np.diff(order) == 1).all()
    return slice(first, first + len(order)) if in_sequence else order


def valid(indices: np.ndarray, n: int) -> np.ndarray:
    """Return indices as whole numbers from 0; a mask becomes the indices of what it marks."""
    chosen = np.flatnonzero(indices) if indices.dtype == bool and indices.shape == (n,) else indices
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
        raise ArgumentError(
            f"Argument `indices` must be whole numbers of shape (m,) with m ≥ 1, but is of shape "
            f"{indices.shape} and type {indices.dtype}."
        )
    if chosen.min() < -n or chosen.max() >= n:
        raise ArgumentError(
            f"Argument `indices` must be examples 0 to {n - 1}, but reaches from {chosen.min()} "
            f"to {chosen.max()}."
        )
    return chosen % n
