"""Runs at the edge of stability beside their central flows: toys, and a network on digits."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import plots
from samflow.plots.style import BLACK, BLUE, DOUBLE_COLUMN, GREY, ORANGE, SKY, panel_letter

NAME = "central-flows"
STUDIES = ("central-flows",)
ALT = (
    "Left, sharpness over steps that oscillates about a smooth curve at a dotted edge. Right, "
    "the size of SAM's oscillation, dots on a curve."
)

_RUN = {"color": SKY, "linewidth": 0.8, "label": "run", "zorder": 1}
_FLOW = {"color": BLACK, "linewidth": 1.0, "label": "central flow", "zorder": 3}
_PLAIN = {"color": ORANGE, "linewidth": 1.0, "label": "flow of the rule alone", "zorder": 2}
_EDGE = {"color": GREY, "linewidth": 0.8, "linestyle": "--", "label": "edge", "zorder": 0}
_POINT = {
    "color": BLUE,
    "linewidth": 0.8,
    "linestyle": ":",
    "label": "loss at the central flow",
    "zorder": 2,
}


def draw(record: Any) -> Figure:
    """Draw two toys, and of each rule on digits sharpness, loss and distance."""
    with plots.styled():
        count = len(record.networks)
        figure = plots.new_figure(DOUBLE_COLUMN, 1.9 + (4.6 if count else 0.4))
        ratios = [1.15, 1, 1, 1] if count else [1]
        grid = figure.add_gridspec(len(ratios), 12, height_ratios=ratios)
        bursts, saturation = (
            figure.add_subplot(grid[0, part]) for part in (slice(0, 6), slice(6, 12))
        )
        _toys(bursts, saturation, record)
        axes, width = [bursts, saturation], 12 // max(count, 1)
        rows: list[Axes | None] = [None, None, None]
        for i, (name, network) in enumerate(record.networks.items()):
            columns = slice(i * width, (i + 1) * width)
            for row, part in enumerate((_sharpness, _loss, _distance)):
                shared = rows[row] if row == 2 else None
                ax = figure.add_subplot(grid[row + 1, columns], sharey=shared)
                rows[row] = rows[row] or ax
                part(ax, network, first=i == 0)
                ax.set_xlim(0, network.steps[-1])
                ax.tick_params(labelbottom=row == 2)
                panel_letter(ax, "cdefghijklmn"[row * count + i])
                if row == 0:
                    ax.set_title(name)
                if row == 2:
                    ax.set_xlabel("step")
                    ax.tick_params(labelleft=i == 0)
                axes.append(ax)
        plots.legend_below(figure, axes, columns=5)
    return figure


def _toys(bursts: Axes, saturation: Axes, record: Any) -> None:
    path = record.bursts
    bursts.axhline(path.flow[-1], **_EDGE)
    bursts.plot(path.steps, path.run, **_RUN)
    bursts.plot(path.steps, path.flow, **_FLOW)
    bursts.set(xlabel="step", ylabel=r"sharpness $\lambda$", title="GD in a valley")
    path = record.saturation
    dots = {"linestyle": "none", "marker": "o", "markersize": 2.6, "markeredgewidth": 0}
    saturation.plot(path.steps, path.run, **(_RUN | dots | {"label": None, "zorder": 4}))
    saturation.plot(path.steps, path.flow, **_FLOW)
    saturation.set(xlabel="step", ylabel=r"oscillation $\sigma$", title="SAM in a valley")
    for ax, letter in ((bursts, "a"), (saturation, "b")):
        ax.margins(x=0)
        panel_letter(ax, letter)


def _sharpness(ax: Axes, network: Any, *, first: bool) -> None:
    ax.plot(network.steps, network.edge, **_EDGE)
    _every(ax, network.steps, network.leading, _RUN)
    _every(ax, network.steps, network.flow_leading, _FLOW)
    if first:
        ax.set_ylabel(r"largest $\lambda_i$")
    low = float(np.nanmin(network.leading[10:]))
    ax.set_ylim(low - 0.3, float(np.nanmax(network.leading)) + 0.3)


def _loss(ax: Axes, network: Any, *, first: bool) -> None:
    ax.plot(network.steps, network.loss, **_RUN)
    ax.plot(network.steps, network.predicted, **_FLOW)
    ax.plot(network.steps, network.at_mean, **_POINT)
    settled = network.steps >= 100
    low, high = (float(f(network.at_mean[settled])) for f in (np.min, np.max))
    ax.set_ylim(low - 0.1 * (high - low), high + 0.5 * (high - low))
    if first:
        ax.set_ylabel("loss")


def _distance(ax: Axes, network: Any, *, first: bool) -> None:
    ax.plot(network.steps, network.distance, **_FLOW)
    ax.plot(network.steps, network.plain_distance, **_PLAIN)
    ax.set(yscale="log", ylim=(1e-3, 2))
    if first:
        ax.set_ylabel("distance of the run")


def _every(ax: Axes, steps: np.ndarray, values: np.ndarray, style: Any) -> None:
    for i, column in enumerate(values.T):
        ax.plot(steps, column, **(style | ({"label": None} if i else {})))


def caption(record: Any) -> str:
    """Say what is drawn."""
    text = (
        "At the edge of stability. (a) GD in the valley (1 + x²)(√(1 + y²) − 1) − εx, η = 0.3, "
        "begun with a small oscillation: the sharpness bursts through the edge 2/η and is on "
        "average that of the central flow. (b) SAM in the same valley, ρ = 0.05, η = 0.3: the size "
        "of its oscillation, every tenth step."
    )
    if not record.networks:
        return text
    most = ", ".join(
        f"{x.critical.max()} directions of {name}" for name, x in record.networks.items()
    )
    return (
        f"{text} (c–f) A perceptron on 300 digits, 1,000 full-batch steps: the three largest "
        "eigenvalues of the Hessian at the run's average over two steps, at the central flow, and "
        "the edge. A run passes the edge before it turns back, because its oscillation has to "
        "grow from rounding. (g–j) The run's loss, averaged over four steps; the loss that the "
        "central flow predicts with the oscillation; the loss at the flow's point. (k–n) Distance "
        "of the run's average from the central flow, and from the rule's flow ẇ = −d(w) (steps of "
        f"η/8). At once oscillate up to {most}. After Cohen et al. (arXiv 2410.24206), who have GD."
    )
