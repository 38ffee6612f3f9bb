"""Kaplan–Meier estimates of the distribution of right-censored times."""

import math
import warnings
from typing import ClassVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int

from samflow import _checks
from samflow._types import ArrayLike
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance

LEVEL = 0.95


class Survival(AbstractRecord):
    """Kaplan–Meier estimate of S(t) = P(T > t) from right-censored times.

    Attributes:
        times: the times of an escape or a censoring, increasing; S is constant from each to the
            next, and 1 before the first.
        survival: S from each time on.
        low: lower end of the band, by Greenwood's formula for log(−log S); NaN where that is not
            defined, which is where S is 1 or 0. It covers S with 95 % at each time, not at all
            times at once.
        high: upper end of the band.
        at_risk: how many were still followed just before each time.
        median: the first time at which S ≤ 1/2; NaN where S does not come down to it.
        median_low: lower end of the interval of 95 % for the median: the first time at which the
            lower end of the band is at most 1/2 (Brookmeyer and Crowley); NaN if there is none.
        median_high: the same for the upper end of the band; NaN if there is none.
        reason: why the median or an end of its interval is missing; empty if none is.
        mean: E min(T, horizon), the area under S up to the horizon.
        mean_error: its standard error, by Greenwood's formula.
        horizon: up to where S is known: the last time observed, or any time if S ends at 0.
        escaped: the number of escapes.
        censored: the number of censored times.

    """

    rows: ClassVar[Names] = ("time",)
    escaped: int = eqx.field(static=True)
    censored: int = eqx.field(static=True)
    horizon: float = eqx.field(static=True, metadata=axes(units="step"))
    median: float = eqx.field(static=True, metadata=axes(units="step"))
    median_low: float = eqx.field(static=True, metadata=axes(units="step"))
    median_high: float = eqx.field(static=True, metadata=axes(units="step"))
    reason: str = eqx.field(static=True)
    mean: float = eqx.field(static=True, metadata=axes(units="step"))
    mean_error: float = eqx.field(static=True, metadata=axes(units="step"))
    provenance: Provenance = eqx.field(static=True)
    times: Float[Array, " time"] = eqx.field(metadata=axes("time", units="step"))
    survival: Float[Array, " time"] = eqx.field(metadata=axes("time", units="1"))
    low: Float[Array, " time"] = eqx.field(metadata=axes("time", units="1"))
    high: Float[Array, " time"] = eqx.field(metadata=axes("time", units="1"))
    at_risk: Int[Array, " time"] = eqx.field(metadata=axes("time"))

    def at(self, t: ArrayLike) -> Float[np.ndarray, "..."]:
        """Return S(t); NaN beyond the horizon."""
        t = np.asarray(t, float)
        steps = np.concatenate([[1.0], np.asarray(self.survival)])
        found = steps[np.searchsorted(np.asarray(self.times), t, side="right")]
        return np.where(t <= self.horizon, found, np.nan)


