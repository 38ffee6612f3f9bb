"""Parts of a box that a proof leaves undecided."""

from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

import numpy as np

from samflow._axes import axes
from samflow._types import Box

DEGENERATE = "undecided at the smallest width: degenerate, not isolated, or an edge of the domain"
BUDGET = "the budget of boxes was spent"
CURVE = "the budget of boxes was spent: perhaps there is a continuum of fixed points"
EDGE = "a fixed point too close to the edge of the box to tell on which side it lies"
TARGET = "the ascent point may be a critical point that is itself undecided"
CROWD = "more critical points lie within an ascent step than are listed at most"
DOMAIN = "the loss may not be defined there"
ORIGIN = "a fixed point that may or may not be a critical point"

_MAX_CELLS = 2000
"""Boxes are first joined within about so many cells, to keep the pairwise comparison short."""

_MAX_PARTS = 16
"""More parts than these are joined to one."""


class Undecided(NamedTuple):
    """A part of the box about which nothing is claimed, and why."""

    box: Annotated[Box, axes("weight", "end", units="weight")]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, the box as lists."""
        return {"box": [list(interval) for interval in self.box], "reason": self.reason}


def undecided(boxes: Iterable[Box], reason: str) -> list[Undecided]:
    """Join boxes that touch, and return the few boxes around them."""
    array = np.array(list(boxes), dtype=float)
    if not array.size:
        return []
    from scipy.sparse.csgraph import connected_components  # slow to import, and seldom needed

    array = _join_cells(array)
    low, high = array[:, None, :, 0], array[None, :, :, 1]
    meets = (low <= high).all(axis=-1)
    count, label = connected_components(meets & meets.T, directed=False)
    if count > _MAX_PARTS:
        count, label = 1, np.zeros_like(label)
    parts = [_hull(array[label == i]) for i in range(count)]
    return [Undecided(tuple((float(a), float(b)) for a, b in part), reason) for part in parts]


def regroup(parts: Iterable[Undecided]) -> list[Undecided]:
    """Join parts that touch and have the same reason."""
    parts = list(parts)
    reasons = sorted({part.reason for part in parts})
    by_reason = [[p.box for p in parts if p.reason == reason] for reason in reasons]
    return [u for boxes, r in zip(by_reason, reasons, strict=True) for u in undecided(boxes, r)]


def _join_cells(array: np.ndarray) -> np.ndarray:
    """Return one hull for each cell of a grid that holds a middle of a box."""
    cells = max(1, int(_MAX_CELLS ** (1 / array.shape[1])))
    middle = array.mean(axis=-1)
    least, extent = middle.min(axis=0), np.ptp(middle, axis=0)
    place = (cells - 1) * (middle - least) / np.where(extent > 0, extent, 1.0)
    _, label = np.unique(place.astype(int), axis=0, return_inverse=True)
    label = label.ravel()
    return np.stack([_hull(array[label == i]) for i in range(label.max() + 1)])


def _hull(boxes: np.ndarray) -> np.ndarray:
    return np.stack([boxes[:, :, 0].min(axis=0), boxes[:, :, 1].max(axis=0)], axis=-1)
