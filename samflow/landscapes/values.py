"""Values of a loss at many weights, and the distance to which a parabola describes them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow import _checks
from samflow._types import NumpyArray
from samflow.losses.base import AbstractLoss
from samflow.losses.eager import compiled, is_eager
from samflow.losses.evaluation import value
from samflow.losses.network_base import AbstractNetworkLoss

_AT_ONCE, _NETWORKS_AT_ONCE = 512, 8
"""Points of a block: of a network so few that its activations stay in the cache."""
_EVERY = 64
_SCAN, _FINEST, _ROUNDINGS = 48, 1e-6, 20.0
_HALVINGS = 30


def values(
    loss: AbstractLoss, points: Callable[[int, int], NumpyArray], count: int, tell: Any = None
) -> NumpyArray:
    """Return the loss at `count` points, of which `points(start, stop)` makes a block.

    Blocks are vectorised, but for losses that Python computes and networks with convolutions,
    which XLA makes slow groups of.
    """
    size = 1 if count == 1 else _block_size(loss)
    found = np.empty(count)
    for number, start in enumerate(range(0, count, size)):
        stop = min(start + size, count)
        if tell is not None and number % _EVERY == 0:
            tell(f"loss at {start} of {count} points")
        block = points(start, stop)
        if size == 1:
            found[start] = float(value(loss, jnp.asarray(block[0])))
            continue
        padded = np.concatenate([block, np.repeat(block[-1:], size - len(block), axis=0)])
        found[start:stop] = np.asarray(_many(loss, jnp.asarray(padded)))[: stop - start]
    return found


def _block_size(loss: AbstractLoss) -> int:
    if is_eager(loss):
        return 1
    if isinstance(loss, AbstractNetworkLoss):
        return 1 if any(len(shape) > 2 for shape in loss.weight_shapes) else _NETWORKS_AT_ONCE
    return _AT_ONCE


@compiled
def _many(loss: AbstractLoss, points: Array) -> Array:
    return jax.vmap(loss)(points)


class Parabola(NamedTuple):
    """q(a) = L + sa + ½ca² along a direction from the weights.

    Attributes:
        height: L.
        slope: s = g·v.
        curvature: c = vᵀHv.

    """

    height: float
    slope: float
    curvature: float

    def at(self, a: Any) -> Any:
        """Return q(a)."""
        return self.height + self.slope * a + 0.5 * self.curvature * a * a

    def gap(self, a: NumpyArray, heights: NumpyArray) -> NumpyArray:
        """Return |L(a) − q(a)| over ½|c|a², the part of the curvature that is wrong."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return np.abs(heights - self.at(a)) / (0.5 * abs(self.curvature) * a * a)


def departure(
    along: Callable[[NumpyArray], NumpyArray],
    parabola: Parabola,
    *,
    sign: int,
    length: float,
    tol: float,
    precision: float,
) -> float:
    """Return the least a > 0 found at which L(sign·a) is off the parabola by `tol` of ½|c|a².

    Scanned from where rounding is no matter up to `length` in equal factors, and bisected. 0 where
    it is off already at the first; infinite where it is nowhere; NaN without curvature.
    """
    height, _, curvature = parabola
    if not abs(curvature) > 0:
        return float("nan")
    noise = np.sqrt(2 * _ROUNDINGS * precision * abs(height) / (tol * abs(curvature)))
    first = max(_FINEST * length, float(noise))
    if not first < length:
        return float("nan")

    def off(a: NumpyArray) -> NumpyArray:
        return ~(parabola.gap(sign * a, along(sign * a)) <= tol)  # NaN is off

    scanned = np.geomspace(first, length, _SCAN)
    beyond = off(scanned)
    if not beyond.any():
        return float("inf")
    place = int(np.argmax(beyond))
    if place == 0:
        return 0.0
    low, high = scanned[place - 1], scanned[place]
    for _ in range(_HALVINGS):
        middle = np.sqrt(low * high)
        low, high = (low, middle) if off(np.array([middle]))[0] else (middle, high)
    return float(high)


def extents(extent: Any, count: int) -> list[tuple[float, float]]:
    """Return a range for each axis: of one number a for all, of numbers, or of pairs."""
    array = _checks.real_numbers(extent) if not isinstance(extent, str) else np.full((), np.nan)
    if array.ndim == 0:
        array = np.full(count, array)
    if array.ndim == 1 and len(array) == count:
        array = np.stack([-array, array], axis=1)
    wrong = array.shape != (count, 2) or not np.isfinite(array).all()
    if wrong or not (array[:, 0] < array[:, 1]).all():
        raise _checks.ArgumentError(
            f"Argument `extent` must be a number > 0, or for each of {count} directions a number "
            f"or a pair (low, high), but is {_checks.excerpt(extent)}."
        )
    return [(float(low), float(high)) for low, high in array]