def kaplan_meier(times: ArrayLike, escaped: ArrayLike, *, horizon: float | None = None) -> Survival:
    """Estimate the distribution of a time from observations some of which are censored.

    >>> found = kaplan_meier([77, 47, 81, 56, 80, 62, 60, 43, 71, 37], [True] * 5 + [False] * 5)
    >>> found.median, found.median_low, found.reason
    (77.0, 47.0, "the interval's upper end: the upper end of the curve's band stays above 1/2")

    Args:
        times: shape (N,), at least 0.
        escaped: whether each time was reached, or else (censored) is longer than `times` says.
            What ended a censored observation must not depend on the time itself.
        horizon: the end of the observation; by default the largest of the times.

    Returns:
        The estimate. What cannot be known is NaN, and `reason` says why.

    Raises:
        ArgumentError: for no times, times that are negative or NaN, and shapes that differ.

    Source: Kaplan and Meier 1958; Brookmeyer and Crowley 1982; curve and band by scipy.stats.ecdf.

    """
    try:
        times, escaped = np.asarray(times, float), np.asarray(escaped)
    except (TypeError, ValueError) as error:
        raise _checks.ArgumentError("Argument `times` must be numbers of shape (N,).") from error
    if horizon is not None:
        horizon = _checks.nonnegative("horizon", horizon)
    if times.ndim != 1 or not times.size:
        raise _checks.ArgumentError(
            f"Argument `times` must have shape (N,) with N at least 1, but has shape {times.shape}."
        )
    if not (np.isfinite(times) & (times >= 0)).all():
        bad = times[~(np.isfinite(times) & (times >= 0))][0]
        raise _checks.ArgumentError(
            f"Argument `times` must be finite and at least 0, but has {bad:g}."
        )
    if escaped.shape != times.shape or escaped.dtype != bool:
        raise _checks.ArgumentError(
            f"Argument `escaped` must be one bool per time, shape {times.shape}, but has shape "
            f"{escaped.shape} and type {escaped.dtype}."
        )
    last = float(times.max())
    if horizon is not None and not horizon >= last:
        raise _checks.ArgumentError(
            f"Argument `horizon` must be at least the largest time, {last:g}, but is {horizon:g}."
        )
    known, survival, low, high = _curve(times, escaped)
    at_risk = times.size - np.searchsorted(np.sort(times), known, side="left")
    # If S is 0 it is known for all later times; otherwise up to the last time observed.
    end = max(float(horizon or 0), last) if survival[-1] == 0 else last
    mean, mean_error = _restricted_mean(times[escaped], known, survival, at_risk, end)
    median, ends, reason = _median(known, survival, low, high)
    return Survival(
        # Not jnp.asarray, which compiles a program for every number of times.
        times=jax.device_put(known),
        survival=jax.device_put(survival),
        low=jax.device_put(low),
        high=jax.device_put(high),
        at_risk=jax.device_put(at_risk),
        median=median,
        median_low=ends[0],
        median_high=ends[1],
        reason=reason,
        mean=mean,
        mean_error=mean_error,
        horizon=end,
        escaped=int(escaped.sum()),
        censored=int((~escaped).sum()),
        provenance=provenance("Kaplan-Meier", level=LEVEL),
    )


def _curve(times: np.ndarray, escaped: np.ndarray) -> tuple[np.ndarray, ...]:
    from scipy import stats  # takes half a second to import

    sample = stats.CensoredData(uncensored=times[escaped], right=times[~escaped])
    curve = stats.ecdf(sample).sf
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)
        band = curve.confidence_interval(LEVEL, method="log-log")
    survival = np.asarray(curve.probabilities)
    inside = (survival > 0) & (survival < 1)
    low, high = (np.where(inside, e.probabilities, np.nan) for e in (band.low, band.high))
    return np.asarray(curve.quantiles), survival, low, high


def _restricted_mean(
    reached: np.ndarray, times: np.ndarray, survival: np.ndarray, at_risk: np.ndarray, end: float
) -> tuple[float, float]:
    """Return the area under S up to `end` and its standard error.

    The variance is Σ A² d/(n(n − d)), A the area beyond a time, d the number that reached it and
    n that at risk; where n = d nothing is left beyond and the term is 0.
    """
    widths = np.diff(np.concatenate([[0.0], times, [end]]))
    pieces = widths * np.concatenate([[1.0], survival])
    beyond = np.cumsum(pieces[::-1])[::-1][1:]
    deaths = np.diff(np.searchsorted(np.sort(reached), times, side="right"), prepend=0)
    left = at_risk - deaths
    terms = beyond**2 * deaths / (at_risk * np.maximum(left, 1)) * (left > 0)
    return float(pieces.sum()), math.sqrt(terms.sum())


def _median(
    times: np.ndarray, survival: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[float, tuple[float, float], str]:
    def first(curve: np.ndarray) -> float:
        reached = np.flatnonzero(curve <= 0.5)
        return float(times[reached[0]]) if reached.size else math.nan

    # Where S is 0 the band is not defined, but its lower end is no higher than before.
    found = first(survival), first(low), first(high)
    named = zip(
        found,
        (
            f"the median: the survival curve ends at {survival[-1]:.4g}, above 1/2",
            "the interval's lower end: the lower end of the curve's band stays above 1/2",
            "the interval's upper end: the upper end of the curve's band stays above 1/2",
        ),
        strict=True,
    )
    reason = "; ".join(text for value, text in named if math.isnan(value))
    return found[0], found[1:], reason
