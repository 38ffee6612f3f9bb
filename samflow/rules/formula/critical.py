"""What the text of a formula tells of its rule at critical points.

Near a critical point let g = t·e with t → 0 and ‖e‖ = 1. Every node is then t^k·c to leading order,
with an order k that follows from the text alone. From the orders follows where the formula has a
Jacobian, and from the coefficients c what it tends to.
"""

import functools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import jax.numpy as jnp

from samflow._components import norm
from samflow.losses.base import AbstractLoss
from samflow.rules._common import least
from samflow.rules.critical import Ascent
from samflow.rules.formula.evaluation import combined
from samflow.rules.formula.nodes import G, Node, W, addends, factors

Order = Fraction | float
"""A power of t; −∞ where the text does not tell, and +∞ of what does not depend on a norm."""
_UNKNOWN = float("-inf")
_NEVER = float("inf")
_RHO = Node("name", value="rho")


def ascent_of(root: Node) -> Ascent:
    """Return the form of d, everywhere: that of GD, USAM or SAM with a number `rho`, or other."""
    if root.kind != "g":
        return Ascent.other
    parts = list(addends(root.parts[0]))
    if parts.count(W) != 1:
        return Ascent.other
    parts.remove(W)
    if not parts:
        return Ascent.none
    found = sorted(factors(parts[0])) if len(parts) == 1 else []
    if found == sorted([(_RHO, 1), (G, 1)]):
        return Ascent.gradient
    if found == sorted([(_RHO, 1), (G, 1), (Node("norm", (G,)), -1)]):
        return Ascent.unit
    return Ascent.other


def rho_is_length(root: Node) -> bool:
    """Say whether a number `rho` is taken for a length: it multiplies in a displacement of w.

    It is none where it multiplies a gradient alone, as in g(w + rho*g) + b*g/norm(g).
    """
    points = [node.parts[0] for node in root.inside if node.kind == "g"]
    products = [factors(part) for point in points for part in displacement(point) or ()]
    found = [[node for node, _ in product] for product in products if (_RHO, 1) in product]
    of_gradient = (all(n == _RHO or n.kind in ("number", "g") for n in nodes) for nodes in found)
    return bool(found) and not any(of_gradient)


@functools.lru_cache(maxsize=4096)
def order(node: Node) -> Order:
    """Return the order k of a node at a critical point, if its coefficient does not vanish."""
    if node.kind in ("number", "name", "w"):
        return Fraction(0)
    if node.kind == "g":
        away = displacement(node.parts[0])
        at = order(node.parts[0]) if away is None else _least(map(order, away))
        if away is None or at <= 0:
            return Fraction(0) if at >= 0 else _UNKNOWN
        return min(Fraction(1), at)
    orders = [order(part) for part in node.parts]
    if node.kind == "power":
        return orders[0] * Fraction(str(node.value)) if orders[0] > _UNKNOWN else _UNKNOWN
    if node.kind == "divide":
        return orders[0] - orders[1] if min(orders) > _UNKNOWN else _UNKNOWN
    return min(orders) if node.kind in ("add", "norm", "H") else sum(orders, Fraction(0))


def displacement(point: Node) -> list[Node] | None:
    """Return what is added to w in a point; None if that is not of the form w + ..."""
    parts = list(addends(point))
    if parts.count(W) != 1:
        return None
    parts.remove(W)
    return parts


@functools.lru_cache(maxsize=256)
def harmless(root: Node) -> frozenset[Node]:
    """Return the norms that vanish at critical points alone, where d has a Jacobian all the same.

    ‖g‖ in g/(‖g‖ + eps) is one: d depends on it to no first order there. It takes that nothing
    which vanishes divides, and that what divides is a multiple of g.
    """
    if any(order(node) > 0 for node in divisors(root)):
        return frozenset()
    return frozenset(
        node
        for node in root.inside
        if node.kind == "norm" and _is_multiple_of_g(node.parts[0]) and _slope(root, node) >= 1
    )


def divisors(root: Node) -> list[Node]:
    """Return what divides, and the bases of powers that are not whole or negative."""
    found = [node.parts[1] for node in root.inside if node.kind == "divide"]
    powers = [node for node in root.inside if node.kind == "power"]
    return found + [p.parts[0] for p in powers if Fraction(str(p.value)).denominator > 1
                    or float(p.value or 0) < 0]  # fmt: skip


def jumps(root: Node) -> bool:
    """Say whether the formula has no Jacobian at critical points, as far as its text tells."""
    norms = [node for node in root.inside - harmless(root) if node.kind == "norm"]
    return any(order(node) != 0 for node in (*divisors(root), *norms))


