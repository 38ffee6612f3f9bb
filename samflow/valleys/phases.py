"""The four predictions about a late switch to SAM, each beside what was measured."""

import math
from typing import Any, NamedTuple

import numpy as np

from samflow import theory
from samflow.valleys.rates import Rate

RATE_TOLERANCE = 0.01
"""Relative. On the digits network the worst of several windows was off by 0.6 %."""
BARRIER_TOLERANCE = 0.01
"""A barrier below this part of the loss's peak is none: the line is not curved as the valley is."""


class Phase(NamedTuple):
    """One of the four predictions, with what was measured.

    Attributes:
        name: P1 to P4.
        statement: what is claimed.
        predicted: the number that theory gives. For a rate, the mean of log|μ(λ_max)| over the
            fitted window, since sharpness drifts within it; see `at_point`.
        at_point: log|μ(λ_max)| at the start (P1) or the end (P4) alone; NaN for P2 and P3.
        measured: the number found; NaN where none could be.
        low: lower end of the 95 % interval of `measured`, where it is a fitted rate.
        high: upper end of it.
        tolerance: how far they may be apart.
        reason: why this tolerance.
        holds: the verdict. NaN never holds.

    """

    name: str
    statement: str
    predicted: float
    at_point: float
    measured: float
    low: float
    high: float
    tolerance: float
    reason: str
    holds: bool


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


def rate_phase(
    name: str, rate: Rate, expected: float, settings: dict[str, Any], sharpness: float
) -> Phase:
    """Compare a fitted rate with the expected one (P1, P4)."""
    tolerance = max(RATE_TOLERANCE * abs(expected), (rate.high - rate.low) / 2)
    return Phase(
        name,
        _RATES[name],
        expected,
        log_leading(settings, sharpness),
        rate.slope,
        rate.low,
        rate.high,
        tolerance,
        "1 %, as the loss bends within the window, or half the fit's 95 % interval if that is more",
        abs(rate.slope - expected) <= tolerance,
    )


def one_valley(peak: float, barrier: float, start_loss: float, *, settled: bool) -> Phase:
    """Ask for the absence of a barrier (P2)."""
    tolerance = BARRIER_TOLERANCE * (peak - start_loss)
    return Phase(
        "P2",
        "no barrier on the straight line from start to end: one valley",
        0.0,
        math.nan,
        barrier,
        math.nan,
        math.nan,
        tolerance,
        f"1 % of the climb to the orbit's peak loss {peak:.4g}",
        settled and math.isfinite(peak) and barrier <= tolerance,
    )


def flatter(before: float, after: float, edge: float, *, settled: bool) -> Phase:
    """Ask for a smaller sharpness, below the edge (P3)."""
    return Phase(
        "P3",
        f"sharpness falls from {before:.6g} to below the rule's edge",
        edge,
        math.nan,
        after,
        math.nan,
        math.nan,
        0.0,
        "an inequality: it holds or not",
        settled and after < before and after < edge,
    )
