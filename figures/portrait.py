"""The phase portrait of USAM on Beale's function, above the threshold of its saddle."""

import numpy as np
from matplotlib.figure import Figure

import samflow as sf
from samflow import plots
from samflow.plots.style import COLUMN

NAME = "portrait"
STUDIES: tuple[str, ...] = ()
BESIDE = "beale-threshold"
ALT = (
    "Phase portrait on the plane: arrows, nullclines and level sets; filled dots at the "
    "saddle (0, 1) of the loss and at the minimum (3, ½), half-filled diamonds on both sides "
    "of the saddle."
)

RHO = 0.05
BOX = ((-1.2, 3.8), (-0.3, 1.9))
STARTS = ((0.5, 1.5), (-0.8, 0.3), (0.6, 1.35), (1.0, 0.9), (-0.6, 0.0))
T1 = 16.0


def system() -> sf.Flow:
    """Return the flow that is drawn."""
    return sf.Flow(sf.losses.beale(), sf.USAM(rho=RHO))


def caption() -> str:
    """Say what is seen."""
    return (
        "The flow of USAM with ρ = 0.05 on Beale's function. The loss has a saddle at (0, 1). It "
        "attracts, because ρ is above 4/111 ≈ 0.036. It lies between two saddles of the flow that "
        "are no critical points of the loss. The minimum (3, ½) attracts as well."
    )


def draw() -> Figure:
    """Draw the portrait on one column."""
    figure = plots.portrait(system(), BOX, starts=np.array(STARTS), length=T1)
    with plots.styled():
        (ax,) = figure.axes
        ax.set_title(r"USAM flow, $\rho=0.05$ (threshold $4/111\approx 0.036$)")
    figure.set_size_inches(COLUMN, 3.6)
    return figure
