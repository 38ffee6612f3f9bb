"""Figure of a late switch: the loss, the motion, and the way from one minimum to the other."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import _checks
from samflow.plots import style

if TYPE_CHECKING:
    from samflow.switching import LateSwitch, SwitchSweep

_SHIFT = 8.0
"""How far above the measured line a predicted slope is drawn."""
_ROUNDING = 1e-20
"""What is smaller than this part of the largest value is left below the axis."""
_QUANTITIES = {
    "sharpness": "sharpness at the end",
    "test_error": "test error",
    "train_loss": "training loss",
    "barrier": "barrier",
}


def switching(
    found: "LateSwitch | SwitchSweep",
    *,
    title: str = "",
    size: tuple[float, float] | None = None,
    legend: str = "below",
) -> Figure:
    """Draw what happened after a switch of the rule, as from SGD to SAM.

    Of one run (`two_phase`, `networks.late_switch`): the loss by step, or by epoch for
    mini-batches; the motion along the leading eigenvectors with the predicted slopes of P1 and P4;
    the loss on the straight line from the switch to the end, between the sharpness at both. Of a
    sweep over the epoch of the switch: what was measured at the end, with 95 % intervals over
    seeds.

    Args:
        found: a `LateSwitch` or a `SwitchSweep`.
        title: over the whole figure.
        size: width and height in inches; two columns of a journal wide by default.
        legend: "below", "right" or "none".

    Raises:
        ArgumentError: for another record.

    """
    from samflow.switching import LateSwitch, SwitchSweep  # they import what trains networks

    if not isinstance(found, LateSwitch | SwitchSweep):
        _checks.instance("found", found, LateSwitch, "Give what `two_phase` returns, or a sweep.")
    legend = _checks.known("legend", legend, style.LEGENDS)
    with style.styled():
        figure = style.sized_figure(size, (style.double_column(), 2.7))
        panels = _draw_sweep if isinstance(found, SwitchSweep) else _draw_run
        panels(figure, found)
        for ax, letter in zip(figure.axes, "abcd", strict=False):
            style.panel_letter(ax, letter)
        if title:
            figure.suptitle(title, fontsize=style.RC["axes.titlesize"])
        style.place_legend(figure, figure.axes, legend)
    return figure


def _draw_run(figure: Figure, found: Any) -> None:
    if len(found.loss):
        losses, motion, way, sharpness = figure.subplots(1, 4, width_ratios=[1, 1, 1, 0.5])
        _draw_losses(losses, found)
        _draw_motion(motion, found)
    else:
        losses, way, sharpness = figure.subplots(1, 3, width_ratios=[1, 1, 0.5])
        _draw_epochs(losses, found)
    _draw_way(way, found)
    _draw_sharpness(sharpness, found)


def _draw_losses(ax: Axes, found: Any) -> None:
    loss = np.asarray(found.loss)
    positive = (loss >= 0).all() and (loss > 0).any()  # NaN, too, leaves the scale linear
    ax.plot(np.where(loss > 0, loss, np.nan) if positive else loss, color=style.BLACK, gid="loss")
    if positive:
        ax.set_yscale("log")
        _from_rounding_on(ax, loss)
    ax.set(xlabel="step after the switch", ylabel="training loss", xlim=_until_settled(found))


def _until_settled(found: Any) -> tuple[float, float]:
    """Return the steps to show: a quarter more than until it settled, with all that was fitted."""
    last = max(found.converged_at, found.escape.stop, found.convergence.stop, 1)
    return 0.0, min(len(found.loss) - 1.0, 1.25 * last)


def _from_rounding_on(ax: Axes, values: np.ndarray) -> None:
    """Leave what is rounding, beside the largest value, below the axis."""
    low, high = np.nanmin(values[values > 0]), np.nanmax(values)
    ax.set_ylim(max(low, _ROUNDING * high) / 5, 5 * high)


def _draw_epochs(ax: Axes, found: Any) -> None:
    for column, look in (("train loss", "-"), ("test loss", "--")):
        if np.isfinite(found[column]).any():
            line = {"color": style.BLACK, "linestyle": look, "marker": ".", "markersize": 3}
            ax.plot(found.epochs, found[column], label=column, **line)
    ax.set(xlabel="epoch after the switch", ylabel="loss")


def _draw_motion(ax: Axes, found: Any) -> None:
    thin: Any = {"color": style.BLACK, "linewidth": 0.9, "zorder": 2.5}
    thick: Any = {"color": style.SKY, "linewidth": 2.4, "zorder": 2}
    looks = (
        ("escaping", found.escape, "P1", thin, "at the switch"),
        ("converging", found.convergence, "P4", thick, "at the end"),
    )
    claims = {claim.name: claim for claim in found.phases}
    largest: list[float] = []
    for name, rate, claim, look, where in looks:
        values = np.abs(np.asarray(getattr(found, name)))
        values = np.where(values > 0, values, np.nan)
        label = rf"motion along $v$ {where}"
        largest.append(np.nanmax(values, initial=0.0))
        ax.plot(values, label=label, gid=name, **look)
        predicted = claims[claim].predicted if claim in claims else np.nan
        if rate.found and np.isfinite(predicted):
            steps = np.arange(rate.start, rate.stop + 1)
            line = _SHIFT * values[rate.start] * np.exp(predicted * (steps - rate.start))
            ax.plot(steps, line, "--", color=style.VERMILION, label="predicted slope", gid=claim)
    ax.set_yscale("log")
    if np.isfinite(largest).all() and max(largest) > 0:
        _from_rounding_on(ax, np.array([_ROUNDING**2 * max(largest), _SHIFT * max(largest)]))
    ax.set(xlabel="step after the switch", ylabel=r"$|v\cdot\Delta^2 w|$")
    ax.set_xlim(_until_settled(found))


def _draw_way(ax: Axes, found: Any) -> None:
    losses = np.asarray(found.barrier.losses)
    ax.plot(np.linspace(0, 1, len(losses)), losses, color=style.BLACK, gid="barrier")
    if found.barrier_recomputed is not None:
        again = np.asarray(found.barrier_recomputed.losses)
        look: Any = {"color": style.ORANGE, "linestyle": "--"}
        ax.plot(np.linspace(0, 1, len(again)), again, label="statistics recomputed", **look)
    power = int(np.floor(np.log10(np.nanmax(np.abs(losses), initial=1e-300) or 1.0)))
    power = power if abs(power) > 2 else 0
    ax.yaxis.set_major_formatter(lambda value, _: f"{value / 10.0**power:.3g}")
    unit = rf" ($10^{{{power}}}$)" if power else ""
    ax.set(xticks=(0, 1), xticklabels=("switch", "end"), ylabel=f"loss on the line{unit}")


def _draw_sharpness(ax: Axes, found: Any) -> None:
    look: Any = {"color": style.BLACK, "marker": "o", "markersize": 4, "linestyle": "none"}
    values, errors = found.sharpness, found.sharpness_residual
    ax.errorbar((0, 1), values, yerr=errors, capsize=2, label=r"sharpness $\lambda_{\max}$", **look)
    if np.isfinite(found.edge):
        line: Any = {"color": style.GREEN, "linestyle": ":", "linewidth": 1.3}
        ax.axhline(found.edge, label="edge of stability", gid="edge", **line)
    ax.set(xticks=(0, 1), xticklabels=("switch", "end"), xlim=(-0.5, 1.5), ylabel="sharpness")
    ax.set_ylim(bottom=0)


def _draw_sweep(figure: Figure, found: Any) -> None:
    shown = [name for name in _QUANTITIES if np.isfinite(found.interval(name)[:, 1]).any()]
    if not shown:
        raise _checks.ArgumentError(
            "Argument `found` must have an arm that finished with every seed, but has none."
        )
    for ax, name in zip(figure.subplots(1, len(shown), squeeze=False).flat, shown, strict=True):
        low, mean, high = found.interval(name).T
        bars = np.nan_to_num(np.array([mean - low, high - mean]))
        look: Any = {"color": style.BLACK, "marker": "o", "markersize": 3, "linewidth": 0.8}
        ax.errorbar(found.switch_epochs, mean, yerr=bars, capsize=2, label="mean, 95 %", **look)
        ax.set(xlabel="epoch of the switch", ylabel=_QUANTITIES[name])
