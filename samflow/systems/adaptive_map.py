"""The map of a rule under a base optimiser with moments."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from samflow import _checks
from samflow._components import concatenate
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules.base import AbstractRule
from samflow.rules.description import describe_rule, shown
from samflow.systems.base import AbstractMap
from samflow.systems.bases import BASES, AbstractBase, Adam
from samflow.systems.coordinates import runs_by_coordinates
from samflow.systems.map import Map, absent_or, step_size


def _base(base: Any) -> AbstractBase:
    """Return the base of a name."""
    return BASES[_checks.known("base", base, BASES)]() if isinstance(base, str) else base


class AdaptiveMap(AbstractMap):
    """The update of Adam, AdamW, RMSprop or Lion along the direction of any rule.

    (w⁺, s⁺) = (w + Δ, s⁺) with (Δ, s⁺) = base(w, s, d) and d the rule's direction at w plus
    weight_decay · w. A state is (w, s, memory of the rule), and s has the moments of the base, then
    the powers betaᵏ of its bias correction, which begin as 1 and tend to 0: the map is autonomous,
    and has fixed points.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> system = sf.AdaptiveMap(sf.losses.beale(), sf.SAM(rho=0.05), lr=0.01, base=sf.Adam())
    >>> system.state_dim                # 2 weights, m, v, two powers
    8
    >>> round(system.edge.item(), 6)    # 38/lr: of the eigenvalues of P⁻¹H while P is frozen
    3800.0

    lr, weight_decay and the numbers of rule and base may be schedules, as in `Map`. Where a beta
    is one, the bias correction has the product of its values.

    Attributes:
        loss: the loss.
        rule: how a direction is made from gradients.
        lr: step size, > 0.
        base: the base optimiser; or its name, for one with default numbers.
        weight_decay: ≥ 0, of d, as torch.optim.Adam has it; None or a plain 0 leaves it out. The
            decoupled decay of AdamW is a number of the base.

    Raises:
        ArgumentError: for hyperparameters out of range or not finite, and an unknown base.

    """

    loss: AbstractLoss
    rule: AbstractRule
    lr: Scalar = eqx.field(converter=step_size)
    base: AbstractBase = eqx.field(default_factory=Adam, converter=_base)
    weight_decay: Scalar | None = eqx.field(
        default=None, converter=absent_or(_checks.NONNEGATIVE, "weight_decay")
    )

    def __check_init__(self) -> None:
        _checks.instance("loss", self.loss, AbstractLoss, "Use `sf.loss` to make one.")
        _checks.instance("rule", self.rule, AbstractRule, "Use an instance, such as `sf.GD()`.")
        _checks.instance("base", self.base, AbstractBase, "Use an instance, such as `sf.Adam()`.")

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.loss.dim

    @property
    def state_dim(self) -> int:
        """Length of a state: dim, what the base remembers, and dim for each memory of the rule."""
        return self.dim * (1 + self.rule.num_memories) + self.base.size(self.dim)

    @property
    def elementwise(self) -> bool:
        """Whether loss and rule take one array a coordinate."""
        return runs_by_coordinates(self.rule, self.loss)

    def step(self, z: V) -> V:
        """Return the next state."""
        w, s, memory = self.parts(z)
        d, memory = self.direction(w, memory)
        moved, s = self.base.step(w, s, d, self.lr)
        return self._joined(w + moved, s, memory)

    def parts(self, z: V) -> tuple[V, V, V]:
        """Return the weights, the state of the base and the rule's memory."""
        begin = self.dim + self.base.size(self.dim)
        return z[: self.dim], z[self.dim : begin], z[begin:]

    def lift(self, w: V) -> V:
        """Return the state before the first step at `w`: moments 0, powers 1, first memory."""
        return self._joined(w, self.base.init(w), self.rule.init(self.loss, w))

    def rest(self, w: V) -> V:
        """Return the state after many steps at `w`: the moments of d(w), powers 0."""
        memory = self.rule.init(self.loss, w)
        return self._joined(w, self.base.rest(self.direction(w, memory)[0]), memory)

    def position(self, z: V) -> V:
        """Return the weights of the state `z`."""
        return z[: self.dim]

    def singularity(self, z: Vector) -> Scalar:
        """Return the distance of rule or base from where they are not smooth, the lesser one."""
        w, s, memory = self.parts(z)
        d, _ = self.direction(w, memory)
        of_rule = self.rule.singularity(self.loss, w, memory)
        return jnp.minimum(of_rule, self.base.singularity(s, d))

    def balance(self, w: V) -> V:
        """Return what vanishes where the weights `w` rest, in units of the gradient."""
        return self.base.balance(w, self.direction(w, self.rule.init(self.loss, w))[0])

    def preconditioner(self, z: V) -> V:
        """Return the diagonal P at the state `z`: a step is w − lr P⁻¹ m, see the base.

        NaN before the first step where there is a bias correction, and for Lion.
        """
        return self.base.preconditioner(self.parts(z)[1], self.dim)

    @property
    def edge(self) -> Scalar:
        """The quasi-static edge: the eigenvalue of P⁻¹D at which a multiplier passes −1.

        D is the derivative of the direction, weight decay included; P is frozen, as at a state of
        an orbit. Not the edge at a critical point: there P is at rest, see `conditions`.
        """
        return self.base.edge(self.lr)

    def plain(self) -> Map:
        """Return the map of the rule without base, which rests where this one rests if d = 0."""
        return Map(self.loss, self.rule, lr=self.lr, weight_decay=self.weight_decay)

    def describe(self) -> str:
        """Say what the system is."""
        text = (
            f"map of {describe_rule(self.rule)} with {describe_rule(self.base)} on "
            f"{self.loss.name}, lr={shown(self.lr)}"
        )
        if self.weight_decay is not None:
            text += f", weight_decay={shown(self.weight_decay)}"
        return text

    def direction(self, w: V, memory: V) -> tuple[V, V]:
        """Return what the base is given, the rule's direction plus weight_decay · w, and memory."""
        d, memory = self.rule.step(self.loss, w, memory)
        return (d if self.weight_decay is None else d + self.weight_decay * w), memory

    def _joined(self, w: V, s: V, memory: V) -> V:
        z = concatenate(w, s)
        return concatenate(z, memory) if self.rule.num_memories else z
