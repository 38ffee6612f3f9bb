"""Figure of a diagnosis: the spectrum of a Hessian, with the thresholds of each rule."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import _checks
from samflow.plots import style

if TYPE_CHECKING:
    from samflow.networks.diagnosis import Diagnosis, RuleStability

_FLOOR = 1e-7
"""Least density drawn, as a part of the largest: below, the smoothing's tails are all there is."""
_COLOURS = {**style.RULE_COLOURS, "practical-sam": style.RULE_COLOURS["sam"]}
_NAMES = {"gd": "GD", "usam": "USAM", "sam": "SAM", "practical-sam": "SAM"}
_OTHERS = (style.GREEN, style.PURPLE, style.ORANGE, style.SKY)


def spectrum(found: "Diagnosis") -> Figure:
    """Draw the density of the Hessian's eigenvalues, its ends, and where rules lose stability.

    Solid lines: a rule's edge, the λ above which it leaves a minimum. A dashed line at −1/rho:
    USAM is attracted along eigenvectors of eigenvalues below it. Triangles: the eigenvalues found.

    Args:
        found: of `diagnose` with `Effort.density_probes` of at least 1.

    Raises:
        ArgumentError: for a diagnosis without a density.

    """
    if found.density is None:
        raise _checks.ArgumentError(
            "Argument `found` must have a spectral density to be drawn, but has none. Give "
            "`effort=Effort(density_probes=4)` to `diagnose`."
        )
    with style.styled():
        figure = style.new_figure(style.double_column(), 2.6)
        ax = figure.subplots()
        _draw_density(ax, found)
        _draw_thresholds(ax, found)
        ax.set_xlabel("eigenvalue $\\lambda$ of the Hessian")
        ax.set_ylabel("density")
        style.legend_below(figure, [ax], columns=3)
    return figure


def _draw_density(ax: Axes, found: "Diagnosis") -> None:
    density: Any = found.density
    grid, values = np.asarray(density.grid), np.asarray(density.density)
    floor = _FLOOR * values.max()
    seen = np.where(values > floor, values, floor)
    ax.fill_between(grid, floor, seen, color=style.PALE, linewidth=0)
    ax.plot(grid, seen, color=style.GREY, linewidth=0.8, label="density, smoothed", zorder=2)
    ax.set_yscale("log")
    ax.set_ylim(floor, 10 * values.max())
    ends = np.asarray(found.pairs.values)
    ax.plot(
        ends,
        np.full(len(ends), 4 * values.max()),
        linestyle="none",
        marker="v",
        markersize=4,
        markerfacecolor="none",
        markeredgewidth=0.7,
        color=style.BLACK,
        label=f"{len(ends)} extreme eigenvalues",
        zorder=3,
    )


def _draw_thresholds(ax: Axes, found: "Diagnosis") -> None:
    """Draw edges. An edge that is far from the spectrum is named in the legend only."""
    low, high = (float(end) for end in np.asarray(found.pairs.values)[[0, -1]])
    width = high - low or 1.0
    left, right = low - 0.08 * width, high + 0.35 * width
    others = iter(_OTHERS)
    for order, verdict in enumerate(found.rules):
        colour = _COLOURS.get(verdict.rule) or next(others, style.GREY)
        name = _NAMES.get(verdict.rule, verdict.rule)
        if np.isfinite(verdict.edge):
            label = f"edge of {name}, {_number(verdict.edge)}"
            if verdict.edge <= right:
                ax.axvline(verdict.edge, color=colour, label=label, zorder=4 + order)
            else:
                ax.plot([], [], color=colour, label=f"{label} (beyond)", zorder=4 + order)
        turning = _turning(verdict)
        if turning is not None:
            label = f"{name} attracts below {_number(turning)}"
            if turning >= left:
                ax.axvline(turning, color=colour, linestyle="--", label=label, zorder=9 + order)
            else:
                label = f"{label} (beyond)"
                ax.plot([], [], color=colour, linestyle="--", label=label, zorder=9 + order)
    ax.set_xlim(left, right)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def _turning(verdict: "RuleStability") -> float | None:
    """Return −1/rho, below which the rule turns descent into attraction."""
    effective = verdict.effective_rho
    return -1 / effective if np.isfinite(effective) and effective > 0 else None
