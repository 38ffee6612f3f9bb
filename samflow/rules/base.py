"""What a rule is: how a step's direction is made from gradients."""

import abc
from typing import ClassVar

import equinox as eqx

from samflow._types import Scalar, Vector
from samflow.losses.base import AbstractLoss


class AbstractRule(eqx.Module):
    """The direction d in w⁺ = w − lr d, and a memory: (d, m⁺) = D(w, m).

    The memory m is made of `num_memories` vectors as long as `w`, one after the other; there may
    be none, and then it is empty. A map carries it in its state. What has no place for a memory,
    as a flow, asks for `num_memories` and refuses a rule that has one: a memory that forgets at a
    fixed rate a step has no time scale of its own left as lr → 0.
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]
    smooth: ClassVar[bool]
    """Whether it has a Jacobian at a critical point with a regular Hessian, by default."""
    num_memories: ClassVar[int]

    @abc.abstractmethod
    def init(self, loss: AbstractLoss, w: Vector) -> Vector:
        """Return the memory that the rule begins with at `w`, in the layout of `w`."""

    @abc.abstractmethod
    def step(self, loss: AbstractLoss, w: Vector, memory: Vector) -> tuple[Vector, Vector]:
        """Return d and the memory after the step, in the layout of `w`; NaN where undefined."""

    @abc.abstractmethod
    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector) -> Scalar:
        """Return how far (w, m) is from where the rule is not smooth, in units of the gradient.

        Zero exactly where (d, m⁺) has no Jacobian, infinite for a rule that is smooth everywhere.
        """


class AbstractMemorylessRule(AbstractRule):
    """A rule whose direction d(w) depends on the weights alone; also the flow ẇ = −d(w)."""

    num_memories: ClassVar[int] = 0

    @abc.abstractmethod
    def direction(self, loss: AbstractLoss, w: Vector) -> Vector:
        """Return d(w), in the layout of `w`; NaN where the rule is not defined."""

    @abc.abstractmethod
    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return how far `w` is from where d is not smooth, as for `AbstractRule`."""

    def init(self, loss: AbstractLoss, w: Vector) -> Vector:
        """Return the empty memory."""
        return w[:0]

    def step(self, loss: AbstractLoss, w: Vector, memory: Vector) -> tuple[Vector, Vector]:
        """Return d(w) and the empty memory."""
        return self.direction(loss, w), memory


class AbstractNormalisedRule(AbstractMemorylessRule):
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
