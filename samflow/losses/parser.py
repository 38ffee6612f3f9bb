"""Text to an exact expression: parsed and checked node by node, never evaluated as code."""

import ast
import re
from typing import Any, NamedTuple

import sympy

from samflow._checks import ArgumentError
from samflow.losses import limits
from samflow.losses._tape import FUNCTIONS
from samflow.losses.syntax import Source, is_name, literal, quoted, tree_of

MAX_EXPONENT = 100
_SMALL = 500
"""Parts of a text up to which sympy's work need not be counted."""

_CONSTANTS = {"pi": sympy.pi}
_RESERVED = {"e": "exp(1)", "E": "exp(1)", "I": "a real expression"}
_NOT_NUMBERS = ("nan", "inf", "infinity", "oo", "zoo")
_CALLS = {**FUNCTIONS, "sqrt": sympy.sqrt}


class Parsed(NamedTuple):
    """A formula as it was read."""

    expression: sympy.Expr
    names: frozenset[str]
    """The variables that the text has; the expression lacks those that cancel."""


def parse(text: str) -> sympy.Expr:
    """Return the expression for the formula `text`, with every decimal as an exact fraction.

    Takes numbers, names of variables, `pi`, + - * / **, parentheses, and the functions exp, log,
    sqrt, sin, cos, tan, asin, acos, atan, sinh, cosh, tanh. Variables are real.

    Raises:
        ArgumentError: for anything else; the message shows the column and the piece of text. Also
            for a number outside the range of doubles, such as 1e400 or exp(1000), and for a formula
            whose simplification does not end within about a second or is too long.

    """
    return read(text).expression


def read(text: str) -> Parsed:
    """Return what `parse` does, with the names of the variables in the text."""
    source, tree, size = tree_of(text)
    try:
        builder = _Builder(source)
        easy = size < _SMALL and not _has_irrational(tree)
        with limits.limited_work(None if easy else limits.MAX_CALLS, "its simplification"):
            expression = builder.build(tree)
            _check_functions(source.text, expression)
            _check_domain(source.text, expression, builder.needed)
    except limits.OutOfRange as error:
        raise ArgumentError(f"Cannot read the expression {quoted(source.text)}: {error}.") from None
    except RecursionError:
        raise source.too_deep() from None
    return Parsed(expression, frozenset(builder.names))


def _has_irrational(tree: ast.AST) -> bool:
    """Say whether a power or a function of numbers alone is in a syntax tree."""
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return any(
        isinstance(node, (ast.Call, ast.BinOp))
        and not (isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Pow))
        and all(
            each.id in _CONSTANTS
            for each in ast.walk(node)
            if isinstance(each, ast.Name) and id(each) not in functions
        )
        for node in ast.walk(tree)
    )


def _check_functions(source: str, expression: sympy.Expr) -> None:
    """Refuse functions that are not smooth and that sympy makes of roots."""
    node: Any
    for node in sympy.preorder_traversal(expression):
        if isinstance(node, sympy.Function) and node.func not in FUNCTIONS.values():
            raise ArgumentError(
                f"The expression {quoted(source)} simplifies to {_shown(expression)}, "
                "which has no derivative everywhere."
            )


def _check_domain(source: str, expression: sympy.Expr, needed: list[sympy.Expr]) -> None:
    """Refuse x**3/x: simplified to x**2 it would be defined at 0, and proofs would include 0."""
    left: set[Any] = set()
    node: Any
    for node in sympy.preorder_traversal(expression):
        if isinstance(node, sympy.log) or (node.is_Pow and _restricts(node.exp)):
            left |= _factors(node.args[0])
    for argument in needed:
        if not argument.is_number and not _factors(argument) <= left:
            raise ArgumentError(
                f"The expression {quoted(source)} simplifies to {_shown(expression)}, which is "
                f"defined at points where the expression itself is not (see {_shown(argument)}). "
                "Write the simple form if you mean it."
            )


def _restricts(exponent: sympy.Expr) -> bool:
    """Say whether a power with this exponent is not defined for every base."""
    return not (exponent.is_Integer and exponent.is_nonnegative)


def _factors(argument: Any) -> set[Any]:
    """Return the variable factors, without numbers, signs and powers, which sympy moves about."""
    found: set[Any] = set()
    factor: Any
    for factor in sympy.Mul.make_args(argument):
        base = factor.args[0] if factor.is_Pow and factor.exp.is_Rational else factor
        positive = isinstance(base, sympy.exp) or (base.is_Pow and base.base.is_number)  # 2**x
        if not base.is_number and not positive:
            primitive = base.as_content_primitive()[1]
            found.add(-primitive if primitive.could_extract_minus_sign() else primitive)
    return found