def singularity(root: Node, value: Any, numbers: Mapping[str, Any]) -> Any:
    """Return the distance from where the formula has no Jacobian, in units of the gradient.

    Each norm counts that is not harmless, ‖g‖ where what divides vanishes with it, and 0 where
    anything else that divides is 0. A norm of what is no gradient, as of w, has another unit: it
    counts as 0 where it is 0, and else as the largest number.

    Args:
        root: the formula.
        value: gives the value of a node.
        numbers: by name.

    """
    kept = harmless(root)
    norms = {node for node in root.inside - kept if node.kind == "norm"}
    distance: Any = jnp.full(jnp.shape(value(W)[0]), jnp.inf)
    for node in sorted(norms.union(divisors(root)), key=lambda node: (len(node.inside), node)):
        # The inner first: what an undefined one makes NaN comes after it, and is not looked at.
        if node in norms:
            near = value(node)
            if not _is_gradient(node.parts[0]):
                near = jnp.where(near == 0, 0.0, jnp.finfo(near.dtype).max)
        else:
            near = jnp.where(value(node) == 0, 0.0, jnp.inf)
            # What is left of ‖g‖ + eps at critical points may be 0 as a number, as for eps = 0.
            left = _left(node, numbers)
            vanishes = order(node) != 0 if left is None else left == 0
            near = jnp.where(vanishes, jnp.minimum(near, norm(value(G))), near)
        if order(node) > 0:
            near = jnp.minimum(near, norm(value(G)))
        distance = least(distance, near)
    return distance


def _left(node: Node, numbers: Mapping[str, Any]) -> Any:
    """Return the coefficient of order 0 where it is made of numbers alone; else None."""
    if order(node) != 0 or node.is_vector or node.kind in ("norm", "dot"):
        return None
    if node.kind in ("number", "name"):
        return node.value if node.kind == "number" else numbers[str(node.value)]
    parts = [part for part in node.parts if node.kind != "add" or order(part) == 0]
    values = [_left(part, numbers) for part in parts]
    if any(value is None for value in values):
        return None
    return sum(values) if node.kind == "add" else combined(node, values)


def _is_gradient(v: Node) -> bool:
    """Say whether a vector is a gradient, or a sum or a multiple of gradients."""
    return all(
        any(node.kind == "g" for node, _ in factors(part) if node.is_vector) for part in addends(v)
    )


def _least(orders: Any) -> Order:
    return min(orders, default=_NEVER)


def _is_multiple_of_g(v: Node) -> bool:
    """Say whether a vector is g times numbers that do not depend on the weights."""
    parts = factors(v)
    rest = [node for node, _ in parts if node != G]
    return (G, 1) in parts and all(node.kind in ("number", "name") for node in rest)


def _slope(node: Node, of: Node) -> Order:
    """Return the order of ∂(node)/∂(of), with `of` a norm; +∞ where it does not depend on it."""
    if node == of:
        return Fraction(0)
    if not node.parts:
        return _NEVER
    slopes = [_slope(part, of) for part in node.parts]
    if min(slopes) == _NEVER:
        return _NEVER
    if node.kind in ("add", "g", "H", "norm"):
        return min(slopes)
    if node.kind == "power":
        return order(node) - order(node.parts[0]) + slopes[0]
    (da, db), (a, b) = slopes, map(order, node.parts)
    if node.kind == "divide":
        return min(da - b, a + db - 2 * b)
    return min(da + b, a + db)


class Limit:
    """The leading coefficients of nodes at a critical point `w`, as g/‖g‖ → e."""

    def __init__(self, loss: AbstractLoss, w: Any, e: Any, numbers: Mapping[str, Any]) -> None:
        """Hold the point and the direction, in one layout."""
        self._loss, self._w, self._e, self._numbers = loss, w, e, numbers
        self._known: dict[Node, Any] = {}

    def of(self, root: Node) -> Any:
        """Return lim d; 0 where d vanishes, NaN where it grows without bound or is not known."""
        k = order(root)
        if k < 0:
            return jnp.nan * self._w
        return self._coefficient(root) if k == 0 else 0.0 * self._w

    def _coefficient(self, node: Node) -> Any:
        if node not in self._known:
            self._known[node] = self._made(node)
        return self._known[node]

    def _made(self, node: Node) -> Any:
        if node.kind == "number":
            return node.value
        if node.kind == "name":
            return self._numbers[str(node.value)]
        if node.kind == "w":
            return self._w
        if node.kind == "g":
            return self._gradient(node)
        parts = [self._coefficient(part) for part in node.parts]
        if node.kind == "H":
            return self._loss.hvp(self._w, parts[0])
        if node.kind == "norm":
            return norm(parts[0])
        if node.kind == "add":
            lowest = order(node)
            return sum(c for c, p in zip(parts, node.parts, strict=True) if order(p) == lowest)
        return combined(node, parts)

    def _gradient(self, node: Node) -> Any:
        """Return that of g(p): a value of g where p tends to another point, else t(e + H u)."""
        (point,) = node.parts
        away = displacement(point)
        if away is None:
            p = self._coefficient(point)
            return self._loss.gradient(p if order(point) == 0 else 0.0 * self._w)
        k = _least(map(order, away))
        u: Any = sum((self._coefficient(p) for p in away if order(p) == k), 0.0 * self._w)
        if k == 0:
            return self._loss.gradient(self._w + u)
        along = self._loss.hvp(self._w, u) if k <= 1 else 0.0 * self._w
        return self._e + along if k >= 1 else along
