"""Mean-square stability of a minimum that fits every example, under batches drawn at random."""

import math
from typing import ClassVar, Literal

import equinox as eqx
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.noise.interpolation import batch_jacobians
from samflow.noise.interpolation.batch_moments import BatchMoments
from samflow.noise.interpolation.batch_operator import (
    Perron,
    batches,
    has_closed_form,
    leading,
    operator,
    update,
)
from samflow.noise.interpolation.linearisation import Linearisation, linearise
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems.base import check_fixed
from samflow.systems.stochastic_map import StochasticMap

_EXPECTATIONS = ("auto", "exact", "enumerated", "monte carlo")

NORMAL_95 = 1.959963984540054
"""Half the width of a normal 95 % interval, in standard errors."""


class MeanSquareRate(AbstractRecord):
    """The growth rate of the mean square of the distance from an interpolating minimum.

    To first order about the minimum a step is z⁺ = J_ξ z, and E[zzᵀ] moves by T(P) = E[J_ξ P J_ξᵀ].
    Directions that no batch moves are left out: along them the distance does not change.

    Attributes:
        rate: log of the spectral radius of T, a step; the mean square grows like exp(rate · k).
            NaN where the radius is.
        radius: the spectral radius.
        standard_error: of `radius`; 0 where the expectation is exact or enumerated.
        residual: ‖T(P) − radius · P‖_F for the leading P of norm 1; 0.0 is exact.
        stability: "stable" (radius ≤ 1), "unstable" or "undecided": within the residual, or within
            the 95 % interval, of 1.
        expectation: "exact" (closed form over all batches), "enumerated" (all batches, one by
            one) or "monte carlo".
        method: "dense" (T as a matrix), "lanczos" (matrix-free; T is self-adjoint), or "arnoldi".
        span_dim: number of coordinates of the state that some batch moves.
        gradient_norm: largest ‖gᵢ(w)‖ over the examples, 0 at an interpolating minimum.
        misfit: the same as a part of max ‖Hᵢ‖ ‖w‖.
        status: located; residual_too_large; not_finite; or not_a_fixed_point where `w` does not
            fit every example. Batches then move the weights even at the minimum. The mean square
            tends to a positive level, and this rate only says how fast.

    """

    basis: ClassVar[Names] = ("interpolation",)
    rows: ClassVar[Names] = ()
    rate: float = eqx.field(static=True, metadata=axes(units="1/step"))
    radius: float = eqx.field(static=True, metadata=axes(units="1"))
    standard_error: float = eqx.field(static=True, metadata=axes(units="1"))
    residual: float = eqx.field(static=True)
    stability: str = eqx.field(static=True)
    expectation: str = eqx.field(static=True)
    method: str = eqx.field(static=True)
    span_dim: int = eqx.field(static=True)
    gradient_norm: float = eqx.field(static=True, metadata=axes(units="loss/weight"))
    misfit: float = eqx.field(static=True)
    status: Status = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    @property
    def stable(self) -> bool:
        """Whether the mean square is known not to grow."""
        return self.stability == "stable"

    def __str__(self) -> str:
        """Return rate, verdict and how they were found, on one line."""
        text = f"{self.stability}: mean-square rate {self.rate:.6g} per step ({self.expectation}"
        if self.standard_error:
            text += f", radius {self.radius:.6g} ± {NORMAL_95 * self.standard_error:.2g}"
        text += f", {self.method})"
        if self.status is not Status.located:
            text += f"; {self.status.label}"
        if self.status is Status.not_a_fixed_point:
            text += f", ‖gᵢ‖ up to {self.gradient_norm:.3g}: the noise at rest is left out"
        return text


