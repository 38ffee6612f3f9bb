"""Rules that put several gradients together, or start the ascent elsewhere."""

from typing import ClassVar

import equinox as eqx
import numpy as np

from samflow._components import norm, unit
from samflow._status import Kind
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules._common import at_least_0, least, radius
from samflow.rules.base import AbstractNormalisedRule, AbstractRule
from samflow.rules.critical import (
    AlignedCycle,
    AscentStep,
    Attraction,
    LinearAscent,
    numbers,
    plain_ascent,
)

_LOOKAHEAD = 0.05


class SSAM(AbstractNormalisedRule):
    """Stable SAM: d(w) = (‖g(w)‖/‖g(wᵖ)‖) g(wᵖ), wᵖ = w + rho g(w)/‖g(w)‖.

    SAM's direction with the length of the gradient at w. `rho` is a length in weight space.
    Undefined where g(w) = 0, though d → 0 from every side: it is continuous there and has no
    Jacobian. Undefined, and discontinuous, where g(wᵖ) = 0.
    Source: Tan et al. 2024 (arXiv 2401.07250).
    """

    rho: Scalar = eqx.field(converter=radius)
    name: ClassVar[str] = "ssam"
    formula: ClassVar[str] = "(‖g(w)‖/‖g(wᵖ)‖) g(wᵖ), wᵖ = w + rho g(w)/‖g(w)‖"
    source: ClassVar[str] = "Tan, Zhang, Liu, Wang, Hao 2024, arXiv 2401.07250"
    closed_forms: ClassVar[str] = "attraction of the flow; multipliers in one dimension"

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return (‖g(w)‖/‖g(wᵖ)‖) g(wᵖ); NaN where either gradient is 0."""
        g = loss.gradient(w)
        return norm(g) * unit(loss.gradient(w + self.rho * unit(g)))

    def limit(self, loss: AbstractLoss, w: V, e: V) -> V:
        """Return 0; NaN where g(w + rho e) = 0, since the direction has no limit there."""
        return 0.0 * unit(loss.gradient(w + self.rho * e))

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return the lesser of ‖g(w)‖ and ‖g(wᵖ)‖."""
        g = loss.gradient(w)
        return least(norm(g), norm(loss.gradient(w + self.rho * unit(g))))

    def attraction(
        self, loss: AbstractLoss, w: np.ndarray, hessian: np.ndarray
    ) -> Attraction | None:
        """Return that the flow comes to every such point, and never arrives."""
        from samflow import theory  # sympy is slow to import, and seldom needed

        lams = np.linalg.eigvalsh(hessian).tolist()
        radius = float(theory.attraction_radius(lams, rho=float(self.rho)))
        return Attraction(Kind.attracting, finite_time=False, radius=radius)

    def ascent_step(self, loss: AbstractLoss) -> AscentStep | None:
        """Return SAM's, with the length of g(w)."""
        return AscentStep(float(self.rho), keeps_length=True)


class PenalisedGradientNorm(AbstractNormalisedRule):
    """Penalised gradient norm: d(w) = (1 − alpha) g(w) + alpha g(w + rho g(w)/‖g(w)‖).

    To first order in rho the gradient of L + alpha rho ‖g‖: a penalty λ = alpha rho. On a
    quadratic loss it is SAM with radius alpha rho exactly. `rho` is a length in weight space,
    `alpha` ≥ 0 a number: 0 gives GD, 1 gives SAM. Undefined where g(w) = 0.
    Source: Zhao, Zhang, Hu 2022 (arXiv 2202.03599).
    """

    rho: Scalar = eqx.field(converter=radius)
    alpha: Scalar = eqx.field(default=0.5, converter=at_least_0("alpha"))
    name: ClassVar[str] = "pgn"
    formula: ClassVar[str] = "(1 − alpha) g(w) + alpha g(w + rho g(w)/‖g(w)‖)"
    source: ClassVar[str] = "Zhao, Zhang, Hu 2022, arXiv 2202.03599"
    closed_forms: ClassVar[str] = "those of sam with alpha·rho"

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return (1 − alpha) g(w) + alpha g(w + rho g(w)/‖g(w)‖); NaN where g(w) = 0."""
        return self.limit(loss, w, unit(loss.gradient(w)))

    def limit(self, loss: AbstractLoss, w: V, e: V) -> V:
        """Return (1 − alpha) g(w) + alpha g(w + rho e)."""
        g = loss.gradient
        return (1 - self.alpha) * g(w) + self.alpha * g(w + self.rho * e)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return ‖g(w)‖."""
        return norm(loss.gradient(w))

    def linear_ascent(self, loss: AbstractLoss, w: np.ndarray) -> LinearAscent | None:
        """Return SAM's with radius alpha rho: (1 − α)z + αH(w + ρẑ) = H(w + αρẑ)."""
        return plain_ascent(self.alpha * self.rho, len(w))

    def ascent_step(self, loss: AbstractLoss) -> AscentStep | None:
        """Return SAM's with a share of alpha."""
        return AscentStep(float(self.rho), share=float(self.alpha))


