"""What to say where memory does not suffice."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

from samflow import _checks

_WORDS = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory", "bad_alloc", "can't allocate")
_FRACTION = 4
"""Next time this part of the examples at once."""


@contextlib.contextmanager
def within_memory(loss: Any) -> Iterator[None]:
    """Turn an error for want of memory into one that says how many examples to take at once.

    Raises:
        ArgumentError: where memory runs out inside; any other error is raised as it is.

    """
    try:
        yield
    except (MemoryError, RuntimeError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(w in str(error) for w in _WORDS):
            raise
        at_once = getattr(loss, "chunk_size", None) or getattr(loss, "num_examples", 1)
        advice = (
            f"Use `loss.in_chunks({max(1, at_once // _FRACTION)})`, or --chunk-size in a command"
            if at_once > 1
            else "One example is too much already: take a smaller model or a machine with more"
        )
        raise _checks.ArgumentError(
            f"Memory ran out on {loss.name}, {loss.dim} weights, with {at_once} examples at once. "
            f"{advice}."
        ) from error
