"""What a rule is: how a step's direction is made from gradients."""

import abc
import math
from typing import Any, ClassVar, TypeGuard

import equinox as eqx
import numpy as np

from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules.critical import (
    AlignedCycle,
    Ascent,
    AscentStep,
    Attraction,
    LinearAscent,
    plain_ascent,
)
from samflow.rules.description import describe_rule


class AbstractRule(eqx.Module):
    """The direction d in w⁺ = w − lr d, and a memory: (d, m⁺) = D(w, m).

    The memory m is made of `num_memories` vectors as long as `w`, one after the other; there may
    be none, and then it is empty. A map carries it in its state. What has no place for a memory,
    as a flow, asks for `num_memories` and refuses a rule that has one: a memory that forgets at a
    fixed rate a step has no time scale of its own left as lr → 0.

    The other members state what is known of the rule near a critical point. Every default says
    "unknown", or follows from `ascent`. Analyses do without what is unknown.
    """

    name: ClassVar[str]
    """By default the name of the class."""
    formula: ClassVar[str] = ""
    source: ClassVar[str] = ""
    smooth: ClassVar[bool]
    """Whether it has a Jacobian at a critical point with a regular Hessian, by default."""
    num_memories: ClassVar[int]
    ascent: ClassVar[Ascent] = Ascent.other
    """The form of d(w), everywhere; with one of GD, USAM or SAM the rule has all their theory."""
    by_gradients: ClassVar[bool] = False
    """Whether d is made of gradients of the loss at hand alone, and nothing else of it."""
    has_second_derivative: ClassVar[bool] = True
    """Whether d has a second derivative at critical points, where it has a first."""
    closed_forms: ClassVar[str] = ""
    """What `samflow.theory` has in closed form at a critical point, in words."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not (hasattr(cls, "name") or cls.__name__.startswith("Abstract")):
            cls.name = cls.__name__

    def __str__(self) -> str:
        """Return name and hyperparameters, as `usam(rho=0.05)`; `repr` shows every field."""
        return describe_rule(self)

    @abc.abstractmethod
    def init(self, loss: AbstractLoss, w: V) -> V:
        """Return the memory that the rule begins with at `w`, in the layout of `w`."""

    @abc.abstractmethod
    def step(self, loss: AbstractLoss, w: V, memory: V) -> tuple[V, V]:
        """Return d and the memory after the step, in the layout of `w`; NaN where undefined."""

    @abc.abstractmethod
    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector) -> Scalar:
        """Return how far (w, m) is from where the rule is not smooth, in units of the gradient.

        Zero exactly where (d, m⁺) has no Jacobian, infinite for a rule that is smooth everywhere.
        """

    def effective_rho(self, gradient_norm: float = 0.0) -> float:
        """Return what multiplies g in the ascent where ‖g‖ has this value; NaN: unknown.

        At a critical point, ‖g‖ = 0, the rule has the Jacobian H(I + rho H) of USAM with this rho,
        or none where it is infinite.
        """
        if self.ascent is Ascent.none:
            return 0.0
        if self.ascent is Ascent.gradient:
            return self._rho
        if self.ascent is Ascent.unit:
            return self._rho / gradient_norm if gradient_norm else math.inf
        return math.nan

    @property
    def family(self) -> str | None:
        """The name in `samflow.theory` of U, with d′ = U(H) at a critical point; None: unknown.

        With one of "gd" and "usam" ρ is `effective_rho`, with any other the field `rho`.
        """
        if self.ascent is Ascent.none:
            return Ascent.none.value
        return Ascent.gradient.value if self.has_closed_form else None

    @property
    def windows(self) -> tuple[str, ...]:
        """The fields that U at a critical point is made of: rho, or rho/eps."""
        return ("rho",) if self.ascent is Ascent.gradient else ()

    @property
    def has_closed_form(self) -> bool:
        """Whether the Jacobian at a critical point is H(I + rho H) with a known rho."""
        return math.isfinite(self.effective_rho())

    def ascent_length(self, w: Any) -> float:
        """Return the length in weight space that the rule brings with it at `w`; 0: none.

        A field `rho` is such a length, unless it multiplies the gradient.
        """
        return 0.0 if self.ascent.is_linear else self._rho

    def linear_ascent(self, loss: AbstractLoss, w: np.ndarray) -> LinearAscent | None:
        """Return the ascent near the critical point `w`; None where it is not of that form."""
        return plain_ascent(self._rho, len(w)) if self.ascent is Ascent.unit else None

    def ascent_step(self, loss: AbstractLoss) -> AscentStep | None:
        """Return the direction on `loss` in the terms of proofs; None where it is not of the form.

        What is stated must hold everywhere, not near a critical point alone, unless it says so
        (`limit_only`).
        """
        return AscentStep(self._rho) if self.ascent is Ascent.unit else None

    def attraction(
        self, loss: AbstractLoss, w: np.ndarray, hessian: np.ndarray
    ) -> Attraction | None:
        """Return what the flow does near `w`, a critical point with a regular Hessian.

        None where nothing is known beyond `linear_ascent` and the limits of a normalised rule.
        """
        return None

    def aligned_cycle(self, lam: float, others: list[float], lr: float) -> AlignedCycle | None:
        """Return the 2-cycle along a simple eigenvalue `lam` ≠ 0 of H; None: none or unknown.

        For rules without a linear ascent, rho > 0, maps without momentum.
        """
        return None

    def invariant_ball(self, lams: list[float], lr: float) -> tuple[float, float] | None:
        """Return radii (R₀, R₁) of ‖g‖: the plain map keeps R₀, and enters it from R₁.

        For rules without a linear ascent, rho > 0, maps without momentum, all of `lams`, the
        eigenvalues of H, nonzero. None: none or unknown.
        """
        return None

    def cycle_radius(self, lam: float, *, lr: float, momentum: float, scheme: str) -> float:
        """Return the radius of the 2-cycle along an eigenvalue `lam` > 0; NaN: none or unknown."""
        if self.ascent is not Ascent.unit:
            return math.nan
        from samflow import theory  # sympy is slow to import, and seldom needed

        at = {"rho": self._rho, "lr": lr, "momentum": momentum, "scheme": scheme}
        radius = float(theory.cycle_radius(lam, **at))
        return radius if radius > 0 else math.nan  # lr·lam below the flip

    @property
    def _rho(self) -> float:
        return float(getattr(self, "rho", 0.0))


class AbstractMemorylessRule(AbstractRule):
    """A rule whose direction d(w) depends on the weights alone; also the flow ẇ = −d(w)."""

    num_memories: ClassVar[int] = 0

    @abc.abstractmethod
    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return d(w), in the layout of `w`; NaN where the rule is not defined."""

    @abc.abstractmethod
    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return how far `w` is from where d is not smooth, as for `AbstractRule`."""

    def init(self, loss: AbstractLoss, w: V) -> V:
        """Return the empty memory."""
        return w[:0]

    def step(self, loss: AbstractLoss, w: V, memory: V) -> tuple[V, V]:
        """Return d(w) and the empty memory."""
        return self.direction(loss, w), memory


class AbstractNormalisedRule(AbstractMemorylessRule):
    """A rule that divides by the length of a gradient, so that it jumps at critical points.

    What the rule does there, in the sense of Filippov, is made of its limits from all sides.
    """

    smooth: ClassVar[bool] = False
    vanishes: ClassVar[bool] = False
    """Whether all limits are 0, on every loss: what is next in order decides what the flow does."""

    @abc.abstractmethod
    def limit(self, loss: AbstractLoss, w: V, e: V) -> V:
        """Return lim d at the critical point `w` as g → 0 with g/‖g‖ → e.

        Args:
            loss: the loss.
            w: a critical point; elsewhere the value has no meaning of its own.
            e: a unit vector, in the layout of `w`.

        """


def is_normalised(rule: Any) -> TypeGuard[AbstractNormalisedRule]:
    """Say whether a rule jumps at critical points and has limits there."""
    return isinstance(rule, AbstractNormalisedRule)
