"""Basins of attraction: which start ends where, and what their boundary is like."""

from samflow.attractors.basins._basins import basins
from samflow.attractors.basins.boundary import Boundary, boundary
from samflow.attractors.basins.records import Attractor, Basins, Ending, Share

__all__ = ["Attractor", "Basins", "Boundary", "Ending", "Share", "basins", "boundary"]
