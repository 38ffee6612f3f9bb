"""Sizes of a report: full, or small enough to end within minutes."""

from enum import StrEnum
from types import ModuleType


class Size(StrEnum):
    """A report's size.

    A study or figure with a small size says in the string `SMALL_SIZE` of its module what is then
    reduced or left out, and its `measure` or `draw` takes the size as its last argument. One
    without does the same in both.
    """

    small = "small"
    full = "full"


def sized(module: ModuleType, size: Size) -> tuple[Size, ...]:
    """Return the last arguments of `measure` or `draw` of a module: the size, or nothing."""
    return (size,) if hasattr(module, "SMALL_SIZE") else ()


def reduction(module: ModuleType, size: Size) -> str:
    """Return what a study or figure reduces or leaves out at a size; empty if nothing."""
    return getattr(module, "SMALL_SIZE", "") if size is Size.small else ""
