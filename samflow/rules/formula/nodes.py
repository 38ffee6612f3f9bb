"""The language of formulas of rules: nodes of a tree, each a vector or a number."""

from typing import NamedTuple


class Node(NamedTuple):
    """One operation of a formula.

    ==========  ==========================================================
    "number"    `value`
    "name"      the number that `value` names
    "w"         the weights
    "g"         the gradient at a point
    "H"         the Hessian at w times a vector
    "norm"      the length of a vector
    "dot"       the inner product of two vectors
    "add"       a + b, of two vectors or two numbers
    "multiply"  a·b, of numbers, or of a number and a vector in any order
    "divide"    a/b, by a number
    "power"     a number to the power `value`, a number that is known
    ==========  ==========================================================

    Attributes:
        kind: one of these.
        parts: what it is made of.
        is_vector: whether it is a vector.
        value: of a number, a name or an exponent.

    """

    kind: str
    parts: tuple["Node", ...] = ()
    is_vector: bool = False
    value: float | str | None = None

    @property
    def inside(self) -> frozenset["Node"]:
        """The node and all that it is made of."""
        return frozenset((self,)).union(*(part.inside for part in self.parts))


W = Node("w", is_vector=True)
G = Node("g", (W,), is_vector=True)


def number(value: float) -> Node:
    """Return a number."""
    return Node("number", value=value)


def negative(node: Node) -> Node:
    """Return −a; of a number that is known the number."""
    if node.kind == "number" and isinstance(node.value, float):
        return number(-node.value)
    return Node("multiply", (number(-1.0), node), node.is_vector)


def power(base: Node, exponent: float) -> Node:
    """Return a number to a power; of √(v·v), which is ‖v‖, the norm."""
    if exponent == 0.5 and base.kind == "dot" and base.parts[0] == base.parts[1]:
        return Node("norm", base.parts[:1])
    return Node("power", (base,), value=exponent)


def addends(node: Node) -> tuple[Node, ...]:
    """Return what is added, through all sums."""
    if node.kind != "add":
        return (node,)
    return tuple(each for part in node.parts for each in addends(part))


def factors(node: Node, sign: int = 1) -> list[tuple[Node, int]]:
    """Return what is multiplied, through all products and quotients: 1, or −1 if it divides."""
    if node.kind == "multiply":
        return [each for part in node.parts for each in factors(part, sign)]
    if node.kind == "divide":
        above, below = node.parts
        return [*factors(above, sign), *factors(below, -sign)]
    return [(node, sign)]
