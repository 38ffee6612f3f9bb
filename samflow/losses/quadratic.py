"""The quadratic loss with its eigenvalues as leaves, so that one program sweeps over saddles."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samflow import _checks
from samflow._components import in_layout_of, inner
from samflow._types import Box, Matrix, Point, Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.losses.expression import ExpressionLoss


def _eigenvalues(value: Any) -> Array:
    parts = value if isinstance(value, (list, tuple)) else (value,)
    known = not any(map(_checks.is_traced, parts))
    try:
        lams = jnp.asarray(_checks.real_numbers(value) if known else value, dtype=float)
    except TypeError as error:
        raise _checks.ArgumentError(
            f"Argument `lams` must hold finite numbers, one for each weight, but is "
            f"{_checks.excerpt(value)} ({error})."
        ) from error
    if lams.ndim != 1 or not lams.size or (known and not np.isfinite(np.asarray(lams)).all()):
        raise _checks.ArgumentError(
            "Argument `lams` must hold finite numbers, one for each weight, but is "
            f"{_checks.excerpt(value)}."
        )
    return lams


class Quadratic(AbstractLoss):
    """L(w) = ½ Σᵢ λᵢwᵢ², whose eigenvalues λ are a leaf: swept, mapped over, differentiated.

    >>> Quadratic((2.0, -0.5)).gradient(jnp.array([1.0, 4.0])).tolist()
    [2.0, -2.0]

    `zoo.saddle` is the same loss as a formula, for symbols and proofs, with λ fixed.

    Attributes:
        lams: eigenvalues of the Hessian, one per axis; finite.

    """

    lams: Float[Array, " dim"] = eqx.field(converter=_eigenvalues)
    name: str = eqx.field(static=True, default="quadratic")
    domain: Box | None = eqx.field(static=True, default=None)
    elementwise: bool = eqx.field(static=True, default=True)

    @property
    def dim(self) -> int:
        """Number of weights."""
        return len(self.lams)

    def __call__(self, w: Vector) -> Scalar:
        """Return L(w); for `Components`, one value per point."""
        return 0.5 * inner(w, self.gradient(w))

    def gradient(self, w: V) -> V:
        """Return g(w) = λw, axis by axis, in the layout of `w`."""
        return in_layout_of(w, self.lams) * w

    def hessian(self, w: Point) -> Matrix:
        """Return H = diag(λ), shape (dim, dim), the same at every `w`."""
        return jnp.diag(self.lams)


def is_quadratic(loss: AbstractLoss) -> bool:
    """Say whether a loss is known to be a quadratic polynomial."""
    return isinstance(loss, Quadratic) or (isinstance(loss, ExpressionLoss) and loss.is_quadratic)
