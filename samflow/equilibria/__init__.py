"""Equilibria: where a system stands still, and what it is there."""

from samflow.equilibria._conditions import Conditions, conditions
from samflow.equilibria._fate import Fate, fate
from samflow.equilibria.attraction import AttractionRadius, measured_attraction_radius
from samflow.equilibria.cycles import Cycles, find_cycles
from samflow.equilibria.fixed_points import FixedPoints, find_fixed_points
from samflow.equilibria.limit_cycles import LimitCycles
from samflow.equilibria.saddle_report import survey
from samflow.equilibria.stability import classify
from samflow.equilibria.stability_record import Stability

__all__ = [
    "AttractionRadius",
    "Conditions",
    "Cycles",
    "Fate",
    "FixedPoints",
    "LimitCycles",
    "Stability",
    "classify",
    "conditions",
    "fate",
    "find_cycles",
    "find_fixed_points",
    "measured_attraction_radius",
    "survey",
]
