"""One interface for everything that moves, so that every analysis takes any system."""

import abc
from typing import TYPE_CHECKING, Any, Self

import equinox as eqx
import jax

from samflow import _checks
from samflow._schedule import Schedule, at, schedules
from samflow._types import Matrix, Point, Scalar, V, Vector
from samflow.losses.base import AbstractLoss

if TYPE_CHECKING:  # type checkers would take abstract variables for constructor arguments
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


class AbstractSystem(eqx.Module):
    """A dynamical system on states z of length `state_dim`.

    The state of a system on a loss holds the weights first, then the velocity where there is
    momentum; `lift` makes a state from weights (velocity 0) and `position` takes them back.
    """

    dim: AbstractVar[int]
    """Number of weights."""

    state_dim: AbstractVar[int]
    """Length of a state."""

    elementwise: AbstractVar[bool]
    """Whether the system takes `Components`, one array a coordinate, at full speed."""

    @abc.abstractmethod
    def lift(self, w: V) -> V:
        """Return the state at rest at the weights `w`."""

    @abc.abstractmethod
    def position(self, z: V) -> V:
        """Return the weights of the state `z`."""

    @abc.abstractmethod
    def singularity(self, z: Vector) -> Scalar:
        """Return 0 exactly where the system has no Jacobian, infinity where it always has one."""

    @abc.abstractmethod
    def describe(self) -> str:
        """Say in one line what the system is, with its hyperparameters."""

    def __str__(self) -> str:
        """Return what `describe` says; `repr` shows every field."""
        return self.describe()

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """The hyperparameters that are functions of the step, of a flow those of time."""
        return schedules(self, self._kept_whole)

    def at(self, step: Any) -> Self:
        """Return the system at a step, of a flow at a time: with a number for each schedule."""
        return at(self, step, self._kept_whole)

    @property
    def _kept_whole(self) -> tuple[type, ...]:
        """What is not looked into for schedules: a map that a flow makes has that flow's time."""
        return (AbstractLoss, AbstractFlow) if isinstance(self, AbstractMap) else (AbstractLoss,)


class AbstractWeightSystem(AbstractSystem):
    """A system whose state is the weights alone: there is no velocity."""

    @property
    def state_dim(self) -> int:
        """Number of weights."""
        return self.dim

    def lift(self, w: V) -> V:
        """Return `w`."""
        return w

    def position(self, z: V) -> V:
        """Return `z`."""
        return z


class AbstractMap(AbstractSystem):
    """A discrete system z⁺ = F(z)."""

    @abc.abstractmethod
    def step(self, z: V) -> V:
        """Return F(z), in the layout of `z`; NaN where F is not defined."""

    def jacobian(self, z: Point) -> Matrix:
        """Return DF(z), shape (state_dim, state_dim), by forward mode.

        Not meaningful where `singularity` is 0: ask first.
        """
        return jax.jacfwd(self.step)(z)


class AbstractFlow(AbstractWeightSystem):
    """A continuous system ż = f(z)."""

    @abc.abstractmethod
    def velocity(self, z: V) -> V:
        """Return f(z), in the layout of `z`; NaN where f is not defined."""

    def jacobian(self, z: Point) -> Matrix:
        """Return Df(z), shape (state_dim, state_dim), by forward mode.

        Not meaningful where `singularity` is 0: ask first.
        """
        return jax.jacfwd(self.velocity)(z)


def check_system(
    system: Any,
    wanted: type = AbstractSystem,
    otherwise: str = "",
    *,
    name: str = "system",
    changing: bool = False,
) -> None:
    """Refuse what is no system of the kind wanted; of a loss say how to make one of it.

    Args:
        system: what was given.
        wanted: a class of systems.
        otherwise: what to do for who gave another system.
        name: of the argument.
        changing: whether it may have schedules.

    Raises:
        ArgumentError: for anything else.

    """
    loss = isinstance(system, AbstractLoss)
    make = "Make one of the loss and a rule: `sf.Map(loss, rule, lr=...)` or `sf.Flow(loss, rule)`."
    _checks.instance(name, system, wanted, make if loss else otherwise)
    if not changing:
        check_fixed(system, name)


def check_fixed(system: AbstractSystem, name: str = "system", hint: str = "") -> None:
    """Refuse a system that has schedules, where one map or one flow is meant."""
    found = list(dict.fromkeys(schedule.name for schedule in system.schedules))
    if found:
        several = len(found) > 1
        names = f"{', '.join(found[:-1])} and {found[-1]}" if several else found[0]
        when, k = ("step", "k") if hasattr(system, "step") else ("time", "t")
        if found == ["time"]:
            raise _checks.ArgumentError(
                f"Argument `{name}` must be autonomous, but {system.describe()} depends on the "
                f"time: use `sf.stroboscopic_map({name})`, its map over one period. {hint}".strip()
            )
        periodic = "" if when == "step" else f", or `sf.stroboscopic_map({name}, period=...)`"
        raise _checks.ArgumentError(
            f"Argument `{name}` must not change, but the {names} of this system "
            f"{'change' if several else 'changes'} with the {when}. Use `{name}.at({k})`, the "
            f"system at {when} {k}{periodic}. {hint}".strip()
        )
