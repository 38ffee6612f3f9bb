"""Windows of an orbit in the linear regime: where the predicted rate hardly changes.

Which windows there are is decided by the data alone; which of them is taken, by the predicted rate
along each.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from samflow._types import NumpyArray
from samflow.switching.convergence import final_rate
from samflow.switching.rates import MIN_POINTS, NO_RATE, Rate, fit_rate

_STEADY = 0.002
"""A window along which the predicted rate changes by at most this part is not cut."""
_SMALL = 0.03
"""Up to this part of its peak the motion is small."""


class Fitted(NamedTuple):
    """A rate with the predicted rate at its window's first step, in its middle and at its last."""

    rate: Rate = NO_RATE
    along: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """The mean of the predicted rate over the window, by Simpson's rule; NaN without one."""
        if not self.along:
            return math.nan
        first, middle, last = self.along
        return (first + 4 * middle + last) / 6

    def drift(self, predicted: float) -> float:
        """Return by how much the predicted rate changes; infinite if that is unknown."""
        gaps = [abs(value - predicted) for value in self.along]
        return max(gaps) if gaps and all(map(math.isfinite, gaps)) else math.inf


def growth_windows(moved: NumpyArray) -> list[Rate]:
    """Return fits of the growth of `moved`, each without the last quarter of the one before."""
    rates = [fit_rate(moved, growing=True)]
    while _can_be_cut(rates[-1]):
        stop = rates[-1].stop + 1 - _quarter(rates[-1])
        rates.append(fit_rate(moved[:stop], growing=True))
    return [rate for rate in rates if rate.found]


def decay_windows(converging: NumpyArray, top: int, settled: int, modes: NumpyArray) -> list[Rate]:
    """Return fits of the decay, each without the first quarter of the one before.

    First from the step `top` on, then from where the motion is small: the run of the most decades
    may be one far from the end.
    """
    moved = np.abs(converging[top:])
    small = top + int(np.argmax(moved <= _SMALL * moved.max(initial=0.0))) if moved.size else top
    found = []
    for start in (top, small):
        rates = [final_rate(converging, start, settled, modes)]
        while _can_be_cut(rates[-1]):
            later = rates[-1].start + _quarter(rates[-1])
            rates.append(final_rate(converging, later, settled, modes))
        found += [rate for rate in rates if rate.found]
    return found


def places_of(rate: Rate) -> tuple[int, int, int]:
    """Return the first step of a window, the one in its middle and the last."""
    return rate.start, (rate.start + rate.stop) // 2, rate.stop


def steadiest(
    windows: Sequence[Rate], predicted: float, growth_at: Callable[[int], float]
) -> Fitted:
    """Return the first window along which the predicted rate is steady, or else the steadiest.

    `growth_at` gives the predicted rate at a step.
    """
    best = Fitted()
    for rate in windows:
        fitted = Fitted(rate, tuple(growth_at(step) for step in places_of(rate)))
        change = fitted.drift(predicted)
        if change < best.drift(predicted) or not best.rate.found:
            best = fitted
        if change <= _STEADY * abs(predicted):
            break
    return best


def _can_be_cut(rate: Rate) -> bool:
    return rate.found and rate.stop - rate.start >= MIN_POINTS


def _quarter(rate: Rate) -> int:
    return max(1, (rate.stop - rate.start) // 4)
