"""The step of a map on components, arranged so that XLA computes the first of two gradients once.

XLA on the CPU makes one loop for each output of a step. Each loop recomputes what it needs: every
coordinate of USAM's ascent point, and with it the first gradient. Here the ascent point is stored
instead, or, where the step is linearised, gradient and Hessian. For cheap gradients storing costs
more than it saves. benchmarks/ensembles.py and benchmarks/lyapunov.py measure the gain.
"""

import functools
from collections.abc import Callable
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp

from samflow._components import Components
from samflow._kernel import apart, stored
from samflow._types import Matrix, Point, Scalar, Vector
from samflow.losses import ExpressionLoss
from samflow.losses._factored import derivatives
from samflow.losses._tape import tape
from samflow.losses.base import AbstractDerivedLoss, AbstractLoss
from samflow.losses.expression import evaluate
from samflow.systems import AbstractMap, Map

_WORTHWHILE = 16
"""Operations of a gradient from which on storing gains (the quartic has 8, Beale 31)."""


class _WithBarrier(AbstractDerivedLoss):
    """A loss that takes its gradient at stored points, except at `origin`."""

    loss: AbstractLoss
    origin: Components

    def __call__(self, w: Point) -> Scalar:
        return self.loss(w)

    def gradient(self, w: Any) -> Any:
        assert isinstance(w, Components)
        here = all(a is b for a, b in zip(w, self.origin, strict=True))
        return self.loss.gradient(w if here else stored(w))

    def hessian(self, w: Point) -> Matrix:
        return self.loss.hessian(w)


class _Linearised(AbstractDerivedLoss):
    """A loss whose gradient is differentiated by its Hessian, which is computed with it."""

    loss: ExpressionLoss

    def __call__(self, w: Point) -> Scalar:
        return self.loss(w)

    def gradient(self, w: Any) -> Any:
        return Components(*_gradient(self.loss.gradient_formula, self.loss, tuple(w)))

    def hessian(self, w: Point) -> Matrix:
        return self.loss.hessian(w)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _gradient(formula: Any, loss: ExpressionLoss, w: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(evaluate(formula, loss.symbols, w))


@_gradient.defjvp
def _gradient_and_change(
    formula: Any, loss: ExpressionLoss, primals: tuple[Any], tangents: tuple[Any]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    n = len(formula)
    upper = [(i, j) for i in range(n) for j in range(i, n)]
    compute = _with_hessian(loss)
    values = (apart(compute) if jnp.ndim(primals[0][0]) else compute)(*primals[0])
    h = dict(zip(upper, values[n:], strict=True))
    rows = ([h[min(i, j), max(i, j)] for j in range(n)] for i in range(n))
    return values[:n], tuple(
        functools.reduce(jnp.add, (a * v for a, v in zip(row, tangents[0], strict=True)))
        for row in rows
    )


def _with_hessian(loss: ExpressionLoss) -> Callable[..., tuple[Any, ...]]:
    """Return the function of gradient and upper triangle of the Hessian, in few operations."""
    if loss.polynomial_system() is not None:
        return derivatives(loss.expression, loss.symbols).values
    hessian = cast(Any, loss.hessian_formula)
    upper = tuple(hessian[i, j] for i in range(loss.dim) for j in range(i, loss.dim))
    formulas = (*loss.gradient_formula, *upper)
    return lambda *w: tuple(evaluate(formulas, loss.symbols, w))


def _formula(loss: Any) -> tuple[Any, Any] | None:
    """Return the gradient's formula and its symbols, of a derived loss those of what it wraps."""
    while isinstance(loss, AbstractDerivedLoss):
        loss = loss.loss
    return (loss.gradient_formula, loss.symbols) if isinstance(loss, ExpressionLoss) else None


def step_with_barrier(
    system: AbstractMap, *, linearised: bool = False
) -> Callable[[Components], Vector]:
    """Return `system.step` on components, arranged for XLA where this is worth it.

    Args:
        system: the map.
        linearised: whether it is for `jax.linearize`.

    """
    if not isinstance(system, Map):
        return system.step
    loss = system.loss
    if linearised:
        if not isinstance(loss, ExpressionLoss):
            return system.step
        return eqx.tree_at(lambda s: s.loss, system, _Linearised(loss)).step
    return lambda z: with_barrier(system, z).step(z)


def with_barrier(system: Any, z: Components) -> Any:
    """Return a map or a flow, to be applied at z, that stores ascent points if it is worth it."""
    loss: Any = getattr(system, "loss", None)
    formula = _formula(loss)
    if formula is None or len(tape(*formula).operations) < _WORTHWHILE:
        return system
    return eqx.tree_at(lambda s: s.loss, system, _WithBarrier(loss, z[: loss.dim]))
