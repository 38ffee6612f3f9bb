"""Formulas for the points of a curve or surface of zeros, where simple ones exist."""

from collections.abc import Sequence
from typing import Any

import sympy

from samflow.proofs.varieties import Piece

_PARAMETERS = {1: ("t",), 2: ("s", "t")}


def parametrisation(piece: Piece, symbols: Sequence[Any], gradient: Sequence[Any]) -> str:
    """Return the weights as functions of t, or of s and t, as text; "" where none is found.

    Weights that a polynomial of the basis gives by the others are eliminated one after the other.
    What is left must be free, or an ellipse with its axes along two weights, or a ball's surface.
    Each is checked by putting it into the gradient.
    """
    if piece.dimension not in _PARAMETERS:
        return ""
    left = [piece.expression(p, symbols) for p in piece.equations]
    solved: dict[Any, Any] = {}
    while left:
        found = _eliminated(left, symbols)
        if found is None:
            break
        symbol, value = found
        left = [_top(part.subs(symbol, value)) for part in left]
        left = [part for part in left if part != 0]
        solved = {key: sympy.simplify(old.subs(symbol, value)) for key, old in solved.items()}
        solved[symbol] = value
    names = [sympy.Symbol(name, real=True) for name in _PARAMETERS[piece.dimension]]
    rest = [symbol for symbol in symbols if symbol not in solved]
    round_part = _free(rest, names) if not left else _round(left, rest, names)
    if round_part is None:
        return ""
    whole = {symbol: sympy.simplify(value.subs(round_part)) for symbol, value in solved.items()}
    whole |= round_part
    if not all(sympy.simplify(part.subs(whole)) == 0 for part in gradient):
        return ""
    weights = ", ".join(str(symbol) for symbol in symbols)
    values = ", ".join(str(whole[symbol]) for symbol in symbols)
    pair = (weights, values) if len(symbols) == 1 else (f"({weights})", f"({values})")
    return " = ".join(pair)


def _top(part: Any) -> Any:
    """Return what is above the line of a quotient."""
    return sympy.fraction(sympy.together(part))[0].expand()


def _eliminated(left: Sequence[Any], symbols: Sequence[Any]) -> tuple[Any, Any] | None:
    """Return a weight that one of the polynomials gives by the others, and its value."""
    for part in sorted(left, key=lambda p: len(sympy.Add.make_args(p))):
        for symbol in reversed(symbols):
            polynomial = sympy.Poly(part, symbol)
            if polynomial.degree() == 1:
                slope, rest = polynomial.all_coeffs()
                return symbol, sympy.factor(-rest / slope)
    return None


def _free(rest: Sequence[Any], names: Sequence[Any]) -> dict[Any, Any] | None:
    return dict(zip(rest, names, strict=True)) if len(rest) == len(names) else None


def _round(left: Sequence[Any], rest: Sequence[Any], names: Sequence[Any]) -> dict[Any, Any] | None:
    """Return an ellipse by its angle t, or a sphere-like quadric by two angles."""
    if len(left) != 1 or len(rest) != len(names) + 1:
        return None
    quadric = sympy.Poly(left[0], *rest)
    squares = [quadric.coeff_monomial(symbol**2) for symbol in rest]
    slopes = [quadric.coeff_monomial(symbol) for symbol in rest]
    if quadric.total_degree() != 2 or any(square == 0 for square in squares):
        return None
    centre = [-b / (2 * a) for a, b in zip(squares, slopes, strict=True)]
    size = sum(a * c**2 for a, c in zip(squares, centre, strict=True)) - quadric.coeff_monomial(1)
    axes = [size / a for a in squares]
    if not all(axis > 0 for axis in axes):
        return None
    *others, t = names
    unit = [sympy.cos(t), sympy.sin(t)]
    if others:
        unit = [sympy.cos(t) * sympy.sin(others[0]), sympy.sin(t) * sympy.sin(others[0])]
        unit.append(sympy.cos(others[0]))
    found = {
        symbol: c + sympy.sqrt(axis) * e
        for symbol, c, axis, e in zip(rest, centre, axes, unit, strict=True)
    }
    return found if sympy.simplify(left[0].subs(found)) == 0 else None
