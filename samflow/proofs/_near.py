"""The critical point near given weights, enclosed."""

import numpy as np
from flint import arb

from samflow.proofs.balls import Balls, OutsideDomain, finite
from samflow.proofs.equations import GradientEquations
from samflow.proofs.search import certify_near

_NEWTON_STEPS = 60


def critical_point(
    equations: GradientEquations, start: np.ndarray, *, precision: int
) -> Balls | None:
    """Return an enclosure of the critical point that Newton's iteration finds from `start`."""
    w = [arb(x) for x in start.tolist()]
    for _ in range(_NEWTON_STEPS):
        try:
            g, h = equations.linearise(w)
        except OutsideDomain:
            return None
        slope = np.array([[float(x) for x in row] for row in h])
        try:
            step = np.linalg.solve(slope, [float(x) for x in g])
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all():
            return None
        w = [(x - arb(s)).mid() for x, s in zip(w, step.tolist(), strict=True)]
    zeros = certify_near(equations, [w], precision=precision).zeros
    try:  # beyond the edge of log(x), its gradient 1/x still is
        defined = bool(zeros) and finite(equations.loss(zeros[0]))
    except OutsideDomain:
        return None
    return zeros[0] if defined else None
