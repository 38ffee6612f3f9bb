"""What a rule is: how a step's direction is made from gradients."""

import abc
from typing import ClassVar, TypeAlias

import equinox as eqx

from samflow._types import Scalar, Vector
from samflow.losses.base import AbstractLoss


class AbstractRule(eqx.Module):
    """The direction d(w) in w⁺ = w − lr d(w), or in the flow ẇ = −d(w)."""

    name: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]
    smooth: ClassVar[bool]
    """Whether it has a Jacobian at a critical point with a regular Hessian, by default."""

    @abc.abstractmethod
    def direction(self, loss: AbstractLoss, w: Vector) -> Vector:
        """Return d(w), in the layout of `w`; NaN where the rule is not defined."""

    @abc.abstractmethod
    def singularity(self, loss: AbstractLoss, w: Vector) -> Scalar:
        """Return how far `w` is from where the rule is not smooth, in units of the gradient.

        Zero exactly where d has no Jacobian, infinite for a rule that is smooth everywhere.
        """


class AbstractNormalisedRule(AbstractRule):
    """A rule that divides by the length of a gradient, so that it jumps at critical points.

    What the rule does there, in the sense of Filippov, is made of its limits from all sides.
    """

    smooth: ClassVar[bool] = False

    @abc.abstractmethod
    def limit(self, loss: AbstractLoss, w: Vector, e: Vector) -> Vector:
        """Return lim d at the critical point `w` as g → 0 with g/‖g‖ → e.

        Args:
            loss: the loss.
            w: a critical point; elsewhere the value has no meaning of its own.
            e: a unit vector, in the layout of `w`.

        """


class AbstractMemoryRule(eqx.Module):
    """A rule whose direction depends on gradients of the past as well: (d, m⁺) = D(w, m).

    The memory m is made of `num_memories` vectors as long as `w`, one after the other. A map
    carries it in its state. A flow does not take such a rule: a memory that forgets at a fixed
    rate a step has no time scale of its own left as lr → 0.
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]
    smooth: ClassVar[bool]
    num_memories: ClassVar[int]

    @abc.abstractmethod
    def direction(self, loss: AbstractLoss, w: Vector, memory: Vector) -> tuple[Vector, Vector]:
        """Return d and the memory after the step, in the layout of `w`; NaN where undefined."""

    @abc.abstractmethod
    def start(self, loss: AbstractLoss, w: Vector) -> Vector:
        """Return the memory that the rule begins with at `w`."""

    @abc.abstractmethod
    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector) -> Scalar:
        """Return 0 exactly where (d, m⁺) has no Jacobian, infinity where it always has one."""


Rule: TypeAlias = AbstractRule | AbstractMemoryRule
"""Either kind: a map takes both, a flow the first alone."""
