"""Arrival at a critical point where the field jumps: hold, slide, cross, pass, or not unique."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from samflow._components import norm
from samflow.orbits.filippov.critical import Surroundings, critical_point, fall, limit, surroundings
from samflow.systems.flow import Flow

REACH = 1000.0
"""In tolerances of a step: the distance from a jump at which it is examined. Tsitouras' error
estimate can accept a step across a jump which is 400 tolerances long."""
_NEAR = 0.05
"""‖g‖/‖d‖ below which a critical point may be near: where the direction is close to a limit."""
_CLEAR = 10.0
"""By this factor farther than both a critical point has been left."""
_RESIDUAL = 1e-6
"""Accepted ‖g‖ at the critical point, relative to ‖g‖ where the search for it began."""
_LINEAR = 0.1
"""Largest relative error of g ≈ H(w − w*) where the critical point counts as near."""
_AGREEMENT = 0.3
"""Largest relative difference of the speed of ‖g‖ from its limit S(e) there."""

PASSES, TOO_FAR, HELD, SLIDES, CROSSES, NOT_UNIQUE = range(6)
"""`TOO_FAR`: the field is not yet like its limits at a critical point, or has none."""


class Arrival(NamedTuple):
    """What happens at an arrival: one of six outcomes, with its time and place.

    `delay` is the time from the current place to the critical point `point`. A solution that
    crosses is at `onward` after a further time `beyond`.
    """

    outcome: Array
    delay: Array
    point: Array
    onward: Array
    beyond: Array


class Sight(NamedTuple):
    """The gradient and the direction at a point, their norms, and the speed −d‖g‖/dt."""

    g: Array
    d: Array
    r: Array
    size: Array
    speed: Array


def look(system: Flow, w: Array) -> Sight:
    """Return g, d and the speed at which ‖g‖ falls, eᵀH d."""
    g, d = system.loss.gradient(w), -system.velocity(w)
    r = norm(g)
    return Sight(g, d, r, norm(d), jnp.sum(g * system.loss.hvp(w, d)) / r)


def comes_near(at: Sight, reach: Array) -> Array:
    """Say whether ‖g‖, falling as it does, is zero within the length `reach` along the path."""
    ahead = (at.speed > 0) & (at.r * at.size <= reach * at.speed)
    return (at.r == 0) | (ahead & (at.r <= _NEAR * at.size))


def is_clear(at: Sight, reach: Array) -> Array:
    """Say whether a critical point that a solution passed lies behind it."""
    far = at.r * at.size > _CLEAR * reach * at.speed
    return (at.speed < 0) | far | (at.r > _CLEAR * _NEAR * at.size)


def meet(system: Flow, w: Array, tolerance: Array) -> Arrival:
    """Decide what a solution at `w`, near a critical point or on it, does there.

    Args:
        system: the flow of a normalised rule.
        w: where the solution is.
        tolerance: a length within which it is not known any better.

    """
    at = look(system, w)
    guess = jnp.where(at.r == 0, w, w - at.d * (at.r / at.speed))
    around = surroundings(system, critical_point(system.loss, guess))
    there = at.r <= around.rounding
    e = around.range_of_h @ (at.g / at.r)
    e = e / norm(e)
    time, falls = fall(around, e)
    # S is linear in ‖g‖ to first order: ∫ dr/S(r) is r over the logarithmic mean of both ends.
    excess = at.speed / around.speed(e) - 1
    delay = jnp.where(there, 0.0, at.r * time * _log1p_ratio(excess))
    side = jnp.where(there, 0.0, jnp.sign(jnp.sum(e * around.normal)))
    through, to = _at_a_wall(around, side)
    outcome = jnp.where(around.rank == 1, through, _at_a_point(around, there | falls))
    if system.dim == 1:
        outcome = jnp.where(outcome == SLIDES, HELD, outcome)
    known = _is_near(around, w, at) & (there | (jnp.abs(excess) <= _AGREEMENT))
    velocity = -limit(system, around.point, to * around.normal)
    beyond = tolerance / norm(velocity)
    return Arrival(
        outcome=jnp.where(known & around.is_defined, outcome, TOO_FAR),
        delay=delay,
        point=jnp.where(there, w, around.point),
        onward=around.point + beyond * velocity,
        beyond=beyond,
    )


def _is_near(around: Surroundings, w: Array, at: Sight) -> Array:
    """Say whether w* is a critical point, and near enough to `w` for g to be linear between."""
    residual = norm(around.system.loss.gradient(around.point))
    error = norm(at.g - around.hessian @ (w - around.point))
    rounding = around.rounding
    return (residual <= _RESIDUAL * at.r + rounding) & (error <= _LINEAR * at.r + rounding)


def _at_a_wall(around: Surroundings, side: Array) -> tuple[Array, Array]:
    """Codimension 1: a solution from `side` slides, or goes through to the side that is returned.

    `side` is the sign of eᵀn, or 0 for a start on the manifold. There it goes to the one side that
    does not send it back; where neither does, this is not unique.
    """
    plus, minus = around.sides
    both = (plus > 0) & (minus > 0)
    inwards = jnp.where(
        side > 0, plus > 0, jnp.where(side < 0, minus > 0, (plus > 0) | (minus > 0))
    )
    outcome = jnp.where(both, SLIDES, CROSSES)
    refused = jnp.where(side == 0, NOT_UNIQUE, PASSES)
    return jnp.where(inwards, outcome, refused), jnp.where(plus > 0, -1.0, 1.0)


def _at_a_point(around: Surroundings, arrives: Array) -> Array:
    """Codimension 2 or more: a solution is held, comes to where it is not unique, or passes.

    Where H has a kernel, Filippov's velocity along it is any of many, unless all limits have none.
    """
    isolated = around.rank == around.system.dim
    held = around.holds & (isolated | around.is_still)
    return jnp.where(held, HELD, jnp.where(around.holds | arrives, NOT_UNIQUE, PASSES))


def _log1p_ratio(x: Array) -> Array:
    """Return ln(1 + x)/x."""
    small = jnp.abs(x) < 1e-6
    return jnp.where(small, 1 - x / 2, jnp.log1p(x) / jnp.where(small, 1.0, x))
