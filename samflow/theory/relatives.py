"""Closed forms for the relatives of SAM near a critical point, rule by rule.

They are for quadratics unless said otherwise. Section 5 of docs/theory has the derivations, and the
table of all rules. Answers are sympy expressions, exact for exact input.
"""

from collections.abc import Sequence
from typing import Any

import sympy

from samflow.theory.conditions import flip_threshold
from samflow.theory.normalised import cycle_radius, saddle_cycle_bounds
from samflow.theory.symbols import evaluate, multiplier, real_number, sign

curvature_across = sympy.Symbol("x", real=True)
"""x = ηλⱼ: step size times the curvature across a cycle."""

ascent_across = sympy.Symbol("y", nonnegative=True)
"""y = (λⱼ/λᵢ)²(2 − ηλᵢ): what SAM's ascent adds to it on the 2-cycle along λᵢ."""


def adaptive_cycle_bounds(
    lam: Any, *, ratio: Any, lr: Any, momentum: Any = 0, scheme: str = "none"
) -> tuple[sympy.Expr, sympy.Expr]:
    """Return the bounds on |λ₋| between which ASAM's 2-cycle along λ > 0 attracts.

    For eigenvectors along coordinate axes, with scales Tᵢ = |wᵢ| + shift at the critical point, all
    nonzero, and `ratio` τ = T₋/T₊: the scaled curvature across is ηλⱼ + (τλⱼ/λ)²(κ − ηλ). The
    cycle's radius is SAM's with ρT₊ for ρ. At τ = 1 the bounds are `saddle_cycle_bounds`.
    """
    lam, tau, lr = map(sympy.sympify, (lam, ratio, lr))
    kappa = evaluate(flip_threshold(scheme), momentum=momentum)
    pull = tau**2 * (kappa - lr * lam) / lam**2
    weak = lr / pull
    strong = (lr + sympy.sqrt(lr**2 + 4 * kappa * pull)) / (2 * pull)
    return weak, strong


def friendly_update(sigma: Any, decay: Any) -> sympy.Matrix:
    """Return F-SAM's update across its 2-cycle, in the state (wⱼ, mⱼ/λⱼ).

    On the cycle along λᵢ the memory alternates with the gradient, m = −g(1 − θ)/(1 + θ), so that
    g − σm = s g with s = 1 + σ(1 − θ)/(1 + θ): the ascent, and so the cycle, is SAM's. Across it
    w⁺ = (1 − x − y/s) w + (σy/s) n and n⁺ = θn + (1 − θ)w, θ = `decay`.
    """
    x, y = curvature_across, ascent_across
    sigma, decay = map(sympy.sympify, (sigma, decay))
    s = 1 + sigma * (1 - decay) / (1 + decay)
    return sympy.Matrix([[1 - x - y / s, sigma * y / s], [1 - decay, decay]])


def friendly_cycle_bounds(
    lam: Any, *, lr: Any, sigma: Any, decay: Any
) -> tuple[sympy.Expr, sympy.Expr]:
    """Return the bounds on |λ₋| between which F-SAM's 2-cycle along λ > 0 attracts.

    The upper one is SAM's; the lower one is SAM's times s/(1 − σ), s as in `friendly_update`, and
    infinite for σ ≥ 1: with σ = 1, no saddle has an attracting 2-cycle.
    """
    weak, strong = saddle_cycle_bounds(lam, lr=lr)
    sigma, decay = map(sympy.sympify, (sigma, decay))
    s = 1 + sigma * (1 - decay) / (1 + decay)
    return (weak * s / (1 - sigma) if sigma < 1 else sympy.oo), strong


def suppressed_update(theta: Any) -> sympy.Matrix:
    """Return VaSSO's update across its 2-cycle, in the state (wⱼ, mⱼ/λⱼ).

    On the cycle the averaged gradient is θg/(2 − θ), along the gradient: the cycle is SAM's. Across
    it n⁺ = (1 − θ)n + θw and w⁺ = (1 − x)w − (y(2 − θ)/θ) n⁺.
    """
    x, y = curvature_across, ascent_across
    theta = sympy.sympify(theta)
    gain = y * (2 - theta) / theta
    return sympy.Matrix([[1 - x - gain * theta, -gain * (1 - theta)], [theta, 1 - theta]])


