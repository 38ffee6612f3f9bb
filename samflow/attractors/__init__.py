"""Lyapunov exponents, and branches of fixed points and cycles along a parameter."""

from samflow.attractors.continuation import (
    Bifurcation,
    Branch,
    SpecialPoint,
    continue_branch,
    switch_branch,
)
from samflow.attractors.lyapunov import Lyapunov, kaplan_yorke, lyapunov_spectrum

__all__ = [
    "Bifurcation",
    "Branch",
    "Lyapunov",
    "SpecialPoint",
    "continue_branch",
    "kaplan_yorke",
    "lyapunov_spectrum",
    "switch_branch",
]
