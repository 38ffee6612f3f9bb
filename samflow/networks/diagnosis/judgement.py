"""What follows from the measurements: how near a critical point is, what each rule does."""

import math
from typing import Any

import numpy as np
import sympy

from samflow import theory
from samflow._status import Status
from samflow._types import NumpyArray
from samflow.networks.diagnosis.measurements import Curvature
from samflow.networks.diagnosis.records import Nearness, RuleStability
from samflow.spectra.directions import Along, growth_within, log_growth
from samflow.spectra.multipliers import CRITICAL
from samflow.spectra.spectrum import Eigenpairs
from samflow.systems import Map
from samflow.systems.edges import edge_of_stability
from samflow.systems.hyperparameters import theory_settings

_CHANGE = 0.1
_STEADY = 100.0
"""A checkpoint is near a critical point where the sharpness takes so many steps to change."""
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


def nearness(curvature: Curvature) -> Nearness:
    """Return how near the weights are to a critical point."""
    values = np.asarray(curvature.pairs.values)
    size = float(np.linalg.norm(curvature.gradient))
    scale, sharpness = float(np.abs(values).max()), abs(float(values[-1]))
    change = curvature.next_sharpness - float(values[-1])
    drift = change / sharpness if sharpness else (math.inf if change else 0.0)
    least_distance = size / scale if scale else (math.inf if size else 0.0)
    steady = math.inf if drift == 0 else _CHANGE / abs(drift)
    if least_distance <= CRITICAL * curvature.length:
        level, meaning = "critical", "verdicts are those of a critical point"
    elif steady >= _STEADY:
        level = "near"
        meaning = (
            f"a step of GD changes the sharpness by {drift:+.2g} of itself; verdicts about what "
            f"happens within {steady:.3g} steps hold to first order, the slower ones do not"
        )
    else:
        level = "far"
        meaning = (
            f"a step of GD changes the sharpness by {drift:+.2g} of itself, a tenth in "
            f"{steady:.3g} steps: verdicts are about perturbations of a moving point, not about "
            "whether it stays"
        )
    names = {"critical": "At", "near": "Near", "far": "Not near"}
    return Nearness(
        level,
        size,
        least_distance,
        drift,
        steady,
        f"{names[level]} a critical point: ‖g‖ = {size:.3g}, ‖g‖/max|λ| = {least_distance:.3g}; "
        f"{meaning}.",
    )


def rule_stability(
    system: Map, pairs: Eigenpairs, along: Along, nearness: Nearness
) -> RuleStability:
    """Return what the rule of a map does along the eigenvectors of H."""
    values, settings = np.asarray(pairs.values), theory_settings(system)
    decay = 0.0 if system.weight_decay is None else float(system.weight_decay)
    radius = float(getattr(system.rule, "rho", 0.0))
    effective = system.rule.effective_rho(nearness.gradient_norm)
    growth = log_growth(system, along.curvature)
    reach = along.residual + np.asarray(pairs.residuals)
    low, high = growth_within(system, along.curvature, reach)
    own = system.rule.family in theory.CUBIC  # U is not λ(1 + ρλ) for any ρ
    unit = 1.0 if own else (radius / effective if effective else 0.0)
    curvature = _own_curvature(settings, values) if own else values * (1 + effective * values)
    limit = theory.evaluate(
        theory.flip_threshold(settings["scheme"]), momentum=settings["momentum"]
    )
    neutral = neutral_values(pairs, system.loss.precision) & (decay == 0)
    seen = ~neutral & bool(values.any())
    cycle = _cycle_radius(system, settings, float(values[-1]))
    stability = _decided(low[seen], high[seen], np.asarray(pairs.status), nearness)
    stability = "neutral" if stability == "stable" and neutral.any() else stability
    return RuleStability(
        rule=system.rule.name,
        stability=stability,
        statement=_statement(stability, values, growth, along.curvature, seen, cycle),
        largest_lr=_largest_lr(along.curvature[seen] + reach[seen], float(limit), pairs.status),
        num_repelling=int(np.sum(along.curvature[seen] + reach[seen] < 0)),
        num_open=int(np.sum(np.abs(along.curvature[seen]) <= reach[seen])),
        rho=radius,
        effective_rho=effective,
        edge=edge_of_stability(system, nearness.gradient_norm),
        scaled_curvature=float(system.lr) * float(along.curvature[-1]),
        limit=float(limit),
        rho_window=_rho_window(system, settings, values, unit),
        closed_form=curvature + decay,
        measured=along.curvature,
        residual=along.residual,
        growth=growth,
        growth_low=low,
        growth_high=high,
        cycle_radius=cycle,
        stabilised=int(np.sum(negative_values(pairs) & (high < 0))),
        neutral=int(neutral.sum()),
    )


