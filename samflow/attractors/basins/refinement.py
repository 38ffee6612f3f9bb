"""Labels of a fine grid from few orbits: only cells near a change of label are followed.

A coarse grid is followed whole. Each finer one takes the labels of the coarser, and follows every
cell of which a neighbour has another label, until there is none that was not followed. What lies
wholly between followed cells, as a small island, is missed; a sample of the cells that were not
followed says how often.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np

from samflow._axes import axes

COARSEST = 32
"""Cells a weight that the coarse grid has at least."""
_CHECKED, _SHARE = 512, 1 / 64
"""How many of the cells that were not followed are followed for a check, and which share."""


class Refinement(NamedTuple):
    """How a grid was refined.

    Attributes:
        followed: how many cells were followed.
        checked: how many of these only to check labels that were taken from neighbours.
        wrong: how many of those labels were wrong (and are right in the result).
        error: upper end of the 95 % interval (Wilson) of the share of wrong labels among all cells;
            0 if all cells were followed.

    """

    followed: int
    checked: int
    wrong: int
    error: Annotated[float, axes(units="1")]

    def __str__(self) -> str:
        """Return a line, as `1,234 of them followed, at most 0.1 % of the labels wrong`."""
        return f"{self.followed} of them followed, at most {self.error:.2%} of the labels wrong"


Follow = Callable[[np.ndarray], np.ndarray]
"""From numbers of cells of the flat grid to their labels."""


def refine(follow: Follow, shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, Refinement]:
    """Return the labels of a grid, shape (cells,), and how they were come by.

    Args:
        follow: labels cells.
        shape: of the grid.
        seed: of the sample that is checked.

    """
    grid = _Grid(follow, shape)
    least = min((n for n in shape if n > 1), default=1)
    stride = 1 << max(0, int(np.floor(np.log2(least / COARSEST))))
    coarse = tuple(slice(None, None, stride) for _ in shape)
    grid.follow_in(coarse, np.ones(grid.labels[coarse].shape, bool))
    while stride > 1:
        # Every cell takes the label of the one before it on the coarser grid.
        before = np.ix_(*(np.arange(n) // stride * stride for n in shape))
        grid.labels = np.where(grid.followed, grid.labels, grid.labels[before])
        stride //= 2
        grid.trace(tuple(slice(None, None, stride) for _ in shape))
    left = np.flatnonzero(~grid.followed)
    if not len(left):
        return grid.labels.ravel(), Refinement(grid.followed.size, 0, 0, 0.0)
    number = min(len(left), max(_CHECKED, int(_SHARE * len(left))))
    chosen = np.random.default_rng(seed).choice(left, number, replace=False)
    before = grid.labels.ravel()[chosen]
    whole = tuple(slice(None) for _ in shape)
    mask = np.zeros(grid.labels.size, bool)
    mask[chosen] = True
    grid.follow_in(whole, mask.reshape(shape))
    wrong = int((grid.labels.ravel()[chosen] != before).sum())
    grid.trace(whole)
    rest = int((~grid.followed).sum())
    error = _highest(wrong, len(chosen)) * rest / grid.followed.size
    return grid.labels.ravel(), Refinement(int(grid.followed.sum()), len(chosen), wrong, error)


class _Grid:
    """The labels of a grid, and which cells were followed."""

    def __init__(self, follow: Follow, shape: tuple[int, ...]) -> None:
        self._follow = follow
        self._numbers = np.arange(int(np.prod(shape))).reshape(shape)
        self.labels = np.zeros(shape, int)
        self.followed = np.zeros(shape, bool)

    def follow_in(self, part: tuple[slice, ...], mask: np.ndarray) -> None:
        """Follow the cells of a part of the grid that `mask` names."""
        numbers = self._numbers[part][mask]
        self.labels.ravel()[numbers] = self._follow(numbers)
        self.followed.ravel()[numbers] = True

    def trace(self, part: tuple[slice, ...]) -> None:
        """Follow all cells of a part of the grid of which a neighbour has another label."""
        from scipy import ndimage  # slow to import, and seldom needed

        while True:
            here = self.labels[part]
            mixed = ndimage.maximum_filter(here, 3) != ndimage.minimum_filter(here, 3)
            wanted = mixed & ~self.followed[part]
            if not wanted.any():
                return
            self.follow_in(part, wanted)


def _highest(count: int, n: int) -> float:
    from scipy.stats import binomtest  # slow to import, and seldom needed

    return float(binomtest(count, n).proportion_ci(method="wilson").high)
