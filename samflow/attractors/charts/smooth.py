"""Conditions of stability of a rule that has a Jacobian at the critical point: 0 < ηU(λ) < κ."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from samflow import theory
from samflow.attractors.charts.curves import Condition
from samflow.attractors.charts.plane import Plane
from samflow.theory.symbols import beta, grad_norm, lam, lr, rho


def has_conditions(plane: Plane) -> bool:
    """Say whether theory knows the conditions in this plane."""
    return plane.system.rule.family is not None and plane.is_known()


def conditions(plane: Plane, curvature: np.ndarray) -> list[Condition]:
    """Return the conditions 0 < ηU(λ) and ηU(λ) < κ of each eigenvalue."""
    found = []
    for value in np.unique([float(f"{each:.12g}") for each in curvature]).tolist():
        up, flip = (f"λ = {value:.6g} {what}" for what in ("passes +1", "flips"))
        found.append(Condition(up, up, _slack(plane, value, flips=False)))
        found.append(Condition(flip, flip, _slack(plane, value, flips=True)))
    return found


def _slack(
    plane: Plane, value: float, *, flips: bool
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def slack(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        at = plane.numbers(x, y)
        scaled = at["lr"] * _curvature(plane, value, at)
        return np.broadcast_to(flip(plane, at) - scaled if flips else scaled, np.shape(x + y))

    return slack


def _curvature(plane: Plane, value: float, at: dict[str, Any]) -> Any:
    rule = plane.system.rule
    radius = at["rho"] / at["eps"] if "eps" in rule.windows else at["rho"]
    return _effective_curvature(rule.family or "")(value, radius)


@functools.cache
def _effective_curvature(family: str) -> Callable[..., Any]:
    import sympy

    return sympy.lambdify((lam, rho), theory.effective_curvature(family), "numpy")


def flip(plane: Plane, at: dict[str, Any]) -> Any:
    """Return κ, the value of ηU at which a multiplier passes −1."""
    system = plane.system
    return _flip("none" if system.momentum is None else "heavy_ball")(at["momentum"])


@functools.cache
def _flip(scheme: str) -> Callable[..., Any]:
    import sympy

    return sympy.lambdify((beta,), theory.flip_threshold(scheme), "numpy")


def binding(plane: Plane, found: Sequence[Condition]) -> np.ndarray:
    """Name the condition that fails most in each cell, or that is nearest to failing."""
    x, y = np.meshgrid(plane.x, plane.y, indexing="ij")
    slack = np.stack([condition.slack(x, y) for condition in found], axis=-1)
    return np.array([condition.name for condition in found])[slack.argmin(axis=-1)]


def edge_condition(plane: Plane, top: float, gradient_norm: float) -> Condition:
    """Return SAM's edge of stability at a gradient norm: that of USAM with rho/‖g‖ for rho.

    Source: Long and Bartlett 2024.
    """
    import sympy

    edge = theory.edge("sam") if plane.system.momentum is None else theory.edge("sam", "heavy_ball")
    largest = sympy.lambdify((rho, lr, beta, grad_norm), edge, "numpy")
    name = f"edge of stability at ‖g‖ = {gradient_norm:g}"

    def slack(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        at = plane.numbers(x, y)
        with np.errstate(divide="ignore", invalid="ignore"):  # rho = 0
            limit = largest(at["rho"], at["lr"], at["momentum"], gradient_norm)
        return np.broadcast_to(limit - top, np.shape(x + y))

    return Condition(name, name, slack)
