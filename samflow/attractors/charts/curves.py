"""Where a condition of theory begins or ends to hold, in the plane of a chart."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import contourpy
import numpy as np

from samflow.attractors.charts.records import Boundary

_FINE = 121
"""Values of x, and of y, at which a condition is looked at."""
_HALVINGS = 60


class Condition(NamedTuple):
    """A condition of theory.

    Attributes:
        name: of its own, as "λ = 27.75 flips".
        group: of all such conditions, as a legend has it.
        slack: of x and y, arrays of one shape: positive where it holds, NaN where it says nothing.

    """

    name: str
    group: str
    slack: Callable[[np.ndarray, np.ndarray], np.ndarray]


def boundaries(
    conditions: Iterable[Condition], x: np.ndarray, y: np.ndarray
) -> tuple[Boundary, ...]:
    """Return the curves on which the slack of each condition is 0, within the values of x and y.

    A curve passes between the values at which the slack changes its sign; each of its points is
    found by bisection. Parts are separated by NaN. A curve that enters and leaves between two of
    121 values is not seen.
    """
    found = []
    for condition in conditions:
        parts = [_refined(condition, *line) for line in _lines(condition, x, y)]
        if parts:
            gap = np.full((1, 2), np.nan)
            points = np.concatenate([row for part in parts for row in (part, gap)][:-1])
            found.append(Boundary(condition.name, condition.group, points[:, 0], points[:, 1]))
    return tuple(found)


def _lines(
    condition: Condition, x: np.ndarray, y: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return each line of slack 0, (points, 2), with both ends of the edges that it crosses."""
    xs, ys = (np.linspace(values.min(), values.max(), _FINE) for values in (x, y))
    if xs[0] == xs[-1] or ys[0] == ys[-1]:
        return []
    slack = condition.slack(*np.meshgrid(xs, ys, indexing="ij"))
    masked = np.ma.masked_invalid(slack.T)
    lines = contourpy.contour_generator(xs, ys, masked, name="serial").lines(0.0)
    made = []
    for line in lines:
        assert isinstance(line, np.ndarray)
        low, high = np.empty_like(line), np.empty_like(line)
        for axis, values in enumerate((xs, ys)):  # a point lies on an edge of the grid
            place = (line[:, axis] - values[0]) / (values[1] - values[0])
            whole = np.abs(place - np.round(place)) < 1e-9
            below = np.where(whole, np.round(place), np.floor(place)).astype(int)
            low[:, axis] = values[below]
            high[:, axis] = values[np.where(whole, below, np.minimum(below + 1, _FINE - 1))]
        made.append((line, low, high))
    return made


def _refined(
    condition: Condition, line: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return the points of a line to rounding, by bisection along the edges that they lie on."""
    at_low = condition.slack(*low.T)
    moves = np.sign(at_low) * np.sign(condition.slack(*high.T)) < 0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        same = np.sign(condition.slack(*middle.T)) == np.sign(at_low)
        low = np.where(same[:, None], middle, low)
        high = np.where(same[:, None], high, middle)
    return np.where(moves[:, None], (low + high) / 2, line)
