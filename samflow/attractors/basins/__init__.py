"""Basins of attraction: which start ends where, and what their boundary is like."""

from samflow.attractors.basins._basins import basins
from samflow.attractors.basins.boundary import Boundary, boundary
from samflow.attractors.basins.finding import find_attractors
from samflow.attractors.basins.labelling import Labels, label
from samflow.attractors.basins.records import Attractor, Basins, Ending, Region, Share
from samflow.attractors.basins.stored import StoredBasins

__all__ = [
    "Attractor",
    "Basins",
    "Boundary",
    "Ending",
    "Labels",
    "Region",
    "Share",
    "StoredBasins",
    "basins",
    "boundary",
    "find_attractors",
    "label",
]
