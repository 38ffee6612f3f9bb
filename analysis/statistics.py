"""What seeds say: a mean with Student's interval, and which sign it decides."""

from typing import NamedTuple

import numpy as np
import scipy.stats


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
        return "" if self.sign in ("lower", "higher") else ", which leaves its sign open"


def interval(values: np.ndarray) -> Interval:
    """Return the mean of `values`, one a seed and at least two, with its interval."""
    n = len(values)
    half = scipy.stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return Interval(float(values.mean()), float(half))
