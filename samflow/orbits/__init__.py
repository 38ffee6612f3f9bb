"""Orbits of maps, solutions of flows, central flows, and the maps that flows make."""

from samflow.orbits._integrate import Trajectory, integrate
from samflow.orbits._iterate import Orbit, iterate
from samflow.orbits.central import CentralFlow, central_flow, two_step_mean
from samflow.orbits.returns.crossing import Section
from samflow.orbits.returns.poincare import (
    Crossings,
    PoincareMap,
    poincare_map,
    poincare_section,
)
from samflow.orbits.returns.stroboscopic import StroboscopicMap, stroboscopic_map

__all__ = [
    "CentralFlow",
    "Crossings",
    "Orbit",
    "PoincareMap",
    "Section",
    "StroboscopicMap",
    "Trajectory",
    "central_flow",
    "integrate",
    "iterate",
    "poincare_map",
    "poincare_section",
    "stroboscopic_map",
    "two_step_mean",
]
