"""Errors when memory runs out; they say how many examples to take at once."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from samflow import _checks
from samflow._memory import told
from samflow._types import NumpyArray

_WORDS = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory", "bad_alloc", "can't allocate")
_ASKED = re.compile(
    r"(?:tried to allocate|allocating|allocate) ([\d.,]+)\s*(bytes|[KMG]i?B)", re.IGNORECASE
)
"""How PyTorch and XLA say how much they asked for."""
_FRACTION = 4
"""The error suggests this part of the examples at once."""


@contextlib.contextmanager
def explained_allocation(loss: Any) -> Iterator[None]:
    """Turn an out-of-memory error into one that says how many examples to take at once.

    Raises:
        ArgumentError: where memory runs out inside; any other error is raised as it is.

    """
    try:
        yield
    except (MemoryError, RuntimeError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(w in str(error) for w in _WORDS):
            raise
        at_once = getattr(loss, "chunk_size", None) or getattr(loss, "num_examples", 1)
        raise allocation_error(f"{loss.name}, {loss.dim} weights,", at_once, str(error)) from error


def allocation_error(
    what: str, at_once: int, said: str = "", *, whole: bool = False
) -> _checks.ArgumentError:
    """Return the error for `what` when it does not fit with so many examples at once.

    Args:
        what: was computed.
        at_once: examples.
        said: by the library that allocates, which often says how much it asked for.
        whole: whether the examples cannot be taken apart.

    """
    size, plural = max(1, at_once // _FRACTION), "s" if at_once > 1 else ""
    advice = (
        f"Use `loss.in_chunks({size})`, `chunk_size={size}`, or --chunk-size {size} in a command"
        if at_once > 1
        else "Even a single example is too much: use a smaller model or a machine with more"
    )
    if whole:
        advice = (
            "It is a loss of whole batches: use smaller ones, which is another loss, or a machine "
            "with more"
        )
    asked = _ASKED.search(said)
    much = f" where {_amount(*asked.groups())} more were asked for," if asked else ""
    return _checks.ArgumentError(
        f"Memory ran out on {what}{much} with {at_once} example{plural} at once. {advice}."
    )


def _amount(number: str, unit: str) -> str:
    powers = {"b": 0, "k": 10, "m": 20, "g": 30}
    return told(float(number.replace(",", "")) * 2 ** powers[unit[0].lower()])


def vectors(count: int, dim: int) -> NumpyArray:
    """Allocate `count` vectors of length `dim`, as rows; the system assigns pages on first use.

    Raises:
        ArgumentError: where there is not enough memory.

    """
    try:
        return np.empty((count, dim))
    except MemoryError as error:
        each = 8 * dim / 2**30
        raise _checks.ArgumentError(
            f"Out of memory: {count} vectors of {dim} weights take {count * each:.3g} GiB. Allow "
            f"fewer products or steps; each keeps one vector of {each:.2g} GiB."
        ) from error
