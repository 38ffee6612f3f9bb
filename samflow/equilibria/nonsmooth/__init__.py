"""What holds a rule near a critical point where it has no Jacobian: cycles, traps, sliding.

Rules say what they ascend by there; here is what follows. Sections 3 and 5 of docs/theory.
"""

import numpy as np
from jaxtyping import Array

from samflow._status import Kind
from samflow.equilibria.nonsmooth.flows import holds_flow
from samflow.equilibria.nonsmooth.maps import holds_map
from samflow.equilibria.nonsmooth.records import Cycle, Nonsmooth, Sliding, Trap
from samflow.systems import Flow, Map


def what_holds(system: Map | Flow, w: Array, hessian: np.ndarray) -> Nonsmooth:
    """Return what holds `system` at its critical point `w`, where it has no Jacobian.

    By the quadratic part of the loss, `hessian`; `undefined` where that is not finite.
    """
    if not np.isfinite(hessian).all():
        return Nonsmooth(Kind.undefined)
    ascent = system.rule.linear_ascent(system.loss, np.asarray(w))
    if isinstance(system, Flow):
        return holds_flow(system, w, hessian, ascent)
    return holds_map(system, hessian, ascent)


__all__ = ["Cycle", "Nonsmooth", "Sliding", "Trap", "what_holds"]
