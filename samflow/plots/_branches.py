"""Figure of branches of fixed points and cycles along a parameter, over orbits if there are any."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import _checks
from samflow._status import Kind
from samflow.attractors import Bifurcation, Branch
from samflow.plots import style

_MARKS: dict[Bifurcation, tuple[str, str]] = {
    Bifurcation.fold: ("o", style.BLUE),
    Bifurcation.transcritical: ("X", style.GREEN),
    Bifurcation.pitchfork: ("^", style.GREEN),
    Bifurcation.branch_point: ("X", style.GREY),
    Bifurcation.flip: ("s", style.VERMILION),
    Bifurcation.neimark_sacker: ("D", style.PURPLE),
    Bifurcation.hopf: ("D", style.PURPLE),
    Bifurcation.border_collision: ("v", style.ORANGE),
}


def branches(
    found: Sequence[Branch],
    *,
    observable: int | Callable[[Any], Any] = 0,
    orbits: tuple[Any, Any] | None = None,
    xlabel: str = "",
    ylabel: str = "",
) -> Figure:
    """Draw branches: solid where they attract, dashed elsewhere, with their bifurcations.

    Args:
        found: branches in one parameter.
        observable: which entry of a state is drawn, or a function from states (N, state) to
            numbers (N,).
        orbits: parameter and observable of many points of orbits, drawn as dots behind.
        xlabel: of the parameter; by default its name.
        ylabel: of the observable.

    """
    if not found:
        raise _checks.ArgumentError("Argument `found` must hold at least one branch.")
    height = observable if callable(observable) else lambda states: states[..., observable]
    with style.styled():
        figure = style.new_figure(style.COLUMN, 2.7)
        ax = figure.subplots()
        if orbits is not None:
            ax.plot(
                *orbits,
                ".",
                color=style.GREY,
                markersize=1.0,
                markeredgewidth=0,
                rasterized=True,
                zorder=1,
            )
            ax.plot([], [], ".", color=style.GREY, markersize=3, label="orbits of the map")
        for branch in found:
            _draw_branch(ax, branch, height)
        for branch in found:
            _draw_special(ax, branch, height)
        ax.set_xlabel(xlabel or found[0].name)
        ax.set_ylabel(ylabel)
        style.legend_below(figure, [ax], columns=3)
    return figure


def _draw_branch(ax: Axes, branch: Branch, height: Callable[[Any], Any]) -> None:
    """Draw every point of the cycles as a line of its own, by stretches of one stability."""
    stable = np.array([kind is Kind.attracting for kind in branch.kinds])
    # A stretch reaches to both points beside it, so that nothing is left out between.
    others = ~stable | np.roll(~stable, 1) | np.roll(~stable, -1)
    for chosen, line, label in ((stable, "-", "attracting"), (others, "--", "not attracting")):
        if (chosen & (stable == (line == "-"))).any():
            for phase in range(branch.period):
                values = np.where(chosen, np.asarray(height(branch.cycles[:, phase])), np.nan)
                ax.plot(
                    branch.parameter,
                    values,
                    line,
                    color=style.BLACK,
                    linewidth=0.9,
                    zorder=3,
                    label=label,
                )


def _draw_special(ax: Axes, branch: Branch, height: Callable[[Any], Any]) -> None:
    for point in branch.special:
        marker, colour = _MARKS[point.kind]
        ax.plot(
            point.parameter,
            float(np.asarray(height(np.asarray(point.state)[None]))[0]),
            marker,
            color=colour,
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            linestyle="none",
            zorder=5,
            label=str(point.kind),
        )
