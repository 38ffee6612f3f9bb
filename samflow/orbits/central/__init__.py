"""Central flows: the time average of a map that oscillates at its edge of stability."""

from samflow.orbits.central._central_flow import CentralFlow, central_flow, two_step_mean

__all__ = ["CentralFlow", "central_flow", "two_step_mean"]
