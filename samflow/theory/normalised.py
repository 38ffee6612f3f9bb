"""Normalised SAM on quadratics near a critical point: arrival, 2-cycles, traps, invariant balls.

d(w) = g(w + ρ g(w)/‖g(w)‖) jumps where g = 0, so that it has no linearisation there. The flow
slides; the map has 2-cycles, or a trap. Section 3 of docs/theory. Answers are sympy expressions,
exact for exact input. Formulas of one or two eigenvalues also take symbols.
"""

from collections.abc import Sequence
from typing import Any

import sympy

from samflow.theory.conditions import flip_threshold
from samflow.theory.symbols import evaluate, real_number, sign


def cycle_radius(
    lam: Any, *, rho: Any, lr: Any, momentum: Any = 0, scheme: str = "none"
) -> sympy.Expr:
    """Return c, where ±c v is SAM's 2-cycle along the unit eigenvector v of λ ≠ 0.

    c = ηρ|λ|/(κ − ηλ), κ = `flip_threshold(scheme)`; it exists iff ηλ < κ. On the cycle
    ηλ(1 + ρ/c sign λ) = κ: SAM holds itself at the flip.
    """
    lam, rho, lr = map(sympy.sympify, (lam, rho, lr))
    return lr * rho * sympy.Abs(lam) / (_kappa(scheme, momentum) - lr * lam)


def cycle_multiplier(lam: Any, *, lr: Any) -> sympy.Expr:
    """Return (1 − ηλ)², the multiplier of the plain map's 2-cycle along its own eigenvector.

    It is over two steps. The cycle attracts in one dimension iff 0 < ηλ < 2.
    """
    return (1 - sympy.sympify(lr) * lam) ** 2


def transverse_curvature(
    lam: Any, other: Any, *, lr: Any, momentum: Any = 0, scheme: str = "none"
) -> sympy.Expr:
    """Return x = ηλⱼ + (λⱼ/λᵢ)²(κ − ηλᵢ), the scaled curvature that the 2-cycle along λᵢ has in λⱼ.

    The cycle attracts in that direction iff 0 < x < κ, for every ρ. Without momentum the
    multiplier over two steps is (1 − x)².

    Args:
        lam: λᵢ, of the eigenvector along which the cycle lies.
        other: λⱼ, of an eigenvector across it.
        lr: step size.
        momentum: β.
        scheme: of momentum.

    """
    lam, other, lr = map(sympy.sympify, (lam, other, lr))
    return lr * other + (other / lam) ** 2 * (_kappa(scheme, momentum) - lr * lam)


def stable_cycles(
    eigenvalues: Sequence[Any], *, lr: Any, momentum: Any = 0, scheme: str = "none"
) -> tuple[int, ...]:
    """Return the indices of the eigenvectors along which SAM's 2-cycle attracts.

    At most one: that of the largest eigenvalue, if it is simple and no negative eigenvalue is too
    weak or too strong (`saddle_cycle_bounds`). Local: nothing is said about the size of the basin,
    or about other attractors.
    """
    lams = [real_number("eigenvalues", value) for value in eigenvalues]
    step, kappa = real_number("lr", lr), _kappa(scheme, momentum)

    def attracts(i: int) -> bool:
        top, others = lams[i], lams[:i] + lams[i + 1 :]
        if not (sign(top) > 0 and sign(kappa - step * top) > 0):
            return False
        weak, strong = saddle_cycle_bounds(top, lr=step, momentum=momentum, scheme=scheme)
        return all(
            sign(top - other) > 0 if sign(other) > 0 else weak < -other < strong for other in others
        )

    return tuple(i for i in range(len(lams)) if attracts(i))


def saddle_cycle_bounds(
    lam: Any, *, lr: Any, momentum: Any = 0, scheme: str = "none"
) -> tuple[sympy.Expr, sympy.Expr]:
    """Return the bounds on |λ₋| between which a saddle holds SAM on the 2-cycle along λ > 0.

    ηλ²/(κ − ηλ) < |λ₋| < κλ/(κ − ηλ), for 0 < ηλ < κ. The bounds do not depend on ρ. λ is the
    largest eigenvalue; with several negative ones, each must be between the bounds.
    """
    lam, lr = map(sympy.sympify, (lam, lr))
    kappa = _kappa(scheme, momentum)
    return lr * lam**2 / (kappa - lr * lam), kappa * lam / (kappa - lr * lam)


def trap_radius(lam: Any, *, rho: Any, lr: Any) -> sympy.Expr:
    """Return ηρ|λ|: where λ < 0 and η|λ| < 1, the one-dimensional map keeps |w| ≤ ηρ|λ|.

    Every orbit from |w| < ρ enters this interval in finitely many steps; ±ρ are repelling fixed
    points. For η|λ| ≥ 1 nothing near 0 attracts.
    """
    return sympy.sympify(lr) * rho * sympy.Abs(lam)


