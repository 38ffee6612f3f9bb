"""GD to a minimum, a late switch to SAM there, and what the theory of late SAM says of it."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from samflow import _checks, theory
from samflow._status import Status
from samflow._text import shown_name
from samflow._types import ArrayLike
from samflow.equilibria._units import bending_along
from samflow.losses.evaluation import gradient_norm
from samflow.networks.training.loop import How
from samflow.orbits._iterate import iterate
from samflow.records import provenance
from samflow.rules import GD, is_normalised
from samflow.switching.connectivity import path_barrier
from samflow.switching.modes import (
    LeadingMode,
    has_closed_form,
    is_gradient_descent,
    leading_mode,
)
from samflow.switching.motion import compiled_motion
from samflow.switching.orbit_analysis import (
    FEWEST_STEPS,
    NEGATIVE,
    NUM_STEPS,
    Study,
    analyse,
)
from samflow.switching.perturbations import kick_size
from samflow.switching.records import LateSwitch
from samflow.systems import Map
from samflow.systems.base import check_fixed
from samflow.systems.hyperparameters import theory_settings

_STILL, _FAR = 1e-11, 1e6
"""GD rests, or has diverged, at these parts of its start's distance from 0 or its first step."""
_NUM_POINTS = 101
"""Of the line from start to end."""


