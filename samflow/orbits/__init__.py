"""Orbits of maps and solutions of flows."""

from samflow.orbits.integrate import Trajectory, integrate
from samflow.orbits.iterate import Orbit, iterate

__all__ = ["Orbit", "Trajectory", "integrate", "iterate"]
