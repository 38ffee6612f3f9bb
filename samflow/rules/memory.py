"""Rules whose ascent goes along gradients of the past."""

from typing import ClassVar

import equinox as eqx

from samflow._components import norm, unit
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules._common import at_least_0, fraction, radius, weight
from samflow.rules.base import AbstractRule
from samflow.rules.critical import AlignedCycle, with_sams_cycle


class FSAM(AbstractRule):
    """Friendly SAM: d = g(w + rho u/‖u‖), u = g(w) − sigma m, m⁺ = decay m + (1 − decay) g(w).

    The mean m of past gradients stands for the full gradient, and u for the noise of a batch. m
    is 0 at first, so that the first step is SAM's. `rho` is a length in weight space, `sigma` ≥ 0
    and `decay` in [0, 1) are numbers.

    Undefined where u = 0. A state at rest has m = g(w), so that with sigma = 1 and without noise
    u = 0 there: no fixed point, whether g = 0 or not, is one where the rule is defined.
    Source: Li et al. 2024 (arXiv 2403.12350). The ascent takes the old m, as the authors' code
    does; the formula reported of the paper takes m⁺. With sigma = 1 it is the same ascent, since
    g − m⁺ = decay (g − m). The authors' code sets m = g after the first step, where here it is
    (1 − decay) g; `PracticalFSAM` does that, too. Defaults: those of
    the authors' run.sh; their class has decay 0.9.
    """

    rho: Scalar = eqx.field(converter=radius)
    sigma: Scalar = eqx.field(default=1.0, converter=at_least_0("sigma"))
    decay: Scalar = eqx.field(default=0.6, converter=fraction("decay"))
    name: ClassVar[str] = "f-sam"
    formula: ClassVar[str] = "g(w + rho u/‖u‖), u = g(w) − sigma m, m⁺ = decay m + (1 − decay) g(w)"
    source: ClassVar[str] = "Li, Zhou, He, Cheng, Huang 2024, arXiv 2403.12350"
    smooth: ClassVar[bool] = False
    num_memories: ClassVar[int] = 1
    closed_forms: ClassVar[str] = "2-cycle with its bounds"

    def step(self, loss: AbstractLoss, w: V, memory: V) -> tuple[V, V]:
        """Return d, NaN where u = 0, and m⁺."""
        g = loss.gradient(w)
        d = loss.gradient(w + self.rho * unit(g - self.sigma * memory))
        return d, self.decay * memory + (1 - self.decay) * g

    def init(self, loss: AbstractLoss, w: V) -> V:
        """Return 0."""
        return 0.0 * w

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector) -> Scalar:
        """Return ‖u‖."""
        return norm(loss.gradient(w) - self.sigma * memory)

    def aligned_cycle(self, lam: float, others: list[float], lr: float) -> AlignedCycle | None:
        """Return SAM's 2-cycle, with what the memory does across it."""
        from samflow import theory  # sympy is slow to import, and seldom needed

        forgets = float(self.decay)
        update = theory.friendly_update(float(self.sigma), forgets)
        return with_sams_cycle(update, forgets, rho=self.rho, lam=lam, others=others, lr=lr)


class VaSSO(AbstractRule):
    """Variance-suppressed SAM: d = g(w + rho a⁺/‖a⁺‖), a⁺ = (1 − theta) a + theta g(w).

    The ascent goes along a moving mean of gradients, the new one in it. a is g(w) at first, so
    that the first step is SAM's, and with theta = 1 every step. `rho` is a length in weight
    space, `theta` a number in [0, 1]; with 0 the ascent never turns.

    Undefined where a⁺ = 0.
    Source: Li and Giannakis 2023 (arXiv 2309.15639); the update and the first a are those of the
    authors' code, which adds 1e-7 to ‖a⁺‖ and has theta 0.9 by default.
    """

    rho: Scalar = eqx.field(converter=radius)
    theta: Scalar = eqx.field(default=0.4, converter=weight("theta"))
    name: ClassVar[str] = "vasso"
    formula: ClassVar[str] = "g(w + rho a⁺/‖a⁺‖), a⁺ = (1 − theta) a + theta g(w)"
    source: ClassVar[str] = "Li, Giannakis 2023, arXiv 2309.15639"
    smooth: ClassVar[bool] = False
    num_memories: ClassVar[int] = 1
    closed_forms: ClassVar[str] = "2-cycle with its bounds"

    def step(self, loss: AbstractLoss, w: V, memory: V) -> tuple[V, V]:
        """Return d, NaN where a⁺ = 0, and a⁺."""
        new = self._mean(loss, w, memory)
        return loss.gradient(w + self.rho * unit(new)), new

    def init(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w)."""
        return loss.gradient(w)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector) -> Scalar:
        """Return ‖a⁺‖."""
        return norm(self._mean(loss, w, memory))

    def aligned_cycle(self, lam: float, others: list[float], lr: float) -> AlignedCycle | None:
        """Return SAM's 2-cycle, with what the memory does across it."""
        from samflow import theory  # sympy is slow to import, and seldom needed

        update, forgets = theory.suppressed_update(float(self.theta)), 1 - float(self.theta)
        return with_sams_cycle(update, forgets, rho=self.rho, lam=lam, others=others, lr=lr)

    def _mean(self, loss: AbstractLoss, w: V, memory: V) -> V:
        return (1 - self.theta) * memory + self.theta * loss.gradient(w)


class DPSAT(AbstractRule):
    """SAM along the previous direction: d = g(w + rho p/‖p‖), p⁺ = d.

    p is the direction of the step before, at first g(w), so that the first step is SAM's. One
    gradient a step. `rho` is a length in weight space. Undefined where p = 0.

    The method was made for training with differential privacy, where the ascent must not look
    at the data a second time. The rule itself neither clips nor adds noise: `ClippedBatch` does.
    Under noise p is the noisy direction. `Map.lift` starts p from the gradient of the whole loss,
    which is neither clipped nor noisy; give a state to start otherwise, as at a critical point.
    Source: Park, Kim, Choi, Lee 2023 (arXiv 2306.05651). What the first p is there was not
    compared.
    """

    rho: Scalar = eqx.field(converter=radius)
    name: ClassVar[str] = "dp-sat"
    formula: ClassVar[str] = "g(w + rho p/‖p‖), p⁺ = d"
    source: ClassVar[str] = "Park, Kim, Choi, Lee 2023, arXiv 2306.05651"
    smooth: ClassVar[bool] = False
    num_memories: ClassVar[int] = 1
    closed_forms: ClassVar[str] = "orbits in one dimension; second moments under strong noise"

    def step(self, loss: AbstractLoss, w: V, memory: V) -> tuple[V, V]:
        """Return g(w + rho p/‖p‖), twice: as direction and as memory; NaN where p = 0."""
        d = loss.gradient(w + self.rho * unit(memory))
        return d, d

    def init(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w)."""
        return loss.gradient(w)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector) -> Scalar:
        """Return ‖p‖."""
        return norm(memory)
