"""What a rule can say of itself near a critical point w*, where g ≈ z = H(w − w*)."""

import enum
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from samflow._status import Kind

EQUAL = 1e-9
"""Relative: an eigenvalue this small is 0, a multiplier this near to the unit circle neutral."""


class Ascent(enum.Enum):
    """The ascent a of a direction d(w) = g(w + a), everywhere.

    The values are the names that `samflow.theory` and `samflow.proofs` have for these formulas.
    """

    none = "gd"
    """a = 0"""
    gradient = "usam"
    """a = rho g"""
    unit = "sam"
    """a = rho g/‖g‖"""
    over_whole = "dnsam"
    """a = rho g/‖∇L‖ with the gradient of the whole loss L; on the whole loss it is `unit`."""
    other = "other"
    """Any other, or d is not of this form."""

    @property
    def is_linear(self) -> bool:
        """Whether a is a fixed multiple of g, so that d is linear on a quadratic loss."""
        return self in (Ascent.none, Ascent.gradient)


class LinearAscent(NamedTuple):
    """An ascent step ρMz/‖Nz‖ near a critical point.

    SAM with M = N = I, ASAM with M = T², N = T, GCSAM with a projection: section 5 of docs/theory.

    Attributes:
        rho: ρ.
        spread: M.
        measure: N.

    """

    rho: float
    spread: np.ndarray
    measure: np.ndarray


class AscentStep(NamedTuple):
    """The whole direction d(w), away from quadratics, in the terms in which proofs take it.

        d(w) = (1 − share) g(w) + share g(w + rho T²g/(‖T g‖ + eps)),   g = g(w).

    With the defaults it is SAM.

    Attributes:
        rho: ρ.
        share: of the gradient at the ascent point.
        eps: what is added to the length that divides.
        inside: whether √(‖g‖² + eps²) divides instead of ‖g‖ + eps.
        scale: the diagonal of T, of the coordinates of w: numbers, or balls; None for T = I.
        keeps_length: whether d is given the length of g(w), so that it vanishes at critical points.
        limit_only: whether d has this form only in the limit at critical points: what a flow does
            from a distance is then not proved.

    """

    rho: float
    share: float = 1.0
    eps: float = 0.0
    inside: bool = False
    scale: Callable[[Sequence[Any]], list[Any]] | None = None
    keeps_length: bool = False
    limit_only: bool = False


class Attraction(NamedTuple):
    """What a rule's flow does near a critical point with a regular Hessian.

    Attributes:
        kind: of the point.
        finite_time: whether the flow arrives, rather than approaching for ever; None where it does
            neither as a whole.
        radius: it comes to the point from every ‖g‖ < radius; None where no radius is known.

    """

    kind: Kind
    finite_time: bool | None = None
    radius: float | None = None


class AlignedCycle(NamedTuple):
    """A 2-cycle w* ± radius·v along an eigenvector v of H.

    Attributes:
        radius: distance of the cycle from w*.
        updates: the update of one step along the cycle and across it: numbers or small matrices,
            one for each eigenvalue, whose eigenvalues together are those of a step.

    """

    radius: float
    updates: list[Any]


def plain_ascent(rho: Any, dim: int) -> LinearAscent:
    """Return SAM's ascent ρz/‖z‖."""
    return LinearAscent(float(rho), np.eye(dim), np.eye(dim))


def with_sams_cycle(
    update: Any, forgets: float, *, rho: Any, lam: float, others: list[float], lr: float
) -> AlignedCycle | None:
    """Return the 2-cycle of a rule with a memory that has SAM's, and its own update across it."""
    from samflow import theory  # sympy is slow to import, and seldom needed

    if lr * lam >= 2:
        return None
    symbols = (theory.curvature_across, theory.ascent_across)
    across = []
    for other in others:
        at = (lr * other, (other / lam) ** 2 * (2 - lr * lam))
        across.append(numbers(update.subs(dict(zip(symbols, at, strict=True)))))
    radius = float(theory.cycle_radius(lam, rho=float(rho), lr=lr))
    return AlignedCycle(radius, [1 - lr * lam, forgets, *across])


def numbers(matrix: Any) -> np.ndarray:
    """Return a matrix of sympy's numbers as an array."""
    return np.array(matrix, dtype=float)


def plain_numbers(pair: Any) -> tuple[float, float] | None:
    """Return a pair of sympy's numbers as floats; None stays None."""
    return None if pair is None else (float(pair[0]), float(pair[1]))
