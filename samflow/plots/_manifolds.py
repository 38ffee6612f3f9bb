"""Invariant curves of saddles: stable ones solid, unstable ones dashed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import _checks
from samflow._status import Kind
from samflow.attractors import Manifolds
from samflow.plots import style
from samflow.plots.colours import Palette, palette
from samflow.plots.marks import draw_mark
from samflow.systems.angles import Angles, in_pieces

_STABLE = "stable curve of a saddle"
_UNSTABLE = "unstable curve of a saddle"


def manifolds(
    found: Manifolds | Sequence[Manifolds],
    *,
    colours: Palette | None = None,
    title: str = "",
    size: tuple[float, float] | None = None,
    legend: str = "below",
    ax: Axes | None = None,
) -> Figure:
    """Draw stable and unstable curves of saddles, which `sf.manifolds` returns.

    Args:
        found: one record or several.
        colours: in the place of the default ones, as `{"stable curve": "blue"}`.
        title: over the picture.
        size: width and height in inches; one column by default.
        legend: "below", "right" or "none"; on given axes none is drawn.
        ax: where to draw; on a new figure when not given.

    Raises:
        ArgumentError: for what is no such record, or none at all.

    """
    curves = listed(found, "found")
    if not curves:
        raise _checks.ArgumentError(
            "Argument `found` must hold at least one record of `sf.manifolds`."
        )
    chosen = palette(colours)
    legend = _checks.known("legend", legend, style.LEGENDS)
    with style.styled():
        figure = style.sized_figure(size, (style.column(), 3.3)) if ax is None else None
        panel = ax if figure is None else figure.add_subplot()
        assert panel is not None
        draw_manifolds(panel, curves, chosen)
        saddles = np.array([each.saddle for each in curves])
        draw_mark(
            panel, saddles, Kind.saddle, colour=chosen["fixed points"], hallucinated=False, size=5.0
        )
        panel.set_title(title)
        if figure is not None:
            panel.set(xlabel="$w_1$", ylabel="$w_2$")
            style.place_legend(figure, [panel], legend, columns=2)
    made = figure or panel.get_figure(root=True)
    assert isinstance(made, Figure)
    return made


def listed(found: Any, name: str) -> tuple[Manifolds, ...]:
    """Return one record or several as a tuple; refuse what is none."""
    given = (found,) if isinstance(found, Manifolds) else found
    if not isinstance(given, Sequence):
        _checks.instance(name, given, Manifolds, "Give what `sf.manifolds` returns, or a list.")
    for each in given:
        _checks.instance(name, each, Manifolds, "Give what `sf.manifolds` returns, or a list.")
    return tuple(given)


def draw_manifolds(
    ax: Axes,
    curves: Sequence[Manifolds],
    chosen: Palette,
    *,
    unstable: bool = True,
    resolved: float = np.inf,
    turns: Angles | None = None,
) -> None:
    """Draw the stable arms of all saddles, and the unstable ones unless told not to.

    Arms whose error is above `resolved` are left out, and the legend says so. Coordinates that are
    angles are brought into the ranges in `turns`.
    """
    looks: Any = (
        ("stable", _STABLE, {"linewidth": 1.2, "zorder": 4.5}),
        ("unstable", _UNSTABLE, {"linestyle": (0, (4, 1.6)), "linewidth": 0.8, "zorder": 4.6}),
    )
    left_out = False
    for name, label, look in looks if unstable else looks[:1]:
        colour = chosen[f"{name} curve"]
        for arm in (arm for found in curves for arm in getattr(found, name)):
            if arm.error <= resolved:  # NaN, too, is left out
                points = in_pieces(turns, arm.points)
                ax.plot(*points.T, color=colour, label=label, gid=label, **look)
            else:
                left_out = True
    if left_out:
        ax.plot([], [], linestyle="none", label="(curves not resolved: left out)", zorder=4.7)
