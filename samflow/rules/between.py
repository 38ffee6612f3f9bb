"""Rules between SAM and USAM, and between SAM and GD: Unified SAM and Monge SAM."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._components import inner, norm, unit
from samflow._schedule import hyperparameter
from samflow._status import Kind
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules._common import at_least_0, radius
from samflow.rules.base import AbstractNormalisedRule
from samflow.rules.critical import AlignedCycle, AscentStep, Attraction, plain_numbers

_MIX: _checks.Requirement = (lambda v: (v > 0) & (v <= 1), "in (0, 1]")


def _mix(value: Any) -> Scalar:
    """Check `mix`."""
    hint = "Use USAM for an ascent without normalisation."
    return hyperparameter("mix", value, _MIX, hint)


class UnifiedSAM(AbstractNormalisedRule):
    """Unified SAM: d(w) = g(w + rho ((1 − mix) + mix/‖g‖) g), g = g(w).

    A convex combination of USAM's ascent and SAM's: mix = 1 is SAM. mix = 0 would be USAM, and is
    refused, since that rule is smooth. In the paper mix is λ. `rho` is at once a length and a
    weight over a gradient, so that the rule depends on units. Undefined where g(w) = 0.
    Source: Oikonomou and Loizou 2025 (arXiv 2503.02225), the update of the paper.
    """

    rho: Scalar = eqx.field(converter=radius)
    mix: Scalar = eqx.field(default=0.5, converter=_mix)
    name: ClassVar[str] = "unified-sam"
    formula: ClassVar[str] = "g(w + rho ((1 − mix) + mix/‖g(w)‖) g(w))"
    source: ClassVar[str] = "Oikonomou, Loizou 2025, arXiv 2503.02225"
    by_gradients: ClassVar[bool] = True
    closed_forms: ClassVar[str] = "sliding of the flow with its radius; 2-cycles with their bounds"

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w + rho ((1 − mix) g + mix g/‖g‖)); NaN where g(w) = 0."""
        g = loss.gradient(w)
        ascent = (1 - self.mix) * g + self.mix * unit(g)
        return loss.gradient(w + self.rho * ascent)

    def limit(self, loss: AbstractLoss, w: V, e: V) -> V:
        """Return g(w + rho mix e)."""
        return loss.gradient(w + self.rho * (self.mix * e))

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return ‖g(w)‖."""
        return norm(loss.gradient(w))

    def effective_rho(self, gradient_norm: float = 0.0) -> float:
        """Return rho ((1 − mix) + mix/‖g‖)."""
        rho, mix = float(self.rho), float(self.mix)
        return rho * (1 - mix + mix / gradient_norm) if gradient_norm else math.inf

    def ascent_length(self, w: Any) -> float:
        """Return rho mix, the length of the ascent at a critical point."""
        return float(self.rho * self.mix)

    def attraction(
        self, loss: AbstractLoss, w: np.ndarray, hessian: np.ndarray
    ) -> Attraction | None:
        """Return sliding, for rho > 0, with its radius: SAM's is less."""
        from samflow import theory  # sympy is slow to import, and seldom needed

        if float(self.rho) == 0:
            return Attraction(Kind.undefined)
        lams = np.linalg.eigvalsh(hessian).tolist()
        radius = theory.unified_radius(lams, rho=float(self.rho), mix=float(self.mix))
        return Attraction(Kind.sliding, finite_time=True, radius=float(radius))

    def ascent_step(self, loss: AbstractLoss) -> AscentStep | None:
        """Return SAM's with rho mix, which the limits are."""
        return AscentStep(float(self.rho * self.mix), limit_only=True)

    def aligned_cycle(self, lam: float, others: list[float], lr: float) -> AlignedCycle | None:
        """Return the 2-cycle along λ; None where USAM's part of the ascent has flipped."""
        from samflow import theory  # sympy is slow to import, and seldom needed

        about = {"rho": float(self.rho), "mix": float(self.mix), "lr": lr}
        curvature = float(theory.unified_curvature(lam, rho=about["rho"], mix=about["mix"]))
        if lr * curvature >= 2:
            return None
        radius = float(theory.unified_cycle_radius(lam, **about))
        across = [1 - float(theory.unified_transverse(lam, other, **about)) for other in others]
        return AlignedCycle(radius, [1 - lr * curvature, *across])

    def invariant_ball(self, lams: list[float], lr: float) -> tuple[float, float] | None:
        """Return the ball of gradients that the map keeps."""
        from samflow import theory  # sympy is slow to import, and seldom needed

        about = {"rho": float(self.rho), "mix": float(self.mix), "lr": lr}
        return plain_numbers(theory.unified_ball(lams, **about))


