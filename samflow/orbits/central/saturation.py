"""The oscillation of normalised SAM: its size is where ‖g‖, which grows with it, stops it.

With δ = σu along an eigenvector of the Hessian, ‖g(w̄ ± δ)‖ ≈ √(‖ḡ‖² + λ²σ²) = G, and SAM is USAM
with radius ρ/G: it flips where lr λ(1 + ρλ/G) = κ. Larger oscillations shrink, smaller ones grow.
Section 12 of docs/theory.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from samflow._status import Status
from samflow._types import Point
from samflow.orbits.central.critical import direction, direction_at, leading_modes
from samflow.orbits.central.oscillation import Oscillation, Stepping
from samflow.rules import GD
from samflow.systems import Map

_TOL = 1e-10
_MOST_ROUNDS = 100
_FACTOR = 4.0
"""By how much σ² changes at most in a round."""
_VANISHING = 1e-12
"""As a part of rho²: a smaller σ² is no oscillation."""


def saturated(
    system: Map, w: Point, stepping: Stepping, last: Oscillation | None
) -> tuple[Oscillation, Status]:
    """Return the oscillation along the sharpest direction at which SAM's map flips, if any.

    The effective curvature uᵀ(d(w̄ + σu) − d(w̄ − σu))/2σ falls as σ² grows. Newton's method finds
    where it is at the limit, within a factor in each round.
    """
    plain = Map(system.loss, GD(), lr=stepping.lr)
    modes = leading_modes(plain, w, stepping.pairs, last.modes.block if last else ())
    size = len(modes.values)
    variance, u = np.zeros((size, size)), jnp.asarray(modes.right[0])
    nothing = Oscillation(modes, variance, np.full(system.dim, np.nan))
    if not np.isfinite(modes.values).all():
        return nothing, Status.not_finite
    length = float(getattr(system.rule, "rho", 0.0))
    square = float(last.variance[0, 0]) if last else 0.0
    square = square or (1e-3 * length) ** 2
    for _ in range(_MOST_ROUNDS):
        mean, (curvature, slope) = _at_size(system, w, u, jnp.asarray(square))
        excess, slope = float(curvature) / stepping.limit - 1, float(slope) / stepping.limit
        if not np.isfinite(excess):
            return nothing, Status.not_finite
        if abs(excess) <= _TOL:
            variance[0, 0] = square
            return Oscillation(modes, variance, np.asarray(mean)), Status.reached_end
        wanted = square - excess / slope if slope < 0 else square * (2 if excess > 0 else 0.5)
        square = float(np.clip(wanted, square / _FACTOR, square * _FACTOR))
        if square < _VANISHING * length**2:
            d = np.asarray(direction_at(system, w))
            return Oscillation(modes, variance, d), Status.reached_end
    return nothing, Status.unbalanced


@eqx.filter_jit
def _at_size(system: Map, w: Point, u: Any, square: Any) -> tuple[Any, tuple[Any, Any]]:
    """Return ⟨d⟩ at w ± σu, the effective curvature along u, and its derivative by σ²."""

    def sides(square: Any) -> tuple[Any, Any]:
        shift = jnp.sqrt(square) * u
        return direction(system, w + shift), direction(system, w - shift)

    def curvature(square: Any) -> Any:
        plus, minus = sides(square)
        return jnp.vdot(u, plus - minus) / (2 * jnp.sqrt(square))

    plus, minus = sides(square)
    return (plus + minus) / 2, jax.value_and_grad(curvature)(square)
