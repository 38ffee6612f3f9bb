"""What one portrait shows, computed, and drawn in layers."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from samflow import _checks
from samflow._status import Kind
from samflow._types import ArrayLike, Box
from samflow.attractors import Basins, Manifolds, StoredBasins
from samflow.attractors import basins as find_basins
from samflow.attractors import manifolds as find_manifolds
from samflow.equilibria import FixedPoints, find_fixed_points
from samflow.orbits import integrate, iterate
from samflow.orbits._integrate import Trajectory
from samflow.orbits._iterate import Orbit
from samflow.plots import _basins, _manifolds, layers
from samflow.plots.colours import Palette, palette
from samflow.plots.field import Field, sample_field
from samflow.plots.marks import draw_continua, draw_eigen_directions, draw_fixed_points
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem
from samflow.systems.angles import Angles, angles_of

LAYERS = ("levels", "motion", "nullclines", "directions", "fixed points")
"""What a portrait shows of a system; basins, invariant curves and orbits where they are given."""

_NUM_STEPS = 1000
_T1 = 10.0
_MAX_KEPT = 4000
"""Points of one orbit at most: more than a column of print can show."""
RESOLUTION = 120
"""Points a side of basins that are not given: finer than a column of print needs."""
_CURVE_POINTS = 20_000
"""Points an arm of curves that are not given: one that folds without end stops early."""

RESOLVED = 0.01
"""Curves with a larger error, as a part of the box, are left out: they would show a tangle that is
not there, or not all of it."""


class Contents(NamedTuple):
    """All that a portrait of one system shows."""

    system: AbstractSystem
    box: Box
    field: Field
    fixed_points: FixedPoints
    orbits: Orbit | Trajectory | None
    basins: Basins | None
    manifolds: tuple[Manifolds, ...]


class Look(NamedTuple):
    """How it is shown: which layers, which levels of the loss, in which colours."""

    layers: frozenset[str]
    levels: int | Sequence[float]
    colours: Palette


def gather(
    system: AbstractSystem,
    box: Any,
    *,
    starts: ArrayLike | None,
    length: float | None,
    fixed_points: FixedPoints | None,
    basins: Basins | StoredBasins | bool,
    manifolds: Manifolds | Sequence[Manifolds] | bool,
) -> Contents:
    """Check what is given and compute what is not."""
    field = sample_field(system, box)
    sides = _checks.box("box", box, 2)
    if not isinstance(basins, bool):
        basins, _ = _basins.loaded(basins, "basins")
        _check_system(system, basins, "basins")
    curves = () if isinstance(manifolds, bool) else _manifolds.listed(manifolds, "manifolds")
    for each in curves:
        _check_system(system, each, "manifolds")
    if manifolds is True and system.state_dim != 2:
        raise _checks.ArgumentError(
            "Argument `manifolds` needs a system without momentum: curves in four dimensions are "
            "no lines of the plane. Leave it out."
        )
    points = find_fixed_points(system, sides) if fixed_points is None else fixed_points
    orbits = None if starts is None else _orbits(system, starts, length)
    if basins is True:
        basins = find_basins(system, sides, RESOLUTION, fixed_points=points)
    if manifolds is True:
        curves = separatrices(system, sides, points)
    return Contents(system, sides, field, points, orbits, basins or None, curves)


def separatrices(
    system: AbstractSystem, box: Box, fixed_points: FixedPoints
) -> tuple[Manifolds, ...]:
    """Return the invariant curves of all saddles that have a Jacobian."""
    assert isinstance(system, AbstractMap | AbstractFlow)
    return tuple(
        find_manifolds(system, system.position(found.state), box, num_points=_CURVE_POINTS)
        for found in fixed_points.stability
        if found.kind is Kind.saddle and np.isfinite(found.spectrum).all()
    )


def make_look(
    chosen: Collection[str] | None,
    levels: int | Sequence[float],
    colours: Palette | None,
    *,
    basins: bool,
    manifolds: bool,
) -> Look:
    """Check the layers and the colours; by default leave out what would not be seen."""
    if chosen is None:
        hidden = {"levels", "nullclines"} if basins else set()
        names = set(LAYERS) - hidden - ({"directions"} if basins or manifolds else set())
    else:
        given = (chosen,) if isinstance(chosen, str) else tuple(chosen)
        names = {_checks.known("layer", name, LAYERS) for name in given}
    return Look(frozenset(names), levels, palette(colours, over_basins=basins))


def draw_contents(
    ax: Axes, shown: Contents, look: Look, regions: dict[int, _basins.Region] | None = None
) -> None:
    """Draw the layers, the basins lowest and the fixed points on top."""
    colours = look.colours
    layers.draw_frame(ax, shown.system, shown.box)
    if shown.basins is not None:
        if regions is None:
            (regions,) = _basins.shared_regions([shown.basins], colours)
        _basins.draw_basins(ax, shown.basins, regions)
        _basins.draw_attractors(ax, shown.basins, colours["fixed points"])
    if "levels" in look.layers:
        given = shown.field, shown.system, shown.fixed_points, look.levels
        layers.draw_levels(ax, *given, colour=colours["levels"])
    if "motion" in look.layers:
        heavy = shown.system.state_dim > shown.system.dim
        layers.draw_motion(ax, shown.field, momentum=heavy, colour=colours["motion"])
    if "nullclines" in look.layers:
        pair = colours["first nullcline"], colours["second nullcline"]
        layers.draw_nullclines(ax, shown.system, shown.field, colours=pair)
    extent = float(np.ptp(np.array(shown.box), axis=1).max())
    _manifolds.draw_manifolds(
        ax,
        shown.manifolds,
        colours,
        resolved=RESOLVED * extent,
        turns=_turns(shown),
    )
    if shown.orbits is not None:
        layers.draw_orbits(ax, shown.orbits, colour=colours["orbits"], turns=_turns(shown))
    if "fixed points" in look.layers:
        draw_continua(ax, shown.fixed_points, colour=colours["fixed points"])
    if "directions" in look.layers:
        pair = colours["stable"], colours["unstable"]
        draw_eigen_directions(ax, shown.system, shown.fixed_points, colours=pair)
    if "fixed points" in look.layers:
        draw_fixed_points(
            ax,
            shown.fixed_points,
            colour=colours["fixed points"],
            hallucinated=colours["not critical"],
        )
    (left, right), (bottom, top) = shown.box
    ax.set(xlim=(left, right), ylim=(bottom, top))


def _check_system(system: AbstractSystem, record: Any, name: str) -> None:
    whose = dict(record.provenance).get("system")
    if whose != system.describe():
        raise _checks.ArgumentError(
            f"Argument `{name}` must be of the system that is drawn, {system.describe()}, but is "
            f"of {whose}."
        )


def _orbits(system: AbstractSystem, starts: ArrayLike, length: float | None) -> Orbit | Trajectory:
    starts = _checks.point("starts", starts, system.dim, batched=True)
    if isinstance(system, AbstractMap):
        num_steps = _checks.count("length", _NUM_STEPS if length is None else length)
        return iterate(system, starts, num_steps=num_steps, keep_every=-(-num_steps // _MAX_KEPT))
    assert isinstance(system, AbstractFlow)
    t1 = _T1 if length is None else length
    return integrate(system, starts, t1=t1, num_times=_MAX_KEPT)


def _turns(shown: Contents) -> Angles | None:
    """Return the turn of each angle that begins at the lower edge of the box."""
    angles = angles_of(shown.system)
    if angles is None:
        return None
    return tuple(
        None if one is None else (low, low + one[1] - one[0])
        for one, (low, _) in zip(angles, shown.box, strict=True)
    )
