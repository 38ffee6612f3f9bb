"""Rules under Adam, AdamW, RMSprop and Lion: edges with a frozen preconditioner, and 2-cycles.

Section 13 of docs/theory. P is one eigenvalue of the preconditioner in a direction in which it
commutes with the Hessian; in general ηU/P stands for an eigenvalue of ηP⁻¹D.
"""

import functools
from typing import Any

import sympy

from samflow.theory.conditions import edge, effective_curvature
from samflow.theory.symbols import (
    beta,
    evaluate,
    lr,
    multiplier,
    nonnegative_number,
    positive_number,
    real_number,
    scaled_curvature,
    sign,
)

preconditioner = sympy.Symbol("P", positive=True)
"""An eigenvalue of the preconditioner."""

decay = sympy.Symbol("δ", nonnegative=True)
"""Decoupled weight decay, per unit of lr."""

_w, _m = sympy.symbols("w m", real=True)


@functools.cache
def adaptive_polynomial() -> sympy.Expr:
    """Return det(zI − A) of m⁺ = βm + (1−β)Uw, w⁺ = (1−ηδ)w − ηm⁺/P, with x = ηU/P.

    z² − (1 + β − ηδ − (1−β)x)z + β(1 − ηδ). Without decay it is that of heavy ball with the step
    size (1−β)η/P.
    """
    mean = beta * _m + (1 - beta) * scaled_curvature * preconditioner / lr * _w
    update = sympy.Matrix([(1 - lr * decay) * _w - lr * mean / preconditioner, mean])
    matrix = update.jacobian([_w, _m])
    determinant = (multiplier * sympy.eye(2) - matrix).det()
    return sympy.collect(sympy.expand(determinant), multiplier)


@functools.cache
def adaptive_jury() -> tuple[sympy.Expr, sympy.Expr, sympy.Expr]:
    """Return p(1), p(−1) and 1 − p(0): all multipliers are inside iff all are > 0."""
    at_plus, at_minus, determinant = (
        sympy.expand(adaptive_polynomial().subs(multiplier, z)) for z in (1, -1, 0)
    )
    return at_plus.factor(), at_minus.factor(), 1 - determinant


@functools.cache
def adaptive_threshold() -> sympy.Expr:
    """Return the value (1 + β)(2 − ηδ)/(1 − β) of x = ηU/P at which a multiplier is −1.

    38 for Adam with β = 0.9 (Cohen et al. 2022, arXiv 2207.14484), 2 for RMSprop, β = 0.
    """
    (threshold,) = sympy.solve(adaptive_jury()[1], scaled_curvature)
    return threshold.factor()


def adaptive_edge(rule: str) -> sympy.Expr:
    """Return the quasi-static edge: the λ > 0 with ηU(λ)/P at the threshold, P frozen.

    As `edge`, with η/P in the place of η and `adaptive_threshold` in that of κ; "sam" has ρ/‖g‖.
    """
    return edge(rule).subs(lr, 2 * lr / (preconditioner * adaptive_threshold()))


def adaptive_cycle(
    lam: Any,
    *,
    lr: Any,
    beta1: Any = 0,
    rule: str = "gd",
    rho: Any = 0,
    eps: Any = 0,
    decay: Any = 0,
) -> sympy.Expr | None:
    """Return the distance of the 2-cycle ±a along an eigenvalue λ of a quadratic; None: none.

    (2 − ηδ) a (G + ε) = ηcG with c = (1 − β₁)/(1 + β₁) and G = ‖d(a)‖. There v = G² at rest, and
    P = G + ε is at the edge of the secant G/a: the cycle begins where the critical point, whose P
    is ε, loses its stability. Of SAM, G = λ(a + ρ), it always exists.

    Args:
        lam: the eigenvalue, > 0; other than for SAM with U(λ) > 0.
        lr: step size.
        beta1: of the first moment; 0: none.
        rule: "sam", or one of `RULES`.
        rho: of the rule.
        eps: outside of the root, without any inside.
        decay: decoupled.

    """
    step, first = positive_number("lr", lr), nonnegative_number("beta1", beta1)
    small, shrinks = nonnegative_number("eps", eps), nonnegative_number("decay", decay)
    left = 2 - step * shrinks
    if sign(left) <= 0:
        return None
    reach = step * (1 - first) / (1 + first) / left
    if rule == "sam":
        value, radius = positive_number("lam", lam), positive_number("rho", rho)
        half = (radius + small / value - reach) / 2
        return sympy.sqrt(half**2 + reach * radius) - half
    number = evaluate(effective_curvature(rule), lam=real_number("lam", lam), rho=rho)
    if sign(number) <= 0:
        return None
    found = reach - small / number
    return found if sign(found) > 0 else None


def adaptive_cycle_limit(beta1: Any, beta2: Any) -> sympy.Expr:
    """Return the G/(G + ε) up to which the 2-cycle of GD or USAM attracts, infinite for β₁ = 0.

    (1 − β₁)(1 − β₁β₂)/(2β₁(1 + β₂)): a Neimark–Sacker bifurcation, on one weight of a quadratic.
    For Adam's 0.9 and 0.999 it is 0.0028: the cycle attracts only next to its beginning.
    """
    first, second = nonnegative_number("beta1", beta1), nonnegative_number("beta2", beta2)
    if sign(first) == 0:
        return sympy.oo
    return (1 - first) * (1 - first * second) / (2 * first * (1 + second))


def adaptive_cycle_polynomial() -> sympy.Expr:
    """Return the characteristic polynomial of the 2-cycle in z, β₁ = β, β₂ and q = G/(G + ε).

    Its roots are the multipliers of one step in the frame that alternates, (−1)ᵏ(w, −m) and v.
    """
    second, share = sympy.symbols("β2 q", nonnegative=True)
    gain = 2 * (1 + beta) / (1 - beta)
    moved, mean, root = sympy.symbols("A M S")
    new_mean = -beta * mean + (1 - beta) * moved
    new_root = second * root + (1 - second) * moved
    image = [-moved + gain * new_mean - 2 * share * new_root, new_mean, new_root]
    matrix = sympy.Matrix(image).jacobian([moved, mean, root])
    return sympy.collect(sympy.expand((multiplier * sympy.eye(3) - matrix).det()), multiplier)


def lion_band(beta1: Any, beta2: Any) -> sympy.Expr:
    """Return q = (1 + β₂ − 2β₁)/(1 + β₂): Lion has 2-cycles about a minimum iff q > 0.

    Along one weight of a quadratic, without decay: w alternates between b ± η/2 for every b with
    |b| < qη/2. With decoupled decay δ there is ±η/(2 − ηδ). None depends on the curvature.
    """
    first, second = nonnegative_number("beta1", beta1), nonnegative_number("beta2", beta2)
    return (1 + second - 2 * first) / (1 + second)
