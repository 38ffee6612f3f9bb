"""Basins in colour: a colour for each attractor, alone or under a portrait."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure

from samflow import _checks
from samflow._status import Kind
from samflow.attractors import Attractor, Basins, Ending, Manifolds, StoredBasins
from samflow.plots import style
from samflow.plots._manifolds import draw_manifolds, listed
from samflow.plots.colours import Palette, palette

_HATCHES = ("", "\\\\\\\\\\\\", "||||||")
"""Once through the colours, they come again with lines over them."""
_ENDINGS = {
    Ending.diverged: "",
    Ending.unresolved: "//////",
    Ending.not_finite: "......",
    Ending.undefined: "xxxxxx",
    Ending.missing: "++++++",
    Ending.outside: "------",
    Ending.solver_out_of_steps: "oooooo",
}
"""Starts without an attractor are white; lines and dots tell why."""
_PIXELS = 1600
"""Cells of a stored grid along each axis that are drawn, at least: more than a page shows."""
_FEW = 64
"""Points of an attractor up to which each is a dot to be seen alone."""
_NEAR = 0.05
"""Attractors of several systems count as one where their centres are this near, as a part of the
box."""

_ZERO = 1e-6
"""A coordinate smaller than this part of the box is printed as 0."""


class Region(NamedTuple):
    """How all starts that end alike are drawn, and what the legend says."""

    colour: Any
    hatch: str
    name: str


def basins(
    found: Basins | StoredBasins,
    *,
    separatrices: Manifolds | Sequence[Manifolds] = (),
    colours: Palette | None = None,
    title: str = "",
    size: tuple[float, float] | None = None,
    legend: str = "below",
    ax: Axes | None = None,
) -> Figure:
    """Draw basins over two weights, and the attractors as dots; of more weights their projections.

    Args:
        found: of `sf.basins` on a grid over two weights, of which others may be held. Of a stored
            one a cell of each pixel is read; what is not computed yet is "missing".
        separatrices: invariant curves, of which the stable arms are drawn.
        colours: in the place of the default ones, as `{"basins": ["white", "0.8"]}`.
        title: over the picture.
        size: width and height in inches; one column by default.
        legend: "below", "right" or "none"; on given axes none is drawn.
        ax: where to draw; on a new figure when not given.

    Raises:
        ArgumentError: for basins that are not on a grid of two weights.

    """
    found, missing = loaded(found)
    curves = listed(separatrices, "separatrices")
    chosen = palette(colours)
    legend = _checks.known("legend", legend, style.LEGENDS)
    with style.styled():
        figure = style.sized_figure(size, (style.column(), 3.6)) if ax is None else None
        panel = ax if figure is None else figure.add_subplot()
        assert panel is not None
        names = {label: _printed(name) for label, name in found.names().items()}
        names |= {Ending.missing: missing} if Ending.missing in names and missing else {}
        draw_basins(panel, found, regions(names, list(names), chosen))
        across, up = plane_of(found)
        off = " (projected)" if len(found.box) > 2 else ""
        for attractor in found.attractors:
            points = _points(attractor, [across, up])
            panel.plot(
                *points.T,
                linestyle="none",
                marker=".",
                color=style.BLACK,
                markersize=3 if len(points) <= _FEW else 1,
                zorder=6,
                label=f"attractors{off}",
                gid="attractor",
            )
        draw_manifolds(panel, curves, chosen, unstable=False)
        panel.set_title(title)
        if figure is not None:
            panel.set(xlim=found.box[across], ylim=found.box[up])
            panel.set(xlabel=f"$w_{across + 1}$", ylabel=f"$w_{up + 1}$")
            style.place_legend(figure, [panel], legend, columns=2)
    made = figure or panel.get_figure(root=True)
    assert isinstance(made, Figure)
    return made


def loaded(found: Any, name: str = "found") -> tuple[Basins, str]:
    """Return a record on a grid of two weights in memory, and what is said of missing cells.

    Of a stored record a cell of each pixel is read.
    """
    missing = ""
    if isinstance(found, StoredBasins):
        missing = f"missing ({len(found.missing)} of {found.chunks.layout.count} chunks)"
        found = found.load(every=max(1, max(found.shape) // _PIXELS))
    _checks.instance(name, found, Basins, "Give what `sf.basins` returns.")
    if not found.shape or len(plane_of(found)) != 2:
        raise _checks.ArgumentError(
            f"Argument `{name}` must be on a grid of two weights, but its grid is "
            f"{found.shape or 'a sample'}."
        )
    return found, missing


def plane_of(found: Basins) -> list[int]:
    """Return the numbers of the weights that vary; the others are held."""
    return [i for i, (low, high) in enumerate(found.box) if low < high]


def regions(
    names: dict[int, str], order: Sequence[int], chosen: Palette, *, first: int = 0
) -> dict[int, Region]:
    """Return how each label is drawn: attractors by their place in `order`, from `first` on."""
    colours = chosen["basins"]
    made = {}
    for label, name in names.items():
        if label < 0:
            made[label] = Region("white", _ENDINGS[Ending(label)], name)
            continue
        number = first + order.index(label)
        lines = _HATCHES[number // len(colours) % len(_HATCHES)]
        made[label] = Region(colours[number % len(colours)], lines, name)
    return made


def draw_basins(ax: Axes, found: Basins, look: dict[int, Region]) -> None:
    """Draw each point of the grid in the colour of its label."""
    codes = np.zeros(found.grid.shape, int)
    sides = [found.box[i] for i in plane_of(found)]
    (left, right), (bottom, top) = sides
    present = [label for label in look if label in found.names()]
    for k, label in enumerate(present):
        codes[found.grid == label] = k
    ax.imshow(
        codes.T,
        origin="lower",
        extent=(left, right, bottom, top),
        cmap=ListedColormap([to_rgb(look[label].colour) for label in present]),
        vmin=-0.5,
        vmax=len(present) - 0.5,
        interpolation="nearest",
        aspect="auto",
        zorder=0,
        gid="basins",
    )
    x, y = (
        low + (high - low) * (np.arange(n) + 0.5) / n
        for (low, high), n in zip(sides, codes.shape, strict=True)
    )
    for label in present:
        region = look[label]
        here = (found.grid == label).T
        if region.hatch and here.any() and min(codes.shape) > 1:
            hatched: Any = {"colors": "none", "hatches": [region.hatch], "zorder": 0.1}
            drawn = ax.contourf(x, y, here.astype(float), levels=[0.5, 1.5], **hatched)
            drawn.set_edgecolor(style.PALE)
            drawn.set_linewidth(0)
        ax.fill(
            [],
            [],
            facecolor=region.colour,
            edgecolor=style.GREY,
            linewidth=0.4,
            hatch=region.hatch,
            label=region.name,
            zorder=0.2 if label >= 0 else 0.3,
        )


def draw_attractors(ax: Axes, found: Basins, colour: Any) -> None:
    """Draw the points of cycles and of strange attractors, as far as they lie in the box."""
    low, high = np.array(found.box).T
    for attractor in found.attractors:
        points = _points(attractor)
        seen = points[((points >= low) & (points <= high)).all(axis=1)]
        if not len(seen):
            continue
        look: Any = {"linestyle": "none", "color": colour, "zorder": 6.9}
        if attractor.period > 1:
            look |= {"marker": "o", "markersize": 3.2, "markeredgecolor": "white"}
            name = "points of an attracting cycle"
            ax.plot(*seen.T, markeredgewidth=0.5, label=name, gid="cycle", **look)
        elif attractor.is_many and attractor.kind is not Kind.continuum:  # with the fixed points
            name = "limit cycle" if attractor.is_limit_cycle else f"{attractor.kind} attractor"
            ax.plot(*seen.T, marker=".", markersize=1.0, markeredgewidth=0, gid="strange", **look)
            ax.plot([], [], marker=".", markersize=3.0, label=name, **look)


def shared_regions(records: Sequence[Basins], chosen: Palette) -> list[dict[int, Region]]:
    """Return for each record how its labels are drawn: one colour for attractors at one place.

    Attractors of two systems are at one place if their centres are nearer than a twentieth of the
    box in both weights; those of one system never are. They may be of different kinds, as a minimum
    and the cycle of SAM about it.
    """
    groups: list[list[Attractor]] = []
    where: list[dict[int, int]] = []
    for found in records:
        near = _NEAR * np.ptp(np.array(found.box), axis=1)
        place = {}
        for label, attractor in enumerate(found.attractors):
            centre = _centre(attractor)
            gaps = [np.abs(_centre(group[0]) - centre) / near for group in groups]
            free = [i for i in range(len(groups)) if i not in place.values()]
            chosen_group = next((i for i in free if (gaps[i] < 1).all()), len(groups))
            if chosen_group == len(groups):
                groups.append([])
            groups[chosen_group].append(attractor)
            place[label] = chosen_group
        where.append(place)
    order = list(range(len(groups)))
    made = []
    for found, place in zip(records, where, strict=True):
        look: dict[int, Region] = {}
        for label, name in found.names().items():
            if label < 0:
                look |= regions({label: name}, order, chosen)
            else:
                extent = np.ptp(np.array(found.box), axis=1)
                shown = {place[label]: _group_name(groups[place[label]], extent)}
                look[label] = regions(shown, order, chosen)[place[label]]
        made.append(look)
    return made


def _group_name(group: Sequence[Attractor], extent: np.ndarray) -> str:
    """Return what a legend says of attractors at one place, in a box with sides `extent`."""
    point = next((one for one in group if one.period == 1), group[0])
    centre = _centre(point)
    centre = np.where(np.abs(centre) < _ZERO * extent, 0.0, centre)
    at = _printed(", ".join(f"{x:.3g}" for x in centre))
    periods = {one.period for one in group}
    if point.kind in (Kind.chaotic, Kind.quasiperiodic):
        return f"basin of {point.kind} attractor about ({at})"
    if point.kind is Kind.continuum:
        middle = _points(point)[len(point.points) // 2]
        through = _printed(", ".join(f"{x:.3g}" for x in middle))
        return f"basin of continuum through ({through})"
    if point.is_limit_cycle:
        return f"basin of limit cycle about ({at})"
    if len(periods) == 1 and group[0].kind is Kind.cycle:
        return f"basin of {group[0].period}-cycle about ({at})"
    return f"basin of {'or about ' if len(periods) > 1 else ''}({at})"


def _printed(text: str) -> str:
    """Return a text with minus signs before its numbers."""
    return re.sub(r"-(?=\d)", "\N{MINUS SIGN}", text)


def _points(attractor: Attractor, weights: Sequence[int] = (0, 1)) -> np.ndarray:
    return np.atleast_2d(np.asarray(attractor.points))[:, list(weights)]


def _centre(attractor: Attractor) -> np.ndarray:
    return _points(attractor).mean(axis=0)