def suppressed_cycle_bounds(
    lam: Any, *, lr: Any, theta: Any
) -> tuple[sympy.Expr, sympy.Expr, sympy.Expr]:
    """Return the bounds on |λ₋| within which VaSSO's 2-cycle along λ > 0 attracts.

    SAM's lower bound times θ/(2 − θ); SAM's upper bound; and a second upper bound θ/(η(1 − θ)),
    where a complex pair leaves the unit circle.
    """
    weak, strong = saddle_cycle_bounds(lam, lr=lr)
    theta, lr = map(sympy.sympify, (theta, lr))
    pair = sympy.oo if theta == 1 else theta / (lr * (1 - theta))
    return weak * theta / (2 - theta), strong, pair


def update_conditions(update: sympy.Matrix) -> tuple[sympy.Expr, sympy.Expr, sympy.Expr]:
    """Return p(1), p(−1) and 1 − D of a 2×2 update: it contracts iff all are positive (Jury)."""
    polynomial = (multiplier * sympy.eye(2) - update).det()
    values = (polynomial.subs(multiplier, z) for z in (1, -1, 0))
    at_plus, at_minus, determinant = (sympy.expand(sympy.simplify(value)) for value in values)
    return at_plus, at_minus, 1 - determinant


def lookahead_rest(lam: Any, *, rho: Any, lookahead: Any) -> sympy.Expr:
    """Return αρ|λ|/(1 − αλ), the distance from a critical point at which lookahead-SAM rests.

    In one dimension, αλ < 1, for the flow: nearer to the critical point the looked-ahead point
    w − αF(w) lies on its other side, and the flow leads away from it, at a minimum as at a
    maximum. At this distance the looked-ahead point is the critical point, and the flow slides.
    The map hovers about it. α = `lookahead`.
    """
    lam, rho, alpha = map(sympy.sympify, (lam, rho, lookahead))
    return alpha * rho * sympy.Abs(lam) / (1 - alpha * lam)


def multistep_rests(*, rho: Any, num_steps: int, average: bool = False) -> tuple[sympy.Expr, ...]:
    """Return the distances from a maximum at which multi-step SAM's flow slides.

    In one dimension, λ < 0. Each of the k ascent steps moves towards the maximum by ρ/k. The steps
    that remain after it is passed jump back and forth across it. With an odd k the flow is held at
    0, 2, 4, ... times ρ/k. With an even k it is held at 1, 3, ... times ρ/k, and leaves the maximum
    as GD does. With `average`, the mean of the k gradients, the maximum is held for every k.
    """
    step, k = sympy.sympify(rho) / num_steps, num_steps
    reach = [multistep_reach(band, num_steps=k, average=average) for band in range(1, k + 1)]
    # Just beyond (n − 1) steps the flow leads inwards iff its reach is more than n − 1.
    held = [n for n in range(k) if reach[n] > n and (n == 0 or reach[n - 1] < n)]
    return tuple(n * step for n in held)


def multistep_reach(band: int, *, num_steps: int, average: bool = False) -> sympy.Expr:
    """Return A with d = λ(w − Aρ/k) for (band − 1)ρ/k < w < band·ρ/k ≤ ρ, λ < 0."""
    ends = [
        min(taken, band) - max(0, taken - band) % 2  # once past the maximum: back, there, back
        for taken in range(1, num_steps + 1)
    ]
    return sympy.Rational(sum(ends), num_steps) if average else sympy.Integer(ends[-1])


def multistep_cycle_radius(
    lam: Any,
    *,
    rho: Any,
    lr: Any,
    num_steps: int,
    average: bool = False,
    momentum: Any = 0,
    scheme: str = "none",
) -> sympy.Expr:
    """Return the radius of multi-step SAM's 2-cycle along the eigenvector of λ > 0.

    All steps go the same way: SAM's radius, or with `average` that with ρ(k + 1)/(2k) for ρ.
    """
    share = sympy.Rational(num_steps + 1, 2 * num_steps) if average else 1
    return cycle_radius(
        lam, rho=share * sympy.sympify(rho), lr=lr, momentum=momentum, scheme=scheme
    )


