"""SAM as most code runs it: with a small number in the denominator."""

import enum
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from samflow import _checks
from samflow._components import inner, largest
from samflow._types import Scalar, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules._common import everywhere, member, radius
from samflow.rules.base import AbstractRule


class Placement(enum.IntEnum):
    """Where the small number stands in the denominator."""

    outside = 0
    """‖g‖ + eps"""
    inside = 1
    """√(‖g‖² + eps²)"""


class PracticalSAM(AbstractRule):
    """SAM with eps in the denominator, d(w) = g(w + rho a(g(w))).

    =========  ======================
    "outside"  a(g) = g/(‖g‖ + eps)
    "inside"   a(g) = g/√(‖g‖² + eps²)
    =========  ======================

    `rho` is a length in weight space, `eps` > 0 a length of gradients. The rule is differentiable
    everywhere: at a critical point a has the derivative I/eps, and the rule the Jacobian of USAM
    with radius rho/eps, so that what it does there is set by eps and not by rho. That holds for
    ‖g‖ ≪ eps alone; beyond, it is SAM. With eps "outside" the second derivative does not exist
    at a critical point.

    Neither ‖g‖² nor eps² is formed, so that nothing is lost where these cannot be represented.
    Source: "outside" with 1e-12 is what the PyTorch implementation davda54/sam computes.
    """

    rho: Scalar = eqx.field(converter=radius)
    eps: Scalar = eqx.field(
        default=1e-12,
        converter=lambda v: _checks.positive("eps", v, "Use SAM for a denominator without it."),
    )
    placement: Placement = eqx.field(
        static=True, default=Placement.outside, converter=member("placement", Placement)
    )
    name: ClassVar[str] = "practical-sam"
    formula: ClassVar[str] = "g(w + rho g(w)/(‖g(w)‖ + eps))"
    source: ClassVar[str] = "Foret et al. 2021, arXiv 2010.01412, as implemented in davda54/sam"

    def direction(self, loss: AbstractLoss, w: Vector) -> Vector:
        """Return g(w + rho a(g(w)))."""
        return loss.gradient(w + self.rho * self._ascent(loss.gradient(w)))

    def denominator(self, gradient_norm: float) -> float:
        """Return what a gradient of this norm is divided by."""
        if self.placement is Placement.inside:
            return math.hypot(gradient_norm, float(self.eps))
        return gradient_norm + float(self.eps)

    def _ascent(self, g: Vector) -> Vector:
        # In units of a scale that is no part of the result, nor of its derivative.
        scale = jax.lax.stop_gradient(jnp.maximum(largest(abs(g)), self.eps))
        u, eps = g / scale, self.eps / scale
        if self.placement is Placement.inside:
            return u / jnp.sqrt(inner(u, u) + eps * eps)
        return u / (_length(u) + eps)

    def singularity(self, loss: AbstractLoss, w: Vector) -> Scalar:
        """Return infinity: the rule has a Jacobian everywhere."""
        return everywhere(w)


def _length(u: Vector) -> Any:
    """Return ‖u‖ with the derivative 0 at u = 0.

    There is none at 0. In u/(‖u‖ + eps) it is multiplied by u, so that any number in its place
    gives the right derivative, and NaN a wrong one; √ is kept from 0, since 0·∞ is NaN. The value
    is ‖u‖ everywhere.
    """
    square = inner(u, u)
    zero = square == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))
