"""Orbits of maps and solutions of flows, and the maps that flows make."""

from samflow.orbits._integrate import Trajectory, integrate
from samflow.orbits._iterate import Orbit, iterate
from samflow.orbits.returns.crossing import Section
from samflow.orbits.returns.poincare import (
    Crossings,
    PoincareMap,
    poincare_map,
    poincare_section,
)
from samflow.orbits.returns.stroboscopic import StroboscopicMap, stroboscopic_map

__all__ = [
    "Crossings",
    "Orbit",
    "PoincareMap",
    "Section",
    "StroboscopicMap",
    "Trajectory",
    "integrate",
    "iterate",
    "poincare_map",
    "poincare_section",
    "stroboscopic_map",
]
