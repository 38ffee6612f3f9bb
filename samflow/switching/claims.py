"""The four predictions about a late switch, P1 to P4, each beside what was measured.

P1, escape: the motion along the leading eigenvector grows by log|μ| a step. P2, one valley: no
barrier on the straight line from start to end. P3, a flatter minimum: sharpness falls below the
rule's edge of stability. P4, convergence: the motion dies out by log|μ| a step. μ is the leading
multiplier at the start for P1, at the end for P4.
"""

import enum
import math
from typing import NamedTuple

import numpy as np

from samflow._types import NumpyArray
from samflow.switching.linear_regime import Fitted
from samflow.switching.modes import (
    LeadingMode,
    closed_form_growth,
    edge_of_stability,
    has_closed_form,
)
from samflow.switching.rates import Rate
from samflow.systems import Map

RATE_TOLERANCE = 2e-3
"""Relative: twice the spread within which the slopes of a good window agree."""
MOST_DRIFT = 0.1
"""A window along which the predicted rate changes by more than this part is not linear."""
BARRIER_TOLERANCE = 0.01
"""A barrier below this part of the range of losses is none: a line is not curved as a valley is."""
_GROWN = 100.0
"""No escape: the motion along v never exceeds its first size by this. A rate is fitted to as much
growth, and what momentum adds before it decays stays below."""
_FIRST = 3

_nan = math.nan


class ClaimVerdict(enum.StrEnum):
    """What is said of a prediction.

    Not measured: the orbit shows no number, or none that could decide; one that diverged, or that
    has not settled, has no end. Not claimed: theory does not predict here.
    """

    holds = "holds"
    fails = "fails"
    not_measured = "not measured"
    not_claimed = "not claimed"


class PhaseClaim(NamedTuple):
    """One of the four predictions, with what was measured.

    Attributes:
        name: P1 to P4.
        statement: what is claimed.
        verdict: whether it holds.
        predicted: the number that theory gives. For a rate log|μ| at the effective curvature
            U = vᵀDv measured at the start (P1) or the end (P4), whatever the orbit does in
            between. NaN where there is none.
        measured: the number found; NaN where none could be.
        tolerance: how far they may be apart. For a rate it is 0.2 % and the most by which log|μ|
            differs from `predicted` along the window.
        reason: why this tolerance, or why it fails, or nothing is claimed or measured.
        mean: for a rate, the mean of log|μ| over the fitted window, along which sharpness drifts.
        closed_form: for a rate, log|μ| with U = λ(1 + rho λ) at λ_max alone; NaN where the rule has
            no closed form.
        low: lower end of the 95 % interval of a rate; of a sharpness, within its residual.
        high: upper end of it.

    """

    name: str
    statement: str
    verdict: ClaimVerdict
    predicted: float = _nan
    measured: float = _nan
    tolerance: float = _nan
    reason: str = ""
    mean: float = _nan
    closed_form: float = _nan
    low: float = _nan
    high: float = _nan

    @property
    def holds(self) -> bool:
        """Whether it was measured and came out as predicted."""
        return self.verdict == ClaimVerdict.holds

    def __str__(self) -> str:
        """Return one line."""
        numbers = [
            f"{name} {number:.6g}"
            for name, number in (("predicted", self.predicted), ("measured", self.measured))
            if math.isfinite(number)
        ]
        why = "" if self.holds else f" ({self.reason})"
        told = "; ".join([self.statement, ", ".join(numbers)] if numbers else [self.statement])
        return f"{self.name} {self.verdict}: {told}{why}"


_AT = {"P1": "start", "P4": "end"}
_RATES = {"P1": "escape is exponential", "P4": "the final convergence is exponential"}
_UNCLAIMED = {"P1": "escape", "P4": "final convergence"}


def rate_claim(
    name: str, predicted: float, fitted: Fitted, *, missing: str = "", closed_form: float = _nan
) -> PhaseClaim:
    """Compare a fitted rate with log|μ| at the start (P1) or at the end (P4).

    Args:
        name: P1 or P4.
        predicted: log|μ| at the start or the end.
        fitted: what was fitted, and log|μ| along its window.
        missing: why there may be no rate, though the orbit did what is claimed; empty where it
            did not, which is a failure.
        closed_form: to be shown beside.

    """
    rate, change = fitted.rate, fitted.drift(predicted)
    gap, half = abs(rate.slope - predicted), (rate.high - rate.low) / 2
    tolerance = RATE_TOLERANCE * abs(predicted) + change
    reason = (
        "0.2 %, plus the most by which log|μ(λ_max)| along the window differs from its value at "
        f"the {_AT[name]}: {change:.2g}"
    )
    if not (rate.found or missing):
        verdict, reason = ClaimVerdict.fails, "the orbit shows no such rate"
    elif not math.isfinite(predicted):
        verdict, reason = ClaimVerdict.fails, "no finite rate is predicted"
    elif not rate.found:
        verdict, reason = ClaimVerdict.not_measured, missing
    elif not change <= MOST_DRIFT * abs(predicted):
        verdict = ClaimVerdict.not_measured
        reason = (
            f"log|μ(λ_max)| changes along the fitted window by more than {MOST_DRIFT:.0%}: it is "
            "not in the linear regime"
        )
    elif not half <= tolerance and not gap > tolerance + half:
        verdict = ClaimVerdict.not_measured
        reason = f"the fit's 95 % interval, ±{half:.2g}, is wider than the tolerance"
    else:
        verdict = ClaimVerdict.holds if gap <= tolerance else ClaimVerdict.fails
    return PhaseClaim(
        name,
        f"{_RATES[name]}, at the rate log|μ(λ_max)| per step",
        verdict,
        predicted=predicted,
        measured=rate.slope,
        tolerance=tolerance if math.isfinite(tolerance) else _nan,
        reason=reason,
        mean=fitted.mean,
        closed_form=closed_form,
        low=rate.low,
        high=rate.high,
    )


