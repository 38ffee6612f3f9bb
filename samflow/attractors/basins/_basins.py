"""Which start of a box ends where."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from samflow import _checks
from samflow.attractors.basins.finding import SCOUTS, find_attractors
from samflow.attractors.basins.labelling import label
from samflow.attractors.basins.records import Basins, Ending
from samflow.equilibria import FixedPoints, find_fixed_points
from samflow.records import provenance
from samflow.systems import AbstractFlow, AbstractSystem
from samflow.systems.base import check_system


def basins(
    system: AbstractSystem,
    box: Any,
    resolution: int | tuple[int, ...] | None = None,
    *,
    num_samples: int | None = None,
    max_steps: int = 200_000,
    t1: float = 1e4,
    fixed_points: FixedPoints | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Basins:
    """Follow orbits from all over a box and say which attractor each comes to.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> quartic = sf.Map(sf.loss("x**2/2 - y**2/2 + y**4/4"), sf.GD(), lr=0.01)
    >>> print(basins(quartic, [(-2, 2), (-2, 2)], 20))
    400 starts, 2 attractors
      attracting at (0, -1): 50.00% [45.12%, 54.88%]
      attracting at (0, 1): 50.00% [45.12%, 54.88%]

    Attractors are found, not given: the attracting fixed points and what holds orbits about
    critical points of normalised SAM come from `find_fixed_points`; cycles up to period 64 from
    orbits that repeat themselves to 1e-9. An orbit has come to an attracting point or cycle when
    it is in an ellipsoid about it that one step, or period, maps into itself, tried at points of
    spheres; so slow maps need not converge, and no slow orbit is taken for an attractor.

    Args:
        system: a map or a flow. Starts have velocity 0.
        box: one pair (low, high) for each weight, or one for all.
        resolution: points of the grid a weight, at the middles of its cells; by default 100 in
            one and two dimensions.
        num_samples: from three dimensions on: how many starts to draw from the box, 10,000 by
            default.
        max_steps: steps of a map at most; what moves still is `unresolved`.
        t1: time for a flow at most.
        fixed_points: a record of the system, in this or a larger box; by default they are
            searched for.
        seed: of the sample.
        progress: is called after each round with how many starts are decided, of how many.

    Returns:
        A `Basins`. Not guaranteed: attractors without a fixed point that repeat themselves only
        after more than 64 steps, such as strange ones, are not recognised; orbits on them are
        `unresolved`. So are orbits that rest on a continuum of fixed points.

    Raises:
        ArgumentError: for a wrong box, a grid in more than two dimensions, both `resolution` and
            `num_samples`, or single precision.

    """
    _checks.double_precision("`basins`")
    check_system(system)
    sides = _checks.box("box", box, system.dim)
    starts, shape = _starts(np.array(sides), resolution, num_samples, seed)
    steps = _checks.count("max_steps", max_steps)
    time = _checks.positive("t1", t1)
    longest = time if isinstance(system, AbstractFlow) else steps
    extent = float(np.ptp(np.array(sides), axis=1).max())
    points = find_fixed_points(system, sides) if fixed_points is None else fixed_points
    find = functools.partial(find_attractors, system, longest=longest, extent=extent)
    found = find(_some(starts, seed), points=points)
    labels = label(system, starts, found, longest=longest, progress=progress)
    # A start that came to nothing may have come to an attractor that no scout came to.
    while (open_ := np.flatnonzero(labels.labels == Ending.unresolved)).size:
        more = find(_some(labels.states[open_], seed), known=found)
        if len(more) == len(found):
            break
        found = more
        again = label(system, starts[open_], found, longest=longest)
        for whole, part in zip(labels, again, strict=True):
            whole[open_] = part
    where = provenance(system.describe(), box=sides, max_steps=steps)
    return Basins(starts, labels.labels, labels.steps, found, shape, sides, where)


def _starts(
    sides: np.ndarray,
    resolution: int | tuple[int, ...] | None,
    num_samples: int | None,
    seed: int,
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the starts, and the shape of their grid; empty for a sample."""
    dim = len(sides)
    if resolution is not None and num_samples is not None:
        raise _checks.ArgumentError(
            "Arguments `resolution` and `num_samples` cannot both be given: choose a grid or a "
            "sample."
        )
    if num_samples is None and (resolution is not None or dim <= 2):
        if dim > 2:
            raise _checks.ArgumentError(
                f"Argument `resolution` is for one and two weights, but there are {dim}. Give "
                "`num_samples` for a sample of the box."
            )
        given: Any = 100 if resolution is None else resolution
        numbers = (given,) * dim if np.ndim(given) == 0 else tuple(given)
        if len(numbers) != dim:
            raise _checks.ArgumentError(
                f"Argument `resolution` must be one number, or one for each of {dim} weights, but "
                f"is {_checks.excerpt(resolution)}."
            )
        shape = tuple(_checks.count("resolution", n) for n in numbers)
        middles = [
            low + (high - low) * (np.arange(n) + 0.5) / n
            for (low, high), n in zip(sides, shape, strict=True)
        ]
        mesh = np.meshgrid(*middles, indexing="ij")
        return np.stack([each.ravel() for each in mesh], axis=1), shape
    number = _checks.count("num_samples", 10_000 if num_samples is None else num_samples)
    random = np.random.default_rng(_checks.count("seed", seed, minimum=0))
    return sides[:, 0] + (sides[:, 1] - sides[:, 0]) * random.random((number, dim)), ()


def _some(states: np.ndarray, seed: int) -> np.ndarray:
    """Return at most `SCOUTS` of the states, drawn at random."""
    if len(states) <= SCOUTS:
        return states
    random = np.random.default_rng(seed)
    return states[np.sort(random.choice(len(states), SCOUTS, replace=False))]
