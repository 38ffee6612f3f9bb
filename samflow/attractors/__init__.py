"""Lyapunov exponents, and branches of fixed points and cycles along a parameter."""

from samflow.attractors.continuation import (
    Bifurcation,
    BifurcationCurve,
    Branch,
    Codimension2,
    CurvePoint,
    SpecialPoint,
    continue_bifurcation,
    continue_branch,
    families,
    switch_branch,
)
from samflow.attractors.diagram import OrbitDiagram, orbit_diagram
from samflow.attractors.lyapunov import Lyapunov, kaplan_yorke, lyapunov_spectrum

__all__ = [
    "Bifurcation",
    "BifurcationCurve",
    "Branch",
    "Codimension2",
    "CurvePoint",
    "Lyapunov",
    "OrbitDiagram",
    "SpecialPoint",
    "continue_bifurcation",
    "continue_branch",
    "families",
    "kaplan_yorke",
    "lyapunov_spectrum",
    "orbit_diagram",
    "switch_branch",
]
