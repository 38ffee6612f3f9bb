"""Any analysis over a grid of hyperparameters, in one program where that is possible."""

from samflow.attractors.sweep._sweep import sweep
from samflow.attractors.sweep.records import Sweep
from samflow.attractors.sweep.stored import StoredSweep

__all__ = ["StoredSweep", "Sweep", "sweep"]
