"""SAM as most code runs it: with a small number in the denominator."""

import enum
import itertools
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from samflow import _checks
from samflow._components import Components, elementwise, inner, largest, mean, norm
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules._common import (
    above_0,
    at_least_0,
    everywhere,
    flag,
    fraction,
    kink_distance,
    least,
    member,
    radius,
)
from samflow.rules.base import AbstractMemorylessRule, AbstractRule
from samflow.rules.critical import AscentStep


class Placement(enum.IntEnum):
    """Where the small number stands in the denominator."""

    outside = 0
    """‖g‖ + eps"""
    inside = 1
    """√(‖g‖² + eps²)"""


class PracticalSAM(AbstractMemorylessRule):
    """SAM with eps in the denominator, d(w) = g(w + rho a(g(w))).

    =========  ======================
    "outside"  a(g) = g/(‖g‖ + eps)
    "inside"   a(g) = g/√(‖g‖² + eps²)
    =========  ======================

    `rho` is a length in weight space, `eps` > 0 a length of gradients. The rule is differentiable
    everywhere: at a critical point a has the derivative I/eps, and the rule the Jacobian of USAM
    with radius rho/eps, so that what it does there is set by eps and not by rho. That holds for
    ‖g‖ ≪ eps alone; beyond, it is SAM. With eps "outside" the second derivative does not exist
    at a critical point.

    Neither ‖g‖² nor eps² is formed, so that nothing is lost where these cannot be represented.
    Source: "outside" with 1e-12 is what the PyTorch implementation davda54/sam computes.
    """

    rho: Scalar = eqx.field(converter=radius)
    eps: Scalar = eqx.field(
        default=1e-12,
        converter=above_0("eps", "Use SAM for a denominator without it."),
    )
    placement: Placement = eqx.field(
        static=True, default=Placement.outside, converter=member("placement", Placement)
    )
    name: ClassVar[str] = "practical-sam"
    formula: ClassVar[str] = "g(w + rho g(w)/(‖g(w)‖ + eps))"
    source: ClassVar[str] = "Foret et al. 2021, arXiv 2010.01412, as implemented in davda54/sam"
    smooth: ClassVar[bool] = True
    by_gradients: ClassVar[bool] = True
    closed_forms: ClassVar[str] = "those of usam with rho/eps; window in eps; 2-cycle"

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w + rho a(g(w)))."""
        return loss.gradient(w + self.rho * self._ascent(loss.gradient(w)))

    def effective_rho(self, gradient_norm: float = 0.0) -> float:
        """Return rho over the denominator; at a critical point rho/eps."""
        inside, eps = self.placement is Placement.inside, float(self.eps)
        return float(self.rho) / (math.hypot(gradient_norm, eps) if inside else gradient_norm + eps)

    @property
    def has_second_derivative(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether eps stands inside of the root: ‖g‖ + eps has a kink."""
        return self.placement is Placement.inside

    @property
    def windows(self) -> tuple[str, ...]:
        """Both fields: it is rho/eps."""
        return ("rho", "eps")

    def cycle_radius(self, lam: float, *, lr: float, momentum: float, scheme: str) -> float:
        """Return the radius of SAM's 2-cycle, made smaller by eps; NaN where there is none."""
        from samflow import theory  # sympy is slow to import, and seldom needed

        at = {"rho": float(self.rho), "lr": lr, "momentum": momentum, "scheme": scheme}
        if not float(theory.cycle_radius(lam, **at)) > 0:
            return math.nan
        small = {"eps": float(self.eps), "placement": self.placement.name}
        gradient = float(theory.practical_cycle(lam, **at, **small))
        return gradient / lam if gradient > 0 else math.nan

    def ascent_step(self, loss: AbstractLoss) -> AscentStep | None:
        """Return SAM's with eps."""
        inside = self.placement is Placement.inside
        return AscentStep(float(self.rho), eps=float(self.eps), inside=inside)

    def _ascent(self, g: V) -> V:
        return _over(g, g, self.eps, self.placement)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return infinity: the rule has a Jacobian everywhere."""
        return everywhere(w)


class Scope(enum.IntEnum):
    """What a norm of `TensorSAM` runs over."""

    all = 0
    """All weights."""
    each = 1
    """The tensor at hand."""


def _shapes(value: Any) -> tuple[tuple[int, ...], ...] | None:
    if value is None:
        return None
    try:
        shapes = tuple(tuple(shape) for shape in value)
    except TypeError as error:
        raise _checks.ArgumentError(
            f"Argument `tensors` must be shapes, such as ((6, 3), (6,)), but is {value!r}."
        ) from error
    return tuple(tuple(_checks.count("tensors", n) for n in shape) for shape in shapes)


def _flags(value: Any) -> bool | tuple[bool, ...]:
    one = flag("scaled")
    return tuple(map(one, value)) if isinstance(value, (tuple, list)) else one(value)


class TensorSAM(AbstractMemorylessRule):
    """SAM with an ascent that knows the tensors of a network, as code has it.

    ====================  ===============================================================
    d(w)                  g(w + rho a), tensor by tensor:
    plain                 a = g/(‖g‖ + eps)
    `scaled`              a = T²g/(‖T g‖ + eps), T = diag(|w| + shift), as ASAM
    `centred`             a = P g/(‖g‖ + eps), as GCSAM
    ====================  ===============================================================

    T is 1 on tensors that are not scaled. P takes from each row of a tensor with two axes or more
    the row's mean, a row being all that has one first index, and leaves a tensor with one axis as
    it is. The norm runs over all weights, so that the ascent is no longer than rho where nothing
    is scaled; or over each tensor, and the ascent is as long as rho in each. eps stands where
    `placement` says, as for `PracticalSAM`.

    With eps > 0 the rule is differentiable everywhere, but with shift > 0 where a scaled weight
    passes 0 and its gradient does not vanish. With eps = 0 it is undefined where a norm that
    divides is 0: with `norm_scope="each"` where one tensor has no gradient.
    Source: eps and T as in davda54/sam and SamsungLabs/ASAM (Kwon et al. 2021, arXiv 2102.11600),
    P as in the code of Hassan et al. 2025 (arXiv 2501.11584).

    Attributes:
        rho: length of the ascent step, or of that in each tensor; a number where scaled.
        eps: ≥ 0; in units of the gradient, of weight times gradient where scaled.
        placement: "outside" or "inside".
        tensors: shapes of the tensors in their order, as `loss.weight_shapes` of a network; None:
            one with a single axis.
        norm_scope: "all" or "each".
        scaled: one flag a tensor, or one for all.
        shift: of T; has the unit of a weight.
        centred: whether P is applied; excludes `scaled`.

    """

    rho: Scalar = eqx.field(converter=radius)
    eps: Scalar = eqx.field(default=1e-12, converter=at_least_0("eps"))
    placement: Placement = eqx.field(
        static=True, default=Placement.outside, converter=member("placement", Placement)
    )
    tensors: tuple[tuple[int, ...], ...] | None = eqx.field(
        static=True, default=None, converter=_shapes
    )
    norm_scope: Scope = eqx.field(
        static=True, default=Scope.all, converter=member("norm_scope", Scope)
    )
    scaled: bool | tuple[bool, ...] = eqx.field(static=True, default=False, converter=_flags)
    shift: Scalar = eqx.field(default=0.0, converter=at_least_0("shift"))
    centred: bool = eqx.field(static=True, default=False, converter=flag("centred"))
    name: ClassVar[str] = "tensor-sam"
    formula: ClassVar[str] = "g(w + rho a), a = T²g/(‖T g‖ + eps) or P g/(‖g‖ + eps), by tensors"
    source: ClassVar[str] = "davda54/sam, SamsungLabs/ASAM (arXiv 2102.11600) and relatives"
    smooth: ClassVar[bool] = True

    def __check_init__(self) -> None:
        if isinstance(self.scaled, tuple) and len(self.scaled) != len(self.tensors or ((),)):
            raise _checks.ArgumentError(
                f"Argument `scaled` must have one flag per tensor, {len(self.tensors or ((),))}, "
                f"but has {len(self.scaled)}."
            )
        if self.centred and self._any_scaled:
            raise _checks.ArgumentError(
                "Argument `centred` must be False if tensors are scaled, but is True."
            )

    @property
    def has_second_derivative(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether eps stands inside of the root: ‖g‖ + eps has a kink."""
        return self.placement is Placement.inside

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return g(w + rho a); NaN where undefined."""
        return loss.gradient(w + self.rho * self._ascent(w, loss.gradient(w)))

    def ascent_length(self, w: Any) -> float:
        """Return rho, times the largest scale where a tensor is scaled."""
        return float(self.rho * jnp.max(jnp.abs(jnp.asarray(self._scale(w)))))

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return the least norm that divides, if eps = 0, or what `ASAM` returns near a kink."""
        g = loss.gradient(w)
        t, parts = self._scale(w), self._parts(w)
        divisors = [norm(p) for p in ([t * g] if self.norm_scope is Scope.all else parts(t * g))]
        smallest = jnp.where(self.eps > 0, everywhere(w), least(*divisors))
        if not self._any_scaled:
            return smallest
        kinks = [
            kink_distance(self.shift, x, gradient)
            for scaled, x, gradient in zip(self._flags(w), parts(w), parts(g), strict=True)
            if scaled
        ]
        nearest = least(*kinks)
        return least(smallest, jnp.where(nearest < jnp.inf, nearest * norm(g), jnp.inf))

    def _ascent(self, w: V, g: V) -> V:
        t = self._scale(w)
        along = self._centred(g) if self.centred else t * g
        if self.norm_scope is Scope.all:
            return t * _over(along, t * g, self.eps, self.placement)
        split = self._parts(w)
        each = zip(split(along), split(t * g), strict=True)
        return t * _join([_over(a, b, self.eps, self.placement) for a, b in each])

    def _scale(self, w: V) -> V | float:
        """Return T's diagonal."""
        if not self._any_scaled:
            return 1.0
        parts = zip(self._flags(w), self._parts(w)(w), strict=True)
        ones = lambda p: elementwise(jnp.ones_like, p)  # noqa: E731
        return _join([abs(p) + self.shift if scaled else ones(p) for scaled, p in parts])

    def _centred(self, g: V) -> V:
        """Return P g."""
        parts = zip(self._parts(g)(g), self._shapes(g), strict=True)
        return _join([_by_rows(p, shape[0]) if len(shape) > 1 else p for p, shape in parts])

    @property
    def _any_scaled(self) -> bool:
        return any(self.scaled) if isinstance(self.scaled, tuple) else self.scaled

    def _flags(self, w: Vector) -> tuple[bool, ...]:
        if isinstance(self.scaled, tuple):
            return self.scaled
        return (self.scaled,) * len(self._shapes(w))

    def _shapes(self, w: Vector) -> tuple[tuple[int, ...], ...]:
        return ((len(w),),) if self.tensors is None else self.tensors

    def _parts(self, w: Vector) -> Any:
        """Return the function that splits a vector as long as `w` into its tensors."""
        ends = [0, *itertools.accumulate(math.prod(shape) for shape in self._shapes(w))]
        if ends[-1] != len(w):
            raise _checks.ArgumentError(
                f"Argument `tensors` must hold as many numbers as there are weights, {len(w)}, but "
                f"holds {ends[-1]}."
            )
        return lambda v: [v[begin:end] for begin, end in itertools.pairwise(ends)]


