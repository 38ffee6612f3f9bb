"""The four predictions about a late switch to SAM, each beside what was measured."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from samflow import theory
from samflow.valleys.rates import Rate

HOLDS, FAILS, NOT_MEASURED = "holds", "fails", "not measured"
"""What is said of a phase. Not measured: the orbit shows no rate, or none that could decide."""

RATE_TOLERANCE = 2e-3
"""Relative: twice the spread within which the slopes of a good window agree."""
MOST_DRIFT = 0.1
"""A window along which the predicted rate changes by more than this part is not linear."""
BARRIER_TOLERANCE = 0.01
"""A barrier below this part of the loss's peak is none: the line is not curved as the valley is."""


class Phase(NamedTuple):
    """One of the four predictions, with what was measured.

    Attributes:
        name: P1 to P4.
        statement: what is claimed.
        verdict: "holds", "fails" or "not measured".
        predicted: the number that theory gives. For a rate log|μ(λ_max)| at the start (P1) or the
            end (P4), whatever the orbit does in between.
        mean: the mean of log|μ(λ_max)| over the fitted window, along which sharpness drifts; NaN
            for P2 and P3.
        measured: the number found; NaN where none could be.
        low: lower end of the 95 % interval of `measured`, where it is a fitted rate.
        high: upper end of it.
        tolerance: how far they may be apart. For a rate it is 0.2 % and the most by which
            log|μ(λ_max)| differs from `predicted` along the window.
        reason: why this tolerance, or why nothing was measured.

    """

    name: str
    statement: str
    verdict: str
    predicted: float
    mean: float
    measured: float
    low: float
    high: float
    tolerance: float
    reason: str

    @property
    def holds(self) -> bool:
        """Whether it was measured and came out as predicted."""
        return self.verdict == HOLDS


def multipliers(settings: dict[str, Any], sharpness: float) -> np.ndarray:
    """Return the multipliers along the leading eigenvector."""
    names = {name: settings[name] for name in ("rho", "lr", "momentum")}
    formulas = theory.multipliers(settings["rule"], settings["kind"])
    return np.array([complex(theory.evaluate(f, lam=sharpness, **names)) for f in formulas])


def log_leading(settings: dict[str, Any], sharpness: float) -> float:
    """Return log|μ(λ_max)|, μ the leading multiplier; NaN where the sharpness is unknown."""
    if not math.isfinite(sharpness):
        return math.nan
    largest = float(np.abs(multipliers(settings, sharpness)).max())
    return math.log(largest) if largest > 0 else -math.inf


def edge_of_stability(settings: dict[str, Any]) -> float:
    """Return the largest λ that the rule keeps."""
    names = {name: settings[name] for name in ("rho", "lr", "momentum")}
    return float(theory.evaluate(theory.edge(settings["rule"], settings["kind"]), **names))


_RATES = {
    "P1": "escape is exponential, at the rate log|μ(λ_max)| a step",
    "P4": "the final convergence is exponential, at the rate log|μ(λ_max)| a step",
}
_AT = {"P1": "start", "P4": "end"}


def simpson(values: Sequence[float]) -> float:
    """Return the mean over an interval from its ends and its middle; NaN without values."""
    if not values:
        return math.nan
    first, middle, last = values
    return (first + 4 * middle + last) / 6


def drift(predicted: float, along: Sequence[float]) -> float:
    """Return by how much the predicted rate changes along a window; infinite if that is unknown."""
    gaps = [abs(value - predicted) for value in along]
    return max(gaps) if gaps and all(map(math.isfinite, gaps)) else math.inf


def rate_phase(
    name: str, rate: Rate, predicted: float, along: Sequence[float], *, missing: str = ""
) -> Phase:
    """Compare a fitted rate with log|μ| at the start (P1) or at the end (P4).

    Args:
        name: P1 or P4.
        rate: what was fitted.
        predicted: log|μ| at the start or the end.
        along: log|μ| at the first step of the window, in its middle and at its last.
        missing: why there may be no rate, though the orbit did what is claimed; empty where it
            did not, which is a failure.

    """
    change, gap = drift(predicted, along), abs(rate.slope - predicted)
    tolerance = RATE_TOLERANCE * abs(predicted) + change
    half = (rate.high - rate.low) / 2
    reason = (
        f"0.2 %, and as much as log|μ(λ_max)| along the window differs from that at the "
        f"{_AT[name]}: {change:.2g}"
    )
    if not (rate.found or missing):
        verdict, reason = FAILS, "the orbit shows no such rate"
    elif not math.isfinite(predicted):
        verdict, reason = FAILS, "no finite rate is predicted"
    elif not rate.found:
        verdict, reason = NOT_MEASURED, missing
    elif not change <= MOST_DRIFT * abs(predicted):
        verdict = NOT_MEASURED
        reason = (
            f"log|μ(λ_max)| changes along the fitted window by more than {MOST_DRIFT:.0%}: it is "
            "not the linear regime"
        )
    elif not half <= tolerance and not gap > tolerance + half:
        verdict = NOT_MEASURED
        reason = f"the fit's 95 % interval, ±{half:.2g}, is wider than the tolerance"
    else:
        verdict = HOLDS if gap <= tolerance else FAILS
    return Phase(
        name,
        _RATES[name],
        verdict,
        predicted,
        simpson(along),
        rate.slope,
        rate.low,
        rate.high,
        tolerance if math.isfinite(tolerance) else math.nan,
        reason,
    )


def one_valley(peak: float, barrier: float, start_loss: float, *, settled: bool) -> Phase:
    """Ask for the absence of a barrier (P2)."""
    tolerance = BARRIER_TOLERANCE * (peak - start_loss)
    holds = settled and math.isfinite(peak) and barrier <= tolerance
    return Phase(
        "P2",
        "no barrier on the straight line from start to end: one valley",
        HOLDS if holds else FAILS,
        0.0,
        math.nan,
        barrier,
        math.nan,
        math.nan,
        tolerance,
        f"1 % of the climb to the orbit's peak loss {peak:.4g}",
    )


def flatter(before: float, after: float, edge: float, *, settled: bool) -> Phase:
    """Ask for a smaller sharpness, below the edge (P3)."""
    return Phase(
        "P3",
        f"sharpness falls from {before:.6g} to below the rule's edge",
        HOLDS if settled and after < before and after < edge else FAILS,
        edge,
        math.nan,
        after,
        math.nan,
        math.nan,
        0.0,
        "an inequality: it holds or not",
    )
