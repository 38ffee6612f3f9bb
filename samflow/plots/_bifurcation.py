"""Figure of branches of fixed points and cycles along a parameter, over orbits if there are any."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import _checks
from samflow._status import Kind
from samflow.attractors import Bifurcation, BifurcationDiagram, Branch, OrbitDiagram
from samflow.attractors._bifurcation_diagram import parts
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
_SYMBOLS = {"rho": r"$\rho$", "lr": r"$\eta$", "momentum": r"$\beta$"}


def bifurcation(
    found: BifurcationDiagram | Branch | Sequence[Branch],
    *,
    observable: int | Callable[[Any], Any] = 0,
    orbits: OrbitDiagram | None = None,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    size: tuple[float, float] | None = None,
    legend: str = "below",
    ax: Axes | None = None,
) -> Figure:
    """Draw branches: solid where they attract, dashed elsewhere, with their bifurcations.

    Args:
        found: a diagram; or branches in one parameter, may be none if `orbits` are given.
        observable: which entry of a state is drawn, or a function from states (N, state) to
            numbers (N,).
        orbits: where orbits of the map end, along the same parameter, as dots behind.
        xlabel: of the parameter; by default its name.
        ylabel: of the observable; by default the number of the entry.
        title: over the picture.
        size: width and height in inches; one column by default.
        legend: "below", "right" or "none"; on given axes none is drawn.
        ax: where to draw; on a new figure when not given.

    Raises:
        ArgumentError: for nothing to draw, or records along different parameters.

    """
    branches, own = parts(found)
    orbits = own if orbits is None else orbits
    for branch in branches:
        _checks.instance("found", branch, Branch, "Give what `sf.continue_branch` returns.")
    if orbits is not None:
        _checks.instance("orbits", orbits, OrbitDiagram, "Give what `orbit_diagram` returns.")
    names = {each.name for each in (*branches, *([orbits] if orbits is not None else []))}
    if len(names) != 1:
        raise _checks.ArgumentError(
            "Argument `found` must hold at least one branch, or `orbits` be given."
            if not names
            else f"Arguments `found` and `orbits` must be along one parameter, but are along "
            f"{', '.join(sorted(names))}."
        )
    legend = _checks.known("legend", legend, style.LEGENDS)
    height = observable if callable(observable) else lambda states: states[..., observable]
    entry = -1 if callable(observable) else observable
    named = f"$w_{entry + 1}$" if entry >= 0 else ""
    (parameter,) = names
    with style.styled():
        figure = style.sized_figure(size, (style.column(), 2.7)) if ax is None else None
        panel = ax if figure is None else figure.add_subplot()
        assert panel is not None
        if orbits is not None:
            _draw_orbits(panel, orbits, height)
        for branch in branches:
            _draw_branch(panel, branch, height)
        for branch in branches:
            _draw_special(panel, branch, height)
        panel.set_xlabel(xlabel or _SYMBOLS.get(parameter, parameter))
        panel.set_ylabel(ylabel or named)
        panel.set_title(title)
        if figure is not None:
            style.place_legend(figure, [panel], legend, columns=3)
    made = figure or panel.get_figure(root=True)
    assert isinstance(made, Figure)
    return made


def _draw_orbits(ax: Axes, orbits: OrbitDiagram, height: Callable[[Any], Any]) -> None:
    where, states = orbits.points()
    look: Any = {"color": style.GREY, "linestyle": "none", "marker": "."}
    ax.plot(
        where,
        np.asarray(height(states)),
        markersize=1.5,
        markeredgewidth=0,
        rasterized=True,
        zorder=1,
        gid="orbits",
        **look,
    )
    ax.plot([], [], markersize=3, label="orbits of the map", **look)


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
