"""The two figures of the page, in Bokeh: the portrait, and the chart beside it."""

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, Range1d, Scatter, Span, WheelZoomTool
from bokeh.plotting import figure

from samflow._status import Kind
from samflow._types import Box
from samflow.explorer import glyphs
from samflow.explorer.quick import Arrows
from samflow.explorer.slow import ChartPicture, Points, Regions
from samflow.explorer.state import State, names_of_weights
from samflow.plots import style
from samflow.plots._chart import LINES
from samflow.plots.colours import COLOURS, OVER_BASINS

SIDE = 540
"""Pixels along each side of the portrait."""
CHART = (290, 230)
"""Pixels of the chart."""
PALE = 0.3
"""Opacity of what is not proved, or of other hyperparameters than those shown."""
_GAP = np.nan
_ARROW = np.array([[-8.5, 8.5, _GAP, 3.4, 8.5, 3.4, _GAP], [0, 0, _GAP, 3.4, 0, -3.4, _GAP]])
"""The corners of an arrow: pixels along it, and to its left."""
_FONT = "STIX Two Text, Times, serif"
_DASHES = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dotdash"}
_LINES: dict[str, tuple[str, float, str]] = {
    "levels": (COLOURS["levels"], 1.0, "solid"),
    "first": (COLOURS["first nullcline"], 2.0, "dashed"),
    "second": (COLOURS["second nullcline"], 2.0, "dotted"),
    "stable": (COLOURS["stable curve"], 2.0, "solid"),
    "unstable": (COLOURS["unstable curve"], 1.5, "dashed"),
}
"""Colour, width and dashes of the lines under orbits and marks."""
_IMAGE = ("image", "alpha", "x", "y", "dw", "dh")


