"""Discrete systems: an optimiser's update, or any function."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from samflow import _checks
from samflow._checks import Requirement
from samflow._components import Components, concatenate
from samflow._schedule import hyperparameter
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules.base import AbstractRule
from samflow.rules.description import describe_rule, shown
from samflow.systems.angles import Angles, angle_ranges, wrap_into
from samflow.systems.base import AbstractMap, AbstractWeightSystem
from samflow.systems.coordinates import runs_by_coordinates


def absent_or(requirement: Requirement, name: str) -> Callable[[Any], Any]:
    """Keep a hyperparameter of None or a plain 0 out of the state and out of the program."""

    def convert(value: Any) -> Any:
        plain_zero = isinstance(value, (int, float)) and value == 0
        absent = value is None or plain_zero
        return None if absent else hyperparameter(name, value, requirement)

    return convert


def step_size(value: Any) -> Scalar:
    """Check `lr`, which at single steps of a schedule may be 0."""
    return hyperparameter("lr", value, _checks.POSITIVE, scheduled=_checks.NONNEGATIVE)


class Map(AbstractMap):
    """The update of an optimiser, with d(w) the rule's direction plus weight_decay · w.

    ==============  =========================================
    plain           w⁺ = w − lr d
    heavy ball      v⁺ = momentum v + d,  w⁺ = w − lr v⁺
    Nesterov        v⁺ = momentum v + d,  w⁺ = w − lr (d + momentum v⁺)
    ==============  =========================================

    This is the convention of torch.optim.SGD; weight decay does not enter the ascent step of SAM.

    lr, momentum, weight_decay and the numbers of the rule may be schedules: functions in JAX of
    the number of the step, such as those of optax. `iterate`, ensembles of paths and training
    follow them; `at(k)` is the map at step k, which has numbers, and which all else takes.

    Attributes:
        lr: step size, > 0; a schedule may also be 0.
        momentum: in [0, 1). With None or a plain 0 the state is w alone; otherwise (w, v).
            To sweep momentum through 0, start from another value and replace the leaf. A rule
            with a memory puts it last: (w, m) or (w, v, m).
        nesterov: which of the two forms of momentum.
        weight_decay: ≥ 0; None or a plain 0 leaves it out.

    Raises:
        ArgumentError: for hyperparameters out of range or not finite.

    """

    loss: AbstractLoss
    rule: AbstractRule
    lr: Scalar = eqx.field(converter=step_size)
    momentum: Scalar | None = eqx.field(
        default=None, converter=absent_or(_checks.FRACTION, "momentum")
    )
    nesterov: bool = eqx.field(static=True, default=False)
    weight_decay: Scalar | None = eqx.field(
        default=None, converter=absent_or(_checks.NONNEGATIVE, "weight_decay")
    )

    def __check_init__(self) -> None:
        _checks.instance("loss", self.loss, AbstractLoss, "Use `sf.loss` to make one.")
        _checks.instance("rule", self.rule, AbstractRule, "Use an instance, such as `sf.GD()`.")

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.loss.dim

    @property
    def state_dim(self) -> int:
        """Length of a state: dim, and dim more for momentum and for each memory of the rule."""
        return self.dim * (1 + (self.momentum is not None) + self.rule.num_memories)

    @property
    def elementwise(self) -> bool:
        """Whether loss and rule take one array a coordinate."""
        return runs_by_coordinates(self.rule, self.loss)

    @property
    def edge(self) -> Scalar:
        """The eigenvalue κ/lr of D at which a multiplier passes −1.

        D is the derivative of the direction, weight decay included. κ is 2, with heavy ball
        2(1 + β), with Nesterov's form 2(1 + β)/(1 + 2β).
        """
        beta = 0.0 if self.momentum is None else self.momentum
        return jnp.asarray(2 * (1 + beta) / ((1 + 2 * beta if self.nesterov else 1) * self.lr))

    def step(self, z: V) -> V:
        """Return the next state."""
        w, v, memory = self._parts(z)
        d, memory = self.rule.step(self.loss, w, memory)
        return self._with_memory(self._move(w, v, d), memory)

    def displacement(self, z: V) -> V:
        """Return the next state minus `z`, without the difference of weights, which rounds."""
        w, v, memory = self._parts(z)
        d, memory = self.rule.step(self.loss, w, memory)
        if self.weight_decay is not None:
            d = d + self.weight_decay * w
        moved = self._move(0.0 * w, v, d)  # of weights 0: what decays was added
        moved = self._with_memory(moved, memory)
        return moved if self.state_dim == self.dim else moved - concatenate(0.0 * w, z[self.dim :])

    def _move(self, w: V, v: V, d: V) -> V:
        """Return the weights, and the velocity where there is momentum, after a step along `d`."""
        lr, beta = self.lr, self.momentum
        if self.weight_decay is not None:
            d = d + self.weight_decay * w
        if beta is None:
            return w - lr * d
        v = beta * v + d
        if self.nesterov:
            return concatenate(w - lr * (d + beta * v), v)
        return concatenate(w - lr * v, v)

    def _parts(self, z: V) -> tuple[V, V, V]:
        """Return the weights, the velocity (empty without momentum) and the rule's memory."""
        begin = self.dim if self.momentum is None else 2 * self.dim
        return z[: self.dim], z[self.dim : begin], z[begin:]

    def _with_memory(self, z: V, memory: V) -> V:
        """Return the state made of weights and velocity `z` and the rule's memory."""
        return concatenate(z, memory) if self.rule.num_memories else z

    def lift(self, w: V) -> V:
        """Return the state at the weights `w`, with velocity 0 and the rule's first memory."""
        z = w if self.momentum is None else concatenate(w, 0.0 * w)
        return self._with_memory(z, self.rule.init(self.loss, w))

    def position(self, z: V) -> V:
        """Return the weights of the state `z`."""
        return z[: self.dim]

    def singularity(self, z: Vector) -> Scalar:
        """Return the rule's distance from where it is not smooth."""
        w, _, memory = self._parts(z)
        return self.rule.singularity(self.loss, w, memory)

    def describe(self) -> str:
        """Say what the system is."""
        text = f"map of {describe_rule(self.rule)} on {self.loss.name}, lr={shown(self.lr)}"
        if self.momentum is not None:
            text += f", {'Nesterov ' if self.nesterov else ''}momentum={shown(self.momentum)}"
        if self.weight_decay is not None:
            text += f", weight_decay={shown(self.weight_decay)}"
        return text