@_checks.untraced()
def two_phase(
    system: Map,
    w0: ArrayLike,
    *,
    num_steps: int = NUM_STEPS,
    gd_steps: int = 200_000,
    gd_tol: float | None = None,
    displacement: float | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> LateSwitch:
    """Run GD to a minimum, switch to `system` there, and check the theory of late SAM (P1 to P4).

    P1: the motion along the leading eigenvector grows by log|μ| a step, μ the leading multiplier
    (without momentum 1 − lr·U(λ_max), U = λ(1 + rho λ)). P2: the orbit stays bounded, and no
    barrier separates start and end. P3: it ends flatter, below the rule's edge of stability. P4:
    the motion along the leading eigenvector dies out by log|μ| a step, μ now at the end.
    Source: Zhou et al. 2024 (arXiv 2410.10373), with the exact rates of docs/theory.md.

    Args:
        system: a map of a rule that is smooth at a minimum and not GD, as USAM. Of a rule whose
            Jacobian is not known in closed form nothing is claimed of rates.
        w0: weights (dim,) from which GD, with the system's lr, finds the start; a minimum stays.
        num_steps: most steps after the switch.
        gd_steps: most steps of GD.
        gd_tol: GD has converged when ‖g‖ ≤ gd_tol; None: when a step is at most 1e-11 times ‖w0‖
            or, if that is more, the first step. Networks have nearly flat directions in which
            the gradient does not get small; what matters here is that the steep ones are settled.
        displacement: length of the kick along the leading eigenvector at the switch: a minimum is
            a fixed point, and nothing would move. None: 1e-7 times the length of the problem,
            ‖w‖ plus the distance over which the Hessian changes, or less, so that an escape at
            the predicted rate takes 14 steps in the linear regime.
        progress: called with a sentence before each stage.

    Returns:
        A `LateSwitch`. P1 and P4 are "not measured", with the reason, where there is no exponential
        stretch, where the predicted rate changes along it by more than a tenth, or where the fit's
        interval is wider than the tolerance. P2 to P4 are "not measured" for an orbit without an
        end: one that diverged, or has not settled. P2 and P3 fail where it settled at no minimum.
        Where the valley goes on sharpening, an orbit that has settled may leave again; that is not
        followed.

    Raises:
        ArgumentError: where the question makes no sense: the rule has no multiplier at a minimum
            (GD, normalised SAM), GD does not converge, it ends where the Hessian is not positive
            semidefinite, GD itself would leave that minimum, or the rule would not.

    """
    _checks.double_precision("`two_phase`")
    num_steps = _checks.count("num_steps", num_steps, minimum=FEWEST_STEPS)
    if displacement is not None:
        displacement = _checks.positive("displacement", displacement)
    _check_system(system)
    loss = system.loss
    progress("running GD to a minimum")
    start = _find_minimum(system, w0, gd_steps, gd_tol)
    progress("curvature at the start")
    here = leading_mode(system, start, both_ends=True)
    _check_start(system, here)
    progress("following the orbit after the switch")
    v = jnp.asarray(here.v)
    length = float(jnp.linalg.norm(start)) + bending_along(loss, start, v) or 1.0
    if displacement is None:
        displacement = kick_size(np.asarray(start), here.v, length, here.growth)
    motion = compiled_motion(system, start + displacement * v, here.v, num_steps)
    found = analyse(system, here, motion, length, progress, both_ends=True)
    barrier = path_barrier(lambda w: loss, start, found.end, _NUM_POINTS)
    how = How(system, None, False, None)
    study = Study(how, start, here, motion, motion.losses, found, (barrier, None), jr.key(0))
    return study.record(
        provenance=provenance(
            system.describe(), num_steps=num_steps, displacement=displacement, gd_tol=gd_tol
        ),
    )  # fmt: skip


def _check_system(system: Map) -> None:
    if not isinstance(system, Map):
        raise _checks.ArgumentError(
            f"Argument `system` must be a Map, but is {type(system).__name__}. Make one of a loss "
            "and a rule: `sf.Map(loss, rule, lr=...)`."
        )
    check_fixed(system)
    rule = system.rule
    if is_gradient_descent(system) or is_normalised(rule) or rule.num_memories:
        raise _no_multipliers(system)
    if system.weight_decay is not None:
        raise _checks.ArgumentError(
            "Argument `system` must have no weight decay, which moves the rule's fixed points off "
            "the minima of the loss. Put it into the loss."
        )


def _no_multipliers(system: Map) -> _checks.ArgumentError:
    return _checks.ArgumentError(
        f"Argument `system` must have a rule with multipliers at a minimum, such as USAM, but "
        f"has {system.rule.name}: GD is what is switched from, and normalised SAM has no "
        "Jacobian there."
    )


def _find_minimum(system: Map, w0: ArrayLike, gd_steps: int, gd_tol: float | None) -> Array:
    descent, lr = Map(system.loss, GD(), lr=system.lr), float(system.lr)
    first = _checks.point("w0", w0, system.dim)
    length = max(float(jnp.linalg.norm(first)), lr * float(gradient_norm(system.loss, first)))
    tol = _STILL * length if gd_tol is None else lr * _checks.positive("gd_tol", gd_tol)
    orbit = iterate(
        descent, w0, num_steps=gd_steps, tol=tol, escape_radius=_FAR * length if length else 1.0
    )
    status = Status(int(orbit.status))
    gradient = float(gradient_norm(system.loss, orbit.final_w))
    if status is Status.converged:
        return orbit.final_w
    raise _checks.ArgumentError(
        f"GD from `w0` with lr={float(system.lr):g} found no minimum in {int(orbit.stopped_at)} "
        f"steps: {status.label}, ‖g‖ = {gradient:.3g} (wanted ≤ {tol / float(system.lr):g}). "
        "Give a start nearer to a minimum, a smaller lr, or more `gd_steps`."
    )


def _check_start(system: Map, here: LeadingMode) -> None:
    lowest, sharpness, settings = here.lowest, here.sharpness, theory_settings(system)
    if not lowest >= -NEGATIVE * sharpness:
        raise _checks.ArgumentError(
            f"The point that GD reached is not a minimum: its Hessian has the eigenvalue "
            f"{lowest:.4g}. Give a start `w0` in another basin."
        )
    limit = float(
        theory.evaluate(theory.flip_threshold(settings["scheme"]), momentum=settings["momentum"])
    )
    lr, rho = settings["lr"], settings["rho"]
    if not lr * sharpness < limit:
        raise _checks.ArgumentError(
            f"GD itself would leave this minimum: lr·λ_max = {lr * sharpness:.4g} is not below "
            f"{limit:.4g} (λ_max = {sharpness:.6g}). Give a smaller lr."
        )
    known = has_closed_form(system)
    effective = sharpness * (1 + rho * sharpness) if known else here.curvature
    if not math.isfinite(effective):
        raise _no_multipliers(system)
    if not lr * effective > limit:
        needed = (limit / (lr * sharpness) - 1) / sharpness
        larger = f"rho > {needed:.4g} or a larger lr" if known else "a larger lr"
        raise _checks.ArgumentError(
            f"{shown_name(system.rule.name)} would not leave this minimum: lr·U(λ_max) = "
            f"{lr * effective:.4g} is not above {limit:.4g} (λ_max = {sharpness:.6g}). "
            f"Give {larger}."
        )
