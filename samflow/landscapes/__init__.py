"""The loss along eigenvectors of its Hessian, lines, planes of a trajectory, random directions."""

from samflow.landscapes._landscape import landscape
from samflow.landscapes.directions import AXES, random_walk_shares
from samflow.landscapes.records import Landscape

__all__ = ["AXES", "Landscape", "landscape", "random_walk_shares"]
