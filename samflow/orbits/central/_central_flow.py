"""Central flows: where a map goes on average while it oscillates at its edge of stability."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from samflow import _checks, theory
from samflow._status import Status
from samflow._types import ArrayLike, NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.eager import is_eager
from samflow.orbits._iterate import start_states
from samflow.orbits.central.deviations import growth
from samflow.orbits.central.oscillation import RANK, Oscillation, Stepping, at_edge, moved
from samflow.orbits.central.saturation import saturated
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.rules import Ascent, is_normalised
from samflow.systems import Map
from samflow.systems.base import check_system
from samflow.systems.hyperparameters import theory_settings


class CentralFlow(AbstractRecord):
    """A central flow w̄(k), and the oscillation δ about it that it predicts.

    Attributes:
        steps: the number of the map's step at each point kept.
        w: the time average w̄ that is predicted, shape (kept, dim).
        curvature: the leading eigenvalues μ of the direction's derivative Dd(w̄), descending; of
            SAM, which has no derivative that would count for an oscillation as large as its
            gradient, of the derivative of USAM with rho/‖g‖.
        limit: κ/lr, at which the map flips: μ stays at most this.
        sharpness: the curvature uᵀHu of the loss along the first of their vectors; for GD, and for
            each rule where ‖g‖ is small, its largest eigenvalue.
        edge: the sharpness at which the rule flips; NaN where it has no closed form.
        variance: Σ in the basis of those vectors, ⟨δδᵀ⟩ = Uᵀ Σ U; 0 below the edge.
        loss: L(w̄).
        mean_loss: the predicted average of the loss along the run, L + ½⟨H, Σ⟩.
        gradient_norm: ‖g(w̄)‖.
        rms_gradient: the predicted root mean square of ‖g‖ along the run, √(‖g‖² + ⟨H², Σ⟩).
        growth: logarithmic growth a step of deviations of the run from the flow, positive where
            they grow and the flow does not describe it for long; NaN off the edge, with more than
            one critical direction, of SAM, and where a state has more than 64 numbers.
        status: reached end; unbalanced, too few pairs, residual too large, not finite, diverged,
            undefined: the flow ended at `stopped_at`, and points from there on are NaN.
        stopped_at: the last step of the flow.

    """

    basis: ClassVar[Names] = ("central flow", "sam edge")
    rows: ClassVar[Names] = ("kept",)
    steps: Int[Array, " kept"] = eqx.field(metadata=axes("kept", units="step"))
    w: Float[Array, "kept dim"] = eqx.field(metadata=axes("kept", "weight"))
    curvature: Float[Array, "kept pair"] = eqx.field(metadata=axes("kept", "pair"))
    sharpness: Float[Array, " kept"] = eqx.field(metadata=axes("kept", units="loss/weight^2"))
    edge: Float[Array, " kept"] = eqx.field(metadata=axes("kept", units="loss/weight^2"))
    variance: Float[Array, "kept pair other"] = eqx.field(
        metadata=axes("kept", "pair", "other", units="weight^2")
    )
    loss: Float[Array, " kept"] = eqx.field(metadata=axes("kept", units="loss"))
    mean_loss: Float[Array, " kept"] = eqx.field(metadata=axes("kept", units="loss"))
    gradient_norm: Float[Array, " kept"] = eqx.field(metadata=axes("kept", units="loss/weight"))
    rms_gradient: Float[Array, " kept"] = eqx.field(metadata=axes("kept", units="loss/weight"))
    growth: Float[Array, " kept"] = eqx.field(metadata=axes("kept", units="1/step"))
    limit: float = eqx.field(static=True)
    status: Status = eqx.field(static=True)
    stopped_at: int = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    @property
    def num_critical(self) -> Int[Array, " kept"]:
        """How many directions oscillate at each point."""
        sizes = np.linalg.eigvalsh(np.nan_to_num(np.asarray(self.variance)))
        return jnp.asarray(
            (sizes > RANK * sizes.max(axis=1, initial=0.0, keepdims=True)).sum(axis=1)
        )

    def distance(self, run: ArrayLike) -> Float[Array, " kept"]:
        """Return ‖w̄ − time average of the run‖ at each point kept; NaN where there is none.

        Args:
            run: weights of the map at steps 0, 1, 2, ..., shape (steps, dim).

        """
        return jnp.linalg.norm(two_step_mean(run, self.steps) - self.w, axis=1)

    def __str__(self) -> str:
        at_edge = np.asarray(self.num_critical)
        total, number = int(self.steps[-1]), int((at_edge > 0).sum())
        text = f"central flow over {total} steps: oscillates at {number} of {len(at_edge)} points"
        if at_edge.max() > 1:
            text += f", in up to {at_edge.max()} directions at once"
        growing = np.asarray(self.growth) > 0
        if growing.any():
            first, worst = int(self.steps[growing.argmax()]), float(np.nanmax(self.growth))
            text += (
                f"; does not hold from step {first} on: deviations from it grow, by up to "
                f"{worst:.2g} a step"
            )
        if self.status is not Status.reached_end:
            text += f"; {self.status} at step {self.stopped_at}"
        return text


def two_step_mean(run: ArrayLike, steps: ArrayLike) -> Array:
    """Return ¼(wₖ₋₁ + 2wₖ + wₖ₊₁) at the given steps k, without what has period 2; NaN at ends."""
    run, steps = jnp.asarray(run), jnp.asarray(steps)
    inside = (steps > 0) & (steps < len(run) - 1)
    k = jnp.where(inside, steps, 1)
    mean = (run[k - 1] + 2 * run[k] + run[k + 1]) / 4
    return jnp.where(inside[:, None], mean, jnp.nan)


@_checks.untraced()
def central_flow(
    system: Map,
    w0: ArrayLike,
    *,
    num_steps: int,
    substeps: int = 1,
    num_pairs: int | None = None,
    keep_every: int = 1,
    escape_radius: float = 1e6,
    progress: Callable[[int], None] = lambda step: None,
) -> CentralFlow:
    """Follow the central flow of a map: the time average of its run, at and below the edge.

        ẇ = −(d(w) + ½ D²d(w)[Σ])/(1 − β),   Σ ⪰ 0 on the critical directions,  μᵢ ≤ κ/lr,

    in the time lr · step. A map flips along an eigenvector of Dd(w) with μ = κ/lr, κ = 2 without
    momentum. From there on it oscillates with period 2, w = w̄ ± δ. The curvature of d pushes w̄
    with ½ D²d[⟨δδᵀ⟩], and Σ is the one covariance that keeps μ at the edge: a complementarity
    problem, ⟨Σ, κ/lr − μ⟩ = 0. It is solved at the end of each step of Euler's method (Moreau),
    so that μ does not drift off the edge. With d = g this is the central flow of Cohen et al.

    Of SAM, Σ needs no such problem. ‖g‖ grows with the oscillation, and the amplitude is the one
    at which the map flips:  ‖g‖² + λ²σ² = (lr rho λ²/(κ − lr λ))², along the sharpest direction.

    Args:
        system: a map with fixed numbers, of a rule without memory.
        w0: weights, shape (dim,); the velocity is 0.
        num_steps: how many steps of the map.
        substeps: 1 averages the map itself: a step is the map's, with ½D²d[Σ], and with critical
            directions slowed so that w̄ does not oscillate. Directions that are stiff but not
            critical then move as in the run, which a flow does not describe to first order in lr.
            More than 1: as many steps of Euler's method for each of the map, to follow the flow.
        num_pairs: how many eigenvalues are watched; by default 4, or dim if that is less.
        keep_every: keep points at steps 0, k, 2k, ...
        escape_radius: the flow has diverged when ‖w‖ exceeds this.
        progress: is called with the number of each step made.

    Returns:
        A `CentralFlow`. Nothing is raised for a flow that ends: its status says why.

    Not guaranteed: that the run follows. δ must be small against the length over which third
    derivatives change, and w̄ slow; `growth` says, in few dimensions, whether deviations die out.

    Raises:
        ArgumentError: for a rule with a memory, schedules, a loss that Python computes (it has no
            third derivatives), too few substeps for momentum, single precision, a wrong start.

    Source: Cohen et al. 2024, arXiv 2410.24206 (GD); Moreau, Evolution Problem Associated with a
    Moving Convex Set (1977). USAM, momentum and SAM: section 12 of docs/theory.

    """
    check_system(system, Map, "Use `sf.Map(loss, rule, lr=...)`.")
    _checks.double_precision("A central flow")
    _check_rule(system)
    num_steps = _checks.count("num_steps", num_steps)
    keep_every = _checks.count("keep_every", keep_every)
    pairs = _checks.count("num_pairs", min(4, system.dim) if num_pairs is None else num_pairs)
    if pairs > system.dim:
        raise _checks.ArgumentError(
            f"Argument `num_pairs` must be at most {system.dim}, the number of weights, but is "
            f"{pairs}."
        )
    radius = _checks.positive("escape_radius", escape_radius)
    stepping = _stepping(system, _checks.count("substeps", substeps), pairs)
    w = start_states(system, _checks.point("w0", w0, system.dim))[: system.dim]
    find = saturated if system.rule.ascent is Ascent.unit else at_edge
    state, found, status, step = (w, jnp.zeros_like(w)), None, Status.reached_end, 0
    kept: list[dict[str, Any]] = []
    for part in range(num_steps * substeps + 1):
        step = part // substeps
        found, status = find(system, state[0], stepping, found)
        if status is Status.reached_end and float(jnp.linalg.norm(state[0])) > radius:
            status = Status.diverged
        if status is not Status.reached_end:
            break
        if part % (substeps * keep_every) == 0:
            kept.append(_observed(system, state[0], found, stepping))
        if part % substeps == 0:
            progress(step)
        state = moved(system, *state, found, stepping)
    assert found is not None  # there is a step 0
    first = kept[0] if kept else _observed(system, w, found, stepping)
    count = 1 + num_steps // keep_every
    settings = {"num_steps": num_steps, "substeps": substeps, "num_pairs": pairs}
    return CentralFlow(
        steps=keep_every * jnp.arange(count),
        **{name: _padded([each[name] for each in kept], first[name], count) for name in first},
        limit=stepping.limit,
        status=status,
        stopped_at=step,
        provenance=provenance(system.describe(), **settings),
    )


def _check_rule(system: Map) -> None:
    if system.rule.num_memories:
        raise _checks.ArgumentError(
            f"Argument `system` must have a rule without a memory, but has {system.rule.name}."
        )
    if is_eager(system.loss):
        raise _checks.ArgumentError(
            f"Argument `system` must have a loss in JAX, but {system.loss.name} is computed "
            "outside of it: a central flow needs third derivatives. Use `sf.losses.network`, not "
            "in chunks."
        )
    if is_normalised(system.rule) and system.rule.ascent is not Ascent.unit:
        raise _checks.ArgumentError(
            f"Argument `system` must have a smooth rule or SAM, but has {system.rule.name}, of "
            "which no central flow is known."
        )


def _stepping(system: Map, substeps: int, pairs: int) -> Stepping:
    settings = theory_settings(system)
    beta = settings["momentum"]
    kappa = float(theory.evaluate(theory.flip_threshold(settings["scheme"]), momentum=beta))
    least = math.ceil(kappa / (1 - beta) * (1 - 1e-12))
    if 1 < substeps < least:
        raise _checks.ArgumentError(
            f"Argument `substeps` must be 1, or at least {least} at this momentum, but is "
            f"{substeps}: Euler's method would oscillate itself."
        )
    return Stepping(float(system.lr), beta, kappa, substeps, pairs)


def _observed(
    system: Map, w: Point, found: Oscillation, stepping: Stepping
) -> dict[str, NumpyArray | float]:
    """Return what is kept of a point."""
    u, sigma = found.modes.right, found.variance
    normalised = system.rule.ascent is Ascent.unit
    value, gradient, images = map(np.asarray, _measured(system.loss, w, jnp.asarray(u)))
    loss, g = float(value), float(np.linalg.norm(gradient))
    sharpness = float(u[0] @ images[0])
    rms = math.sqrt(g**2 + float(np.sum(sigma * (images @ images.T))))
    decay = 0.0 if system.weight_decay is None else float(system.weight_decay)
    rho = system.rule.effective_rho(rms)
    curvature = found.modes.values
    if normalised:
        curvature = curvature * (1 + rho * curvature) + decay
    return {
        "w": np.asarray(w),
        "curvature": curvature,
        "sharpness": sharpness,
        "edge": edge_of_usam(rho, stepping.limit - decay),
        "variance": sigma,
        "loss": loss,
        "mean_loss": loss + 0.5 * float(np.sum(sigma * (u @ images.T))),
        "gradient_norm": g,
        "rms_gradient": rms,
        "growth": math.nan if normalised else growth(system, w, found, stepping),
    }


@eqx.filter_jit
def _measured(loss: AbstractLoss, w: Point, u: Any) -> tuple[Any, ...]:
    """Return L, g, and Hu of each row of `u`."""
    return loss(w), loss.gradient(w), jax.vmap(lambda v: loss.hvp(w, v))(u)


def edge_of_usam(rho: float, limit: float) -> float:
    """Return the λ > 0 with λ(1 + rho λ) = limit; NaN where rho is unknown."""
    return 2 * limit / (1 + math.sqrt(1 + 4 * rho * limit))


def _padded(values: list[Any], like: Any, count: int) -> Array:
    """Return an array of the values, all of the shape of `like`, with NaN after the last."""
    missing = [np.full(np.shape(like), np.nan)] * (count - len(values))
    return jnp.asarray(np.array([*values, *missing], dtype=float))
