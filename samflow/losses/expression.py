"""A loss given by a formula: one exact source for numbers, symbols and proofs."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import sympy

from samflow._components import Components
from samflow._types import Box, Matrix, Point, Scalar, Vector
from samflow.losses import limits
from samflow.losses._tape import FUNCTIONS, tape
from samflow.losses.base import AbstractLoss

_MAX_DEGREE = 40
"""Formulas of a higher degree are not expanded: it costs more than it gains."""


class CriticalPoint(NamedTuple):
    """A critical point from the literature or from a derivation."""

    w: tuple[float, ...]
    shape: str
    """minimum, maximum, saddle, or degenerate (singular Hessian)."""


class ExpressionLoss(AbstractLoss):
    """A loss whose formula is known exactly.

    Attributes:
        expression: the formula in sympy, all constants exact.
        symbols: its variables, in the order of the coordinates of w.
        critical_points: known critical points. An empty list does not mean that there are none.
        source: where the formula and its critical points come from.

    """

    expression: sympy.Expr = eqx.field(static=True)
    symbols: tuple[sympy.Symbol, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)
    domain: Box | None = eqx.field(static=True, default=None)
    critical_points: tuple[CriticalPoint, ...] = eqx.field(static=True, default=())
    source: str = eqx.field(static=True, default="")
    elementwise: bool = eqx.field(static=True, default=True)

    @property
    def dim(self) -> int:
        """Number of weights."""
        return len(self.symbols)

    def __str__(self) -> str:
        """Return name, variables and formula; `repr` shows every field."""
        of = ", ".join(map(str, self.symbols))
        named = self.name.isidentifier()
        return f"{self.name}({of}) = {self.expression}" if named else f"{self.expression} of {of}"

    def __call__(self, w: Vector) -> Scalar:
        """Return L(w); for `Components`, one value per point."""
        return evaluate((self.expression,), self.symbols, w)[0]

    def gradient(self, w: Any) -> Any:
        """Return g(w) in the layout of `w`."""
        parts = evaluate(self.gradient_formula, self.symbols, w)
        return Components(*parts) if isinstance(w, Components) else jnp.stack(parts)

    def hessian(self, w: Point) -> Matrix:
        """Return H(w), shape (dim, dim)."""
        entries = evaluate(tuple(self.hessian_formula.flat()), self.symbols, w)
        return jnp.stack(entries).reshape(self.dim, self.dim)

    @property
    def gradient_formula(self) -> tuple[sympy.Expr, ...]:
        """The partial derivatives, as sympy expressions."""
        return _gradient(self.expression, self.symbols)

    @property
    def hessian_formula(self) -> sympy.ImmutableMatrix:
        """The second derivatives, as a sympy matrix."""
        return _hessian(self.expression, self.symbols)

    def polynomial_system(self) -> tuple[sympy.Poly, ...] | None:
        """Return the gradient as exact polynomials, or None where the loss is not one."""
        return _polynomials(self.expression, self.symbols)

    @property
    def is_quadratic(self) -> bool:
        """Whether the loss is a polynomial of degree two at most."""
        gradient = self.polynomial_system()
        return gradient is not None and all(part.total_degree() <= 1 for part in gradient)


def weight_names(loss: Any) -> tuple[str, ...]:
    """Return what the formula of a loss calls its weights; () for a loss without one."""
    return tuple(map(str, loss.symbols)) if isinstance(loss, ExpressionLoss) else ()


def evaluate(expressions: tuple[sympy.Expr, ...], symbols: tuple[Any, ...], w: Any) -> list[Any]:
    """Return the values of `expressions` at `w`, an array (dim,) or `Components`.

    Every result has the shape of a coordinate of `w`, constants included.
    """
    coordinates = [w[i] for i in range(len(symbols))]
    shape, dtype = jnp.shape(coordinates[0]), jnp.result_type(coordinates[0])
    values = tape(expressions, symbols).run(coordinates, _ALGEBRA)
    return [jnp.broadcast_to(jnp.asarray(value, dtype), shape) for value in values]


def _power(base: Any, exponent: sympy.Rational) -> Any:
    if exponent.is_Integer:
        return base ** int(exponent)
    if exponent.q == 2:  # sqrt is one instruction, pow a library call
        root = jnp.sqrt(base)
        return root ** int(exponent.p)
    return base ** float(exponent)


_NUMPY_NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
_ALGEBRA = {name: getattr(jnp, _NUMPY_NAMES.get(name, name)) for name in FUNCTIONS}
_ALGEBRA |= {"constant": float, "power": _power}


@functools.lru_cache(maxsize=256)
def _gradient(expression: sympy.Expr, symbols: tuple[Any, ...]) -> tuple[sympy.Expr, ...]:
    with limits.differentiating((expression,), symbols):
        gradient = tuple(sympy.diff(expression, symbol) for symbol in symbols)
    return limits.with_usable_numbers(gradient)


@functools.lru_cache(maxsize=256)
def _hessian(expression: sympy.Expr, symbols: tuple[Any, ...]) -> sympy.ImmutableMatrix:
    gradient = _gradient(expression, symbols)
    with limits.differentiating(gradient, symbols):
        rows = [[sympy.diff(part, symbol) for symbol in symbols] for part in gradient]
    limits.with_usable_numbers([entry for row in rows for entry in row])
    return sympy.ImmutableMatrix(rows)


@functools.lru_cache(maxsize=256)
def _polynomials(expression: sympy.Expr, symbols: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if _degree(expression) > _MAX_DEGREE or not expression.is_polynomial(*symbols):
        return None
    gradient = _gradient(expression, symbols)
    if sum(limits.expanded_terms(part) for part in gradient) > limits.MAX_TERMS:
        return None
    return tuple(sympy.Poly(part, *symbols) for part in gradient)


def _degree(node: Any) -> float:
    """Bound the total degree without expanding; infinite where `node` is no polynomial."""
    if node.is_number:
        return 0
    if node.is_Symbol:
        return 1
    degrees = [_degree(child) for child in node.args]
    if node.is_Add:
        return max(degrees)
    if node.is_Mul:
        return sum(degrees)
    if node.is_Pow and node.exp.is_Integer and node.exp.is_nonnegative:
        return degrees[0] * int(node.exp)
    return float("inf")
