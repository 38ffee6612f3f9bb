"""Phase portraits of planar systems, one or several beside each other."""

from collections.abc import Collection, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import _checks
from samflow._text import is_formula, shown_name
from samflow._types import ArrayLike
from samflow.attractors import Basins, Manifolds, StoredBasins
from samflow.equilibria import FixedPoints
from samflow.plots import style
from samflow.plots._basins import shared_regions
from samflow.plots.colours import Palette
from samflow.plots.contents import draw_contents, gather, make_look
from samflow.systems import AbstractMap, AbstractSystem

_PANELS_A_ROW = 3


@_checks.untraced(None)
def portrait(
    system: AbstractSystem,
    box: Any,
    *,
    starts: ArrayLike | None = None,
    length: float | None = None,
    fixed_points: FixedPoints | None = None,
    basins: Basins | StoredBasins | bool = False,
    manifolds: Manifolds | Sequence[Manifolds] | bool = False,
    levels: int | Sequence[float] = 14,
    layers: Collection[str] | None = None,
    colours: Palette | None = None,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    legend: str = "below",
    ax: Axes | None = None,
) -> Figure:
    """Draw the phase portrait of a planar system.

    The field is drawn as streamlines for a flow. For a map it is drawn as arrows of equal
    length, which show the direction of one step and not its size; with momentum, of a step from
    velocity 0. Fixed points have a mark for each kind (`samflow.plots.MARKERS`): filled where
    nearby orbits are attracted or held, open where they are not, half filled for a saddle. Curves
    of fixed points are lines, solid where they attract across. A critical point of normalised SAM,
    where there is no Jacobian, gets its own mark and no eigen-directions. What is not finite is
    left blank.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> figure = portrait(sf.Flow(sf.losses.quartic(), sf.USAM(rho=1.25)), ((-2, 2), (-2, 2)))
    >>> paths = sf.plots.save(figure, "quartic.pdf")  # doctest: +SKIP

    Args:
        system: a map or a flow with two weights.
        box: a pair (low, high) for each weight.
        starts: points (2,) or (N, 2) from which orbits are drawn.
        length: length of the orbits: steps of a map (default 1000) or time of a flow (10).
        fixed_points: a record for this system; by default they are searched for in the box.
        basins: a record of `sf.basins`, drawn beneath; or True, to compute one of 120 × 120 starts.
        manifolds: records of `sf.manifolds`: stable curves, which separate basins, are solid,
            unstable ones dashed. Or True, to compute those of every saddle with a Jacobian in the
            box, with 20,000 points an arm at most. An arm whose error is above 1 % of the box, as
            where it folds without end, is left out, and the legend says so.
        levels: values of the loss at which to draw level sets. Or their number: they are then
            drawn at quantiles of the loss in the box, and through its saddles.
        layers: which of `samflow.plots.LAYERS` to draw. By default all; over basins no levels,
            nullclines and directions, and beside invariant curves no directions.
        colours: in the place of those of `samflow.plots.COLOURS`, as `{"orbits": "red"}`;
            `samflow.plots.GREYS` is a palette for black and white.
        title: by default the system's name and its hyperparameters.
        size: width and height in inches; one column of a journal by default.
        legend: "below" or "right" of the panel, or "none". It follows the size of the figure, and
            covers no data at any. On given axes none is drawn: call `samflow.plots.legend_below`
            once for all.
        ax: where to draw; on a new figure when not given.

    Returns:
        The figure, not bound to pyplot; `samflow.plots.save` writes it with its fonts embedded.

    Raises:
        ArgumentError: for a system that does not have two weights, a wrong or empty box, starts
            of a wrong shape or outside the loss's domain, records of another system, unknown
            layers or colours, invariant curves of a system with momentum, or (to find the fixed
            points) single precision.

    """
    legend = _checks.known("legend", legend, style.LEGENDS)
    look = make_look(layers, levels, colours, basins=bool(basins), manifolds=bool(manifolds))
    with style.styled():
        figure = style.sized_figure(size, (style.column(), 3.6)) if ax is None else None
        shown = gather(
            system,
            box,
            starts=starts,
            length=length,
            fixed_points=fixed_points,
            basins=basins,
            manifolds=manifolds,
        )
        panel = ax if figure is None else figure.add_subplot()
        assert panel is not None
        draw_contents(panel, shown, look)
        if figure is not None or title is not None:
            panel.set_title(name_of(system) if title is None else title)
        if figure is not None:
            style.place_legend(figure, [panel], legend, columns=2)
    made = figure or panel.get_figure(root=True)
    assert isinstance(made, Figure)
    return made


