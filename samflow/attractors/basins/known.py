"""The attractors among the fixed points and the critical points of a system."""

from collections.abc import Sequence

import numpy as np

from samflow._status import Kind, Verdict
from samflow.attractors.basins.capture import ball, contracting, exponent, polished
from samflow.attractors.basins.continua import curves
from samflow.attractors.basins.labelling import follow, watch
from samflow.attractors.basins.records import Attractor, Region
from samflow.attractors.basins.settled import LONGEST, cycles, periods
from samflow.equilibria import FixedPoints
from samflow.proofs import certify_trap
from samflow.systems import AbstractFlow, AbstractSystem, Map

_HELD = (Kind.sliding, Kind.cycle, Kind.rotation, Kind.chaotic_trap, Kind.trap)
"""What holds orbits about a critical point without a Jacobian."""
_CELLS, _STEPS = 4000, 500
"""How hard a trap is tried to be proved: about a second at most."""
_BESIDE = 1e-3
"""How far from such a point orbits begin that tell how far from it they stay, in units of rho."""
_SETTLE, _STARTS = 5000, 16
_WIDER = 1.5
"""An orbit is held by such a point if it stays within so many times the distance seen."""
_ARRIVED = 1e-6
"""Relative to the box: a sliding flow that ends this near to a critical point is held there."""


def from_fixed_points(
    system: AbstractSystem, points: FixedPoints, extent: float
) -> list[Attractor]:
    """Return the attractors among the fixed and critical points, in their order, then curves."""
    found: list[tuple[int, Attractor]] = []
    left = []
    for i, (stability, sure) in enumerate(zip(points.stability, points.proved, strict=True)):
        state = np.asarray(stability.state)
        if stability.kind is Kind.attracting:
            region = contracting(system, state[None], 1, extent)
            if region is not None:
                rate = exponent(system, state, 1)
                found.append((i, _made(stability.kind, state[None], region, rate, bool(sure), 1)))
        elif stability.kind in _HELD and isinstance(system, AbstractFlow):
            region = ball(state, _ARRIVED * extent)
            found.append((i, _made(stability.kind, state[None], region, np.nan, bool(sure))))
        elif stability.kind in _HELD and isinstance(system, Map):
            trap = _proved(system, stability.kind, state, extent)
            found += [] if trap is None else [(i, trap)]
            left += [i] if trap is None else []
    for i in left:
        assert isinstance(system, Map)
        known = [attractor for _, attractor in found]
        held = _held(system, points, i, known, extent)
        found += [(i, attractor) for attractor in held]
    found.sort(key=lambda pair: pair[0])
    return [*(attractor for _, attractor in found), *curves(system, points)]


def _made(
    kind: Kind, points: np.ndarray, region: Region, rate: float, proved: bool, period: int = 0
) -> Attractor:
    return Attractor(kind, points, period, region.reach, "fixed point", rate, proved, region)


def _proved(system: Map, kind: Kind, state: np.ndarray, extent: float) -> Attractor | None:
    """Return what a critical point holds if a trap about it is proved; see `certify_trap`."""
    claim = certify_trap(system, state[: system.dim], max_cells=_CELLS, max_steps=_STEPS)
    if claim.verdict is not Verdict.proved:
        return None
    (trap,) = claim.traps
    if trap.form == "ellipsoid":
        rows = np.array(trap.rows)
        region = Region(state[None], (rows.T @ rows)[None] / trap.outer**2, 0, 1)
    elif trap.num_returns == 1:
        region = ball(state, trap.entered_from)
    else:  # the box is left for some steps, in which orbits are within the radius
        region = ball(state, trap.radius, every=4)
    orbits = _beside(system, state)
    period = int(np.bincount(periods(orbits)).argmax())
    if not period:
        return _made(kind, state[None], region, np.nan, True)
    cycle = polished(system, orbits[0, -period:])
    inner = contracting(system, cycle, period, extent)
    if inner is not None and region.stays:
        region = inner
    elif inner is not None:
        centres = np.concatenate([region.centres, inner.centres])
        region = Region(centres, np.concatenate([region.metrics, inner.metrics]), 0, 1)
    return _made(kind, cycle, region, exponent(system, cycle[0], period), True, period)


def _beside(system: Map, state: np.ndarray) -> np.ndarray:
    """Return what orbits from beside a critical point settle on, (starts, times, state)."""
    at = np.asarray(system.position(state))
    random = np.random.default_rng(0).normal(size=(_STARTS, system.dim))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    length = system.rule.ascent_length(at) or float(np.linalg.norm(at)) or 1.0
    begin = np.stack([np.asarray(system.lift(w)) for w in at + _BESIDE * length * random])
    settled, _ = follow(system, begin, _SETTLE)
    finite = np.isfinite(settled).all(axis=1)
    return watch(system, settled[finite], LONGEST) if finite.any() else np.zeros((0, 1, len(state)))


def _held(
    system: Map, points: FixedPoints, number: int, known: Sequence[Attractor], extent: float
) -> list[Attractor]:
    """Return what holds orbits about a critical point where no trap is proved.

    These are the cycles that orbits from beside it come to; where they come to none, and stay
    nearer than the next point, a ball that is as large as they go.
    """
    stability = points.stability[number]
    state = np.asarray(stability.state)
    orbits = _beside(system, state)
    if not len(orbits):
        return []
    if found := cycles(system, orbits[:, -1], known, extent):
        return [one._replace(found="fixed point") for one in found]
    others = np.array([each.state for i, each in enumerate(points.stability) if i != number])
    gaps = np.linalg.norm(others.reshape(-1, len(state)) - state, axis=1)
    away = np.linalg.norm(orbits - state, axis=2).max(axis=1)
    stayed = away[away < min([extent, *gaps])]
    if not len(stayed):
        return []
    region = ball(state, _WIDER * float(stayed.max()), every=4)
    return [_made(stability.kind, state[None], region, np.nan, False)]
