"""SAM with ε in the denominator near a critical point: windows in ε and ρ, 2-cycles.

d(w) = g(w + ρ g/(‖g‖ + ε)), or with the denominator √(‖g‖² + ε²). Where ‖g‖ ≪ ε this is USAM with
ρ/ε in the place of ρ, differentiable at the critical point; where ‖g‖ ≫ ε it is SAM. Section 3 of
docs/theory.
"""

import functools
from collections.abc import Iterable
from typing import Any

import sympy

from samflow.theory.conditions import flip_threshold
from samflow.theory.critical_points import rho_window
from samflow.theory.symbols import (
    eps,
    evaluate,
    grad_norm,
    lam,
    positive_number,
    rho,
    sign,
)
from samflow.theory.windows import (
    ABOVE_ZERO,
    TO_INFINITY,
    Endpoint,
    Window,
    symbolic_rho_window,
)

PLACEMENTS = {"outside": grad_norm + eps, "inside": sympy.sqrt(grad_norm**2 + eps**2)}
"""What the gradient is divided by, under the two names of where ε stands."""


def practical_curvature(placement: str = "outside") -> sympy.Expr:
    """Return U(λ) = λ(1 + ρλ/ε), exact at a critical point for either placement.

    All of USAM's conditions hold with ρ/ε in the place of ρ.
    """
    w = sympy.Symbol("w", positive=True)
    gradient = lam * w
    length = PLACEMENTS[_known(placement)].subs(grad_norm, sympy.Abs(gradient))
    direction = lam * (w + rho * gradient / length)
    return sympy.limit(direction / w, w, 0).factor()


def eps_window(
    eigenvalues: Iterable[Any],
    *,
    rho: Any,
    lr: Any = None,
    momentum: Any = 0,
    scheme: str = "none",
    tolerance: float = 0.0,
) -> Window:
    """Return the ε > 0 for which a critical point attracts practical SAM.

    ηρλ²/(κ − ηλ) < ε for every λ, and ε < ρ|λ| for every λ < 0: the window of USAM in ρ/ε, solved
    for ε. The lower end is the gradient's norm on the 2-cycle of SAM along that eigenvector. The
    cycle shrinks to a fixed point when ε exceeds it. Empty where some ηλ ≥ κ. In a flow
    (`lr` None) a critical point attracts iff ε < ρ min|λ₋|.

    Args:
        eigenvalues: of the Hessian.
        rho: radius, > 0.
        lr: step size; None means the flow.
        momentum: β.
        scheme: of momentum.
        tolerance: |λ| at most this counts as 0.

    """
    radius = positive_number("rho", rho)
    window = rho_window(eigenvalues, lr=lr, momentum=momentum, scheme=scheme, tolerance=tolerance)

    def turned(end: Endpoint, free: Endpoint) -> Endpoint:
        if end.eigenvalue is None:
            return free
        value = sympy.oo if sign(end.value) <= 0 else radius / end.value
        return Endpoint(value, end.event, eigenvalue=end.eigenvalue)

    low, high = turned(window.high, ABOVE_ZERO), turned(window.low, TO_INFINITY)
    return Window(eps, low, high, window.neutral)


@functools.cache
def symbolic_eps_window(sign: int, *, scheme: str = "none", flow: bool = False) -> Window:
    """Return the ε for which practical SAM is attracted along an eigenvector, λ of the given sign.

    Map: ηρλ²/(κ − ηλ) < ε, for λ < 0 also ε < −ρλ. It holds for ηλ < κ. Otherwise no ε
    attracts. Flow: only the upper end. `eps_window` takes numbers.

    Args:
        sign: 1 or −1, the sign of λ.
        scheme: of momentum.
        flow: whether the system is the flow ẇ = −d(w).

    """
    window = symbolic_rho_window(sign, scheme=scheme, flow=flow)

    def turned(end: Endpoint, free: Endpoint) -> Endpoint:
        if end.eigenvalue is None:
            return free
        value: Any = rho / end.value
        return Endpoint(value.factor(), end.event, eigenvalue=lam)

    return Window(eps, turned(window.high, ABOVE_ZERO), turned(window.low, TO_INFINITY))


def practical_rho_window(
    eigenvalues: Iterable[Any],
    *,
    eps: Any,
    lr: Any = None,
    momentum: Any = 0,
    scheme: str = "none",
    tolerance: float = 0.0,
) -> Window:
    """Return the ρ ≥ 0 for which a critical point attracts practical SAM: ε times USAM's window.

    Args:
        eigenvalues: of the Hessian.
        eps: ε > 0.
        lr: step size; None means the flow.
        momentum: β.
        scheme: of momentum.
        tolerance: |λ| at most this counts as 0.

    """
    small = positive_number("eps", eps)
    window = rho_window(eigenvalues, lr=lr, momentum=momentum, scheme=scheme, tolerance=tolerance)
    return window.times(small)


def practical_cycle(
    lam: Any,
    *,
    rho: Any,
    lr: Any,
    eps: Any,
    placement: str = "outside",
    momentum: Any = 0,
    scheme: str = "none",
) -> sympy.Expr:
    """Return ‖g‖ on the 2-cycle of practical SAM along the eigenvector of λ ≠ 0, ηλ < κ.

    With G = ηρλ²/(κ − ηλ), its value for SAM: G − ε, or √(G² − ε²) with ε inside the root. Zero
    for ε ≥ G: there is no cycle, and the critical point does not flip.
    """
    value, radius, step, small = map(sympy.sympify, (lam, rho, lr, eps))
    kappa = evaluate(flip_threshold(scheme), momentum=momentum)
    ideal = step * radius * value**2 / (kappa - step * value)
    if sign(ideal - small) <= 0:
        return sympy.Integer(0)
    return ideal - small if _known(placement) == "outside" else sympy.sqrt(ideal**2 - small**2)


def _known(placement: str) -> str:
    if placement not in PLACEMENTS:
        raise ValueError(f"Argument `placement` must be outside or inside, but is {placement!r}.")
    return placement
