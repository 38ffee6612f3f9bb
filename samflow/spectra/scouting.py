"""A direction outside of a tracked space that is filtered by a product in each row."""

from typing import NamedTuple

import numpy as np

from samflow._types import NumpyArray
from samflow.spectra.tracking import Tracked

_INSIDE = 0.4
"""Of the smallest tracked value: eigenvalues below this part of it are not amplified."""


class Scout(NamedTuple):
    """Two vectors of a recurrence of Chebyshev polynomials of A, which changes slowly.

    Of a random vector, T_k(A) keeps what belongs to eigenvalues within an interval, and amplifies
    what is outside, the more the farther: by cosh(k arcosh x), x the distance from the middle over
    half the length. With a product in each row, eight rows see nearly as far as eight steps of
    Lanczos in one.

    Attributes:
        now: T_k(A)v, a unit vector outside of the tracked space, shape (dim,).
        before: T_{k−1}(A)v in the same units; zero for k = 0.
        lowest: the lowest Ritz value seen: the interval begins there or lower.

    Source: Saad, Numerical Methods for Large Eigenvalue Problems (2011), 4.4 and 7.4.

    """

    now: NumpyArray
    before: NumpyArray
    lowest: float


def sent(direction: NumpyArray, block: NumpyArray, lowest: float) -> Scout:
    """Return a scout that begins with a direction, outside of the rows of `block`."""
    now = _outside(direction, block)
    return Scout(now / np.linalg.norm(now), np.zeros_like(now), lowest)


def advanced(scout: Scout, tracked: Tracked) -> Scout | None:
    """Return the scout after the products of a row, each of them one degree.

    Args:
        scout: the scout, from whose `now` the row took its `looks`.
        tracked: what the row found: values beyond the smallest of its pairs are looked for.

    Returns:
        The scout; None where nothing is left of it outside of the block, or a number is not finite.

    """
    floor = tracked.next if np.isfinite(tracked.next) else float(tracked.found.values[-1])
    lowest = min(scout.lowest, tracked.lowest)
    top = _INSIDE * floor if floor > 0 else floor
    low = min(lowest, -top if floor > 0 else 2 * floor)
    middle, half = (low + top) / 2, (top - low) / 2
    directions, images = tracked.looks
    now, before = scout.now, scout.before
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in directions:  # T_k v is in the span of as many of them as there were products
            image = np.einsum("i,id->d", np.einsum("id,d->i", directions, now), images)
            step = (image - middle * now) / half
            now, before = 2 * step - before if before.any() else step, now
            now = _outside(now, tracked.block)
        before, size = _outside(before, tracked.block), float(np.linalg.norm(now))
    if not 0 < size < np.inf:
        return None
    return Scout(now / size, before / size, lowest)


def _outside(vector: NumpyArray, block: NumpyArray) -> NumpyArray:
    return vector - np.einsum("i,id->d", np.einsum("id,d->i", block, vector), block)
