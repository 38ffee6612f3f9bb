"""Which zeros found by Newton's method are samples of a curve or surface of zeros."""

from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow._types import Box

Solve: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Takes starts (n, dim); returns where Newton's method ends, and whether at a zero."""

_FLAT = 1e-3
"""A direction in which an equation changes by less than this part of its steepest is asked."""
_STEP = 1e-3
"""How far to go along it, in units of the box."""


def on_continua(
    equation: Callable[[Array], Array], points: np.ndarray, box: Box, solve: Solve, batch: int
) -> np.ndarray:
    """Say of each zero whether others lie next to it, as far as Newton's method finds them.

    From w, go by s along each direction v in which the Jacobian is nearly singular, and by s/2, and
    solve from there: on a curve of zeros the ends stay about s and s/2 away from w; at an isolated
    zero, degenerate or not, they come back. Seen, not proved.

    Args:
        equation: what vanishes; a `jax.tree_util.Partial`, so that programs can be told apart.
        points: the zeros, shape (n, dim).
        box: where they were looked for; gives the unit of length.
        solve: solves the equations from `batch` starts.
        batch: how many.

    """
    jacobians = np.asarray(_jacobians(equation, jnp.asarray(points)))
    size = np.array([high - low for low, high in box])
    starts, owners, steps = [], [], []
    for i, (w, jacobian) in enumerate(zip(points, jacobians, strict=True)):
        if not np.isfinite(jacobian).all():
            continue
        # In units of the box, so that the answer does not depend on those of the weights.
        _, singular, rows = np.linalg.svd(jacobian * size)
        for row in rows[singular <= _FLAT * singular[0]]:
            for share in (_STEP, -_STEP, _STEP / 2, -_STEP / 2):
                starts.append(w + share * row * size)
                owners.append(i)
                steps.append(share)
    sampled = np.zeros(len(points), dtype=bool)
    if not starts:
        return sampled
    ends, zeros = _solved(np.array(starts), solve, batch)
    way = np.linalg.norm((ends - points[owners]) / size, axis=1)
    part = way / np.abs(steps)
    stays = (zeros & (part >= 0.5) & (part <= 2.0)).reshape(-1, 2, 2)  # step, sign
    both = stays.all(axis=1).any(axis=1)  # both steps, in one of the directions
    for i, one in zip(owners[::4], both, strict=True):
        sampled[i] |= one
    return sampled


@eqx.filter_jit
def _jacobians(equation: Callable[[Array], Array], points: Array) -> Array:
    return jax.vmap(jax.jacfwd(equation))(points)


def _solved(starts: np.ndarray, solve: Solve, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Solve from all starts, `batch` at a time: one compiled program for any number of them."""
    padded = np.concatenate([starts, np.repeat(starts[-1:], -len(starts) % batch, axis=0)])
    found = [solve(padded[i : i + batch]) for i in range(0, len(padded), batch)]
    ends, zeros = (np.concatenate(part)[: len(starts)] for part in zip(*found, strict=True))
    return ends, zeros
