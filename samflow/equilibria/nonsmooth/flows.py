"""What holds a flow near a critical point where its rule has no Jacobian: sliding.

On a quadratic loss by closed forms, on a formula by proof, and else by minimisation over the sphere
of the rate at which ‖g‖ falls. A rule may know of itself what its flow does to the quadratic part.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow._status import Kind, Verdict
from samflow.equilibria._units import bending_length
from samflow.equilibria.nonsmooth.arriving import Evidence, Sliding, vector
from samflow.equilibria.nonsmooth.records import Nonsmooth
from samflow.equilibria.nonsmooth.sphere import end_in_rho, least_rate
from samflow.losses.expression import ExpressionLoss
from samflow.losses.quadratic import is_quadratic
from samflow.proofs._sliding_search import UNDECIDED
from samflow.proofs.sliding import certify_sliding
from samflow.rules import GD, is_normalised
from samflow.rules.critical import EQUAL, Attraction, LinearAscent
from samflow.systems import Flow

_PLANE, _ROUGH = 2, 0.5
"""In more dimensions a brief proof tells the sign of the least S, and its size within a factor."""
_FEW = 3
"""In up to so many dimensions the radius of a rule with eps is always sought."""
_MOST = 4
"""In more dimensions the searches in rho come to nothing with so few cells."""
_CLOSE = 1e-2
"""Relative: the width of an enclosure of the end in rho that minimisation need not improve."""
_MORE_CELLS = 6000
"""For the radius of a rule with eps, whose ascent grows from 0 to rho over many octaves of ‖g‖."""
_CELLS = 1500
"""Of each search of a proof: a few tenths of a second in two dimensions."""


def holds_flow(
    system: Flow, w: Array, hessian: np.ndarray, ascent: LinearAscent | None
) -> Nonsmooth:
    """Return how the flow comes to its critical point `w`; nothing where H is singular."""
    lams = np.linalg.eigvalsh(hessian)
    regular = np.abs(lams).min() > EQUAL * np.abs(lams).max()
    if not regular or (ascent is not None and ascent.rho == 0):
        return Nonsmooth(Kind.undefined)
    known = system.rule.attraction(system.loss, np.asarray(w), hessian)
    if is_quadratic(system.loss):
        return _on_quadratic(system, w, hessian, ascent, known)
    radius = _sliding_radius(hessian, ascent) if known is None and ascent is not None else None
    proof = proved_flow(system, np.asarray(w))
    quadratic = radius if known is None else known.radius
    jumps = (known is None or known.kind is Kind.sliding) and is_normalised(system.rule)
    if proof is not None and proof.sliding is not None:
        if not jumps or not undecided(proof):
            return proof._replace(sliding=proof.sliding._replace(quadratic_radius=quadratic))
        found = _by_minimisation(system, w, hessian, ascent, quadratic)
        return _beside(found, proof.sliding)
    if jumps:
        return _by_minimisation(system, w, hessian, ascent, quadratic)
    if known is None:
        return Nonsmooth(Kind.undefined)
    sliding = Sliding(Evidence.quadratic_part, known.finite_time, known.radius, known.radius)
    return Nonsmooth(known.kind, sliding=None if known.finite_time is None else sliding)


def proved_flow(system: Flow, w: np.ndarray, *, brief: bool = False) -> Nonsmooth | None:
    """Return what is proved at `w` on the loss itself; None where no proof can be tried.

    Args:
        system: a flow of a rule that jumps at critical points.
        w: a critical point.
        brief: whether to leave out the radius, how near the quadratic part is, and in more than two
            dimensions the end in rho. In more than four dimensions only the radius is sought.

    """
    step = system.rule.ascent_step(system.loss)
    formula = isinstance(system.loss, ExpressionLoss) and not is_quadratic(system.loss)
    if not formula or step is None or step.eps:
        return None
    plane, many = system.dim <= _PLANE, system.dim > _MOST
    proof = certify_sliding(
        system,
        w,
        end=plane or not (brief or many),
        near=not (brief or many),
        radius=not brief,
        max_cells=_CELLS,
        rtol=_ROUGH if brief and not plane else None,
    )
    if proof.verdict is Verdict.unsupported:
        return None
    proved = proof.verdict is Verdict.proved
    sliding = Sliding(
        evidence=Evidence.proved,
        finite_time=not step.keeps_length if proved else None,
        radius=proof.radius or None,
        least=proof.least,
        direction=proof.direction,
        rho_end=proof.rho_end,
        end_direction=proof.end_direction,
        near=proof.near,
        leaves=proof.leaves,
        reason=proof.reason,
    )
    kind = Kind.undefined if proof.leaves is None else Kind.saddle
    if proved:
        kind = Kind.attracting if step.keeps_length else Kind.sliding
    return Nonsmooth(kind, sliding=sliding, exact=True)


def undecided(found: Nonsmooth) -> bool:
    """Say whether a proof had too few cells for the sign of the least S."""
    return found.sliding is not None and found.sliding.reason == UNDECIDED


def _beside(found: Nonsmooth, proved: Sliding) -> Nonsmooth:
    """Return what minimisation found at the rule's rho with what is proved about others."""
    sliding = found.sliding
    if sliding is None:
        return found
    sliding = sliding._replace(near=proved.near)
    if proved.rho_end is not None and proved.rho_end[0] > 0:
        ends = {"rho_end": proved.rho_end, "end_direction": proved.end_direction}
        sliding = sliding._replace(**ends, end_evidence=Evidence.proved)
    return found._replace(sliding=sliding)


