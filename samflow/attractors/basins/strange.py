"""Attractors on which orbits never repeat: chaotic ones, invariant circles, and long cycles.

An orbit has settled if the second half of a long stretch of it covers what the first half covers,
and no more: it has the same extents and its points are near to each other's both ways. A slow orbit
is somewhere else in the second half, and one that falls has shrunk. Lyapunov exponents then say
what it has settled on.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from samflow._status import Kind, Status
from samflow.attractors.basins.capture import STAYS
from samflow.attractors.basins.labelling import watch
from samflow.attractors.basins.records import Attractor, Region
from samflow.attractors.basins.settled import LONGEST, attracting_cycle, periods, same_cycle
from samflow.attractors.lyapunov import lyapunov_spectrum
from samflow.orbits._integrate import jumps_somewhere
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem

STATES = 32
"""How many orbits are looked at together."""
TIMES = 4096
"""How many states of each."""
_LARGEST = 16
"""Entries of a state up to which strange attractors are looked for."""
_STRIDES = (1, 3, 7, 13, 31, 61)
"""Steps between these: primes, so that pieces that are visited in turn are all seen."""
_SAME_EXTENT = 0.1
_SAME_CIRCLE = 1e-3
"""How much the extents of both halves may differ: chaos fluctuates, what turns does not."""
_DRIFT = 0.25
"""Part of the extent by which the means of both halves may differ; of a steady drift it is ½."""
_NEARLY = 0.05
"""An orbit turns about a cycle if it comes so much nearer to where it was than one step does."""
_CLOSE, _SHARE = 0.05, 0.95
"""Part of the extent within which so many points of each half have one of the other half."""
_TURNS = 16
"""How often a settled orbit must have crossed half of its extent."""
_FEWEST = 64
"""States that tell whether an orbit has settled."""
_STILL = 1e-9
"""Part of the box: an orbit of a smaller extent is at rest; likewise of a coordinate."""
_THIN = 1e-3
"""Extents of a coordinate are at least this part of the largest."""
_RADII = (0.005, 0.01, 0.02, 0.04, 0.08)
"""Of the balls about points of the attractor that make up its region, in its extents."""
_INSIDE = 0.999
"""Part of the points of other orbits on it that must lie in the region."""
_GROWTH = 10.0
"""Chaos: the exponent times the steps, at least; and in standard errors, the next."""
_ERRORS = 4.0
_LONGER = 4
"""How much longer the exponent of a map is measured where it is near 0."""
_FLOW_TURNS, _FLOW_ORBITS = 128, 8
"""Of a flow, whose steps are costly: for so many turns it is measured, and along so many orbits."""
_REFUSED = 2
"""Settled orbits in a round that turn out to be on no attractor after which it is given up."""
_CONSERVED = 1e-8
"""A map whose mean log |det DF| is less keeps volumes: it has no attractors."""
_KEPT = 1e-6
"""A flow whose volumes change by less while an orbit crosses half of its extent has none, too."""


def wanderers(
    system: AbstractSystem,
    states: np.ndarray,
    made: float,
    known: Sequence[Attractor],
    extent: float,
) -> list[Attractor]:
    """Return the attractors, other than short cycles, that orbits at `states` have settled on.

    Args:
        system: the map or flow; where a flow jumps, as that of normalised SAM, none is looked for.
        states: of undecided orbits, shape (N, state).
        made: how many steps they have made, or for how long they were followed: the stretch
            looked at is about as long.
        known: the attractors known, none of which is returned again.
        extent: the largest side of the box.

    """
    if states.shape[1] > _LARGEST:
        return []
    some = states[:: max(1, len(states) // STATES)][:STATES]
    if isinstance(system, AbstractFlow):
        if jumps_somewhere(system):
            return []
        stride = made / TIMES
    else:
        stride = max(s for s in _STRIDES if s == 1 or s * TIMES <= 2 * made)
    orbits = watch(system, some, TIMES, every=stride, slab=STATES)
    found: list[Attractor] = []
    refused = 0
    for orbit, period in zip(orbits, periods(orbits).tolist(), strict=True):
        if any(_same(orbit, one) for one in [*known, *found]):
            continue
        if period and isinstance(system, AbstractFlow):  # at rest
            continue
        if period:
            assert isinstance(system, AbstractMap)
            cycle = _long_cycle(system, orbit[-1:], extent)
            if cycle is not None and not any(same_cycle(cycle, k) for k in [*known, *found]):
                found.append(cycle)
            continue
        settled = _settled(orbit, stride, extent)
        if settled is None:
            continue
        begin = orbit[1 :: len(orbit) // STATES][:STATES]
        growth = _growth(system, begin, settled.turn)
        if growth is not None and growth.conserved:
            return []
        new = growth and _attractor(system, begin, settled, growth, known)
        found += [new] if new else []
        refused += new is None
        if refused == _REFUSED:
            break
    return found


class _Settled(NamedTuple):
    """How an orbit that has settled moves.

    Attributes:
        turn: steps, or time of a flow, in which it crosses half of its extent.
        apart: how much the extents of both halves differ.

    """

    turn: float
    apart: float


def _settled(orbit: np.ndarray, stride: float, extent: float) -> _Settled | None:
    """Say how an orbit (times, state) moves on what it has settled on; None if it has not."""
    from scipy.spatial import KDTree  # slow to import, and seldom needed

    if len(orbit) < _FEWEST or not np.isfinite(orbit).all():
        return None
    orbit = orbit[1:]
    whole = np.ptp(orbit, axis=0)
    if whole.max() <= _STILL * extent:
        return None
    first, second = np.array_split(orbit, 2)
    moving = whole > _STILL * whole.max()
    drift = np.abs(first.mean(axis=0) - second.mean(axis=0))[moving] / whole[moving]
    before, after = np.ptp(first, axis=0), np.ptp(second, axis=0)
    sizes = np.maximum(whole, _THIN * whole.max())
    apart = float((np.abs(before - after) / sizes).max())
    if not (apart <= _SAME_EXTENT and drift.max() <= _DRIFT):
        return None
    for one, other in ((first, second), (second, first)):
        away = KDTree(one / sizes).query(other / sizes, distance_upper_bound=_CLOSE)[0]
        if np.mean(np.isfinite(away)) < _SHARE:
            return None
    lags = range(1, min(LONGEST, len(orbit) // 2) + 1)
    gaps = [np.abs(orbit[lag:] - orbit[:-lag]).max() for lag in lags]
    lag = int(np.argmin(gaps)) + 1
    if gaps[lag - 1] <= _NEARLY * gaps[0]:  # small motion about a cycle has to be settled, too
        inner = _settled(orbit[::lag], stride * lag, _STILL * extent)
        return inner and _Settled(inner.turn, max(apart, inner.apart))
    turn = _turn(orbit / sizes)
    return None if turn * _TURNS > len(orbit) else _Settled(turn * stride, apart)


def _turn(orbit: np.ndarray) -> int:
    """Return in how many steps the orbit crosses half of its extent, wherever it begins."""
    for length in 2 ** np.arange(1, int(np.log2(len(orbit)))):
        pieces = orbit[: len(orbit) // length * length].reshape(-1, length, orbit.shape[1])
        if np.ptp(pieces, axis=1).max(axis=1).min() >= 0.5:
            return int(length)
    return len(orbit)


def _same(orbit: np.ndarray, attractor: Attractor) -> bool:
    """Say whether a settled orbit lies mostly where an attractor is."""
    return float(np.mean(attractor.region.holds(orbit[1::4]))) > 0.5


class _Growth(NamedTuple):
    """Lyapunov exponents, per step or per unit of time.

    Attributes:
        largest: the largest.
        conserved: whether the sum of all is 0: volumes are kept.
        sign: 1 where the largest is positive, −1 where it is negative, 0 where it is too small to
            tell from 0.

    """

    largest: float
    conserved: bool
    sign: int


def _growth(system: AbstractSystem, begin: np.ndarray, turn: float) -> _Growth | None:
    """Return the exponents of orbits on one attractor; None where one of them leaves it."""
    flow = isinstance(system, AbstractFlow)
    steps = 4 * max(TIMES, 64 * turn)
    begin = begin[:: STATES // _FLOW_ORBITS] if flow else begin
    for length in (_FLOW_TURNS * turn,) if flow else (steps, _LONGER * steps):
        if isinstance(system, AbstractFlow):
            growth = lyapunov_spectrum(system, begin, t1=length)
        else:
            assert isinstance(system, AbstractMap)
            growth = lyapunov_spectrum(system, begin, num_steps=int(length))
        if not (np.asarray(growth.status) == Status.reached_end).all():
            return None
        exponents = np.asarray(growth.exponents)
        largest = float(exponents[:, 0].mean())
        error = float(exponents[:, 0].std(ddof=1)) / np.sqrt(len(begin))
        total = float(exponents.sum(axis=1).mean())
        conserved = abs(total) * turn <= _KEPT if flow else abs(total) <= _CONSERVED
        if not abs(largest) <= max(_GROWTH / length, _ERRORS * error):
            return _Growth(largest, conserved, int(np.sign(largest)))
    return _Growth(largest, conserved, 0)


def _attractor(
    system: AbstractSystem,
    begin: np.ndarray,
    settled: _Settled,
    growth: _Growth,
    known: Sequence[Attractor],
) -> Attractor | None:
    """Return what settled states are on; None where they may still converge, or have left it."""
    if growth.sign < 0 or (growth.sign == 0 and settled.apart > _SAME_CIRCLE):
        return None
    if growth.sign == 0 and isinstance(system, AbstractFlow):
        return None
    region = _region(system, begin, settled.turn, known)
    if region is None:
        return None
    kind = Kind.chaotic if growth.sign else Kind.quasiperiodic
    return Attractor(kind, region.centres, 0, region.reach, "orbit", growth.largest, False, region)


def _long_cycle(system: AbstractMap, state: np.ndarray, extent: float) -> Attractor | None:
    """Return the cycle of up to `TIMES` steps that an orbit has come to, if it attracts."""
    orbit = watch(system, state, TIMES, slab=STATES)
    period = int(periods(orbit)[0])
    return attracting_cycle(system, orbit[0, -period:], extent) if period else None


def _region(
    system: AbstractSystem, begin: np.ndarray, turn: float, known: Sequence[Attractor]
) -> Region | None:
    """Return balls about points of an attractor that hold its orbits, from states on it.

    The first half of the states give the points, and the other half try the balls. None where an
    orbit comes to a known attractor: it was a transient.
    """
    from scipy.spatial import KDTree  # slow to import, and seldom needed

    flow = isinstance(system, AbstractFlow)
    every = turn / 16 if flow else max(1, int(turn) // 16)
    orbits = watch(system, begin, 16 * _FLOW_TURNS if flow else TIMES, every=every, slab=STATES)
    size = orbits.shape[2]
    points, others = (half.reshape(-1, size) for half in np.array_split(orbits, 2))
    if not np.isfinite(orbits).all():
        return None
    if any(not one.region.stays and one.region.holds(orbits[:, -1]).any() for one in known):
        return None
    sizes = np.ptp(points, axis=0)
    sizes = np.maximum(sizes, _THIN * sizes.max())
    away = KDTree(points / sizes).query(others[::7] / sizes)[0]
    needed = float(np.quantile(away, _INSIDE))
    radius = next((r for r in _RADII if needed <= 0.5 * r), None)
    if radius is None:
        return None
    cells = np.round(points / (0.5 * radius * sizes)).astype(np.int64)
    centres = points[np.sort(np.unique(cells, axis=0, return_index=True)[1])]
    metric = np.diag(1 / (radius * sizes) ** 2)
    return Region(centres, np.broadcast_to(metric, (len(centres), size, size)), STAYS, every)
