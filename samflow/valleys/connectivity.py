"""Whether two points lie in one valley."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow import _checks
from samflow._types import ArrayLike
from samflow.losses.base import AbstractLoss


class Barrier(NamedTuple):
    """The loss along a straight line.

    Attributes:
        height: the highest loss on the line above the higher of its ends; 0 where an end is
            the highest; NaN where the loss is not finite somewhere on the line.
        position: where on the line the highest loss is, in [0, 1].
        losses: the loss at evenly spaced points of the line, ends included.

    """

    height: float
    position: float
    losses: np.ndarray


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
    losses = np.asarray(_along(loss, start, end, jnp.linspace(0.0, 1.0, num_points)))
    if not np.isfinite(losses).all():
        return Barrier(float("nan"), float("nan"), losses)
    top = int(losses.argmax())
    height = float(losses[top] - max(losses[0], losses[-1]))
    return Barrier(height, top / (num_points - 1), losses)


@eqx.filter_jit
def _along(loss: AbstractLoss, start: Array, end: Array, positions: Array) -> Array:
    return jax.lax.map(lambda t: loss((1 - t) * start + t * end), positions)
