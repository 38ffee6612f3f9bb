"""Coordinates on circles: the states (θ, v) and (θ + length, v) are one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._components import Components
from samflow._types import Box, V

Angles = tuple[tuple[float, float] | None, ...]
"""For each coordinate the range of an angle, or None for a coordinate on a line."""


def angle_ranges(value: Any, dim: int) -> Angles | None:
    """Check the argument `angles`; None where no coordinate is one.

    Raises:
        ArgumentError: unless it has a pair (low, high), low < high, or None for each coordinate.

    """
    if value is None:
        return None
    if not isinstance(value, (tuple, list)) or len(value) != dim:
        raise _checks.ArgumentError(
            f"Argument `angles` must have {dim} entries, one for each coordinate: (low, high) for "
            f"an angle and None for any other. It is {_checks.excerpt(value)}."
        )
    made = tuple(None if one is None else _checks.box("angles", [one], 1)[0] for one in value)
    return made if any(made) else None


def angles_of(system: Any) -> Angles | None:
    """Return the ranges of the angles of a system; None where it has none."""
    return getattr(system, "angles", None)


def has_angles(system: Any) -> bool:
    """Say whether a coordinate of the system is an angle."""
    return angles_of(system) is not None


def on_lines(system: Any) -> Any:
    """Return 1 for each coordinate on a line and 0 for each angle, or the number 1."""
    angles = angles_of(system)
    return 1.0 if angles is None else np.array([1.0 if one is None else 0.0 for one in angles])


def wrap_into(angles: Angles | None, z: V) -> V:
    """Return states with each angle in its range [low, high)."""
    if angles is None:
        return z
    if isinstance(z, Components):
        made: Any = Components(*(_into(one, part) for one, part in zip(angles, z, strict=True)))
        return made
    numbers: Any = jnp if isinstance(z, jax.Array) else np
    return numbers.stack([_into(one, z[..., i]) for i, one in enumerate(angles)], axis=-1)


def wrapped(system: Any, z: V) -> V:
    """Return states (..., n) with each angle in its range; others as they are.

    `integrate` follows angles through all their turns, so that these can be counted: this is the
    same orbit for a picture.
    """
    return wrap_into(angles_of(system), z)


def shortest(system: Any, difference: V) -> V:
    """Return differences of states (..., n) with each angle taken the shorter way around.

    Its derivative is the identity.
    """
    angles = angles_of(system)
    if angles is None:
        return difference
    lengths = np.array([np.inf if one is None else one[1] - one[0] for one in angles])
    lengths_or_one = np.where(np.isfinite(lengths), lengths, 1.0)
    numbers: Any = jnp if isinstance(difference, jax.Array) else np
    turns = numbers.where(np.isfinite(lengths), numbers.round(difference / lengths_or_one), 0.0)
    return difference - lengths_or_one * turns


def images(system: Any, points: np.ndarray) -> np.ndarray:
    """Return points (N, n) and the same a turn before and after, of each angle: (N 3ᵏ, n)."""
    for i, one in enumerate(angles_of(system) or ()):
        if one is not None:
            turn = (one[1] - one[0]) * np.eye(points.shape[1])[i]
            points = np.concatenate([points, points - turn, points + turn])
    return points


def unwrapped(system: Any) -> Any:
    """Return the system without angles: its images keep their turns, which can then be counted."""
    make = getattr(system, "unwrapped", None)
    return system if make is None else make()


def rebased(system: Any, z: V, box: Box) -> V:
    """Return states (..., n) with each angle in the range that begins at the low end of a box."""
    angles = angles_of(system)
    if angles is None:
        return z
    begins = (
        None if one is None else (low, low + one[1] - one[0])
        for one, (low, _) in zip(angles, box, strict=True)
    )
    return wrap_into(tuple(begins), z)


def _into(one: tuple[float, float] | None, part: Any) -> Any:
    """Return an angle in its range, bit for bit where it is there already."""
    if one is None:
        return part
    low, high = one
    floor: Any = jnp.floor if isinstance(part, jax.Array) else np.floor
    return part - (high - low) * floor((part - low) / (high - low))
