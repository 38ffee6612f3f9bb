"""A length of a loss, against which gradients count as 0."""

import math


def problem_length(weights: float, loss: float, curvature: float) -> float:
    """Return ‖w‖ + √(|L|/max|λ|), a length that scales with the units of weights alone.

    The second term is √½ times the distance over which a quadratic of that curvature changes by
    the loss. It is there for weights of 0, and left out where the curvature is 0.

    Args:
        weights: ‖w‖.
        loss: L(w).
        curvature: max|λ|.

    """
    return weights + (math.sqrt(abs(loss) / curvature) if curvature else 0.0)
