"""Hyperparameters that change: functions of the step of a map, or of the time of a flow."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from samflow import _checks
from samflow._checks import Requirement
from samflow._types import Scalar

_AT_ONCE = 4096
"""Values of a schedule that are looked at side by side."""
_TIMES = 1001
"""Evenly spaced times at which a function of time is looked at."""
_EXCERPT = 160
"""Characters that are quoted of another's message, up to the end of a word."""
_ROUNDING = 64 * float(jnp.finfo(jnp.float32).eps)
"""Relative to the largest value of a schedule: negative values of this size count as 0. That of
single precision, in which a schedule may compute also where the run does not."""

ANYTHING: Requirement = (lambda value: True, "any number")
"""What the time itself, as a schedule, must satisfy."""

_Tree = TypeVar("_Tree")


class Schedule(eqx.Module):
    """A hyperparameter given as a function; where a number is needed it refuses to be one.

    Attributes:
        function: takes a whole number (the step) or a real one (the time) as a scalar array.
        name: of the hyperparameter.
        requirement: what its values must satisfy.

    """

    function: Callable[[Array], Any]
    name: str = eqx.field(static=True)
    requirement: Requirement = eqx.field(static=True)

    def __check_init__(self) -> None:
        try:
            made = eqx.filter_eval_shape(lambda k: jnp.asarray(self.function(k)), jnp.asarray(0))
        except Exception as error:  # whatever the function raises
            raise self._not_in_jax(error) from error
        if made.shape or made.dtype.kind not in "iuf":
            raise _checks.ArgumentError(
                f"Argument `{self.name}` must be a number or a function that returns one, but "
                f"{self.label} returns an array of {made.dtype} of shape {made.shape}."
            )

    @property
    def label(self) -> str:
        """The name of the function, or that of its class."""
        named = getattr(self.function, "__qualname__", type(self.function).__name__)
        return named.replace("<locals>.", "")

    def at(self, step: Any) -> Scalar:
        """Return the value at a step or a time; 0 where rounding has made it negative.

        A negative value that is not known to be one of rounding is refused where the step and the
        function are not traced. Where they are, the run has looked at all values before.
        """
        step = jnp.asarray(step)
        value, used = _value(self, step)
        if not (_checks.is_traced(value) or value.ndim) and float(value) < 0 and self._from_zero:
            self.check(step, step + 1, 1, "step" if step.dtype.kind in "iu" else "time")
        return used

    @property
    def _from_zero(self) -> bool:
        """Whether 0 is the least value that is allowed."""
        holds = self.requirement[0]
        return bool(holds(0.0)) and not holds(-_ROUNDING)

    def describe(self) -> str:
        """Return the name of the function and the first value."""
        first, _ = _value(self, jnp.asarray(0))
        value = "" if _checks.is_traced(first) or first.ndim else f" from {float(first):g}"
        return f"schedule {self.label}{value}"

    def check(self, first: Any, end: Any, spacing: Any, place: str) -> Array:
        """Return `first`; refuse values out of range at spacing·k for first ≤ k < end.

        Where the schedule is traced, the run that comes after checks it.
        """
        first = jnp.asarray(first)
        if self.requirement is ANYTHING:
            return first
        try:
            found, where, value = _first_bad(self, first, jnp.asarray(end), jnp.asarray(spacing))
        except Exception as error:  # whatever the function raises
            raise self._not_in_jax(error) from error
        must = f"Argument `{self.name}` must be {self.requirement[1]} at every {place}"
        if _checks.is_traced(found):
            return eqx.error_if(first, found, f"{must} of the run.")
        if found:
            raise _checks.ArgumentError(
                f"{must}, but {self.label} returns {float(value):g} at {place} {where.item():g}."
            )
        return first

    def _not_in_jax(self, error: Exception) -> _checks.ArgumentError:
        told = " ".join(str(error).split()).split(". ")[0]
        told = textwrap.shorten(told, _EXCERPT, placeholder=" …").rstrip(".")
        return _checks.ArgumentError(
            f"Argument `{self.name}` must be a number or a function in JAX of the step, but "
            f"{self.label} raises {type(error).__name__} at every step: {told}. JAX has "
            "`jnp.where` in the place of `if`."
        )

    def __jax_array__(self) -> NoReturn:
        self._refuse()

    def __float__(self) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise _checks.ArgumentError(
            f"The {self.name} of this system changes with the step. Use `system.at(k)`, the system "
            "at step k."
        )


