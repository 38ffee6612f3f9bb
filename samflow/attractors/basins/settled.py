"""What orbits have settled on, where that is no fixed point."""

from collections.abc import Sequence

import numpy as np

from samflow._status import Kind
from samflow.attractors.basins.capture import contracting, exponent, polished
from samflow.attractors.basins.labelling import watch
from samflow.attractors.basins.records import Attractor
from samflow.systems import AbstractMap

LONGEST = 64  # as `STAYS`, so that one program serves both
_REPEATS = 1e-9
"""Relative: an orbit that comes so near to where it was is periodic."""
_SAME = 1e-7
"""Relative: cycles that come so near to each other are one."""
_MOVES = 1e-6
"""Relative: and one that moves so little in a step is no cycle, but slow."""


def periods(states: np.ndarray) -> np.ndarray:
    """Return the least period of each orbit (N, steps, state), 0 where there is none."""
    last = states[:, -1:]
    gaps = np.abs(states[:, -2::-1] - last).max(axis=2)
    size = np.abs(states).max(axis=(1, 2))[:, None]
    near = gaps <= _REPEATS * size
    moves = gaps[:, :1] > _MOVES * np.ptp(states, axis=1).max(axis=1, keepdims=True)
    near &= moves | (np.arange(near.shape[1]) == 0)
    return np.where(near.any(axis=1), 1 + near.argmax(axis=1), 0)


def cycles(
    system: AbstractMap, states: np.ndarray, known: Sequence[Attractor], extent: float
) -> list[Attractor]:
    """Return the attracting fixed points and cycles that orbits have come to, each once.

    Of fixed points these are the ones outside the box that was searched. A slow orbit near one is
    no cycle: it moves by less than a millionth of what a cycle would in a step, and goes on.
    """
    orbits = watch(system, states, LONGEST)
    found: list[Attractor] = []
    for one, period in zip(orbits, periods(orbits).tolist(), strict=True):
        # A cycle may lie between the strands of a chaotic attractor, in a region not kept.
        kept = (k.region for k in [*known, *found] if not k.region.stays)
        if period < 1 or any(region.holds(one[-period:]).any() for region in kept):
            continue
        made = attracting_cycle(system, one[-period:], extent)
        if made is not None and not any(same_cycle(made, k) for k in [*known, *found]):
            found.append(made)
    return found


def same_cycle(one: Attractor, other: Attractor) -> bool:
    """Say whether two cycles share a point, and so all."""
    gaps = np.abs(other.points - one.points[0]).max(axis=1)
    return bool(gaps.min() <= _SAME * np.abs(one.points).max())


def attracting_cycle(system: AbstractMap, cycle: np.ndarray, extent: float) -> Attractor | None:
    """Return a cycle (period, state) that orbits have nearly come to; None unless it attracts."""
    cycle = polished(system, cycle)
    period = len(cycle)
    region = contracting(system, cycle, period, extent)
    if region is None:
        return None
    kind = Kind.cycle if period > 1 else Kind.attracting
    rate = exponent(system, cycle[0], period)
    return Attractor(kind, cycle, period, region.reach, "orbit", rate, False, region)
