"""Which start of a box ends where."""

import functools
import os
from collections.abc import Callable
from typing import Any, overload

import numpy as np

from samflow import _checks
from samflow._types import Box
from samflow.attractors import chunks
from samflow.attractors.basins import stored
from samflow.attractors.basins.finding import SCOUTS, find_attractors
from samflow.attractors.basins.labelling import Labels, label
from samflow.attractors.basins.records import Attractor, Basins, Ending
from samflow.attractors.basins.starts import Starts, make_starts
from samflow.attractors.basins.stored import StoredBasins
from samflow.equilibria import FixedPoints, find_fixed_points
from samflow.records import provenance
from samflow.systems import AbstractFlow, AbstractSystem
from samflow.systems.base import check_system

Progress = Callable[[int, int], None]

_SEARCHED = 10_000
"""Starts from which attractors of a store are looked for, at most."""
_COPIES = 8
"""Arrays of all states that are in memory at once, at most."""


@overload
def basins(
    system: AbstractSystem,
    box: Any,
    resolution: int | tuple[int, ...] | None = ...,
    *,
    num_samples: int | None = ...,
    max_steps: int = ...,
    t1: float = ...,
    fixed_points: FixedPoints | None = ...,
    seed: int = ...,
    progress: Progress = ...,
    store: None = ...,
    part: None = ...,
    chunk_cells: None = ...,
) -> Basins: ...


@overload
def basins(
    system: AbstractSystem,
    box: Any,
    resolution: int | tuple[int, ...] | None = ...,
    *,
    num_samples: int | None = ...,
    max_steps: int = ...,
    t1: float = ...,
    fixed_points: FixedPoints | None = ...,
    seed: int = ...,
    progress: Progress = ...,
    store: str | os.PathLike[str],
    part: tuple[int, int] | None = ...,
    chunk_cells: int | None = ...,
) -> StoredBasins: ...


@_checks.untraced()
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
    progress: Progress = lambda done, total: None,
    store: str | os.PathLike[str] | None = None,
    part: tuple[int, int] | None = None,
    chunk_cells: int | None = None,
) -> Basins | StoredBasins:
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
        progress: is called after each round with how many starts are decided, of how many; with
            a store after each chunk.
        store: a folder for chunks of the starts, each written when it is done (zarr). Attractors
            are looked for first, once, from up to 10,000 of the starts. The same call goes on where
            it was stopped, and ends with the same bits.
        part: with a store: (i, n) labels the i-th, from 1, of n parts of the chunks, so that n
            calls, at any time and place, share the work. Where JAX runs in several processes
            (`jax.distributed`), they share it without being told.
        chunk_cells: with a store: starts of a chunk at most.

    Returns:
        A `Basins`, or with `store` a `StoredBasins`, which reads what it is asked for. Not
        guaranteed: attractors without a fixed point that repeat themselves only after more than 64
        steps, such as strange ones, are not recognised; orbits on them are `unresolved`. So are
        orbits that rest on a continuum of fixed points.

    Raises:
        ArgumentError: for a wrong box, a grid in more than two dimensions, both `resolution` and
            `num_samples`, single precision, more starts than fit into memory without a store, the
            store of another request (which says in what it differs), a store that cannot be
            written, and a part that is none.
        ImportError: for a store where zarr is not installed.

    """
    _checks.double_precision("`basins`")
    check_system(system)
    sides = _checks.box("box", box, system.dim)
    starts = make_starts(np.array(sides), resolution, num_samples, seed)
    steps = _checks.count("max_steps", max_steps)
    time = _checks.positive("t1", t1)
    longest = time if isinstance(system, AbstractFlow) else steps
    where = provenance(system.describe(), box=sides, max_steps=steps)

    def search(from_: np.ndarray, progress: Progress) -> tuple[tuple[Attractor, ...], Labels]:
        points = find_fixed_points(system, sides) if fixed_points is None else fixed_points
        return _search(system, from_, points, sides, longest, seed, progress)

    if store is not None:
        settings = {"max_steps": str(steps), "t1": str(time), "fixed points": "searched for"}
        if fixed_points is not None:
            settings["fixed points"] = chunks.of_array(fixed_points.w)
        return stored.run(
            system, starts, lambda: search(_some(starts), lambda done, total: None)[0],
            longest=longest, path=store, part=part, chunk_cells=chunk_cells, request=settings,
            provenance=where, progress=progress,
        )  # fmt: skip
    if part is not None or chunk_cells is not None:
        raise _checks.ArgumentError(
            "Arguments `part` and `chunk_cells` are of a `store`: give its path."
        )
    chunks.check_memory(8 * starts.total * _COPIES * system.state_dim, starts.total, "starts")
    every = starts.range(0, starts.total)
    found, labels = search(every, progress)
    return Basins(every, labels.labels, labels.steps, found, starts.shape, sides, where)


def _search(
    system: AbstractSystem,
    starts: np.ndarray,
    points: FixedPoints,
    sides: Box,
    longest: float,
    seed: int,
    progress: Progress,
) -> tuple[tuple[Attractor, ...], Labels]:
    """Return the attractors to which orbits from some starts come, and the labels of these."""
    extent = float(np.ptp(np.array(sides), axis=1).max())
    find = functools.partial(find_attractors, system, longest=longest, extent=extent)
    found = find(_scouts(starts, seed), points=points)
    labels = label(system, starts, found, longest=longest, progress=progress)
    # A start that came to nothing may have come to an attractor that no scout came to.
    while (open_ := np.flatnonzero(labels.labels == Ending.unresolved)).size:
        more = find(_scouts(labels.states[open_], seed), known=found)
        if len(more) == len(found):
            break
        found = more
        again = label(system, starts[open_], found, longest=longest)
        for whole, part in zip(labels, again, strict=True):
            whole[open_] = part
    return found, labels


def _some(starts: Starts) -> np.ndarray:
    """Return the starts from which attractors are looked for: all, or some thousand of them."""
    if starts.total <= _SEARCHED:
        return starts.range(0, starts.total)
    random = np.random.default_rng(starts.seed)
    return starts.at(np.sort(random.choice(starts.total, _SEARCHED, replace=False)))


def _scouts(states: np.ndarray, seed: int) -> np.ndarray:
    """Return at most `SCOUTS` of the states, drawn at random."""
    if len(states) <= SCOUTS:
        return states
    random = np.random.default_rng(seed)
    return states[np.sort(random.choice(len(states), SCOUTS, replace=False))]
