"""What takes longer than a slider's move: proofs, charts, basins, invariant curves, files.

Each function takes a state and returns plain arrays and texts, so that it can run in a process of
its own and be stopped (`workers`).
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import to_rgb

from samflow._checks import ArgumentError
from samflow._status import Kind
from samflow._types import Box
from samflow.attractors import Basins
from samflow.attractors import basins as find_basins
from samflow.attractors.charts import point
from samflow.attractors.charts.curves import boundaries
from samflow.attractors.charts.plane import make_plane
from samflow.equilibria import find_fixed_points
from samflow.explorer.state import State
from samflow.plots import _basins, _chart, _portrait, files, style
from samflow.plots.colours import COLOURS
from samflow.plots.contents import RESOLUTION, RESOLVED, separatrices
from samflow.plots.marks import continuum_lines, eigen_arms
from samflow.rules import GD
from samflow.systems import Flow

CELLS = 60
"""Values of rho and of lr in a chart."""
_RHO_OVER_CURVATURE = 8.0
"""The slider of rho ends at this over the sharpness, the largest |λ| of a critical point, of a
median one: USAM's conditions have ρλ of order 1."""
_RHO_OVER_WIDTH = 1 / 8
"""The same of a rule whose rho is a length, as a part of the box."""
_LR_OVER_CURVATURE = 2.5
"""The slider of lr ends at this over it: GD's edge is at 2."""
_CHART_STEPS = 2000
"""Of orbits from beside a point without a Jacobian, as in `samflow.stability_chart`."""
_NICE = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


class Point(NamedTuple):
    """A critical point of the loss, and what it is there: minimum, saddle, maximum, degenerate."""

    w: tuple[float, float]
    shape: str


class Landscape(NamedTuple):
    """What a loss has in a box, whatever the rule.

    Attributes:
        points: its isolated critical points.
        complete: whether they are proved to be all.
        rho_max: a sensible end of a slider of rho.
        lr_max: the same of lr.

    """

    points: tuple[Point, ...]
    complete: bool
    rho_max: float
    lr_max: float


class Points(NamedTuple):
    """The fixed points of a state, as they are drawn.

    Attributes:
        w: shape (points, 2).
        kinds: of each.
        critical: whether the gradient vanishes there.
        proved: whether it is proved that the point exists.
        said: kind and spectrum of each in words.
        headline: how many there are, and how sure that is.
        complete: whether it is proved that these are all.
        arms: both ends of the mark of an eigen-direction, and whether it is stable.
        lines: curves of fixed points, and their kind across.

    """

    w: np.ndarray
    kinds: tuple[Kind, ...]
    critical: np.ndarray
    proved: np.ndarray
    said: tuple[str, ...]
    headline: str
    complete: bool
    arms: list[tuple[np.ndarray, bool]]
    lines: list[tuple[np.ndarray, Kind]]


class Regions(NamedTuple):
    """Basins, as an image and a legend.

    Attributes:
        image: RGBA of each cell, shape (y, x, 4).
        legend: colour, hatch and name of each region.
        attractors: points of cycles and of strange attractors in the box, shape (N, 2).

    """

    image: np.ndarray
    legend: list[tuple[str, str, str]]
    attractors: np.ndarray


class Curves(NamedTuple):
    """Invariant curves of saddles.

    Attributes:
        stable: of each arm its points, shape (N, 2).
        unstable: likewise.
        left_out: how many arms are not resolved, and not drawn.

    """

    stable: list[np.ndarray]
    unstable: list[np.ndarray]
    left_out: int