def trap_exponent(lam: Any, *, lr: Any) -> sympy.Expr:
    """Return log(1 + η|λ|), the Lyapunov exponent in the trap of λ < 0: the orbit is chaotic."""
    return sympy.log(1 + sympy.sympify(lr) * sympy.Abs(lam))


def invariant_ball(
    eigenvalues: Sequence[Any], *, rho: Any, lr: Any
) -> tuple[sympy.Expr, sympy.Expr] | None:
    """Return (R₀, R₁): the plain map keeps ‖Hw‖ ≤ R for every R₀ ≤ R < R₁, and enters R₀ from R₁.

    R₁ = ρ min|λ₋| (infinite if no eigenvalue is negative) and R₀ = ηρ max λ²/min(1, 2 − ηλ), over
    all eigenvalues. A saddle or a maximum with R₀ ≤ R₁ therefore holds the map for ever, whether or
    not a cycle attracts, and for every ρ. Sufficient, not necessary; sharp in one dimension.

    Returns:
        The two radii, in units of the gradient; None where R₀ > R₁ or some ηλ ≥ 2.

    """
    lams = _nonzero(eigenvalues)
    radius, step = real_number("rho", rho), real_number("lr", lr)
    if any(sign(2 - step * lam) <= 0 for lam in lams):
        return None
    inner = max(step * radius * lam**2 / min(sympy.Integer(1), 2 - step * lam) for lam in lams)
    outer = attraction_radius(lams, rho=radius)
    return None if outer != sympy.oo and sign(outer - inner) < 0 else (inner, outer)


def arrival_time(lam: Any, w0: Any, *, rho: Any) -> sympy.Expr:
    """Return the time at which SAM's flow on ½λw² comes to w = 0, where it stays.

    ln(1 + |w₀|/ρ)/λ for λ > 0; −ln(1 − |w₀|/ρ)/|λ| for λ < 0 and |w₀| < ρ; otherwise infinite.
    """
    lam, w0, rho = (real_number(n, v) for n, v in (("lam", lam), ("w0", w0), ("rho", rho)))
    side = sign(lam)
    if side == 0:
        return sympy.Integer(0) if sign(w0) == 0 else sympy.oo
    if side < 0 and sign(rho - sympy.Abs(w0)) <= 0:
        return sympy.oo
    return sympy.log(1 + side * sympy.Abs(w0) / rho) / lam


def attraction_radius(eigenvalues: Sequence[Any], *, rho: Any) -> sympy.Expr:
    """Return r = ρ min|λ₋|: SAM's flow comes to a critical point from every ‖Hw‖ < r.

    Infinite if no eigenvalue is negative. It is the best radius: at ‖Hw‖ = r, the points ±ρv on the
    eigenvector of the weakest negative eigenvalue are equilibria. Where H has a kernel, the flow
    comes to some point of it. Exact on quadratics; otherwise the loss must be close to its
    quadratic model up to the distance ρ of the ascent point.
    """
    negative = [-lam for lam in _nonzero(eigenvalues) if sign(lam) < 0]
    if not negative:
        return sympy.oo
    return real_number("rho", rho) * min(negative)


def arrival_time_bound(eigenvalues: Sequence[Any], gradient_norm: Any, *, rho: Any) -> sympy.Expr:
    """Return a time by which SAM's flow on a quadratic has come from ‖Hw₀‖ to a critical point.

    r = ‖Hw‖ falls at least at the speed f(r) = min λ(r + ρλ), over nonzero λ. f is concave, so it
    is above its chord from f(0) to f(r₀): T ≤ r₀ ln(f(r₀)/f(0))/(f(r₀) − f(0)). Exact in one
    dimension; infinite where f(r₀) ≤ 0, from the `attraction_radius` on.
    """
    lams, rho = _nonzero(eigenvalues), real_number("rho", rho)
    start = real_number("gradient_norm", gradient_norm)

    def speed(r: sympy.Expr) -> sympy.Expr:
        return min(lam * (r + rho * lam) for lam in lams)

    at_start, at_end = speed(start), speed(sympy.Integer(0))
    if sign(at_start) <= 0:
        return sympy.oo
    if sign(at_start - at_end) == 0:
        return start / at_end
    return start * sympy.log(at_start / at_end) / (at_start - at_end)


def _kappa(scheme: str, momentum: Any) -> sympy.Expr:
    return evaluate(flip_threshold(scheme), momentum=momentum)


def _nonzero(eigenvalues: Sequence[Any]) -> list[sympy.Expr]:
    lams = [real_number("eigenvalues", value) for value in eigenvalues]
    nonzero = [lam for lam in lams if sign(lam) != 0]
    if not nonzero:
        raise ValueError(
            f"Argument `eigenvalues` must have a nonzero number, but is {list(eigenvalues)}."
        )
    return nonzero