@_checks.untraced(None)
def portraits(
    systems: Sequence[AbstractSystem],
    box: Any,
    *,
    starts: ArrayLike | None = None,
    length: float | None = None,
    fixed_points: Sequence[FixedPoints] | None = None,
    basins: Sequence[Basins | StoredBasins] | bool = False,
    manifolds: Sequence[Manifolds | Sequence[Manifolds]] | bool = False,
    levels: int | Sequence[float] = 14,
    layers: Collection[str] | None = None,
    colours: Palette | None = None,
    titles: Sequence[str] | None = None,
    title: str = "",
    size: tuple[float, float] | None = None,
    legend: str = "below",
) -> Figure:
    """Draw the portraits of several systems beside each other, with one legend for all.

    All panels have the same box. An attractor has the colour of those that other systems have at
    the same place, such as a minimum, and the cycle of SAM about it.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> loss = sf.losses.quartic()
    >>> systems = [sf.Flow(loss, sf.GD()), sf.Flow(loss, sf.USAM(rho=1.25))]
    >>> figure = portraits(systems, ((-2, 2), (-2, 2)), titles=["GD", "USAM"])

    Args:
        systems: maps or flows with two weights.
        box: as for `portrait`, one for all.
        starts: of orbits, the same for each system.
        length: of the orbits.
        fixed_points: a record for each system.
        basins: a record for each system, or True to compute them.
        manifolds: a record or several for each system, or True to compute them.
        levels: as for `portrait`.
        layers: as for `portrait`.
        colours: as for `portrait`.
        titles: one for each system; by default its name and hyperparameters.
        title: over all of them.
        size: width and height in inches of the whole figure; two columns of a journal wide by
            default.
        legend: "below", "right" or "none".

    Raises:
        ArgumentError: for no system, lists of another length, and as `portrait`.

    """
    if not isinstance(systems, Sequence) or not systems:
        raise _checks.ArgumentError(
            "Argument `systems` must be a list of at least one system, but is "
            f"{_checks.excerpt(systems)}."
        )
    number = len(systems)
    given = {"fixed_points": fixed_points, "titles": titles}
    given |= {} if isinstance(basins, bool) else {"basins": basins}
    given |= {} if isinstance(manifolds, bool) else {"manifolds": manifolds}
    for name, value in given.items():
        if value is not None and (isinstance(value, str) or len(value) != number):
            raise _checks.ArgumentError(
                f"Argument `{name}` must have one entry for each of {number} systems, but has "
                f"{len(value)}."
            )
    legend = _checks.known("legend", legend, style.LEGENDS)
    look = make_look(layers, levels, colours, basins=bool(basins), manifolds=bool(manifolds))
    wide = min(number, _PANELS_A_ROW)
    high = -(-number // wide)
    default = (style.double_column() if wide > 1 else style.column(), 2.3 * high + 0.9)
    with style.styled():
        figure = style.sized_figure(size, default)
        shown = [
            gather(
                system,
                box,
                starts=starts,
                length=length,
                fixed_points=None if fixed_points is None else fixed_points[i],
                basins=basins if isinstance(basins, bool) else basins[i],
                manifolds=manifolds if isinstance(manifolds, bool) else manifolds[i],
            )
            for i, system in enumerate(systems)
        ]
        grid = figure.subplots(high, wide, sharex=True, sharey=True, squeeze=False)
        panels = list(grid.flat)
        for left_over in panels[number:]:
            left_over.remove()
        records = [each.basins for each in shown if each.basins is not None]
        regions = iter(shared_regions(records, look.colours))
        for i, (panel, each) in enumerate(zip(panels, shown, strict=False)):
            draw_contents(panel, each, look, None if each.basins is None else next(regions))
            panel.set_title(name_of(each.system) if titles is None else titles[i])
            panel.label_outer()
        if title:
            figure.suptitle(title, fontsize=style.RC["axes.titlesize"])
        style.place_legend(figure, panels[:number], legend, columns=4)
    return figure


def name_of(system: AbstractSystem) -> str:
    """Return a system's name in the symbols of the theory, as "USAM map, ρ = 0.05, η = 0.01"."""
    rule: Any = getattr(system, "rule", None)
    if rule is None:
        return system.describe()
    what = "map" if isinstance(system, AbstractMap) else "flow"
    gap = "\n" if is_formula(rule.name) else " "  # a formula is as long as a title
    parts = [f"{shown_name(rule.name)}{gap}{what}"]
    symbols = ((rule, "rho", r"\rho"), (system, "lr", r"\eta"), (system, "momentum", r"\beta"))
    for owner, name, symbol in symbols:
        value = getattr(owner, name, None)
        if value is not None:
            parts.append(f"${symbol}={float(value):g}$")
    return ", ".join(parts)
