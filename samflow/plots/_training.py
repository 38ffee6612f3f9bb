"""Figure of a monitored training: curvature against its edges, losses, alignment, errors."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from samflow import _checks
from samflow._text import shown_name
from samflow._types import NumpyArray
from samflow.plots import style

if TYPE_CHECKING:
    from samflow.networks import TrainingRecord

_WIDE = 1.6
_HEADROOM = 1.35
"""The axis of curvatures ends at so many times the largest: a far edge does not flatten them."""


def training(
    found: "TrainingRecord",
    *,
    title: str = "",
    size: tuple[float, float] | None = None,
    legend: str = "below",
) -> Figure:
    """Draw what a monitor saw: sharpness and edges, losses, alignment, and errors where measured.

    The curvature is that which the optimiser's own edge is about: the largest eigenvalue of the
    Hessian, or of the preconditioned one. Open marks are eigenvalues that are not located. Thin
    lines stand where the rule or its numbers changed.

    Args:
        found: a `TrainingRecord` of at least two rows.
        title: over the whole figure.
        size: width and height in inches; two columns of a journal wide by default.
        legend: "below", "right" or "none".

    Raises:
        ArgumentError: for another record, or fewer rows.

    """
    from samflow.networks import TrainingRecord  # it imports what trains networks

    _checks.instance("found", found, TrainingRecord, "Give `monitor.record`.")
    if len(found) < 2:
        raise _checks.ArgumentError(
            f"Argument `found` must have at least two rows to be drawn, but has {len(found)}. "
            "Train for longer, or look more often."
        )
    legend = _checks.known("legend", legend, style.LEGENDS)
    errors = np.isfinite(found.test_error).any()
    panels: list[Any] = [_curvature, _losses, *([_errors] if errors else []), _alignment]
    with style.styled():
        figure = style.sized_figure(size, (style.DOUBLE_COLUMN, 2.5))
        widths = [_WIDE] + [1.0] * (len(panels) - 1)
        axes = figure.subplots(1, len(panels), width_ratios=widths)
        for ax, draw, letter in zip(axes, panels, "abcd", strict=False):
            draw(ax, found)
            for change in changes(found):
                ax.axvline(change, color=style.PALE, linewidth=0.8, zorder=0)
            ax.set(xlabel="step", xlim=(found.steps[0], found.steps[-1]))
            style.panel_letter(ax, letter)
        if title:
            figure.suptitle(title, fontsize=style.RC["axes.titlesize"])
        style.place_legend(figure, axes, legend)
    return figure


def changes(found: "TrainingRecord") -> list[int]:
    """Return the steps at which another update began."""
    names = pairwise(zip(found.update, found.steps, strict=True))
    return [int(step) for (before, _), (after, step) in names if before != after]


def _stretches(found: "TrainingRecord") -> list[slice]:
    """Return the rows of each update."""
    names = list(found.update)
    ends = [0, *(i for i in range(1, len(names)) if names[i] != names[i - 1]), len(names)]
    return [slice(a, b) for a, b in pairwise(ends)]


def _curvature(ax: Axes, found: "TrainingRecord") -> None:
    adaptive = np.isfinite(found.preconditioned).any()
    shown = found.curvature
    name = "preconditioned sharpness" if adaptive else r"sharpness $\lambda_1$"
    ax.plot(found.steps, shown, color=style.BLACK, label=name, gid="curvature", zorder=3)
    status = found.preconditioned_status if adaptive else found.eigenvalue_status
    open_marks = np.array([str(each) for each in _words(status[:, 0])]) == "residual too large"
    look: Any = {"linestyle": "none", "marker": "o", "markersize": 3, "markerfacecolor": "none"}
    if open_marks.any():
        where = found.steps[open_marks], shown[open_marks]
        ax.plot(*where, color=style.BLACK, label="not located", **look)
    if found.eigenvalues.shape[1] > 1 and not adaptive:
        rest = found.eigenvalues[:, 1:]
        lines = ax.plot(found.steps, rest, color=style.GREY, linewidth=0.7, zorder=2)
        lines[0].set_label("further eigenvalues")
    if np.isfinite(found.batch_sharpness).any():
        look = {"color": style.SKY, "marker": ".", "markersize": 3, "linewidth": 0.7, "zorder": 1}
        errors = found.batch_sharpness_error
        ax.errorbar(
            found.steps, found.batch_sharpness, yerr=errors, label="batch sharpness", **look
        )
    for rows in _stretches(found):
        line: Any = {"color": style.GREEN, "linestyle": "--", "zorder": 2.5}
        ax.plot(found.steps[rows], found.edge[rows], label="edge of the rule in use", **line)
    for i, rule in enumerate(found.edge_names):
        colour = style.RULE_COLOURS.get(rule, style.PURPLE)
        line = {"color": colour, "linestyle": ":", "linewidth": 0.9, "zorder": 1.5}
        ax.plot(found.steps, found.edges[:, i], label=f"edge of {shown_name(rule)}", **line)
    ax.set_ylabel("curvature")
    seen = [shown, found.edge, found.batch_sharpness]
    top = max((np.nanmax(each) for each in seen if np.isfinite(each).any()), default=1.0)
    ax.set_ylim(0, min(_HEADROOM * top, 3 * _HEADROOM * np.nanmax(shown, initial=0.0)) or 1.0)


def _words(codes: Any) -> list[str]:
    from samflow._status import Status

    return [str(Status(int(code))) for code in codes]


def _losses(ax: Axes, found: "TrainingRecord") -> None:
    ax.plot(found.steps, found.loss, color=style.PURPLE, label="training loss", gid="loss")
    others: tuple[tuple[str, NumpyArray, dict[str, Any]], ...] = (
        ("test loss", found.test_loss, {"color": style.PURPLE, "linestyle": "-."}),
        ("mean over two steps", found.mean_loss, {"color": style.SKY, "linewidth": 2.2}),
        (
            "by the central flow",
            found.predicted_loss,
            {"color": style.VERMILION, "linestyle": "--"},
        ),
    )
    for label, values, look in others:
        if np.isfinite(values).any():
            ax.plot(found.steps, values, label=label, zorder=1.5, **look)
    if (found.loss > 0).all():
        _logarithmic(ax)
    ax.set_ylabel("loss")


def _logarithmic(ax: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers at 1, 2 and 5 of each decade."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


def _errors(ax: Axes, found: "TrainingRecord") -> None:
    ax.plot(found.steps, 100 * found.test_error, color=style.BLACK, gid="error")
    if (found.test_error > 0).all():
        _logarithmic(ax)
    ax.set_ylabel("test error (%)")


def _alignment(ax: Axes, found: "TrainingRecord") -> None:
    ax.plot(found.steps, found.cosine, color=style.BLUE, label=r"$|\cos(g, v_1)|$")
    if not np.array_equal(found.direction_cosine, found.cosine, equal_nan=True):
        look: Any = {"color": style.ORANGE, "linestyle": "-."}
        label = r"$|\cos(g, v_1)|$ at the ascent point"
        ax.plot(found.steps, found.direction_cosine, label=label, **look)
    ax.set(ylim=(0, 1.05), ylabel="alignment")
