"""Which start of a box ends where."""

import os
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np

from samflow import _checks
from samflow.attractors import chunks
from samflow.attractors.basins import stored
from samflow.attractors.basins.records import Attractor, Basins
from samflow.attractors.basins.refinement import refine as refined
from samflow.attractors.basins.search import Search
from samflow.attractors.basins.starts import Starts, make_starts, sides_of
from samflow.attractors.basins.stored import StoredBasins
from samflow.equilibria import FixedPoints
from samflow.records import provenance
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem
from samflow.systems.base import check_system

Progress = Callable[[int, int], None]

_CONSTANTS = 1e4
"""Time constants of a flow for which orbits are followed at most."""
_SEARCHED = 10_000
"""Starts from which attractors of a store are looked for, at most."""
_COPIES = 12
"""Arrays of all states that are in memory at once, at most."""


@overload
def basins(
    system: AbstractSystem,
    box: Any,
    resolution: int | tuple[int, ...] | None = ...,
    *,
    num_samples: int | None = ...,
    refine: bool = ...,
    attractors: Basins | Sequence[Attractor] | None = ...,
    max_steps: int = ...,
    t1: float | None = ...,
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
    refine: bool = ...,
    attractors: Basins | Sequence[Attractor] | None = ...,
    max_steps: int = ...,
    t1: float | None = ...,
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
    refine: bool = False,
    attractors: Basins | Sequence[Attractor] | None = None,
    max_steps: int = 200_000,
    t1: float | None = None,
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
    >>> found = basins(quartic, [(-2, 2), (-2, 2)], 20)
    >>> print(found)
    400 starts, 2 attractors
      attracting at (0, -1): 50.00% [45.12%, 54.88%]
      attracting at (0, 1): 50.00% [45.12%, 54.88%]
    >>> near = basins(quartic, [(-1, 1), (-0.1, 0.1)], 200, refine=True, attractors=found)
    >>> near.refinement.followed < 5000  # of 40,000
    True

    Attractors are found, not given. First come the attracting fixed points of `find_fixed_points`,
    and what holds orbits about the critical points of normalised SAM: a trap where `certify_trap`
    proves one, else the cycles that orbits from beside the point come to, else a ball that these
    stay in. Then come the parts of curves of fixed points that attract across, as the floor of a
    valley, each as one attractor of kind `continuum`. Then come fixed points outside the box and
    cycles that orbits are seen to end on, and chaotic attractors, of maps also quasiperiodic ones:
    an orbit has settled on one if the second half of a long stretch covers what the first half
    covers, and its Lyapunov exponents say which. Of smooth flows limit cycles are looked for with
    `find_cycles` about what still moves.

    An orbit has come to an attracting point or cycle when it is in an ellipsoid about it that one
    step, or period, maps into itself, tried at points of spheres, or proved for a trap. So slow
    maps need not converge, and no slow orbit is taken for an attractor. It has come to a chaotic or
    quasiperiodic attractor, a limit cycle or a continuum when 64 states in a row are near to points
    of it.

    Args:
        system: a map or a flow. Starts have velocity 0.
        box: one pair (low, high) for each weight, or one for all. A number instead of a pair holds
            the weight there: a plane through more dimensions.
        resolution: points of the grid for each weight that varies, at the middles of its cells; by
            default 100 where one or two vary.
        num_samples: where three or more vary: how many starts to draw from the box, 10,000 by
            default.
        refine: follow a coarse grid, and of finer ones only the cells that have a neighbour with
            another label. `Basins.refinement` says how many were followed and how many labels may
            be wrong.
        attractors: basins of the same system, or attractors of it: they keep their numbers, and
            with them their colours, as for another box. Fixed points are not searched for then.
        max_steps: steps of a map at most; what moves still is `unresolved`.
        t1: time for a flow at most; by default 10,000 times that in which the slowest fixed point
            attracts by e, or, without one, a typical start crosses the box.
        fixed_points: a record of the system, in this or a larger box; by default they are
            searched for.
        seed: of the sample, and of the starts with which attractors are looked for.
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
        guaranteed: that attractors are all found whose basins are smaller than some 1/500 of the
        box, or that a chaotic transient of 100,000 steps is none. Not looked for: strange
        attractors in more than 16 dimensions, of more than 2 or 3 dimensions themselves, and of
        flows that jump, and invariant tori of flows; orbits on them are `unresolved`, and so are
        those that rest on a surface of fixed points, on a curve of them outside the box, or on one
        that attracts in higher order only.

    Raises:
        ArgumentError: for a wrong box, a grid where more than two weights vary, both `resolution`
            and `num_samples`, `refine` without a grid or with a store, attractors of another
            system, single precision, more starts than fit into memory without a store, the
            store of another request (which says in what it differs), a store that cannot be
            written, and a part that is none.
        ImportError: for a store where zarr is not installed.

    """
    _checks.double_precision("`basins`")
    check_system(system)
    sides = sides_of(box, system.dim)
    starts = make_starts(np.array(sides), resolution, num_samples, seed)
    if refine and (not starts.shape or store is not None):
        raise _checks.ArgumentError(
            "Argument `refine` needs a grid in memory: give `resolution`, or a number instead of "
            "a pair in `box` for each weight that is held, and no `store`."
        )
    steps = _checks.count("max_steps", max_steps)
    where = provenance(system.describe(), box=sides, max_steps=steps)
    known = _known(system, attractors)
    search = Search(system, sides, steps, seed)
    searched = fixed_points
    if t1 is not None:
        _checks.positive("t1", t1)
    if isinstance(system, AbstractFlow):
        if t1 is None and searched is None:
            searched = search.fixed_points()
        search.longest = _CONSTANTS * search.time(searched) if t1 is None else float(t1)

    def find(scouts: np.ndarray) -> None:
        if known is None:
            search.find(scouts, search.fixed_points() if searched is None else searched)
        else:
            search.attractors = known

    if store is not None:
        longest = "max_steps" if isinstance(system, AbstractMap) else "t1"
        settings = {longest: str(search.longest), "fixed points": "searched for"}
        if fixed_points is not None:
            settings["fixed points"] = chunks.of_array(fixed_points.w)
        if known is not None:
            points = [one.points.ravel() for one in known]
            settings["attractors"] = chunks.of_array(np.concatenate([np.zeros(0), *points]))

        def found() -> tuple[Attractor, ...]:
            some = _some(starts)
            find(some)
            search.label(some)
            return search.attractors

        return stored.run(
            system, starts, found, longest=search.longest, path=store, part=part,
            chunk_cells=chunk_cells, request=settings, provenance=where, progress=progress,
        )  # fmt: skip
    if part is not None or chunk_cells is not None:
        raise _checks.ArgumentError(
            "Arguments `part` and `chunk_cells` are of a `store`: give its path."
        )
    chunks.check_memory(8 * starts.total * _COPIES * system.state_dim, starts.total, "starts")
    every = starts.range(0, starts.total)
    find(every)
    if not refine:
        labels, made, _ = search.label(every, progress)
        return Basins(every, labels, made, search.attractors, starts.shape, sides, where)
    made = np.full(starts.total, -1.0)

    def follow(numbers: np.ndarray) -> np.ndarray:
        labels, made[numbers], _ = search.label(every[numbers], progress)
        return labels

    labels, how = refined(follow, starts.shape, seed)
    return Basins(every, labels, made, search.attractors, starts.shape, sides, where, how)


def _known(
    system: AbstractSystem, attractors: Basins | Sequence[Attractor] | None
) -> tuple[Attractor, ...] | None:
    if not isinstance(attractors, Basins):
        return None if attractors is None else tuple(attractors)
    theirs, ours = dict(attractors.provenance)["system"], system.describe()
    if theirs != ours:
        raise _checks.ArgumentError(
            f"Argument `attractors` must be basins of the same system, {ours}, but is of {theirs}."
        )
    return attractors.attractors


def _some(starts: Starts) -> np.ndarray:
    """Return the starts from which attractors are looked for: all, or some thousand of them."""
    if starts.total <= _SEARCHED:
        return starts.range(0, starts.total)
    random = np.random.default_rng(starts.seed)
    return starts.at(np.sort(random.choice(starts.total, _SEARCHED, replace=False)))
