"""Continuous systems: the flow of a rule, or any vector field."""

import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from samflow import _checks
from samflow._schedule import ANYTHING, Schedule
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules.base import AbstractRule
from samflow.rules.description import describe_rule
from samflow.systems.angles import Angles, angle_ranges
from samflow.systems.base import AbstractFlow
from samflow.systems.coordinates import runs_by_coordinates
from samflow.systems.map import in_layout


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


def _same(t: Array) -> Array:
    return t


class FunctionFlow(AbstractFlow):
    """The flow ż = function(z), or ż = function(t, z) with a period; taken to be smooth everywhere.

    A field of the time is followed by `integrate`, from any `t0`. `at(t)` is the field that it is
    at time t, and `sf.stroboscopic_map` the map over one period, which all else takes.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import jax.numpy as jnp
    >>> import samflow as sf
    >>> driven = FunctionFlow(lambda t, z: -z + jnp.cos(t), dim=1, period=2 * jnp.pi)
    >>> print(sf.classify(sf.stroboscopic_map(driven), [0.5]))  # z = (cos t + sin t)/2 at t = 0
    attracting, multipliers 0.00186744, margin 0.998133

    Attributes:
        function: takes z of shape (dim,), after t where there is a period, and returns the
            velocity: an array or a sequence of numbers.
        elementwise: a promise about `function`, as in `FunctionMap`.
        period: of function(t, z) in t, > 0; infinite for a field of the time that has none. Or a
            function of `function` that returns it, so that it follows a frequency that varies:
            `lambda field: 2 * jnp.pi / field.keywords["omega"]`.
        angles: which coordinates are angles, as in `FunctionMap`. Solutions are followed through
            all turns; `sf.systems.wrapped` brings them into the range.

    Raises:
        ArgumentError: for a period that is not positive, and for wrong `angles`.

    """

    function: Callable[..., Any]
    dim: int = eqx.field(static=True)
    name: str = eqx.field(static=True, default="function")
    elementwise: bool = eqx.field(static=True, default=False)
    period: Any = None
    angles: Angles | None = eqx.field(static=True, default=None)
    time: Schedule | Scalar | None = eqx.field(init=False)

    def __post_init__(self) -> None:
        self.angles = angle_ranges(self.angles, self.dim)
        if not (self.period is None or callable(self.period) or is_endless(self.period)):
            self.period = _checks.positive_array("period", self.period)
        # Time is a schedule like any other: what asks for one field refuses it.
        self.time = None if self.period is None else Schedule(_same, "time", ANYTHING)

    def velocity(self, z: V) -> V:
        """Return function(z), of a field of the time at the time of `at`."""
        function = self.function
        if self.time is not None:
            function = functools.partial(function, self.time)
        return in_layout(function, z, self.elementwise)

    def singularity(self, z: Vector) -> Scalar:
        """Return infinity."""
        return jnp.asarray(jnp.inf)

    def describe(self) -> str:
        """Say what the system is."""
        if isinstance(self.time, Schedule):
            return f"flow {self.name} of the time"
        return f"flow {self.name}"


def is_endless(period: Any) -> bool:
    """Say whether a period is infinite: the field depends on time and does not come again."""
    return not _checks.is_traced(period) and jnp.ndim(period) == 0 and period == math.inf


def period_of(flow: AbstractFlow) -> Any:
    """Return the period of a flow's field in time; None where it has none of its own."""
    if not isinstance(flow, FunctionFlow) or flow.period is None:
        return None
    period = flow.period
    return period(flow.function) if callable(period) else period
