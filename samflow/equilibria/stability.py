"""What a fixed point is: linearisation, and the places where there is none."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow import _checks
from samflow._status import Kind, Status
from samflow._types import ArrayLike
from samflow.equilibria._units import ascent_length, units
from samflow.equilibria.adaptive import classify_adaptive
from samflow.equilibria.attraction import measured_attraction_radius
from samflow.equilibria.nearness import (
    EIGENVALUE_ERROR,
    eigvalsh,
    is_near,
    is_singular,
    kind_of,
    newton_step,
    spectrum_and_shifts,
)
from samflow.equilibria.nonsmooth import cycles_beside, what_holds
from samflow.equilibria.nonsmooth.flows import brief_radius, practical_flow
from samflow.equilibria.nonsmooth.records import Nonsmooth
from samflow.equilibria.stability_record import Stability
from samflow.orbits._iterate import start_states
from samflow.records import provenance
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem, AdaptiveMap, Flow, Map
from samflow.systems.angles import shortest
from samflow.systems.base import check_system

_ORDER = 9
"""Orders looked at where that is cheap."""
_RATIONAL = 1e-5
"""A rational fixed point this near, relative to the size, is the one that is meant: a degenerate
one is found to a root of the rounding error."""


@_checks.untraced('"classify", w0=w')
def classify(
    system: AbstractSystem,
    w: ArrayLike,
    *,
    tol: float = 1e-6,
    hyperbolic_tol: float = 1e-9,
    scale: float | None = None,
    measure: bool | None = None,
    order: int | None = None,
) -> Stability:
    """Say what the fixed point `w` is for `system`, by its Jacobian where one exists.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> at_saddle = classify(sf.Map(sf.losses.beale(), sf.USAM(rho=0.05), lr=0.01), [0.0, 1.0])
    >>> print(at_saddle)
    attracting, multipliers 0.892469, 0.337469, margin 0.107531

    Args:
        system: a map or a flow.
        w: weights (dim,), at rest; or a full state.
        tol: how near to a fixed point `w` must be, relative to ‖w‖ + `scale`.
        hyperbolic_tol: a multiplier with | |μ| − 1 | ≤ hyperbolic_tol, and rounding beside, counts
            as neutral, and so does an eigenvalue with |Re| ≤ hyperbolic_tol · ‖DF‖: the point is
            nonhyperbolic.
        scale: a length, as the size of the box in which `w` was found. None: rho where that is a
            length, and else, if ‖w‖ alone does not decide, how far one must go from `w` for the
            Jacobian to change by half of itself. No quadratic has one; there 1e-13 is near enough.
        measure: where a flow slides, also measure its radius of attraction on the loss itself
            (`measured_attraction_radius`): seconds at first, then less than one. Of a flow with
            eps, prove the radius within which ‖g‖ falls for ever: seconds. None: measure nothing;
            prove a radius, in half a second and perhaps a smaller one, at an attracting point of a
            formula in up to three dimensions.
        order: the last order of terms to look at where the point is nonhyperbolic, 2 or more. None:
            9 for GD and USAM on a formula, and none for other systems, for which every order is
            compiled: seconds.

    Returns:
        A `Stability`. At a critical point of normalised SAM there is no Jacobian: the status is
        `not differentiable`, whatever a guarded program would give, and kind and `local` say
        what there is instead. Cycles of a map are located on the loss itself, from orbits beside
        the point: others may exist. All else of a map is exact for the quadratic part of the loss,
        on which nothing but the ratio of lengths depends on rho; for the loss it holds for small
        rho. Of a flow it is said of the loss itself: proved where the loss is a formula
        (`certify_sliding`), else found by minimisation over the sphere; `local.sliding` says which.
        Of an `AdaptiveMap` it is the linearisation at rest, where P is √eps_root + eps; a full
        state counts as its weights, from which all of a state at rest follows. With a small eps its
        multipliers change by much within `tol`: they, and `state`, are those of the fixed point
        that Newton's method reaches from `w`; `distance` is how far that is.
        At a nonhyperbolic point `higher` has the verdict of higher order, or says what is missing.

    Raises:
        ArgumentError: for a wrong shape or numbers that are not finite, or in single precision.

    """
    _checks.double_precision("`classify`")
    check_system(system)
    tol = _checks.positive("tol", tol)
    hyperbolic_tol = _checks.nonnegative("hyperbolic_tol", hyperbolic_tol)
    scale = None if scale is None else _checks.positive("scale", scale)
    order = None if order is None else _checks.count("order", order, minimum=2)
    near = {"tol": tol, "hyperbolic_tol": hyperbolic_tol, "scale": scale}
    where = provenance(system.describe(), **near)
    if isinstance(system, AdaptiveMap):
        return classify_adaptive(system, w, where, **near)
    z = start_states(system, w, "w")
    if z.ndim != 1:
        raise _checks.ArgumentError(f"Argument `w` must be one point, but has shape {z.shape}.")
    discrete = isinstance(system, AbstractMap)
    linearised = (np.asarray(a) for a in _linearise(system, z))
    motion, jacobian, hessian, gradient, value, singularity = linearised
    defined = bool(np.isfinite(value))  # beyond the edge of log(x), its gradient 1/x still is
    curvature = None if hessian.size == 0 else jnp.asarray(eigvalsh(hessian))
    unknown = np.full(z.shape, np.nan + 0j)

    def undefined(
        status: Status, distance: float = np.nan, local: Nonsmooth | None = None
    ) -> Stability:
        kind = Kind.undefined if local is None else local.kind
        found = (z, kind, status, unknown, float("nan"), distance, curvature)
        return Stability(*found, discrete, local, where)

    size = float(jnp.linalg.norm(system.position(z)))
    size += ascent_length(system, system.position(z)) if scale is None else scale
    if gradient.size and is_singular(hessian, gradient, float(singularity), size):
        assert isinstance(system, (Map, Flow))
        local = what_holds(system, system.position(z), hessian, _jacobian_of(system))
        if measure and local.kind is Kind.sliding and local.sliding is not None:
            assert isinstance(system, Flow)
            found = measured_attraction_radius(system, system.position(z)).radius
            local = local._replace(sliding=local.sliding._replace(measured=found))
        return undefined(Status.not_differentiable, newton_step(hessian, gradient)[1], local)
    if not (defined and np.isfinite(motion).all() and np.isfinite(jacobian).all()):
        return undefined(Status.not_finite)
    unit = units(system)
    jacobian, motion = jacobian * unit / unit[:, None], motion / unit
    shifted = jacobian - np.eye(len(z)) if discrete else jacobian
    step, distance = newton_step(shifted, motion)
    if not (distance <= tol * size or (scale is None and is_near(system, z, distance, tol))):
        return undefined(Status.not_a_fixed_point, distance)
    # At a degenerate point that is known to a few digits the Jacobian is small, but not 0.
    beside = np.asarray(_linearise(system, z - step * unit)[1]) * unit / unit[:, None]
    spectrum, shifts = spectrum_and_shifts(jacobian, beside)
    growth = np.abs(spectrum) - 1 if discrete else np.real(spectrum)
    ranks = np.argsort(-growth, kind="stable")
    norm = float(np.linalg.norm(jacobian, 2))
    neutral = hyperbolic_tol + EIGENVALUE_ERROR * norm if discrete else hyperbolic_tol * norm
    kind = kind_of(growth, neutral + shifts)
    margin = -float(growth.max())
    local = None
    if kind in (Kind.repelling, Kind.saddle) and isinstance(system, Map):
        position = system.position(z)
        # Not for a rule whose ascent has no length, nor at a hallucinated point.
        if ascent_length(system, position):
            slope = np.asarray(system.loss.gradient(position))
            critical = newton_step(hessian, slope)[1] <= tol * size
            beside = (system, position, hessian, _jacobian_of(system), kind)
            local = cycles_beside(*beside) if critical else None
    brief = measure is None
    if brief and kind is Kind.attracting and isinstance(system, Flow):
        slope = np.asarray(system.loss.gradient(system.position(z)))
        critical = newton_step(hessian, slope)[1] <= tol * size
        measure = critical and brief_radius(system)
    if measure and isinstance(system, Flow):
        kept = practical_flow(system, np.asarray(system.position(z)), brief=brief)
        local = None if kept is None else Nonsmooth(kind, sliding=kept, exact=True)
    found = (z, kind, Status.located, spectrum[ranks], margin, distance, curvature)
    higher = None
    if kind is Kind.nonhyperbolic:
        from samflow.equilibria.degenerate import higher_order  # seldom needed

        tried = {"order": order or _ORDER, "functions": order is not None}
        higher = higher_order(system, np.asarray(z), reach=_RATIONAL * size, **tried)
    return Stability(*found, discrete, local, where, higher)


def _jacobian_of(system: AbstractSystem) -> Callable[[np.ndarray], np.ndarray]:
    """Return the Jacobian as a function of the state, by the program that is compiled already."""
    return lambda z: np.asarray(_linearise(system, jnp.asarray(z))[1])


@eqx.filter_jit
def _linearise(system: AbstractSystem, z: Array) -> tuple[Array, ...]:
    """Return the motion, its Jacobian, and of the loss Hessian, for SAM gradient, and value.

    Last how far the rule is from where it is not smooth.
    """
    if isinstance(system, AbstractMap):
        motion = shortest(system, system.step(z) - z)
    else:
        assert isinstance(system, AbstractFlow)
        motion = system.velocity(z)
    jacobian = system.jacobian(z)
    loss: Any = getattr(system, "loss", None)
    nothing = jnp.zeros((0, 0))
    hessian = nothing if loss is None else loss.hessian(system.position(z))
    # Only a rule that is singular somewhere needs the distance to a critical point.
    singularity = system.singularity(z)
    smooth = jnp.isinf(singularity)
    gradient = nothing if loss is None else loss.gradient(system.position(z))
    gradient = jnp.where(smooth, jnp.nan, gradient)
    value = jnp.zeros(()) if loss is None else loss(system.position(z))
    return motion, jacobian, hessian, gradient, value, singularity
