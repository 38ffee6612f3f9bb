"""Branches of fixed points and cycles along a parameter, and their bifurcations."""

from samflow.attractors.continuation._continue_branch import continue_branch
from samflow.attractors.continuation.records import Bifurcation, Branch, SpecialPoint
from samflow.attractors.continuation.switch import switch_branch

__all__ = ["Bifurcation", "Branch", "SpecialPoint", "continue_branch", "switch_branch"]
