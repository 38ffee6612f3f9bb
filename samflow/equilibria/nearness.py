"""Whether a point is a fixed point, or has no Jacobian, and what it is by its growth rates."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array

from samflow._status import Kind
from samflow._types import ArrayLike
from samflow.equilibria._units import bending_length
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem

_SINGULAR_DISTANCE = 1e-9
"""A point this near to a singular point of the rule, relative to ‖w‖ and the rule's own length, is
taken to be at it: floating point does not resolve a critical point better when its Hessian's
condition is 1e6."""
_SINGULAR_GRADIENT = 1e-6
"""A rule whose distance from a singularity is more than this part of ‖H‖ times that length is not
at it."""
_ROUNDED_ZERO = 1e-13
"""On a quadratic, which has no length, this near to a fixed point counts as at it."""
UNCERTAIN = 10.0
"""An eigenvalue may be off by so many times the change of the Jacobian over a Newton step."""
EIGENVALUE_ERROR = 1e-13
"""Rounding error of an eigenvalue, relative to the norm of its matrix."""


def is_singular(hessian: np.ndarray, gradient: np.ndarray, singularity: float, size: float) -> bool:
    """Say whether a point is, to rounding, a critical point at which the rule has no Jacobian."""
    if not newton_step(hessian, gradient)[1] <= _SINGULAR_DISTANCE * size:
        return False
    # m-SAM can be smooth at a critical point of the mean: its singularities are the shards' own.
    return singularity <= _SINGULAR_GRADIENT * np.abs(hessian).max() * size


def bends_sharply(system: Any, z: ArrayLike, length: float) -> bool:
    """Say whether `z` is at a critical point at which the rule has no second derivative.

    There no normal form is made of derivatives, although some come out as numbers.

    Args:
        system: a map or a flow, or another system.
        z: the state.
        length: of weights, beside which the distance to the critical point is judged.

    """
    rule = getattr(system, "rule", None)
    if rule is None or rule.has_second_derivative:
        return False
    w = system.position(jnp.asarray(z))
    gradient, hessian = (np.asarray(of(w)) for of in (system.loss.gradient, system.loss.hessian))
    return bool(np.abs(gradient).max() <= _SINGULAR_GRADIENT * np.abs(hessian).max() * length)


def is_near(system: AbstractSystem, z: Array, distance: float, tol: float) -> bool:
    """Say whether a fixed point at this distance is near by the system's own length."""
    if not np.isfinite(distance):
        return False
    assert isinstance(system, (AbstractMap, AbstractFlow))
    length = bending_length(system, z)
    return distance <= (tol * length if length > 0 else _ROUNDED_ZERO)


def kind_of(growth: np.ndarray, neutral: float | np.ndarray) -> Kind:
    """Return the kind of a fixed point from its growth rates: |μ| − 1, or Re of eigenvalues.

    A rate within `neutral` of 0, one number or one for each rate, may have either sign.
    """
    if not np.isfinite(growth).all():
        return Kind.undefined
    if (np.abs(growth) <= neutral).any():
        return Kind.nonhyperbolic
    if (growth < 0).all():
        return Kind.attracting
    return Kind.repelling if (growth > 0).all() else Kind.saddle


def spectrum_and_shifts(jacobian: np.ndarray, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues and how far each may be off, by the change to a Jacobian beside.

    One eigenvalue can be 10⁶ and change with the point in its first digits while the others are
    about 1 and do not change: the norm of the change ΔJ says nothing of those. An entry of J off by
    no more than that of ΔJ moves an eigenvalue, to first order, by |y|ᵀ|ΔJ||x|/|yᴴx| with its left
    and right eigenvectors. Where these are nearly orthogonal, as at a double eigenvalue, that is no
    bound of use, and the norm stands.
    """
    change = beside - jacobian
    if not np.isfinite(change).all():
        return np.linalg.eigvals(jacobian).astype(complex), np.full(len(jacobian), np.inf)
    found: Any = scipy.linalg.eig(jacobian, left=True, right=True)
    spectrum, left, right = found
    across = np.einsum("ik,ij,jk->k", np.abs(left), np.abs(change), np.abs(right))
    along = np.abs(np.einsum("ik,ik->k", left.conj(), right))
    norm = float(np.linalg.norm(change))
    shifts = np.divide(across, along, out=np.full(len(along), np.inf), where=along > 0)
    return spectrum.astype(complex), UNCERTAIN * np.minimum(shifts, norm)


def newton_step(matrix: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the least-squares step −δ to the zero of an equation, and how far that is.

    What the step leaves over, where the matrix is singular, counts in units of ‖matrix‖.
    """
    if not (np.isfinite(matrix).all() and np.isfinite(residual).all()):
        return np.zeros_like(residual), float("inf")
    step = np.linalg.lstsq(matrix, residual, rcond=1e-12)[0]
    left = np.linalg.norm(residual - matrix @ step)
    scale = np.linalg.norm(matrix, 2)
    rest = 0.0 if left == 0 else left / scale if scale > 0 else float("inf")
    return step, float(np.linalg.norm(step) + rest)


def eigvalsh(hessian: np.ndarray) -> np.ndarray:
    """Return the eigenvalues, NaN of a matrix that is not finite."""
    finite = np.isfinite(hessian).all()
    return np.linalg.eigvalsh(hessian) if finite else np.full(len(hessian), np.nan)
