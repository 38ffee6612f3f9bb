"""Figures of records, such as phase portraits, in a style for print. Nothing is computed here."""

from samflow.plots._basins import basins
from samflow.plots._branches import branches
from samflow.plots._chart import chart
from samflow.plots._portrait import draw_levels, draw_orbits, portrait
from samflow.plots._spectrum import spectrum
from samflow.plots.field import Field, motion_at, nullclines, sample_field
from samflow.plots.marks import MARKERS, EigenDirection, draw_fixed_points, eigen_directions
from samflow.plots.style import legend_below, new_figure, save, styled

__all__ = [
    "MARKERS",
    "EigenDirection",
    "Field",
    "basins",
    "branches",
    "chart",
    "draw_fixed_points",
    "draw_levels",
    "draw_orbits",
    "eigen_directions",
    "legend_below",
    "motion_at",
    "new_figure",
    "nullclines",
    "portrait",
    "sample_field",
    "save",
    "spectrum",
    "styled",
]
