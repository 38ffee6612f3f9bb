"""Edges of stability: the curvature at which an update flips, with what divides its steps."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from samflow import theory
from samflow._types import NumpyArray, Vector
from samflow.rules import Ascent
from samflow.rules.description import describe_rule
from samflow.systems.adaptive_map import AdaptiveMap
from samflow.systems.hyperparameters import theory_settings
from samflow.systems.map import Map
from samflow.theory.symbols import beta, lr, rho


class Update(NamedTuple):
    """What an optimiser states of its update, as far as its edge of stability depends on it.

    Whatever has an edge states it so: a map, an optimiser of PyTorch, a state of optax. With
    steps that are divided by P, the curvature to be compared with the edge is the largest
    eigenvalue of P^(-1/2) H P^(-1/2); P has the units in which the edge is that of `edge`.

    Attributes:
        name: of the rule or optimiser, with its numbers.
        lr: step size; NaN where it is unknown.
        edge: takes ‖g‖ and returns the largest curvature that the update keeps; NaN: unknown.
        preconditioner: P, shape (dim,), all > 0; None where steps are not divided.
        decay: weight decay that is added to the gradient before it is divided by P: the curvature
            is that of H + decay · I; an array, shape (dim,), where weights differ in it.

    """

    name: str
    lr: float
    edge: Callable[[float], float]
    preconditioner: NumpyArray | None = None
    decay: float | NumpyArray = 0.0

    @classmethod
    def unknown(cls, name: str, lr: float = math.nan) -> "Update":
        """Return what is stated of an optimiser of which nothing is known."""
        return cls(name, lr, lambda gradient_norm: math.nan)


def update_of(system: Map | AdaptiveMap, z: Vector | None = None) -> Update:
    """Return what a map without schedules states of its update.

    That of a base with moments depends on them: on the state `z`. Its edge is that of GD's
    direction; with another rule, before the first step and for Lion it is unknown.
    """
    if isinstance(system, AdaptiveMap):
        return _adaptive_update(system, z)
    name, scheme = describe_rule(system.rule), "Nesterov " if system.nesterov else ""
    if system.momentum is not None:
        name += f" with {scheme}momentum {float(system.momentum):g}"
    return Update(name, float(system.lr), functools.partial(edge_of_stability, system))


def _adaptive_update(system: AdaptiveMap, z: Vector | None) -> Update:
    name, step = f"{describe_rule(system.rule)} with {describe_rule(system.base)}", float(system.lr)
    divided = None if z is None else np.asarray(system.preconditioner(z), dtype=float)
    if divided is None or not np.isfinite(divided).all() or system.rule.ascent is not Ascent.none:
        return Update.unknown(name, step)
    edge = float(system.edge)
    decay = 0.0 if system.weight_decay is None else float(system.weight_decay)
    return Update(name, step, lambda gradient_norm: edge, divided, decay)


def edge_of_stability(system: Map, gradient_norm: float = 0.0) -> float:
    """Return the λ ≥ 0 at which a map flips where ‖g‖ has this value, lr(U(λ) + decay) = κ.

    GD: κ/lr; USAM: (√(1 + 4κρ/lr) − 1)/(2ρ), with κ = 2, 2(1 + β) for heavy ball, or
    (2 + 2β)/(1 + 2β) for Nesterov. SAM: that of USAM with ρ/‖g‖, the edge of Long and Bartlett,
    for a gradient along the eigenvector of λ.

    Args:
        system: a map; its rule states what multiplies g in the ascent at this ‖g‖
            (`effective_rho`), or a family of its own.
        gradient_norm: ‖g‖ ≥ 0.

    Returns:
        The edge; NaN where the rule states none, and of SAM at ‖g‖ = 0; 0 where the weight decay
        alone is beyond.

    Source: Cohen et al. 2021 (arXiv 2103.00065); Long, Bartlett 2024 (arXiv 2309.12488).

    """
    settings = theory_settings(system)
    own = system.rule.family in theory.CUBIC  # U is not λ(1 + ρλ) for any ρ
    effective = settings["rho"] if own else system.rule.effective_rho(gradient_norm)
    if not (math.isfinite(effective) and math.isfinite(gradient_norm)):
        return math.nan
    family = settings["rule"] if own else "usam"
    decay = 0.0 if system.weight_decay is None else float(system.weight_decay)
    return flip_curvature(
        settings["lr"],
        family=family if effective else "gd",
        rho=effective,
        momentum=settings["momentum"],
        scheme=settings["scheme"],
        decay=decay,
    )


def flip_curvature(
    step: float, *, family: str, rho: float, momentum: float, scheme: str, decay: float
) -> float:
    """Return the λ ≥ 0 at which step · (U(λ) + decay) = κ; 0 where the decay alone is beyond."""
    limit = float(_function("κ", scheme)(rho, step, momentum))
    if step * decay >= limit:
        return 0.0
    # ηU = κ − η·decay is the condition without decay at a larger step.
    return float(_function(family, scheme)(rho, step / (1 - step * decay / limit), momentum))


@functools.cache
def _function(family: str, scheme: str) -> Callable[[float, float, float], float]:
    """Return the edge of a family, or κ, as a function of rho, lr and momentum."""
    import sympy

    formula = theory.flip_threshold(scheme) if family == "κ" else theory.edge(family, scheme)
    return sympy.lambdify([rho, lr, beta], formula)


def adaptive_edge(lr: float, beta1: float = 0.0, *, decoupled_decay: float = 0.0) -> float:
    """Return the edge of a step lr·m/P with the moving average m⁺ = β₁m + (1 − β₁)g.

    (1 + β₁)(2 − lr·a)/((1 − β₁)lr) with decoupled weight decay a: 38/lr at β₁ = 0.9 without.

    Source: Cohen et al. 2022 (arXiv 2207.14484), equation 2; `theory.adaptive_threshold`.

    """
    return float(_adaptive()(lr, beta1, decoupled_decay)) / lr


@functools.cache
def _adaptive() -> Callable[[float, float, float], float]:
    """Return the threshold of lr·λ as a function of lr, beta1 and the decay."""
    import sympy

    from samflow.theory.adaptive import decay

    return sympy.lambdify([lr, beta, decay], theory.adaptive_threshold())
