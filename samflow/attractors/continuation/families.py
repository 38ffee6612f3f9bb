"""All branches that hang together with one point: what it follows, and what is born on the way."""

import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._types import ArrayLike
from samflow.attractors.continuation._continue_branch import (
    continue_branch,
    first_point,
    unit_of,
)
from samflow.attractors.continuation.curve import Curve
from samflow.attractors.continuation.equations import RestEquations
from samflow.attractors.continuation.records import Branch, SpecialPoint
from samflow.attractors.continuation.switch import SWITCHABLE, switch_branch
from samflow.orbits import iterate
from samflow.orbits._iterate import start_states
from samflow.systems import AbstractFlow, AbstractMap
from samflow.systems.leaves import Selector, find_leaf

_SAME = 1e-3
"""Relative to the scale of a branch: a point given roughly, this near to it, lies on it."""
_LONGEST = 32
"""The longest period looked for in an orbit."""
_SETTLE = 20_000
_PERIODIC = 1e-9
_BESIDE = 1e-3


@_checks.untraced()
def families(
    system: AbstractMap | AbstractFlow,
    w0: ArrayLike,
    parameter: Selector,
    bounds: tuple[float, float],
    *,
    rounds: int = 1,
    known: list[Branch] | None = None,
) -> list[Branch]:
    """Return the branch of a fixed point and, in rounds, those that are born on it.

    A point at which a map has no Jacobian, as a critical point under SAM, is not followed; the
    cycle that an orbit from beside it settles on is, up to period 32.

    Args:
        system: the map or flow.
        w0: a fixed point, roughly.
        parameter: as for `continue_branch`.
        bounds: as for `continue_branch`.
        rounds: how often to follow what is born at flips and branch points.
        known: branches that need not be found again.

    Returns:
        The new branches, none where the point lies on a known one, or an orbit settles on no
        cycle.

    Raises:
        ArgumentError: as `continue_branch`, unless no fixed point is near.

    """
    known = list(known or [])
    found: list[Branch] = []
    begin = _begin(system, w0)
    value = float(find_leaf(system, parameter).value(system))
    if begin is None or any(_holds(system, branch, value, *begin) for branch in known):
        return []
    state, period = begin
    found.append(continue_branch(system, state, parameter, bounds, period=period))
    latest = list(found)
    for _ in range(_checks.count("rounds", rounds, minimum=0)):
        born = []
        for branch in latest:
            for point in branch.special:
                if point.kind in SWITCHABLE and any(point.direction):
                    new = _switched(system, branch, point, known + found + born)
                    born += [] if new is None else [new]
        found += born
        latest = born
    return found


def begins(
    system: AbstractMap | AbstractFlow,
    w0: ArrayLike,
    parameter: Selector,
    bounds: tuple[float, float],
) -> bool:
    """Say whether a fixed point is near, or, where there is no Jacobian, whatever may be."""
    begin, leaf = _begin(system, w0), find_leaf(system, parameter)
    if begin is None:
        return True
    unit = unit_of(system, jnp.asarray(begin[0]), None, bounds)
    curve = Curve(RestEquations(system, leaf, begin[1]), unit)
    return first_point(curve, begin[0], float(leaf.value(system))) is not None


def _begin(system: AbstractMap | AbstractFlow, w0: ArrayLike) -> tuple[np.ndarray, int] | None:
    """Return a state to follow, and its period."""
    state = start_states(system, w0)
    if float(system.singularity(state)) > 1e-6 * (1 + float(np.abs(state).max())):
        return np.asarray(state), 1
    if isinstance(system, AbstractFlow):
        return None
    beside = np.asarray(system.position(state)) * (1 + _BESIDE) + _BESIDE
    settled = iterate(system, beside, num_steps=_SETTLE).final
    last = np.asarray(iterate(system, settled, num_steps=_LONGEST, keep_every=1).states)
    gaps = np.abs(last[1:] - last[0]).max(axis=1)
    periods = 1 + np.flatnonzero(gaps <= _PERIODIC * (1 + np.abs(last[0]).max()))
    return (last[0], int(periods[0])) if len(periods) else None


def _holds(
    system: AbstractMap | AbstractFlow,
    branch: Branch,
    value: float,
    state: np.ndarray,
    period: int,
) -> bool:
    """Say whether a state lies on a branch: Newton's method from where it passes ends there."""
    if branch.period != period:
        return False
    equations = RestEquations(system, branch.leaf, period)
    curve, across = Curve(equations, branch.unit), np.eye(len(branch.unit))[-1]
    for passing in branch.at(value):
        found = curve.corrected(np.append(passing, value) / branch.unit, across)
        if found is None:
            continue
        cycle = np.asarray(equations.orbit(jnp.asarray(found.y * branch.unit)))
        if np.abs((cycle - state) / branch.unit[:-1]).max(axis=1).min() <= _SAME:
            return True
    return False


def _switched(
    system: AbstractMap | AbstractFlow, branch: Branch, at: SpecialPoint, known: list[Branch]
) -> Branch | None:
    """Return what is born at a bifurcation; None where it was found before, or not at all."""
    try:
        new = switch_branch(system, branch, at)
    except _checks.ArgumentError:
        return None
    # Near the bifurcation all that meets there looks the same.
    away = np.abs((new.states - np.asarray(at.state)) / new.unit[:-1]).max(axis=1)
    away += np.abs(new.parameter - at.parameter) / new.unit[-1]
    far = int(away.argmax())
    place = (float(new.parameter[far]), new.states[far], new.period)
    return None if any(_holds(system, other, *place) for other in known) else new
