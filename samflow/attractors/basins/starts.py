"""The starts of basins: a grid over the weights that vary, or a random sample of a box."""

from typing import Any

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


def starts_in(
    sides: np.ndarray,
    resolution: int | tuple[int, ...] | None,
    num_samples: int | None,
    seed: int,
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the starts, and the shape of their grid; empty for a sample."""
    varies = sides[:, 0] < sides[:, 1]
    number = int(varies.sum())
    if resolution is not None and num_samples is not None:
        raise _checks.ArgumentError(
            "Arguments `resolution` and `num_samples` cannot both be given: choose a grid or a "
            "sample."
        )
    if num_samples is None and (resolution is not None or number <= 2):
        if number > 2:
            raise _checks.ArgumentError(
                f"Argument `resolution` is for one and two weights, but {number} vary. Give "
                "`num_samples` for a sample of the box, or a number instead of a pair in `box` "
                "for each weight that is held."
            )
        given: Any = 100 if resolution is None else resolution
        numbers = (given,) * number if np.ndim(given) == 0 else tuple(given)
        if len(numbers) != number:
            raise _checks.ArgumentError(
                f"Argument `resolution` must be one number, or one for each of {number} weights, "
                f"but is {_checks.excerpt(resolution)}."
            )
        counts = iter(_checks.count("resolution", n) for n in numbers)
        shape = tuple(next(counts) if each else 1 for each in varies)
        middles = [
            low + (high - low) * (np.arange(n) + 0.5) / n
            for (low, high), n in zip(sides, shape, strict=True)
        ]
        mesh = np.meshgrid(*middles, indexing="ij")
        return np.stack([each.ravel() for each in mesh], axis=1), shape
    drawn = _checks.count("num_samples", 10_000 if num_samples is None else num_samples)
    random = np.random.default_rng(_checks.count("seed", seed, minimum=0))
    return sides[:, 0] + (sides[:, 1] - sides[:, 0]) * random.random((drawn, len(sides))), ()
