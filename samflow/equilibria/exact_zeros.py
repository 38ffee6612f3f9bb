"""Critical points that exact substitution proves, and what rounding does to a loss."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import sympy
from flint import arb

from samflow._types import Box
from samflow.losses.base import AbstractLoss
from samflow.losses.expression import ExpressionLoss
from samflow.proofs.balls import Balls, OutsideDomain, Program, exact, spans, working_precision
from samflow.proofs.enclosures import symmetric_eigenvalues
from samflow.proofs.equations import GradientEquations

_DENOMINATORS = (1, 2, 4, 6, 12, 60, 1000, 2**20)
_NEAR = 1e-5
"""A degenerate zero is found to a root of the rounding error; in units of the box."""
_PRECISION = 128
_DOUBLE = 53
_LAST_PLACES = 2.0
"""Newton's method finds weights to about so many units in the last place."""


class ExactZero(NamedTuple):
    """A point at which the gradient vanishes exactly: rational, or enclosed by algebra.

    Attributes:
        w: its coordinates as doubles; where one is no double, the nearest.
        loss: L there.
        hessian: enclosures of the eigenvalues of H there, ascending.

    """

    w: tuple[float, ...]
    loss: float
    hessian: Box


def exact_zero(loss: AbstractLoss, w: np.ndarray, size: np.ndarray) -> ExactZero | None:
    """Return the simplest rational point next to `w` at which the gradient of a formula vanishes.

    It need not be the point to which Newton's method was coming, but it is a critical point.
    """
    if not isinstance(loss, ExpressionLoss):
        return None
    for largest in _DENOMINATORS:
        parts = [Fraction(float(x)).limit_denominator(largest) for x in w]
        if (np.abs(np.array(parts, dtype=float) - w) > _NEAR * size).any():
            continue
        numbers = [sympy.Rational(x.numerator, x.denominator) for x in parts]
        at: Any = dict(zip(loss.symbols, numbers, strict=True))
        if not all(part.subs(at) == 0 for part in loss.gradient_formula):
            continue
        with working_precision(_PRECISION):
            try:
                value = exact(loss.expression.subs(at))
                second: Any = loss.hessian_formula.flat()
                entries = [exact(entry.subs(at)) for entry in second]  # 0 is 0, not a ball about it
            except TypeError:  # a function for which there are no balls
                return None
            rows = [entries[i : i + loss.dim] for i in range(0, len(entries), loss.dim)]
            hessian = spans(symmetric_eigenvalues(rows))
        if np.isfinite(hessian).all() and value.is_finite():
            return ExactZero(tuple(map(float, parts)), float(value), hessian)
    return None


def enclosed_zero(loss: AbstractLoss, point: Balls) -> ExactZero | None:
    """Return the zero of a formula's gradient that is proved to be alone in a ball of numbers."""
    if not isinstance(loss, ExpressionLoss):
        return None
    with working_precision(_PRECISION):
        equations = GradientEquations(loss.expression, loss.symbols)
        value = equations.loss(point)[0]
        hessian = spans(symmetric_eigenvalues(equations.hessian(point)))
    if not (np.isfinite(hessian).all() and value.is_finite()):
        return None
    return ExactZero(tuple(0.0 if 0 in x else float(x) for x in point), float(value), hessian)


def rounding_of_loss(loss: AbstractLoss, w: Sequence[float]) -> float:
    """Return what rounding can do to L(w): that of the weights, and that of the evaluation.

    0 where it is not known: for a loss without a formula.
    """
    if not isinstance(loss, ExpressionLoss):
        return 0.0
    with working_precision(_DOUBLE):
        point = [arb(float(x), _LAST_PLACES * math.ulp(float(x))) for x in w]
        try:
            value = Program([loss.expression], loss.symbols)(point)[0]
        except (OutsideDomain, TypeError):
            return 0.0
        return float(value.rad()) if value.is_finite() else 0.0
