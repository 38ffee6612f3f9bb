"""Orbits of maps, solutions of flows, and central flows."""

from samflow.orbits._integrate import Trajectory, integrate
from samflow.orbits._iterate import Orbit, iterate
from samflow.orbits.central import CentralFlow, central_flow, two_step_mean

__all__ = [
    "CentralFlow",
    "Orbit",
    "Trajectory",
    "central_flow",
    "integrate",
    "iterate",
    "two_step_mean",
]