def practical_flow(system: Flow, w: np.ndarray, *, brief: bool = False) -> Sliding | None:
    """Return what is proved of a rule with eps beyond its Jacobian; None for other rules.

    Within the radius ‖g‖ falls for ever, past eps, where the rule is USAM, and beyond, where it is
    SAM.

    Args:
        system: the flow.
        w: a critical point.
        brief: whether to stop after half a second, with a smaller radius; else after a few seconds.

    """
    step = system.rule.ascent_step(system.loss)
    # Without an ascent the Jacobian says all.
    if step is None or not (step.eps and step.rho) or not isinstance(system.loss, ExpressionLoss):
        return None
    most = _CELLS if brief else _MORE_CELLS
    proof = certify_sliding(system, w, end=False, near=False, max_cells=most)
    kept = Sliding(Evidence.proved, without_eps=_without_eps(system, w))
    if proof.verdict is not Verdict.proved:
        return kept._replace(reason=proof.reason or proof.radius_limit)
    return kept._replace(finite_time=False, radius=proof.radius)


def brief_radius(system: Flow) -> bool:
    """Say whether the radius of a rule with eps is proved in a few tenths of a second."""
    return system.dim <= _FEW and isinstance(system.loss, ExpressionLoss)


def _without_eps(system: Flow, w: np.ndarray) -> tuple[float, ...] | None:
    """Return the direction in which a solution is proved to leave where eps is 0."""
    rule = eqx.tree_at(lambda rule: rule.eps, system.rule, jnp.zeros(()))
    options = {"end": False, "near": False, "radius": False, "max_cells": _CELLS}
    return certify_sliding(Flow(system.loss, rule), w, **options).leaves


def with_end(found: Nonsmooth, system: Flow, w: Array, hessian: np.ndarray) -> Nonsmooth:
    """Return `found` with the end in rho, where minimisation has to look for it."""
    sliding = found.sliding
    if sliding is None or sliding.least is None:
        return found
    ends = sliding.rho_end
    if sliding.evidence is Evidence.proved and ends is not None:
        return found
    if ends is not None and ends[1] - ends[0] <= _CLOSE * ends[0]:
        return found
    rule = system.rule
    ascent = rule.linear_ascent(system.loss, np.asarray(w))
    if not is_normalised(rule) or not hasattr(rule, "rho") or is_quadratic(system.loss):
        return found
    length = bending_length(Flow(system.loss, GD()), w)
    end = end_in_rho(rule, system.loss, w, hessian, ascent, length=length)
    how = None if sliding.evidence is Evidence.minimised else Evidence.minimised
    ends = {"rho_end": (end.low, end.high), "end_direction": end.direction}
    sliding = sliding._replace(**ends, end_evidence=how)
    return found._replace(sliding=sliding)


def _on_quadratic(
    system: Flow,
    w: Array,
    hessian: np.ndarray,
    ascent: LinearAscent | None,
    known: Attraction | None,
) -> Nonsmooth:
    """Return what closed forms say, or the limits of the rule from many sides."""
    if known is None and ascent is not None:
        known = Attraction(Kind.sliding, finite_time=True, radius=_sliding_radius(hessian, ascent))
    if known is None:
        if is_normalised(system.rule):
            return _by_minimisation(system, w, hessian, ascent, None)
        return Nonsmooth(Kind.undefined)
    sliding = Sliding(Evidence.exact, known.finite_time, known.radius, known.radius)
    return Nonsmooth(known.kind, sliding=None if known.finite_time is None else sliding, exact=True)


def _by_minimisation(
    system: Flow,
    w: Array,
    hessian: np.ndarray,
    ascent: LinearAscent | None,
    quadratic_radius: float | None,
) -> Nonsmooth:
    """Return whether ‖g‖ falls at the point from every direction, as far as minimisation sees."""
    assert is_normalised(system.rule)
    found = least_rate(system.rule, system.loss, w, hessian, ascent)
    sliding = Sliding(
        evidence=Evidence.minimised,
        finite_time=True if found.sign > 0 else None,
        quadratic_radius=quadratic_radius,
        least=(found.value, found.value),
        direction=found.direction,
    )
    if found.sign < 0:
        sliding = sliding._replace(reason=f"‖g‖ grows from some directions: {sliding.evidence}")
    if found.sign == 0:
        known = not np.isnan(found.value)
        reason = "‖g‖ neither falls nor grows, to rounding," if known else "there is no limit"
        reason = f"{reason} along {vector(found.direction)}"
        if system.rule.vanishes:
            reason = "the direction tends to 0 from all sides, so that its limits decide nothing"
        sliding = sliding._replace(least=None, reason=reason)
    kind = Kind.sliding if found.sign > 0 else Kind.undefined
    return Nonsmooth(kind, sliding=sliding, exact=True)


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