class ChartPicture(NamedTuple):
    """What a critical point is over rho and lr.

    Attributes:
        rho: values, shape (CELLS,).
        lr: values, shape (CELLS,).
        what: a word for each cell, shape (rho, lr).
        colours: of the words, in the order of a legend.
        boundaries: theory's curves: name of the group, values of rho, values of lr.
        by_jacobian: whether the words are `classify`'s; else orbits from beside the point decide.

    """

    rho: np.ndarray
    lr: np.ndarray
    what: np.ndarray
    colours: dict[str, str]
    boundaries: list[tuple[str, np.ndarray, np.ndarray]]
    by_jacobian: bool

    def word_at(self, rho: float, lr: float) -> str | None:
        """Return the word of the cell that holds a pair; None outside the chart."""
        cell = []
        for values, value in ((self.rho, rho), (self.lr, lr)):
            gap = values[1] - values[0]
            place = round((value - values[0]) / gap)
            if not 0 <= place < len(values):
                return None
            cell.append(int(place))
        return str(self.what[tuple(cell)])

    @property
    def box(self) -> Box:
        """What the cells cover: half a cell beyond the values."""
        return _chart.ends(self.rho), _chart.ends(self.lr)

    @property
    def image(self) -> np.ndarray:
        """RGBA of each cell, shape (lr, rho, 4)."""
        made = np.zeros((*self.what.shape, 4), np.uint8)
        for word, colour in self.colours.items():
            made[self.what == word] = rgba(colour)
        return np.swapaxes(made, 0, 1)


def landscape(state: State) -> Landscape:
    """Return the critical points of the loss in the box, and ends of sliders in its units."""
    system = state.system()
    found = find_fixed_points(Flow(system.loss, GD()), state.box)
    points, curvatures = [], []
    for stability in found.stability:
        w, values = np.asarray(stability.state), np.asarray(stability.curvature)
        points.append(Point((float(w[0]), float(w[1])), _shape(values, stability.kind)))
        curvatures.append(float(np.abs(values).max()))
    sharpness = float(np.median(curvatures)) if curvatures else 0.0
    width = float(np.ptp(np.array(state.box), axis=1).max())
    unit = 1 / sharpness if sharpness > 0 and np.isfinite(sharpness) else 0.1
    is_length = system.rule.ascent_length(np.mean(state.box, axis=1)) > 0
    rho_max = _RHO_OVER_WIDTH * width if is_length else _RHO_OVER_CURVATURE * unit
    return Landscape(
        tuple(points),
        found.complete,
        nice(max(rho_max, 1.2 * state.rho)),
        nice(max(_LR_OVER_CURVATURE * unit, 1.2 * state.lr)),
    )


def fixed_points(state: State) -> Points:
    """Return the fixed points in the box, each classified, by proof where there is one."""
    system = state.system()
    found = find_fixed_points(system, state.box)
    extent = np.ptp(np.array(state.box), axis=1)
    return Points(
        w=np.asarray(found.w).reshape(-1, 2),
        kinds=found.kinds,
        critical=np.asarray(found.critical),
        proved=np.asarray(found.proved),
        said=tuple(str(stability) for stability in found.stability),
        headline=str(found),
        complete=found.complete,
        arms=eigen_arms(system, found, extent),
        lines=[(np.asarray(w), kind) for w, kind in continuum_lines(found)],
    )


def basins(state: State) -> Regions:
    """Return the basins in the box, as `samflow.portrait` draws them."""
    system = state.system()
    found = find_basins(
        system, state.box, RESOLUTION, fixed_points=find_fixed_points(system, state.box)
    )
    (look,) = _basins.shared_regions([found], COLOURS)
    image = np.zeros((*found.grid.shape, 4), np.uint8)
    for label, region in look.items():
        here = found.grid == label
        image[here] = rgba(region.colour)
        image[here & _hatched(region.hatch, found.grid.shape)] = rgba(style.PALE)
    legend = [(str(region.colour), region.hatch, region.name) for region in look.values()]
    return Regions(np.swapaxes(image, 0, 1), legend, _points_of(found))


def curves(state: State) -> Curves:
    """Return the invariant curves of all saddles that have a Jacobian.

    Raises:
        ArgumentError: with momentum, where these curves lie in four dimensions.

    """
    system = state.system()
    if system.state_dim != 2:
        raise ArgumentError(
            "Stable and unstable curves need a map without momentum and memory: in four "
            "dimensions they are no lines of the plane."
        )
    found = separatrices(system, state.box, find_fixed_points(system, state.box))
    extent = float(np.ptp(np.array(state.box), axis=1).max())
    arms = [
        (name, arm)
        for one in found
        for name in ("stable", "unstable")
        for arm in getattr(one, name)
    ]
    resolved = [(name, arm.points) for name, arm in arms if arm.error <= RESOLVED * extent]
    stable, unstable = (
        [np.asarray(points) for name, points in resolved if name == wanted]
        for wanted in ("stable", "unstable")
    )
    return Curves(stable, unstable, len(arms) - len(resolved))