class LookaheadSAM(AbstractNormalisedRule):
    """SAM from a looked-ahead point: d(w) = S(w − lookahead S(w)), S(w) = g(w + rho g(w)/‖g(w)‖).

    This is the extragradient method on SAM's direction S: a trial step of size `lookahead`, then
    SAM's direction where it leads. `rho` is a length in weight space, `lookahead` a step size.
    Four gradients a step. With lookahead = 0 it is SAM.

    Undefined where g vanishes at w or at the looked-ahead point.
    Source: after the idea of Yu, Zhang, Kwok, "Improving Sharpness-Aware Minimization by
    Lookahead", ICML 2024. The text of the paper, which simplifies the extrapolation, was not
    compared: take this for the formula above, not for the paper's algorithm.
    """

    rho: Scalar = eqx.field(converter=radius)
    lookahead: Scalar = eqx.field(default=_LOOKAHEAD, converter=at_least_0("lookahead"))
    name: ClassVar[str] = "lookahead-sam"
    formula: ClassVar[str] = "S(w − lookahead S(w)), S(w) = g(w + rho g(w)/‖g(w)‖)"
    source: ClassVar[str] = "extragradient, after Yu, Zhang, Kwok 2024, openreview J9YKDvqr65"
    closed_forms: ClassVar[str] = "sliding of the flow in one dimension"

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return S(w − lookahead S(w)); NaN where undefined."""
        return self.limit(loss, w, unit(loss.gradient(w)))

    def limit(self, loss: AbstractLoss, w: V, e: V) -> V:
        """Return S(w − lookahead g(w + rho e))."""
        g = loss.gradient
        ahead = w - self.lookahead * g(w + self.rho * e)
        return g(ahead + self.rho * unit(g(ahead)))

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return the lesser of ‖g‖ at w and at the looked-ahead point."""
        g = loss.gradient
        first = g(w)
        ahead = w - self.lookahead * g(w + self.rho * unit(first))
        return least(norm(first), norm(g(ahead)))


class OptimisticSAM(AbstractRule):
    """Lookahead-SAM with the last direction for a trial: d = S(w − lookahead p), p⁺ = d.

    S(w) = g(w + rho g(w)/‖g(w)‖) is SAM's direction, p the last d, at first 0: the first step is
    SAM's. Two gradients a step in place of four. Units as in `LookaheadSAM`, and the same
    reservation: the paper's text was not compared.

    Undefined where g vanishes at w − lookahead p.
    """

    rho: Scalar = eqx.field(converter=radius)
    lookahead: Scalar = eqx.field(default=_LOOKAHEAD, converter=at_least_0("lookahead"))
    name: ClassVar[str] = "optimistic-sam"
    formula: ClassVar[str] = "S(w − lookahead p), p⁺ = d, S(w) = g(w + rho g(w)/‖g(w)‖)"
    source: ClassVar[str] = "optimistic gradient, after Yu, Zhang, Kwok 2024, openreview J9YKDvqr65"
    smooth: ClassVar[bool] = False
    num_memories: ClassVar[int] = 1
    closed_forms: ClassVar[str] = "2-cycle with its bounds"

    def step(self, loss: AbstractLoss, w: V, memory: V) -> tuple[V, V]:
        """Return S(w − lookahead p), twice: as direction and as memory; NaN where undefined."""
        g = loss.gradient
        ahead = w - self.lookahead * memory
        d = g(ahead + self.rho * unit(g(ahead)))
        return d, d

    def init(self, loss: AbstractLoss, w: V) -> V:
        """Return 0."""
        return 0.0 * w

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector) -> Scalar:
        """Return ‖g‖ at the looked-ahead point."""
        return norm(loss.gradient(w - self.lookahead * memory))

    def aligned_cycle(self, lam: float, others: list[float], lr: float) -> AlignedCycle | None:
        """Return the 2-cycle along λ > 0."""
        from samflow import theory  # sympy is slow to import, and seldom needed

        about = {"lr": lr, "lookahead": float(self.lookahead)}
        if lam < 0 or (lr + 2 * about["lookahead"]) * lam >= 2:
            return None
        curvatures = [lam, *(theory.optimistic_curvature(lam, other, **about) for other in others)]
        updates = [numbers(theory.optimistic_update(value, **about)) for value in curvatures]
        radius = theory.optimistic_cycle_radius(lam, rho=float(self.rho), **about)
        return AlignedCycle(float(radius), updates)
