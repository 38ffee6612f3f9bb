"""What holds a rule near a critical point where it has no Jacobian: cycles, traps, sliding.

Rules say what they ascend by there; here is what follows. Sections 3 and 5 of docs/theory.
"""

import numpy as np
from jaxtyping import Array

from samflow._status import Kind
from samflow.equilibria.nonsmooth.arriving import Sliding
from samflow.equilibria.nonsmooth.flows import holds_flow
from samflow.equilibria.nonsmooth.located import Jacobian, can_locate, locate
from samflow.equilibria.nonsmooth.maps import holds_map, quadratic_rho
from samflow.equilibria.nonsmooth.records import Cycle, LossCycle, Nonsmooth, OnLoss, Trap
from samflow.systems import Flow, Map


def what_holds(system: Map | Flow, w: Array, hessian: np.ndarray, jacobian: Jacobian) -> Nonsmooth:
    """Return what holds `system` at its critical point `w`, where it has no Jacobian.

    Of a map by the quadratic part of the loss, `hessian`, and also on the loss itself, by the
    cycles that are there, of which `jacobian` gives the multipliers; of a flow on the loss itself.
    `undefined` where the Hessian is not finite.
    """
    if not np.isfinite(hessian).all():
        return Nonsmooth(Kind.undefined)
    ascent = system.rule.linear_ascent(system.loss, np.asarray(w))
    if isinstance(system, Flow):
        return holds_flow(system, w, hessian, ascent)
    found = holds_map(system, hessian, ascent)
    cycle, known = found.two_cycle, ascent is not None or bool(found.cycles)
    if (known and found.exact) or not can_locate(system, hessian):
        return found  # of a quadratic theory knows all, if it knows the rule
    on_loss = locate(system, w, hessian, jacobian, 0.0 if cycle is None else cycle.radius)
    if on_loss is None:
        return found
    if cycle is not None and ascent is not None and not found.exact:
        on_loss = on_loss._replace(quadratic_rho=quadratic_rho(system, w, hessian, ascent, cycle))
    return found._replace(kind=_kind(found.kind, on_loss), on_loss=on_loss)


def cycles_beside(
    system: Map, w: Array, hessian: np.ndarray, jacobian: Jacobian, kind: Kind
) -> Nonsmooth | None:
    """Return the attracting cycles about a critical point with a Jacobian; None if none is found.

    Within ε of the point practical SAM is smooth; rho away from it, it is SAM.
    """
    if not can_locate(system, hessian):
        return None
    on_loss = locate(system, w, hessian, jacobian, 0.0)
    return Nonsmooth(kind, on_loss=on_loss) if on_loss is not None and on_loss.cycles else None


def _kind(quadratic: Kind, on_loss: OnLoss) -> Kind:
    """Return what the point is on the loss, by what it is on the quadratic part.

    That an orbit still turns is taken for a rotation only where the quadratic part has a cycle that
    holds it: away from a weak saddle orbits are slow. A trap of the quadratic part stands where
    orbits turn on the loss and part from each other; where they do not part, it is a rotation.
    """
    if on_loss.cycles:
        return Kind.cycle
    turns = "turns" in on_loss.outcomes
    if quadratic is Kind.cycle:
        return Kind.rotation if turns else Kind.undefined
    if quadratic not in _TRAPS:
        return quadratic
    if not turns:
        return Kind.undefined
    return quadratic if on_loss.growth is not None and on_loss.growth > 0 else Kind.rotation


_TRAPS = (Kind.trap, Kind.chaotic_trap)


__all__ = [
    "Cycle",
    "LossCycle",
    "Nonsmooth",
    "OnLoss",
    "Sliding",
    "Trap",
    "cycles_beside",
    "what_holds",
]
