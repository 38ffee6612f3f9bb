"""The slow drift of normalised SAM along a valley of minima.

The valley is L(u, v) = ½λ(u)v²: minima at v = 0, sharpness λ(u). SAM bounces across it on its
2-cycle and moves along it towards smaller λ. Across any other valley it turns on a contracted
rotation, and the two sides have two weights. Section 4 of docs/theory.
"""

from collections.abc import Callable
from typing import Any

import sympy

from samflow.theory.conditions import flip_threshold
from samflow.theory.rotation import RotationCycle
from samflow.theory.symbols import evaluate


def ascent_distance(
    curvature: Any, *, rho: Any, lr: Any, momentum: Any = 0, scheme: str = "none"
) -> sympy.Expr:
    """Return κρ/(κ − ηλ), the distance from the valley floor at which SAM takes its gradient.

    It is c + ρ, with c the radius of the 2-cycle; 2ρ/(2 − ηλ) without momentum.
    """
    curvature, rho, lr = map(sympy.sympify, (curvature, rho, lr))
    kappa = evaluate(flip_threshold(scheme), momentum=momentum)
    return kappa * rho / (kappa - lr * curvature)


def valley_drift(
    curvature: sympy.Expr,
    u: sympy.Symbol,
    *,
    rho: Any,
    lr: Any,
    momentum: Any = 0,
    scheme: str = "none",
) -> sympy.Expr:
    """Return u̇ = −½λ′(u) (κρ/(κ − ηλ(u)))²/(1 − β), the drift per unit of ηk at step k.

    The leading order in ρ at fixed η, with 0 < ηλ < κ; the next is of relative size ρ².

    Args:
        curvature: λ(u), an expression in `u`.
        u: the coordinate along the valley.
        rho: radius.
        lr: step size.
        momentum: β.
        scheme: of momentum.

    """
    distance = ascent_distance(curvature, rho=rho, lr=lr, momentum=momentum, scheme=scheme)
    return -sympy.diff(curvature, u) * distance**2 / (2 * (1 - sympy.sympify(momentum)))


def sharpness_flow(curvature: sympy.Expr, u: sympy.Symbol, *, rho: Any) -> sympy.Expr:
    """Return u̇ = −½ρ²λ′(u), the limit of the drift as η → 0: descent on the sharpness."""
    return -(sympy.sympify(rho) ** 2) * sympy.diff(curvature, u) / 2


def two_sided_drift(
    along_plus: Any, along_minus: Any, *, a: Any, b: Any, momentum: Any = 0
) -> sympy.Expr:
    """Return u̇ = −(bℓᵤ(n) + aℓᵤ(−n))/((a + b)(1 − β)), the drift in any valley as η → 0.

    The weights are the shares of steps on the two sides, b/(a + b) on that of n: the mean motion
    across the valley is then 0. They are also those of Filippov's solution.

    Args:
        along_plus: ℓᵤ(n), the gradient along the valley at distance ρ on the side of n.
        along_minus: ℓᵤ(−n).
        a: g·n at n, > 0.
        b: −g·n at −n, > 0.
        momentum: β.

    """
    plus, minus, a, b = map(sympy.sympify, (along_plus, along_minus, a, b))
    return -(b * plus + a * minus) / ((a + b) * (1 - sympy.sympify(momentum)))


def rotation_drift(
    along: Callable[[Any], Any], cycle: RotationCycle, *, rho: Any
) -> sympy.Expr | float:
    """Return −(1/q) Σ ∂L/∂u at z + ρ sign z over the points z of the cycle: the drift at finite η.

    Args:
        along: the gradient along the valley as a function of the height over its floor.
        cycle: of the motion across, at the same η.
        rho: radius.

    """
    heights = [
        z + (rho if side == "+" else -rho) for z, side in zip(cycle.points, cycle.word, strict=True)
    ]
    return -sum(along(height) for height in heights) / cycle.period