class Portrait:
    """The portrait: layers, orbits and marks, the basins lowest and the fixed points on top."""

    def __init__(self, state: State) -> None:
        self.plot = _figure("portrait", SIDE, SIDE, state.box)
        self.plot.add_tools(wheel := WheelZoomTool())
        self.plot.toolbar.active_scroll = wheel
        self._regions = _image(self.plot, "basins")
        self._lines = {}
        for name, (colour, width, dash) in _LINES.items():
            source = _source(name, "xs", "ys")
            look: Any = {"line_color": colour, "line_width": width, "line_dash": dash}
            self._lines[name] = self.plot.multi_line("xs", "ys", source=source, **look)
        arrows = _source("arrows", "x", "y")
        self._arrows = self.plot.line("x", "y", source=arrows, line_width=1.1)
        self._add_orbits()
        self._add_marks()

    def _add_orbits(self) -> None:
        blue = COLOURS["orbits"]
        self._paths = _source("orbits", "x", "y")
        self._starts, self._ends = _source("starts", "x", "y"), _source("ends", "x", "y")
        self.plot.line("x", "y", source=self._paths, line_color=blue, line_width=1.2)
        self.plot.scatter("x", "y", source=self._paths, size=3, color=blue, line_color=None)
        ring: Any = {"size": 7, "fill_color": "white", "line_color": blue}
        self.plot.scatter("x", "y", source=self._ends, **ring)
        dot: Any = {"size": 11, "fill_color": blue, "line_color": "white", "line_width": 1.5}
        self.plot.scatter("x", "y", source=self._starts, **dot)

    def _add_marks(self) -> None:
        self._curves = _source("continua", "xs", "ys", "dash")
        look: Any = {"line_color": COLOURS["fixed points"], "line_width": 3.0, "line_dash": "dash"}
        self.plot.multi_line("xs", "ys", source=self._curves, **look)
        self._arms = _source("arms", "xs", "ys", "colour", "alpha")
        look = {"line_color": "colour", "line_alpha": "alpha", "line_cap": "round"}
        self.plot.multi_line("xs", "ys", source=self._arms, line_width=3.0, **look)
        self._cycles = _source("attractors", "x", "y")
        look = {"size": 5, "fill_color": "black", "line_color": "white"}
        self.plot.scatter("x", "y", source=self._cycles, **look)
        self._points: tuple[Points | None, bool, bool] | None = None
        self._marks = _source("marks", *glyphs.COLUMNS)
        look = {"marker": {"field": "marker"}, "size": "size", "fill_color": "face"}
        look |= {"line_color": "edge", "line_width": "width"}
        look |= {"fill_alpha": "alpha", "line_alpha": "alpha", "defs": glyphs.definitions()}
        self.plot.add_glyph(self._marks, Scatter(x="x", y="y", **look))

    def set_frame(self, state: State) -> None:
        """Set the limits to the box, and name the axes by the loss's variables."""
        (left, right), (bottom, top) = state.box
        self.plot.x_range.update(start=left, end=right)
        self.plot.y_range.update(start=bottom, end=top)
        self.plot.xaxis.axis_label, self.plot.yaxis.axis_label = names_of_weights(state)

    def show_arrows(self, arrows: Arrows, state: State) -> None:
        """Draw arrows of one length on the screen, whatever the sides of the box are.

        All are one line with gaps: a browser draws that ten times as fast as so many marks.
        """
        if "motion" not in state.layers:
            self._arrows.data_source.data = _empty("x", "y")
            return
        over = "basins" in state.layers
        self._arrows.glyph.line_color = OVER_BASINS if over else COLOURS["motion"]
        pixel = np.ptp(np.array(state.box), axis=1) / SIDE
        ahead = np.stack([arrows.dx, arrows.dy]) / pixel[:, None]
        ahead = ahead / np.linalg.norm(ahead, axis=0)
        aside = np.stack([-ahead[1], ahead[0]])
        steps = ahead[..., None] * _ARROW[0] + aside[..., None] * _ARROW[1]
        x, y = (
            (middle[:, None] + size * step).ravel()
            for middle, size, step in zip((arrows.x, arrows.y), pixel, steps, strict=True)
        )
        self._arrows.data_source.data = {"x": x, "y": y}

    def show_lines(self, name: str, lines: list[np.ndarray], *, stale: bool = False) -> None:
        """Draw the curves of a layer, each of shape (points, 2)."""
        self._lines[name].data_source.data = _columns(lines)
        self._lines[name].glyph.line_alpha = PALE if stale else 1.0

    def show_orbits(self, paths: list[np.ndarray], starts: Any) -> None:
        """Draw orbits, with a large dot at each start and a ring at each end."""
        gap = np.full((1, 2), np.nan)
        joined = np.concatenate([gap, *(part for path in paths for part in (path, gap))])
        ends = [path[np.isfinite(path).all(axis=1)][-1] for path in paths]
        for source, points in ((self._paths, joined), (self._starts, starts), (self._ends, ends)):
            array = np.array(points, dtype=float).reshape(-1, 2)
            source.data = {"x": array[:, 0], "y": array[:, 1]}

    def show_points(self, found: Points | None, *, directions: bool, stale: bool) -> None:
        """Draw fixed points and their eigen-directions; what is not proved is pale."""
        before, self._points = self._points, (found, directions, stale)
        if before is not None and before[0] is found and before[1:] == self._points[1:]:
            return  # each move of a slider says again that they are of other values
        if found is None:
            self._marks.data = _empty(*glyphs.COLUMNS)
            self._curves.data = _empty("xs", "ys", "dash")
            self._arms.data = _empty("xs", "ys", "colour", "alpha")
            return
        alpha = PALE if stale else np.where(found.proved, 1.0, PALE)
        self._marks.data = glyphs.columns(found.w, found.kinds, found.critical, alpha)
        dash = ["solid" if kind is Kind.attracting else "dashed" for _, kind in found.lines]
        self._curves.data = {**_columns([line for line, _ in found.lines]), "dash": dash}
        arms = found.arms if directions else []
        colour = [COLOURS["stable" if stable else "unstable"] for _, stable in arms]
        opacity = [PALE if stale else 1.0] * len(arms)
        shown = _columns([ends for ends, _ in arms])
        self._arms.data = {**shown, "colour": colour, "alpha": opacity}

    def show_regions(self, found: Regions | None, box: Any, *, stale: bool) -> None:
        """Draw basins over the box that they are of, and the points of cycles."""
        if found is None:
            self._regions.data, self._cycles.data = _empty(*_IMAGE), _empty("x", "y")
            return
        self._regions.data = _image_columns(found.image, box, PALE if stale else 1.0)
        points = found.attractors[:0] if stale else found.attractors
        self._cycles.data = {"x": points[:, 0], "y": points[:, 1]}


