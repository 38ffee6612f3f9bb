"""Statistics of samples: means with errors, Student's intervals, error probabilities."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

LEAST = 1e-12
"""Errors less probable than this are reported as this: so far out no mean is known to be normal."""
_FAR = 35.0


class Interval(NamedTuple):
    """A mean over seeds with Student's interval of 95 %; both are NaN if a value is."""

    mean: float
    half: float

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half

    def __str__(self) -> str:
        """Return the mean ± half the width."""
        return f"{self.mean:.2f} ± {self.half:.2f}"

    @property
    def points(self) -> str:
        """The same in hundredths."""
        return f"{100 * self.mean:.1f} ± {100 * self.half:.1f}"

    @property
    def sign(self) -> str:
        """Which sign of a difference the seeds decide: lower, higher, undecided, or not finite."""
        if not np.isfinite(self.half):
            return "not finite"
        if self.high < 0:
            return "lower"
        return "higher" if self.low > 0 else "undecided"

    @property
    def decided(self) -> str:
        """What to add to a number whose sign the seeds do not decide."""
        return "" if self.sign in ("lower", "higher") else " (sign undecided)"


def interval(values: np.ndarray) -> Interval:
    """Return the mean of `values`, one per seed and at least two, with its interval."""
    n = len(values)
    half = scipy.stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return Interval(float(values.mean()), float(half))


def missed(found: Interval, num_seeds: int) -> float:
    """Return how likely so many seeds drawn anew leave the sign open, or turn it.

    Values are taken as normal with the mean and the deviation found, so that the statistic has
    the noncentral t distribution. At least `LEAST`, and ½ where nothing is decided here.
    """
    if found.sign not in ("lower", "higher"):
        return 0.5
    quantile = float(scipy.stats.t.ppf(0.975, num_seeds - 1))
    shift = quantile * abs(found.mean) / found.half if found.half else math.inf
    if shift > _FAR:  # scipy's distribution is NaN there
        return LEAST
    return min(max(float(scipy.stats.nct.cdf(quantile, num_seeds - 1, shift)), LEAST), 0.5)


class Mean(NamedTuple):
    """A sample's mean and its standard error."""

    mean: float
    error: float

    @property
    def z(self) -> float:
        """The mean in standard errors; NaN without an error: equal values decide nothing."""
        return self.mean / self.error if self.error > 0 else math.nan


def mean_of(values: np.ndarray) -> Mean:
    """Return the mean of independent values, at least two, with its standard error."""
    return Mean(float(values.mean()), float(values.std(ddof=1) / math.sqrt(values.size)))


def mean_of_series(values: np.ndarray, num_stretches: int) -> Mean:
    """Return the mean of a correlated series, with its standard error by the method of batch means.

    The means of so many stretches, which are to be longer than the correlation, count as
    independent values.
    """
    means = np.array([part.mean() for part in np.array_split(values, num_stretches)])
    return Mean(float(values.mean()), mean_of(means).error)


def redrawn(means: Sequence[Mean], needed: float, *, of: int = 1) -> float:
    """Return how likely a claim that needs each mean above `needed` errors fails if it is true.

    Each mean, drawn anew, is taken as normal about what was found here, with the error found here;
    the probabilities of all are summed, each `of` times. At least `LEAST` and at most ½, which is
    also what means without an error have: they decide nothing.
    """
    z = np.array([mean.z for mean in means], float)
    total = of * float(scipy.stats.norm.sf(z - needed).sum())
    return min(max(total, LEAST), 0.5) if math.isfinite(total) else 0.5
