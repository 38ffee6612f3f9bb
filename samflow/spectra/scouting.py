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


def advanced(scout: Scout, image: NumpyArray, tracked: Tracked) -> Scout | None:
    """Return the scout a product later.

    Args:
        scout: the scout.
        image: of its `now`.
        tracked: the pairs beyond the smallest of which others are looked for.

    Returns:
        The scout; None where nothing is left of it outside of the block, or a number is not finite.

    """
    floor = tracked.next if np.isfinite(tracked.next) else float(tracked.found.values[-1])
    lowest = min(scout.lowest, tracked.lowest)
    top = _INSIDE * floor if floor > 0 else floor
    low = min(lowest, -top if floor > 0 else 2 * floor)
    middle, half = (low + top) / 2, (top - low) / 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        step = (image - middle * scout.now) / half
        now = _outside(2 * step - scout.before if scout.before.any() else step, tracked.block)
        before, size = _outside(scout.now, tracked.block), float(np.linalg.norm(now))
    if not 0 < size < np.inf:
        return None
    return Scout(now / size, before / size, lowest)


def _outside(vector: NumpyArray, block: NumpyArray) -> NumpyArray:
    return vector - np.einsum("i,id->d", np.einsum("id,d->i", block, vector), block)
