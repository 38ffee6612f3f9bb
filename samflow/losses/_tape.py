"""A formula as a straight-line program, run over any kind of number.

The operations given to `run` decide whether the tape computes with JAX arrays, NumPy arrays or
balls. No source text is generated, and nothing is compiled or evaluated as code.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import sympy

FUNCTIONS = {
    "exp": sympy.exp,
    "log": sympy.log,
    "sin": sympy.sin,
    "cos": sympy.cos,
    "tan": sympy.tan,
    "asin": sympy.asin,
    "acos": sympy.acos,
    "atan": sympy.atan,
    "sinh": sympy.sinh,
    "cosh": sympy.cosh,
    "tanh": sympy.tanh,
}
"""The elementary functions that an expression may hold; roots are powers."""

_NAMES = {function: name for name, function in FUNCTIONS.items()}


class Operation(NamedTuple):
    """One line of a tape: `kind` applied to earlier slots, or a constant or an exponent."""

    kind: str
    arguments: tuple[int, ...]
    number: Any = None


class Tape(NamedTuple):
    """Slots 0..n-1 are the variables, each operation fills the next, `outputs` are read last."""

    operations: tuple[Operation, ...]
    outputs: tuple[int, ...]

    def run(self, values: Sequence[Any], algebra: Mapping[str, Callable[..., Any]]) -> list[Any]:
        """Evaluate the outputs at `values`.

        `algebra` gives `constant` (of an exact sympy number), `power` (base, exact rational
        exponent) and the elementary functions by name; sums and products use + and *.
        """
        slots = list(values)
        for kind, arguments, number in self.operations:
            if kind == "constant":
                slots.append(algebra["constant"](number))
            elif kind == "power":
                slots.append(algebra["power"](slots[arguments[0]], number))
            elif kind == "add":
                slots.append(functools.reduce(lambda a, b: a + b, (slots[i] for i in arguments)))
            elif kind == "multiply":
                slots.append(functools.reduce(lambda a, b: a * b, (slots[i] for i in arguments)))
            else:
                slots.append(algebra[kind](slots[arguments[0]]))
        return [slots[i] for i in self.outputs]


@functools.lru_cache(maxsize=256)
def tape(expressions: tuple[sympy.Expr, ...], symbols: tuple[sympy.Symbol, ...]) -> Tape:
    """Return `expressions` in `symbols` as one tape, with common subexpressions computed once."""
    shared, reduced = sympy.cse(expressions, order="none")
    slots: dict[sympy.Basic, int] = {symbol: i for i, symbol in enumerate(symbols)}
    operations: list[Operation] = []

    def emit(operation: Operation) -> int:
        operations.append(operation)
        return len(symbols) + len(operations) - 1

    def place(node: Any) -> int:
        if node not in slots:
            slots[node] = emit(line(node))
        return slots[node]

    def line(node: Any) -> Operation:
        if node.is_number:
            return Operation("constant", (), node)
        if isinstance(node, (sympy.Add, sympy.Mul)):
            kind = "add" if isinstance(node, sympy.Add) else "multiply"
            return Operation(kind, tuple(place(child) for child in node.args))
        if isinstance(node, sympy.Pow) and node.exp.is_Rational:
            return Operation("power", (place(node.base),), node.exp)
        if isinstance(node, sympy.Pow):  # a variable exponent: b**e = exp(e log b), for b > 0
            return line(sympy.exp(node.exp * sympy.log(node.base), evaluate=False))
        if node.func in _NAMES:
            return Operation(_NAMES[node.func], (place(node.args[0]),))
        raise TypeError(f"No operation of a tape computes {node.func}.")

    for symbol, definition in shared:
        slots[symbol] = place(definition)
    outputs = tuple(place(node) for node in reduced)
    return Tape(tuple(operations), outputs)