class MongeSAM(AbstractNormalisedRule):
    """Monge SAM: d(w) = g(w + rho g/(‖g‖ √(1 + metric²‖g‖²))), g = g(w).

    The ascent is the longest step uphill to first order within rho in the Riemannian metric
    G = I + metric² g gᵀ of the graph of metric·L: rho G⁻¹g/√(gᵀG⁻¹g). Where metric·‖g‖ ≪ 1 it is
    SAM, where metric·‖g‖ ≫ 1 the ascent is shorter, and d nears GD's. `rho` is a length in weight
    space, `metric` ≥ 0 the inverse of a length of gradients, 1 in the paper. metric = 0 is SAM.
    Undefined where g(w) = 0.

    At a critical point it has SAM's limits: it does not tell the two apart, and it is attracted to
    saddles as SAM is, from a smaller ball of gradients (section 5 of docs/theory).
    Source: Jacobsen and Arvanitidis 2025 (arXiv 2502.08448), with metric = 1.
    """

    rho: Scalar = eqx.field(converter=radius)
    metric: Scalar = eqx.field(default=1.0, converter=at_least_0("metric"))
    name: ClassVar[str] = "monge-sam"
    formula: ClassVar[str] = "g(w + rho g(w)/(‖g(w)‖ √(1 + metric²‖g(w)‖²)))"
    source: ClassVar[str] = "Jacobsen, Arvanitidis 2025, arXiv 2502.08448"
    by_gradients: ClassVar[bool] = True
    closed_forms: ClassVar[str] = "sliding of the flow with its radius; 2-cycles with their bounds"

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w + rho g/(‖g‖ √(1 + metric²‖g‖²))); NaN where g(w) = 0."""
        g = loss.gradient(w)
        shorter = jnp.sqrt(1 / (1 + self.metric**2 * inner(g, g)))
        return loss.gradient(w + self.rho * (shorter * unit(g)))

    def limit(self, loss: AbstractLoss, w: V, e: V) -> V:
        """Return g(w + rho e), SAM's."""
        return loss.gradient(w + self.rho * e)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return ‖g(w)‖."""
        return norm(loss.gradient(w))

    def effective_rho(self, gradient_norm: float = 0.0) -> float:
        """Return rho/(‖g‖ √(1 + metric²‖g‖²))."""
        length = gradient_norm * math.hypot(1, float(self.metric) * gradient_norm)
        return float(self.rho) / length if length else math.inf

    def attraction(
        self, loss: AbstractLoss, w: np.ndarray, hessian: np.ndarray
    ) -> Attraction | None:
        """Return sliding, for rho > 0, with its radius: SAM's is greater."""
        from samflow import theory  # sympy is slow to import, and seldom needed

        if float(self.rho) == 0:
            return Attraction(Kind.undefined)
        lams = np.linalg.eigvalsh(hessian).tolist()
        radius = theory.monge_radius(lams, rho=float(self.rho), metric=float(self.metric))
        return Attraction(Kind.sliding, finite_time=True, radius=float(radius))

    def ascent_step(self, loss: AbstractLoss) -> AscentStep | None:
        """Return SAM's, which the limits are."""
        return AscentStep(float(self.rho), limit_only=True)

    def aligned_cycle(self, lam: float, others: list[float], lr: float) -> AlignedCycle | None:
        """Return the 2-cycle along λ: shorter than SAM's, and across it the same."""
        from samflow import theory  # sympy is slow to import, and seldom needed

        if lr * lam >= 2:
            return None
        about = {"rho": float(self.rho), "metric": float(self.metric), "lr": lr}
        radius = float(theory.monge_cycle_gradient(lam, **about)) / abs(lam)
        across = [1 - float(theory.transverse_curvature(lam, other, lr=lr)) for other in others]
        return AlignedCycle(radius, [float(theory.monge_cycle_update(lam, **about)), *across])

    def invariant_ball(self, lams: list[float], lr: float) -> tuple[float, float] | None:
        """Return the ball of gradients that the map keeps."""
        from samflow import theory  # sympy is slow to import, and seldom needed

        about = {"rho": float(self.rho), "metric": float(self.metric), "lr": lr}
        return plain_numbers(theory.monge_ball(lams, **about))