class ChartPanel:
    """The chart of rho and lr, with theory's curves, and a cross where the sliders are."""

    def __init__(self) -> None:
        self.plot = _figure("chart", *CHART, ((0.0, 1.0), (0.0, 1.0)))
        self._image = _image(self.plot, "cells")
        self._curves = _source("boundaries", "xs", "ys", "colour", "dash")
        look: Any = {"line_color": "colour", "line_dash": "dash", "line_width": 1.6}
        self.plot.multi_line("xs", "ys", source=self._curves, **look)
        hair: Any = {"line_color": style.BLACK, "line_width": 0.8, "line_alpha": 0.6}
        self._hairs = Span(dimension="height", **hair), Span(dimension="width", **hair)
        for each in self._hairs:
            self.plot.add_layout(each)
        self._cross = _source("cross", "x", "y", "colour")
        ring: Any = {"fill_color": "colour", "line_color": style.BLACK, "line_width": 2}
        self.plot.scatter("x", "y", source=self._cross, size=15, **ring)
        self.plot.xaxis.axis_label, self.plot.yaxis.axis_label = "ρ", "η"

    def show(self, found: ChartPicture | None, *, stale: bool) -> dict[str, tuple[str, str]]:
        """Draw a chart, and return dashes and colour of each group of curves."""
        if found is None:
            self._image.data = _empty(*_IMAGE)
            self._curves.data = _empty("xs", "ys", "colour", "dash")
            return {}
        self._image.data = _image_columns(found.image, found.box, PALE if stale else 1.0)
        if not stale:
            (left, right), (bottom, top) = found.box
            self.plot.x_range.update(start=left, end=right)
            self.plot.y_range.update(start=bottom, end=top)
        looks: dict[str, tuple[str, str]] = {}
        for group, _, _ in found.boundaries:
            looks.setdefault(group, LINES[len(looks) % len(LINES)])
        groups = [group for group, _, _ in found.boundaries]
        self._curves.data = {
            **_columns([np.stack([x, y], axis=1) for _, x, y in found.boundaries]),
            "colour": [looks[group][1] for group in groups],
            "dash": [_DASHES[looks[group][0]] for group in groups],
        }
        return looks

    def show_cross(self, rho: float, lr: float, colour: str | None) -> None:
        """Put the cross; its middle has the colour of what the point is there. None: no cross."""
        seen = colour is not None
        self._cross.data = {"x": [rho] * seen, "y": [lr] * seen, "colour": [colour] * seen}
        for hair, place in zip(self._hairs, (rho, lr), strict=True):
            hair.update(location=place, visible=seen)


def _empty(*names: str) -> dict[str, Any]:
    return {name: [] for name in names}


def _source(name: str, *columns: str) -> ColumnDataSource:
    return ColumnDataSource(data=_empty(*columns), name=name)


def _columns(lines: list[np.ndarray]) -> dict[str, Any]:
    return {"xs": [line[:, 0] for line in lines], "ys": [line[:, 1] for line in lines]}


def _image(plot: Any, name: str) -> ColumnDataSource:
    source = _source(name, *_IMAGE)
    where: Any = {column: column for column in _IMAGE if column != "alpha"}
    plot.image_rgba(source=source, global_alpha="alpha", **where)
    return source


def _image_columns(image: np.ndarray, box: Any, alpha: float) -> dict[str, Any]:
    (left, right), (bottom, top) = box
    packed = np.ascontiguousarray(image).view(np.uint32).reshape(image.shape[:2])
    where = {"x": [left], "y": [bottom], "dw": [right - left], "dh": [top - bottom]}
    return {"image": [packed], "alpha": [alpha], **where}


def _figure(name: str, width: int, height: int, box: Box) -> Any:
    x, y = (Range1d(start=low, end=high) for low, high in box)
    plot = figure(
        frame_width=width,
        frame_height=height,
        x_range=x,
        y_range=y,
        tools="",
        toolbar_location=None,
        name=name,
        background_fill_color="white",
        border_fill_color=None,
        outline_line_color="#8A8F94",
        stylesheets=[":host(:focus) { outline: none; }"],
    )
    plot.grid.visible = False
    plot.axis.axis_label_text_font_style = "italic"
    plot.axis.axis_label_text_font = plot.axis.major_label_text_font = _FONT
    plot.axis.axis_label_text_font_size = "15px"
    plot.axis.major_label_text_font_size = "12px"
    plot.axis.major_tick_in, plot.axis.major_tick_out = 5, 0
    plot.axis.minor_tick_line_color = None
    plot.axis.axis_line_color = plot.axis.major_tick_line_color = "#5D646A"
    return plot
