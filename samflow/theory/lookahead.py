"""Lookahead-SAM's 2-cycles near a critical point, on quadratics; Proposition 17 of docs/theory.

d(w) = F(w − αF(w)), F SAM's direction, α = `lookahead`. Along an eigenvector of λ > 0, αλ < 1, put
q = 1 − αλ. Its map has a 2-cycle with SAM's radius for the step size ηq.
"""

from typing import Any

import sympy

from samflow.theory.normalised import cycle_radius, saddle_cycle_bounds
from samflow.theory.relatives import lookahead_rest
from samflow.theory.symbols import real_number, sign


def lookahead_cycle(
    lam: Any, *, rho: Any, lr: Any, lookahead: Any
) -> tuple[sympy.Expr, sympy.Expr] | None:
    """Return (m, s) with the 2-cycle m ± s along λ > 0; m = 0: it is about the critical point.

    With c = αρλ/q, `lookahead_rest`, and u = ηqρλ/(2 − ηqλ): the two cycles ±(c ± u/q) if
    u/q < c, and the one ±u if u > c. None between, for αλ ≥ 1 and for ηqλ ≥ 2.
    """
    lam, alpha = real_number("lam", lam), real_number("lookahead", lookahead)
    q, step = 1 - alpha * lam, real_number("lr", lr)
    if sign(lam) <= 0 or sign(q) <= 0 or sign(2 - step * q * lam) <= 0:
        return None
    rest = lookahead_rest(lam, rho=rho, lookahead=alpha)
    radius = cycle_radius(lam, rho=rho, lr=step * q)
    if sign(radius / q - rest) < 0:
        return rest, radius / q
    return (sympy.Integer(0), radius) if sign(radius - rest) > 0 else None


def lookahead_multiplier(lam: Any, other: Any, *, rho: Any, lr: Any, lookahead: Any) -> sympy.Expr:
    """Return the multiplier over two steps across this cycle, along the eigenvector of `other`.

    The product over both points w of 1 − ηλⱼAB, A = 1 − αλⱼ(1 + ρλⱼ/(λw)) and
    B = 1 + ρλⱼ/(λ|ŵ|), ŵ = qw − αρλ the looked-ahead point. NaN where there is no cycle.
    """
    cycle = lookahead_cycle(lam, rho=rho, lr=lr, lookahead=lookahead)
    if cycle is None:
        return sympy.nan
    (middle, swing), q = cycle, 1 - sympy.sympify(lookahead) * lam
    lam, other, rho, lr, alpha = map(sympy.sympify, (lam, other, rho, lr, lookahead))
    product = sympy.Integer(1)
    for w in (swing + middle, swing - middle):  # the second point is the negative of m − s
        w = w if middle == 0 else sympy.Abs(w)
        ahead = sympy.Abs(q * w - alpha * rho * lam)
        slower = 1 - alpha * other * (1 + rho * other / (lam * w))
        product *= 1 - lr * other * slower * (1 + rho * other / (lam * ahead))
    return product


def lookahead_weak_bound(lam: Any, *, lr: Any, lookahead: Any) -> sympy.Expr:
    """Return ηqλ²/(2 − ηqλ): the |λ₋| above which the cycle ±(c ± u/q) begins to attract.

    SAM's weak bound for the step size ηq, so less than SAM's: weaker saddles hold lookahead-SAM.
    """
    lam, lr = sympy.sympify(lam), sympy.sympify(lr)
    return saddle_cycle_bounds(lam, lr=lr * (1 - sympy.sympify(lookahead) * lam))[0]
