"""Stability thresholds of interpolating minima for SGD and USAM, exact and by the bounds."""

from typing import Any

from matplotlib.figure import Figure

from samflow import plots
from samflow.plots.style import BLACK, BLUE, DOUBLE_COLUMN, ORANGE, VERMILION, panel_letter

NAME = "interpolation"
STUDIES = ("interpolation",)
ALT = (
    "Left, three pairs of curves of a step size that fall with ρ, the dashed above the solid "
    "in places. Right, their ratios about the line 1."
)
COLOURS = (VERMILION, BLUE, BLACK)


def draw(record: Any) -> Figure:
    """Draw thresholds, and their ratio, over rho."""
    rhos = record.rhos
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 2.7)
        left, right = figure.subplots(1, 2)
        for (size, found), colour in zip(record.curves.items(), COLOURS, strict=True):
            left.plot(rhos, found.exact, color=colour, label=f"$B = {size}$, exact")
            left.plot(rhos, found.bound, color=colour, linestyle="--", label=f"$B = {size}$, bound")
            right.plot(rhos, found.bound / found.exact, color=colour)
        right.axhline(1, color=ORANGE, linewidth=0.8)
        right.annotate(
            "here the bound would be exact",
            (rhos[-1], 1),
            (-4, 3),
            textcoords="offset points",
            ha="right",
        )
        left.set(yscale="log", ylabel=r"largest step size $\eta$")
        right.set(yscale="log", ylabel=r"$\eta$ of the bound / exact $\eta$")
        for ax, letter in ((left, "a"), (right, "b")):
            ax.set(xlabel=r"$\rho$", xlim=(rhos[0], rhos[-1]))
            panel_letter(ax, letter)
        plots.legend_below(figure, (left,), columns=3)
    return figure


def caption(record: Any) -> str:
    """Say what is drawn."""
    *first, last = map(str, record.curves)
    return (
        "Least squares with an exact fit: 12 Gaussian examples of unequal lengths, 4 weights, "
        "batches drawn with replacement, the same batch for ascent and descent. (a) The largest "
        "step size at which the mean square does not grow under USAM: exact (solid), and as "
        f"bounded by Zhou et al. (dashed), over ρ, for batches of {', '.join(first)} and {last}; "
        "ρ = 0 is SGD. (b) The bound divided by the exact value: above 1 the bound admits unstable "
        "step sizes."
    )
