"""The attractors of a system: its fixed points first, then what orbits are seen to settle on."""

from typing import NamedTuple

import numpy as np

from samflow._status import Kind
from samflow.attractors.basins.capture import Region, ball, contracting
from samflow.attractors.basins.records import Attractor
from samflow.equilibria import FixedPoints
from samflow.orbits import iterate
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem, Map

_HELD = (Kind.sliding, Kind.cycle, Kind.rotation, Kind.chaotic_trap, Kind.trap)
"""What holds orbits about a critical point without a Jacobian."""
_BESIDE = 1e-3
"""How far from such a point orbits begin that tell how far from it they stay, in units of rho."""
_SETTLE, _WATCH, _STARTS = 5000, 2000, 16
_WIDER = 1.5
"""An orbit is held by such a point if it stays within so many times the distance seen."""
_LONGEST = 64
_REPEATS = 1e-9
"""Relative: an orbit that comes so near to where it was is periodic."""
_MOVES = 1e-6
"""Relative: and one that moves so little in a step is no cycle, but slow."""
_ARRIVED = 1e-6
"""Relative to the box: a sliding flow that ends this near to a critical point is held there."""


class Known(NamedTuple):
    """An attractor, the regions by which it is recognised, and how long an orbit must stay there.

    Attributes:
        attractor: what is reported.
        regions: an orbit in one of them has come to the attractor.
        stays: whether it must be there at two checks one after the other, since nothing says that
            it does not leave.

    """

    attractor: Attractor
    regions: tuple[Region, ...]
    stays: bool

    def holds(self, states: np.ndarray) -> np.ndarray:
        """Say of states (N, state) whether they lie in a region."""
        return np.any([region.holds(states) for region in self.regions], axis=0)


def from_fixed_points(system: AbstractSystem, points: FixedPoints, extent: float) -> list[Known]:
    """Return the attractors among the fixed points and the critical points."""
    found = []
    for stability in points.stability:
        state = np.asarray(stability.state)
        if stability.kind is Kind.attracting:
            region = contracting(system, state, 1, extent)
            if region.size > 0:
                found.append(_point(state, region))
        elif stability.kind in _HELD:
            made = _held(system, stability.kind, state, extent)
            found += [] if made is None else [made]
    return found


def _point(state: np.ndarray, region: Region) -> Known:
    attractor = Attractor(Kind.attracting, state[None], 1, region.reach, "fixed point")
    return Known(attractor, (region,), stays=False)


def _held(system: AbstractSystem, kind: Kind, state: np.ndarray, extent: float) -> Known | None:
    """Return what holds orbits about a critical point, with how far from it they stay."""
    if isinstance(system, AbstractFlow):
        region = ball(state, _ARRIVED * extent)
        return Known(Attractor(kind, state[None], 0, region.size, "fixed point"), (region,), False)
    assert isinstance(system, Map)
    rho = system.rule.ascent_length(np.asarray(system.position(state))) or extent
    random = np.random.default_rng(0).normal(size=(_STARTS, system.dim))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    begin = np.asarray(system.position(state)) + _BESIDE * rho * random
    settled = iterate(system, begin, num_steps=_SETTLE)
    orbit = iterate(system, settled.final, num_steps=_WATCH, keep_every=1)
    away = np.linalg.norm(np.asarray(orbit.states) - state, axis=2).max(axis=1)
    stayed = away[np.isfinite(away) & (away < extent)]
    if not len(stayed):
        return None
    region = ball(state, _WIDER * float(stayed.max()))
    cycle = _period(np.asarray(orbit.states)[:, -_LONGEST - 1 :])
    period = int(np.bincount(cycle).argmax()) if kind in (Kind.cycle, Kind.rotation) else 0
    states = np.asarray(orbit.states)[0, -period:] if period else state[None]
    return Known(Attractor(kind, states, period, region.size, "fixed point"), (region,), True)


def _period(states: np.ndarray) -> np.ndarray:
    """Return the least period of each orbit (N, steps, state), 0 where there is none."""
    last = states[:, -1:]
    gaps = np.abs(states[:, -2::-1] - last).max(axis=2)
    size = np.abs(states).max(axis=(1, 2))[:, None]
    near = gaps <= _REPEATS * size
    moves = gaps[:, :1] > _MOVES * np.ptp(states, axis=1).max(axis=1, keepdims=True)
    near &= moves | (np.arange(near.shape[1]) == 0)
    return np.where(near.any(axis=1), 1 + near.argmax(axis=1), 0)


def from_orbits(
    system: AbstractMap, states: np.ndarray, known: list[Known], extent: float
) -> list[Known]:
    """Return the attracting cycles that orbits at `states` (N, state) move on, each once.

    A slow orbit near a fixed point is no cycle: it moves by less than a millionth of what a cycle
    would in a step, and is left to go on.
    """
    orbit = np.asarray(iterate(system, states, num_steps=_LONGEST, keep_every=1).states)
    periods = _period(orbit)
    found: list[Known] = []
    for one, period in zip(orbit, periods.tolist(), strict=True):
        here = one[-1:]
        if period < 2 or any(k.holds(here)[0] for k in [*known, *found]):
            continue
        cycle = one[-period:]
        regions = tuple(contracting(system, z, period, extent) for z in cycle)
        regions = tuple(region for region in regions if region.size > 0)
        if not regions:
            continue
        reach = min(region.reach for region in regions)
        attractor = Attractor(Kind.cycle, cycle, period, reach, "orbit")
        found.append(Known(attractor, regions, stays=False))
    return found
