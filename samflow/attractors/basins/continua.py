"""Curves of fixed points as attractors: the parts of them that attract."""

from collections.abc import Iterator

import numpy as np

from samflow._status import Kind
from samflow.attractors.basins.capture import STAYS, tube
from samflow.attractors.basins.records import Attractor
from samflow.equilibria import FixedPoints
from samflow.equilibria._units import units
from samflow.equilibria.continua.records import Continuum
from samflow.systems import AbstractFlow, AbstractSystem

_RADIUS = 1e-3
"""Of the tube about a curve, in the sides of the box: four times what chords leave off, since
samples are at most 1/80 of the box and 10 degrees apart."""
_CONSTANTS = 8
"""An orbit of a flow must be in the tube for so many time constants across the curve."""


def curves(system: AbstractSystem, points: FixedPoints) -> list[Attractor]:
    """Return the attracting parts of curves of fixed points, each as one attractor.

    An orbit has come to one if it stays in a thin tube about it. The tube ends where stability
    across the curve does.
    """
    dim = points.w.shape[1]
    sides = np.ptp(np.array(points.box), axis=1)
    radii = _RADIUS * sides.max() * units(system)
    radii[:dim] = _RADIUS * sides
    made = []
    for curve in points.continua:
        every = _every(system, curve)
        for part in _attracting(curve, float(radii[:dim].max())):
            states = np.zeros((len(part), len(radii)))
            states[:, :dim] = part
            region = tube(system, states, radii, every)
            made.append(
                Attractor(
                    Kind.continuum, region.centres, 0, region.reach, "fixed point", 0.0,
                    curve.proved, region,
                )
            )  # fmt: skip
    return made


def _every(system: AbstractSystem, curve: Continuum) -> float:
    """Return the steps, or the time of a flow, between looks at an orbit in the tube."""
    if not isinstance(system, AbstractFlow):
        return 1
    attracts = np.array([kind is Kind.attracting for kind in curve.kinds])
    rates = -np.real(curve.spectrum[attracts]).max(axis=1, initial=-np.inf)
    return _CONSTANTS / STAYS / float(np.median(rates)) if len(rates) else 1


def _attracting(curve: Continuum, room: float) -> Iterator[np.ndarray]:
    """Yield the attracting parts of a curve as points in order, without `room` at a change."""
    parts = []
    for begin, end, kind in curve.stretches:
        inside = (curve.arc > begin) & (curve.arc < end)
        begin += room if begin > curve.arc[0] else 0.0
        end -= room if end < curve.arc[-1] else 0.0
        if kind is not Kind.attracting or begin >= end:
            continue
        arc = np.concatenate([[begin], curve.arc[inside], [end]])
        arc = arc[(arc >= begin) & (arc <= end)]
        parts.append(np.stack([np.interp(arc, curve.arc, x) for x in curve.w.T], axis=1))
    if curve.closed and len(parts) > 1:
        first, last = parts[0][0], parts[-1][-1]
        if (first == curve.w[0]).all() and (last == curve.w[-1]).all():
            parts = [np.concatenate([parts[-1], parts[0]]), *parts[1:-1]]
    yield from parts
