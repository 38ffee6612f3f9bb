"""Mean-square growth along one direction: a lower bound for networks of any size."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._types import ArrayLike, Point
from samflow.losses.eager import compiled
from samflow.losses.finite_sum import FiniteSum
from samflow.noise.interpolation.mean_square import NORMAL_95
from samflow.systems import Map
from samflow.systems.base import check_fixed


class MeanSquareAlong(NamedTuple):
    """The mean over mini-batches of (vᵀJ_B v)², J_B the Jacobian of a step on the batch B.

    Attributes:
        radius: the mean, an estimate from `num_batches` batches drawn without replacement.
        standard_error: of `radius`, over the batches.
        stability: "unstable", where the 95 % interval lies above 1; "undecided", where it reaches
            1 from above or below it; "no growth along v", where it lies below.
        batch_size: examples in a batch.
        num_batches: how many were drawn.

    """

    radius: float
    standard_error: float
    stability: str
    batch_size: int
    num_batches: int


def mean_square_along(
    system: Map,
    w: ArrayLike,
    v: ArrayLike,
    *,
    batch_size: int,
    num_batches: int = 64,
    key: PRNGKeyArray,
) -> MeanSquareAlong:
    """Bound the mean-square growth of mini-batch steps from below, by one direction.

    Near a minimum that fits every example T(P) = E[J_B P J_Bᵀ] is self-adjoint for GD and USAM
    without momentum, and ⟨vvᵀ, T(vvᵀ)⟩ = E[(vᵀJ_B v)²] at most its largest eigenvalue: above 1 the
    mean square grows. Below 1 nothing follows, since it may grow in other directions. At a point
    that does not fit every example this is the growth of perturbations only; the noise that acts at
    the point itself is left out.

    Args:
        system: a map without momentum, of a rule without a memory.
        w: weights, shape (dim,).
        v: direction, shape (dim,), of any length.
        batch_size: number of examples in a batch.
        num_batches: how many batches are drawn, each without replacement, at least 2.
        key: of the batches.

    Raises:
        ArgumentError: for a loss that is no mean over examples, a map with momentum, a batch
            larger than the data, a `w` or `v` of the wrong shape or not finite.

    Source: docs/theory, section 7.

    """
    _checks.instance("system", system, Map, "Use `sf.Map(loss, rule, lr=...)`.")
    check_fixed(system)
    if not isinstance(system.loss, FiniteSum):
        raise _checks.ArgumentError(
            "Argument `system` must have a loss that is a mean over examples, but "
            f"{system.loss.name} is not."
        )
    if system.state_dim != system.dim:
        raise _checks.ArgumentError(
            "Argument `system` must have no momentum and no memory: its step is then not symmetric."
        )
    n = system.loss.num_examples
    size = _checks.count("batch_size", batch_size)
    if size > n:
        raise _checks.ArgumentError(
            f"Argument `batch_size` must be at most the number of examples, {n}, but is {size}."
        )
    count = _checks.count("num_batches", num_batches, minimum=2)
    w, v = _checks.point("w", w, system.dim), _checks.point("v", v, system.dim)
    v = v / jnp.linalg.norm(v)
    squares = []
    for each in jr.split(key, count):
        chosen = jr.permutation(each, n)[:size]
        squares.append(float(_along(_on_batch(system, chosen), w, v)) ** 2)
    radius, error = float(np.mean(squares)), float(np.std(squares, ddof=1) / np.sqrt(count))
    return MeanSquareAlong(radius, error, _stability(radius, error), size, count)


def _on_batch(system: Map, indices: Any) -> Map:
    assert isinstance(system.loss, FiniteSum)
    return eqx.tree_at(lambda s: s.loss, system, system.loss.batch(indices))


@compiled
def _along(system: Map, w: Point, v: Point) -> jax.Array:
    """Return vᵀJv."""
    return jnp.vdot(v, jax.jvp(system.step, (w,), (v,))[1])


def _stability(radius: float, error: float) -> str:
    if radius - NORMAL_95 * error > 1:
        return "unstable"
    return "no growth along v" if radius + NORMAL_95 * error < 1 else "undecided"
