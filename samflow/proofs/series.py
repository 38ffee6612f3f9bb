"""Truncated power series in one variable, over exact rationals or doubles.

Functions of a series come from their differential equations, so that only values at the constant
term are needed: exp' = exp·u', and so on. Reference: Griewank, Walther, Evaluating Derivatives,
2008, chapter 13.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import sympy
from flint import fmpq

Scalar: TypeAlias = Any
"""A `flint.fmpq` or a float."""


class NotRational(ArithmeticError):
    """A value that is no rational number, or is not known to be one."""


class Series:
    """c₀ + c₁ s + ... + c_N s^N, with all operations cut off behind s^N."""

    def __init__(self, coefficients: Sequence[Scalar]) -> None:
        """Take the coefficients, from the constant on."""
        self.c = list(coefficients)

    def _like(self, other: Any) -> "Series":
        if isinstance(other, Series):
            return other
        zero = 0 * self.c[0]
        return Series([other + zero, *[zero] * (len(self.c) - 1)])

    def __add__(self, other: Any) -> "Series":
        return Series([a + b for a, b in zip(self.c, self._like(other).c, strict=True)])

    __radd__ = __add__

    def __neg__(self) -> "Series":
        return Series([-a for a in self.c])

    def __sub__(self, other: Any) -> "Series":
        return self + -self._like(other)

    def __rsub__(self, other: Any) -> "Series":
        return self._like(other) + -self

    def __mul__(self, other: Any) -> "Series":
        if not isinstance(other, Series):
            return Series([a * other for a in self.c])
        return Series([_convolved(self.c, other.c, k) for k in range(len(self.c))])

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Series":
        if not isinstance(other, Series):
            return Series([a / other for a in self.c])
        quotient: list[Scalar] = []
        for k in range(len(self.c)):
            known = sum((quotient[j] * other.c[k - j] for j in range(k)), 0 * self.c[0])
            quotient.append((self.c[k] - known) / other.c[0])
        return Series(quotient)

    def __rtruediv__(self, other: Any) -> "Series":
        return self._like(other) / self

    def derived(self) -> "Series":
        """Return the derivative, with a last coefficient of 0."""
        return Series([*(k * a for k, a in enumerate(self.c) if k), 0 * self.c[0]])

    def integrated(self, start: Scalar) -> "Series":
        """Return the integral from the value `start`."""
        return Series([start, *(a / (k + 1) for k, a in enumerate(self.c[:-1]))])

    def solved(self, start: Scalar, slope: "Callable[[Series], Series]") -> "Series":
        """Return y with y(0) = start and y' = slope(y), by one more coefficient at a time."""
        found = self._like(start)
        for _ in range(len(self.c) - 1):
            found = slope(found).integrated(start)
        return found


def _convolved(a: Sequence[Scalar], b: Sequence[Scalar], k: int) -> Scalar:
    return sum((a[j] * b[k - j] for j in range(k + 1)), 0 * a[0])


Algebra: TypeAlias = Mapping[str, Callable[..., Any]]


def algebra(values: Mapping[str, Callable[[Scalar], Scalar]]) -> Algebra:
    """Return the operations of a tape on series, given the functions' values at constants.

    Args:
        values: by name the elementary functions of `losses._tape`, "constant", which takes an exact
            number of sympy, and "root", which takes a number and the order of the root.

    """

    def power(base: Any, exponent: Any) -> Any:
        p, q = int(exponent.p), int(exponent.q)
        if q == 1:
            whole = _whole(base, abs(p))
            return whole if p > 0 else 1 / whole
        # y = u^(p/q): q u y' = p u' y.
        take: Any = values["root"]
        root = take(base.c[0], q)
        start = _whole(root, abs(p)) if p > 0 else 1 / _whole(root, abs(p))
        rate = base.derived() / base * p / q
        return base.solved(start, lambda y: rate * y)

    def of(name: str, slope: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
        def apply(u: Any) -> Any:
            rate = u.derived()
            return u.solved(values[name](u.c[0]), lambda y: slope(u, y) * rate)

        return apply

    def paired(name: str, other: str, up: int, down: int) -> Callable[[Any], Any]:
        """Return y of y' = up·x·u', x' = down·y·u'."""

        def apply(u: Any) -> Any:
            rate = u.derived()
            start, start_other = values[name](u.c[0]), values[other](u.c[0])
            y, x = u._like(start), u._like(start_other)
            for _ in range(len(u.c) - 1):
                y, x = (
                    (x * rate * up).integrated(start),
                    (y * rate * down).integrated(start_other),
                )
            return y

        return apply

    def arc(name: str, sign: int) -> Callable[[Any], Any]:
        def apply(u: Any) -> Any:
            root = power(1 - u * u, sympy.Rational(1, 2))
            return (sign * u.derived() / root).integrated(values[name](u.c[0]))

        return apply

    return {
        "constant": values["constant"],
        "power": power,
        "exp": of("exp", lambda u, y: y),
        "log": of("log", lambda u, y: 1 / u),
        "tan": of("tan", lambda u, y: 1 + y * y),
        "tanh": of("tanh", lambda u, y: 1 - y * y),
        "atan": of("atan", lambda u, y: 1 / (1 + u * u)),
        "sin": paired("sin", "cos", 1, -1),
        "cos": paired("cos", "sin", -1, 1),
        "sinh": paired("sinh", "cosh", 1, 1),
        "cosh": paired("cosh", "sinh", 1, 1),
        "asin": arc("asin", 1),
        "acos": arc("acos", -1),
    }


def _whole(base: Any, n: int) -> Any:
    if n == 1:
        return base
    half = _whole(base, n // 2)
    return half * half * base if n % 2 else half * half


def _only_at(point: int, value: int) -> Callable[[Scalar], Scalar]:
    """Return a function that is rational at one rational point alone."""

    def apply(x: Any) -> Any:
        if x != point:
            raise NotRational
        return fmpq(value)

    return apply


def _rational(number: Any) -> fmpq:
    if not isinstance(number, (sympy.Rational, sympy.Float)):
        raise NotRational
    exact: Any = sympy.Rational(number)
    return fmpq(int(exact.p), int(exact.q))


def _rational_root(x: Any, q: int) -> fmpq:
    found: Any = sympy.root(sympy.Rational(int(x.p), int(x.q)), q)
    if not (x > 0 and found.is_Rational):
        raise NotRational
    return fmpq(int(found.p), int(found.q))


_AT_0 = {"exp": 1, "sin": 0, "cos": 1, "tan": 0, "asin": 0, "atan": 0, "sinh": 0, "cosh": 1}
RATIONALS = algebra(
    {name: _only_at(0, value) for name, value in _AT_0.items()}
    | {"tanh": _only_at(0, 0), "log": _only_at(1, 0), "acos": _only_at(1, 0)}
    | {"constant": _rational, "root": _rational_root}
)
"""Exact series; `NotRational` is raised where a value is no rational number."""

_NAMES = ("exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh")
FLOATS = algebra(
    {name: getattr(math, name) for name in _NAMES}
    | {"constant": float, "root": lambda x, q: x ** (1 / q)}
)
"""Series in floating point."""
