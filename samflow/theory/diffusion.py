"""Second moments of SGD and USAM with noise at a critical point, for one Hessian eigenvalue λ.

The noise is Gaussian noise on the gradient, of variance s = σ²/B along the eigenvector.
Section 6 of docs/theory. [K] is Kim et al., arXiv 2301.06308.
"""

import functools
from typing import Any, NamedTuple

import sympy

from samflow.theory.conditions import effective_curvature, update_matrix
from samflow.theory.symbols import beta, lam, lr, rho

noise = sympy.Symbol("s", positive=True)
"""Variance of the batch's gradient along the eigenvector, σ²/B."""

time = sympy.Symbol("t", nonnegative=True)
"""lr times the number of steps; with momentum this over 1 − β."""

num_steps = sympy.Symbol("k", integer=True, nonnegative=True)


class Model(NamedTuple):
    """The diffusion dw = −a w dt + √q dB that a model has for the displacement.

    Attributes:
        drift: a.
        intensity: q, without momentum.
        describes: the update that it is the limit of.

    """

    drift: sympy.Expr
    intensity: sympy.Expr
    describes: str


_U = effective_curvature("usam")

MODELS = {
    "update": Model(
        _U, lr * noise * (1 + rho * lam) ** 2, "USAM with one batch for ascent and descent"
    ),
    "fresh": Model(
        _U, lr * noise * (1 + rho**2 * lam**2), "USAM with a batch each for ascent and descent"
    ),
    "descent": Model(_U, lr * noise, "USAM with the whole gradient in the ascent"),
    "kim": Model(
        lam * (1 + rho * lam) ** 2,
        lr * noise,
        "descent along the derivative of w ↦ L(w + ρg(w)), with the noise of SGD",
    ),
}
"""Models by name; with ρ = 0 each is SGD."""


@functools.cache
def second_moment_limit(model: str = "update") -> sympy.Expr:
    """Return ⟨w²⟩ = (q/2a)(1 − e^{−2at}) of a model from w = 0, the limit lr → 0 at fixed t.

    With momentum the time scale is t = ηk/(1 − β) and q has the factor 1/(1 − β): the limit holds
    for t ≫ η/(1 − β)², when the velocity has forgotten its start.
    """
    drift, intensity, _ = MODELS[model]
    a, q = sympy.symbols("a q", real=True, nonzero=True)
    moment = sympy.Function("m")
    equation = sympy.Eq(moment(time).diff(time), -2 * a * moment(time) + q / (1 - beta))
    solution: Any = sympy.dsolve(equation, moment(time), ics={moment(0): 0})
    return sympy.simplify(solution.rhs).subs({a: drift, q: intensity})


@functools.cache
def leading_difference(model: str = "update") -> sympy.Expr:
    """Return SGD's ⟨w²⟩ less the model's, to the first order in ρ and the leading one in t."""
    sam = second_moment_limit(model).subs(beta, 0)
    difference = sam.subs(rho, 0) - sam
    first = sympy.diff(difference, rho).subs(rho, 0)
    series = sympy.series(first, time, 0, 4).removeO()
    return sympy.simplify(rho * series.as_leading_term(time))


@functools.cache
def exact_second_moment() -> sympy.Expr:
    """Return ⟨w²⟩ after k steps of the update itself, without momentum, from w = 0.

    w⁺ = (1 − ηU)w − η(1 + ρλ)ξ gives η²(1 + ρλ)²s (1 − (1 − ηU)²ᵏ)/(1 − (1 − ηU)²), and k times
    the first factor where (1 − ηU)² = 1.
    """
    a, gain = 1 - lr * _U, lr**2 * (1 + rho * lam) ** 2 * noise
    return gain * (1 - a ** (2 * num_steps)) / (1 - a**2)


@functools.cache
def stationary_second_moment(scheme: str = "none") -> sympy.Expr:
    """Return the limit of ⟨w²⟩ as k → ∞, which exists where 0 < ηU < κ(β).

    The solution of P = A P Aᵀ + s G Gᵀ in the state (w, v); for heavy ball
    ηs(1 + β)(1 + ρλ)² / ((1 − β) U (2(1 + β) − ηU)).
    """
    a = update_matrix("usam", scheme)
    # Noise enters where the gradient λw does, so that G is what λ multiplies, times 1 + ρλ.
    gain = sympy.simplify((a.subs(rho, 0) - a.subs(lam, 0))[:, 0] / lam) * (1 + rho * lam)
    p = sympy.Matrix(a.rows, a.rows, lambda i, j: sympy.Symbol(f"p{min(i, j)}{max(i, j)}"))
    unknowns = sorted(p.free_symbols, key=str)
    solved = sympy.solve(list(p - a * p * a.T - noise * gain * gain.T), unknowns, dict=True)
    factored: Any = sympy.factor(solved[0][p[0, 0]])
    return factored


def kim_momentum_second_moment() -> sympy.Expr:
    """Return ⟨w²⟩ with momentum as in theorem 3 of [K].

    C₁(1 − e^{−(1−β)t/η})²/(1 − β)³ + C₃(1 − e^{−C₄/(1−β)})/(1 − β), with C₁ = η²s/2,
    C₃ = ηs/(2λ(1 + ρλ)²), C₄ = 2λ(1 + ρλ)²t and here t = ηk. Its C₂ is taken as t/η, the number of
    steps. The text available to us has η/t, which makes the first term grow as t falls.
    """
    curvature = lam * (1 + rho * lam) ** 2
    inertia = lr**2 * noise / 2 * (1 - sympy.exp(-(1 - beta) * time / lr)) ** 2 / (1 - beta) ** 3
    spread = lr * noise / (2 * curvature * (1 - beta))
    return inertia + spread * (1 - sympy.exp(-2 * curvature * time / (1 - beta)))


def put(expr: sympy.Expr, **values: Any) -> float:
    """Return the number that `expr` is at lam, rho, lr, momentum, noise, time and num_steps."""
    symbols = {
        "lam": lam,
        "rho": rho,
        "lr": lr,
        "momentum": beta,
        "noise": noise,
        "time": time,
        "num_steps": num_steps,
    }
    return float(expr.subs({symbols[name]: value for name, value in values.items()}))
