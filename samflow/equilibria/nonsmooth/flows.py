"""What holds a flow near a critical point where its rule has no Jacobian: sliding.

A rule may know it. Of linear ascents one inequality gives the radius from which it comes to the
point; other rules are asked for their limits from many sides.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow._status import Kind
from samflow.equilibria.nonsmooth.records import Nonsmooth, Sliding
from samflow.losses.base import AbstractLoss
from samflow.losses.quadratic import is_quadratic
from samflow.rules import is_normalised
from samflow.rules.critical import EQUAL, Attraction, LinearAscent
from samflow.systems import Flow

_DIRECTIONS = 64
"""Random directions in which a flow without a closed form is asked whether it comes in."""


def holds_flow(
    system: Flow, w: Array, hessian: np.ndarray, ascent: LinearAscent | None
) -> Nonsmooth:
    """Return how the flow comes to its critical point `w`; nothing where H is singular."""
    exact = is_quadratic(system.loss)
    lams, vectors = np.linalg.eigh(hessian)
    regular = np.abs(lams).min() > EQUAL * np.abs(lams).max()
    if not regular or (ascent is not None and ascent.rho == 0):
        return Nonsmooth(Kind.undefined)
    known = system.rule.attraction(system.loss, np.asarray(w), hessian)
    if known is None and ascent is not None:
        known = Attraction(Kind.sliding, finite_time=True, radius=_sliding_radius(hessian, ascent))
    if known is None and is_normalised(system.rule) and _comes_in(system, w, hessian, vectors):
        known = Attraction(Kind.sliding, finite_time=True)
    if known is None or known.finite_time is None:
        return Nonsmooth(Kind.undefined if known is None else known.kind)
    sliding = Sliding(known.radius, exact, known.finite_time)
    return Nonsmooth(known.kind, sliding=sliding, exact=exact)


def _sliding_radius(hessian: np.ndarray, ascent: LinearAscent) -> float:
    """Return the r up to which rS + ρTH²T is positive definite, S the symmetric part of THT⁻¹.

    d‖Tz‖/dt = −uᵀ(rS + ρTH²T)u with u = Tz/r. For SAM, T = I, this is ρ min|λ₋|.
    """
    scale, unit = ascent.measure, float(np.abs(hessian).max())
    hessian = hessian / unit  # whose square need not be a number
    push = scale @ hessian @ np.linalg.inv(scale)
    inverse = np.linalg.inv(scale @ hessian)  # TH²T = (TH)(TH)ᵀ
    largest = np.linalg.eigvalsh(-inverse @ (push + push.T) @ inverse.T / 2)[-1]
    return float(ascent.rho * unit / largest) if largest > 0 else float("inf")


def _comes_in(system: Flow, w: Array, hessian: np.ndarray, vectors: np.ndarray) -> bool:
    """Say whether ‖g‖ falls at the point from every direction tried: eᵀH lim d > 0.

    Undefined limits, as those of ASAM along a weight of 0, count as no.
    """
    random = np.random.default_rng(0).normal(size=(_DIRECTIONS, len(hessian)))
    sides = np.concatenate([vectors.T, -vectors.T, np.eye(len(hessian)), random])
    e = sides / np.linalg.norm(sides, axis=1, keepdims=True)
    limits = np.asarray(_limits(system.rule, system.loss, w, jnp.asarray(e)))
    speeds = np.einsum("ki,ij,kj->k", e, hessian, limits)
    return bool((speeds > EQUAL * np.abs(hessian).max() * np.abs(limits).max()).all())


@eqx.filter_jit
def _limits(rule: Any, loss: AbstractLoss, w: Array, e: Array) -> Array:
    return jax.vmap(lambda one: rule.limit(loss, w, one))(e)
