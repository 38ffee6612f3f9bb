"""What a row of a monitor is made of: curvature, alignment, batches, all at one point."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow._random import numpy_generator
from samflow._status import Status
from samflow._types import NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.eager import compiled
from samflow.networks.monitoring.search import Pairs
from samflow.spectra.krylov import Product
from samflow.spectra.multipliers import CRITICAL
from samflow.spectra.spectrum import DENSE_DIM
from samflow.systems import AdaptiveMap, Map

_MOST_ERROR = 0.1
"""Up to this error a cosine is located."""

Row = dict[str, Any]


def formed(product: Product, dim: int) -> NumpyArray | None:
    """Return the matrix of products with unit vectors where there are few weights, else None.

    Its eigenvalues are then known without a search, which could miss one.
    """
    return np.stack([product(unit) for unit in np.eye(dim)]) if dim <= DENSE_DIM else None


def scaled(product: Product, preconditioner: NumpyArray, decay: float | NumpyArray) -> Product:
    """Return v ↦ P^(-1/2) (H + decay) P^(-1/2) v, decay a number or a diagonal."""
    root = np.sqrt(preconditioner)
    return lambda v: product(v / root) / root + decay * v / preconditioner


def alignment(g: NumpyArray, pairs: Pairs, size: float) -> Row:
    """Return |cos(g, v₁)| with its error and status; `size` is ‖w‖."""
    norm = float(np.linalg.norm(g))
    if not (np.isfinite(norm) and np.isfinite(pairs.scale)):
        return {"cosine": np.nan, "cosine_error": np.nan, "cosine_status": Status.not_finite}
    if norm <= CRITICAL * pairs.scale * size:
        return {"cosine": np.nan, "cosine_error": np.nan, "cosine_status": Status.no_gradient}
    error = float(pairs.residuals[0]) / pairs.gap if pairs.gap > 0 else np.inf
    status = Status.located if error <= _MOST_ERROR else Status.residual_too_large
    return {"cosine": cosine(g, pairs.first), "cosine_error": error, "cosine_status": status}


def cosine(a: NumpyArray, unit: NumpyArray) -> float:
    """Return |cos| of the angle between a vector and a unit vector; NaN for 0."""
    norm = float(np.linalg.norm(a))
    return float(min(abs(a @ unit) / norm, 1.0)) if norm > 0 else np.nan


@compiled
def direction(system: Map | AdaptiveMap, z: Point) -> Point:
    """Return d, the rule's direction at a state, without weight decay."""
    memory = z[system.state_dim - system.rule.num_memories * system.dim :]
    return system.rule.step(system.loss, system.position(z), memory)[0]


def batch_sharpness(
    loss: Any, w: Point, *, batch_size: int, num_batches: int, key: PRNGKeyArray, step: int
) -> tuple[float, float]:
    """Return E[gᵀHg]/E‖g‖² over batches, g and H of the batch, and its standard error.

    A step of lr g changes the loss of its batch by −lr‖g‖² + lr² gᵀHg/2 to second order: on average
    by nothing where this quotient is 2/lr. Batches are drawn anew at each step, without repetition
    inside a batch; (key, step) decide. NaN where every gradient is 0.

    Source: Andreyev, Beneventano 2024 (arXiv 2412.20553).
    """
    generator = numpy_generator(jr.fold_in(key, step))
    draws = [
        np.sort(generator.choice(loss.num_examples, batch_size, replace=False))
        for _ in range(num_batches)
    ]
    found = np.array([_along_gradient(loss, w, chosen) for chosen in draws], dtype=float)
    along, squared = found.T
    with np.errstate(invalid="ignore"):  # 0/0 where every gradient is 0
        quotient = along.mean() / squared.mean()
        rest = along - quotient * squared
        error = rest.std(ddof=1) / squared.mean() / np.sqrt(num_batches)
    return float(quotient), float(error)


@compiled
def _along_gradient(loss: Any, w: Point, chosen: Any) -> Any:
    batch: AbstractLoss = loss.batch(chosen)
    g = batch.gradient(w)
    return jnp.vdot(g, batch.hvp(w, g)), jnp.vdot(g, g)


@jax.jit
def second_difference(v: Any, w: Any, before: Any, earlier: Any) -> Any:
    """Return v·(w − 2w₋ + w₋₋)."""
    return jnp.vdot(v, w - 2 * before + earlier)
