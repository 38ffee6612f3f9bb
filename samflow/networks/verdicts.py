"""What one rule does to trained weights, to first order."""

import math
from typing import Any

import numpy as np
import sympy

from samflow import theory
from samflow._status import Status
from samflow._types import NumpyArray
from samflow.networks.diagnosis import Place, RuleVerdict, window_ends
from samflow.spectra.directions import growth_within, log_growth, measured_along
from samflow.spectra.spectrum import Eigenpairs
from samflow.systems import Map
from samflow.systems.hyperparameters import theory_settings

_NEUTRAL = 1e-6
"""An eigenvalue within this part of max|λ| of 0 counts as 0; or within so many roundings:"""
_ROUNDINGS = 100


def negative_values(pairs: Eigenpairs) -> NumpyArray:
    """Return which eigenvalues are negative beyond their residual and rounding."""
    values, residuals = np.asarray(pairs.values), np.asarray(pairs.residuals)
    return values < -np.maximum(residuals, _NEUTRAL * np.abs(values).max())


def neutral_values(pairs: Eigenpairs, precision: float) -> NumpyArray:
    """Return which eigenvalues are 0 to what the loss's float type resolves; none of a zero H."""
    size = np.abs(np.asarray(pairs.values))
    return (size <= max(_NEUTRAL, _ROUNDINGS * precision) * size.max()) & bool(size.any())


def rule_verdict(system: Map, w: Any, pairs: Eigenpairs, place: Place) -> RuleVerdict:
    """Return what the rule of a map does along the eigenvectors of H.

    Raises:
        ArgumentError: for a rule with a memory.

    """
    values, settings = np.asarray(pairs.values), theory_settings(system)
    decay = 0.0 if system.weight_decay is None else float(system.weight_decay)
    radius = float(getattr(system.rule, "rho", 0.0))
    effective = system.rule.effective_rho(place.gradient_norm)
    along = measured_along(system, w, np.asarray(pairs.vectors))
    growth = log_growth(system, along.curvature)
    low, high = growth_within(system, along.curvature, along.residual + np.asarray(pairs.residuals))
    closed = values * (1 + effective * values) + decay
    limit = theory.evaluate(theory.flip_threshold(settings["kind"]), momentum=settings["momentum"])
    neutral = neutral_values(pairs, system.loss.precision) & (decay == 0)
    seen = ~neutral & bool(values.any())
    cycle = _cycle_radius(system, settings, float(values[-1]))
    verdict = _decided(low[seen], high[seen], np.asarray(pairs.status), place)
    verdict = "neutral" if verdict == "stable" and neutral.any() else verdict
    return RuleVerdict(
        rule=system.rule.name,
        verdict=verdict,
        statement=_statement(verdict, values, growth, along.curvature, seen, cycle),
        rho=radius,
        effective_rho=effective,
        edge=_edge(settings, effective, decay),
        scaled_curvature=float(system.lr) * float(along.curvature[-1]),
        limit=float(limit),
        rho_window=_rho_window(system, settings, values, radius / effective if effective else 0.0),
        closed_form=closed,
        measured=along.curvature,
        residual=along.residual,
        growth=growth,
        growth_low=low,
        growth_high=high,
        cycle_radius=cycle,
        turned=int(np.sum(negative_values(pairs) & (high < 0))),
        neutral=int(neutral.sum()),
    )


def _edge(settings: dict[str, Any], effective: float, decay: float) -> float:
    """Return the λ ≥ 0 at which η(U(λ) + decay) = κ; 0 where the decay alone is beyond."""
    if not math.isfinite(effective):
        return math.nan
    kind, momentum, lr = (settings[name] for name in ("kind", "momentum", "lr"))
    limit = float(theory.evaluate(theory.flip_threshold(kind), momentum=momentum))
    if lr * decay >= limit:
        return 0.0
    # ηU = κ − η·decay is the condition without decay at a larger step.
    step = lr / (1 - lr * decay / limit)
    formula = theory.edge("usam" if effective else "gd", kind)
    return float(theory.evaluate(formula, rho=effective, lr=step, momentum=momentum))


def _rho_window(
    system: Map, settings: dict[str, Any], values: NumpyArray, unit: float
) -> tuple[float, float] | None:
    """Return the window in rho of the eigenvalues looked at; `unit` turns USAM's rho into it."""
    if not (math.isfinite(unit) and unit > 0) or system.weight_decay is not None:
        return None
    window = theory.rho_window(
        [float(each) for each in values],
        lr=settings["lr"],
        momentum=settings["momentum"],
        kind=settings["kind"],
        tolerance=_NEUTRAL * float(np.abs(values).max()),
    )
    return window_ends(window.times(sympy.Float(unit)))


def _decided(low: NumpyArray, high: NumpyArray, status: NumpyArray, place: Place) -> str:
    if (low > 0).any():
        return "unstable" if low.max() * place.steady_steps >= 1 else "unresolved"
    known = high.size > 0 and (high < 0).all() and (status == Status.located).all()
    return "stable" if known else "undecided"


def _cycle_radius(system: Map, settings: dict[str, Any], sharpness: float) -> float:
    """Return the radius of SAM's 2-cycle along the sharpest direction; NaN where there is none."""
    names = {name: settings[name] for name in ("lr", "momentum", "kind")}
    return system.rule.cycle_radius(sharpness, **names) if sharpness > 0 else math.nan


def _statement(
    verdict: str,
    values: NumpyArray,
    growth: NumpyArray,
    curvature: NumpyArray,
    seen: NumpyArray,
    cycle: float,
) -> str:
    if not values.any():
        return "The Hessian is 0: to first order nothing grows or dies out"
    fastest = int(np.argmax(np.where(seen, growth, -np.inf)))
    steps = 1 / growth[fastest] if growth[fastest] else math.inf
    if verdict in ("stable", "neutral"):
        text = f"Every perturbation seen dies out, the slowest by e in {-steps:.3g} steps"
        if verdict == "stable":
            return text
        count = int(np.sum(~seen))
        where = "the neutral direction" if count == 1 else f"{count} neutral directions"
        return f"{text}, apart from {where}, where to first order nothing changes"
    if verdict == "undecided":
        return "Residuals of the eigenvectors leave open whether a perturbation grows"
    how = "swings across the valley" if curvature[fastest] > 0 else "slides down"
    text = f"It {how} along λ = {values[fastest]:.4g}, by e in {steps:.3g} steps"
    if curvature[fastest] > 0 and math.isfinite(cycle):
        text += f", until SAM's 2-cycle of radius {cycle:.3g} holds it"
    if verdict == "unresolved":
        text += ", in which the drift of the weights changes the sharpness by more than a tenth"
    return text