def multistep_curvature(
    lam: Any,
    other: Any,
    *,
    lr: Any,
    num_steps: int,
    average: bool = False,
    momentum: Any = 0,
    scheme: str = "none",
) -> sympy.Expr:
    """Return x, the scaled curvature that this cycle has across it, in λⱼ = `other`.

    The m-th ascent step multiplies what is across by 1 + (λⱼ/λ)/(γ + m), γ = kc/ρ, so that
    x = ηλⱼ ∏ₘ (1 + (λⱼ/λ)/(γ + m)), m = 0, ..., k − 1. With `average` the mean of the partial
    products replaces the product. The cycle attracts iff 0 < x < κ for every other λⱼ.
    Without averaging, a negative λⱼ with |λⱼ| ≤ λ has x > 0 iff |λⱼ| > kηλ²/(κ − ηλ): k times
    the bound of SAM.
    """
    lam, other, lr = map(sympy.sympify, (lam, other, lr))
    settings = {"num_steps": num_steps, "average": average, "momentum": momentum, "scheme": scheme}
    gamma = num_steps * multistep_cycle_radius(lam, rho=1, lr=lr, **settings)
    product, products = sympy.Integer(1), []
    for m in range(num_steps):
        product *= 1 + other / lam / (gamma + m)
        products.append(product)
    return lr * other * (sum(products) / num_steps if average else product)


def optimistic_cycle_radius(lam: Any, *, rho: Any, lr: Any, lookahead: Any) -> sympy.Expr:
    """Return ηρλ/(2 − (η + 2α)λ), the radius of optimistic SAM's 2-cycle along λ > 0.

    It attracts in one dimension iff (η + 2α)λ < 2, α = `lookahead`.
    """
    lam, lr = sympy.sympify(lam), sympy.sympify(lr)
    return lr * rho * lam / (2 - (lr + 2 * sympy.sympify(lookahead)) * lam)


def optimistic_cycle_bounds(lam: Any, *, lr: Any, lookahead: Any) -> tuple[sympy.Expr, sympy.Expr]:
    """Return the bounds on |λ₋| between which this cycle attracts: SAM's with η + 2α for η."""
    return saddle_cycle_bounds(lam, lr=sympy.sympify(lr) + 2 * sympy.sympify(lookahead))


def optimistic_update(curvature: Any, *, lr: Any, lookahead: Any) -> sympy.Matrix:
    """Return optimistic SAM's update (w, p) ↦ (w − ηVŵ, Vŵ), ŵ = w − αp, V = `curvature`.

    Along its 2-cycle V = λ. Across it V = λⱼ(1 + (λⱼ/λ²)(2/(η + 2α) − λ)).
    """
    v, lr, alpha = map(sympy.sympify, (curvature, lr, lookahead))
    return sympy.Matrix([[1 - lr * v, lr * alpha * v], [v, -alpha * v]])


def optimistic_curvature(lam: Any, other: Any, *, lr: Any, lookahead: Any) -> sympy.Expr:
    """Return V across the 2-cycle along λ, see `optimistic_update`."""
    lam, other = map(sympy.sympify, (lam, other))
    far = sympy.sympify(lr) + 2 * sympy.sympify(lookahead)
    return other * (1 + other / lam**2 * (2 / far - lam))


def renormalised_multiplier(lam: Any, *, lr: Any) -> sympy.Expr:
    """Return 1 − η|λ|, SSAM's multiplier along an eigenvector, for 0 < ‖g‖ < ρ|λ| where λ < 0.

    SSAM keeps the gradient's length and reverses it where the loss curves down. Every
    nondegenerate critical point attracts its flow, from ‖Hw‖ < ρ min|λ₋|, exponentially.
    """
    return 1 - sympy.sympify(lr) * sympy.Abs(lam)


