"""Gradient descent and sharpness-aware minimisation."""

from typing import ClassVar

import equinox as eqx

from samflow._components import norm, unit
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules._common import everywhere, radius
from samflow.rules.base import AbstractMemorylessRule, AbstractNormalisedRule
from samflow.rules.critical import Ascent


class GD(AbstractMemorylessRule):
    """Gradient descent: d(w) = g(w)."""

    name: ClassVar[str] = "gd"
    formula: ClassVar[str] = "g(w)"
    source: ClassVar[str] = "Cauchy 1847"
    smooth: ClassVar[bool] = True
    ascent: ClassVar[Ascent] = Ascent.none
    by_gradients: ClassVar[bool] = True
    closed_forms: ClassVar[str] = "multipliers; windows in lr and momentum"

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w)."""
        return loss.gradient(w)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return infinity: gradient descent is as smooth as its loss."""
        return everywhere(w)


class USAM(AbstractMemorylessRule):
    """Sharpness-aware minimisation without normalisation: d(w) = g(w + rho g(w)).

    `rho` multiplies the gradient, so it has the units of weight over gradient.
    Source: Andriushchenko and Flammarion 2022 (arXiv 2206.06232); section 2 of docs/theory.
    """

    rho: Scalar = eqx.field(converter=radius)
    name: ClassVar[str] = "usam"
    formula: ClassVar[str] = "g(w + rho g(w))"
    source: ClassVar[str] = "Andriushchenko, Flammarion 2022, arXiv 2206.06232"
    smooth: ClassVar[bool] = True
    ascent: ClassVar[Ascent] = Ascent.gradient
    by_gradients: ClassVar[bool] = True
    closed_forms: ClassVar[str] = "multipliers; windows in rho, lr and momentum"

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w + rho g(w))."""
        g = loss.gradient
        return g(w + self.rho * g(w))

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return infinity: USAM is as smooth as the gradient."""
        return everywhere(w)


class AbstractSAM(AbstractNormalisedRule):
    """The direction g(w + rho g(w)/‖g(w)‖), under whichever name it goes."""

    rho: Scalar = eqx.field(converter=radius)
    ascent: ClassVar[Ascent] = Ascent.unit
    by_gradients: ClassVar[bool] = True

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w + rho g(w)/‖g(w)‖); NaN where g(w) = 0."""
        return self.limit(loss, w, unit(loss.gradient(w)))

    def limit(self, loss: AbstractLoss, w: V, e: V) -> V:
        """Return g(w + rho e)."""
        return loss.gradient(w + self.rho * e)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return ‖g(w)‖."""
        return norm(loss.gradient(w))


class SAM(AbstractSAM):
    """Sharpness-aware minimisation: d(w) = g(w + rho g(w)/‖g(w)‖).

    `rho` is a length in weight space. Where g(w) = 0 the direction is undefined, and stays so:
    `direction` returns NaN there. ‖g‖² must be representable, which in double precision it is for
    1e-154 < ‖g‖ < 1e154 and in single for 1e-19 < ‖g‖ < 1e19; outside, the direction is wrong.
    Source: Foret et al. 2021 (arXiv 2010.01412), equation 2.
    """

    name: ClassVar[str] = "sam"
    formula: ClassVar[str] = "g(w + rho g(w)/‖g(w)‖)"
    source: ClassVar[str] = "Foret, Kleiner, Mobahi, Neyshabur 2021, arXiv 2010.01412"
    closed_forms: ClassVar[str] = "sliding of the flow; 2-cycles, trap"
