"""Windows of an orbit in the linear regime: where the predicted rate hardly changes."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from samflow.valleys.phases import drift
from samflow.valleys.rates import MIN_POINTS, NO_RATE, Rate, fit_rate
from samflow.valleys.settling import final_rate

_STEADY = 0.002
"""A window along which the predicted rate changes by at most this part is not cut."""

Along: TypeAlias = Callable[[Rate], tuple[float, ...]]
"""Gives the predicted rate at the first step of a window, in its middle and at its last."""

Fitted: TypeAlias = tuple[Rate, tuple[float, ...]]
"""A rate, and the predicted rate along its window."""


def linear_escape(moved: np.ndarray, predicted: float, along: Along) -> Fitted:
    """Fit the growth of `moved`, from which the end is cut off while the rate changes there."""

    def fit(start: int, stop: int) -> Rate:
        return fit_rate(moved[:stop], growing=True)

    def shorter(rate: Rate) -> tuple[int, int]:
        return 0, rate.stop + 1 - _quarter(rate)

    return _cut(fit, shorter, (0, len(moved)), predicted, along)


def linear_convergence(
    settling: np.ndarray,
    top: int,
    settled: int,
    modes: np.ndarray,
    predicted: float,
    along: Along,
) -> Fitted:
    """Fit the decay after step `top`, from which the beginning is cut off likewise."""

    def fit(start: int, stop: int) -> Rate:
        return final_rate(settling, start, stop, modes)

    def shorter(rate: Rate) -> tuple[int, int]:
        return rate.start + _quarter(rate), settled

    return _cut(fit, shorter, (top, settled), predicted, along)


def _cut(
    fit: Callable[[int, int], Rate],
    shorter: Callable[[Rate], tuple[int, int]],
    window: tuple[int, int],
    predicted: float,
    along: Along,
) -> Fitted:
    """Cut a window until the predicted rate is steady; return the steadiest that has a rate."""
    best, least = (NO_RATE, ()), math.inf
    while True:
        rate = fit(*window)
        if not rate.found:
            return best
        values = along(rate)
        change = drift(predicted, values)
        if change < least or not best[0].found:
            best, least = (rate, values), change
        if change <= _STEADY * abs(predicted) or rate.stop - rate.start < MIN_POINTS:
            return best
        window = shorter(rate)


def _quarter(rate: Rate) -> int:
    return max(1, (rate.stop - rate.start) // 4)
