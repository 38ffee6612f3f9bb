"""Orbits of normalised SAM that provably leave a neighbourhood, in balls at rising precision."""

from typing import Annotated, NamedTuple

import numpy as np
from flint import arb, arb_mat

from samflow._axes import axes
from samflow._types import Box
from samflow.proofs._steps import Matrix, column, length, vector
from samflow.proofs.balls import (
    Ball,
    Balls,
    OutsideDomain,
    exact,
    finite,
    spans,
    working_precision,
)
from samflow.proofs.equations import GradientEquations

_LOWEST_BITS, _HIGHEST_BITS = 128, 4096
_BLURRED = 1e-3
_SMALLEST = 900
"""Share of `within` above which an orbit is too uncertain, and is followed again."""


class Escape(NamedTuple):
    """Starts from which orbits leave: all w* + t·direction with 0 < t ≤ length.

    Attributes:
        direction: a vector.
        length: the largest t; every t below it is proved as well.
        num_steps: how many steps the orbits take.
        left: enclosure of where they are then, or of the last weights before the map is undefined.
        undefined: whether they leave because the ascent point leaves the domain of the loss.

    """

    direction: Annotated[tuple[float, ...], axes("weight", units="1")]
    length: Annotated[float, axes(units="weight")]
    num_steps: Annotated[int, axes(units="step")]
    left: Annotated[Box, axes("weight", "end", units="weight")]
    undefined: bool


def prove_escape(
    equations: GradientEquations,
    enclose,
    *,
    direction: np.ndarray,
    rho: float,
    lr: float,
    within: float,
    max_steps: int,
) -> Escape | None:
    """Prove that the orbits from all points w* + t·direction, t → 0, go farther than `within`.

    `enclose` gives w* at a precision in bits.
    """
    bits = _LOWEST_BITS
    while bits <= _HIGHEST_BITS:
        with working_precision(bits):
            span = arb(within) * arb(2) ** -min(bits // 2, _SMALLEST)
            found = _follow(
                equations, enclose(bits), direction.tolist(), span, rho, lr, within, max_steps
            )
        if isinstance(found, Escape):
            return found
        if found is None:
            return None
        bits *= 2
    return None


def _follow(
    equations: GradientEquations,
    centre: Balls,
    direction: list[float],
    span: Ball,
    rho: float,
    lr: float,
    within: float,
    max_steps: int,
) -> Escape | bool | None:
    """Return the escape; None where the orbit stays; False where the precision is too low."""
    v = [arb(x) for x in direction]
    reach = span * arb(0.5, 0.5)
    w = [c + reach * x for c, x in zip(centre, v, strict=True)]
    far, radius, size = arb(within), exact(rho), exact(lr)

    def escape(at: int, where: Balls, undefined: bool) -> Escape:
        largest = float(np.nextafter(float(span.lower()), 0))
        return Escape(tuple(direction), largest, at, spans(where), undefined)

    try:
        g = column(arb_mat(equations.hessian(w)) * vector(v))
        norm = length(g)
        if not norm > 0:
            return False
        p = [x + radius * y / norm for x, y in zip(w, g, strict=True)]
        defined = equations.loss(p)  # its gradient can exist where the loss does not
        d = equations.value(p)
    except OutsideDomain:
        return escape(1, w, True)
    if not finite(defined):
        return False
    w = [x - size * y for x, y in zip(w, d, strict=True)]
    for i in range(1, max_steps + 1):
        if not finite(w):
            return False
        distance = length([x - c for x, c in zip(w, centre, strict=True)])
        if distance > far:
            return escape(i, w, False)
        if not distance.rad() < _BLURRED * within:
            return False
        try:
            after = _step(equations, w, radius, size)
        except OutsideDomain:
            return escape(i + 1, w, True)
        if after is None:
            return False
        w = after
    return None


def _step(equations: GradientEquations, w: Balls, rho: Ball, lr: Ball) -> Balls | None:
    """Return w⁺ by its mean-value form; None where g may vanish, or L not exist.

    By balls alone g/‖g‖ would spread along g, where it does not depend on g.
    """
    middle = [x.mid() for x in w]
    offset = vector([x - m for x, m in zip(w, middle, strict=True)])
    g, hessian = equations.linearise(w)
    at = equations.value(middle)
    norm, size = length(g), length(at)
    if not (norm > 0 and size > 0):
        return None
    e, bend = vector([x / norm for x in g]), arb_mat(hessian)
    still = identity(len(w))
    ascent = still + (bend - e * (e.transpose() * bend)) * (rho / norm)
    p = [m + rho * x / size for m, x in zip(middle, at, strict=True)]
    change = column(ascent * offset)
    over = equations.hessian([x + d for x, d in zip(p, change, strict=True)])
    moved = column((still - arb_mat(over) * ascent * lr) * offset)
    if not finite(equations.loss([x + d for x, d in zip(p, change, strict=True)])):
        return None
    d = equations.value(p)
    return [m - lr * x + y for m, x, y in zip(middle, d, moved, strict=True)]


def identity(dim: int) -> Matrix:
    """Return the unit matrix."""
    return arb_mat([[int(i == j) for j in range(dim)] for i in range(dim)])
