"""Ranges of hyperparameters: pairs (low, high) of numbers, checked, cut and shown."""

from typing import Any

import numpy as np

from samflow import _checks
from samflow._types import Box
from samflow.proofs.balls import Span

_NARROW = 2.0**-24
"""Parts of the ranges narrower than this share of them are not cut again."""


def checked_range(name: str, value: Any, check: Any) -> Span:
    """Return a number or a pair (low, high) as a pair; each end passes `check`."""
    try:
        array = _checks.real_numbers(value)
    except TypeError as error:
        raise _checks.ArgumentError(
            f"Argument `{name}` must be a number or a pair (low, high), but is "
            f"{_checks.excerpt(value)}."
        ) from error
    ends = tuple(np.ravel(array).tolist()) * (1 if array.ndim else 2)
    for end in ends:
        check(name, end)
    if len(ends) != 2 or not float(ends[0]) <= float(ends[1]):
        raise _checks.ArgumentError(
            f"Argument `{name}` must be a number or a pair (low, high) with low <= high, "
            f"but is {_checks.excerpt(value)}."
        )
    return float(ends[0]), float(ends[1])


def halves(part: Box, whole: Box) -> list[Box]:
    """Cut the range that is widest as a share of the whole one; nothing where all are narrow."""
    shares = [
        (high - low) / (end - start) if end > start else 0.0
        for (low, high), (start, end) in zip(part, whole, strict=True)
    ]
    share = max(shares)
    if share < _NARROW:
        return []
    i = shares.index(share)
    low, high = part[i]
    middle = low + 0.5 * (high - low)
    before, after = part[:i], part[i + 1 :]
    return [(*before, (low, middle), *after), (*before, (middle, high), *after)]


def shown(ends: Span) -> str:
    """Return a range as text; one number in braces."""
    low, high = ends
    return f"[{low:g}, {high:g}]" if low < high else f"{{{low:g}}}"