class FunctionMap(AbstractWeightSystem, AbstractMap):
    """The map z⁺ = function(z), taken to be smooth everywhere.

    Attributes:
        function: takes z of shape (dim,) and returns its image: an array or a sequence of numbers.
        elementwise: a promise about `function`, which buys speed: that of z it uses only the
            coordinates z[0], z[1], ..., only in operations that act on each entry of an array by
            itself (arithmetic, `jnp.sin`, `jnp.where`), and that it returns one array a
            coordinate, as in `lambda z: (1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0])`. The
            coordinates are then scalars or arrays of many points. A function that sorts, sums or
            branches over those arrays breaks the promise, and nothing notices.
        angles: which coordinates are angles: a range (low, high) for an angle, None for any other,
            as ((-jnp.pi, jnp.pi), None). The image is brought into the range. What differs by
            whole turns is one: fixed points are found once, cycles may wind, distances are the
            shorter ones.

    Raises:
        ArgumentError: for wrong `angles`.

    """

    function: Callable[[Vector], Any]
    dim: int = eqx.field(static=True)
    name: str = eqx.field(static=True, default="function")
    elementwise: bool = eqx.field(static=True, default=False)
    angles: Angles | None = eqx.field(static=True, default=None)

    def __post_init__(self) -> None:
        self.angles = angle_ranges(self.angles, self.dim)

    def step(self, z: V) -> V:
        """Return function(z), with angles in their ranges."""
        return wrap_into(self.angles, in_layout(self.function, z, self.elementwise))

    def unwrapped(self) -> "FunctionMap":
        """Return the map without angles, whose images keep their turns."""
        return FunctionMap(self.function, self.dim, self.name, self.elementwise)

    def singularity(self, z: Vector) -> Scalar:
        """Return infinity."""
        return jnp.asarray(jnp.inf)

    def describe(self) -> str:
        """Say what the system is."""
        return f"map {self.name}"


def in_layout(function: Callable[[Any], Any], z: Any, elementwise: bool) -> Any:
    """Return function(z) in the layout of `z`, which may be components if it is elementwise."""
    if not isinstance(z, Components):
        return jnp.asarray(function(z))
    if not elementwise:
        raise TypeError("This function takes arrays of shape (dim,): it is not `elementwise`.")
    image = function(z)
    if len(image) != len(z):
        raise TypeError(
            f"The function must return {len(z)} coordinates, but returned {len(image)}."
        )
    like = jnp.asarray(z[0])
    return Components(*(jnp.broadcast_to(jnp.asarray(a, like.dtype), like.shape) for a in image))
