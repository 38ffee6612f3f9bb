"""Escape times: first passage of an optimiser with noise out of a ball, usually about a saddle.

Paths run in blocks as in `samflow.noise.paths`, and each step is checked. Paths that have escaped
are removed between two calls of the compiled program, so that they cost nothing more.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from samflow import _checks
from samflow._components import Components, in_layout_of
from samflow._kernel import fused, tuned
from samflow._random import MOST_DRAWS, key_words
from samflow._schedule import check_steps
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.noise.paths import MAX_BYTES, Progress, block_step, check_draws
from samflow.noise.survival import Survival, kaplan_meier
from samflow.orbits._iterate import start_states
from samflow.orbits.blocks import on_components, pack, select, squared_norm, unpack
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems.base import check_system
from samflow.systems.stochastic_map import AbstractStochasticMap

BLOCK = 128
"""Paths that run side by side: fewer than elsewhere, for the last ones run almost alone."""
_ARRAYS_BLOCK = 64
"""The same where a state is one array."""
_AT_ONCE = 2**25
"""Steps of paths in one call of the compiled program: half a second, more or less."""
_BETWEEN = 16
"""Steps after which a block asks whether any of its paths is still inside."""
_FIRST = 64
"""Steps before paths that are out are taken away for the first time."""


class EscapeTimes(AbstractRecord):
    """Escape times of an ensemble, with an estimate of their distribution.

    The distribution is estimated from all paths. A path that is still inside at the end, or that is
    lost (no longer finite), is right-censored: its time is longer than what was observed.
    `survival.censored` counts both. For lost paths this assumes that they would have continued like
    those still inside. Where that matters, bound the answer: `count()` says how many paths are
    lost; let them escape at once, or never.

    Attributes:
        times: in steps, one per path. Escaped: the first step at which ‖w − about‖ > radius. Still
            inside, not finite, undefined: the last step at which it was known to be inside.
        status: escaped, still inside, not finite (the next step overflows or is no number), or
            undefined (the same, from a state where the system is not defined); one per path.
        survival: Kaplan and Meier's estimate, with its band, median and mean.
        radius: of the ball, in the norm of weights.
        max_steps: how long a path was followed.

    """

    rows: ClassVar[Names] = ("path",)
    radius: float = eqx.field(static=True, metadata=axes(units="weight"))
    max_steps: int = eqx.field(static=True, metadata=axes(units="step"))
    provenance: Provenance = eqx.field(static=True)
    survival: Survival
    times: Int[Array, " path"] = eqx.field(metadata=axes("path", units="step"))
    status: Int[Array, " path"] = eqx.field(metadata=axes("path", words=Status))

    def __str__(self) -> str:
        """Return the median with its interval, and how many paths ended in each way."""
        ends = ", ".join(f"{many} {label}" for label, many in self.count().items())
        (low, high), reason = self.interval, self.survival.reason
        found = f"median {self.median:g} steps, 95 % interval {low:g} to {high:g}"
        if math.isnan(self.median):
            found, reason = f"no {reason.removeprefix('the ')}", ""
        return f"{found}{f' ({reason})' if reason else ''}; paths: {ends}"

    def count(self) -> dict[str, int]:
        """Return how many paths ended in each way."""
        codes = np.asarray(self.status).tolist()
        return {status.label: codes.count(status) for status in Status if status in codes}

    @property
    def median(self) -> float:
        """The median time in steps; NaN where it is not reached, see `survival.reason`."""
        return self.survival.median

    @property
    def interval(self) -> tuple[float, float]:
        """The median's interval of 95 %; an end that is not reached is NaN."""
        return self.survival.median_low, self.survival.median_high

    @property
    def share(self) -> float:
        """The share of all paths that were seen to escape."""
        return float(np.mean(np.asarray(self.status) == Status.escaped))


