"""DP-SAT where noise is longer than the gradient: its normalised ascent answers linearly.

Section 6 of docs/theory, Proposition N6. For one Hessian eigenvalue λ, n weights, and Gaussian
noise on every gradient, of variance s along each weight.
"""

import functools

import sympy

from samflow.theory.diffusion import noise, time
from samflow.theory.symbols import lam, lr, rho

num_weights = sympy.Symbol("n", integer=True, positive=True)


def unit_response() -> sympy.Expr:
    """Return κ, with E[y/‖y‖] = κ m/√s + O(m³) for y ~ N(m, s I) of n weights.

    κ = Γ((n + 1)/2)/(√2 Γ(n/2 + 1)): √(2/π) for one weight, about 1/√n for many.
    """
    n = num_weights
    return sympy.gamma((n + 1) / sympy.Integer(2)) / (
        sympy.sqrt(2) * sympy.gamma(n / sympy.Integer(2) + 1)
    )


def noisy_radius() -> sympy.Expr:
    """Return ρₑ = ρκ/√s, the radius of USAM that has the mean ascent of DP-SAT under noise."""
    return rho * unit_response() / sympy.sqrt(noise)


def previous_direction_drift() -> sympy.Expr:
    """Return a = λ/(1 − ρₑλ), the curvature that DP-SAT's mean has under noise.

    Its sign is that of λ for ρₑλ < 1: no saddle becomes an attractor.
    """
    return lam / (1 - noisy_radius() * lam)


@functools.cache
def previous_direction_moment() -> sympy.Expr:
    """Return ⟨w²⟩ = (q/2a)(1 − e^{−2at}) of DP-SAT from w = 0; with ρ = 0 it is that of SGD.

    q = ηs(1 + (ρλ)²(1/n − κ²)/s)/(1 − ρₑλ)². To first order in η, and up to relative terms in
    (ρₑλ)² and in ‖g‖²/s.
    """
    a = previous_direction_drift()
    rest = rho**2 * lam**2 * (1 / num_weights - unit_response() ** 2)
    intensity = lr * (noise + rest) / (1 - noisy_radius() * lam) ** 2
    return intensity / (2 * a) * (1 - sympy.exp(-2 * a * time))