def renormalised_largest_lr(eigenvalues: Sequence[Any]) -> sympy.Expr:
    """Return 2 min|λ|/max λ²: for smaller steps SSAM's map comes to the point, too, from nearby.

    Sufficient: then ‖Hw‖ falls at every step. Necessary is η max|λ| < 2, which in two dimensions is
    also sufficient (`renormalised_rate`).
    """
    sizes = [abs(real_number("eigenvalues", value)) for value in eigenvalues]
    return 2 * min(sizes) / max(sizes) ** 2


def renormalised_rate(eigenvalues: Sequence[Any], *, lr: Any) -> sympy.Expr:
    """Return the rate per step at which SSAM's ‖w − w*‖ changes, near w* in two dimensions.

    With |λ₁| > |λ₂|, of whatever signs, to leading order in ‖w − w*‖/ρ:
    log|1 − η|λ₂|| for η ≤ 2|λ₂|/(λ₁² + λ₂²), log|1 − η|λ₁|| for η ≥ 2|λ₁|/(λ₁² + λ₂²), and between
    log((λ₁² − λ₂²)/(λ₁² + λ₂²)), for every η. Negative iff η|λ₁| < 2.
    """
    small, large = sorted(abs(real_number("eigenvalues", value)) for value in eigenvalues)
    step, square = real_number("lr", lr), small**2 + large**2
    if sign(step * square - 2 * small) <= 0:
        return sympy.log(abs(1 - step * small))
    if sign(step * square - 2 * large) >= 0:
        return sympy.log(abs(1 - step * large))
    return sympy.log((large**2 - small**2) / square)


def centralised_form(hessian: sympy.Matrix, blocks: Sequence[int] | None = None) -> sympy.Matrix:
    """Return EᵀH⁻¹E: GCSAM's flow comes to a critical point iff this is positive definite.

    E has a column of ones for each block of weights, n rows. H must be nonsingular. The part of
    the gradient across E is annihilated in finite time; along E the flow slides by
    ṡ = −(EᵀH⁻²E)⁻¹EᵀH⁻¹E s, with g = Es.
    """
    n = hessian.rows
    sizes = [n] if blocks is None else list(blocks)
    ones = sympy.zeros(n, len(sizes))
    start = 0
    for column, size in enumerate(sizes):
        for row in range(start, start + size):
            ones[row, column] = 1
        start += size
    return sympy.simplify(ones.T * hessian.inv() * ones)


def sharded_cycle_radius(eigenvalues: Sequence[Any], *, rho: Any, lr: Any) -> sympy.Expr:
    """Return ηρ mean|λᵢ|/(2 − η mean λᵢ), the radius of m-SAM's 2-cycle in one dimension.

    λᵢ are the curvatures of the shards at a critical point that they share. It attracts iff
    0 < η mean λᵢ < 2.
    """
    lams = [sympy.sympify(value) for value in eigenvalues]
    lr, count = sympy.sympify(lr), len(lams)
    jump = rho * sum(map(sympy.Abs, lams)) / count
    return lr * jump / (2 - lr * sum(lams) / count)


def gaussian_average(
    expression: sympy.Expr, symbols: Sequence[sympy.Symbol], *, rho: Any
) -> sympy.Expr:
    """Return the polynomial E L(w + ε), ε ~ N(0, ρ²I/n): average-direction SAM is GD on it.

    Σₖ (ρ²/2n)ᵏ ΔᵏL/k!. Its minima are the attractors, with GD's multipliers on the averaged
    Hessian; on quadratics this is GD.

    Raises:
        ValueError: for an expression that is no polynomial.

    """
    if not expression.is_polynomial(*symbols):
        raise ValueError(f"Argument `expression` must be a polynomial, but is {expression}.")
    half = sympy.sympify(rho) ** 2 / (2 * len(symbols))
    term, total, k = sympy.expand(expression), sympy.Integer(0), 0
    while term != 0:
        total += half**k * term / sympy.factorial(k)
        term = sympy.expand(sum(sympy.diff(term, symbol, 2) for symbol in symbols))
        k += 1
    return sympy.expand(total)
