"""What holds a rule near a critical point where it has no Jacobian: cycles, traps, sliding."""

import numpy as np
from jaxtyping import Array

from samflow._status import Kind
from samflow.equilibria.linear_ascent import linear_ascent
from samflow.equilibria.nonsmooth_flows import holds_flow
from samflow.equilibria.nonsmooth_maps import holds_map
from samflow.equilibria.nonsmooth_records import Cycle, Nonsmooth, Sliding, Trap
from samflow.systems import Flow, Map


def nonsmooth(system: Map | Flow, w: Array, hessian: np.ndarray) -> Nonsmooth:
    """Return what holds `system` at its critical point `w`, where it has no Jacobian.

    By the quadratic part of the loss, `hessian`; `undefined` where that is not finite.
    """
    if not np.isfinite(hessian).all():
        return Nonsmooth(Kind.undefined)
    ascent = linear_ascent(system.rule, system.loss, np.asarray(w))
    if isinstance(system, Flow):
        return holds_flow(system, w, hessian, ascent)
    return holds_map(system, hessian, ascent)


__all__ = ["Cycle", "Nonsmooth", "Sliding", "Trap", "nonsmooth"]
