"""The mean gradient over a Gaussian around the weights."""

import functools
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from samflow import _checks
from samflow._components import in_layout_of
from samflow._types import Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules._common import everywhere, over, radius
from samflow.rules.base import AbstractMemorylessRule

_NODES = 3
_MOST_NODES = 64
"""Of one axis: numpy vouches for its Gauss–Hermite rules up to 100."""
_MOST_POINTS = 4096


def _count(value: Any) -> int | None:
    nodes = None if value is None else _checks.count("nodes", value)
    if nodes is not None and nodes > _MOST_NODES:
        raise _checks.ArgumentError(
            f"Argument `nodes` must be at most {_MOST_NODES}, but is {nodes}."
        )
    return nodes


def _sample(value: Any) -> Array | None:
    if value is None:
        return None
    sample = jnp.asarray(value, dtype=float)
    if sample.ndim != 2 or not sample.size:
        raise _checks.ArgumentError(
            f"Argument `sample` must have shape (num_samples, dim), but has shape {sample.shape}. "
            "Use `AverageSAM.monte_carlo`, which draws one."
        )
    return sample


class AverageSAM(AbstractMemorylessRule):
    """Average-direction SAM: d(w) = E g(w + ε) over ε ~ N(0, rho² I/n), n the number of weights.

    The gradient of the loss smoothed by the Gaussian. `rho` is a length in weight space, the root
    mean square of ‖ε‖. The rule is as smooth as the gradient. On a quadratic loss it is GD;
    elsewhere d = g + (rho²/2n) ∇ΔL to second order in rho, so that it does not rest at a critical
    point as a rule. With rho = 0 it is GD up to rounding.

    =============  ===========================================================================
    `nodes`        a Gauss–Hermite rule with so many nodes along each axis: exact where g is a
                   polynomial of degree at most 2 nodes − 1 in each weight
    `sample`       the mean over ±z for every row z of a fixed sample of N(0, I): an error of
                   order 1/√(number of rows), and none where g is of first degree, or odd
                   about w
    =============  ===========================================================================

    Either way the rule is deterministic: all steps, and all members of an ensemble, share the
    points. One gradient a point: nodesⁿ, at most 4096, or twice the rows of the sample.
    Source: Zhu et al. 2023 (arXiv 2306.02913), who show that decentralised SGD tends to it, with
    the covariance of the workers in place of rho² I/n.

    Attributes:
        rho: root mean square of ‖ε‖.
        nodes: along each axis, at most 64; by default 3 where there is no sample.
        sample: shape (num_samples, n); `monte_carlo` draws one.

    Raises:
        ArgumentError: for nodes and a sample together. `direction` raises it for a loss with too
            many weights for the nodes, or another number than the sample has.

    """

    rho: Scalar = eqx.field(converter=radius)
    nodes: int | None = eqx.field(static=True, default=None, converter=_count)
    sample: Float[Array, "k dim"] | None = eqx.field(default=None, converter=_sample)
    name: ClassVar[str] = "average-sam"
    formula: ClassVar[str] = "E g(w + ε), ε ~ N(0, rho² I/n), n weights"
    source: ClassVar[str] = "Zhu, He, Chen, Song, Tao 2023, arXiv 2306.02913"
    smooth: ClassVar[bool] = True
    closed_forms: ClassVar[str] = "those of gd on the averaged loss (polynomials)"

    def __check_init__(self) -> None:
        if self.nodes is not None and self.sample is not None:
            raise _checks.ArgumentError(
                f"Argument `nodes` must be left out if there is a `sample`, but is {self.nodes}."
            )

    @staticmethod
    def monte_carlo(
        rho: Any, *, dim: int, num_samples: int = 64, key: PRNGKeyArray
    ) -> "AverageSAM":
        """Return the rule with a sample drawn from `key` once and for all.

        Row i depends on `key` and i alone: a larger sample keeps the first rows.
        """
        dim, num_samples = _checks.count("dim", dim), _checks.count("num_samples", num_samples)
        keys = jax.vmap(lambda i: jr.fold_in(key, i))(jnp.arange(num_samples))
        sample = jax.vmap(lambda k: jr.normal(k, (dim,)))(keys)
        return AverageSAM(rho=rho, sample=sample)

    def direction(self, loss: AbstractLoss, w: V) -> V:
        """Return the mean of g over the points."""
        points, weights = self._points(loss.dim)
        scale = self.rho / math.sqrt(loss.dim)
        gradients = over(lambda z: loss.gradient(w + scale * in_layout_of(w, z)), points)
        return jax.tree.map(functools.partial(_weighted, weights), gradients)

    def singularity(self, loss: AbstractLoss, w: Vector, memory: Vector | None = None) -> Scalar:
        """Return infinity: the rule is as smooth as the gradient."""
        return everywhere(w)

    def _points(self, dim: int) -> tuple[Any, Any]:
        """Return points of the standard Gaussian, one a row, and their weights."""
        if self.sample is None:
            nodes = _NODES if self.nodes is None else self.nodes
            points, weights = _gauss_hermite(nodes, dim)
            return jnp.asarray(points), jnp.asarray(weights)
        rows, columns = self.sample.shape
        if columns != dim:
            raise _checks.ArgumentError(
                f"Argument `sample` must have a column for each of {dim} weights, but has "
                f"{columns}."
            )
        points = jnp.concatenate([self.sample, -self.sample])
        return points, jnp.full(2 * rows, 0.5 / rows)


def _weighted(weights: Array, values: Array) -> Array:
    return jnp.tensordot(weights, values, 1, precision=jax.lax.Precision.HIGHEST)


@functools.lru_cache(maxsize=16)
def _gauss_hermite(nodes: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the product rule for N(0, I): points (nodes^dim, dim) and weights (nodes^dim,)."""
    if dim * math.log(nodes) > math.log(_MOST_POINTS) + 1e-9:
        raise _checks.ArgumentError(
            f"Argument `nodes` must give at most {_MOST_POINTS} points, but {nodes} along each of "
            f"{dim} axes give more. Use `AverageSAM.monte_carlo`."
        )
    x, weight = np.polynomial.hermite_e.hermegauss(nodes)
    points = np.stack(np.meshgrid(*[x] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    weights = np.stack(np.meshgrid(*[weight] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    weights = weights.prod(axis=1)
    return points, weights / weights.sum()