def hyperparameter(
    name: str,
    value: Any,
    requirement: Requirement,
    hint: str = "",
    *,
    scheduled: Requirement | None = None,
) -> Any:
    """Return a number as a scalar array, a function as a `Schedule`.

    Args:
        name: of the hyperparameter.
        value: a number, perhaps traced, or a function of the step.
        requirement: of the number.
        hint: for the message.
        scheduled: of the values of a function, if that differs.

    Raises:
        ArgumentError: for what is neither.

    """
    function = value.function if isinstance(value, Schedule) else value
    if callable(function):
        return Schedule(function, name, scheduled or requirement)
    return _checks.scalar_array(name, value, requirement, hint)


def schedules(tree: Any, but: type | tuple[type, ...] = ()) -> tuple[Schedule, ...]:
    """Return the schedules in a system or a rule; what is a `but` is not looked into."""
    stop = lambda node: isinstance(node, (Schedule, but))  # noqa: E731
    leaves = jax.tree.leaves(tree, is_leaf=stop)
    return tuple(leaf for leaf in leaves if isinstance(leaf, Schedule))


def at(tree: _Tree, step: Any, but: type | tuple[type, ...] = ()) -> _Tree:
    """Return a system or a rule with the value at `step` in the place of each schedule."""
    if not schedules(tree, but):
        return tree
    stop = lambda node: isinstance(node, (Schedule, but))  # noqa: E731
    value = lambda node: node.at(step) if isinstance(node, Schedule) else node  # noqa: E731
    return jax.tree.map(value, tree, is_leaf=stop)


def check_steps(found: Sequence[Schedule], first: Any, num_steps: Any) -> Any:
    """Return `first`; refuse schedules that are out of range at a step of the run.

    The steps are those from `first` to `first` + `num_steps` − 1.
    """
    if not found:
        return first
    first = jnp.asarray(first)
    for schedule in found:
        first = schedule.check(first, first + num_steps, 1, "step")
    return first


def check_times(found: Sequence[Schedule], times: Array) -> Array:
    """Return `times`; refuse schedules out of range at one of 1,001 times between their ends.

    Between these times nothing is looked at.
    """
    if not found:
        return times
    spacing = (times[-1] - times[0]) / (_TIMES - 1)
    begin = times[0] / spacing
    first: Any = begin
    for schedule in found:
        first = schedule.check(first, begin + _TIMES, spacing, "time")
    return times + (first - begin)


@eqx.filter_jit
def _value(schedule: Schedule, step: Array) -> tuple[Scalar, Scalar]:
    """Return what the function returns, and what is used for it: 0 where it may not be negative."""
    value = jnp.asarray(schedule.function(step), float)
    return value, jnp.maximum(value, 0.0) if schedule._from_zero else value


@eqx.filter_jit
def _first_bad(
    schedule: Schedule, first: Array, end: Array, spacing: Array
) -> tuple[Array, Array, Array]:
    """Return whether a value is out of range, at which step or time first, and that value."""

    def values_at(begin: Array) -> tuple[Array, Array]:
        places = spacing * jnp.minimum(begin + jnp.arange(_AT_ONCE), end - 1)
        return places, jax.vmap(lambda k: _value(schedule, k)[0])(places)

    def search(least: Any) -> tuple[Array, Array, Array]:
        def look(carry: tuple[Array, ...]) -> tuple[Array, ...]:
            places, values = values_at(carry[0])
            zero = (values < 0) & (values >= least)
            holds = schedule.requirement[0](jnp.where(zero, 0.0, values))
            bad = ~(jnp.isfinite(values) & holds)
            i = jnp.argmax(bad)
            return carry[0] + _AT_ONCE, bad[i], places[i], values[i]

        def going(carry: tuple[Array, ...]) -> Array:
            return (carry[0] < end) & ~carry[1]

        begin = (first, jnp.asarray(False), spacing * first, jnp.asarray(0.0))
        _, found, where, value = jax.lax.while_loop(going, look, begin)
        return found, where, value

    def largest() -> Array:
        """Return the size of the values from 0 on, which a run that goes on later has too."""

        def look(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            sizes = jnp.abs(values_at(carry[0])[1])
            sizes = jnp.where(jnp.isfinite(sizes), sizes, 0.0)
            return carry[0] + _AT_ONCE, jnp.maximum(carry[1], jnp.max(sizes))

        begin = (jnp.zeros_like(end), jnp.asarray(0.0))
        return jax.lax.while_loop(lambda carry: carry[0] < end, look, begin)[1]

    exactly = search(0.0)
    if not schedule._from_zero:
        return exactly
    again = lambda: search(-_ROUNDING * largest())  # noqa: E731
    return jax.lax.cond(exactly[0] & (exactly[2] < 0), again, lambda: exactly)
