"""Weights that no gradient reaches: which, and whether the loss depends on them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from samflow._types import NumpyArray, Point
from samflow.losses.evaluation import gradient, value
from samflow.losses.network_base import AbstractNetworkLoss

Slope = Callable[[Point], Any]

_STEP = 0.01
"""Part of its own size, and of that of a typical weight, by which each is moved: dead units mostly
stay dead."""
_ROUNDINGS = 30.0
"""By how many of them the loss must change with weights to depend on them."""


class Silent(NamedTuple):
    """Arrays of weights whose gradient is exactly 0, at w and near it.

    Attributes:
        cut: the loss changes with them all the same: their gradient is lost on its way.
        idle: the loss does not change with them: unused, or behind units that are dead.

    """

    cut: tuple[str, ...]
    idle: tuple[str, ...]

    def statements(self) -> tuple[str, ...]:
        """Return what a person should know of it."""
        found = []
        if self.cut:
            found.append(
                f"No gradient reaches {', '.join(self.cut)}, though the loss depends on it: "
                "something cuts it off, as no_grad, detach, stop_gradient or rounding does. Its "
                "gradient and curvature count as 0 here."
            )
        if self.idle:
            found.append(
                f"The loss does not depend on {', '.join(self.idle)} near here: unused, or behind "
                "units that are dead. These directions are neutral."
            )
        return tuple(found)


def silent_weights(
    loss: AbstractNetworkLoss, w: Point, g: NumpyArray, length: float, slope: Slope | None = None
) -> Silent:
    """Find the arrays of weights that no gradient reaches.

    Args:
        loss: the loss.
        w: the weights.
        g: the gradient at w.
        length: of the problem, as `problem_length` has it; of 0, a weight is taken to be about 1.
        slope: w ↦ g(w), where there is one that needs no program of its own.

    """
    random = np.random.default_rng(0).standard_normal(loss.dim)
    typical = length / np.sqrt(loss.dim) or 1.0
    step = _STEP * random * (typical + np.abs(np.asarray(w)))
    away = np.asarray((slope or (lambda w: gradient(loss, w)))(w + jnp.asarray(step)))
    pieces = [map(np.asarray, loss.split(jnp.asarray(each))) for each in (g, away)]
    quiet = [not (a.any() or b.any()) for a, b in zip(*pieces, strict=True)]
    names = dict(zip(loss.weight_names, quiet, strict=True))
    if not any(quiet):
        return Silent((), ())
    here, cut, start = float(value(loss, w)), [], 0
    for name, shape in zip(loss.weight_names, loss.weight_shapes, strict=True):
        end = start + int(np.prod(shape))
        if names[name]:
            moved = jnp.asarray(w).at[start:end].add(step[start:end])
            there = float(value(loss, moved))
            if not abs(there - here) <= _ROUNDINGS * loss.precision * (abs(there) + abs(here)):
                cut.append(name)
        start = end
    idle = [name for name, each in names.items() if each and name not in cut]
    return Silent(tuple(cut), tuple(idle))
