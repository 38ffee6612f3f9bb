"""Minima that fit every example: the bounds of [Z] and [WWS], and closed forms.

Section 7 of docs/theory. ‖H‖² is the square of the Frobenius norm of the mean Hessian.
"""

from typing import Any

import sympy

from samflow.theory.symbols import lr, rho

batch_size, num_examples = sympy.symbols("B n", positive=True, integer=True)
"""B and n."""

alignment = sympy.Symbol("γ", positive=True)
"""Least alignment of the gradient noise with H."""

hessian_norm = sympy.Symbol("h", positive=True)
"""‖H‖_F."""

noise_share = sympy.Symbol("p", positive=True)
"""Weight of single examples in a batch: E[H_B X H_B] = p · mean HᵢXHᵢ + (1 − p) HXH."""


def batch_noise_share(replacement: bool) -> sympy.Expr:
    """Return p: 1/B with replacement, (n − B)/(B(n − 1)) without, 1 for B = 1 and 0 for B = n."""
    if replacement:
        return 1 / batch_size
    return (num_examples - batch_size) / (batch_size * (num_examples - 1))


def sgd_bound() -> sympy.Expr:
    """Return η² p γ ‖H‖²: SGD is stable only if this is ≤ 1.

    With p = 1/B it reads ‖H‖² ≤ B/(η²γ), as [Z] print it after Wu, Wang and Su 2022.
    """
    return lr**2 * noise_share * alignment * hessian_norm**2


def sam_bound() -> sympy.Expr:
    """Return η² p γ ‖H‖² (1 + ρ² p γ ‖H‖²): USAM stable only if this is ≤ 1, says [Z].

    With p = 1/B it reads ‖H‖² (1 + (ρ²γ/B)‖H‖²) ≤ B/(η²γ).
    """
    level = noise_share * alignment * hessian_norm**2
    return lr**2 * level * (1 + rho**2 * level)


def tight_lr(rule: str) -> sympy.Expr:
    """Return the step size at which the bound for "gd" or "usam" is an equation."""
    (root,) = sympy.solve(_bound(rule) - 1, lr)
    return root


def tight_rho() -> sympy.Expr:
    """Return the radius at which the bound for USAM is an equation; real below SGD's own."""
    (root,) = sympy.solve(sam_bound() - 1, rho)
    return root


def largest_hessian_norm(rule: str) -> sympy.Expr:
    """Return the largest ‖H‖_F that the bound allows."""
    square = sympy.Symbol("square", positive=True)
    roots = sympy.solve(_bound(rule).subs(hessian_norm, sympy.sqrt(square)) - 1, square)
    (root,) = (root for root in roots if not root.is_negative)
    return sympy.sqrt(root)


def example_step(squared_norm: Any) -> sympy.Expr:
    """Return η(1 + ρ‖a‖²), the step that USAM on the batch of one example a takes as SGD."""
    return lr * (1 + rho * sympy.sympify(squared_norm))


def one_weight_threshold(curvatures: Any) -> sympy.Expr:
    """Return 2 E[U]/E[U²], U = λ(1 + ρλ): the largest η for one weight and batches of one.

    Args:
        curvatures: λᵢ of the examples, not all 0.

    """
    effective = [c * (1 + rho * c) for c in map(sympy.sympify, curvatures)]
    return 2 * sympy.Add(*effective) / sympy.Add(*(u**2 for u in effective))


def _bound(rule: str) -> sympy.Expr:
    bounds = {"gd": sgd_bound, "usam": sam_bound}
    if rule not in bounds:
        raise ValueError(f"Unknown rule `{rule}`. Known: {', '.join(bounds)}.")
    return bounds[rule]()
