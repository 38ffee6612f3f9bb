"""Limit cycles of flows: found on orbits that come back, solved for by shooting."""

from samflow.equilibria.limit_cycles._find import find_limit_cycles
from samflow.equilibria.limit_cycles.records import LimitCycles

__all__ = ["LimitCycles", "find_limit_cycles"]
