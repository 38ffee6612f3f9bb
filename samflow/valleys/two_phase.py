"""The two phases of a late switch to SAM: escape from a minimum, convergence to a flatter one."""

import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from samflow import _checks, theory
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.equilibria._units import bending_along
from samflow.losses.base import AbstractLoss
from samflow.orbits._iterate import iterate
from samflow.records import AbstractRecord, Provenance, axes, provenance
from samflow.rules import GD
from samflow.spectra.spectrum import extreme_eigenpairs
from samflow.systems import Map
from samflow.systems.hyperparameters import theory_settings
from samflow.valleys.connectivity import line_barrier
from samflow.valleys.kicks import kick_size
from samflow.valleys.phases import (
    FAILS,
    NOT_MEASURED,
    Phase,
    edge_of_stability,
    flatter,
    log_leading,
    multipliers,
    one_valley,
    rate_phase,
)
from samflow.valleys.rates import NO_RATE, Rate
from samflow.valleys.settling import settle
from samflow.valleys.windows import linear_convergence, linear_escape

_STILL, _FAR = 1e-11, 1e6
"""GD rests, or has diverged, at these parts of its start's distance from 0 or its first step."""
_TOO_QUICK = "the orbit left in too few steps to fit a rate; a smaller displacement may give more"
_TOO_SOON = "the motion died out in too few steps, or too unevenly, to fit a rate"
_NEGATIVE = 1e-3
"""λ_min below −this·λ_max is a negative curvature; above, networks have a crowd around 0."""


class TwoPhase(AbstractRecord):
    """A late switch from GD to a sharpness-aware rule, checked against theory.

    Attributes:
        phases: P1 to P4.
        start: the minimum of GD, shape (dim,).
        end: where the burst after the switch has settled: (w[k] + 2w[k+1] + w[k+2])/4, without
            the alternation of the last steps.
        status: of the orbit: converged (settled), out of steps, diverged or not finite.
        settled_at: the step at which it settled, or the last one.
        sharpness: λ_max at the start and at the end.
        edge: the largest λ that the rule keeps at this step size.
        gradient_norm: ‖g‖ at the start and at the end.
        loss: L at each step from the switch on.
        escaping: v·Δ²w at each step, v the leading eigenvector at the start and
            Δ²w[k] = w[k+2] − 2w[k+1] + w[k]; a slow drift along the valley drops out of it.
        settling: the same with the leading eigenvector at the end.
        peak: the highest loss of the orbit.
        barrier: height of the barrier on the line from start to end.
        escape: the fitted rate of P1.
        convergence: the fitted rate of P4.

    """

    phases: tuple[Phase, ...] = eqx.field(static=True)
    start: Float[Array, " dim"] = eqx.field(metadata=axes("dim"))
    end: Float[Array, " dim"] = eqx.field(metadata=axes("dim"))
    status: Status = eqx.field(static=True)
    sharpness: tuple[float, float] = eqx.field(static=True)
    edge: float
    gradient_norm: tuple[float, float] = eqx.field(static=True)
    settled_at: int
    loss: np.ndarray = eqx.field(metadata=axes("step"))
    escaping: np.ndarray = eqx.field(metadata=axes("step"))
    settling: np.ndarray = eqx.field(metadata=axes("step"))
    peak: float
    barrier: float
    escape: Rate = eqx.field(static=True)
    convergence: Rate = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    @property
    def holds(self) -> bool:
        """Whether all four phases were measured and came out as predicted."""
        return all(phase.holds for phase in self.phases)

    @property
    def fails(self) -> bool:
        """Whether a phase came out otherwise; one that was not measured does not count."""
        return any(phase.verdict == FAILS for phase in self.phases)

    def __str__(self) -> str:
        """Return one line a phase."""
        lines = []
        for phase in self.phases:
            verdict = "FAILS" if phase.verdict == FAILS else phase.verdict
            numbers = f"predicted {phase.predicted:.6g}, measured {phase.measured:.6g}"
            rest = f" ({phase.reason})" if phase.verdict == NOT_MEASURED else ""
            lines.append(f"{phase.name} {verdict}: {phase.statement}; {numbers}{rest}")
        return "\n".join(lines)