@_checks.untraced()
def mean_square_rate(
    system: StochasticMap,
    w: ArrayLike,
    *,
    expectation: Literal["auto", "exact", "enumerated", "monte carlo"] = "auto",
    num_samples: int = 4000,
    key: PRNGKeyArray | None = None,
    tol: float = 1e-9,
) -> MeanSquareRate:
    """Find the exponential rate of E‖w_k − w‖² near a minimum `w` that fits every example.

    The rate is log r(T), T(P) = E[J_ξ P J_ξᵀ] on symmetric matrices. For GD and USAM, with any
    momentum, T is exact for every batch size, with and without replacement, from the moments of
    a batch's Hessian; small problems get T as a matrix, larger ones a Krylov method that never
    forms it. For another smooth rule the Jacobians of all batches are averaged if there are at
    most 20,000, or of `num_samples` drawn ones.

    >>> import samflow as sf
    >>> loss = sf.losses.mean([sf.loss("(x + y)**2 / 2"), sf.loss("(x - 2*y)**2 / 2")])
    >>> step = sf.Map(loss, sf.USAM(rho=0.1), lr=0.2)
    >>> found = sf.mean_square_rate(sf.StochasticMap(step, sf.noise.MiniBatch(1)), [0, 0])
    >>> print(found)
    stable: mean-square rate -0.398688 per step (exact, dense)

    Args:
        system: the map of an optimiser on mini-batches.
        w: the minimum, shape (dim,).
        expectation: how to average over batches: "exact", "enumerated", "monte carlo", or "auto",
            the first of these that is possible.
        num_samples: number of drawn batches, for "monte carlo".
        key: a key of `jax.random`, which "monte carlo" needs.
        tol: largest accepted residual relative to the radius.

    Not guaranteed: anything beyond first order about `w`. Weight decay is part of the step, but its
    pull along directions that no example curves in is left out. The residual bounds the error of
    the radius where T is self-adjoint (no momentum, one draw per step); elsewhere it does not.

    Raises:
        ArgumentError: in single precision; for noise that is not mini-batches; for a rule that
            jumps at minima, as normalised SAM, which has no linearisation; for "exact" with a
            rule that has no closed form; for "monte carlo" without a key; and as `linearise`.

    Source: Mulayoff and Michaeli 2023 (arXiv 2306.07850) for SGD; docs/theory, section 7.

    """
    _checks.double_precision("Finding a mean-square rate")
    _checks.instance("system", system, StochasticMap, "Use `sf.StochasticMap(map, noise)`.")
    check_fixed(system)
    _checks.known("expectation", expectation, _EXPECTATIONS)
    tol = _checks.positive("tol", tol)
    noise = batches(system)
    batch_jacobians.check_smooth(system)
    data = linearise(system.loss, w)
    if expectation == "auto":
        expectation = _first_that_can(system)
    error = 0.0
    if expectation == "exact":
        if not has_closed_form(system):
            raise _checks.ArgumentError(
                f"Argument `expectation` must be 'enumerated' or 'monte carlo' for the rule "
                f"{system.map.rule.name}, but is 'exact': closed forms are for gd and usam."
            )
        found = exact(system, data, BatchMoments(data, noise.batch_size, noise.replacement), tol)
        size = found.mode.shape[0]
    else:
        if expectation == "enumerated":
            jacobians = batch_jacobians.enumerated(system, w)
        elif key is None:
            raise _checks.ArgumentError(
                "Argument `key` must be given for a Monte Carlo expectation, such as "
                "`jax.random.key(0)`."
            )
        else:
            jacobians = batch_jacobians.sampled(system, w, key=key, num_samples=num_samples)
        found, error = batch_jacobians.perron(jacobians, tol=tol)
        error = error if expectation == "monte carlo" else 0.0
        size = jacobians.matrices.shape[1]
    return MeanSquareRate(
        rate=-math.inf if found.radius <= 0 else math.log(found.radius),
        radius=found.radius,
        standard_error=error,
        residual=found.residual,
        stability=_stability(found, error),
        expectation=expectation,
        method=found.method,
        span_dim=size,
        gradient_norm=data.gradient_norm,
        misfit=data.misfit,
        status=_status(found, data, tol),
        provenance=provenance(system.describe(), expectation=expectation, tol=tol),
    )


def exact(
    system: StochasticMap, data: Linearisation, moments: BatchMoments, tol: float = 1e-9
) -> Perron:
    """Return the leading eigenvalue of T for GD or USAM, from moments that may be used again."""
    step = update(system)
    return leading(
        operator(moments, step),
        data.span_dim * len(step.moved),
        self_adjoint=step.self_adjoint,
        tol=tol * 0.1,  # the method's own test; the residual that decides is recomputed
    )


def _first_that_can(system: StochasticMap) -> Literal["exact", "enumerated", "monte carlo"]:
    if has_closed_form(system):
        return "exact"
    listed = (
        not system.fresh and batch_jacobians.num_batches(system) <= batch_jacobians.MOST_BATCHES
    )
    return "enumerated" if listed else "monte carlo"


def _stability(found: Perron, error: float) -> str:
    slack = found.residual + NORMAL_95 * error + 1e-14
    if abs(found.radius - 1) <= slack or not np.isfinite(found.radius):
        return "undecided"
    return "stable" if found.radius < 1 else "unstable"


def _status(found: Perron, data: Linearisation, tol: float) -> Status:
    if not np.isfinite(found.radius):
        return Status.not_finite
    if not found.residual <= tol * max(found.radius, 1.0):
        return Status.residual_too_large
    return Status.located if data.interpolates else Status.not_a_fixed_point
