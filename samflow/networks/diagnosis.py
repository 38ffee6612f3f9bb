"""What is found out about a checkpoint: records, and how they read as text."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from samflow import theory
from samflow._types import Scalar
from samflow.noise.interpolation.directional import MeanSquareAlong
from samflow.noise.interpolation.mean_square import NORMAL_95, MeanSquareRate
from samflow.records import AbstractRecord, Provenance, axes
from samflow.spectra.curvature import Trace
from samflow.spectra.density import SpectralDensity
from samflow.spectra.spectrum import Eigenpairs

AS_IMPLEMENTED = "practical-sam"
"""The rule whose place that of a convention takes."""
DEFAULT_RULES = ("gd", "usam", AS_IMPLEMENTED)
"""The rules of which verdicts are given unless others are asked for."""


class Place(NamedTuple):
    """Where a checkpoint sits with respect to critical points of its loss.

    Attributes:
        level: "critical" (the gradient is 0 to rounding), "near" (the sharpness changes by a tenth
            in no less than 100 steps of gradient descent) or "far".
        gradient_norm: ‖g‖.
        length: ‖g‖/max|λ|, the least distance in weight space at which a critical point can be if
            the loss is quadratic.
        drift: relative change of the sharpness in a step of gradient descent, from H(w − lr g) v.
        steady_steps: steps in which the sharpness changes by a tenth at that pace, 0.1/|drift|.
        statement: what that means for the verdicts.

    """

    level: str
    gradient_norm: float
    length: float
    drift: float
    steady_steps: float
    statement: str


class RuleVerdict(NamedTuple):
    """What one rule does at the checkpoint, to first order, in the directions looked at.

    Arrays have an entry an eigenpair of the Hessian, in ascending order of λ.

    Attributes:
        rule: its name.
        verdict: "unstable" (a perturbation grows), "stable" (all die out in the directions looked
            at), "neutral" (the same, apart from `neutral` directions in which nothing grows or dies
            out), "unresolved" (one grows, but more slowly than the point itself moves on) or
            "undecided", where residuals leave it open.
        statement: the same in words, with the time in which it grows by e.
        rho: the radius, in the rule's own units.
        effective_rho: what multiplies the gradient in the ascent: rho for USAM, rho/(‖g‖ + eps)
            for practical SAM, 0 for GD; NaN for a rule without a closed form, and then so are
            `edge` and `closed_form`.
        edge: the λ above which the rule leaves a minimum: ηU(λ) = κ, with κ = 2(1 + momentum)
            for heavy ball, and with weight decay in U.
        scaled_curvature: ηU of the sharpest direction, to be compared with `limit`.
        limit: κ.
        rho_window: the rho that attract along all the directions looked at, by closed form; empty
            where low ≥ high; None for GD, without a closed form, and with weight decay.
        closed_form: U(λ) = λ(1 + effective_rho λ), with weight decay; exact at a critical point.
        measured: U along the eigenvector, from the derivative of the rule's direction.
        residual: how far the eigenvector is from one of that derivative, in units of U.
        growth: log max|μ| a step at the measured U.
        growth_low: its least value for U within the residual.
        growth_high: its largest value there.
        cycle_radius: of SAM's 2-cycle about a minimum along the sharpest direction, in weight
            space; NaN for another rule, and where ηλ ≥ κ and no such cycle exists.
        turned: along how many of the negative eigenvalues looked at the rule attracts.
        neutral: along how many directions λ is 0 to rounding and no weight decay acts.

    """

    rule: str
    verdict: str
    statement: str
    rho: float
    effective_rho: float
    edge: float
    scaled_curvature: float
    limit: float
    rho_window: tuple[float, float] | None
    closed_form: np.ndarray
    measured: np.ndarray
    residual: np.ndarray
    growth: np.ndarray
    growth_low: np.ndarray
    growth_high: np.ndarray
    cycle_radius: float
    turned: int
    neutral: int


class Diagnosis(AbstractRecord):
    """Where a checkpoint sits and what each rule does there.

    Attributes:
        criterion: one line about the loss that was taken.
        place: how near a critical point is, and what that means.
        loss: L(w).
        error: share of examples misclassified; NaN for targets that are no classes.
        dim: number of weights.
        num_examples: number of examples.
        pairs: the k most negative and the k largest eigenvalues of H, with residuals.
        index: how many of the eigenvalues looked at are negative beyond their residual; if it is
            all of the k lowest, there may be more.
        rho_threshold: 1/|λ₋| of the most negative eigenvalue: USAM with a larger rho climbs along
            it, and is attracted up to the upper end of its `rho_window`. NaN without negative
            eigenvalues.
        neutral: how many of the eigenvalues looked at are 0 to rounding.
        trace: tr H, with an interval; None where an interrupt came before.
        density: the spectral density; None where it was not asked for.
        verdicts: one a rule.
        mean_square: of mini-batches, one a rule in the order of `verdicts`: the exact rate where
            the problem is small enough, else a bound along the sharpest direction; None for a rule
            or a map that has none. Empty without a batch size.
        layers: names of the weight arrays.
        top_shares: of the squared length of the sharpest direction in each array; they sum to 1.
        bottom_shares: the same for the most negative eigenvector.
        mismatch: by how much, relatively, a difference of gradients along the sharpest direction is
            another vector than Hv; what is expected of rounding is noted where it is more.
        without_gradient: the weight arrays whose gradient is exactly 0; `notes` say why.
        notes: what else should be known, as kinks that the Hessian does not see.

    """

    criterion: str = eqx.field(static=True)
    place: Place = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    num_examples: int = eqx.field(static=True)
    index: int = eqx.field(static=True)
    neutral: int = eqx.field(static=True)
    rho_threshold: float = eqx.field(static=True)
    mismatch: float = eqx.field(static=True)
    without_gradient: tuple[str, ...] = eqx.field(static=True)
    layers: tuple[str, ...] = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    verdicts: tuple[RuleVerdict, ...]
    mean_square: tuple[MeanSquareRate | MeanSquareAlong | None, ...]
    pairs: Eigenpairs
    trace: Trace | None
    density: SpectralDensity | None
    loss: Scalar = eqx.field(metadata=axes())
    error: Scalar = eqx.field(metadata=axes())
    top_shares: Float[Array, " arrays"] = eqx.field(metadata=axes("array"))
    bottom_shares: Float[Array, " arrays"] = eqx.field(metadata=axes("array"))

    @property
    def sharpness(self) -> float:
        """The largest eigenvalue."""
        return float(self.pairs.values[-1])

    @property
    def unstable(self) -> tuple[str, ...]:
        """The rules under which a perturbation grows."""
        return tuple(each.rule for each in self.verdicts if each.verdict == "unstable")

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and lists, without eigenvectors, which have dim entries."""
        pairs = {name: v for name, v in self.pairs.to_dict().items() if name != "vectors"}
        return super().to_dict() | {"pairs": pairs}

    def __str__(self) -> str:
        """Return what was found, a line each."""
        values = self.pairs.values
        lines = [
            self.criterion,
            f"{self.dim} weights, {self.num_examples} examples: loss {float(self.loss):.6g}"
            + ("" if math.isnan(float(self.error)) else f", error {float(self.error):.2%}"),
            self.place.statement,
            f"largest eigenvalue {float(values[-1]):.6g}, smallest {float(values[0]):.6g}, "
            f"{self.index} of those looked at negative"
            + ("" if self.trace is None else f"; {self.trace}"),
        ]
        if self.index:
            lines.append(f"1/|λ₋| = {self.rho_threshold:.6g}: USAM's threshold in rho")
        lines += [f"{each.rule}: {each.verdict}. {each.statement}" for each in self.verdicts]
        for each, found in zip(self.verdicts, self.mean_square, strict=False):
            lines += [f"{each.rule} in mini-batches: {show_mean_square(found)}"]
        return "\n".join([*lines, *self.notes])


def show_mean_square(found: MeanSquareRate | MeanSquareAlong | None) -> str:
    """Return what is known of the mean square, on one line."""
    if found is None:
        return "nothing is known of its mean square here"
    if isinstance(found, MeanSquareAlong):
        return (
            f"{found.verdict}: mean-square multiplier along the sharpest direction "
            f"{found.radius:.6g} ± {NORMAL_95 * found.standard_error:.2g}, a lower bound"
        )
    return str(found)


def window_ends(window: theory.Window | None) -> tuple[float, float] | None:
    """Return the ends of a window as floats; an empty one has low ≥ high."""
    return None if window is None else (float(window.low.value), float(window.high.value))
