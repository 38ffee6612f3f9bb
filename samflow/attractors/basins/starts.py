"""Where orbits begin: the middles of the cells of a grid, or a sample of a box, in any parts."""

import math
from typing import Any, NamedTuple

import numpy as np

from samflow import _checks
from samflow._types import Box


def sides_of(box: Any, dim: int) -> Box:
    """Return a box as a pair (low, high) for each weight; both are one where a weight is held.

    Raises:
        ArgumentError: unless it is `dim` entries, each a pair low < high or a number, or one pair.

    """
    held = [i for i, side in enumerate(box) if np.ndim(side) == 0] if _mixed(box, dim) else []
    if not held:
        return _checks.box("box", box, dim)
    pairs = iter(_checks.box("box", [box[i] for i in range(dim) if i not in held], dim - len(held)))
    sides = []
    for i in range(dim):
        if i in held:
            value = float(_checks.point("box", [box[i]], 1)[0])
            sides.append((value, value))
        else:
            sides.append(next(pairs))
    return tuple(sides)


def _mixed(box: Any, dim: int) -> bool:
    """Say whether a box has a pair for some weights and a number for others."""
    if not isinstance(box, (list, tuple)) or len(box) != dim:
        return False
    return len({min(np.ndim(side), 1) for side in box}) == 2


class Starts(NamedTuple):
    """The starts, of which any can be made without the others.

    Attributes:
        sides: the box, shape (dim, 2).
        shape: of the grid, one number a weight; empty for a sample.
        total: how many there are.
        seed: of the sample.

    """

    sides: np.ndarray
    shape: tuple[int, ...]
    total: int
    seed: int

    def middles(self) -> tuple[np.ndarray, ...]:
        """Return the weights along each axis of the grid."""
        return tuple(
            low + (high - low) * (np.arange(n) + 0.5) / n
            for (low, high), n in zip(self.sides, self.shape, strict=True)
        )

    def range(self, begin: int, end: int) -> np.ndarray:
        """Return the starts from one number to below another, shape (starts, dim)."""
        if self.shape:
            return self._on_grid(np.arange(begin, end))
        dim = len(self.sides)
        random = np.random.PCG64(self.seed)  # a draw for each number, as `default_rng` makes them
        random.advance(begin * dim)
        return self._in_box(np.random.Generator(random).random((end - begin, dim)))

    def at(self, numbers: np.ndarray) -> np.ndarray:
        """Return the starts of these numbers, in ascending order."""
        if self.shape:
            return self._on_grid(numbers)
        return np.concatenate([self.range(n, n + 1) for n in numbers.tolist()])

    def _on_grid(self, numbers: np.ndarray) -> np.ndarray:
        at = np.unravel_index(numbers, self.shape)
        middles = self.middles()
        return np.stack([row[i] for row, i in zip(middles, at, strict=True)], axis=1)

    def _in_box(self, units: np.ndarray) -> np.ndarray:
        return self.sides[:, 0] + (self.sides[:, 1] - self.sides[:, 0]) * units


def make_starts(
    sides: np.ndarray,
    resolution: int | tuple[int, ...] | None,
    num_samples: int | None,
    seed: int,
) -> Starts:
    """Return the starts on a grid, or in a sample.

    Raises:
        ArgumentError: for both a grid and a sample, and for a grid in more than two weights.

    """
    varies = sides[:, 0] < sides[:, 1]
    dim = int(varies.sum())
    seed = _checks.count("seed", seed, minimum=0)
    if resolution is not None and num_samples is not None:
        raise _checks.ArgumentError(
            "Arguments `resolution` and `num_samples` cannot both be given: choose a grid or a "
            "sample."
        )
    if num_samples is None and (resolution is not None or dim <= 2):
        if dim > 2:
            raise _checks.ArgumentError(
                f"Argument `resolution` is for one and two weights, but {dim} vary. Give "
                "`num_samples` for a sample of the box, or a number instead of a pair in `box` "
                "for each weight that is held."
            )
        given: Any = 100 if resolution is None else resolution
        numbers = (given,) * dim if np.ndim(given) == 0 else tuple(given)
        if len(numbers) != dim:
            raise _checks.ArgumentError(
                f"Argument `resolution` must be one number, or one for each of {dim} weights, but "
                f"is {_checks.excerpt(resolution)}."
            )
        counts = iter(_checks.count("resolution", n) for n in numbers)
        shape = tuple(next(counts) if each else 1 for each in varies)
        return Starts(sides, shape, math.prod(shape), seed)
    number = _checks.count("num_samples", 10_000 if num_samples is None else num_samples)
    return Starts(sides, (), number, seed)
