"""Interface of losses: value, derivatives, name, domain."""

import abc
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp

from samflow._types import Box, Matrix, Point, Scalar, V

if TYPE_CHECKING:  # type checkers would take abstract variables for constructor arguments
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


class AbstractLoss(eqx.Module):
    """A scalar function L of weights w."""

    name: AbstractVar[str]
    """What the loss is called."""

    dim: AbstractVar[int]
    """Number of weights."""

    domain: AbstractVar[Box | None]
    """The box on which the loss is meant to be used; None: everywhere."""

    elementwise: AbstractVar[bool]
    """Whether `gradient` takes `Components`, one array per coordinate, at full speed."""

    def __str__(self) -> str:
        """Return the name and the number of weights; `repr` shows every field."""
        return f"{self.name}, {self.dim} weights"

    @abc.abstractmethod
    def __call__(self, w: Point) -> Scalar:
        """Return L(w)."""

    @abc.abstractmethod
    def gradient(self, w: V) -> V:
        """Return g(w) = ∇L(w), in the layout of `w`."""

    @abc.abstractmethod
    def hessian(self, w: Point) -> Matrix:
        """Return H(w) = ∇²L(w), shape (dim, dim)."""

    @property
    def precision(self) -> float:
        """Unit of rounding of the numbers that the loss and its gradient are computed with."""
        return float(jnp.finfo(float).eps)

    def hvp(self, w: Point, v: Point) -> Point:
        """Return H(w) v without forming H, by forward mode over the gradient."""
        return jax.jvp(self.gradient, (w,), (v,))[1]


class AbstractDerivedLoss(AbstractLoss):
    """A loss that wraps another one with the same weights, name, domain and layouts."""

    loss: AbstractVar[AbstractLoss]
    """The wrapped loss."""

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.loss.dim

    @property
    def name(self) -> str:
        """What the loss is called."""
        return self.loss.name

    @property
    def domain(self) -> Box | None:
        """Where the loss is meant to be used."""
        return self.loss.domain

    @property
    def precision(self) -> float:
        """Unit of rounding of the wrapped loss."""
        return self.loss.precision

    @property
    def elementwise(self) -> bool:
        """Whether the loss takes one array per coordinate."""
        return self.loss.elementwise
