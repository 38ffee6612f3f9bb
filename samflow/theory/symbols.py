"""The symbols of docs/theory, and how formulas in them are printed."""

import re
from typing import Any

import sympy

lam = sympy.Symbol("λ", real=True)
"""An eigenvalue of the Hessian."""

rho = sympy.Symbol("ρ", positive=True)
"""Radius of the ascent step: a length for SAM, weight over gradient for USAM."""

lr = sympy.Symbol("η", positive=True)
"""Step size."""

beta = sympy.Symbol("β", nonnegative=True)
"""Momentum."""

eps = sympy.Symbol("ε", positive=True)
"""ε: implementations add it to the gradient's norm before they divide by the norm."""

grad_norm = sympy.Symbol("‖g‖", positive=True)
"""Norm of the gradient at the current point, for normalised SAM away from critical points."""

scaled_curvature = sympy.Symbol("x", real=True)
"""x = ηU: step size times effective curvature, the one number that stability depends on."""

multiplier = sympy.Symbol("z")
"""A multiplier: the unknown of a characteristic polynomial."""

_PARAMETERS = (lam, rho, lr, beta)
_LATEX_NAMES = {
    lam: r"\lambda",
    rho: r"\rho",
    lr: r"\eta",
    beta: r"\beta",
    eps: r"\varepsilon",
    grad_norm: r"\|g\|",
}
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def text(expr: sympy.Basic) -> str:
    """Return a formula on one line of Unicode, as in `2·(β + 1)/(η·λ²) - 1/λ`."""
    line = re.sub(r"\*\*(\d+)", lambda power: power[1].translate(_SUPERSCRIPTS), str(expr))
    line = line.replace("sqrt(", "√(").replace("oo", "∞")
    return line.replace("**", "^").replace("*", "·")


def latex(expr: sympy.Basic) -> str:
    r"""Return a formula in LaTeX, with \lambda, \rho, \eta, \beta."""
    return sympy.latex(expr, symbol_names=_LATEX_NAMES)


def evaluate(
    expr: sympy.Expr, *, lam: Any = None, rho: Any = None, lr: Any = None, momentum: Any = None
) -> sympy.Expr:
    """Substitute values for symbols. Exact numbers give an exact result, floats give a float.

    A value of None leaves its symbol in place.
    """
    values = zip(_PARAMETERS, (lam, rho, lr, momentum), strict=True)
    return expr.subs({symbol: sympy.sympify(v) for symbol, v in values if v is not None})


def real_number(name: str, value: Any) -> sympy.Expr:
    """Return `value` as a sympy number; refuse what is not a finite real number."""
    try:
        number = sympy.sympify(value, strict=True)
    except sympy.SympifyError as error:
        raise ValueError(f"Argument `{name}` must be a number, but is {value!r}.") from error
    if not (isinstance(number, sympy.Expr) and number.is_number and number.is_finite):
        raise ValueError(f"Argument `{name}` must be a finite number, but is {value!r}.")
    if not number.is_real:
        raise ValueError(f"Argument `{name}` must be real, but is {value!r}.")
    return number


def sign(number: sympy.Expr) -> int:
    """Return -1, 0 or 1: the sign of a real number, decided exactly where it is exact."""
    if number.is_zero is None:
        number = sympy.simplify(number)
    if number.is_zero:
        return 0
    return 1 if number > 0 else -1


def positive_number(name: str, value: Any) -> sympy.Expr:
    """Return an argument as an exact number, if it is greater than 0."""
    number = real_number(name, value)
    if sign(number) <= 0:
        raise ValueError(f"Argument `{name}` must be greater than 0, but is {value}.")
    return number


def nonnegative_number(name: str, value: Any) -> sympy.Expr:
    """Return an argument as an exact number, if it is at least 0."""
    number = real_number(name, value)
    if sign(number) < 0:
        raise ValueError(f"Argument `{name}` must be at least 0, but is {value}.")
    return number
