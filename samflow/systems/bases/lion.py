"""Lion, whose steps are signs."""

import functools
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from samflow import _checks
from samflow._components import Components, elementwise
from samflow._types import Scalar, V
from samflow.systems.bases.base import AbstractBase, number, optional_number


class Lion(AbstractBase):
    """Lion: w⁺ = (1 − lr weight_decay) w − lr sign(beta1 m + (1 − beta1) d), m⁺ = beta2 m + ….

    m⁺ = beta2 m + (1 − beta2) d. That of optax.lion, whose default `weight_decay` is 1e-3. Each
    weight moves by lr whatever the size of d, so that no orbit converges at a constant lr, and
    nothing can be linearised where the argument of the sign vanishes.

    Attributes:
        beta1: in [0, 1), of the argument of the sign.
        beta2: in [0, 1), of the mean that is kept.
        weight_decay: decoupled, ≥ 0.

    Source: Chen et al. 2023, arXiv 2302.06675.

    """

    beta1: Scalar = eqx.field(default=0.9, converter=number("beta1", _checks.FRACTION))
    beta2: Scalar = eqx.field(default=0.99, converter=number("beta2", _checks.FRACTION))
    weight_decay: Scalar | None = eqx.field(
        default=None,
        converter=optional_number("weight_decay", _checks.NONNEGATIVE),
    )
    name: ClassVar[str] = "lion"
    formula: ClassVar[str] = "w⁺ = w − lr sign(beta1 m + (1 − beta1) d)"
    source: ClassVar[str] = "Chen et al. 2023, arXiv 2302.06675"

    @property
    def decays(self) -> bool:
        """Whether there is decoupled weight decay."""
        return self.weight_decay is not None

    @property
    def num_moments(self) -> int:
        """One."""
        return 1

    @property
    def num_powers(self) -> int:
        """None."""
        return 0

    def init(self, w: V) -> V:
        """Return m = 0."""
        return 0.0 * w

    def rest(self, d: V) -> V:
        """Return m = d."""
        return d

    def step(self, w: V, s: V, d: V, lr: Any) -> tuple[V, V]:
        """Return w⁺ − w and m⁺."""
        u = elementwise(jnp.sign, self._argument(s, d))
        u = u if self.weight_decay is None else u + self.weight_decay * w
        return -lr * u, self.beta2 * s + (1 - self.beta2) * d

    def balance(self, w: V, d: V) -> V:
        """Return d."""
        return d

    def preconditioner(self, s: V, dim: int) -> V:
        """Return NaN: the step is not linear in m at any scale."""
        return s[:dim] * jnp.nan

    def edge(self, lr: Any) -> Scalar:
        """Return NaN: at a change of sign there is no multiplier, elsewhere none depends on D."""
        return jnp.asarray(jnp.nan)

    def singularity(self, s: V, d: V) -> Scalar:
        """Return the least |beta1 m + (1 − beta1) d| of a weight."""
        return _least(elementwise(jnp.abs, self._argument(s, d)))

    def _argument(self, s: V, d: V) -> V:
        return self.beta1 * s + (1 - self.beta1) * d


def _least(v: Any) -> Any:
    """Return the least coordinate of each member."""
    if isinstance(v, Components):
        return functools.reduce(jnp.minimum, v.parts)
    return jnp.min(v)