@_checks.untraced()
def escape_time(
    system: AbstractStochasticMap,
    w: ArrayLike,
    *,
    radius: float,
    key: PRNGKeyArray,
    num_paths: int,
    max_steps: int,
    start: ArrayLike | None = None,
    progress: Progress | None = None,
) -> EscapeTimes:
    """Return when random orbits leave the ball ‖w' − w‖ ≤ radius for the first time, in steps.

    Every step is checked. A diffusion that the steps approximate leaves earlier, because steps
    overshoot the boundary (`sf.noise.linear_exit_time` corrects for it). A map with schedules is
    that of its step.
    Path i depends on (key, i) alone: a larger ensemble has the times of a smaller one first.

    Args:
        system: a `StochasticMap`, or any other map with noise.
        w: centre of the ball, shape (dim,); any point, usually a saddle.
        radius: of the ball in the space of weights, > 0.
        key: a key of `jax.random`.
        num_paths: at least 1.
        max_steps: steps after which a path that is still inside is given up.
        start: weights (dim,), at velocity 0, or a state (state_dim,), in the ball; by default `w`.
        progress: called from time to time with the number of paths that have ended and the number
            of all paths. Ctrl-C takes effect at these times.

    Returns:
        One time and one status per path, with the estimate of the distribution. A path that is
        no longer finite has not escaped: it is censored, and its status says what happened.

    Raises:
        ArgumentError: for arguments out of range, a start outside the ball, for more steps than a
            key has numbers for, and for paths that would not fit in 2 GiB.

    """
    _check_kind(system)
    w = _checks.point("w", w, system.dim)
    radius = _checks.positive("radius", radius)
    num_paths = _checks.count("num_paths", num_paths)
    max_steps = _checks.count("max_steps", max_steps)
    _check_most(system, max_steps)
    check_draws(system, max_steps, num_paths)
    check_steps(system.schedules, 0, max_steps)
    state = _start(system, w, radius, start)
    needed = 2 * num_paths * (state.nbytes + 9)  # rows of a buffer, and again while they are sorted
    if needed > MAX_BYTES:
        raise _checks.ArgumentError(
            f"Argument `num_paths` must be small enough for {MAX_BYTES / 2**30:.3g} GiB of memory, "
            f"but {num_paths} paths take {needed / 2**30:.3g} GiB. Run several ensembles, each "
            "with its own key."
        )
    shared = _Shared(system, w, jnp.asarray(radius), key_words(key))
    times, status = _run(shared, state, num_paths, max_steps, progress)
    return EscapeTimes(
        times=jnp.asarray(times),
        status=jnp.asarray(status),
        survival=kaplan_meier(times, status == Status.escaped, horizon=max_steps),
        radius=radius,
        max_steps=max_steps,
        provenance=provenance(
            system.describe(),
            w=np.asarray(w).tolist(),
            radius=radius,
            start=np.asarray(state).tolist(),
            num_paths=num_paths,
            max_steps=max_steps,
        ),
    )


