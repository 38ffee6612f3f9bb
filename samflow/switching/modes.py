"""The leading eigenpair at a point, and the multiplier of an update along it."""

import math
from typing import NamedTuple

import numpy as np

from samflow import theory
from samflow._types import NumpyArray, Point
from samflow.rules import Ascent
from samflow.spectra.directions import log_growth, measured_along
from samflow.spectra.spectrum import extreme_eigenpairs
from samflow.systems import Map
from samflow.systems.hyperparameters import theory_settings


class LeadingMode(NamedTuple):
    """The leading eigenpair of the Hessian, and what a map does along it to first order.

    Attributes:
        sharpness: λ_max.
        residual: how far an eigenvalue may be from it.
        v: the eigenvector, shape (dim,).
        lowest: λ_min; NaN where it was not asked for.
        curvature: U = vᵀDv, D the derivative of the rule's direction; NaN for a rule with a memory
            or without a Jacobian at the point.
        growth: log|μ| at U, μ the leading multiplier.
        low: its least value for U within the residuals.
        high: its largest value there.

    """

    sharpness: float
    residual: float
    v: NumpyArray
    lowest: float
    curvature: float
    growth: float
    low: float
    high: float


def leading_mode(system: Map, w: Point, *, both_ends: bool = False) -> LeadingMode:
    """Return the leading mode at `w`, and on demand λ_min; all NaN where `w` is not finite."""
    if not np.isfinite(np.asarray(w)).all():
        nan = math.nan
        return LeadingMode(nan, nan, np.full(system.dim, nan), nan, nan, nan, nan, nan)
    which = "both" if both_ends and system.dim > 1 else "largest"
    pairs = extreme_eigenpairs(system.loss, w, k=1, which=which, compare=False)
    v, residual = np.asarray(pairs.vectors[-1]), float(pairs.residuals[-1])
    u = middle = low = high = math.nan
    if _has_derivative(system) and np.isfinite(v).all():
        with np.errstate(over="ignore", invalid="ignore"):  # far out on an orbit that diverges
            along = measured_along(system, w, v[None])
            u, reach = float(along.curvature[0]), float(along.residual[0]) + residual
            growth = log_growth(system, u + reach * np.array([0, -1, 1]))
        middle, low, high = float(growth[0]), float(np.min(growth)), float(np.max(growth))
    lowest = float(pairs.values[0]) if both_ends else math.nan
    return LeadingMode(float(pairs.values[-1]), residual, v, lowest, u, middle, low, high)


def closed_form_growth(system: Map, sharpness: float) -> float:
    """Return log|μ| with U(λ) = λ(1 + rho λ); NaN for rules without a closed form."""
    if not has_closed_form(system):
        return math.nan
    rho = theory_settings(system)["rho"]
    decay = 0.0 if system.weight_decay is None else float(system.weight_decay)
    return float(log_growth(system, np.array([sharpness * (1 + rho * sharpness) + decay]))[0])


def edge_of_stability(system: Map) -> float:
    """Return the largest λ that the rule keeps, without weight decay; NaN if none is known."""
    if not has_closed_form(system):
        return math.nan
    settings = theory_settings(system)
    names = {name: settings[name] for name in ("rho", "lr", "momentum")}
    return float(theory.evaluate(theory.edge(settings["rule"], settings["scheme"]), **names))


def has_closed_form(system: Map) -> bool:
    """Whether the Jacobian is known at a critical point, and beside it at every ‖g‖ alike."""
    return system.rule.ascent.is_linear


def is_gradient_descent(system: Map) -> bool:
    """Whether the rule takes the gradient as it is."""
    return system.rule.ascent is Ascent.none


def _has_derivative(system: Map) -> bool:
    """Whether the rule's direction is a function of the weights alone."""
    return not system.rule.num_memories
