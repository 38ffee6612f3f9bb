"""Attracting limit cycles of flows, as attractors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow._status import Kind, Status
from samflow.attractors.basins.capture import tube
from samflow.attractors.basins.records import Attractor
from samflow.equilibria.cycles import find_cycles
from samflow.orbits import integrate
from samflow.orbits._integrate import jumps_somewhere
from samflow.systems import AbstractFlow

_ORBITS = 8
"""How many orbits are followed in search of cycles."""
_STILL = 1e-3
"""Part of the box: an orbit that would move less in all its time so far is at rest."""
_TIMES = 4097
_RADIUS = 2e-3
"""Of the tube about a cycle, in the extents of the cycle; its centres are half of it apart."""
_THIN = 1e-3
"""Extents of a coordinate are at least this part of the largest."""
_LOOKS = 7.3
"""How often in a period an orbit in the tube is looked at: not at the same places."""


def limit_cycles(
    flow: AbstractFlow, states: np.ndarray, made: float, extent: float
) -> list[Attractor]:
    """Return the attracting limit cycles about which undecided orbits move.

    Args:
        flow: the flow; where it jumps, as that of normalised SAM, none is looked for.
        states: of the orbits, shape (N, state).
        made: for how long they were followed.
        extent: the largest side of the box.

    """
    if jumps_somewhere(flow):
        return []
    speeds = np.linalg.norm(np.asarray(_velocities(flow, jnp.asarray(states))), axis=1)
    states = states[speeds * made > _STILL * extent]
    if not len(states):
        return []
    low, high = states.min(axis=0), states.max(axis=0)
    wide = 0.1 * max(float((high - low).max()), _STILL * extent)
    found = find_cycles(flow, np.stack([low - wide, high + wide], axis=1), num_starts=_ORBITS)
    return [
        _attractor(flow, found.points[i, 0], float(found.period[i]))
        for i, kind in enumerate(found.kinds)
        if kind is Kind.attracting and found.status[i] == Status.located
    ]


def _attractor(flow: AbstractFlow, point: np.ndarray, period: float) -> Attractor:
    """Return the cycle through a point: a tube of balls in which orbits must stay."""
    along = np.asarray(integrate(flow, point, t1=period, num_times=_TIMES).states)
    sizes = np.ptp(along, axis=0)
    sizes = np.maximum(sizes, _THIN * sizes.max())
    region = tube(flow, along, _RADIUS * sizes, period / _LOOKS)
    return Attractor(Kind.cycle, region.centres, 0, region.reach, "orbit", 0.0, False, region)


@eqx.filter_jit
def _velocities(flow: AbstractFlow, states: Array) -> Array:
    return jax.vmap(flow.velocity)(states)
