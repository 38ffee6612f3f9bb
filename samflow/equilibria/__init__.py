"""Equilibria: where a system stands still, and what it is there."""

from samflow.equilibria.conditions import Conditions, conditions
from samflow.equilibria.fixed_points import FixedPoints, find_fixed_points
from samflow.equilibria.saddle_report import survey
from samflow.equilibria.spectrum import Eigenpairs, extreme_eigenpairs
from samflow.equilibria.stability import Stability, classify

__all__ = [
    "Conditions",
    "Eigenpairs",
    "FixedPoints",
    "Stability",
    "classify",
    "conditions",
    "extreme_eigenpairs",
    "find_fixed_points",
    "survey",
]
