"""How far an orbit is to be displaced to leave a minimum, which is a fixed point."""

import math

import numpy as np

from samflow._types import NumpyArray

_RELATIVE = 1e-7
"""Of a kick to the length of the problem, unless the escape is quick."""
_LINEAR = 1e-3
"""Up to this part of the length of the problem the motion is taken to be linear."""
_STEPS = 14
"""Steps that the motion is to make in the linear regime: what a fit needs, and a few more."""
_ROUNDINGS = 1e4
"""A kick is so many units of rounding of the weights along it, or more."""


def kick_size(w: NumpyArray, v: NumpyArray, length: float, rate: float) -> float:
    """Return the length of a kick along the unit vector `v` at `w`.

    Args:
        w: the minimum.
        v: the direction.
        length: that of the problem, over which the Hessian changes.
        rate: by which the kick is predicted to grow, log|μ| a step. From a large one a kick of the
            usual size would leave the linear regime before a rate can be fitted.

    """
    quick = _LINEAR * math.exp(-_STEPS * rate) if math.isfinite(rate) else _RELATIVE
    rounding = float(np.finfo(float).eps * np.abs(w) @ np.abs(v))
    return max(length * min(_RELATIVE, quick), _ROUNDINGS * rounding)
