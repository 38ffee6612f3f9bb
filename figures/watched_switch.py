"""A late switch seen whole: sharpness, edges, motion and test error, in full batch and in noise."""

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import plots
from samflow.plots.style import (
    BLACK,
    DOUBLE_COLUMN,
    GREEN,
    GREY,
    PALE,
    SKY,
    VERMILION,
    panel_letter,
)

NAME = "watched-switch"
STUDIES = ("watched-switch",)
ALT = (
    "Two rows of three panels over steps. Left, sharpness beside a dashed edge that steps down "
    "while the sharpness-aware rule is in use: the sharpness falls to it and rises again after. "
    "Middle, the motion that grows and dies out along straight lines, and losses. Right, test "
    "errors."
)

_SHIFT = 8.0
"""How far above the motion a predicted slope is drawn."""
_DECADES = 4.0
_SHOWN = 260
"""Steps of the run in full batch that are shown of its motion."""


def draw(record: Any) -> Figure:
    """Draw a row for each training."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 4.1)
        axes = figure.subplots(2, 3, width_ratios=[1.35, 1, 1])
        full, noisy = record.full, record.noisy[0]
        _sharpness(axes[0, 0], full)
        _motion(axes[0, 1], record)
        _errors(axes[0, 2], full, record.noisy[:0])
        _sharpness(axes[1, 0], noisy)
        _losses(axes[1, 1], noisy)
        _errors(axes[1, 2], noisy, record.noisy[1:])
        for ax, letter in zip(axes.flat, "abcdef", strict=True):
            panel_letter(ax, letter)
            ax.set_xlabel("step")
        axes[0, 0].set_title("GD → USAM → GD, full batch")
        axes[1, 0].set_title("SGD → SAM → SGD, mini-batches")
        plots.legend_below(figure, list(axes.flat), columns=4)
    return figure


def caption(record: Any) -> str:
    """Say what is drawn."""
    phases = {phase.name: phase for phase in record.phases}
    return (
        "A late switch on 300 digits, seen by a monitor: SGD, then a sharpness-aware rule between "
        "the thin lines, then SGD again. Above: full batch from a minimum of GD. (a) The sharpness "
        "lies below GD's edge and above USAM's, which leaves; it ends below both. (b) The motion "
        f"along the leading eigenvector grows by {phases['P1'].measured:.4f} a step, P1, predicted "
        f"{phases['P1'].predicted:.4f}, and dies out by {phases['P4'].measured:.4f}, P4, predicted "
        f"{phases['P4'].predicted:.4f}. (c) Test error, beyond the frame during the escape. Below: "
        "batches of 50 from random weights. "
        "(d) SAM's sharpness follows SAM's edge at the norm of the full gradient, which falls with "
        "it, far below SGD's; without SAM it rises again. Bars of batch sharpness are standard "
        "errors over eight batches. (e) Losses. (f) Test error."
    )


def _switches(ax: Axes, run: Any) -> None:
    names = pairwise(zip(run.update, run.steps, strict=True))
    for (before, _), (after, step) in names:
        if before != after:
            ax.axvline(step, color=PALE, linewidth=0.8, zorder=0)
    ax.set_xlim(run.steps[0], run.steps[-1])


def _sharpness(ax: Axes, run: Any) -> None:
    _switches(ax, run)
    if np.isfinite(run.batch_sharpness).any():
        look: Any = {"color": SKY, "marker": ".", "markersize": 2.5, "linewidth": 0.6, "zorder": 1}
        errors, label = run.batch_sharpness_error, "batch sharpness"
        ax.errorbar(run.steps, run.batch_sharpness, yerr=errors, label=label, **look)
    names = np.array(run.update)
    cuts = [i for i in range(1, len(names)) if names[i] != names[i - 1]]
    for rows in np.split(np.arange(len(names)), cuts):
        look = {"color": GREEN, "linestyle": "--", "zorder": 2, "label": "edge of the rule in use"}
        ax.plot(run.steps[rows], run.edge[rows], **look)
    ax.plot(run.steps, run.sharpness, color=BLACK, label=r"sharpness $\lambda_1$", zorder=3)
    ax.set(ylabel="curvature", ylim=(0, 1.1 * np.nanmax(run.edge)))


def _motion(ax: Axes, record: Any) -> None:
    run, phases = record.full, {phase.name: phase for phase in record.phases}
    sizes = np.abs(run.motion)
    shown = run.motion_steps <= run.motion_steps[0] + _SHOWN
    ax.semilogy(run.motion_steps[shown], np.where(sizes > 0, sizes, np.nan)[shown], color=BLACK,
                label=r"motion $|v_1\cdot\Delta^2 w|$")  # fmt: skip
    names = list(run.update)
    switch = int(run.steps[next(i for i, name in enumerate(names) if name != names[0])])
    top = int(np.argmax(sizes))
    begin = int(np.searchsorted(run.motion_steps, switch + 4))
    settled = top + int(np.argmax(sizes[top:] < 0.03 * sizes[top]))
    for name, start in (("P1", begin), ("P4", settled)):
        rate = phases[name].predicted
        steps = np.arange(int(_DECADES * np.log(10) / abs(rate)) + 1)
        line = _SHIFT * sizes[start] * np.exp(rate * steps)
        look: Any = {"color": VERMILION, "linestyle": "--", "label": "predicted slope, P1 and P4"}
        ax.plot(run.motion_steps[start] + steps, line, **look)
    ax.axvline(switch, color=PALE, linewidth=0.8, zorder=0)
    ax.set(ylabel="motion", xlim=(run.motion_steps[0], run.motion_steps[0] + _SHOWN))
    ax.set_ylim(1e-14 * sizes[top], 30 * sizes[top])


def _losses(ax: Axes, run: Any) -> None:
    _switches(ax, run)
    ax.semilogy(run.steps, run.loss, color=BLACK)
    ax.semilogy(run.steps, run.test_loss, color=BLACK, linestyle=":", label="test loss")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:g}"[-1] in "25" else "")
    ax.set_ylabel("loss")


def _errors(ax: Axes, run: Any, others: Any) -> None:
    _switches(ax, run)
    for other in others:
        ax.plot(other.steps, 100 * other.test_error, color=GREY, linewidth=0.6, label="other seeds")
    ax.plot(run.steps, 100 * run.test_error, color=BLACK, zorder=3)
    late = 100 * np.median(run.test_error)
    ax.set(ylabel="test error (%)", ylim=(0.5 * late, 2 * late))