def escape_times(
    system: AbstractStochasticMap,
    w: ArrayLike,
    *,
    where: Callable[[Any], Any],
    values: ArrayLike,
    **settings: Any,
) -> tuple[EscapeTimes, ...]:
    """Return `escape_time` for each of many values of hyperparameters, compiled once.

    All run with the same random numbers, which makes differences between them less noisy than
    independent ensembles would be.

    >>> import jax; import samflow as sf
    >>> loss = sf.losses.saddle()
    >>> system = sf.StochasticMap(
    ...     sf.Map(loss, sf.USAM(rho=0.1), lr=0.1), sf.noise.isotropic_noise(2, sigma=1.0)
    ... )
    >>> found = escape_times(
    ...     system, [0, 0], where=lambda s: (s.map.rule.rho, s.noise.batch_size),
    ...     values=[(0.1, 1), (0.5, 1), (0.5, 16)], radius=1.0, key=jax.random.key(0),
    ...     num_paths=100, max_steps=1000)
    >>> [time.median for time in found]
    [..., ..., ...]

    Args:
        system: as for `escape_time`.
        w: as for `escape_time`.
        where: returns the leaf of a system that varies, or a tuple of leaves.
        values: one row per system: shape (N,) for one leaf, (N, m) for m. Constructors'
            checks are not repeated: values out of range end as lost paths.
        settings: the other arguments of `escape_time`.

    Raises:
        ArgumentError: for values of a wrong shape or not finite, and as `escape_time`.

    """
    _check_kind(system)
    leaves = where(system)
    several = isinstance(leaves, tuple)
    width = len(leaves) if several else 1
    if any(leaf is None for leaf in (leaves if several else (leaves,))):
        raise _checks.ArgumentError(
            "Argument `where` must return numbers that the system has, but one is None. To vary "
            "the momentum, give the system a momentum of 0."
        )
    try:
        rows = np.atleast_1d(_checks.real_numbers(values))
    except TypeError as error:
        raise _checks.ArgumentError(
            f"Argument `values` must be numbers, one row of {width} for each system."
        ) from error
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != width or not rows.size:
        raise _checks.ArgumentError(
            f"Argument `values` must have one row of {width} numbers for each system, but has "
            f"shape {np.shape(values)}."
        )
    if not np.isfinite(rows).all():
        raise _checks.ArgumentError("Argument `values` must be finite, but is not.")

    def moved(row: Any) -> AbstractStochasticMap:
        new = tuple(jnp.asarray(value, float) for value in row)
        return eqx.tree_at(where, system, new if several else new[0])

    return tuple(escape_time(moved(row), w, **settings) for row in rows)


class _Shared(NamedTuple):
    """What every path shares."""

    system: AbstractStochasticMap
    centre: Array
    radius: Array
    key: Array


class _Buffer(NamedTuple):
    """Paths, one per row.

    Attributes:
        members: the number of each.
        states: its last state inside the ball.
        inside: how many steps it has been there.
        running: whether it is still inside.

    """

    members: Int[Array, " rows"]
    states: Float[Array, "rows state"]
    inside: Int[Array, " rows"]
    running: Bool[Array, " rows"]


def _check_kind(system: Any) -> None:
    hint = "Use `sf.StochasticMap(map, noise)`."
    check_system(system, AbstractStochasticMap, hint, changing=True)


