"""Unified SAM and Monge SAM near a critical point: radii, 2-cycles and balls, on quadratics.

Unified SAM ascends by ρ((1 − μ)g + μĝ), μ = `mix`; Monge SAM by ρĝ/√(1 + α²‖g‖²), α = `metric`.
Section 5 of docs/theory. Answers are sympy expressions, exact for exact input.
"""

from collections.abc import Sequence
from typing import Any

import sympy

from samflow.theory.normalised import attraction_radius
from samflow.theory.symbols import real_number, sign


def unified_curvature(lam: Any, *, rho: Any, mix: Any) -> sympy.Expr:
    """Return U₀(λ) = λ(1 + ρ(1 − μ)λ): the part of the direction that is linear is U₀(H)w."""
    lam, rho, mix = map(sympy.sympify, (lam, rho, mix))
    return lam * (1 + rho * (1 - mix) * lam)


def unified_radius(eigenvalues: Sequence[Any], *, rho: Any, mix: Any) -> sympy.Expr:
    """Return r: the flow of Unified SAM comes to a critical point from every ‖Hw‖ < r.

    The least ρμ|λ|/(1 − ρ(1 − μ)|λ|) over the λ < 0 with ρ(1 − μ)|λ| < 1; infinite if there is
    none, since along the others USAM's part attracts. Sharp, as SAM's.
    """
    rho, mix = real_number("rho", rho), real_number("mix", mix)
    radii = [sympy.oo]
    for value in eigenvalues:
        lam = real_number("eigenvalues", value)
        left = 1 + rho * (1 - mix) * lam
        if sign(lam) < 0 and sign(left) > 0:
            radii.append(-rho * mix * lam / left)
    return min(radii)


def unified_cycle_radius(lam: Any, *, rho: Any, mix: Any, lr: Any) -> sympy.Expr:
    """Return ηρμ|λ|/(2 − ηU₀), the radius of the 2-cycle along λ ≠ 0; it exists iff ηU₀ < 2."""
    lam, rho, mix, lr = map(sympy.sympify, (lam, rho, mix, lr))
    return lr * rho * mix * sympy.Abs(lam) / (2 - lr * unified_curvature(lam, rho=rho, mix=mix))


def unified_transverse(lam: Any, other: Any, *, rho: Any, mix: Any, lr: Any) -> sympy.Expr:
    """Return x = ηU₀(λⱼ) + (λⱼ/λᵢ)²(2 − ηU₀(λᵢ)): the cycle attracts across iff 0 < x < 2."""
    lam, other, lr = map(sympy.sympify, (lam, other, lr))
    own, across = (unified_curvature(value, rho=rho, mix=mix) for value in (lam, other))
    return lr * across + (other / lam) ** 2 * (2 - lr * own)


def unified_ball(
    eigenvalues: Sequence[Any], *, rho: Any, mix: Any, lr: Any
) -> tuple[sympy.Expr, sympy.Expr] | None:
    """Return (R₀, R₁) as `invariant_ball` does for SAM, with U₀ for λ in R₀ and its own R₁."""
    rho, mix, lr = (real_number(n, v) for n, v in (("rho", rho), ("mix", mix), ("lr", lr)))
    lams = [real_number("eigenvalues", value) for value in eigenvalues]
    pairs = [(lam, lr * unified_curvature(lam, rho=rho, mix=mix)) for lam in lams]
    outer = unified_radius(lams, rho=rho, mix=mix)
    return _ball([(lr * rho * mix * lam**2, x) for lam, x in pairs], outer)


def monge_radius(eigenvalues: Sequence[Any], *, rho: Any, metric: Any) -> sympy.Expr:
    """Return r: the flow of Monge SAM comes to a critical point from every ‖Hw‖ < r.

    r√(1 + α²r²) = ρ min|λ₋|, SAM's radius: smaller than that for every α > 0, and positive.
    Infinite if no eigenvalue is negative. Sharp, as SAM's.
    """
    return _shortened(attraction_radius(eigenvalues, rho=rho), metric)


def monge_cycle_gradient(lam: Any, *, rho: Any, metric: Any, lr: Any) -> sympy.Expr:
    """Return ‖g‖ = G on the 2-cycle of Monge SAM along λ ≠ 0, ηλ < 2.

    G√(1 + α²G²) = ηρλ²/(2 − ηλ), the value for SAM. Across it x is SAM's `transverse_curvature`,
    for every α.
    """
    lam, rho, lr = map(sympy.sympify, (lam, rho, lr))
    return _shortened(lr * rho * lam**2 / (2 - lr * lam), metric)


def monge_cycle_update(lam: Any, *, rho: Any, metric: Any, lr: Any) -> sympy.Expr:
    """Return 1 − ηλ + (2 − ηλ)s, s = α²G²/(1 + α²G²): the update of a step along its 2-cycle."""
    lam, lr = map(sympy.sympify, (lam, lr))
    square = (sympy.sympify(metric) * monge_cycle_gradient(lam, rho=rho, metric=metric, lr=lr)) ** 2
    return 1 - lr * lam + (2 - lr * lam) * square / (1 + square)


def monge_largest_metric(lam: Any, *, rho: Any, lr: Any) -> sympy.Expr:
    """Return the α up to which the 2-cycle along λ > 0 attracts along itself, 0 < ηλ < 2.

    α²ρ² = (2 − ηλ)³/(4ηλ³(1 − ηλ)²); infinite for ηλ ≥ 1.
    """
    lam, rho, lr = (real_number(n, v) for n, v in (("lam", lam), ("rho", rho), ("lr", lr)))
    x = lr * lam
    if sign(1 - x) <= 0:
        return sympy.oo
    return sympy.sqrt((2 - x) ** 3 / (4 * lr * lam**3)) / (rho * (1 - x))


def monge_ball(
    eigenvalues: Sequence[Any], *, rho: Any, metric: Any, lr: Any
) -> tuple[sympy.Expr, sympy.Expr] | None:
    """Return (R₀, R₁): SAM's R₀, and `monge_radius` for R₁. Sufficient, not necessary."""
    rho, lr = real_number("rho", rho), real_number("lr", lr)
    lams = [real_number("eigenvalues", value) for value in eigenvalues]
    outer = monge_radius(lams, rho=rho, metric=metric)
    return _ball([(lr * rho * lam**2, lr * lam) for lam in lams], outer)


def _ball(
    jumps: Sequence[tuple[sympy.Expr, sympy.Expr]], outer: sympy.Expr
) -> tuple[sympy.Expr, sympy.Expr] | None:
    """Return (R₀, R₁) of r ↦ |(1 − x)r − jump|; None where some x ≥ 2 or R₀ > R₁."""
    if any(sign(2 - x) <= 0 for _, x in jumps):
        return None
    inner = max(jump / min(sympy.Integer(1), 2 - x) for jump, x in jumps)
    return None if outer != sympy.oo and sign(outer - inner) < 0 else (inner, outer)


def _shortened(length: sympy.Expr, metric: Any) -> sympy.Expr:
    """Return the r > 0 with r√(1 + α²r²) = length."""
    alpha = sympy.sympify(metric)
    if length == sympy.oo or alpha == 0:
        return length
    # As 2ℓ²/(1 + √(1 + 4α²ℓ²)), not with −1 + √: nothing cancels where αℓ is small.
    return length * sympy.sqrt(2 / (1 + sympy.sqrt(1 + 4 * alpha**2 * length**2)))