class FirstMemory(enum.IntEnum):
    """What a memory becomes in the first step."""

    blended = 0
    """decay · 0 + (1 − decay) g: the memory is 0 at first, and forgets that as all else."""
    gradient = 1
    """g"""


class PracticalFSAM(AbstractRule):
    """F-SAM as its code has it: d = g(w + rho u/(‖u‖ + eps)), u = g(w) − sigma m.

    m⁺ = decay m + (1 − decay) g(w), as of `FSAM`; with `first="gradient"` a memory that is 0 in
    every coordinate is taken for none, and m⁺ = g(w). `rho` is a length in weight space, `eps` > 0
    a length of gradients, `sigma` ≥ 0 and `decay` in [0, 1) are numbers.

    Defined everywhere, and differentiable but for a jump of m⁺ at m = 0 with `first="gradient"`;
    as `PracticalSAM` it has Jacobians of order 1/eps where ‖u‖ is of order eps, which it is at
    rest with sigma = 1.
    Source: nblt/F-SAM, utils.py, the code of Li et al. 2024 (arXiv 2403.12350), with the defaults
    of its run.sh.
    """

    rho: Scalar = eqx.field(converter=radius)
    sigma: Scalar = eqx.field(default=1.0, converter=at_least_0("sigma"))
    decay: Scalar = eqx.field(default=0.6, converter=fraction("decay"))
    eps: Scalar = eqx.field(
        default=1e-12,
        converter=above_0("eps", "Use FSAM for a denominator without it."),
    )
    placement: Placement = eqx.field(
        static=True, default=Placement.outside, converter=member("placement", Placement)
    )
    first: FirstMemory = eqx.field(
        static=True, default=FirstMemory.gradient, converter=member("first", FirstMemory)
    )
    name: ClassVar[str] = "practical-f-sam"
    formula: ClassVar[str] = (
        "g(w + rho u/(‖u‖ + eps)), u = g(w) − sigma m, m⁺ = decay m + (1 − decay) g(w), first g(w)"
    )
    source: ClassVar[str] = "Li, Zhou, He, Cheng, Huang 2024, arXiv 2403.12350, as in nblt/F-SAM"
    smooth: ClassVar[bool] = False
    num_memories: ClassVar[int] = 1

    @property
    def has_second_derivative(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether eps stands inside of the root: ‖g‖ + eps has a kink."""
        return self.placement is Placement.inside

    def step(self, loss: AbstractLoss, w: V, memory: V) -> tuple[V, V]:
        """Return d and m⁺."""
        g = loss.gradient(w)
        u = g - self.sigma * memory
        d = loss.gradient(w + self.rho * _over(u, u, self.eps, self.placement))
        kept: Any = self.decay
        if self.first is FirstMemory.gradient:
            kept = jnp.where(largest(abs(memory)) == 0, 0.0, self.decay)
        return d, kept * memory + (1 - kept) * g

    def init(self, loss: AbstractLoss, w: V) -> V:
        """Return 0."""
        return 0.0 * w

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector) -> Scalar:
        """Return max|mᵢ| where m⁺ jumps at m = 0, and else infinity."""
        return largest(abs(memory)) if self.first is FirstMemory.gradient else everywhere(w)


def _over(v: V, u: V, eps: Scalar, placement: Placement) -> V:
    """Return v/(‖u‖ + eps), or with eps inside the root; v must vanish where u does."""
    # In units of a scale that is no part of the result, nor of its derivative.
    scale = jax.lax.stop_gradient(jnp.maximum(largest(abs(u)), eps))
    u, v, eps = u / scale, v / scale, eps / scale
    if placement is Placement.inside:
        return v / jnp.sqrt(inner(u, u) + eps * eps)
    return v / (_length(u) + eps)


def _join(parts: list[Any]) -> Any:
    """Stack vectors in one layout."""
    if isinstance(parts[0], Components):
        return Components(*itertools.chain(*parts))
    return jnp.concatenate(parts)


def _by_rows(v: Any, rows: int) -> Any:
    """Return `v`, made of rows of one length, less each row's mean."""
    if isinstance(v, Components):
        size = len(v) // rows
        each = [v[i : i + size] for i in range(0, len(v), size)]
        return _join([row - mean(row) for row in each])
    table = v.reshape(rows, -1)
    return (table - table.mean(axis=1, keepdims=True)).reshape(-1)


def _length(u: Vector) -> Any:
    """Return ‖u‖ with the derivative 0 at u = 0.

    There is none at 0. In u/(‖u‖ + eps) it is multiplied by u, so that any number in its place
    gives the right derivative, and NaN a wrong one; √ is kept from 0, since 0·∞ is NaN. The value
    is ‖u‖ everywhere.
    """
    square = inner(u, u)
    zero = square == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))
