"""Limits on formulas: the size of their numbers, their length, and the work of computing them.

Sympy evaluates while it builds: `sin(exp(10**7))` requires ten million digits, and `tan(asin(u))`
contains u twice. Therefore ball arithmetic bounds numbers before sympy gets them, sizes are
measured on the result, and a count of function calls stops everything else.
"""

import contextlib
import functools
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import flint
import sympy
from flint import arb, fmpq

from samflow._checks import ArgumentError
from samflow.losses._tape import FUNCTIONS

LARGEST = arb(10) ** 300
SMALLEST = 1 / LARGEST
LARGEST_ANGLE = 1e15
"""Of sin, cos and tan: between doubles of this size lies a large part of a period."""
MAX_BITS = 4_096
"""Size of an exact number."""
MAX_SIZE = 5_000
"""Nodes of a formula, counted as often as they occur."""
MAX_DERIVED = 50_000
"""The same of all first, and of all second derivatives together."""
MAX_TERMS = 20_000
"""Terms up to which a polynomial is expanded, which takes about a second."""
MAX_CALLS = 1_000_000
"""Python's calls until a formula is read: about a second."""
MAX_CALLS_DERIVED = 8 * MAX_CALLS
SMALL = 3_000
"""Nodes of derivatives up to which work need not be counted, without irrational numbers."""

_PRECISION = 128
_REMEDY = "Write it shorter, or as a function in JAX: `sf.loss(fn, dim=…)`."
_PERIODIC = ("sin", "cos", "tan")
_NAMES = {function: name for name, function in FUNCTIONS.items()}


class OutOfRange(ArithmeticError):
    """The formula has a number out of range, is too long, or takes too much work."""


class _TooMuchWork(BaseException):
    """Ends sympy's work wherever it is; no handler of `Exception` may take it."""


def number_of(function: str, argument: Any) -> Any:
    """Return a function's value at a ball; refuse what is not real or not of a usable size."""
    if function in _PERIODIC and not abs(argument) < LARGEST_ANGLE:
        raise OutOfRange(f"the argument of {function} is a number of at least {LARGEST_ANGLE:g}")
    with flint.ctx.workprec(_PRECISION):
        return usable(getattr(argument, function)())


def power_of(base: Any, exponent: Any) -> Any:
    """Return a power of balls; refuse what is not real or not of a usable size."""
    with flint.ctx.workprec(_PRECISION):
        if base.is_zero() and exponent > 0:
            return arb(0)
        whole = exponent.is_exact() and exponent.is_integer()
        return usable(base**exponent if whole else (exponent * base.log()).exp())


def usable(number: Any) -> Any:
    """Return a ball if it holds a real number of a size that doubles have, or 0."""
    if not abs(number) < LARGEST:
        raise OutOfRange("this is not a real number in the range of floating point")
    if abs(number) < SMALLEST and not number.is_zero():
        raise OutOfRange("the number is too small")
    return number


