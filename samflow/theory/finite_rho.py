"""SAM's 2-cycle on a loss with third and fourth derivatives: where the quadratic part's is near.

To leading order in ρ at fixed η. docs/theory, rotation.md.
"""

from collections.abc import Sequence
from typing import Any

import sympy

from samflow.theory.drift import ascent_distance
from samflow.theory.normalised import cycle_radius, transverse_curvature


def cycle_offset(
    lam: Any,
    bend: Any,
    *,
    across: Sequence[tuple[Any, Any]] = (),
    rho: Any,
    lr: Any,
    momentum: Any = 0,
    scheme: str = "none",
) -> tuple[sympy.Expr, ...]:
    """Return m: the 2-cycle along λ is w* + m ± c v, with mⱼ = −½ η tⱼ(R² + ρcλⱼ/λ)/xⱼ.

    R = c + ρ is the distance at which the gradient is taken, t = ∇³L[v, v], and xⱼ the
    `transverse_curvature`. The mean direction over the cycle vanishes there. Along v itself the
    ascent does not turn: m = −½ tR²/λ. A weak λⱼ makes the offset large.

    Args:
        lam: λ > 0.
        bend: v·t, the third derivative along v.
        across: (λⱼ, tⱼ) for each other eigenvector.
        rho: radius.
        lr: step size.
        momentum: β.
        scheme: of momentum.

    """
    about = {"lr": lr, "momentum": momentum, "scheme": scheme}
    distance = ascent_distance(lam, rho=rho, **about)
    radius = cycle_radius(lam, rho=rho, **about)
    lam, lr, rho = map(sympy.sympify, (lam, lr, rho))
    pushes = [(bend, distance**2, lr * lam)]
    for other, third in across:
        turned = distance**2 + rho * radius * other / lam
        pushes.append((third, turned, transverse_curvature(lam, other, **about)))
    return tuple(-lr * sympy.sympify(third) * square / (2 * x) for third, square, x in pushes)


def quadratic_cycle_rho(
    lam: Any,
    bend: Any,
    *,
    across: Sequence[tuple[Any, Any]] = (),
    fourth: Any = 0,
    share: Any = 0.01,
    lr: Any,
    momentum: Any = 0,
    scheme: str = "none",
) -> sympy.Expr:
    """Return the ρ up to which the 2-cycle of the quadratic part is the loss's to `share` of c.

    Up to it ‖m‖ ≤ share·c, with m of `cycle_offset`, and c changes by no more than share:
    δc/c = L⁗R³/(6λρ). To leading order in each; infinite where all derivatives are 0.

    Args:
        lam: λ > 0.
        bend: v·t, the third derivative along v.
        across: (λⱼ, tⱼ) for each other eigenvector.
        fourth: L⁗, the fourth derivative along v.
        share: how far the cycle may be off.
        lr: step size.
        momentum: β.
        scheme: of momentum.

    """
    about = {"lr": lr, "momentum": momentum, "scheme": scheme}
    one = sympy.Integer(1)
    offset = cycle_offset(lam, bend, across=across, rho=one, **about)
    moved = sympy.sqrt(sum((x**2 for x in offset), sympy.Integer(0)))
    radius = cycle_radius(lam, rho=one, **about)
    distance = ascent_distance(lam, rho=one, **about)
    changed = sympy.Abs(sympy.sympify(fourth)) * distance**3 / (6 * sympy.sympify(lam))
    share = sympy.sympify(share)
    first = sympy.oo if moved == 0 else share * radius / moved
    second = sympy.oo if changed == 0 else sympy.sqrt(share / changed)
    return sympy.Min(first, second)