class _Builder:
    """Turn Python's syntax tree into a sympy expression, one allowed node at a time.

    The numbers of every operation are bounded before sympy computes its result.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.names: set[str] = set()
        self.needed: list[sympy.Expr] = []
        """What must be positive or at least not 0: arguments of log and roots, divisors."""
        self.measures = limits.Measures()

    def build(self, node: ast.AST) -> sympy.Expr:
        try:
            made = self.built(node)
            self.measures.number(made)
        except limits.OutOfRange as error:
            raise self.refuse(node, str(error)) from None
        if self.measures.size(made) > limits.MAX_SIZE:
            raise self.refuse(
                node, f"written out, this has more than {limits.MAX_SIZE} terms and signs"
            )
        return made

    def built(self, node: ast.AST) -> sympy.Expr:
        if isinstance(node, ast.Constant):
            return self.constant(node)
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
            value = self.build(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp):
            return self.operation(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        raise self.source.not_allowed(node)

    def constant(self, node: ast.Constant) -> sympy.Expr:
        digits = literal(self.source, node)
        if not re.search(r"[1-9]", re.split("[eE]", digits)[0]):
            return sympy.Integer(0)
        if abs(float(digits)) < 1e-300:
            raise self.refuse(node, "the number is too small")
        return sympy.Rational(digits)

    def name(self, node: ast.Name) -> sympy.Expr:
        if node.id in _CONSTANTS:
            return _CONSTANTS[node.id]
        if node.id in _RESERVED:
            raise self.refuse(node, f"the name is reserved; write {_RESERVED[node.id]} instead")
        if node.id.lower() in _NOT_NUMBERS:
            raise self.refuse(node, "only finite numbers are allowed")
        if node.id in _CALLS:
            raise self.refuse(node, f"a function needs its argument, {node.id}(...)")
        if not is_name(node.id):
            raise self.refuse(node, "a variable is a letter, then letters, digits or _")
        self.names.add(node.id)
        return sympy.Symbol(node.id, real=True)

    def operation(self, node: ast.BinOp) -> sympy.Expr:
        if isinstance(node.op, ast.BitXor):
            raise self.refuse(node, "^ is not a power; write **")
        if not isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)):
            raise self.refuse(node, "only + - * / ** are allowed")
        left, right = self.build(node.left), self.build(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Pow):
            return self.power(node, left, right)
        divisor = self.measures.number(right)
        if divisor is not None and divisor.contains(0):
            raise self.refuse(node, "division by zero, or by a number too close to it")
        self.needed.append(right)
        return left / right

    def power(self, node: ast.BinOp, base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
        ground, power = self.measures.number(base), self.measures.number(exponent)
        if isinstance(exponent, sympy.Rational):
            size = max(abs(exponent.p), exponent.q)
            if size > MAX_EXPONENT:
                raise self.refuse(node, f"an exponent must be at most {MAX_EXPONENT}")
            if base.is_zero and exponent <= 0:
                raise self.refuse(node, "0 to a power of at most 0")
            if isinstance(base, sympy.Rational) and size * _bits(base) > limits.MAX_BITS:
                raise self.refuse(node, "the number is too large")
            if ground is not None and ground < 0 and exponent.q > 1:
                raise self.refuse(node, "a root of a negative number is not a finite real number")
        elif ground is not None and not ground > 0:
            raise self.refuse(node, "a variable exponent needs a positive base")
        if ground is not None and power is not None:
            limits.power_of(ground, power)
        elif isinstance(base, sympy.Rational):  # of which sympy takes 10**(x + 9) apart
            for term in sympy.Add.make_args(exponent):
                limits.power_of(ground, self.measures.number(term.as_coeff_Mul()[0]))
        if _restricts(exponent):
            self.needed.append(base)
        result = base**exponent
        if isinstance(result, sympy.Pow) and isinstance(result.exp, sympy.Rational):
            combined = max(abs(result.exp.p), result.exp.q)
            if combined > MAX_EXPONENT:
                raise self.refuse(node, f"an exponent must be at most {MAX_EXPONENT}")
        return result

    def call(self, node: ast.Call) -> sympy.Expr:
        if not isinstance(node.func, ast.Name):
            raise self.source.not_allowed(node.func)
        name = node.func.id
        if name not in _CALLS:
            names = ", ".join(sorted(_CALLS))
            raise self.refuse(node.func, f"no such function; known: {names}")
        if len(node.args) != 1 or node.keywords:
            raise self.refuse(node, f"{name} takes one argument")
        argument = self.build(node.args[0])
        if name in ("log", "sqrt"):
            self.needed.append(argument)
        number = self.measures.number(argument)
        if number is not None:
            limits.number_of(name, number)
        return _CALLS[name](argument)

    def refuse(self, node: ast.AST, reason: str) -> ArgumentError:
        return self.source.refused_at(node, reason)


def _bits(number: sympy.Rational) -> int:
    return max(abs(int(number.p)).bit_length(), int(number.q).bit_length())


def _shown(expression: Any) -> str:
    text = str(expression)
    return f"{text[:60]}…" if len(text) > 60 else text
