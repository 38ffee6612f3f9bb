"""Text to the tree of a rule's formula: checked node by node, never evaluated as code."""

import ast
import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

from samflow import _checks
from samflow._checks import ArgumentError
from samflow.losses.parser import parse
from samflow.losses.syntax import Source, is_name, literal, quoted, tree_of
from samflow.rules.formula.nodes import G, Node, W, negative, number, power

MAX_LENGTH = 1_000
MAX_NODES = 400
MAX_DEPTH = 40
"""Operations inside of each other: JAX traces a formula by calls that are as deep."""
MAX_GRADIENTS = 16
"""Different gradients and Hessian-vector products: XLA compiles the loss for each of them."""
MAX_NAMES = 8
MAX_EXPONENT = 100
_WHAT = "rule"
_FUNCTIONS = {"g": 1, "grad": 1, "H": 1, "norm": 1, "dot": 2, "sqrt": 1}
"""How many arguments each takes: points and vectors, and of sqrt a number."""
_CONSTANTS = {"pi": math.pi}
_TAKEN = ("lr", "momentum", "weight_decay", "loss", "rule", "base")
"""What a name in a system means already."""
_SIGNS = {
    "ρ": "rho", "β": "beta", "ε": "eps", "σ": "sigma", "η": "a number of your own", "λ": "lam",
    "∇": "g", "‖": "norm(...)", "∥": "norm(...)", "√": "sqrt(...)", "·": "* or dot(a, b)",
    "−": "-", "–": "-", "×": "*", "÷": "/", "²": "**2", "³": "**3", "π": "pi",
}  # fmt: skip
"""What to write for signs that are pasted from a paper."""


class Formula(NamedTuple):
    """The formula of a rule, as it was read.

    Attributes:
        text: the formula alone, in one line.
        root: its tree, a vector.
        names: of the numbers that it has, in their order in the text.
        given: the numbers that the text gives after the formula.

    """

    text: str
    root: Node
    names: tuple[str, ...]
    given: Mapping[str, float]


def read_formula(text: str) -> Formula:
    """Return the formula in a text such as "g(w + rho*g/(norm(g) + eps)); eps = 0.1".

    ===================  ==========================================================
    w, g                 the weights, and the gradient there
    g(v), grad(v)        the gradient at the weights v, as g(w + rho*g)
    H(v)                 the Hessian at w times v
    norm(v), dot(a, b)   length and inner product
    rho, eps, ...        numbers; any name that is not one of these
    `+ - * / **`, sqrt   of numbers; of vectors a + b, a − b, number·a, a/number; also pi
    ===================  ==========================================================

    An exponent is a number that is written out. After a semicolon come values of numbers.

    Raises:
        ArgumentError: for anything else. The message quotes what is refused, with its column.

    """
    if not isinstance(text, str):
        raise ArgumentError(f"A rule must be a non-empty text, but is {_checks.excerpt(text)}.")
    return _read(text)


@functools.lru_cache(maxsize=256)
def _read(text: str) -> Formula:
    formula, *values = text.split(";") if len(text) <= MAX_LENGTH else [text]
    source, tree, _ = tree_of(
        formula, _WHAT, signs=_SIGNS, max_length=MAX_LENGTH, max_nodes=MAX_NODES
    )
    reader = _Reader(source)
    root = reader.node(tree, 0)
    if not root.is_vector:
        raise source.refused_at(
            tree, "a rule is a direction, a vector, but this is a number; multiply it by a vector"
        )
    derivatives = sum(node.kind in ("g", "H") for node in root.inside)
    if derivatives > MAX_GRADIENTS:
        raise ArgumentError(
            f"A rule must have at most {MAX_GRADIENTS} different gradients and products H(v), but "
            f"{quoted(source.text)} has {derivatives}."
        )
    if len(reader.names) > MAX_NAMES:
        raise ArgumentError(
            f"A rule must have at most {MAX_NAMES} named numbers, but {quoted(source.text)} has "
            f"{len(reader.names)}."
        )
    return Formula(source.text, root, tuple(reader.names), _values(source, values, reader.names))


def _values(source: Source, texts: list[str], names: list[str]) -> dict[str, float]:
    """Return the numbers that are given after the formula."""
    given: dict[str, float] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise ArgumentError(
                f"Cannot read the rule {quoted(source.text)}: after `;` write name = number, as "
                f"`; eps = 0.1`, but not {quoted(text.strip())}."
            )
        if name not in names or name in given:
            why = "is given twice" if name in given else "is no number of the formula"
            has = f"; it has {', '.join(names)}" if names else "; it has none"
            raise ArgumentError(
                f"Cannot read the rule {quoted(source.text)}: after `;`, {quoted(name)} {why}{has}."
            )
        made = parse(value)
        if made.free_symbols:
            raise ArgumentError(
                f"Cannot read the rule {quoted(source.text)}: {name} must be a number, but is "
                f"{quoted(value)}."
            )
        given[name] = float(made)
    return given


