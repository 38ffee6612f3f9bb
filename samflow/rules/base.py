"""What a rule is: how a step's direction is made from gradients."""

import abc
from typing import ClassVar

import equinox as eqx

from samflow._types import Scalar, Vector
from samflow.losses.base import AbstractLoss


class AbstractRule(eqx.Module):
    """The direction d(w) in w⁺ = w − lr d(w), or in the flow ẇ = −d(w)."""

    name: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]

    @abc.abstractmethod
    def direction(self, loss: AbstractLoss, w: Vector) -> Vector:
        """Return d(w), in the layout of `w`; NaN where the rule is not defined."""

    @abc.abstractmethod
    def singularity(self, loss: AbstractLoss, w: Vector) -> Scalar:
        """Return how far `w` is from where the rule is not smooth, in units of the gradient.

        Zero exactly where d has no Jacobian, infinite for a rule that is smooth everywhere.
        """
