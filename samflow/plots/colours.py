"""The colours of a portrait: two palettes, and the user's own over them."""

from collections.abc import Mapping
from typing import Any

from matplotlib.colors import is_color_like

from samflow import _checks
from samflow.plots import style

Palette = Mapping[str, Any]

COLOURS: Palette = {
    "levels": style.PALE,
    "motion": style.GREY,
    "first nullcline": style.GREEN,
    "second nullcline": style.ORANGE,
    "orbits": style.BLUE,
    "stable": style.SKY,
    "unstable": style.VERMILION,
    "stable curve": style.BLACK,
    "unstable curve": style.VERMILION,
    "fixed points": style.BLACK,
    "not critical": style.PURPLE,
    "basins": ("#DEEBF7", "#F6CFA0", "#A2CFBA", "#C3A1C7", "#FFF4BF", "#CDBFA8"),
}
"""What is drawn in which colour by default. Readers who see few colours tell them apart: the lines
are those of Okabe and Ito; each of the first four basins is lighter or darker than the others."""

GREYS: Palette = {
    "levels": "#D5D5D5",
    "motion": "#6E6E6E",
    "first nullcline": "#5A5A5A",
    "second nullcline": "#8A8A8A",
    "orbits": "#000000",
    "stable": "#A5A5A5",
    "unstable": "#4A4A4A",
    "stable curve": "#000000",
    "unstable curve": "#5A5A5A",
    "fixed points": "#000000",
    "not critical": "#707070",
    "basins": ("#EFEFEF", "#D9D9D9", "#C4C4C4", "#AFAFAF"),
}
"""The same for print in black and white."""

OVER_BASINS = "#5D646A"
"""The motion over basins, by default: darker than on white."""


def palette(colours: Palette | None, *, over_basins: bool = False) -> dict[str, Any]:
    """Return the default palette with `colours` in the place of its own.

    Raises:
        ArgumentError: for an unknown name, or what is no colour of matplotlib's.

    """
    made = dict(COLOURS) | ({"motion": OVER_BASINS} if over_basins else {})
    if colours is None:
        return made
    _checks.instance("colours", colours, Mapping, "Give, for instance, {'orbits': 'red'}.")
    for name, colour in colours.items():
        _checks.known("colour", name, COLOURS)
        many = name == "basins"
        given = tuple(colour) if many and not isinstance(colour, str) else (colour,)
        if not given or not all(map(is_color_like, given)):
            raise _checks.ArgumentError(
                f"Argument `colours` must have {'colours' if many else 'a colour'} of matplotlib "
                f"for {name!r}, but has {_checks.excerpt(colour)}."
            )
        made[name] = given if many else colour
    return made