def two_phase(
    system: Map,
    w0: ArrayLike,
    *,
    num_steps: int = 2000,
    gd_steps: int = 200_000,
    gd_tol: float | None = None,
    displacement: float | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> TwoPhase:
    """Run GD to a minimum, switch to `system` there, and check the theory of late SAM (P1 to P4).

    P1: the motion along the leading eigenvector grows by log|μ| a step, μ the leading multiplier
    (without momentum 1 − lr·U(λ_max), U = λ(1 + rho λ)). P2: the orbit stays bounded, and no
    barrier separates start and end. P3: it ends flatter, below the rule's edge of stability. P4:
    the motion along the leading eigenvector dies out by log|μ| a step, μ now at the end.
    Source: Zhou et al. 2024 (arXiv 2410.10373), with the exact rates of docs/theory.

    Args:
        system: a map of a rule that is smooth at a minimum and not GD (USAM).
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
        A `TwoPhase`. For an orbit that diverges P2 to P4 fail. P1 and P4 are "not measured",
        with the reason, where there is no exponential stretch, where the predicted rate changes
        along it by more than a tenth, or where the fit's interval is wider than the tolerance. P2
        and P3 hold only for an orbit that has settled where the Hessian is not negative. Where
        the valley goes on sharpening, an orbit that has settled may leave again; that is not
        followed.

    Raises:
        ArgumentError: where the question makes no sense: the rule has no multiplier at a minimum
            (GD, normalised SAM), GD does not converge, it ends where the Hessian is not positive
            semidefinite, GD itself would leave that minimum, or the rule would not.

    """
    _checks.double_precision("`two_phase`")
    num_steps = _checks.count("num_steps", num_steps, minimum=50)
    if displacement is not None:
        displacement = float(_checks.positive("displacement", displacement))
    settings = _supported(system)
    loss = system.loss
    progress("running GD to a minimum")
    start = _find_minimum(system, w0, gd_steps, gd_tol)
    progress("curvature at the start")
    lowest, sharpness, leading = _curvature(loss, start)
    _check_start(system, settings, lowest, sharpness)

    progress("following the orbit after the switch")
    at_start = log_leading(settings, sharpness)
    length = float(jnp.linalg.norm(start)) + bending_along(loss, start, leading) or 1.0
    if displacement is None:
        displacement = kick_size(np.asarray(start), np.asarray(leading), length, at_start)
    kicked = start + displacement * leading
    losses, escaping, bends = _follow(system, kicked, leading, num_steps)
    status, settled = settle(losses, bends, sharpness * length**2)
    end, end_sharpness, settling = start * jnp.nan, math.nan, np.full(num_steps, np.nan)
    settled_down = False
    if status in (Status.converged, Status.out_of_steps):
        progress("curvature at the end")
        end = _filtered(system, kicked, jnp.asarray(settled))
        end_lowest, end_sharpness, leading = _curvature(loss, end)
        settled_down = status is Status.converged and end_lowest >= -_NEGATIVE * end_sharpness
        settling = _follow(system, kicked, leading, num_steps)[1]

    progress("curvature along the way")
    top = int(np.argmax(bends))
    rates_along = functools.partial(_along, system, settings, kicked)
    escape, while_escaping = linear_escape(np.abs(escaping[: top + 1]), at_start, rates_along)
    at_end = log_leading(settings, end_sharpness)
    convergence, while_settling = NO_RATE, ()
    if status is Status.converged:
        modes = multipliers(settings, end_sharpness)
        convergence, while_settling = linear_convergence(
            settling, top, settled, modes, at_end, rates_along
        )
    bounded = math.isfinite(end_sharpness)
    barrier = line_barrier(loss, start, end).height if bounded else math.nan
    peak = float(np.max(losses)) if bounded else math.inf
    edge = edge_of_stability(settings)
    gradients = (_gradient_norm(loss, start), _gradient_norm(loss, end))
    phases = (
        rate_phase("P1", escape, at_start, while_escaping, missing=_TOO_QUICK),
        one_valley(peak, barrier, float(losses[0]), settled=settled_down),
        flatter(sharpness, end_sharpness, edge, settled=settled_down),
        rate_phase(
            "P4",
            convergence,
            at_end,
            while_settling,
            missing=_TOO_SOON if status is Status.converged else "",
        ),
    )
    return TwoPhase(
        phases=phases,
        start=start,
        end=end,
        status=status,
        sharpness=(sharpness, end_sharpness),
        edge=edge,
        gradient_norm=gradients,
        settled_at=settled,
        loss=losses,
        escaping=escaping,
        settling=settling,
        peak=peak,
        barrier=barrier,
        escape=escape,
        convergence=convergence,
        provenance=provenance(
            system.describe(), num_steps=num_steps, displacement=displacement, gd_tol=gd_tol
        ),
    )


def _supported(system: Map) -> dict[str, Any]:
    if not isinstance(system, Map):
        raise _checks.ArgumentError(
            f"Argument `system` must be a Map, but is {type(system).__name__}. Make one of a loss "
            "and a rule: `sf.Map(loss, rule, lr=...)`."
        )
    if system.rule.name not in theory.RULES or isinstance(system.rule, GD):
        raise _checks.ArgumentError(
            f"Argument `system` must have a rule with multipliers at a minimum, such as USAM, but "
            f"has {system.rule.name}: GD is what is switched from, and normalised SAM has no "
            "Jacobian there."
        )
    if system.weight_decay is not None:
        raise _checks.ArgumentError(
            "Argument `system` must have no weight decay, which moves the rule's fixed points off "
            "the minima of the loss. Put it into the loss."
        )
    return theory_settings(system)


def _find_minimum(system: Map, w0: ArrayLike, gd_steps: int, gd_tol: float | None) -> Array:
    descent, lr = Map(system.loss, GD(), lr=system.lr), float(system.lr)
    first = _checks.point("w0", w0, system.dim)
    length = max(float(jnp.linalg.norm(first)), lr * _gradient_norm(system.loss, first))
    tol = _STILL * length if gd_tol is None else lr * float(_checks.positive("gd_tol", gd_tol))
    orbit = iterate(
        descent, w0, num_steps=gd_steps, tol=tol, escape_radius=_FAR * length if length else 1.0
    )
    status = Status(int(orbit.status))
    gradient = float(jnp.linalg.norm(system.loss.gradient(orbit.final_w)))
    if status is Status.converged:
        return orbit.final_w
    raise _checks.ArgumentError(
        f"GD from `w0` with lr={float(system.lr):g} found no minimum in {int(orbit.stopped_at)} "
        f"steps: {status.label}, ‖g‖ = {gradient:.3g} (wanted ≤ {tol / float(system.lr):g}). "
        "Give a start nearer to a minimum, a smaller lr, or more `gd_steps`."
    )


def _gradient_norm(loss: AbstractLoss, w: Array) -> float:
    return float(jnp.linalg.norm(loss.gradient(w)))


def _curvature(loss: AbstractLoss, w: Array) -> tuple[float, float, Array]:
    """Return λ_min, λ_max and the eigenvector of λ_max."""
    pairs = extreme_eigenpairs(loss, w, k=1, which="both" if loss.dim > 1 else "largest")
    return float(pairs.values[0]), float(pairs.values[-1]), pairs.vectors[-1]


def _check_start(system: Map, settings: dict[str, Any], lowest: float, sharpness: float) -> None:
    if not lowest >= -_NEGATIVE * sharpness:
        raise _checks.ArgumentError(
            f"The point that GD reached is not a minimum: its Hessian has the eigenvalue "
            f"{lowest:.4g}. Give a start `w0` in another basin."
        )
    limit = float(
        theory.evaluate(theory.flip_threshold(settings["kind"]), momentum=settings["momentum"])
    )
    lr, rho = settings["lr"], settings["rho"]
    if not lr * sharpness < limit:
        raise _checks.ArgumentError(
            f"GD itself would leave this minimum: lr·λ_max = {lr * sharpness:.4g} is not below "
            f"{limit:.4g} (λ_max = {sharpness:.6g}). Give a smaller lr."
        )
    effective = sharpness * (1 + rho * sharpness)
    if not lr * effective > limit:
        needed = (limit / (lr * sharpness) - 1) / sharpness
        raise _checks.ArgumentError(
            f"{system.rule.name.upper()} would not leave this minimum: lr·U(λ_max) = "
            f"{lr * effective:.4g} is not above {limit:.4g} (λ_max = {sharpness:.6g}). "
            f"Give rho > {needed:.4g} or a larger lr."
        )


def _follow(
    system: Map, w0: Array, direction: Array, num_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return L(w), direction·Δ²w and ‖Δ²w‖ at each step."""
    shown = _observe(system, w0, direction, jnp.arange(num_steps))
    losses, along, bends = (np.asarray(series) for series in shown)
    return losses, along, bends


@eqx.filter_jit
def _observe(system: Map, w0: Array, direction: Array, steps: Array) -> tuple[Array, ...]:
    def one(states: tuple[Array, ...], _: Any) -> tuple[Any, tuple[Array, ...]]:
        _, second, third = states
        w0, w1, w2 = (system.position(z) for z in states)
        bend = w2 - 2 * w1 + w0
        shown = system.loss(w0), direction @ bend, jnp.linalg.norm(bend)
        return (second, third, system.step(third)), shown

    return lax.scan(one, _first_three(system, w0), steps)[1]


def _first_three(system: Map, w0: Array) -> tuple[Array, Array, Array]:
    first = system.lift(w0)
    second = system.step(first)
    return first, second, system.step(second)


@eqx.filter_jit
def _filtered(system: Map, w0: Array, step: Array) -> Array:
    """Return (w[k] + 2w[k+1] + w[k+2])/4 at k = step."""
    states = lax.fori_loop(
        0, step, lambda _, s: (s[1], s[2], system.step(s[2])), _first_three(system, w0)
    )
    first, second, third = (system.position(z) for z in states)
    return (first + 2 * second + third) / 4


def _along(system: Map, settings: dict[str, Any], w0: Array, rate: Rate) -> tuple[float, ...]:
    """Return log|μ(λ_max)| at the first step of a window, in its middle and at its last."""
    logs = []
    for step in (rate.start, (rate.start + rate.stop) // 2, rate.stop):
        w = _filtered(system, w0, jnp.asarray(step))
        if not np.isfinite(w).all():
            return (math.inf,) * 3
        largest = extreme_eigenpairs(system.loss, w, k=1, which="largest").values[-1]
        logs.append(log_leading(settings, float(largest)))
    return tuple(logs)
