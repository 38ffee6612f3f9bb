"""Solutions of flows with jumps, stage by stage: smooth, arrival at a critical point, sliding.

Each stage is one compiled program for the whole ensemble; members in another stage wait. A round
is a smooth segment, a test of the critical points reached at its end, and a sliding segment.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow import _checks
from samflow._components import norm
from samflow._status import Status
from samflow.orbits.filippov.arrival import (
    CROSSES,
    HELD,
    PASSES,
    REACH,
    TOO_FAR,
    Arrival,
    comes_near,
    is_clear,
    look,
    meet,
)
from samflow.orbits.filippov.sliding import margins, sliding_velocity, take_off, wall
from samflow.orbits.segments import Segment, SolverSettings, outside, smooth_status, solve_segment
from samflow.rules.base import is_normalised
from samflow.systems.base import AbstractFlow
from samflow.systems.flow import Flow

_MAX_ROUNDS = 50
_MAX_DIM = 200
"""Up to this many weights the Hessian is formed and diagonalised at every stage of a slide."""
_COARSEST = 1e-7
"""Relative tolerance: with a coarser tolerance a step could pass across a jump unnoticed."""
_SMOOTH, _ARRIVING, _SLIDING, _ENDED = range(4)
_AFTER = np.array([_SMOOTH, _SMOOTH, _ENDED, _SLIDING, _SMOOTH, _ENDED])
"""The stage after each outcome of an arrival."""


class Progress(NamedTuple):
    """How far each member has come.

    A critical point ahead is examined from `reach` tolerances away; 0 while one is being passed.
    """

    stage: Array
    t: Array
    w: Array
    reach: Array
    status: Array
    arrived_at: Array
    states: Array


def jumps(system: AbstractFlow) -> bool:
    """Say whether the flow is of a rule that jumps at critical points, and small enough."""
    normalised = isinstance(system, Flow) and is_normalised(system.rule)
    return normalised and system.dim <= _MAX_DIM


def follow(system: Flow, starts: Array, settings: SolverSettings, *, max_steps: int) -> Progress:
    """Follow the Filippov solutions from `starts` through all their stages.

    Inside a transformation of JAX the rounds are made by a compiled loop, which is slower to
    compile. Derivatives are those of the first smooth stage, and NaN for what comes after it.
    """
    settings = settings._replace(
        rtol=jnp.minimum(settings.rtol, _COARSEST), atol=jnp.minimum(settings.atol, _COARSEST)
    )
    progress = _smooth(system, _begin(starts, settings), settings, max_steps)
    leaves = [leaf for leaf in jax.tree.leaves((system, progress)) if eqx.is_array(leaf)]
    if any(_checks.is_traced(leaf) for leaf in leaves):
        return _go_on_traced(system, progress, settings, max_steps)
    for _ in range(_MAX_ROUNDS):
        if (progress.stage == _ENDED).all():
            return progress
        if (progress.stage == _ARRIVING).any():
            progress = _settle(system, progress, settings)
        if (progress.stage == _SLIDING).any():
            progress = _slide(system, progress, settings, max_steps)
        if (progress.stage == _SMOOTH).any():
            progress = _smooth(system, progress, settings, max_steps)
    return _give_up(progress)


def _go_on_traced(
    system: Flow, first: Progress, settings: SolverSettings, max_steps: int
) -> Progress:
    """Make the rounds in a compiled loop, as is needed inside a transformation of JAX."""

    def goes_on(state: tuple[Progress, Array]) -> Array:
        return (state[0].stage != _ENDED).any() & (state[1] < _MAX_ROUNDS)

    def one(state: tuple[Progress, Array]) -> tuple[Progress, Array]:
        progress = _settle(system, state[0], settings)
        if system.dim > 1:
            progress = _slide(system, progress, settings, max_steps)
        return _smooth(system, progress, settings, max_steps), state[1] + 1

    leaves = [leaf for leaf in jax.tree.leaves((system, first.w)) if eqx.is_inexact_array(leaf)]
    origin = sum((jnp.sum(leaf) for leaf in leaves), jnp.asarray(0.0))
    system = jax.lax.stop_gradient(system)
    progress, _ = jax.lax.while_loop(goes_on, one, (jax.lax.stop_gradient(first), jnp.asarray(0)))
    progress = _give_up(progress)
    return progress._replace(states=_continued(first.states, progress.states, origin))


@jax.custom_vjp
def _continued(first: Array, states: Array, origin: Array) -> Array:
    """Return `states`; derivatives are those of `first` where both agree, and NaN elsewhere.

    `origin` is a sum of everything that the states depend on: NaN is propagated through it.
    """
    return states


def _forward(first: Array, states: Array, origin: Array) -> tuple[Array, Array]:
    return states, first == states


def _backward(same: Array, cotangent: Array) -> tuple[Array, Array, Array]:
    lost = jnp.any(~same & (cotangent != 0))
    kept = jnp.where(same, cotangent, 0)
    return kept, jnp.zeros_like(kept), jnp.where(lost, jnp.nan, 0.0)


_continued.defvjp(_forward, _backward)


def _begin(starts: Array, settings: SolverSettings) -> Progress:
    members = starts.shape[0]
    times = settings.times
    states = jnp.full((members, times.size, starts.shape[1]), jnp.nan, starts.dtype)
    return Progress(
        stage=jnp.full(members, _SMOOTH, int),
        t=jnp.full(members, times[0]),
        w=starts,
        reach=jnp.full(members, REACH, times.dtype),
        status=jnp.zeros(members, int),
        arrived_at=jnp.full(members, jnp.inf, times.dtype),
        states=states.at[:, 0].set(starts),
    )


def _give_up(progress: Progress) -> Progress:
    running = progress.stage != _ENDED
    return progress._replace(
        status=jnp.where(running, Status.out_of_steps, progress.status),
        stage=jnp.full_like(progress.stage, _ENDED),
    )


def _tolerance(w: Array, settings: SolverSettings) -> Array:
    """Return the length that the solver does not resolve at `w`."""
    eps = jnp.finfo(w.dtype).eps
    return settings.atol + jnp.maximum(settings.rtol, eps) * norm(w)


@eqx.filter_jit
def _smooth(system: Flow, progress: Progress, settings: SolverSettings, max_steps: int) -> Progress:
    """Follow the members in a smooth stage to the end, or to where a critical point is near."""

    def one(member: Progress) -> Progress:
        moves = member.stage == _SMOOTH
        looks = member.reach > 0

        def meets(w: Array) -> Array:
            at, length = look(system, w), _tolerance(w, settings)
            near = comes_near(at, member.reach * length)
            return jnp.where(looks, near, is_clear(at, REACH * length))

        events = [lambda w: outside(w, settings), meets]
        t0 = jnp.where(moves, member.t, settings.times[-1])
        segment = solve_segment(
            lambda t, w: system.velocity(w),
            member.w,
            t0,
            settings,
            events,
            max_steps=max_steps,
        )
        paused = segment.events[1]
        new = _advance(member, segment, settings)._replace(
            stage=jnp.where(paused, jnp.where(looks, _ARRIVING, _SMOOTH), _ENDED),
            reach=jnp.where(paused & ~looks, REACH, member.reach),
            status=smooth_status(segment, system, member.w, settings),
        )
        return _choose(moves, new, member)

    return jax.vmap(one)(progress)


@eqx.filter_jit
def _slide(system: Flow, progress: Progress, settings: SolverSettings, max_steps: int) -> Progress:
    """Follow the members that slide to the end, or to where they leave their manifold."""

    def one(member: Progress) -> Progress:
        slides = member.stage == _SLIDING
        horizon = settings.times[-1]
        t0 = jnp.where(slides, member.t, horizon)
        segment = solve_segment(
            lambda t, w: sliding_velocity(wall(system, w), horizon),
            member.w,
            t0,
            settings,
            lambda w: jnp.min(margins(wall(system, w), w, settings.radius)),
            max_steps=max_steps,
        )
        at = wall(system, segment.w)
        cause = jnp.argmin(margins(at, segment.w, settings.radius))
        leaves = segment.events & (cause == 0)
        ended = jnp.array([Status.not_finite, Status.undefined, Status.diverged])[cause]
        status = jnp.where(segment.events, ended, segment.status)
        status = jnp.where(segment.status == Status.reached_end, Status.sliding, status)
        off = take_off(at, segment.w, _tolerance(segment.w, settings))
        new = _advance(member, segment, settings)._replace(
            stage=jnp.where(leaves, _SMOOTH, _ENDED),
            w=jnp.where(leaves, off, segment.w),
            reach=jnp.asarray(REACH),
            status=status,
        )
        return _choose(slides, new, member)

    return jax.vmap(one)(progress)


@eqx.filter_jit
def _settle(system: Flow, progress: Progress, settings: SolverSettings) -> Progress:
    """Decide what the members do that are near a critical point."""

    def one(member: Progress) -> Progress:
        found = meet(system, member.w, _tolerance(member.w, settings))
        nearer = jnp.where(member.reach > 1, member.reach / 10, 0.0)
        reach = jnp.where(found.outcome == TOO_FAR, nearer, 0.0)
        onwards = member._replace(stage=jnp.asarray(_SMOOTH), reach=reach)
        goes_on = (found.outcome == PASSES) | (found.outcome == TOO_FAR)
        new = _choose(goes_on, onwards, _settled(member, found, settings))
        return _choose(member.stage == _ARRIVING, new, member)

    return jax.vmap(one)(progress)


def _settled(member: Progress, found: Arrival, settings: SolverSettings) -> Progress:
    """Bring a member to the critical point, and beyond it or to the end."""
    t1 = settings.times[-1]
    arrival = member.t + found.delay
    held, crosses = found.outcome == HELD, found.outcome == CROSSES
    until = jnp.where(
        crosses, arrival + found.beyond, jnp.where(held & (arrival <= t1), t1, arrival)
    )
    late = until > t1
    part = jnp.where(found.delay > 0, (settings.times - member.t) / found.delay, 1.0)
    path = member.w + jnp.minimum(part, 1.0)[:, None] * (found.point - member.w)
    covered = (settings.times > member.t) & (settings.times <= until)
    status = jnp.where(held, Status.sliding, Status.not_unique)
    return member._replace(
        stage=jnp.where(late, _ENDED, jnp.asarray(_AFTER)[found.outcome]),
        t=jnp.minimum(until, t1),
        w=jnp.where(late, path[-1], jnp.where(crosses, found.onward, found.point)),
        status=jnp.where(late, Status.reached_end, status),
        arrived_at=jnp.minimum(member.arrived_at, jnp.where(arrival <= t1, arrival, jnp.inf)),
        states=jnp.where(covered[:, None], path, member.states),
    )


def _advance(member: Progress, segment: Segment, settings: SolverSettings) -> Progress:
    """Take over a segment's time, state and kept states."""
    covered = (settings.times > member.t) & (settings.times <= segment.t)
    states = jnp.where(covered[:, None], segment.kept, member.states)
    return member._replace(t=segment.t, w=segment.w, states=states)


def _choose(where: Array, new: Progress, old: Progress) -> Progress:
    # A weak type would compile the next stage again.
    return jax.tree.map(lambda a, b: jnp.where(where, a, b).astype(b.dtype), new, old)
