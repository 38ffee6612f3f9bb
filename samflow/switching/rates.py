"""Rates of exponential growth and decay, from the stretch of data that is exponential."""

import math
from typing import Annotated, NamedTuple

import numpy as np
from scipy import stats

from samflow._axes import axes

SPREADS = (0.001, 0.01, 0.05)
"""Two local slopes of one window differ by at most this part of the window's median slope; the
first spread is taken under which the window climbs by `_ENOUGH`, else the last."""
_ENOUGH = math.log(100.0)
_BLOCKS = 5
MIN_POINTS = 2 * _BLOCKS + 1


class Rate(NamedTuple):
    """A rate a step, d log(value)/dk.

    Attributes:
        slope: least-squares slope in the window; NaN where no window was found.
        low: lower end of the 95 % interval.
        high: upper end of it.
        start: first step of the window.
        stop: last step of the window.

    """

    slope: Annotated[float, axes(units="1/step")]
    low: Annotated[float, axes(units="1/step")]
    high: Annotated[float, axes(units="1/step")]
    start: Annotated[int, axes(units="step")]
    stop: Annotated[int, axes(units="step")]

    @property
    def found(self) -> bool:
        """Whether the data have a stretch that is exponential."""
        return math.isfinite(self.slope)


NO_RATE = Rate(math.nan, math.nan, math.nan, 0, 0)


def fit_rate(values: np.ndarray, *, growing: bool, floor: float = 0.0) -> Rate:
    """Fit the rate of the longest exponential stretch of a positive series.

    The window is chosen by the data alone: the run of consecutive steps that covers the most
    decades while all its local slopes log(v[k+1]/v[k]) have the asked sign and lie within a
    spread of each other, the tightest of `SPREADS` that leaves two decades. The slope is the
    least-squares one; its interval is Student's, over the slopes of five equal blocks of the
    window, so that a slow bend of the data widens it.

    Args:
        values: the series, one entry a step; entries that are not positive and finite end a run.
        growing: whether growth or decay is looked for.
        floor: entries at most this large are rounding and end a run.

    Returns:
        A `Rate`, all NaN where no run has `MIN_POINTS` entries.

    """
    values = np.asarray(values, dtype=float)
    usable = np.isfinite(values) & (values > max(floor, 0.0))
    logs = np.log(np.where(usable, values, 1.0))
    slopes = np.where(usable[1:] & usable[:-1], np.diff(logs), np.nan)
    slopes = slopes if growing else -slopes
    first, last = 0, -1
    for spread in SPREADS:
        first, last = _longest_run(slopes, spread)
        if last > first and slopes[first:last].sum() >= _ENOUGH:
            break
    if last < first:
        return NO_RATE
    steps = np.arange(first, last + 1)
    window = logs[first : last + 1]
    slope = float(np.polyfit(steps, window, 1)[0])
    edges = np.linspace(first, last, _BLOCKS + 1).round().astype(int)
    blocks = np.diff(logs[edges]) / np.diff(edges)
    error = float(blocks.std(ddof=1)) / math.sqrt(_BLOCKS)
    half = float(stats.t.ppf(0.975, _BLOCKS - 1)) * error
    return Rate(slope, slope - half, slope + half, int(first), int(last))


def _longest_run(slopes: np.ndarray, spread: float) -> tuple[int, int]:
    """Return the ends of the run of positive, nearly equal slopes that climbs the most.

    Of runs of `MIN_POINTS` entries: before it overflows, an orbit climbs the most in one step.
    """
    best, ends = 0.0, (0, -1)
    start = 0
    for stop in range(len(slopes)):
        if not slopes[stop] > 0:  # NaN, too, ends a run
            start = stop + 1
            continue
        while np.ptp(slopes[start : stop + 1]) > spread * np.median(slopes[start : stop + 1]):
            start += 1
        climbed = float(slopes[start : stop + 1].sum())
        if climbed > best and stop + 2 - start >= MIN_POINTS:
            best, ends = climbed, (start, stop + 1)
    return ends
