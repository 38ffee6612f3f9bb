"""From a bifurcation to the branch that is born there."""

import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow.attractors.continuation._continue_branch import Settings, follow
from samflow.attractors.continuation.curve import Curve
from samflow.attractors.continuation.equations import RestEquations
from samflow.attractors.continuation.records import Bifurcation, Branch, SpecialPoint
from samflow.systems import AbstractFlow, AbstractMap
from samflow.systems.base import check_system

_AWAY = (0.2, 0.05, 0.01, 0.002, 0.6)
"""Distances from the bifurcation at which the new branch is tried, in longest steps."""
SWITCHABLE = (
    Bifurcation.flip,
    Bifurcation.pitchfork,
    Bifurcation.transcritical,
    Bifurcation.branch_point,
)
"""Where another branch of fixed points or cycles begins."""
_NONE = ", where no branch of fixed points or cycles begins"
_INSTEAD = {
    Bifurcation.fold: f"{_NONE}: both of its sides are on `branch`.",
    Bifurcation.border_collision: f"{_NONE}.",
    Bifurcation.neimark_sacker: f"{_NONE}: an invariant circle does. Beside it `sf.basins` finds "
    "the circle where it attracts.",
    Bifurcation.hopf: ", where limit cycles begin. Beside it `sf.find_cycles` finds them. Follow "
    "one with `sf.continue_branch`, as a fixed point of `sf.poincare_map` on a section through it.",
}
"""What to do where there is nothing to switch to."""


@_checks.untraced(None)
def switch_branch(
    system: AbstractMap | AbstractFlow,
    branch: Branch,
    at: SpecialPoint,
    *,
    max_step: float = 0.05,
    num_points: int = 2000,
) -> Branch:
    """Follow the other branch at a bifurcation of `branch`.

    At a flip these are cycles of twice the period, at a branch point the fixed points (or cycles)
    that cross. It is followed in both directions, so through the bifurcation itself.

    Args:
        system: the system of which `branch` was made.
        branch: the branch.
        at: one of `branch.special`: a flip, pitchfork, transcritical or branch point.
        max_step: as for `continue_branch`.
        num_points: as for `continue_branch`.

    Raises:
        ArgumentError: for another kind of bifurcation, or where no point of the new branch was
            found beside it.

    """
    _checks.double_precision("`switch_branch`")
    check_system(system)
    _checks.instance("at", at, SpecialPoint, "Take one of `branch.special`.")
    if at.kind not in SWITCHABLE:
        raise _checks.ArgumentError(
            f"Argument `at` must be a flip or a branch point, but is a {at.kind}{_INSTEAD[at.kind]}"
        )
    if not np.any(at.direction):
        raise _checks.ArgumentError(
            "Argument `at` is where the cycles of `branch` shrink to shorter ones. Follow those "
            "with `continue_branch` from its `state`."
        )
    period = 2 * branch.period if at.kind is Bifurcation.flip else branch.period
    curve = Curve(RestEquations(system, branch.leaf, period), branch.unit)
    step = _checks.positive("max_step", max_step)
    settings = Settings(branch.bounds, step, _checks.count("num_points", num_points, minimum=2))
    here = np.append(at.state, at.parameter) / branch.unit
    direction = at.direction / branch.unit
    direction = direction / np.linalg.norm(direction)
    for share in _AWAY:
        start = curve.corrected(here + share * step * direction, direction)
        if start is None or not np.linalg.norm(start.y - here) < 4 * share * step:
            continue
        if not branch.bounds[0] <= start.y[-1] * branch.unit[-1] <= branch.bounds[1]:
            continue
        if period == branch.period or _doubled(curve, start.y, share * step):
            return follow(curve, start, settings)
    raise _checks.ArgumentError(
        f"No point of another branch was found beside the {at.kind} at {branch.name} = "
        f"{at.parameter:g}. Try another `max_step`."
    )


def _doubled(curve: Curve, y: np.ndarray, away: float) -> bool:
    """Say whether a cycle of twice the period is one, and no shorter one gone round twice."""
    equations: RestEquations = curve.equations
    cycle = np.asarray(equations.orbit(jnp.asarray(y * curve.unit))) / curve.unit[:-1]
    gap = np.abs(cycle - np.roll(cycle, equations.period // 2, axis=0)).max()
    return bool(gap >= away)