def _own_curvature(settings: dict[str, Any], values: NumpyArray) -> NumpyArray:
    """Return U(λ) of the rule's own family."""
    formula = theory.effective_curvature(settings["rule"])
    found = [theory.evaluate(formula, lam=float(each), rho=settings["rho"]) for each in values]
    return np.array(found, dtype=float)


def _largest_lr(curvature: NumpyArray, limit: float, status: Any) -> float:
    """Return κ/max U; NaN without a positive U, and where an eigenpair is not located."""
    largest = float(curvature.max(initial=-math.inf))
    known = largest > 0 and (np.asarray(status) == Status.located).all()
    return limit / largest if known else math.nan


def _rho_window(
    system: Map, settings: dict[str, Any], values: NumpyArray, unit: float
) -> tuple[float, float] | None:
    """Return the window in rho of the eigenvalues looked at; `unit` turns USAM's rho into it."""
    if not (math.isfinite(unit) and unit > 0) or system.weight_decay is not None:
        return None
    window = theory.rho_window(
        [float(each) for each in values],
        rule=settings["rule"] if settings["rule"] in theory.CUBIC else "usam",
        lr=settings["lr"],
        momentum=settings["momentum"],
        scheme=settings["scheme"],
        tolerance=_NEUTRAL * float(np.abs(values).max()),
    )
    window = window.times(sympy.Float(unit))
    return float(window.low.value), float(window.high.value)


def _decided(low: NumpyArray, high: NumpyArray, status: NumpyArray, nearness: Nearness) -> str:
    if (low > 0).any():
        return "unstable" if low.max() * nearness.steady_steps >= 1 else "unresolved"
    known = high.size > 0 and (high < 0).all() and (status == Status.located).all()
    return "stable" if known else "undecided"


def _cycle_radius(system: Map, settings: dict[str, Any], sharpness: float) -> float:
    """Return the radius of SAM's 2-cycle along the sharpest direction; NaN where there is none."""
    names = {name: settings[name] for name in ("lr", "momentum", "scheme")}
    return system.rule.cycle_radius(sharpness, **names) if sharpness > 0 else math.nan


def _statement(
    stability: str,
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
    if stability in ("stable", "neutral"):
        text = f"Every perturbation dies out, the slowest by a factor e in {-steps:.3g} steps"
        if stability == "stable":
            return text
        count = int(np.sum(~seen))
        where = "the neutral direction" if count == 1 else f"{count} neutral directions"
        return f"{text}, apart from {where}, where to first order nothing changes"
    if stability == "undecided":
        return "Residuals of the eigenvectors leave open whether a perturbation grows"
    how = "swings across the valley" if curvature[fastest] > 0 else "slides down"
    grows = f"and grows by a factor e in {steps:.3g} steps"
    text = f"A perturbation {how} along λ = {values[fastest]:.4g} {grows}"
    if curvature[fastest] > 0 and math.isfinite(cycle):
        text += f", until SAM's 2-cycle of radius {cycle:.3g} holds it"
    if stability == "unresolved":
        text += "; the sharpness itself changes by more than a tenth in that time"
    return text
