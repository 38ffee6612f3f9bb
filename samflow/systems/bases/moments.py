"""Bases that divide by the root of a second moment, whatever their numbers are called."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from samflow import _checks
from samflow._components import Components, concatenate, elementwise
from samflow._types import Scalar, V
from samflow.systems.bases.base import AbstractBase


@jax.custom_jvp
def _quotient(m: Array, v: Array, eps: Array, eps_root: Array) -> Array:
    """Return m/(√(v + eps_root) + eps), with its derivative also where v = eps_root = 0.

    With eps > 0 the quotient is differentiable at m = v = 0, by m alone: it differs from m/eps by
    O(|m|√v). Where v = 0 and m is not, the slope by v is infinite.
    """
    return m / (jnp.sqrt(v + eps_root) + eps)


@_quotient.defjvp
def _quotient_jvp(primals: Any, tangents: Any) -> Any:
    m, v, eps, eps_root = primals
    dm, dv, deps, droot = tangents
    root = jnp.sqrt(v + eps_root)
    size = root + eps
    rest = (root == 0) & (m == 0)
    by_root = -m / size**2
    by_square = jnp.where(rest, 0.0, by_root / (2 * jnp.where(rest, 1.0, root)))
    return m / size, dm / size + by_root * deps + by_square * (dv + droot)


class AbstractMoments(AbstractBase):
    """m⁺ = b₁m + (1 − b₁)d, v⁺ = b₂v + (1 − b₂)d², w⁺ − w = −lr m̂/(√(v̂ + eps_root) + eps).

    m̂ = m⁺/(1 − b₁ᵏ) and v̂ = v⁺/(1 − b₂ᵏ) at step k = 1, 2, ...; without bias correction m⁺ and v⁺
    themselves. The powers are in the state, 1 at first, so that the map is one and the same at
    each step. With b₁ = 0 there is no m: the direction takes its place.
    """

    beta1: eqx.AbstractVar[Scalar | None]
    beta2: eqx.AbstractVar[Scalar]
    eps: eqx.AbstractVar[Scalar]
    eps_root: eqx.AbstractVar[Scalar]
    initial: eqx.AbstractVar[Scalar]
    bias_correction: eqx.AbstractVar[bool]
    weight_decay: eqx.AbstractVar[Scalar | None]

    def __check_init__(self) -> None:
        fixed = not (_checks.is_traced(self.beta2) or hasattr(self.beta2, "function"))
        if self.bias_correction and fixed and float(self.beta2) == 1:
            raise _checks.ArgumentError(
                "A second moment that is frozen, of rate 1, has no bias correction. Give "
                "`bias_correction=False` and the moment as `initial` or in the state."
            )

    @property
    def decays(self) -> bool:
        """Whether there is decoupled weight decay."""
        return self.weight_decay is not None

    @property
    def num_moments(self) -> int:
        """The second moment, and the first where there is one."""
        return 1 + (self.beta1 is not None)

    @property
    def num_powers(self) -> int:
        """One power for each moment, where there is a bias correction."""
        return self.num_moments if self.bias_correction else 0

    def init(self, w: V) -> V:
        """Return m = 0, v = its first value, the powers 1."""
        zero = 0.0 * w
        made = zero + self.initial
        made = made if self.beta1 is None else concatenate(zero, made)
        for _ in range(self.num_powers):
            made = concatenate(made, elementwise(jnp.ones_like, w[:1]))
        return made

    def rest(self, d: V) -> V:
        """Return m = d, v = d², the powers 0: what remains after many steps."""
        made = d * d
        made = made if self.beta1 is None else concatenate(d, made)
        for _ in range(self.num_powers):
            made = concatenate(made, elementwise(jnp.zeros_like, d[:1]))
        return made

    def parts(self, s: V, dim: int) -> tuple[V | None, V, tuple[Any, ...]]:
        """Return m (None where there is none), v and the powers, of m first."""
        first = 0 if self.beta1 is None else dim
        powers = tuple(s[first + dim + i] for i in range(self.num_powers))
        return (s[:dim] if first else None), s[first : first + dim], powers

    def step(self, w: V, s: V, d: V, lr: Any) -> tuple[V, V]:
        """Return w⁺ − w and s⁺."""
        m, v, powers = self._moved(s, d)
        first, second = self._corrections(powers)
        eps, eps_root = self.eps, self.eps_root
        moved = d if m is None else m
        u = elementwise(lambda m, v: _quotient(m, v, eps, eps_root), moved / first, v / second)
        u = u if self.weight_decay is None else u + self.weight_decay * w
        made = v if m is None else concatenate(m, v)
        if powers:
            made = concatenate(made, _stacked(powers, w))
        return -lr * u, made

    def balance(self, w: V, d: V) -> V:
        """Return d, or with decoupled decay δ the numerator d + δ w (√(d² + eps_root) + eps)."""
        if self.weight_decay is None:
            return d
        eps, eps_root = self.eps, self.eps_root
        # |d| without a root, which has no derivative at 0, where nothing is added under it.
        added = jnp.where(eps_root == 0, 1.0, eps_root)
        size = elementwise(
            lambda d: jnp.where(eps_root == 0, jnp.abs(d), jnp.sqrt(d * d + added)), d
        )
        return d + self.weight_decay * w * (size + eps)

    def preconditioner(self, s: V, dim: int) -> V:
        """Return (1 − b₁ᵏ)(√(v̂ + eps_root) + eps) of a state after k ≥ 1 steps.

        NaN before the first step where there is a bias correction.
        """
        _, v, powers = self.parts(s, dim)
        first, second = self._corrections(powers)
        eps, eps_root = self.eps, self.eps_root
        return (elementwise(jnp.sqrt, v / second + eps_root) + eps) * first

    @property
    def rest_preconditioner(self) -> Scalar:
        """√eps_root + eps, which P is at a critical point where v has died out."""
        eps, eps_root = self.eps, self.eps_root
        return jnp.sqrt(eps_root) + eps

    def edge(self, lr: Any) -> Scalar:
        """Return (1 + b₁)(2 − lr δ)/((1 − b₁) lr), with δ the decoupled decay.

        Adam with b₁ = 0.9: 38/lr (Cohen et al. 2022, arXiv 2207.14484); RMSprop: 2/lr.
        """
        beta = 0.0 if self.beta1 is None else self.beta1
        decay = 0.0 if self.weight_decay is None else self.weight_decay
        return jnp.asarray((1 + beta) * (2 - lr * decay) / ((1 - beta) * lr))

    def singularity(self, s: V, d: V) -> Scalar:
        """Return 0 where some v̂ + eps_root = 0 in which the step is not smooth, else infinity.

        That is a weight whose gradients have been 0, with m ≠ 0 or eps = 0.
        """
        m, v, _ = self._moved(s, d)
        eps, eps_root = self.eps, self.eps_root
        moved = d if m is None else m

        def bad(m: Array, v: Array) -> Array:
            return (v + eps_root == 0) & ((m != 0) | (eps == 0))

        return jnp.where(_some(elementwise(bad, moved, v)), 0.0, jnp.inf)

    def _moved(self, s: V, d: V) -> tuple[V | None, V, tuple[Any, ...]]:
        beta, beta2 = self.beta1, self.beta2
        m, v, powers = self.parts(s, len(d))
        v = beta2 * v + (1 - beta2) * (d * d)
        if m is None or beta is None:
            return None, v, tuple(beta2 * power for power in powers)
        rates = zip((beta, beta2), powers, strict=False)  # no powers without bias correction
        return beta * m + (1 - beta) * d, v, tuple(rate * power for rate, power in rates)

    def _corrections(self, powers: tuple[Any, ...]) -> tuple[Any, Any]:
        if not powers:
            return 1.0, 1.0
        return (1.0 if self.beta1 is None else 1 - powers[0]), 1 - powers[-1]


def _stacked(numbers: tuple[Any, ...], like: V) -> V:
    """Return a vector of numbers, one for each member, in the layout of `like`."""
    ones = elementwise(jnp.ones_like, like[:1])
    made = ones * numbers[0]
    for number in numbers[1:]:
        made = concatenate(made, ones * number)
    return made


def _some(flags: Any) -> Any:
    """Say of each member whether any coordinate is true."""
    if isinstance(flags, Components):
        return functools.reduce(jnp.logical_or, flags.parts)
    return jnp.any(flags)
