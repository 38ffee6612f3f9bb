"""Figure of basins: a colour for each attractor, under the attractors and separatrices."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from samflow import _checks
from samflow.attractors import Basins, Ending, Manifolds, StoredBasins
from samflow.plots import style

_COLOURS = ("#A6CEE3", "#FDD0A2", "#B2DF8A", "#CAB2D6", "#FFE699", "#F4B6C2", "#9FD5CE", "#D9C2A7")
_ENDINGS = {
    Ending.unresolved: style.GREY,
    Ending.diverged: "#FFFFFF",
    Ending.not_finite: "#EEEEEE",
    Ending.undefined: style.PALE,
    Ending.missing: style.BLACK,
    Ending.outside: "#F7F7F7",
}
_PIXELS = 1600
"""Cells of a stored grid along each axis that are drawn, at least: more than a page shows."""


def basins(
    found: Basins | StoredBasins,
    *,
    separatrices: tuple[Manifolds, ...] = (),
    ax: Axes | None = None,
) -> Figure:
    """Draw the basins of a system with two weights.

    Args:
        found: of `sf.basins` on a grid. Of a stored one a cell of each pixel is read; what is not
            computed yet is "missing".
        separatrices: invariant curves, of which the stable arms are drawn.
        ax: where to draw, as beneath a portrait; on a new figure with a legend when not given.

    Raises:
        ArgumentError: for basins that are not on a grid of two weights.

    """
    if len(found.shape) != 2:
        raise _checks.ArgumentError(
            f"Argument `found` must be on a grid of two weights, but its grid is "
            f"{found.shape or 'a sample'}."
        )
    if isinstance(found, StoredBasins):
        found = found.load(every=max(1, max(found.shape) // _PIXELS))
    with style.styled():
        figure = style.new_figure(style.COLUMN, 3.6) if ax is None else None
        panel = ax if figure is None else figure.add_subplot()
        assert panel is not None
        _draw_colours(panel, found)
        for i, attractor in enumerate(found.attractors):
            points = np.atleast_2d(np.asarray(attractor.points))[:, :2]
            panel.plot(
                *points.T,
                ".",
                color=style.BLACK,
                markersize=3,
                zorder=6,
                label="attractors" if i == 0 else None,
            )
        for number, curves in enumerate(separatrices):
            for arm in curves.stable:
                panel.plot(
                    *arm.points.T,
                    color=style.BLACK,
                    linewidth=0.8,
                    zorder=5,
                    label="stable curves of saddles" if number == 0 else None,
                )
        if figure is not None:
            (left, right), (bottom, top) = found.box
            panel.set(xlim=(left, right), ylim=(bottom, top), xlabel="$w_1$", ylabel="$w_2$")
            style.legend_below(figure, [panel], columns=2)
    made = figure or panel.get_figure(root=True)
    assert isinstance(made, Figure)
    return made


def _draw_colours(ax: Axes, found: Basins) -> None:
    names = found.names()
    colours, codes = [], np.zeros(found.shape, int)
    for k, (label, name) in enumerate(names.items()):
        colour: Any = _COLOURS[label % len(_COLOURS)] if label >= 0 else _ENDINGS[Ending(label)]
        codes[found.grid == label] = k
        colours.append(colour)
        ax.plot(
            [], [], "s", color=colour, markeredgecolor=style.GREY, markeredgewidth=0.4, label=name
        )
    (left, right), (bottom, top) = found.box
    ax.imshow(
        codes.T,
        origin="lower",
        extent=(left, right, bottom, top),
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(colours) - 0.5,
        interpolation="nearest",
        aspect="auto",
        zorder=0,
    )
