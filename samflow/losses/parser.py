"""Text to an exact expression: parsed and checked node by node, never evaluated as code."""

import ast
import re

import sympy

from samflow._checks import ArgumentError
from samflow.losses.tape import FUNCTIONS

MAX_LENGTH = 10_000
"""Characters; a loss typed by a person has fewer, and hostile input more."""
MAX_NODES = 2_000
MAX_EXPONENT = 100
MAX_BITS = 4_096
"""Size of an exact number that a constant power may reach."""

_CONSTANTS = {"pi": sympy.pi}
_RESERVED = {"e": "exp(1)", "E": "exp(1)", "I": "a real expression"}
_CALLS = {**FUNCTIONS, "sqrt": sympy.sqrt}


def parse(text: str) -> sympy.Expr:
    """Return the expression that `text` spells, with every decimal an exact fraction.

    Takes numbers, names of variables, `pi`, + - * / **, parentheses, and the functions exp, log,
    sqrt, sin, cos, tan, asin, acos, atan, sinh, cosh, tanh. Variables are real.

    Raises:
        ArgumentError: for anything else; the message shows the column and the piece of text.

    """
    if not isinstance(text, str) or not text.strip():
        raise ArgumentError(f"An expression must be a non-empty text, but is {text!r}.")
    if len(text) > MAX_LENGTH:
        raise ArgumentError(
            f"An expression must have at most {MAX_LENGTH} characters, but has {len(text)}."
        )
    source = " ".join(text.split())
    try:
        tree = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        column = max((error.offset or 1) - 1, 0)
        raise _refuse(source, column, column + 1, error.msg) from None
    except (ValueError, MemoryError, RecursionError):
        raise ArgumentError("The expression is nested too deeply to be read.") from None
    try:
        if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
            raise ArgumentError(f"An expression must have at most {MAX_NODES} terms and signs.")
        expression = _Builder(source).build(tree)
    except RecursionError:
        raise ArgumentError("The expression is nested too deeply to be read.") from None
    if expression.has(sympy.I, sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        raise ArgumentError(f"The expression {_excerpt(source)} is not a finite real number.")
    return expression


class _Builder:
    """Turn Python's syntax tree into a sympy expression, one allowed node at a time."""

    def __init__(self, source: str) -> None:
        self.source = source

    def build(self, node: ast.AST) -> sympy.Expr:
        if isinstance(node, ast.Constant):
            return self.number(node)
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
            value = self.build(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp):
            return self.operation(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        raise self.refuse(node, f"{_WHAT.get(type(node), 'this')} is not allowed")

    def number(self, node: ast.Constant) -> sympy.Expr:
        literal = ast.get_source_segment(self.source, node) or ""
        if type(node.value) not in (int, float) or not re.fullmatch(r"[0-9.eE+-]+", literal):
            raise self.refuse(node, "only decimal numbers are allowed")
        size = abs(float(literal)) if len(literal) <= 60 else float("inf")
        if not size < 1e300:
            raise self.refuse(node, "the number is too large or too long")
        if not re.search(r"[1-9]", re.split("[eE]", literal)[0]):
            return sympy.Integer(0)
        if size < 1e-300:
            raise self.refuse(node, "the number is too small")
        return sympy.Rational(literal)

    def name(self, node: ast.Name) -> sympy.Expr:
        if node.id in _CONSTANTS:
            return _CONSTANTS[node.id]
        if node.id in _RESERVED:
            raise self.refuse(node, f"the name is reserved; write {_RESERVED[node.id]} instead")
        if node.id in _CALLS:
            raise self.refuse(node, f"a function needs its argument, {node.id}(...)")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", node.id) or "__" in node.id:
            raise self.refuse(node, "a variable is a letter, then letters, digits or _")
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
        if right.is_zero:
            raise self.refuse(node, "division by zero")
        return left / right

    def power(self, node: ast.BinOp, base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
        if isinstance(exponent, sympy.Rational):
            size = max(abs(exponent.p), exponent.q)
            if size > MAX_EXPONENT:
                raise self.refuse(node, f"an exponent must be at most {MAX_EXPONENT}")
            if base.is_zero and exponent <= 0:
                raise self.refuse(node, "0 to a power of at most 0")
            if isinstance(base, sympy.Rational) and size * _bits(base) > MAX_BITS:
                raise self.refuse(node, "the number is too large")
        elif base.is_number and not base.is_positive:
            raise self.refuse(node, "a variable exponent needs a positive base")
        elif exponent.is_number and exponent.is_real is not True:
            raise self.refuse(node, "an exponent must be real")
        result = base**exponent
        if isinstance(result, sympy.Pow) and isinstance(result.exp, sympy.Rational):
            combined = max(abs(result.exp.p), result.exp.q)
            if combined > MAX_EXPONENT:
                raise self.refuse(node, f"an exponent must be at most {MAX_EXPONENT}")
        return result

    def call(self, node: ast.Call) -> sympy.Expr:
        if not isinstance(node.func, ast.Name):
            raise self.refuse(node.func, f"{_WHAT.get(type(node.func), 'this')} is not allowed")
        if node.func.id not in _CALLS:
            names = ", ".join(sorted(_CALLS))
            raise self.refuse(node.func, f"no such function; known: {names}")
        if len(node.args) != 1 or node.keywords:
            raise self.refuse(node, f"{node.func.id} takes one argument")
        return _CALLS[node.func.id](self.build(node.args[0]))

    def refuse(self, node: ast.AST, reason: str) -> ArgumentError:
        encoded = self.source.encode()  # Python counts columns in bytes of UTF-8, people do not
        start = len(encoded[: getattr(node, "col_offset", 0)].decode(errors="ignore"))
        end = len(encoded[: getattr(node, "end_col_offset", start + 1)].decode(errors="ignore"))
        return _refuse(self.source, start, end, reason)


_WHAT = {
    ast.Attribute: "attribute access (a dot)",
    ast.Subscript: "indexing",
    ast.Lambda: "a lambda",
    ast.Compare: "a comparison",
    ast.BoolOp: "and/or",
    ast.IfExp: "a conditional",
    ast.List: "a list",
    ast.Tuple: "a comma",
    ast.Dict: "a dictionary",
    ast.JoinedStr: "a string",
    ast.ListComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a star",
}


def _bits(number: sympy.Rational) -> int:
    return max(abs(int(number.p)).bit_length(), int(number.q).bit_length())


def _excerpt(source: str, start: int = 0, end: int | None = None) -> str:
    piece = source[start:end]
    return f"`{piece[:40]}…`" if len(piece) > 40 else f"`{piece}`"


def _refuse(source: str, start: int, end: int, reason: str) -> ArgumentError:
    return ArgumentError(
        f"Cannot take the expression {_excerpt(source)}: at column {start + 1}, "
        f"{_excerpt(source, start, max(end, start + 1))}: {reason}."
    )
