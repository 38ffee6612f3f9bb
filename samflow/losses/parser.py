"""Text to an exact expression: parsed and checked node by node, never evaluated as code."""

import ast
import keyword
import re
from typing import Any

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
_NOT_NUMBERS = ("nan", "inf", "infinity", "oo", "zoo")
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
        for word in re.finditer(r"[A-Za-z_]\w*", source):
            if keyword.iskeyword(word[0]):
                reason = f"{word[0]} is a reserved word of Python; rename it, as {word[0]}_"
                raise _refuse(source, *word.span(), reason) from None
        raise _refuse(source, column, column + 1, error.msg) from None
    except (ValueError, MemoryError, RecursionError):
        raise ArgumentError("The expression is nested too deeply to be read.") from None
    try:
        if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
            raise ArgumentError(f"An expression must have at most {MAX_NODES} terms and signs.")
        builder = _Builder(source)
        expression = builder.build(tree)
        _check_constants(source, expression)
        _check_domain(source, expression, builder.needed)
    except RecursionError:
        raise ArgumentError("The expression is nested too deeply to be read.") from None
    return expression


def _check_constants(source: str, expression: sympy.Expr) -> None:
    """Refuse acos(2), log(0), exp(1000) and what sympy makes of roots that is not smooth."""
    if expression.has(sympy.I, sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        raise ArgumentError(f"The expression {_excerpt(source)} is not a finite real number.")
    node: Any
    for node in sympy.preorder_traversal(expression):
        if isinstance(node, sympy.Function) and node.func not in FUNCTIONS.values():
            raise ArgumentError(
                f"The expression {_excerpt(source)} simplifies to {str(expression)[:60]}, "
                "which has no derivative everywhere."
            )
        if node.is_number and not node.is_Rational:
            value = complex(node.evalf(20))
            if value.imag != 0 or not abs(value) < 1e300:
                raise ArgumentError(
                    f"The expression {_excerpt(source)} holds {str(node)[:40]}, which is not a "
                    "real number of a size that can be computed with."
                )


def _check_domain(source: str, expression: sympy.Expr, needed: list[sympy.Expr]) -> None:
    """Refuse x**3/x: as x**2 it would be defined, and even proved to be something, at 0."""
    left: set[Any] = set()
    node: Any
    for node in sympy.preorder_traversal(expression):
        if isinstance(node, sympy.log) or (node.is_Pow and _restricts(node.exp)):
            left |= _factors(node.args[0])
    for argument in needed:
        if not argument.is_number and not _factors(argument) <= left:
            raise ArgumentError(
                f"The expression {_excerpt(source)} simplifies to {str(expression)[:60]}, but is "
                f"not defined everywhere where that is (see {str(argument)[:40]}). Write the "
                "simple form if it is what you mean."
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
        if not base.is_number and not isinstance(base, sympy.exp):
            primitive = base.as_content_primitive()[1]
            found.add(-primitive if primitive.could_extract_minus_sign() else primitive)
    return found


class _Builder:
    """Turn Python's syntax tree into a sympy expression, one allowed node at a time."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.needed: list[sympy.Expr] = []
        """What must be positive or at least not 0: arguments of log and roots, divisors."""

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
        if node.id.lower() in _NOT_NUMBERS:
            raise self.refuse(node, "only finite numbers are allowed")
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
        self.needed.append(right)
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
            raise self.refuse(node.func, f"{_WHAT.get(type(node.func), 'this')} is not allowed")
        if node.func.id not in _CALLS:
            names = ", ".join(sorted(_CALLS))
            raise self.refuse(node.func, f"no such function; known: {names}")
        if len(node.args) != 1 or node.keywords:
            raise self.refuse(node, f"{node.func.id} takes one argument")
        argument = self.build(node.args[0])
        if node.func.id in ("log", "sqrt"):
            self.needed.append(argument)
        return _CALLS[node.func.id](argument)

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
