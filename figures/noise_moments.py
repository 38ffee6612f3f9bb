"""Second moments of SGD and USAM at a saddle, against three models."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samflow import plots
from samflow.plots.style import BLACK, BLUE, DOUBLE_COLUMN, GREEN, GREY, VERMILION, panel_letter

NAME = "noise-moments"
STUDIES = ("noise-moments",)
ALT = (
    "Left, second moments over time: SGD's rises highest, USAM's lie lower the greater ρ is, "
    "with dots on the curves and dashed curves off them. Right, two differences on "
    "logarithmic axes with slopes 1 and 2."
)

COLOURS = {0.0: BLACK, 0.1: BLUE, 0.5: GREEN, 1.6: VERMILION}
LAM, LR, BATCH, SMALL = -1.0, 0.01, 32.0, 0.001
"""Of the study; the caption says them."""


def draw(record: Any) -> Figure:
    """Draw the moments and the differences."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.9)
        moments, differences = figure.subplots(1, 2)
        _draw_moments(moments, record)
        _draw_differences(differences, record)
        panel_letter(moments, "a")
        panel_letter(differences, "b")
        plots.legend_below(figure, [moments, differences], columns=4)
    return figure


def caption(record: Any) -> str:
    """Say what is drawn."""
    return (
        "Second moment of the coordinate y along λ = −1 at the saddle ½(x² − y²), from a start at "
        f"the saddle, with gradient noise of covariance |H|/B, B = {BATCH:g}, η = {LR:g}, t = ηk. "
        "(a) SGD, and USAM with the same batch for ascent and descent: exact recursion (lines), "
        f"{record.num_paths:,} sample paths (points, larger than four standard errors), and the "
        "formula of Kim et al. (arXiv 2301.06308, dashed), whose drift is not that of USAM. For "
        "ρ > 1/|λ| the moment stays bounded. "
        f"(b) E y² of SGD minus that of USAM at ρ = {SMALL:g}: linear in t with the same batch, "
        "quadratic with a second batch for the descent. The corollary of Kim et al. is quadratic "
        "with twice the constant. Derived in docs/theory, section 6."
    )


def _draw_moments(ax: Axes, record: Any) -> None:
    time = record.time[1:]
    for rho, curve in record.curves.items():
        colour, name = COLOURS[rho], "SGD" if rho == 0 else rf"USAM, $\rho={rho:g}$"
        ax.semilogy(time, curve[1:], color=colour, linewidth=1.3, label=name)
        ax.plot(record.sampled_time, record.sampled[rho], "o", markersize=3, color=colour)
        if rho in record.formulas:
            ax.semilogy(time, record.formulas[rho], color=colour, linewidth=1.0, linestyle="--")
    ax.plot([], [], color=GREY, linestyle="--", label="Kim et al.")
    ax.plot([], [], "o", markersize=3, color=GREY, label="sample paths")
    ax.set(xlabel="$t$", ylabel=r"$\mathrm{E}\,y^2$", xlim=(0, time[-1]))


def _draw_differences(ax: Axes, record: Any) -> None:
    first = 1  # the first step of two batches is farther than SGD's, three steps are not
    time = record.time[first:]
    unit = LR * SMALL * abs(LAM) ** 3 / BATCH
    one, two = record.one_batch[first:], record.two_batches[first:]
    ax.loglog(time, one, color=BLUE, linewidth=1.3, label="one batch, exact")
    ax.loglog(time, two, color=GREEN, linewidth=1.3, label="two batches")
    look: dict[str, Any] = {"linewidth": 1.0, "linestyle": ":"}
    ax.loglog(time, 2 * unit * time, color=BLUE, label=r"$2\eta t\,|\lambda|^2\rho/B$", **look)
    ax.loglog(time, unit * time**2, color=GREEN, label=r"$\eta t^2|\lambda|^3\rho/B$", **look)
    ax.loglog(
        time,
        2 * unit * time**2,
        color=GREY,
        linewidth=1.0,
        linestyle="--",
        label=r"Kim et al., $2\eta t^2|\lambda|^3\rho/B$",
    )
    ax.set(xlabel="$t$", ylabel=r"SGD $-$ USAM", xlim=(time[0], time[-1]))
