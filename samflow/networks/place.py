"""How near trained weights are to a critical point of their loss."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from samflow._types import NumpyArray
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.networks.diagnosis import Place
from samflow.spectra.products import hessian_product
from samflow.spectra.spectrum import Eigenpairs

_CRITICAL = 1e-10
"""‖g‖ up to this times (1 + max|λ|)(1 + ‖w‖) counts as 0."""
_CHANGE = 0.1
_STEADY = 100.0
"""A checkpoint is near a critical point where the sharpness takes so many steps to change."""


def place_of(
    loss: AbstractNetworkLoss, w: Any, g: NumpyArray, pairs: Eigenpairs, lr: float
) -> Place:
    """Return where w sits, from its gradient g, the extreme eigenpairs and a step of GD."""
    values, v = np.asarray(pairs.values), np.asarray(pairs.vectors[-1])
    size, length = float(np.linalg.norm(g)), float(np.linalg.norm(w))
    scale = float(np.abs(values).max())
    later = hessian_product(loss, w - lr * jnp.asarray(g))(v)
    change, sharpness = float(v @ later - values[-1]), abs(float(values[-1]))
    drift = change / sharpness if sharpness else (math.inf if change else 0.0)
    length_scale = size / scale if scale else (math.inf if size else 0.0)
    steady = math.inf if drift == 0 else _CHANGE / abs(drift)
    if size <= _CRITICAL * (1 + scale) * (1 + length):
        level, meaning = "critical", "verdicts are those of a critical point"
    elif steady >= _STEADY:
        level = "near"
        meaning = (
            f"a step of GD changes the sharpness by {drift:+.2g} of itself; verdicts about what "
            f"happens within {steady:.3g} steps hold to first order, the slower ones do not"
        )
    else:
        level = "far"
        meaning = (
            f"a step of GD changes the sharpness by {drift:+.2g} of itself, a tenth in "
            f"{steady:.3g} steps: verdicts are about perturbations of a moving point, not about "
            "whether it stays"
        )
    names = {"critical": "At", "near": "Near", "far": "Not near"}
    return Place(
        level,
        size,
        length_scale,
        drift,
        steady,
        f"{names[level]} a critical point: ‖g‖ = {size:.3g}, ‖g‖/max|λ| = {length_scale:.3g}; "
        f"{meaning}.",
    )
