"""Branches of fixed points and cycles along a parameter, and their bifurcations."""

from samflow.attractors.continuation._continue_branch import continue_branch
from samflow.attractors.continuation.families import families
from samflow.attractors.continuation.records import Bifurcation, Branch, SpecialPoint
from samflow.attractors.continuation.switch import switch_branch
from samflow.attractors.continuation.two_parameters import (
    BifurcationCurve,
    Codimension2,
    CurvePoint,
    continue_bifurcation,
)

__all__ = [
    "Bifurcation",
    "BifurcationCurve",
    "Branch",
    "Codimension2",
    "CurvePoint",
    "SpecialPoint",
    "continue_bifurcation",
    "continue_branch",
    "families",
    "switch_branch",
]
