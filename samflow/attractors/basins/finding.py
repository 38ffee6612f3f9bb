"""Finding attractors: fixed points and what critical points hold first, then what orbits show."""

from collections.abc import Callable, Sequence

import numpy as np

from samflow.attractors.basins.known import from_fixed_points
from samflow.attractors.basins.labelling import Orbits
from samflow.attractors.basins.limit_cycles import limit_cycles
from samflow.attractors.basins.records import Attractor
from samflow.attractors.basins.settled import cycles
from samflow.attractors.basins.strange import wanderers
from samflow.equilibria import FixedPoints
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem

SCOUTS = 512
"""How many orbits are followed in search of attractors."""
_LOOKED_AT = 256
"""Of how many of them cycles are looked for after each round."""
_SETTLED = 1500
"""Steps after which attractors are looked for on which orbits do not repeat."""
_TURNED = 5e-3
"""Of the longest time, after which a flow is searched for limit cycles and chaos."""


def find_attractors(
    system: AbstractSystem,
    scouts: np.ndarray,
    *,
    longest: float,
    extent: float,
    points: FixedPoints | None = None,
    known: Sequence[Attractor] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Attractor, ...]:
    """Return the attractors of a system that fixed points and orbits from some starts show.

    The result is plain data: `label` takes it, with any starts, in any parts.

    Args:
        system: the map or flow.
        scouts: starts, shape (N, dim) or (N, state).
        longest: how many steps, or how much time of a flow, orbits are followed at most.
        extent: the largest side of the box, in whose units regions are sought.
        points: the fixed points of the system; None where `known` has what they show.
        known: attractors that were found before; those that are returned begin with them.
        progress: is called after each round with how many scouts are decided, of how many.

    """
    found = [*known, *([] if points is None else from_fixed_points(system, points, extent))]
    orbits, look = Orbits(system, scouts, longest), True
    while orbits.going:
        orbits.advance()
        orbits.decide(found)
        if len(orbits.open) and isinstance(system, AbstractMap):
            some = orbits.states[:: max(1, len(orbits.open) // _LOOKED_AT)][:_LOOKED_AT]
            new = cycles(system, some, found, extent)
            found += new
            orbits.decide(new and found)
            if len(orbits.open) and orbits.made >= _SETTLED:
                new = wanderers(system, orbits.states, orbits.made, found, extent)
                found += new
                orbits.decide(new and found)
        if isinstance(system, AbstractFlow) and orbits.made >= _TURNED * longest:
            if len(orbits.open) and look:
                new = limit_cycles(system, orbits.states, orbits.made, extent)
                new = [one for one in new if not any(_same(one, other) for other in found)]
                found, look = found + new, bool(new)
                orbits.decide(new and found)
            if len(orbits.open):
                new = wanderers(system, orbits.states, orbits.made, found, extent)
                found += new
                orbits.decide(new and found)
        progress(len(scouts) - len(orbits.open), len(scouts))
    return tuple(found)


def _same(one: Attractor, other: Attractor) -> bool:
    """Say whether two limit cycles are one: half of the points of one lie about the other."""
    return other.kind is one.kind and float(other.region.holds(one.points).mean()) > 0.5
