"""The critical point near given weights, enclosed."""

import numpy as np

from samflow.proofs._krawczyk import newton
from samflow.proofs.balls import Balls, OutsideDomain, finite
from samflow.proofs.equations import GradientEquations
from samflow.proofs.search import certify_near


def critical_point(
    equations: GradientEquations, start: np.ndarray, *, precision: int
) -> Balls | None:
    """Return an enclosure of the critical point that Newton's iteration finds from `start`."""
    w = newton(equations, start)
    if w is None:
        return None
    zeros = certify_near(equations, [w], precision=precision).zeros
    try:  # beyond the edge of log(x), its gradient 1/x still is
        defined = bool(zeros) and finite(equations.loss(zeros[0]))
    except OutsideDomain:
        return None
    return zeros[0] if defined else None
