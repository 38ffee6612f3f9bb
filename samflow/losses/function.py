"""A loss given by any function in JAX."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from samflow._components import Components
from samflow._types import Box, Matrix, Point, Scalar
from samflow.losses.base import AbstractLoss


class FunctionLoss(AbstractLoss):
    """A loss computed by `function`, which takes an array (dim,) and returns a scalar.

    `function` may be an equinox module; its arrays are then leaves of the loss. What it closes
    over is a constant of the compiled program: pass large data as leaves.
    """

    function: Callable[[Point], Scalar]
    dim: int = eqx.field(static=True)
    name: str = eqx.field(static=True, default="function")
    domain: Box | None = eqx.field(static=True, default=None)
    elementwise: bool = eqx.field(static=True, default=False)

    def __call__(self, w: Point) -> Scalar:
        """Return L(w)."""
        return self.function(w)

    def gradient(self, w: Any) -> Any:
        """Return g(w) by reverse mode."""
        if isinstance(w, Components):
            points = jnp.stack(w.parts, axis=-1)
            gradients = jnp.vectorize(jax.grad(self.function), signature="(n)->(n)")(points)
            return Components(*(gradients[..., i] for i in range(self.dim)))
        return jax.grad(self.function)(w)

    def hessian(self, w: Point) -> Matrix:
        """Return H(w) by forward over reverse mode; costs dim Hessian-vector products."""
        return jax.hessian(self.function)(w)
