"""Orbits of normalised SAM that provably leave a neighbourhood, in balls at rising precision."""

from typing import NamedTuple

import numpy as np
from flint import arb, arb_mat

from samflow._types import Box
from samflow.proofs._steps import column, length, vector
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

_LOWEST_BITS, _HIGHEST_BITS = 128, 8192


class Escape(NamedTuple):
    """Starts from which orbits leave: all w* + t·direction with 0 < t ≤ length.

    Attributes:
        direction: a vector.
        length: the largest t; every t below it is proved as well.
        num_steps: how many steps the orbits take.
        left: enclosure of where they are then, or of the last weights before the map is undefined.
        undefined: whether they leave because the ascent point leaves the domain of the loss.

    """

    direction: tuple[float, ...]
    length: float
    num_steps: int
    left: Box
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
            span = arb(within) * arb(2) ** (-(bits // 2))
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
    except OutsideDomain:
        return False
    for i in range(1, max_steps + 1):
        norm = length(g)
        if not norm > 0:
            return False
        try:
            d = equations.value([x + radius * y / norm for x, y in zip(w, g, strict=True)])
        except OutsideDomain:
            return escape(i, w, True)
        if not finite(d):
            return False
        w = [x - size * y for x, y in zip(w, d, strict=True)]
        distance = length([x - c for x, c in zip(w, centre, strict=True)])
        if distance > far:
            return escape(i, w, False)
        if not distance.rad() < 1e-3 * within:
            return False
        try:
            g = equations.value(w)
        except OutsideDomain:
            return escape(i, w, True)
    return None
