"""GD, USAM and SAM around a saddle, below and above USAM's threshold."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

import samflow as sf
from samflow import plots
from samflow.plots.style import DOUBLE_COLUMN, VERMILION, panel_letter
from samflow.rules import AbstractRule

NAME = "threshold"
STUDIES: tuple[str, ...] = ()
BESIDE = "sam-flow"
ALT = (
    "Six phase portraits of a saddle, three rules in two rows: GD leaves in both, USAM leaves "
    "in the upper and arrives in the lower, SAM arrives from inside a dashed circle in both."
)

LAYERS = ("levels", "motion", "directions", "fixed points")
NAMES = ("GD", "USAM", "SAM")
RHOS = (0.7, 1.5)
BOX = ((-2.0, 2.0), (-2.0, 2.0))
STARTS = ((-1.8, 0.5), (1.8, 0.5), (-0.4, -0.35), (0.4, -0.35))
T1 = 8.0


def rules(rho: float) -> tuple[AbstractRule, ...]:
    """Return the three rules of a row; with rho = 0 USAM is GD, and runs its compiled program."""
    return sf.USAM(rho=0.0), sf.USAM(rho=rho), sf.SAM(rho=rho)


def system(rule: AbstractRule) -> sf.Flow:
    """Return the flow of a rule on ½(x² − y²)."""
    return sf.Flow(sf.losses.saddle(), rule)


def caption() -> str:
    """Say what is seen."""
    return (
        "Flows on ½(x² − y²), which has a saddle with λ = ±1, for ρ below (top) and above (bottom) "
        "USAM's threshold ρ = 1/|λ₋| = 1. GD does not depend on ρ. The saddle attracts USAM in the "
        "lower row only, where the eigenvalues −1 − ρ and 1 − ρ are negative. Normalised SAM has "
        "no Jacobian at the saddle (cross) and no threshold. In both rows every orbit that starts "
        "within distance ρ min|λ₋|²/max|λ₋| = ρ (dashed) reaches the saddle in finite time. "
        "(0, ±ρ) are equilibria of SAM's flow but no critical points of the loss."
    )


def draw() -> Figure:
    """Draw the six portraits."""
    with plots.styled():
        figure = plots.new_figure(DOUBLE_COLUMN, 5.4)
        grid = figure.subplots(2, 3, sharex=True, sharey=True)
        for row, rho in zip(grid, RHOS, strict=True):
            for ax, name, rule in zip(row, NAMES, rules(rho), strict=True):
                _draw_panel(ax, name, rule, rho)
        for ax, letter in zip(grid.flat, "abcdef", strict=True):
            panel_letter(ax, letter)
            ax.label_outer()
        plots.legend_below(figure, grid.flat, columns=4)
    return figure


def _draw_panel(ax: Axes, name: str, rule: AbstractRule, rho: float) -> None:
    flow = system(rule)
    starts = np.array(STARTS)
    plots.portrait(flow, BOX, starts=starts, length=T1, layers=LAYERS, levels=8, ax=ax)
    ax.set(aspect="equal", xticks=range(-2, 3), yticks=range(-2, 3))
    ax.set_title(name + ("" if name == "GD" else rf", $\rho={rho:g}$"))
    if name != "SAM":
        return
    radius = float(sf.theory.attraction_radius([1, -1], rho=rho))
    look = {"fill": False, "color": VERMILION, "linestyle": "--", "linewidth": 1.0, "zorder": 3}
    ax.add_patch(Circle((0, 0), radius, **look))
    ax.plot([], [], color=VERMILION, linestyle="--", label="within: caught by SAM", zorder=3)
