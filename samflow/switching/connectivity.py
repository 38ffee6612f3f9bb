"""Linear connectivity: the barrier of the loss between two points."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np

from samflow import _checks
from samflow._axes import axes
from samflow._types import ArrayLike, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import value


class Barrier(NamedTuple):
    """The loss along a straight line.

    Attributes:
        height: the highest loss on the line above the higher of its ends; 0 where an end is
            the highest; NaN where the loss is not finite somewhere on the line.
        position: where on the line the highest loss is, in [0, 1].
        losses: the loss at evenly spaced points of the line, ends included.

    """

    height: Annotated[float, axes(units="loss")]
    position: Annotated[float, axes(units="1")]
    losses: Annotated[np.ndarray, axes("place", units="loss")]


def line_barrier(
    loss: AbstractLoss, start: ArrayLike, end: ArrayLike, *, num_points: int = 101
) -> Barrier:
    """Return the loss barrier on the straight line between two points.

    A barrier narrower than the spacing of the points can be missed.
    Source: Frankle et al. 2020 (arXiv 1912.05671), linear mode connectivity.
    """
    start = _checks.point("start", start, loss.dim)
    end = _checks.point("end", end, loss.dim)
    num_points = _checks.count("num_points", num_points, minimum=3)
    return path_barrier(lambda w: loss, start, end, num_points)


def path_barrier(
    loss_at: Callable[[Point], AbstractLoss], start: Point, end: Point, num_points: int
) -> Barrier:
    """Return the barrier on a straight line of the loss that `loss_at` gives for each point.

    Points are evaluated one by one from Python, without a compiled loop: the loss may be one that
    Python computes, and convolutions are slow in loops. Without a finite end all is NaN.
    """
    positions = np.linspace(0.0, 1.0, num_points)
    if not np.isfinite(np.asarray(end)).all():
        return Barrier(float("nan"), float("nan"), np.full(num_points, np.nan))
    points = ((1 - t) * start + t * end for t in positions)
    losses = np.array([float(value(loss_at(w), w)) for w in points])
    if not np.isfinite(losses).all():
        return Barrier(float("nan"), float("nan"), losses)
    top = int(losses.argmax())
    height = float(losses[top] - max(losses[0], losses[-1]))
    return Barrier(height, float(positions[top]), losses)
