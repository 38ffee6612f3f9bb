"""A loss near a minimum that fits every example: one small Hessian per example.

Each Hessian is kept as Hᵢ = Aᵢᵀ diag(σᵢ) Aᵢ with few rows Aᵢ, in coordinates of the span of all
rows. No step moves the directions orthogonal to that span.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._types import ArrayLike, NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.finite_sum import FiniteSum
from samflow.losses.network import NetworkLoss

HESSIAN_DIM = 200
"""Up to this many weights the Hessians of examples are formed; a network's rows have no limit."""

MOST_DIRECTIONS = 3000
"""A second moment holds the square of this many numbers, and Lanczos twenty of them."""

INTERPOLATION_TOL = 1e-6
"""How far an example's own minimum may be, relative to 1 + ‖w‖, where a point fits them all."""


class Linearisation(NamedTuple):
    """The Hessians of the examples, Hᵢ = Aᵢᵀ diag(σᵢ) Aᵢ, in an orthonormal basis of their span.

    Attributes:
        rows: A, shape (n, k, m): n examples, k rows each, m directions.
        signs: σ, shape (n, k): 1, or −1 for an example that curves down along that row.
        basis: the basis as rows, shape (m, dim).
        gradient_norm: max ‖gᵢ(w)‖ over the examples.
        misfit: max ‖gᵢ‖ / (max ‖Hᵢ‖ ‖w‖), dimensionless; 0 where every gradient is 0.

    """

    rows: NumpyArray
    signs: NumpyArray
    basis: NumpyArray
    gradient_norm: float
    misfit: float

    @property
    def num_examples(self) -> int:
        """Number n of examples."""
        return self.rows.shape[0]

    @property
    def span_dim(self) -> int:
        """Number m of directions in which some example curves."""
        return self.rows.shape[2]

    @property
    def interpolates(self) -> bool:
        """Whether the point is a minimum of every example, up to `INTERPOLATION_TOL`."""
        return self.misfit <= INTERPOLATION_TOL

    def hessians(self) -> NumpyArray:
        """Return Hᵢ in the basis, shape (n, m, m)."""
        return np.einsum("ika,ik,ikb->iab", self.rows, self.signs, self.rows)


def linearise(loss: AbstractLoss, w: ArrayLike) -> Linearisation:
    """Return the Hessians of the examples at `w`.

    For a network with squared loss Aᵢ = ∂f_w(xᵢ)/∂w, one row per output: this is the Hessian where
    the example is fitted exactly, and the Gauss–Newton matrix elsewhere. For other losses Hᵢ is
    formed and diagonalised.

    Raises:
        ArgumentError: for a loss that is no mean over examples, or too large; a `w` of the wrong
            shape; derivatives that are not finite; a point at which no example curves.

    """
    if not isinstance(loss, FiniteSum):
        raise _checks.ArgumentError(
            f"Argument `loss` must be a mean over examples, but {loss.name} is not. Use "
            "`sf.losses.mean` or `sf.losses.network`."
        )
    w = _checks.point("w", w, loss.dim)
    if isinstance(loss, NetworkLoss) and _is_least_squares(loss):
        rows, gradients = _network_rows(loss, w)
        signs = np.ones(rows.shape[:2])
    elif loss.dim <= HESSIAN_DIM:
        rows, signs, gradients = _hessian_rows(loss, w)
    else:
        raise _checks.ArgumentError(
            f"Argument `loss` must be a network with squared loss or have at most {HESSIAN_DIM} "
            f"weights, but {loss.name} has {loss.dim}."
        )
    if not (np.isfinite(rows).all() and np.isfinite(gradients).all()):
        raise _checks.ArgumentError(
            f"Argument `w` must be a point where the derivatives of every example of {loss.name} "
            "are finite, but some are not."
        )
    return _in_span(rows, signs, gradients, float(jnp.linalg.norm(w)))


def _in_span(
    rows: NumpyArray, signs: NumpyArray, gradients: NumpyArray, distance: float
) -> Linearisation:
    n, k, dim = rows.shape
    left, values, right = np.linalg.svd(rows.reshape(n * k, dim), full_matrices=False)
    kept = values > values[:1] * max(n * k, dim) * np.finfo(float).eps
    m = int(kept.sum())
    if m == 0:
        raise _checks.ArgumentError(
            "Argument `w` must be a point where the Hessian of some example is not 0, but all are "
            "0."
        )
    if m > MOST_DIRECTIONS:
        raise _checks.ArgumentError(
            f"Argument `loss` must have Hessians that span at most {MOST_DIRECTIONS} directions, "
            f"but they span {m}. Use fewer examples."
        )
    inside = (left[:, kept] * values[kept]).reshape(n, k, m)
    curvature = max(np.linalg.norm(part, 2) for part in inside) ** 2
    steepest = float(np.linalg.norm(gradients, axis=1).max())
    misfit = 0.0
    if steepest > 0:
        misfit = steepest / float(curvature * distance) if distance > 0 else np.inf
    return Linearisation(inside, signs, right[kept], steepest, misfit)


def _is_least_squares(loss: NetworkLoss) -> bool:
    return loss.options.criterion == "squared" and loss.options.weight_decay == 0


@eqx.filter_jit
def _outputs(loss: NetworkLoss, w: Point) -> tuple[jax.Array, jax.Array]:
    """Return ∂f_w(xᵢ)/∂w, shape (n, outputs, dim), and the residuals f_w(xᵢ) − yᵢ."""
    n = loss.num_examples

    def output(weights: Point, x: jax.Array) -> jax.Array:
        return jnp.ravel(loss.outputs(weights, x[None]))

    rows = jax.lax.map(lambda x: jax.jacrev(output)(w, x), loss.x, batch_size=64)
    return rows, (loss.predict(w) - loss.y).reshape(n, -1)


def _network_rows(loss: NetworkLoss, w: Point) -> tuple[NumpyArray, NumpyArray]:
    rows, residuals = (np.asarray(part) for part in _outputs(loss, w))
    return rows, np.einsum("ikd,ik->id", rows, residuals)


@eqx.filter_jit
def _examples(loss: AbstractLoss, w: Point) -> tuple[jax.Array, jax.Array]:
    assert isinstance(loss, FiniteSum)
    parts = loss.shards(1)
    return (
        jnp.stack([part.hessian(w) for part in parts]),
        jnp.stack([part.gradient(w) for part in parts]),
    )


def _hessian_rows(loss: AbstractLoss, w: Point) -> tuple[NumpyArray, NumpyArray, NumpyArray]:
    hessians, gradients = (np.asarray(part) for part in _examples(loss, w))
    if not np.isfinite(hessians).all():
        return hessians, np.ones(hessians.shape[:2]), gradients
    values, vectors = np.linalg.eigh(hessians)
    size = np.abs(values)
    size = np.where(size > size.max() * loss.dim * np.finfo(float).eps, size, 0.0)
    rank = max(1, int((size > 0).sum(axis=1).max()))
    order = np.argsort(-size, axis=1)[:, :rank]
    values, size = (np.take_along_axis(part, order, axis=1) for part in (values, size))
    vectors = np.take_along_axis(vectors, order[:, None, :], axis=2)
    rows = np.swapaxes(vectors * np.sqrt(size)[:, None, :], 1, 2)
    return rows, np.where(values < 0, -1.0, 1.0), gradients
