"""Orbits of maps and solutions of flows."""

from samflow.orbits._integrate import Trajectory, integrate
from samflow.orbits._iterate import Orbit, iterate

__all__ = ["Orbit", "Trajectory", "integrate", "iterate"]
