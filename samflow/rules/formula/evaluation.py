"""The value of a formula at weights, in either layout of vectors."""

from collections.abc import Mapping, Set
from typing import Any

import jax.numpy as jnp

from samflow._components import inner
from samflow.losses.base import AbstractLoss
from samflow.rules.formula.nodes import Node


class Values:
    """The values of nodes at weights `w`; each different one is computed once."""

    def __init__(
        self, loss: AbstractLoss, w: Any, numbers: Mapping[str, Any], harmless: Set[Node]
    ) -> None:
        """Hold where to compute.

        Args:
            loss: gives gradients and Hessian-vector products.
            w: the weights.
            numbers: by name.
            harmless: norms that may vanish without harm to the Jacobian of the whole formula.

        """
        self._loss, self._numbers, self._harmless = loss, numbers, harmless
        self._known: dict[Node, Any] = {Node("w", is_vector=True): w}

    def __call__(self, node: Node) -> Any:
        """Return the value of a node; NaN or infinite where it is not defined."""
        if node not in self._known:
            self._known[node] = self._value(node)
        return self._known[node]

    def _value(self, node: Node) -> Any:
        if node.kind == "number":
            return node.value
        if node.kind == "name":
            return self._numbers[str(node.value)]
        if node.kind == "g":
            return self._loss.gradient(self(node.parts[0]))
        if node.kind == "H":
            w: Any = self(Node("w", is_vector=True))
            return self._loss.hvp(w, self(node.parts[0]))
        if node.kind == "divide" and node.parts[1].kind == "norm":
            below = node.parts[1]
            if below not in self._harmless:
                # √(1/‖v‖²), not 1/√‖v‖²: XLA makes of the second what is three times as slow.
                v = self(below.parts[0])
                return jnp.sqrt(1 / inner(v, v)) * self(node.parts[0])
        if node.kind == "norm":
            v = self(node.parts[0])
            return length(v) if node in self._harmless else jnp.sqrt(inner(v, v))
        return combined(node, [self(part) for part in node.parts])


def combined(node: Node, values: list[Any]) -> Any:
    """Return what arithmetic makes of the values of a node's parts."""
    if node.kind == "power":
        return _power(values[0], node.value)
    a, b = values
    if node.kind == "dot":
        return inner(a, b)
    if node.kind == "add":
        return a + b
    return a * b if node.kind == "multiply" else a / b


def length(v: Any) -> Any:
    """Return ‖v‖ with the derivative 0 at v = 0, where there is none.

    It serves where the formula's Jacobian does not depend on the number in its place.
    """
    square = inner(v, v)
    zero = square == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))


def _power(base: Any, exponent: Any) -> Any:
    if exponent == int(exponent):
        return base ** int(exponent)
    if 2 * exponent == int(2 * exponent):  # sqrt is one instruction, pow a library call
        return jnp.sqrt(base) ** int(2 * exponent)
    return base**exponent
