"""The continua of a system: by algebra of its formula, or followed from points that are known."""

import dataclasses
from typing import Any

import numpy as np
import sympy

from samflow._types import Box
from samflow.equilibria.continua.exact import CriticalSet, critical_set
from samflow.equilibria.continua.find import About, continuum, followed
from samflow.equilibria.continua.geometry import Geometry
from samflow.equilibria.continua.records import Continuum, SingularPoint
from samflow.losses.expression import ExpressionLoss
from samflow.proofs._certify import COVERS
from samflow.records import Provenance
from samflow.rules import Ascent
from samflow.systems import AbstractSystem, Flow, Map

__all__ = ["critical_set_of", "described", "followed", "others"]

_NEAR = 1e-2
"""A zero that Newton's method found this near to an exact one, in units of the box, is that one:
a degenerate zero is found to a root of the rounding error."""


def critical_set_of(system: AbstractSystem, box: Box, num_starts: int) -> CriticalSet | None:
    """Return the critical points of a system's loss, with its weight decay, by exact algebra.

    None for a loss without a formula, one that is no quotient of polynomials of modest size, and a
    rule of which it is not stated that it stands still at critical points.
    """
    if not isinstance(system, (Map, Flow)) or not isinstance(system.loss, ExpressionLoss):
        return None
    loss, rule = system.loss, system.rule
    decay = system.weight_decay if isinstance(system, Map) else None
    if rule.ascent not in COVERS or (decay is not None and rule.ascent is not Ascent.none):
        return None
    expression, gradient = loss.expression, loss.gradient_formula
    if decay is not None:
        rate = sympy.Rational(float(decay))
        expression += rate / 2 * sum(symbol**2 for symbol in loss.symbols)
        gradient = [g + rate * w for g, w in zip(gradient, loss.symbols, strict=True)]
    return critical_set(expression, gradient, loss.symbols, box, num_starts)


def others(exactly: CriticalSet, points: np.ndarray, critical: np.ndarray) -> np.ndarray:
    """Return those of some points that are no critical points which are known exactly.

    Args:
        exactly: the critical set.
        points: what Newton's method found, shape (k, n).
        critical: which of them are critical points.

    """
    if not len(points):
        return points
    gap = np.full(len(points), np.inf)
    if len(exactly.isolated):
        gap = np.linalg.norm((points[:, None] - exactly.isolated) / exactly.size, axis=2).min(
            axis=1
        )
    for zeros, dimension in exactly.zeros:
        u = zeros.units(points)
        ends, solved = zeros.solve(u, np.zeros((*u.shape, 0)), u.shape[1] - dimension)
        gap = np.minimum(gap, np.where(solved, np.linalg.norm(ends - u, axis=1), np.inf))
    held = [any(one.holds(w) for one in exactly.continua) for w in points]
    return points[~critical | ((gap > _NEAR) & ~np.array(held, dtype=bool))]


def described(
    system: AbstractSystem, geometries: list[Geometry], where: Provenance
) -> tuple[Continuum, ...]:
    """Return what lies across each continuum for a system."""
    rule: Any = getattr(system, "rule", None)
    name = "" if rule is None else rule.name
    made = []
    for i, geometry in enumerate(geometries):
        found = continuum(system, geometry, About(i, name, where))
        rest = geometries[:i] + geometries[i + 1 :]
        singular = tuple(_named(point, rest) for point in found.singular)
        made.append(dataclasses.replace(found, singular=singular))
    return tuple(made)


def _named(point: SingularPoint, others: list[Geometry]) -> SingularPoint:
    """Call a degenerate point on another curve a crossing."""
    if point.what != "degenerate":
        return point
    crossed = any(other.dimension == 1 and other.meets(np.array(point.w)) for other in others)
    return point._replace(what="crossing") if crossed else point
