"""The parts of a diagnosis: how near a critical point is, and what each rule does."""

from typing import Annotated, NamedTuple

import numpy as np

from samflow._axes import axes

FIRST, ENDS, WHOLE = "first answer", "ends", "whole"
"""What a record knows: one eigenvalue at each end to 5 %; all eigenvalues and rules; all of it."""
AS_IMPLEMENTED = "practical-sam"
"""The rule whose place that of a convention takes."""
DEFAULT_RULES = ("gd", "usam", AS_IMPLEMENTED)
"""The rules of which verdicts are given unless others are asked for."""


class Nearness(NamedTuple):
    """How near the weights are to a critical point of their loss.

    Attributes:
        level: "critical" (the gradient is 0 to rounding), "near" (the sharpness changes by a tenth
            in no less than 100 steps of gradient descent) or "far".
        gradient_norm: ‖g‖.
        least_distance: ‖g‖/max|λ|. If the loss is quadratic, no critical point is nearer.
        drift: relative change of the sharpness in a step of gradient descent, from H(w − lr g) v.
        steady_steps: steps in which the sharpness changes by a tenth at that pace, 0.1/|drift|.
        statement: what that means for the verdicts.

    """

    level: str
    gradient_norm: Annotated[float, axes(units="loss/weight")]
    least_distance: Annotated[float, axes(units="weight")]
    drift: Annotated[float, axes(units="1/step")]
    steady_steps: Annotated[float, axes(units="step")]
    statement: str


class RuleStability(NamedTuple):
    """What one rule does at the checkpoint, to first order, in the directions looked at.

    Arrays have one entry per eigenpair of the Hessian, in ascending order of λ.

    Attributes:
        rule: its name.
        stability: "unstable" (a perturbation grows), "stable" (all die out in the directions looked
            at), "neutral" (the same, apart from `neutral` directions in which nothing grows or dies
            out), "unresolved" (one grows, but more slowly than the point itself moves on) or
            "undecided", where residuals leave it open.
        statement: the same in words, with the time in which it grows by e.
        largest_lr: κ/max U, the lr below which every direction of positive U is stable, with U as
            large as its residual allows. NaN where no U is positive, and where an eigenpair is not
            located.
        num_repelling: along how many directions U < 0 beyond its residual: they repel at every lr.
        num_open: along how many directions the residual leaves the sign of U open.
        rho: the radius, in the rule's own units.
        effective_rho: what multiplies the gradient in the ascent: rho for USAM, rho/(‖g‖ + eps)
            for practical SAM, 0 for GD; NaN for another rule, and then so are `edge` and
            `closed_form` unless theory has a family of its own for the rule.
        edge: the λ above which the rule leaves a minimum: ηU(λ) = κ, with κ = 2(1 + momentum)
            for heavy ball, and with weight decay in U.
        scaled_curvature: ηU of the sharpest direction, to be compared with `limit`.
        limit: κ.
        rho_window: the rho that attract along all the directions looked at, by closed form; empty
            where low ≥ high; None for GD, without a closed form, and with weight decay.
        closed_form: U(λ) = λ(1 + effective_rho λ), or that of the rule's own family, with weight
            decay; exact at a critical point.
        measured: U along the eigenvector, from the derivative of the rule's direction.
        residual: how far the eigenvector is from one of that derivative, in units of U.
        growth: log max|μ| a step at the measured U.
        growth_low: its least value for U within the residual.
        growth_high: its largest value there.
        cycle_radius: of SAM's 2-cycle about a minimum along the sharpest direction, in weight
            space; NaN for another rule, and where ηλ ≥ κ and no such cycle exists.
        stabilised: along how many of the negative eigenvalues looked at the rule attracts.
        neutral: along how many directions λ is 0 to rounding and no weight decay acts.

    """

    rule: str
    stability: str
    statement: str
    largest_lr: float
    num_repelling: int
    num_open: int
    rho: float
    effective_rho: float
    edge: Annotated[float, axes(units="loss/weight^2")]
    scaled_curvature: Annotated[float, axes(units="1")]
    limit: Annotated[float, axes(units="1")]
    rho_window: Annotated[tuple[float, float] | None, axes("end")]
    closed_form: Annotated[np.ndarray, axes("pair", units="loss/weight^2")]
    measured: Annotated[np.ndarray, axes("pair", units="loss/weight^2")]
    residual: Annotated[np.ndarray, axes("pair", units="loss/weight^2")]
    growth: Annotated[np.ndarray, axes("pair", units="1/step")]
    growth_low: Annotated[np.ndarray, axes("pair", units="1/step")]
    growth_high: Annotated[np.ndarray, axes("pair", units="1/step")]
    cycle_radius: Annotated[float, axes(units="weight")]
    stabilised: int
    neutral: int
