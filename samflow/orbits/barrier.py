"""Optimisation barrier between the two gradients of a step, so that XLA computes the first once.

XLA on the CPU makes one loop for each output of a step. Each loop recomputes what it needs: every
coordinate of USAM's ascent point, and with it the first gradient. A division by a number that the
compiler does not know to be 1 makes it store the ascent point instead. For cheap gradients the
division costs more than it saves. benchmarks/ensembles.py measures the gain.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array

from samflow._components import Components
from samflow._types import Matrix, Point, Scalar, Vector
from samflow.losses import ExpressionLoss
from samflow.losses._tape import tape
from samflow.losses.base import AbstractDerivedLoss
from samflow.systems import AbstractMap, Map

_WORTHWHILE = 16
"""Operations of a gradient from which on the barrier gains (the quartic has 8, Beale 31)."""


class _WithBarrier(AbstractDerivedLoss):
    """A loss whose gradient away from `origin` begins with a division by `one`, which is 1."""

    loss: ExpressionLoss
    one: Array
    origin: Components

    def __call__(self, w: Point) -> Scalar:
        return self.loss(w)

    def gradient(self, w: Any) -> Any:
        assert isinstance(w, Components)
        here = all(a is b for a, b in zip(w, self.origin, strict=True))
        return self.loss.gradient(w if here else w / self.one)

    def hessian(self, w: Point) -> Matrix:
        return self.loss.hessian(w)


def step_with_barrier(system: AbstractMap, one: Array) -> Callable[[Components], Vector]:
    """Return `system.step` on components, with the barrier where it is worth its price."""
    if not isinstance(system, Map) or not isinstance(system.loss, ExpressionLoss):
        return system.step
    loss = system.loss
    if len(tape(loss.gradient_formula, loss.symbols).operations) < _WORTHWHILE:
        return system.step

    def step(z: Components) -> Vector:
        barred = _WithBarrier(loss, one, z[: loss.dim])
        return eqx.tree_at(lambda s: s.loss, system, barred).step(z)

    return step
