"""Where orbits end on Beale's function: basins and separatrices of GD, USAM and SAM."""

from matplotlib.figure import Figure

import samflow as sf
from samflow import plots
from samflow.plots.style import panel_letter

NAME = "separatrices"
STUDIES: tuple[str, ...] = ()
BESIDE = "global-dynamics"
ALT = (
    "Three panels of coloured basins: under GD two basins meet in a curve through the saddle; "
    "under USAM and SAM a basin of its own surrounds the saddle, bounded by two curves."
)

LR = 0.01
RHOS = {"gd": 0.0, "usam": 0.05, "sam": 0.3}
BOX = ((-1.2, 3.8), (-0.3, 1.9))


def systems() -> list[sf.Map]:
    """Return the maps that are drawn."""
    loss = sf.losses.beale()
    return [sf.Map(loss, sf.rule(name, rho=rho), lr=LR) for name, rho in RHOS.items()]


def caption() -> str:
    """Say what is seen."""
    return (
        "Basins on Beale's function at η = 0.01. Colours say where an orbit from there ends; from "
        "what is white it diverges, from what is dotted to numbers that overflow. (a) The saddle "
        "(0, 1) of the loss is on the boundary of two basins of GD. (b) It attracts USAM "
        "(ρ = 0.05, above the threshold 4/111 ≈ 0.036). (c) It holds orbits of SAM (ρ = 0.3), "
        "which do not converge. On both sides of it are saddles of the rules that are no critical "
        "points of the loss. Their stable curves (solid) bound the basin, as far as they are "
        "drawn: where the map folds, it has no inverse by which they could be grown further."
    )


def draw() -> Figure:
    """Draw the three portraits."""
    titles = [name.upper() + (rf", $\rho={rho:g}$" if rho else "") for name, rho in RHOS.items()]
    figure = plots.portraits(systems(), BOX, basins=True, manifolds=True, titles=titles)
    with plots.styled():
        for ax, letter in zip(figure.axes, "abc", strict=True):
            panel_letter(ax, letter)
    return figure