def chart(state: State) -> ChartPicture:
    """Return what the state's critical point is, over rho and lr up to the ends of the sliders.

    The words and curves are those of `samflow.stability_chart`, without what else it computes.

    Raises:
        ArgumentError: for a point that is not critical, or a rule without rho.

    """
    assert state.rho_max is not None
    assert state.lr_max is not None
    system = state.system()
    where = point.critical_point("point", system.loss, state.point)
    rows = {
        "rho": np.linspace(0, state.rho_max, CELLS),
        "momentum": state.momentum,
        "lr": np.linspace(state.lr_max / CELLS, state.lr_max, CELLS),
    }
    plane = make_plane(system.loss, system.rule, rows)
    what = np.vectorize(_chart.shortened)(point.what_it_is(plane, where, _CHART_STEPS))
    lines = boundaries(point.conditions(plane, where, None), plane.x, plane.y)
    return ChartPicture(
        rho=plane.x,
        lr=plane.y,
        what=what,
        colours=_chart.word_colours(what),
        boundaries=[(line.group, line.x, line.y) for line in lines],
        by_jacobian=point.by_jacobian(plane),
    )


def picture(state: State) -> bytes:
    """Return the portrait as a PDF, to the byte that which the code of `code.source` writes."""
    figure = _portrait.portrait(state.system(), state.box, **portrait_arguments(state))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "portrait.pdf"
        files.save(figure, path)
        return path.read_bytes()


def portrait_arguments(state: State) -> dict[str, Any]:
    """Return what `samflow.portrait` is called with to draw a state."""
    drawn: dict[str, Any] = {}
    steps = state.ticks if state.steps < 0 else state.steps
    if state.starts and steps:
        length = steps * (state.length or 0) / state.ticks if state.flow else steps
        drawn = {"starts": [list(w) for w in state.starts], "length": length}
    layers = [name for name in state.layers if name not in ("basins", "manifolds")]
    drawn["layers"] = [*layers, "fixed points"]
    for name in ("basins", "manifolds"):
        if name in state.layers:
            drawn[name] = True
    return drawn


def with_chart_ranges(state: State, found: Landscape) -> State:
    """Return a state whose chart has a point and ranges: its own, or those of the landscape."""
    saddles = [point.w for point in found.points if point.shape == "saddle"]
    first = next(iter([*saddles, *(point.w for point in found.points)]), None)
    return dataclasses.replace(
        state,
        point=first if state.point is None else state.point,
        rho_max=state.rho_max or found.rho_max,
        lr_max=state.lr_max or found.lr_max,
    )


def nice(value: float) -> float:
    """Return the smallest round number that is not below a positive one."""
    power = 10.0 ** np.floor(np.log10(value))
    factor = next(f for f in _NICE if f * power >= value * (1 - 1e-9))
    return float(f"{factor * power:.6g}")


def rgba(colour: Any) -> tuple[int, int, int, int]:
    """Return a colour of matplotlib as four bytes."""
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue, 255


def _shape(curvature: np.ndarray, kind: Kind) -> str:
    if kind is Kind.nonhyperbolic or not (curvature != 0).all():
        return "degenerate"
    if (curvature > 0).all():
        return "minimum"
    return "maximum" if (curvature < 0).all() else "saddle"


def _hatched(hatch: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return which cells of an image have a line of a hatch of matplotlib."""
    x, y = np.indices(shape)
    made = {
        "/": (x - y) % 6 == 0,
        "\\": (x + y) % 6 == 0,
        "|": x % 6 == 0,
        "-": y % 6 == 0,
        ".": (x % 4 == 0) & (y % 4 == 0),
        "x": ((x - y) % 6 == 0) | ((x + y) % 6 == 0),
        "+": (x % 6 == 0) | (y % 6 == 0),
    }
    return made[hatch[0]] if hatch else np.zeros(shape, bool)


def _points_of(found: Basins) -> np.ndarray:
    low, high = np.array(found.box).T
    points = [
        np.atleast_2d(np.asarray(one.points))[:, :2]
        for one in found.attractors
        if one.period > 1 or one.kind in (Kind.chaotic, Kind.quasiperiodic)
    ]
    every = np.concatenate([np.empty((0, 2)), *points])
    return every[((every >= low) & (every <= high)).all(axis=1)]