class _Reader:
    """Turn Python's syntax tree into nodes, one allowed node at a time, with the types checked."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.names: list[str] = []

    def node(self, tree: ast.AST, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.source.too_deep()
        if isinstance(tree, ast.Constant):
            return number(float(literal(self.source, tree)))
        if isinstance(tree, ast.Name):
            return self.name(tree)
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, (ast.UAdd, ast.USub)):
            value = self.node(tree.operand, depth + 1)
            return negative(value) if isinstance(tree.op, ast.USub) else value
        if isinstance(tree, ast.BinOp):
            return self.operation(tree, depth)
        if isinstance(tree, ast.Call):
            return self.call(tree, depth)
        raise self.source.not_allowed(tree)

    def name(self, tree: ast.Name) -> Node:
        name = tree.id
        if name in ("w", "g"):
            return W if name == "w" else G
        if name in _CONSTANTS:
            return number(_CONSTANTS[name])
        if name in _FUNCTIONS:
            raise self.refused(tree, f"a function needs its argument; write {name}({_of(name)})")
        if name in _TAKEN:
            raise self.refused(tree, f"{name} belongs to the system; choose another name")
        if not is_name(name):
            raise self.refused(tree, "a name is a letter, then letters, digits or _")
        if name not in self.names:
            self.names.append(name)
        return Node("name", value=name)

    def operation(self, tree: ast.BinOp, depth: int) -> Node:
        if isinstance(tree.op, ast.BitXor):
            raise self.refused(tree, "^ is not a power; write **")
        if isinstance(tree.op, ast.MatMult):
            raise self.refused(tree, "@ is not allowed; write dot(a, b)")
        if not isinstance(tree.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)):
            raise self.refused(tree, "only + - * / ** are allowed")
        a, b = self.node(tree.left, depth + 1), self.node(tree.right, depth + 1)
        if isinstance(tree.op, (ast.Add, ast.Sub)):
            return self.sum(tree, a, negative(b) if isinstance(tree.op, ast.Sub) else b)
        if isinstance(tree.op, ast.Mult):
            if a.is_vector and b.is_vector:
                raise self.refused(tree, "two vectors have no product; write dot(a, b)")
            return self.folded(tree, Node("multiply", (a, b), a.is_vector or b.is_vector))
        if isinstance(tree.op, ast.Div):
            if b.is_vector:
                raise self.refused(tree.right, "a vector cannot divide; divide by norm(...)")
            if b.kind == "number" and not b.value:
                raise self.refused(tree, "division by zero")
            return self.folded(tree, Node("divide", (a, b), a.is_vector))
        return self.power(tree, a, b)

    def sum(self, tree: ast.BinOp, a: Node, b: Node) -> Node:
        if a.is_vector != b.is_vector:
            sides = [ast.get_source_segment(self.source.text, s) for s in (tree.left, tree.right)]
            vector, scalar = sides if a.is_vector else sides[::-1]
            raise self.refused(
                tree,
                f"{quoted(vector or '')} is a vector and {quoted(scalar or '')} a number, which "
                "have no sum; multiply the number by a vector, or take norm(...) of the vector",
            )
        return self.folded(tree, Node("add", (a, b), a.is_vector))

    def power(self, tree: ast.BinOp, a: Node, b: Node) -> Node:
        if a.is_vector:
            raise self.refused(tree, "a vector has no powers; write dot(v, v) or norm(v)**2")
        if b.kind != "number" or not isinstance(b.value, float):
            raise self.refused(tree.right, "an exponent must be a number, written out")
        if abs(b.value) > MAX_EXPONENT:
            raise self.refused(tree.right, f"an exponent must be at most {MAX_EXPONENT}")
        return self.folded(tree, power(a, b.value))

    def call(self, tree: ast.Call, depth: int) -> Node:
        if not isinstance(tree.func, ast.Name):
            raise self.source.not_allowed(tree.func)
        name = tree.func.id
        if name == "w":
            raise self.refused(tree, "w is the weights, and no function; a product needs its *")
        if name not in _FUNCTIONS:
            known = ", ".join(sorted(_FUNCTIONS, key=str.lower))
            raise self.refused(tree.func, f"no such function; known: {known}")
        if len(tree.args) != _FUNCTIONS[name] or tree.keywords:
            many = "two arguments" if _FUNCTIONS[name] == 2 else "one argument"
            raise self.refused(tree, f"{name} takes {many}; write {name}({_of(name)})")
        parts = tuple(self.node(argument, depth + 1) for argument in tree.args)
        for part, argument in zip(parts, tree.args, strict=True):
            if part.is_vector == (name == "sqrt"):
                wanted, got = ("number", "vector") if name == "sqrt" else ("vector", "number")
                raise self.refused(
                    argument,
                    f"{name} takes a {wanted}, but this is a {got}; write {name}({_of(name)})",
                )
        if name == "sqrt":
            return self.folded(tree, power(parts[0], 0.5))
        kind = "g" if name == "grad" else name
        return Node(kind, parts, is_vector=kind in ("g", "H"))

    def folded(self, tree: ast.AST, node: Node) -> Node:
        """Return the number that an operation on numbers alone gives; refuse what is not finite."""
        values = [part.value for part in node.parts if part.kind == "number"]
        numbers = [value for value in values if isinstance(value, float)]
        if len(numbers) < len(node.parts):
            return node
        try:
            value = _COMPUTE[node.kind](*numbers, node.value)
        except (ArithmeticError, ValueError):
            value = math.nan
        if isinstance(value, complex) or not math.isfinite(value):
            raise self.refused(tree, "this is not a finite real number")
        return number(value)

    def refused(self, tree: ast.AST, reason: str) -> ArgumentError:
        return self.source.refused_at(tree, reason)


_COMPUTE = {
    "add": lambda a, b, _: a + b,
    "multiply": lambda a, b, _: a * b,
    "divide": lambda a, b, _: a / b,
    "power": lambda a, exponent: a**exponent,
}


def _of(name: str) -> str:
    """Return the arguments of a function as an example."""
    return {"dot": "a, b", "sqrt": "dot(g, g)", "g": "w + rho*g", "grad": "w"}.get(name, "g")
