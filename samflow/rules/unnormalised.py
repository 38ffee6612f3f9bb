"""Relatives of USAM: smooth rules whose ascent takes two steps, or goes along H g."""

import enum
from typing import ClassVar

import equinox as eqx

from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules._common import everywhere, member, radius
from samflow.rules.base import AbstractMemorylessRule

_SOURCE = "Bolte, Le, Pauwels 2025, arXiv 2510.09034"


class SecondStep(enum.IntEnum):
    """Where the second ascent step of `TwoStepUSAM` begins."""

    ahead = 0
    """Where the first one ends, as in multi-step SAM."""
    back = 1
    """At w again, with the gradient that the first one has found."""


class TwoStepUSAM(AbstractMemorylessRule):
    """USAM with two ascent steps: d(w) = g(v + rho g(v)), v = w + rho g(w).

    `rho` multiplies the gradient in each step, so it has the units of weight over gradient. With
    second="back" the second step begins at w: d(w) = g(w + rho g(v)). At a critical point

    ========  ===================
    "ahead"   U = λ(1 + ρλ)²
    "back"    U = λ(1 + ρλ + ρ²λ²)
    ========  ===================

    so that neither attracts where an eigenvalue of the Hessian is negative: saddles that attract
    USAM do not attract these. (With "ahead" λ = −1/ρ is neutral.)
    Source: Bolte, Le, Pauwels 2025 (arXiv 2510.09034), where it has this name. The text could not
    be had. Of it is reported that negative eigenvalues are excluded, which both forms do; the
    formulas of U are derived in section 5 of docs/theory.
    """

    rho: Scalar = eqx.field(converter=radius)
    second: SecondStep = eqx.field(
        static=True, default=SecondStep.ahead, converter=member("second", SecondStep)
    )
    name: ClassVar[str] = "two-step-usam"
    formula: ClassVar[str] = "g(v + rho g(v)), v = w + rho g(w)"
    source: ClassVar[str] = _SOURCE
    smooth: ClassVar[bool] = True
    by_gradients: ClassVar[bool] = True
    closed_forms: ClassVar[str] = "multipliers; windows in rho, lr and momentum"

    @property
    def family(self) -> str:
        """The U that belongs to `second`."""
        return "nested-usam" if self.second is SecondStep.back else "two-step-usam"

    @property
    def windows(self) -> tuple[str, ...]:
        """The one in rho."""
        return ("rho",)

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g(v + rho g(v)), or g(w + rho g(v)), v = w + rho g(w)."""
        g = loss.gradient
        v = w + self.rho * g(w)
        start = w if self.second is SecondStep.back else v
        return g(start + self.rho * g(v))

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return infinity: the rule is as smooth as the gradient."""
        return everywhere(w)

    def ascent_length(self, w: object) -> float:
        """Return 0: rho is no length."""
        return 0.0


class HessianForm(enum.IntEnum):
    """How the Hessian enters into `HessianUSAM`."""

    ascent = 0
    """Along H g = ∇½‖g‖²."""
    penalty = 1
    """In the gradient of the loss with a penalty, L + ½ rho ‖g‖²."""


class HessianUSAM(AbstractMemorylessRule):
    """USAM with the Hessian: d(w) = g(w + rho H g), or d(w) = g + rho H g.

    =========  ================  ==============  ==================================
    "ascent"   g(w + rho H g)    U = λ(1 + ρλ²)  no λ < 0 attracts
    "penalty"  g + rho H g       U = λ(1 + ρλ)   USAM's, whose first order in rho it is
    =========  ================  ==============  ==================================

    where g and H are at w. `rho` has the units of 1/H² with "ascent", of 1/H with "penalty". A step
    takes a Hessian-vector product besides its gradients. With "penalty" it is gradient descent on
    L + ½ rho ‖g‖²: its fixed points off critical points have g in the kernel of I + rho H.
    Source: Bolte, Le, Pauwels 2025 (arXiv 2510.09034), where it has this name. The text could not
    be had. Of it is reported that negative eigenvalues are excluded, as "ascent" does and "penalty"
    does not. The formulas of U are derived in section 5 of docs/theory.
    """

    rho: Scalar = eqx.field(converter=radius)
    form: HessianForm = eqx.field(
        static=True, default=HessianForm.ascent, converter=member("form", HessianForm)
    )
    name: ClassVar[str] = "hessian-usam"
    formula: ClassVar[str] = "g(w + rho H g), H = ∇²L(w)"
    source: ClassVar[str] = _SOURCE
    smooth: ClassVar[bool] = True
    closed_forms: ClassVar[str] = "multipliers; windows in rho, lr and momentum"

    @property
    def family(self) -> str:
        """The U that belongs to `form`."""
        return "usam" if self.form is HessianForm.penalty else "hessian-usam"

    @property
    def windows(self) -> tuple[str, ...]:
        """The one in rho."""
        return ("rho",)

    def effective_rho(self, gradient_norm: float = 0.0) -> float:
        """Return rho with "penalty", NaN with "ascent": no rho of USAM has its Jacobian."""
        return float(self.rho) if self.form is HessianForm.penalty else float("nan")

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w + rho H g), or g + rho H g."""
        g = loss.gradient(w)
        along = self.rho * loss.hvp(w, g)  # pyright: ignore[reportArgumentType]
        return g + along if self.form is HessianForm.penalty else loss.gradient(w + along)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return infinity: the rule is as smooth as H."""
        return everywhere(w)

    def ascent_length(self, w: object) -> float:
        """Return 0: rho is no length."""
        return 0.0
