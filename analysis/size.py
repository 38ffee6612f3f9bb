"""Sizes of a report: full, or small enough to end within minutes."""

from enum import StrEnum


class Size(StrEnum):
    """A report's size.

    A study or figure with a small size says in the string `SMALL_SIZE` of its module what is then
    reduced or left out, and its `measure` or `draw` takes the size as its last argument. One
    without does the same in both.
    """

    small = "small"
    full = "full"
