"""Hallucinated fixed points of SAM, each with the critical point at which its ascent ends."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

import samflow as sf
from samflow import plots
from samflow._types import Box
from samflow.equilibria import FixedPoints
from samflow.plots.layers import draw_frame, draw_motion
from samflow.plots.marks import draw_mark
from samflow.plots.style import (
    BLACK,
    DOUBLE_COLUMN,
    GREEN,
    PURPLE,
    SKY,
    VERMILION,
    panel_letter,
)

NAME = "hallucinated"
STUDIES = ("hallucinated",)
ALT = (
    "Three planes with marked points, circles and arrows from the points to their targets; a "
    "fourth panel with counts of points over ρ, flat at 12, rising and falling to 0."
)


def caption(record: Any) -> str:
    """Say what the panels show, with the radii of the search that (d) draws."""
    return (
        "Hallucinated fixed points of SAM: fixed points of the flow at which the gradient does not "
        "vanish (arXiv 2509.21818). Each is a critical point of the loss on the sphere of radius ρ "
        "around a critical point, its target (arrow), and the gradient points to the target. In "
        "each panel all hallucinated points are proved; orbits are those of the map with "
        "η = 10⁻⁴. (a) ½x² − ½y² + ¼y⁴: for 1 < ρ < 2 each minimum (circles of radius ρ) is the "
        "target of an attracting point beyond the saddle, (0, ±(ρ − 1)). (b) Himmelblau's "
        "function: three of 14 attract; their targets are a saddle and two minima. (c) Part of the "
        "six-hump camel: 12 of its 26 points, of which four attract. (d) The number of each kind "
        f"on Himmelblau's function, proved at {len(record.radii)} radii. For small ρ it is twice "
        "the number of negative eigenvalues, 2(4·1 + 1·2) = 12, and none attracts. Some attract "
        f"from ρ = {FIRST_ATTRACTING} on, where the sphere around the maximum reaches a saddle. "
        f"There are none above ρ = {LAST}, the largest distance between two critical points."
    )


LR = 1e-4


class Panel(NamedTuple):
    """A loss of the zoo, the radius, what is seen of the plane, and where orbits start."""

    loss: str
    title: str
    rho: float
    box: Box
    starts: tuple[tuple[float, float], ...]
    circles: tuple[tuple[float, float], ...] = ()


PANELS = (
    Panel(
        "quartic",
        "quartic",
        1.5,
        ((-2.2, 2.2), (-2.0, 2.0)),
        ((1.9, 0.25), (-1.9, -0.35), (1.2, 1.75), (-1.2, -1.75)),
        ((0.0, 1.0), (0.0, -1.0)),
    ),
    Panel(
        "himmelblau",
        "Himmelblau",
        2.5,
        ((-5.2, 5.2), (-4.8, 4.6)),
        ((4.6, 0.6), (4.6, -0.2), (-1.4, 1.6), (1.2, 1.2)),
    ),
    Panel(
        "six_hump_camel",
        "six-hump camel",
        0.5,
        ((0.35, 2.35), (-1.0, 0.85)),
        ((2.2, 0.3), (0.9, -0.5), (2.2, 0.0), (1.2, 0.45)),
    ),
)

FIRST_ATTRACTING, LAST = 1.0405, 8.595


def system(panel: Panel) -> sf.Flow:
    """Return the flow that a panel shows."""
    return sf.Flow(sf.losses.ZOO[panel.loss](), sf.SAM(rho=panel.rho))


def draw(record: Any) -> Figure:
    """Draw the three portraits, and the number of points against the radius."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 6.6)
        grid = figure.subplots(2, 2)
        for ax, panel in zip(grid.flat, PANELS, strict=False):
            _draw_panel(ax, panel)
        _draw_counts(grid[1, 1], record)
        for ax, letter in zip(grid.flat, "abcd", strict=True):
            panel_letter(ax, letter)
        plots.legend_below(figure, grid.flat[:3], columns=5)
    return figure


def _draw_panel(ax: Axes, panel: Panel) -> None:
    flow = system(panel)
    field = plots.sample_field(flow, panel.box, resolution=240)
    found = sf.find_fixed_points(flow, panel.box)
    draw_frame(ax, flow, panel.box)
    ax.set(aspect="equal")
    plots.draw_levels(ax, field, flow, found, 10)
    draw_motion(ax, field)
    steps = sf.Map(flow.loss, flow.rule, lr=LR)
    orbits = sf.iterate(steps, np.array(panel.starts), num_steps=200_000, keep_every=50)
    plots.draw_orbits(ax, orbits)
    look: dict[str, Any] = {"fill": False, "color": VERMILION, "linestyle": "--", "zorder": 3}
    for centre in panel.circles:
        ax.add_patch(Circle(centre, panel.rho, linewidth=0.9, **look))
        style: dict[str, Any] = {"color": VERMILION, "linestyle": "--", "linewidth": 0.9}
        ax.plot([], [], label=r"radius $\rho$ about a target", zorder=3, **style)
    _draw_points(ax, found)
    ax.set_title(rf"{panel.title}, $\rho={panel.rho:g}$")


def _draw_points(ax: Axes, found: FixedPoints) -> None:
    """Draw critical points by their kind for the loss, and the others with their targets."""
    assert found.certificate is not None
    arrow: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 6, "linewidth": 0.8}
    arrow |= {"color": PURPLE, "shrinkA": 1.5, "shrinkB": 2.5}
    kinds = {0: sf.Kind.attracting, 2: sf.Kind.repelling}
    for point in found.certificate.points:
        if point.origin == "critical":
            assert point.index is not None
            _draw_critical(ax, point.midpoint, kinds.get(point.index, sf.Kind.saddle))
            continue
        target = np.mean(point.ascent, axis=1)
        x, y = point.midpoint
        ax.annotate("", target, (x, y), arrowprops=arrow, zorder=5, annotation_clip=False)
        assert point.kind is not None
        draw_mark(ax, point.midpoint, point.kind, colour=PURPLE, hallucinated=True, size=5.0)


NAMES = {"attracting": "minimum", "saddle": "saddle", "repelling": "maximum"}


def _draw_critical(ax: Axes, w: Any, kind: sf.Kind) -> None:
    before = len(ax.lines)
    draw_mark(ax, w, kind, colour=BLACK, hallucinated=False, size=4.0)
    for line in ax.lines[before:]:
        line.set_label(f"{NAMES[str(kind)]} of the loss")


def _draw_counts(ax: Axes, record: Any) -> None:
    radii = np.array(record.radii)
    looks = {"attracting": PURPLE, "saddle": SKY, "repelling": GREEN}
    below = np.zeros(len(radii))
    for kind, colour in looks.items():
        number = np.array([found.kinds[kind] for found in record.counts], dtype=float)
        ax.bar(radii, number, radii[1] - radii[0], bottom=below, color=colour, label=kind)
        below += number
    ax.set(xlim=(0, radii[-1]), xlabel=r"radius $\rho$", xticks=range(10))
    ax.set(ylim=(0, 22), ylabel="number of points", yticks=range(0, 21, 4))
    ax.set_title("Himmelblau")
    ax.legend(loc="upper left", reverse=True)
