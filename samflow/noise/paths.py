"""Ensembles of random orbits: the orbits themselves, or only their moments.

As in `samflow.orbits._iterate`, a block of members runs its whole time loop before the next block
begins, one array per coordinate; random numbers are made in the loop from (key, member, step).
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from samflow import _checks
from samflow._components import Components
from samflow._kernel import fused, tuned
from samflow._random import MOST_DRAWS, key_words, words
from samflow._schedule import check_steps
from samflow._types import ArrayLike, Point
from samflow.orbits._iterate import start_states
from samflow.orbits.barrier import step_with_barrier
from samflow.orbits.blocks import on_components, pack, unpack
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems.base import check_system
from samflow.systems.stochastic_map import AbstractStochasticMap, StochasticMap

BLOCK = 512
"""Members that run side by side."""
_AT_ONCE = 2**27
"""Steps of members in one call of the compiled program, between two calls of `progress`."""
_MOST_MEMBERS = 2**32
MAX_BYTES = 2**31
"""What the orbits of an ensemble may take by default: 2 GiB."""

Progress = Callable[[int, int], None]
"""Called with the number of paths made and of those asked for."""


class PathMoments(AbstractRecord):
    """Moments of the weights over an ensemble, at the steps kept; x = w − about.

    Attributes:
        steps: the step number of each, 0 for the start.
        mean: the mean of x, shape (kept, dim).
        mean_error: its standard error.
        second: the mean of x xᵀ, shape (kept, dim, dim).
        second_error: its standard error, entry by entry.
        lost: how many paths were not finite by then. From the first such path on the moments are
            not finite either, because no path is left out of them.
        num_paths: how many there are.

    """

    rows: ClassVar[Names] = ("kept",)
    num_paths: int = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    steps: Int[Array, " kept"] = eqx.field(metadata=axes("kept", units="step"))
    mean: Float[Array, "kept dim"] = eqx.field(metadata=axes("kept", "weight", units="weight"))
    mean_error: Float[Array, "kept dim"] = eqx.field(
        metadata=axes("kept", "weight", units="weight")
    )
    second: Float[Array, "kept dim dim"] = eqx.field(
        metadata=axes("kept", "weight", "weight_2", units="weight^2")
    )
    second_error: Float[Array, "kept dim dim"] = eqx.field(
        metadata=axes("kept", "weight", "weight_2", units="weight^2")
    )
    lost: Int[Array, " kept"] = eqx.field(metadata=axes("kept"))


class Paths(AbstractRecord):
    """An ensemble of random orbits.

    Attributes:
        states: shape (paths, kept, state_dim); not finite from where an orbit overflowed.
        steps: the step number of each kept state, 0 for the start.
        dim: number of weights, which come first in a state.

    """

    rows: ClassVar[Names] = ("path", "kept")
    dim: int = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    states: Float[Array, "paths kept state"] = eqx.field(metadata=axes("path", "kept", "state"))
    steps: Int[Array, " kept"] = eqx.field(metadata=axes("kept", units="step"))

    @property
    def w(self) -> Float[Array, "paths kept dim"]:
        """The weights."""
        return self.states[..., : self.dim]


def sample_moments(
    system: AbstractStochasticMap,
    w0: ArrayLike,
    *,
    key: PRNGKeyArray,
    num_paths: int,
    num_steps: int,
    keep_every: int | None = None,
    about: ArrayLike | None = None,
    progress: Progress | None = None,
) -> PathMoments:
    """Return the first two moments of an ensemble of random orbits.

    No path is stored. Path i depends on (key, i) alone, and is that of `sample_paths`. A map with
    schedules is that of its step.

    Args:
        system: a `StochasticMap`, or any other map with noise.
        w0: weights (dim,), at velocity 0, or a state (state_dim,), from which all paths start; or
            one such row a path.
        key: a key of `jax.random`; the same key gives the same numbers.
        num_paths: at least 2.
        num_steps: steps of each.
        keep_every: moments are taken at steps 0, k, 2k, ... up to num_steps; by default at the
            first and the last only.
        about: the point from which displacements are measured, shape (dim,); by default 0.
        progress: called between the parts in which a large ensemble is made.

    Raises:
        ArgumentError: for arguments out of range, for more steps than a key has numbers for, and
            for moments that would take more than `MAX_BYTES`.

    """
    num_paths = _checks.count("num_paths", num_paths, minimum=2)
    ensemble, steps = _prepare(system, w0, key, num_paths, num_steps, keep_every)
    origin = jnp.zeros(system.dim) if about is None else _checks.point("about", about, system.dim)
    needed = 4 * len(steps) * system.dim**2 * origin.dtype.itemsize
    if needed > MAX_BYTES:
        raise _checks.ArgumentError(
            f"Argument `system` must be small enough for moments in {MAX_BYTES / 2**30:.3g} GiB of "
            f"memory, but {len(steps)} second moments of {system.dim} weights take "
            f"{needed / 2**30:.3g} GiB. Keep fewer steps, or take fewer paths with `sample_paths`."
        )
    per_call = max(BLOCK, _AT_ONCE // num_steps // BLOCK * BLOCK)
    total = None
    for first in range(0, num_paths, per_call):
        size = min(per_call, num_paths - first)
        begin = jnp.asarray(first, jnp.uint32)  # a number of Python would be compiled in
        part = _moments(ensemble, origin, begin, size, len(steps), jnp.asarray(num_paths))
        total = part if total is None else jax.tree.map(jnp.add, total, part)
        if progress is not None:
            progress(first + size, num_paths)
    assert total is not None
    return _as_record(system, total, steps, num_paths, num_steps)


def sample_paths(
    system: AbstractStochasticMap,
    w0: ArrayLike,
    *,
    key: PRNGKeyArray,
    num_paths: int,
    num_steps: int,
    keep_every: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> Paths:
    """Return an ensemble of random orbits; a map with schedules is that of its step.

    Args:
        system: a `StochasticMap`, or any other map with noise.
        w0: weights (dim,), at velocity 0, or a state (state_dim,), from which all paths start; or
            one such row a path.
        key: a key of `jax.random`; path i depends on (key, i) alone, so that a larger ensemble
            has the paths of a smaller one first, up to rounding.
        num_paths: how many.
        num_steps: steps of each.
        keep_every: states are kept at steps 0, k, 2k, ... up to num_steps; by default the first
            and the last only.
        max_bytes: the most memory that the result may take.

    Raises:
        ArgumentError: for arguments out of range, and for an ensemble that would take more than
            `max_bytes`; `sample_moments` makes any number of paths.

    """
    num_paths = _checks.count("num_paths", num_paths)
    ensemble, steps = _prepare(system, w0, key, num_paths, num_steps, keep_every)
    start = ensemble.start
    needed = num_paths * len(steps) * start.shape[-1] * start.dtype.itemsize
    if needed > _checks.count("max_bytes", max_bytes):
        raise _checks.ArgumentError(
            f"Argument `num_paths` must be small enough for a result in {max_bytes / 2**30:.3g} "
            f"GiB of memory, but {num_paths} paths of {len(steps)} states take "
            f"{needed / 2**30:.3g} GiB. Keep fewer states, raise `max_bytes`, or stream their "
            "moments with `sample_moments`."
        )
    states = _paths(ensemble, num_paths, len(steps))
    settings = {"num_paths": num_paths, "num_steps": num_steps}
    return Paths(
        states=states,
        steps=jnp.asarray(steps),
        dim=system.dim,
        provenance=provenance(system.describe(), **settings),
    )


class _Ensemble(NamedTuple):
    """What every member shares."""

    system: AbstractStochasticMap
    start: Array
    key: Array
    keep_every: Array


class _Sums(NamedTuple):
    """Sums over members at the steps kept, divided by the number of all paths."""

    first: Array
    first_squared: Array
    second: Array
    second_squared: Array
    lost: Array


def _prepare(
    system: Any, w0: ArrayLike, key: Any, num_paths: int, num_steps: int, keep_every: int | None
) -> tuple[_Ensemble, Any]:
    hint = "Use `sf.StochasticMap(map, noise)`."
    check_system(system, AbstractStochasticMap, hint, changing=True)
    num_steps = _checks.count("num_steps", num_steps)
    keep_every = _checks.count("keep_every", num_steps if keep_every is None else keep_every)
    keep_every = min(keep_every, num_steps)
    check_draws(system, num_steps, num_paths)
    check_steps(system.schedules, 0, num_steps)
    start = start_states(system.at(0), w0)
    if start.ndim == 2 and len(start) != num_paths:
        raise _checks.ArgumentError(
            f"Argument `w0` must be one start, or one row for each of the {num_paths} paths, but "
            f"has shape {np.shape(w0)}."
        )
    steps = keep_every * np.arange(1 + num_steps // keep_every)
    return _Ensemble(system, start, key_words(key), jnp.asarray(keep_every)), steps


def check_draws(system: AbstractStochasticMap, num_steps: int, num_paths: int) -> None:
    """Refuse an ensemble that would use a random number twice."""
    if num_steps * system.num_words >= MOST_DRAWS:
        raise _checks.ArgumentError(
            f"Argument `num_steps` must be below {MOST_DRAWS // system.num_words}, the number of "
            f"steps that one key can serve, but is {num_steps}. Continue from the last state with "
            "another key."
        )
    if num_paths >= _MOST_MEMBERS:
        raise _checks.ArgumentError(
            f"Argument `num_paths` must be below 2³², but is {num_paths}. Use several keys."
        )


def block_step(system: AbstractStochasticMap, key: Array) -> Callable[[Any, Array, Any], Any]:
    """Return the step of a packed block, given the numbers of its members and of the step."""
    if on_components(system):

        def step(z: Components, members: Array, k: Any) -> Any:
            here, drawn = system.at(k), words(key, members, k, system.num_words)
            if isinstance(here, StochasticMap):
                return step_with_barrier(here.drawn(drawn))(z)
            return here.step(z, drawn)

        return step

    def step_arrays(z: Array, members: Array, k: Any) -> Array:
        here = system.at(k)
        one = lambda state, i: here.step(state, words(key, i, k, system.num_words))  # noqa: E731
        return jax.vmap(one)(z, members)

    return step_arrays


def _run_block(ensemble: _Ensemble, members: Array, kept: int, record: Any, total: Any) -> Any:
    """Run the block of `members` and fold `record(total, index, states)` over the steps kept."""
    step = block_step(ensemble.system, ensemble.key)
    every = ensemble.keep_every
    first = jnp.atleast_2d(ensemble.start)
    start = (
        jnp.broadcast_to(first, (members.size, first.shape[1]))
        if len(first) == 1
        else (first[jnp.minimum(members, len(first) - 1)])
    )

    @fused
    def steps(begin: Any, end: Any, z: Any) -> Any:
        return lax.fori_loop(begin, end, lambda k, z: step(z, members, k), z)

    def advance(index: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        z, total = carry
        z = steps((index - 1) * every, index * every, z)
        return z, record(total, index, unpack(z))

    total = record(total, 0, start)
    return lax.fori_loop(1, kept, advance, (pack(ensemble.system, start), total))[1]


@tuned
def _moments(
    ensemble: _Ensemble, about: Point, first: Any, size: int, kept: int, num_paths: Array
) -> _Sums:
    dim = ensemble.system.dim
    block = min(BLOCK, size)
    blocks = jnp.arange(-(-size // block))
    shapes = ((kept, dim), (kept, dim), (kept, dim, dim), (kept, dim, dim))

    def one_block(total: _Sums, number: Array) -> tuple[_Sums, None]:
        place = number * block + jnp.arange(block)
        weight = jnp.where(place < size, 1 / num_paths, 0.0)

        def record(total: _Sums, index: Any, states: Array) -> _Sums:
            x = jax.vmap(ensemble.system.position)(states) - about
            x = jnp.where((place < size)[:, None], x, 0.0)
            return _Sums(
                total.first.at[index].add(weight @ x),
                total.first_squared.at[index].add(weight @ x**2),
                total.second.at[index].add((weight * x.T) @ x),
                total.second_squared.at[index].add((weight * x.T**2) @ x**2),
                total.lost.at[index].add(jnp.sum(~jnp.isfinite(x).all(axis=1))),
            )

        return _run_block(ensemble, first + place, kept, record, total), None

    sums = [jnp.zeros(shape) for shape in shapes]
    nothing = _Sums(sums[0], sums[1], sums[2], sums[3], jnp.zeros(kept, int))
    return lax.scan(one_block, nothing, blocks)[0]


@tuned
def _paths(ensemble: _Ensemble, num_paths: int, kept: int) -> Array:
    block = min(BLOCK, num_paths)
    dim = ensemble.start.shape[-1]

    def one_block(number: Array) -> Array:
        record = lambda total, index, states: total.at[:, index].set(states)  # noqa: E731
        nothing = jnp.zeros((block, kept, dim))
        members = number * block + jnp.arange(block)
        return _run_block(ensemble, members, kept, record, nothing)

    found = lax.map(one_block, jnp.arange(-(-num_paths // block)))
    return found.reshape(-1, kept, dim)[:num_paths]


def _as_record(
    system: AbstractStochasticMap, sums: _Sums, steps: Any, num_paths: int, num_steps: int
) -> PathMoments:
    def error(mean: Array, square: Array) -> Array:
        return jnp.sqrt(jnp.maximum(square - mean**2, 0) / (num_paths - 1))

    return PathMoments(
        steps=jnp.asarray(steps),
        mean=sums.first,
        mean_error=error(sums.first, sums.first_squared),
        second=sums.second,
        second_error=error(sums.second, sums.second_squared),
        lost=sums.lost,
        num_paths=num_paths,
        provenance=provenance(system.describe(), num_paths=num_paths, num_steps=num_steps),
    )
