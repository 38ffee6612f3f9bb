"""What a base optimiser is: how a step is made of directions."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx

from samflow._checks import Requirement
from samflow._schedule import hyperparameter
from samflow._types import Scalar, V
from samflow.rules.description import describe_rule


class AbstractBase(eqx.Module):
    """How a step is made of directions: (w⁺ − w, s⁺) = B(w, s, d), s the base's own state.

    The state s has `num_moments` vectors as long as w, then `num_powers` numbers.
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]

    def __str__(self) -> str:
        """Return name and hyperparameters, as `lion(beta1=0.9, ...)`; `repr` shows every field."""
        return describe_rule(self)

    @property
    @abc.abstractmethod
    def num_moments(self) -> int:
        """How many vectors as long as w are remembered."""

    @property
    @abc.abstractmethod
    def num_powers(self) -> int:
        """How many numbers are remembered beside."""

    @abc.abstractmethod
    def init(self, w: V) -> V:
        """Return s before the first step, in the layout of `w`."""

    @abc.abstractmethod
    def rest(self, d: V) -> V:
        """Return the s that stays as it is where the direction is `d` for ever."""

    @abc.abstractmethod
    def step(self, w: V, s: V, d: V, lr: Any) -> tuple[V, V]:
        """Return w⁺ − w and s⁺, in the layout of `w`; NaN where undefined."""

    @abc.abstractmethod
    def balance(self, w: V, d: V) -> V:
        """Return what vanishes where the weights `w` rest, in units of `d`."""

    @abc.abstractmethod
    def preconditioner(self, s: V, dim: int) -> V:
        """Return the diagonal P(s) > 0 of w⁺ = w − lr P⁻¹ m⁺, its bias corrections included."""

    @abc.abstractmethod
    def edge(self, lr: Any) -> Scalar:
        """Return the eigenvalue of P⁻¹D at which a multiplier passes −1 while P is frozen.

        D is the derivative of the direction: H for GD. NaN where there is no such edge.
        """

    @property
    @abc.abstractmethod
    def decays(self) -> bool:
        """Whether weights decay beside the direction, so that critical points do not rest."""

    @abc.abstractmethod
    def singularity(self, s: V, d: V) -> Scalar:
        """Return 0 exactly where (w⁺, s⁺) has no Jacobian though d has; in units of d."""

    def size(self, dim: int) -> int:
        """Return the length of s."""
        return self.num_moments * dim + self.num_powers


def number(name: str, requirement: Requirement) -> Callable[[Any], Scalar]:
    """Return the check of a hyperparameter, which may be a schedule."""
    return lambda value: hyperparameter(name, value, requirement)


def optional_number(name: str, requirement: Requirement) -> Callable[[Any], Scalar | None]:
    """Return the check of a hyperparameter that may be None."""
    return lambda value: None if value is None else hyperparameter(name, value, requirement)
