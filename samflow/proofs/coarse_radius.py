"""A radius of {‖g‖ ≤ r} that SAM's flow keeps, in any dimension and without cutting directions.

Let f(w, e) = eᵀH(w) g(w + rho e) with e free, so that S(e) = f(w*, e). At w = w* + Cz

    f ≥ min S − ‖z‖ sup‖Cᵀ∂f/∂w‖,   ∂f/∂w = D³L(w)[e, g(w + rho e), ·] + H(w + rho e)H(w)e,

with the supremum over a box of z and all e. It costs a few evaluations, and is smaller than what
directions that are cut can prove, in which e is tied to g(w).
"""

import math
from typing import NamedTuple

from flint import arb

from samflow.proofs.balls import Ball, Balls, OutsideDomain, finite, span
from samflow.proofs.equations import Derivatives, dot

_HALVINGS = 40
_REFINED = 6


class Coarse(NamedTuple):
    """A radius, and the least rate at which ‖g‖ falls within it; 0 where none was proved."""

    radius: float
    rate: float


def coarse_radius(
    equations: Derivatives,
    centre: Balls,
    inverse: list[Balls],
    *,
    rho: float,
    least: float,
    floor: float,
    first: float,
) -> Coarse:
    """Return a radius within which ‖g‖ falls at `floor` at least, where S is at least `least`.

    C is `inverse`, close to H⁻¹, and `first` the largest ‖z‖ to try.
    """
    best, low, high = Coarse(0.0, 0.0), 0.0, first
    for _ in range(_HALVINGS):
        found = _within(equations, centre, inverse, rho, least, high)
        if found.rate >= floor:
            best, low = found, high
            break
        high /= 2
    for _ in range(_REFINED if 0 < low < first else 0):
        middle = low + 0.5 * (min(2 * high, first) - low)
        found = _within(equations, centre, inverse, rho, least, middle)
        if not found.rate >= floor:
            break
        best, low = found, middle
    return best


def _within(
    equations: Derivatives, centre: Balls, inverse: list[Balls], rho: float, least: float, s: float
) -> Coarse:
    """Return what holds for ‖z‖ ≤ s."""
    n = len(centre)
    z, e = [arb(0, s)] * n, [arb(0, 1)] * n
    w = [c + dot(row, z) for c, row in zip(centre, inverse, strict=True)]
    try:
        here = equations.hessian(w)
        g, h = equations.linearise([x + rho * y for x, y in zip(w, e, strict=True)])
        bent = equations.third(w, e, g)
    except OutsideDomain:
        return Coarse(0.0, 0.0)
    turned = [dot(row, e) for row in here]
    slope = [x + dot(row, turned) for x, row in zip(bent, h, strict=True)]
    columns = [list(column) for column in zip(*inverse, strict=True)]
    change = _length([dot(column, slope) for column in columns])
    # ‖g‖ ≥ ‖z‖(1 − ‖I − HC‖), so that {‖g‖ < r} about w* lies within ‖z‖ < s.
    apart = [
        dot(row, column) - (1 if i == j else 0)
        for i, row in enumerate(here)
        for j, column in enumerate(columns)
    ]
    if not finite([change, *apart]):
        return Coarse(0.0, 0.0)
    radius = math.nextafter(span(arb(s) * (1 - _length(apart)))[0], 0.0)
    return Coarse(max(radius, 0.0), span(arb(least) - arb(s) * change)[0] if radius > 0 else 0.0)


def _length(values: Balls) -> Ball:
    return sum((arb(x.abs_upper()) ** 2 for x in values), arb(0)).sqrt()
