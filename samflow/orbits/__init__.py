"""Orbits of maps and solutions of flows, and the maps that flows make."""

from samflow.orbits._integrate import Trajectory, integrate
from samflow.orbits._iterate import Orbit, iterate
from samflow.orbits.returns.stroboscopic import StroboscopicMap, stroboscopic_map

__all__ = ["Orbit", "StroboscopicMap", "Trajectory", "integrate", "iterate", "stroboscopic_map"]
