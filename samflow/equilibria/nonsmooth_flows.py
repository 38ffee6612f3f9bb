"""What holds a flow near a critical point where its rule has no Jacobian: sliding.

Of linear ascents one inequality gives the radius from which it comes to the point; other rules are
asked for their limits from many sides. Sections 3 and 5 of docs/theory.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow import theory
from samflow._status import Kind
from samflow.equilibria.linear_ascent import EQUAL, LinearAscent, block_means
from samflow.equilibria.nonsmooth_records import Nonsmooth, Sliding
from samflow.losses.base import AbstractLoss
from samflow.losses.finite_sum import shards
from samflow.losses.quadratic import is_quadratic
from samflow.rules import GCSAM, MSAM, SSAM, AbstractNormalisedRule
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
    if isinstance(system.rule, GCSAM):
        return _centralised(system.rule, hessian)
    if isinstance(system.rule, SSAM):
        radius = float(theory.attraction_radius(lams.tolist(), rho=float(system.rule.rho)))
        return Nonsmooth(
            Kind.attracting, sliding=Sliding(radius, exact, finite_time=False), exact=exact
        )
    if ascent is not None:
        radius = _sliding_radius(hessian, ascent)
        return Nonsmooth(
            Kind.sliding, sliding=Sliding(radius, exact, finite_time=True), exact=exact
        )
    if isinstance(system.rule, MSAM):
        # ½d‖u‖²/dt = −uᵀHu − ρ mean ‖Hᵢu‖: what holds it is that no direction is flat for all.
        hessians = [
            np.asarray(part.hessian(w)) for part in shards(system.loss, system.rule.shard_size)
        ]
        weakest = np.linalg.svd(np.concatenate(hessians), compute_uv=False)[-1]
        if weakest <= EQUAL * np.abs(hessian).max():
            return Nonsmooth(Kind.undefined)
        return Nonsmooth(Kind.sliding, sliding=Sliding(None, exact, finite_time=True), exact=exact)
    if isinstance(system.rule, AbstractNormalisedRule) and _comes_in(system, w, hessian, vectors):
        return Nonsmooth(Kind.sliding, sliding=Sliding(None, exact, finite_time=True), exact=exact)
    return Nonsmooth(Kind.undefined)


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


def _centralised(rule: GCSAM, hessian: np.ndarray) -> Nonsmooth:
    """Return what GCSAM's flow does along the directions that it does not ascend in."""
    import scipy.linalg  # slow to import, and seldom needed

    blocks = block_means(rule, len(hessian))
    inverse = np.linalg.inv(hessian)
    basis = scipy.linalg.orth(blocks)
    form = np.linalg.eigvalsh(basis.T @ inverse @ basis)
    if np.abs(form).min() <= EQUAL * np.abs(form).max():
        return Nonsmooth(Kind.nonhyperbolic)
    return Nonsmooth(Kind.attracting if form[0] > 0 else Kind.saddle)


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
