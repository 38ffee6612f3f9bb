"""Evaluation of formulas on balls. The result contains every value of the formula on the box.

Balls are python-flint's `arb`: a midpoint and a radius that includes every rounding error. Where a
formula is not defined on all of a box the result is NaN. NaN counts as containing everything, so
that no proof can rest on it. Where the formula is defined nowhere on the box, `OutsideDomain` is
raised.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import flint
import sympy
from flint import arb, fmpq

from samflow._types import Box
from samflow.losses._tape import FUNCTIONS, tape

Ball: TypeAlias = Any
"""A `flint.arb`; python-flint gives no types for its attributes."""

Balls: TypeAlias = list[Any]

Span: TypeAlias = tuple[float, float]
"""A closed interval (low, high) of doubles."""


class OutsideDomain(ArithmeticError):
    """The formula has no real value anywhere on the box."""


def working_precision(bits: int) -> Any:
    """Return a context manager that sets the precision of ball arithmetic to `bits`."""
    return flint.ctx.workprec(bits)


def hull(low: float, high: float) -> Ball:
    """Return a ball that holds [low, high]."""
    middle = 0.5 * low + 0.5 * high
    radius = max(high - middle, middle - low)
    return arb(middle, math.nextafter(radius, math.inf) if radius else 0)


def hulls(box: Sequence[Span]) -> Balls:
    """Return one ball for each coordinate; their product contains `box`."""
    return [hull(low, high) for low, high in box]


def exact(value: Any) -> Ball:
    """Return the ball of a number: a double as the dyadic number that it is, sympy exactly.

    A pair (low, high) gives the ball that holds the interval; a ball comes back as it is.
    """
    if isinstance(value, arb):
        return value
    if isinstance(value, (tuple, list)):
        low, high = value
        return exact(low).union(exact(high))
    if isinstance(value, sympy.Basic):
        return constant(value)
    return arb(value) if isinstance(value, (int, fmpq)) else arb(float(value))


def constant(number: Any) -> Ball:
    """Return the ball of an exact real number of sympy, at the working precision.

    Raises:
        TypeError: for a number not made of rationals, π, e and the functions of a tape.

    """
    if isinstance(number, (sympy.Rational, sympy.Float)):
        rational: Any = sympy.Rational(number)
        return arb(fmpq(int(rational.p), int(rational.q)))
    if number == sympy.pi:
        return arb.pi()
    if number == sympy.E:
        return arb.const_e()
    parts = [constant(part) for part in number.args]
    if isinstance(number, sympy.Add):
        return functools.reduce(arb.__add__, parts)
    if isinstance(number, sympy.Mul):
        return functools.reduce(arb.__mul__, parts)
    if isinstance(number, sympy.Pow) and number.exp.is_Rational:
        return _power(number.exp)(parts[0])
    if isinstance(number, sympy.Pow):
        return (parts[1] * _log(parts[0])).exp()
    for name, function in FUNCTIONS.items():
        if isinstance(number, function):
            return _ELEMENTARY[name](parts[0])
    raise TypeError(f"Ball arithmetic does not know the number {number}.")


def span(value: Ball) -> Span:
    """Return doubles (low, high) around a ball; (−inf, inf) where it is not finite."""
    if not value.is_finite():
        return -math.inf, math.inf
    with working_precision(53):
        lowest, highest = value.lower(), value.upper()
    low, high = float(lowest), float(highest)
    # A double has 53 bits too, but fewer near 0 and none past 1.8e308, hence the second look.
    if not arb(low) <= lowest:
        low = math.nextafter(low, -math.inf)
    if not arb(high) >= highest:
        high = math.nextafter(high, math.inf)
    return low, high


def spans(values: Sequence[Ball]) -> Box:
    """Return `span` of every ball."""
    return tuple(span(value) for value in values)


def finite(values: Sequence[Ball]) -> bool:
    """Say whether every ball has a finite midpoint and radius."""
    return all(value.is_finite() for value in values)


def intersect(one: Balls, other: Balls) -> Balls:
    """Return the intersections of two enclosures of one vector; NaN counts as everything."""
    return [
        x.intersection(y) if x.is_finite() and y.is_finite() else (x if x.is_finite() else y)
        for x, y in zip(one, other, strict=True)
    ]


class Program:
    """Expressions as a list of (function, slot, slot), walked once per evaluation.

    Nothing is compiled or evaluated as code. Constants are made once per working precision.
    """

    def __init__(self, expressions: Sequence[sympy.Expr], symbols: Sequence[sympy.Symbol]):
        """Bind the tape of `expressions` to operations on balls.

        Raises:
            TypeError: for a function or a constant that has no balls.

        """
        laid_out = tape(tuple(expressions), tuple(symbols))
        self._numbers = [line.number for line in laid_out.operations if line.kind == "constant"]
        self._constants = {flint.ctx.prec: [constant(number) for number in self._numbers]}
        self._lines: list[tuple[Callable[..., Ball], int, int]] = []
        self._top = len(symbols) + len(self._numbers)
        unused = iter(range(len(symbols), self._top))
        slots = list(range(len(symbols)))
        for kind, arguments, number in laid_out.operations:
            sources = [slots[i] for i in arguments]
            if kind == "constant":
                slots.append(next(unused))
            elif kind in _BINARY:
                combine = functools.partial(self._emit, _BINARY[kind])
                slots.append(functools.reduce(combine, sources))
            elif kind == "power":
                slots.append(self._emit(_power(number), sources[0]))
            else:
                slots.append(self._emit(_ELEMENTARY[kind], sources[0]))
        self._outputs = [slots[i] for i in laid_out.outputs]

    def _emit(self, function: Callable[..., Ball], first: int, second: int = -1) -> int:
        self._lines.append((function, first, second))
        return self._top + len(self._lines) - 1

    def __call__(self, point: Sequence[Ball], /) -> Balls:
        """Return enclosures of the expressions on the box `point`, one ball for each coordinate.

        Raises:
            OutsideDomain: where one of them is certainly not real anywhere on the box.

        """
        bits = flint.ctx.prec
        if bits not in self._constants:
            self._constants[bits] = [constant(number) for number in self._numbers]
        slots = [*point, *self._constants[bits]]
        append = slots.append
        for function, first, second in self._lines:
            append(function(slots[first]) if second < 0 else function(slots[first], slots[second]))
        return [slots[i] for i in self._outputs]


def _log(x: Ball) -> Ball:
    if x < 0:
        raise OutsideDomain
    return x.log()


def _arc(function: Callable[[Ball], Ball]) -> Callable[[Ball], Ball]:
    def apply(x: Ball) -> Ball:
        if x > 1 or x < -1:
            raise OutsideDomain
        return function(x)

    return apply


def _square(x: Ball) -> Ball:
    # A product of balls ignores that the factors are equal: [-1, 1]² would be [-1, 1].
    return (x * x).nonnegative_part() if 0 in x else x * x


def _whole_power(x: Ball, n: int) -> Ball:
    # By squaring: arb's own x**n is NaN where the ball x holds 0.
    if n == 1:
        return x
    half = _whole_power(x, n // 2)
    return _square(half) * x if n % 2 else _square(half)


def _rational_power(x: Ball, p: int, q: int) -> Ball:
    if x < 0:
        raise OutsideDomain
    root = x.sqrt() if q == 2 else x.root(q)
    return _whole_power(root, p) if p > 0 else 1 / _whole_power(root, -p)


def _power(exponent: Any) -> Callable[[Ball], Ball]:
    p, q = int(exponent.p), int(exponent.q)
    if q > 1:
        return functools.partial(_rational_power, p=p, q=q)
    if p == 2:
        return _square
    if p > 0:
        return functools.partial(_whole_power, n=p)
    return lambda x: 1 / _whole_power(x, -p)


_BINARY = {"add": arb.__add__, "multiply": arb.__mul__}
_ELEMENTARY = {name: getattr(arb, name) for name in FUNCTIONS}
_ELEMENTARY |= {"log": _log, "asin": _arc(arb.asin), "acos": _arc(arb.acos)}
