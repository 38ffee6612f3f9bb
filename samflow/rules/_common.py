"""What several rules share: checks of their hyperparameters, means, distances."""

import enum
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from samflow import _checks
from samflow._components import elementwise, largest
from samflow._schedule import Schedule, hyperparameter
from samflow._types import Scalar, Vector

_Member = TypeVar("_Member", bound=enum.Enum)
_AT_ONCE = 64
"""How many terms of a mean are computed side by side: bounds their memory."""


def radius(value: Any) -> Scalar:
    """Check `rho`."""
    hint = "rho is the radius of the ascent step."
    return hyperparameter("rho", value, _checks.NONNEGATIVE, hint)


def at_least_0(name: str) -> Callable[[Any], Scalar]:
    """Return the check of a hyperparameter that must not be negative."""
    return lambda value: hyperparameter(name, value, _checks.NONNEGATIVE)


def above_0(name: str, hint: str = "") -> Callable[[Any], Scalar]:
    """Return the check of a hyperparameter that must be positive."""
    return lambda value: hyperparameter(name, value, _checks.POSITIVE, hint)


def fraction(name: str) -> Callable[[Any], Scalar]:
    """Return the check of a hyperparameter that must lie in [0, 1)."""
    return lambda value: hyperparameter(name, value, _checks.FRACTION)


def weight(name: str) -> Callable[[Any], Any]:
    """Return the check of a hyperparameter that must lie in [0, 1]."""

    def check(value: Any) -> Any:
        number = hyperparameter(name, value, _checks.NONNEGATIVE, scheduled=_checks.WEIGHT)
        if isinstance(number, Schedule):
            return number
        message = f"Argument `{name}` must be in [0, 1]"
        if _checks.is_traced(value):
            return eqx.error_if(number, number > 1, f"{message}.")
        if float(number) > 1:
            raise _checks.ArgumentError(f"{message}, but is {value}.")
        return number

    return check


def flag(name: str) -> Callable[[Any], bool]:
    """Return the check of a switch."""

    def check(value: Any) -> bool:
        _checks.instance(name, value, bool)
        return value

    return check


def member(name: str, kind: type[_Member]) -> Callable[[Any], _Member]:
    """Return the check of a choice: a member of the enumeration `kind`, or its name."""

    def check(value: Any) -> _Member:
        if isinstance(value, kind):
            return value
        return kind[_checks.known(name, str(value), kind.__members__)]

    return check


def everywhere(w: Vector) -> Scalar:
    """Return infinity, one a point: the singularity of a rule that is smooth everywhere."""
    return jnp.full(jnp.shape(w[0]), jnp.inf)


def least(first: Any, *others: Any) -> Any:
    """Return the least of several distances; after one of 0, what follows is not looked at.

    A direction that is undefined at its first step makes NaN of all that comes after.
    """
    for other in others:
        first = jnp.where(first > 0, jnp.minimum(first, other), first)
    return first


def over(function: Callable[[Any], Any], arguments: Any) -> Any:
    """Return function(argument) for each argument along the leading axis."""
    return jax.lax.map(function, arguments, batch_size=_AT_ONCE)


def kink_distance(shift: Any, w: Vector, g: Vector) -> Scalar:
    """Return the least |wᵢ| at which |wᵢ| + shift has a kink that the gradient is scaled by."""

    def distance(x: Any, gradient: Any) -> Any:
        return jnp.where(shift * abs(gradient) > 0, abs(x), jnp.inf)

    return -largest(-elementwise(distance, w, g))
