"""Which critical points of a box attract, in every cell of a plane, and whether others do."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from samflow._status import Kind, Status
from samflow.attractors.charts import point as at_point
from samflow.attractors.charts.curves import boundaries
from samflow.attractors.charts.plane import Plane
from samflow.attractors.charts.point import CriticalPoint
from samflow.attractors.charts.records import AttractorChart, Boundary
from samflow.attractors.sweep import sweep
from samflow.equilibria import find_fixed_points
from samflow.records import provenance
from samflow.rules import GD
from samflow.systems import Flow

_SHAPES = {
    Kind.attracting: ("minimum", "minima"),
    Kind.saddle: ("saddle", "saddles"),
    Kind.repelling: ("maximum", "maxima"),
}
_DEGENERATE = ("degenerate point", "degenerate points")
_NEAR = 1e-3
"""Of the box: an orbit that ends so near to a point that attracts has come to it."""
_DIGITS = 9
"""Curves that agree to so many are the same: those of points that a symmetry exchanges."""
MISSING = "missing"
"""The word in a cell that is not computed yet."""
_ATTRACT = (str(Kind.attracting), "stays")


class Starts(NamedTuple):
    """Random starts: the box, shape (weight, 2), how many, and the seed."""

    box: np.ndarray
    number: int
    seed: int

    def points(self) -> np.ndarray:
        """Return the starts, shape (number, weight)."""
        low, high = self.box.T
        random = np.random.default_rng(self.seed).uniform(size=(self.number, len(low)))
        return low + random * (high - low)


class Points(NamedTuple):
    """The critical points of a box, their shapes in one and in many, and whether these are all."""

    points: list[CriticalPoint]
    shapes: list[tuple[str, str]]
    complete: bool


def find_points(plane: Plane, starts: Starts) -> Points:
    """Return the critical points in the box."""
    found = find_fixed_points(Flow(plane.system.loss, GD()), starts.box)
    points = [CriticalPoint(np.asarray(s.state), np.asarray(s.curvature)) for s in found.stability]
    return Points(points, [_SHAPES.get(kind, _DEGENERATE) for kind in found.kinds], found.complete)


def of_cells(plane: Plane, starts: Starts, found: Points, num_steps: int) -> dict[str, np.ndarray]:
    """Return what a chart has for each cell, which no other cell changes; points are last axes."""
    points = found.points
    words = [at_point.what_it_is(plane, point, num_steps) for point in points]
    what = np.array(words).reshape(len(points), *plane.shape) if points else _no_points(plane)
    ends = _ends(plane, starts, points, _attracts(what), num_steps)
    return {"at_points": np.moveaxis(what, 0, -1), **ends._asdict()}


def chart(
    plane: Plane,
    starts: Starts,
    found: Points,
    cells: dict[str, np.ndarray],
    num_steps: int,
    gradient_norm: float | None,
) -> AttractorChart:
    """Return the chart of all critical points in the box, made of what `of_cells` returned."""
    points, shapes = found.points, found.shapes
    what = np.moveaxis(cells["at_points"], -1, 0)
    attracts, elsewhere = _attracts(what), cells["elsewhere"]
    missing = np.isnan(elsewhere)
    names = _names(points, shapes)
    labels = [
        MISSING if missing[i, j] else _label(names, shapes, attracts[:, i, j], elsewhere[i, j] > 0)
        for i in range(plane.shape[0])
        for j in range(plane.shape[1])
    ]
    curves = [
        boundaries(at_point.conditions(plane, point, gradient_norm), plane.x, plane.y)
        for point in points
    ]
    return AttractorChart(
        x=plane.x,
        y=plane.y,
        what=np.array(labels).reshape(plane.shape),
        number=np.where(missing, -1, attracts.sum(axis=0)),
        elsewhere=elsewhere,
        lost=cells["lost"],
        unsettled=cells["unsettled"],
        at_points=what,
        points=np.array([point.w for point in points]).reshape(-1, plane.system.dim),
        shapes=tuple(shape for shape, _ in shapes),
        boundaries=_merged(curves, names, shapes),
        complete=found.complete,
        by_jacobian=at_point.by_jacobian(plane),
        names=plane.names,
        provenance=provenance(
            plane.system.describe(), num_steps=num_steps, num_starts=starts.number, seed=starts.seed
        ),
    )


def _attracts(what: np.ndarray) -> np.ndarray:
    return np.isin(what, _ATTRACT) | (np.char.find(what, "cycle") >= 0)


def _no_points(plane: Plane) -> np.ndarray:
    return np.zeros((0, *plane.shape), "U1")


def _names(points: list[CriticalPoint], shapes: list[tuple[str, str]]) -> list[str]:
    """Return a name for each point: its shape, with where it is if there are several."""
    many = Counter(shapes)
    names = []
    for point, shape in zip(points, shapes, strict=True):
        where = ", ".join(f"{round(x, 4) + 0.0:g}" for x in point.w)
        names.append(shape[0] if many[shape] == 1 else f"{shape[0]} ({where})")
    return names


def _label(
    names: list[str], shapes: list[tuple[str, str]], attracts: np.ndarray, elsewhere: bool
) -> str:
    """Return in words which points attract: "minimum only", "2 minima and saddle"."""
    parts = []
    for shape in dict.fromkeys(sorted(shapes)):
        here = [i for i, other in enumerate(shapes) if other == shape]
        chosen = [i for i in here if attracts[i]]
        if len(chosen) == len(here) > 1:
            parts.append(f"{len(here)} {shape[1]}")
        else:
            parts += [names[i] for i in chosen]
    parts += ["elsewhere"] if elsewhere else []
    if not parts:
        return "none"
    if len(parts) == 1:
        return f"{parts[0]} only" if len(names) > 1 else parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _merged(
    curves: list[tuple[Boundary, ...]], names: list[str], shapes: list[tuple[str, str]]
) -> tuple[Boundary, ...]:
    """Return the curves of all points, those that coincide once: "2 minima: λ = 2 flips"."""
    places: dict[Any, list[int]] = {}
    for i, lines in enumerate(curves):
        for line in lines:
            where = (np.round(line.x, _DIGITS).tobytes(), np.round(line.y, _DIGITS).tobytes())
            places.setdefault((shapes[i], line.name, where), []).append(i)
    found = []
    for (shape, name, _), those in places.items():
        line = next(line for line in curves[those[0]] if line.name == name)
        whose = names[those[0]] if len(those) == 1 else f"{len(those)} {shape[1]}"
        label = (lambda text, whose=whose: f"{whose}: {text}") if len(names) > 1 else str
        found.append(line._replace(name=label(name), group=label(line.group)))
    return tuple(found)


class _Ends(NamedTuple):
    """Shares of the random starts, by where their orbits end; the rest come to the points."""

    elsewhere: np.ndarray
    lost: np.ndarray
    unsettled: np.ndarray


def _ends(
    plane: Plane,
    starts: Starts,
    points: list[CriticalPoint],
    attracts: np.ndarray,
    num_steps: int,
) -> _Ends:
    shares = _Ends(*(np.zeros(plane.shape) for _ in range(3)))
    extent = float((starts.box[:, 1] - starts.box[:, 0]).max())
    reaches = [np.maximum(at_point.LEFT * at_point.jumps(plane, p), _NEAR * extent) for p in points]
    for start in starts.points():
        ends = sweep(plane.system, plane.grid, "orbit", w0=start, num_steps=num_steps)
        periods = sweep(plane.system, plane.grid, "period", w0=start, num_steps=num_steps)
        final = ends["final"][..., : plane.system.dim]
        lost = ~np.isin(ends["status"], [Status.converged.label, Status.out_of_steps.label])
        arrived = np.zeros(plane.shape, bool)
        for point, reach, held in zip(points, reaches, attracts, strict=True):
            arrived |= held & (np.linalg.norm(final - point.w, axis=-1) <= reach)
        settled = periods["period"] > 0
        for share, here in zip(
            shares, (settled & ~lost & ~arrived, lost, ~(settled | lost | arrived)), strict=True
        ):
            share += here / starts.number
    return shares
