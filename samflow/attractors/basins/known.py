"""The attractors among the fixed points and the critical points of a system."""

import numpy as np

from samflow._status import Kind, Status
from samflow.attractors.basins.capture import ball, contracting, exponent
from samflow.attractors.basins.records import Attractor, Region
from samflow.attractors.basins.settled import LONGEST, periods
from samflow.equilibria import FixedPoints
from samflow.orbits import iterate
from samflow.systems import AbstractFlow, AbstractSystem, Map

_HELD = (Kind.sliding, Kind.cycle, Kind.rotation, Kind.chaotic_trap, Kind.trap)
"""What holds orbits about a critical point without a Jacobian."""
_BESIDE = 1e-3
"""How far from such a point orbits begin that tell how far from it they stay, in units of rho."""
_SETTLE, _WATCH, _STARTS = 5000, 2000, 16
_LOST = (Status.diverged, Status.not_finite, Status.undefined)
_WIDER = 1.5
"""An orbit is held by such a point if it stays within so many times the distance seen."""
_ARRIVED = 1e-6
"""Relative to the box: a sliding flow that ends this near to a critical point is held there."""


def from_fixed_points(
    system: AbstractSystem, points: FixedPoints, extent: float
) -> list[Attractor]:
    """Return the attractors among the fixed points and the critical points."""
    found = []
    for stability in points.stability:
        state = np.asarray(stability.state)
        if stability.kind is Kind.attracting:
            region = contracting(system, state[None], 1, extent)
            if region is not None:
                rate = exponent(system, state, 1)
                found.append(_attractor(Kind.attracting, state[None], 1, region, rate))
        elif stability.kind in _HELD:
            made = _held(system, stability.kind, state, extent)
            found += [] if made is None else [made]
    return found


def _attractor(
    kind: Kind, points: np.ndarray, period: int, region: Region, rate: float = np.nan
) -> Attractor:
    return Attractor(kind, points, period, region.reach, "fixed point", rate, region)


def _held(system: AbstractSystem, kind: Kind, state: np.ndarray, extent: float) -> Attractor | None:
    """Return what holds orbits about a critical point, with how far from it they stay."""
    if isinstance(system, AbstractFlow):
        return _attractor(kind, state[None], 0, ball(state, _ARRIVED * extent))
    assert isinstance(system, Map)
    rho = system.rule.ascent_length(np.asarray(system.position(state))) or extent
    random = np.random.default_rng(0).normal(size=(_STARTS, system.dim))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    begin = np.asarray(system.position(state)) + _BESIDE * rho * random
    settled = iterate(system, begin, num_steps=_SETTLE, anywhere=True)
    lost = np.isin(np.asarray(settled.status), _LOST)
    if lost.all():
        return None
    later = np.asarray(settled.final)[~lost]
    orbit = iterate(system, later, num_steps=_WATCH, keep_every=1, anywhere=True)
    away = np.linalg.norm(np.asarray(orbit.states) - state, axis=2).max(axis=1)
    stayed = away[np.isfinite(away) & (away < extent)]
    if not len(stayed):
        return None
    region = ball(state, _WIDER * float(stayed.max()), every=4)
    cycle = periods(np.asarray(orbit.states)[:, -LONGEST - 1 :])
    period = int(np.bincount(cycle).argmax()) if kind in (Kind.cycle, Kind.rotation) else 0
    states = np.asarray(orbit.states)[0, -period:] if period else state[None]
    return _attractor(kind, states, period, region)