def _check_most(system: AbstractStochasticMap, max_steps: int) -> None:
    most = min(MOST_DRAWS // system.num_words, 2**31)
    if max_steps >= most:
        raise _checks.ArgumentError(
            f"Argument `max_steps` must be below {most}, the number of steps that one key can "
            f"serve, but is {max_steps}."
        )


def _start(system: Any, w: Array, radius: float, start: ArrayLike | None) -> Array:
    state = start_states(system.at(0), w if start is None else start, "start")
    if state.ndim != 1:
        raise _checks.ArgumentError(
            f"Argument `start` must be one point, at which all paths start, but has {len(state)}."
        )
    away = float(jnp.linalg.norm(system.position(state) - w))
    if not away <= radius:
        raise _checks.ArgumentError(
            f"Argument `start` must be in the ball of radius {radius:g}, but is at distance "
            f"{away:g} from its centre. Start nearer, or use a larger `radius`."
        )
    return state


def _run(
    shared: _Shared, start: Array, num_paths: int, max_steps: int, progress: Progress | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the time and the status of every path."""
    block = _block(shared.system, num_paths)
    padded = -(-num_paths // block) * block
    buffer = _Buffer(
        members=jnp.arange(padded, dtype=jnp.uint32),
        states=jnp.broadcast_to(start, (padded, start.size)),
        inside=jnp.zeros(padded, jnp.int32),
        running=jnp.arange(padded) < num_paths,
    )
    made, left = 0, num_paths
    for until in _slices(max_steps):
        while made < until and left:
            # A call makes as many steps as keep it short; rows still running stand first.
            stop = min(until, made + max(1, _AT_ONCE // left))
            blocks = -(-left // block)
            ends = jnp.asarray(made), jnp.asarray(stop)  # numbers of Python would be compiled in
            buffer, left = _advance(shared, buffer, block, jnp.asarray(blocks), *ends)
            made, left = stop, int(left)
            if progress is not None:
                progress(num_paths - left, num_paths)
    return _ended(shared, buffer, num_paths)


def _block(system: AbstractStochasticMap, num_paths: int) -> int:
    # One size for all ensembles: what is compiled, and so its rounding, is then the same.
    if on_components(system):
        return BLOCK
    return min(_ARRAYS_BLOCK, num_paths)


def _slices(max_steps: int) -> Iterator[int]:
    """Yield the steps after which paths that are out are taken away: a quarter more each time."""
    until = _FIRST
    while until < max_steps:
        yield until
        until += until // 4
    yield max_steps


@tuned
def _advance(
    shared: _Shared, buffer: _Buffer, block: int, blocks: Any, since: Any, until: Any
) -> tuple[_Buffer, Array]:
    """Make the steps from `since` to `until` of the first `blocks` blocks of paths.

    Return the buffer with the paths that still run first, and how many they are.
    """
    step = block_step(shared.system, shared.key)

    def one_block(j: Any, buffer: _Buffer) -> _Buffer:
        rows = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, j * block, block), buffer)

        def going(carry: Any) -> Any:
            k, _, _, running = carry
            return (k < until) & jnp.any(running)

        def one_step(k: Any, carry: Any) -> Any:
            z, inside, running = carry
            new = step(z, rows.members, k)
            stays = running & (_distance(shared, new) <= 1)
            return select(stays, new, z), inside + stays, stays

        def some_steps(carry: Any) -> Any:
            k, *path = carry
            then = jnp.minimum(k + _BETWEEN, until)
            return then, *lax.fori_loop(k, then, one_step, tuple(path))

        begin = (since, pack(shared.system, rows.states), rows.inside, rows.running)
        run = fused(lambda *begin: lax.while_loop(going, some_steps, begin))
        _, z, inside, running = run(*begin)
        new = _Buffer(rows.members, unpack(z), inside, running)
        put = lambda a, b: lax.dynamic_update_slice_in_dim(a, b, j * block, 0)  # noqa: E731
        return jax.tree.map(put, buffer, new)

    buffer = lax.fori_loop(0, blocks, one_block, buffer)
    order = jnp.argsort(~buffer.running, stable=True)
    return jax.tree.map(lambda a: a[order], buffer), jnp.sum(buffer.running)


def _distance(shared: _Shared, z: Any) -> Array:
    """Return ‖w − centre‖²/radius² of a packed block, one per path; NaN where w is no number."""
    scale = 1 / shared.radius  # first, so that the square of no radius overflows
    if isinstance(z, Components):
        w = shared.system.position(z)
        return squared_norm((w - in_layout_of(w, shared.centre)) * scale)
    return squared_norm((jax.vmap(shared.system.position)(z) - shared.centre) * scale)


def _ended(shared: _Shared, buffer: _Buffer, num_paths: int) -> tuple[np.ndarray, np.ndarray]:
    finite, defined = _causes(shared, buffer)
    cause = np.where(defined, Status.not_finite, Status.undefined)
    cause = np.where(finite, Status.escaped, cause)
    status = np.where(buffer.running, Status.still_inside, cause)
    order = np.argsort(np.asarray(buffer.members))[:num_paths]
    times = np.asarray(buffer.inside) + (status == Status.escaped)
    return times[order], status[order]


@eqx.filter_jit
def _causes(shared: _Shared, buffer: _Buffer) -> tuple[Array, Array]:
    """Return whether the step that ended a path gave finite numbers, and began where it is defined.

    The step is repeated from the last state inside; it draws the same random numbers.
    """
    step = block_step(shared.system, shared.key)

    def one(member: Array, state: Array, k: Array) -> tuple[Array, Array]:
        new = unpack(step(pack(shared.system, state[None]), member[None], k))[0]
        finite = jnp.all(jnp.isfinite(new))
        return finite, finite | (shared.system.at(k).singularity(state) > 0)

    return jax.vmap(one)(buffer.members, buffer.states, buffer.inside)