def unclaimed_rate(
    name: str, predicted: float, rate: Rate, reason: str, closed_form: float = _nan
) -> PhaseClaim:
    """Show a rate beside a number that theory does not claim to be its prediction."""
    return PhaseClaim(
        name,
        f"{_UNCLAIMED[name]} along the leading eigenvector, rate per step",
        ClaimVerdict.not_claimed,
        predicted=predicted,
        measured=rate.slope,
        reason=reason,
        closed_form=closed_form,
        low=rate.low,
        high=rate.high,
    )


def escape_claim(
    system: Map, here: LeadingMode, escape: Fitted, escaping: NumpyArray
) -> PhaseClaim:
    """Return P1 for a rule with a closed form: the escape, or its absence."""
    closed, grown = closed_form_growth(system, here.sharpness), _grown(escaping)
    if here.low > 0:
        missing = ""
        if not grown < _GROWN:
            missing = (
                "the orbit left in too few steps to fit a rate; a smaller displacement may give "
                "more"
            )
        return rate_claim("P1", here.growth, escape, missing=missing, closed_form=closed)
    if not here.high < 0:
        reason = "the residuals do not decide whether the start is unstable"
        return unclaimed_rate("P1", here.growth, escape.rate, reason, closed)
    return PhaseClaim(
        "P1",
        f"no escape is predicted, log|μ| = {here.growth:.4g} per step: the motion along the "
        f"leading eigenvector grows by less than {_GROWN:g}",
        ClaimVerdict.holds if grown < _GROWN else ClaimVerdict.fails,
        predicted=1.0,
        measured=grown,
        tolerance=_GROWN,
        reason="two decades, as much growth as a rate is fitted to",
        closed_form=closed,
    )


def _grown(escaping: NumpyArray) -> float:
    """Return how many times its first size the motion reaches."""
    if not len(escaping):
        return _nan
    sizes = np.abs(escaping)
    return float(sizes.max() / max(sizes[:_FIRST].max(), np.finfo(float).tiny))


def valley_claim(
    height: float, loss_range: float, of: str, *, no_end: str = "", no_minimum: str = ""
) -> PhaseClaim:
    """Return P2: a barrier below a hundredth of a range of losses, which `of` names.

    `no_end` says why the orbit has no end, `no_minimum` why that is no minimum; empty otherwise.
    """
    return _about_the_end(
        PhaseClaim(
            "P2",
            "no barrier on the straight line from start to end: one valley",
            _holds(height <= BARRIER_TOLERANCE * loss_range),
            predicted=0.0,
            measured=height,
            tolerance=BARRIER_TOLERANCE * loss_range,
            reason=f"1 % of {of}",
        ),
        no_end,
        no_minimum,
    )


def flatter_claim(
    system: Map,
    here: LeadingMode,
    there: LeadingMode,
    *,
    noisy: bool = False,
    no_end: str = "",
    no_minimum: str = "",
) -> PhaseClaim:
    """Return P3: a smaller sharpness, and without noise below the rule's edge, if it has one."""
    edge = _nan if noisy else edge_of_stability(system)
    known, before, after = math.isfinite(edge), here.sharpness, there.sharpness
    below = " to below the rule's edge" if known else ""
    return _about_the_end(
        PhaseClaim(
            "P3",
            f"sharpness falls from {before:.6g}{below}",
            _holds(after < before and (after < edge or not known)),
            predicted=edge if known else before,
            measured=after,
            tolerance=0.0,
            reason="a strict inequality",
            low=after - there.residual,
            high=after + there.residual,
        ),
        no_end,
        no_minimum,
    )


def convergence_claim(
    system: Map, there: LeadingMode, convergence: Fitted, *, no_end: str = ""
) -> PhaseClaim:
    """Return P4: the rate at which the motion dies out."""
    closed = closed_form_growth(system, there.sharpness)
    if not has_closed_form(system):
        reason = "the rule has no Jacobian at a critical point, or none that is known"
        return unclaimed_rate("P4", there.growth, convergence.rate, reason)
    missing = "the motion died out in too few steps, or too unevenly, to fit a rate"
    found = rate_claim("P4", there.growth, convergence, missing=missing, closed_form=closed)
    return _about_the_end(found, no_end)


def _about_the_end(claim: PhaseClaim, no_end: str, no_minimum: str = "") -> PhaseClaim:
    if no_end:
        tolerance = claim.tolerance if math.isfinite(claim.measured) else _nan
        verdict = ClaimVerdict.not_measured
        return claim._replace(verdict=verdict, reason=no_end, tolerance=tolerance)
    return claim._replace(verdict=ClaimVerdict.fails, reason=no_minimum) if no_minimum else claim


def _holds(fact: bool) -> ClaimVerdict:
    return ClaimVerdict.holds if fact else ClaimVerdict.fails
