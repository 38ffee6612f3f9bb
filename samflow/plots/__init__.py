"""Figures of records, such as phase portraits, in a style for print.

A portrait computes what it is not given; everything else draws a record and computes nothing.
"""

from samflow.plots._animate import animate, film_path
from samflow.plots._basins import basins
from samflow.plots._bifurcation import bifurcation
from samflow.plots._chart import chart
from samflow.plots._landscape import landscape
from samflow.plots._manifolds import manifolds
from samflow.plots._portrait import portrait, portraits
from samflow.plots._spectrum import spectrum
from samflow.plots._switching import switching
from samflow.plots._training import training
from samflow.plots.colours import COLOURS, GREYS
from samflow.plots.contents import LAYERS
from samflow.plots.field import Field, motion_at, nullclines, sample_field
from samflow.plots.files import FORMATS, save
from samflow.plots.journals import JOURNALS, Journal, journal
from samflow.plots.layers import draw_levels, draw_orbits
from samflow.plots.marks import MARKERS, EigenDirection, draw_fixed_points, eigen_directions
from samflow.plots.style import LEGENDS, legend_below, legend_right, new_figure, styled

__all__ = [
    "COLOURS",
    "FORMATS",
    "GREYS",
    "JOURNALS",
    "LAYERS",
    "LEGENDS",
    "MARKERS",
    "EigenDirection",
    "Field",
    "Journal",
    "animate",
    "basins",
    "bifurcation",
    "chart",
    "draw_fixed_points",
    "draw_levels",
    "draw_orbits",
    "eigen_directions",
    "film_path",
    "journal",
    "landscape",
    "legend_below",
    "legend_right",
    "manifolds",
    "motion_at",
    "new_figure",
    "nullclines",
    "portrait",
    "portraits",
    "sample_field",
    "save",
    "spectrum",
    "styled",
    "switching",
    "training",
]
