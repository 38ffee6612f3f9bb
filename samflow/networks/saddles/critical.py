"""Critical points of small networks, to rounding."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike, NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import value
from samflow.networks.scales import problem_length

RANK = 1e-8
"""An eigenvalue counts as zero up to this times the largest modulus."""
_NUM_NEWTON = 20


class CriticalPointSearch(NamedTuple):
    """Where a search for a critical point ended: weights, ‖g‖ there, located or not."""

    w: Point
    gradient_norm: float
    status: Status


def critical_point(
    loss: AbstractLoss,
    w0: ArrayLike,
    *,
    basis: ArrayLike | None = None,
    tol: float = 1e-11,
    max_steps: int = 3000,
) -> CriticalPointSearch:
    """Minimise by BFGS, then bring ‖g‖ to rounding by Newton's method; for small networks.

    Newton's steps leave out the directions in which H vanishes to a part of 1e-8.

    Args:
        loss: any loss of up to some hundred weights: H is formed.
        w0: first weights.
        basis: orthonormal rows: the search stays in w0 + their span. Where the span is the fixed
            space of a symmetry of the loss, g lies in it, so that the minimum found there is a
            critical point of the whole loss.
        tol: the relative gradient, in all directions, that counts as a critical point: ‖g‖ over
            max|λ| and the length ‖w‖ + √(|L|/max|λ|), so that units do not matter.
        max_steps: of BFGS.

    Returns:
        Where it ended, with `residual_too_large` if the relative gradient is above `tol`. A
        minimum within the span, or rarely a saddle: Newton's method may turn to one from a poor
        end of BFGS.

    Raises:
        ArgumentError: in single precision; for `w0` or `basis` of a wrong shape.

    """
    _checks.double_precision("Finding a critical point")
    w0 = _checks.point("w0", w0, loss.dim)
    rows = np.eye(loss.dim) if basis is None else np.asarray(basis)
    rows = _checks.point("basis", rows, loss.dim, batched=True)
    tol = _checks.positive("tol", tol)
    rows = jnp.atleast_2d(rows)
    curvature, length = _scales(loss, w0)
    unit = curvature * length**2 or 1.0  # of the loss; with z in lengths BFGS has no units
    length = length or 1.0

    def scaled(z: NumpyArray) -> tuple[float, NumpyArray]:
        height, slope = _value_and_slope(loss, w0, rows, jnp.asarray(length * z))
        return float(height) / unit, np.asarray(slope) * (length / unit)

    found = scipy.optimize.minimize(
        scaled,
        np.zeros(len(rows)),
        jac=True,
        method="BFGS",
        options={"gtol": 1e-8, "maxiter": _checks.count("max_steps", max_steps)},
    )
    z = best = length * found.x
    least = np.inf
    for _ in range(_NUM_NEWTON):
        slope, curvature = (np.asarray(a) for a in _slope_and_curvature(loss, w0, rows, z))
        size = np.linalg.norm(slope)
        if not size < least:
            break
        best, least = z, size
        z = z - np.linalg.pinv(curvature, rcond=RANK, hermitian=True) @ slope
    w = w0 + jnp.asarray(best) @ rows
    size = float(np.linalg.norm(derivatives(loss, w)[0]))
    located = is_critical(loss, w, tol)
    return CriticalPointSearch(w, size, Status.located if located else Status.residual_too_large)


def is_critical(loss: AbstractLoss, w: Point, tol: float) -> bool:
    """Say whether ‖g‖ is at most `tol` times max|λ| and a length of the problem."""
    curvature, length = _scales(loss, w)
    return bool(np.linalg.norm(derivatives(loss, w)[0]) <= tol * curvature * length)


def _scales(loss: AbstractLoss, w: Point) -> tuple[float, float]:
    """Return max|λ| and a length of the problem at `w`."""
    curvature = float(np.abs(np.linalg.eigvalsh(derivatives(loss, w)[1])).max())
    weights, height = float(jnp.linalg.norm(w)), float(value(loss, w))
    return curvature, problem_length(weights, height, curvature)


def derivatives(loss: AbstractLoss, w: Point) -> tuple[NumpyArray, NumpyArray]:
    """Return g(w) and H(w), from one compiled program a kind of loss."""
    slope, curvature = _derivatives(loss, w)
    return np.asarray(slope), np.asarray(curvature)


@eqx.filter_jit
def _derivatives(loss: AbstractLoss, w: Point) -> tuple[Array, Array]:
    return loss.gradient(w), loss.hessian(w)


@eqx.filter_jit
def _value_and_slope(loss: AbstractLoss, w0: Point, rows: Array, z: Array) -> tuple[Array, Array]:
    w = w0 + z @ rows
    return loss(w), rows @ loss.gradient(w)


@eqx.filter_jit
def _slope_and_curvature(
    loss: AbstractLoss, w0: Point, rows: Array, z: Array
) -> tuple[Array, Array]:
    w = w0 + z @ rows
    return rows @ loss.gradient(w), rows @ loss.hessian(w) @ rows.T
