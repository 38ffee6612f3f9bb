"""Continuous systems: the flow of a rule, or any vector field."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from samflow import _checks
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules.base import AbstractRule
from samflow.systems.base import AbstractFlow
from samflow.systems.coordinates import runs_by_coordinates
from samflow.systems.map import describe_rule, in_layout


class Flow(AbstractFlow):
    """The flow ẇ = −d(w) of a rule; time is lr times the number of steps as lr → 0.

    Numbers of a smooth rule may be functions of time in JAX. `integrate` follows them; `at(t)` is
    the flow at time t, which all else takes.
    """

    loss: AbstractLoss
    rule: AbstractRule

    def __check_init__(self) -> None:
        _checks.instance("loss", self.loss, AbstractLoss, "Use `sf.loss` to make one.")
        _checks.instance("rule", self.rule, AbstractRule, "Use an instance, such as `sf.GD()`.")
        if self.rule.num_memories:
            raise _checks.ArgumentError(
                f"Argument `rule` of a flow must have no memory, but is {self.rule.name}. "
                "Use a `Map` with a small lr."
            )

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.loss.dim

    @property
    def elementwise(self) -> bool:
        """Whether loss and rule take one array a coordinate."""
        return runs_by_coordinates(self.rule, self.loss)

    def velocity(self, z: V) -> V:
        """Return −d(w)."""
        return -self.rule.step(self.loss, z, z[:0])[0]

    def singularity(self, z: Vector) -> Scalar:
        """Return the rule's distance from where it is not smooth."""
        return self.rule.singularity(self.loss, z, z[:0])

    def describe(self) -> str:
        """Say what the system is."""
        return f"flow of {describe_rule(self.rule)} on {self.loss.name}"


class FunctionFlow(AbstractFlow):
    """The flow ż = function(z), taken to be smooth everywhere.

    Attributes:
        function: takes z of shape (dim,) and returns its velocity: an array or a sequence of
            numbers.
        elementwise: a promise about `function`, as in `FunctionMap`.

    """

    function: Callable[[Vector], Any]
    dim: int = eqx.field(static=True)
    name: str = eqx.field(static=True, default="function")
    elementwise: bool = eqx.field(static=True, default=False)

    def velocity(self, z: V) -> V:
        """Return function(z)."""
        return in_layout(self.function, z, self.elementwise)

    def singularity(self, z: Vector) -> Scalar:
        """Return infinity."""
        return jnp.asarray(jnp.inf)

    def describe(self) -> str:
        """Say what the system is."""
        return f"flow {self.name}"