class Measures:
    """Sizes and numbers of expressions, each node looked at once."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[int, Any]] = {}
        self.irrational = False
        """Whether a root or a function of a number was among them, of which sympy asks much."""

    def size(self, expression: Any) -> int:
        """Return how many nodes an expression has, shared ones counted as often as they occur."""
        return self._of(expression)[0]

    def number(self, expression: Any) -> Any:
        """Return the ball of an expression, or None where it has variables.

        Raises:
            OutOfRange: where it holds a number that is not real or not of a usable size.

        """
        return self._of(expression)[1]

    def _of(self, node: Any) -> tuple[int, Any]:
        if node not in self._known:
            self._known[node] = self._measured(node)
        return self._known[node]

    def _measured(self, node: Any) -> tuple[int, Any]:
        if node.is_Symbol:
            return 1, None
        if isinstance(node, sympy.Rational):
            return 1, _rational(node)
        if isinstance(node, sympy.Float):
            exact: Any = sympy.Rational(node)
            return 1, _rational(exact)
        if node == sympy.pi or node == sympy.E:
            return 1, arb.pi() if node == sympy.pi else arb.const_e()
        parts = [self._of(part) for part in node.args]
        size = 1 + sum(part[0] for part in parts)
        numbers = [part[1] for part in parts]
        if any(number is None for number in numbers):
            return size, None
        self.irrational |= not isinstance(node, (sympy.Add, sympy.Mul))
        with flint.ctx.workprec(_PRECISION):
            return size, _combined(node, numbers)


def _rational(number: sympy.Rational) -> Any:
    p, q = int(number.p), int(number.q)
    if max(abs(p).bit_length(), q.bit_length()) > MAX_BITS:
        raise OutOfRange("the number is too large or too long")
    with flint.ctx.workprec(_PRECISION):
        return usable(arb(fmpq(p, q)))


def _combined(node: Any, numbers: list[Any]) -> Any:
    if isinstance(node, sympy.Add):
        return usable(functools.reduce(arb.__add__, numbers))
    if isinstance(node, sympy.Mul):
        return usable(functools.reduce(arb.__mul__, numbers))
    if isinstance(node, sympy.Pow):
        return power_of(*numbers)
    if node.func in _NAMES and len(numbers) == 1:
        return number_of(_NAMES[node.func], numbers[0])
    raise OutOfRange("this is not a finite real number")


def derived_size(expressions: Sequence[Any], symbols: Sequence[Any]) -> int:
    """Bound how many nodes the derivatives have, without taking them; stops past `MAX_DERIVED`."""
    measures, total = Measures(), 0
    for symbol in symbols:
        known: dict[Any, int] = {}
        for expression in expressions:
            total += _derived(expression, symbol, known, measures)
            if total > MAX_DERIVED:
                return total
    return total


def _derived(node: Any, symbol: Any, known: dict[Any, int], measures: Measures) -> int:
    """Bound the nodes of d node / d symbol by the rules for sums, products and functions."""
    if node == symbol:
        return 1
    if not node.args:
        return 0
    if node in known:
        return known[node]
    parts = [_derived(part, symbol, known, measures) for part in node.args]
    here = sum(parts)
    if here and node.is_Mul:
        here += sum(1 for part in parts if part) * measures.size(node)
    elif here and not node.is_Add:
        here += 2 * measures.size(node) + 8
    known[node] = here
    return here


def expanded_terms(node: Any) -> float:
    """Bound the terms of an expanded polynomial, without expanding it; 1 for what is none."""
    if node.is_Add:
        return sum(expanded_terms(part) for part in node.args)
    if node.is_Mul:
        return math.prod(expanded_terms(part) for part in node.args)
    if node.is_Pow and node.exp.is_Integer and node.exp.is_positive:
        terms, power = expanded_terms(node.base), int(node.exp)
        if terms > MAX_TERMS:
            return math.inf
        return float(math.comb(int(terms) + power - 1, power))
    return 1.0


@contextlib.contextmanager
def differentiating(expressions: Sequence[Any], symbols: Sequence[Any]) -> Iterator[None]:
    """Refuse to differentiate what would become too long, and stop where it takes too much work.

    Raises:
        ArgumentError: with the remedy.

    """
    size, measures = derived_size(expressions, symbols), Measures()
    if size > MAX_DERIVED:
        raise ArgumentError(
            f"The loss has derivatives of more than {MAX_DERIVED} terms and signs, too many for "
            f"exact differentiation. {_REMEDY}"
        )
    try:
        for expression in expressions:
            measures.size(expression)
        easy = size < SMALL and not measures.irrational
        with limited_work(None if easy else MAX_CALLS_DERIVED, "differentiation"):
            yield
    except OutOfRange as error:
        raise ArgumentError(
            f"The loss cannot be differentiated exactly: {error}. {_REMEDY}"
        ) from None


def with_usable_numbers(expressions: Any) -> Any:
    """Return derivatives; refuse those that hold a number which doubles do not have.

    Raises:
        ArgumentError: with the remedy.

    """
    measures = Measures()
    try:
        for expression in expressions:
            measures.size(expression)
    except OutOfRange as error:
        raise ArgumentError(
            f"The loss cannot be differentiated: in a derivative, {error}. Choose other units."
        ) from None
    return expressions


@contextlib.contextmanager
def limited_work(most: int | None, task: str) -> Iterator[None]:
    """Stop the work inside after a number of calls of Python functions, the same on any machine.

    Counting doubles the time; None counts nothing. If a profiler is already running, it is left
    alone, and nothing is stopped.

    Raises:
        OutOfRange: where the work does not end before that.

    """
    if most is None or sys.getprofile() is not None:
        yield
        return
    left = most

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal left
        if event == "call":
            left -= 1
            if left < 0:
                sys.setprofile(None)
                raise _TooMuchWork

    sys.setprofile(count)
    try:
        yield
    except _TooMuchWork:
        raise OutOfRange(f"{task} takes too many operations") from None
    finally:
        sys.setprofile(None)
