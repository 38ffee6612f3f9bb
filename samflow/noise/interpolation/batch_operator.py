"""The operator P ↦ E[J P Jᵀ] of GD and USAM on a batch, and its spectral radius.

A step is z⁺ = J z with J = J₀ + N A C, where A = H_B(I + ρH_B) acts on the weights that C picks out
of the state, and J₀ and N hold step size, momentum and weight decay. So

    E[J P Jᵀ] = J₀PJ₀ᵀ + N Ā CPJ₀ᵀ + (N Ā CPJ₀ᵀ)ᵀ + N E[A CPCᵀ A] Nᵀ,

and the expectations come from `BatchMoments`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs, eigsh

from samflow import _checks
from samflow._types import NumpyArray
from samflow.noise.interpolation.batch_moments import (
    BatchMoments,
    symmetric_basis,
    to_matrix,
    to_vector,
)
from samflow.systems.gradient_noise import MiniBatch
from samflow.systems.stochastic_map import StochasticMap

DENSE_SIZE = 30
"""Up to this many coordinates of the state in the span, the operator is formed as a matrix."""

_MOST_RESTARTS = 30
"""Largest number of iterations of ARPACK. If many directions have little curvature, the spectrum
clusters at 1 and ARPACK does not converge."""

_MOST_POWERS = 200
"""Steps of power iteration after ARPACK has given up; the residual says how good they were."""

Operator = Callable[[NumpyArray], NumpyArray]


class Perron(NamedTuple):
    """The leading eigenvalue of an operator that preserves positive semidefinite matrices.

    Attributes:
        radius: r, the spectral radius, itself an eigenvalue.
        mode: its eigenmatrix, symmetric, of Frobenius norm 1: the shape to which E[zzᵀ] tends.
        residual: ‖T(P) − rP‖_F, from a fresh product.
        method: "dense" or "lanczos", or "arnoldi" where T is not self-adjoint.

    """

    radius: float
    mode: NumpyArray
    residual: float
    method: str


class Update(NamedTuple):
    """Coefficients of one step, as small matrices over the parts (w,) or (w, v) of a state.

    Attributes:
        still: J₀, shape (parts, parts): the step where the gradient is 0.
        moved: N, shape (parts,): what a unit of the direction adds.
        rho: radius of the ascent; 0 for GD.
        fresh: whether the descent has a batch of its own.

    """

    still: NumpyArray
    moved: NumpyArray
    rho: float
    fresh: bool

    @property
    def self_adjoint(self) -> bool:
        """Whether every J is symmetric, and with it the operator in the trace product."""
        return len(self.moved) == 1 and not (self.fresh and self.rho)


def has_closed_form(system: StochasticMap) -> bool:
    """Say whether the rule is one whose expectations are known exactly: GD or USAM."""
    return system.map.rule.ascent.is_linear


def batches(system: StochasticMap) -> MiniBatch:
    """Return how the batches are drawn; refuse another kind of noise."""
    if not isinstance(system.noise, MiniBatch):
        raise _checks.ArgumentError(
            "Argument `system` must draw mini-batches, but has "
            f"{system.noise.describe()}, whose steps all have the same Jacobian. Use "
            "`sf.noise.MiniBatch(1)`."
        )
    return system.noise


def update(system: StochasticMap) -> Update:
    """Return the step of a GD or USAM system as an `Update`."""
    inner, rho = system.map, system.map.rule.effective_rho()
    lr = float(inner.lr)
    decay = 0.0 if inner.weight_decay is None else float(inner.weight_decay)
    if inner.momentum is None:
        return Update(np.array([[1 - lr * decay]]), np.array([-lr]), rho, system.fresh)
    beta = float(inner.momentum)
    weight = 1 + beta if inner.nesterov else 1.0  # of the new direction, in the move of w
    kept = beta**2 if inner.nesterov else beta
    still = np.array([[1 - lr * weight * decay, -lr * kept], [decay, beta]])
    return Update(still, np.array([-lr * weight, 1.0]), rho, system.fresh)


def operator(moments: BatchMoments, step: Update) -> Operator:
    """Return P ↦ E[J P Jᵀ] on symmetric matrices, shape (parts·m, parts·m)."""
    m = moments.size
    mean, square = _mean_and_square(moments, step)
    parts = len(step.moved)

    def apply(p: NumpyArray) -> NumpyArray:
        blocks = p.reshape(parts, m, parts, m).swapaxes(1, 2)  # [i, j] is an (m, m) block
        carried = np.einsum("ai,ijxy,bj->abxy", step.still, blocks, step.still)
        seen = np.einsum("jxy,bj->bxy", blocks[0], step.still)  # C P J₀ᵀ, block by block
        mixed = step.moved[:, None, None, None] * np.matmul(mean, seen)[None]
        noise = np.multiply.outer(np.outer(step.moved, step.moved), square(blocks[0, 0]))
        total = carried + mixed + mixed.swapaxes(0, 1).swapaxes(2, 3) + noise
        whole = total.swapaxes(1, 2).reshape(parts * m, parts * m)
        return (whole + whole.T) / 2

    return apply


def _mean_and_square(moments: BatchMoments, step: Update) -> tuple[NumpyArray, Operator]:
    """Return Ā = E[A] and X ↦ E[A X Aᵀ], A = H_B(I + ρH_B)."""
    h, rho = moments.hessian, step.rho
    same = moments.squared_hessian if rho and not step.fresh else h @ h
    mean = h + rho * same if rho else h

    def square(x: NumpyArray) -> NumpyArray:
        """Return E[A X Aᵀ]."""
        if not rho:
            return moments.pair(x)
        if step.fresh:
            return moments.pair(x + rho * (h @ x + x @ h) + rho**2 * moments.pair(x))
        return moments.pair(x) + rho * moments.triple(x) + rho**2 * moments.quadruple(x)

    return mean, square


def as_matrix(apply: Operator, size: int) -> NumpyArray:
    """Return an operator on symmetric matrices in `symmetric_basis`, shape (D, D)."""
    return np.stack([to_vector(apply(x)) for x in symmetric_basis(size)], axis=1)


def leading(apply: Operator, size: int, *, self_adjoint: bool, tol: float) -> Perron:
    """Return the spectral radius of an operator that maps positive semidefinite matrices to such.

    Such an operator has its spectral radius for an eigenvalue, with a positive semidefinite
    eigenmatrix (Krein and Rutman 1948), so that the largest real eigenvalue is what is wanted.
    """
    if size <= DENSE_SIZE:
        return checked(apply, *_dense(as_matrix(apply, size), size, self_adjoint), "dense")
    found = _krylov(apply, size, self_adjoint, tol)
    return checked(apply, *found, "lanczos" if self_adjoint else "arnoldi")


def critical_lr(moments: BatchMoments, step: Update, *, tol: float) -> tuple[float, float]:
    """Return the largest stable step size of a self-adjoint T, and the error its residual allows.

    T = I − ηC + η²D with C(P) = ĀP + PĀ and D(P) = E[APA] has its spectrum below 1 iff
    η ≤ 1/λmax(C^{-1/2} D C^{-1/2}), of which C is diagonal in the eigenvectors of Ā. In contrast
    to T at that η, whose eigenvalues crowd at 1, the largest eigenvalue here stands alone.
    Source: Mulayoff and Michaeli 2023 (arXiv 2306.07850) for SGD.
    """
    mean, square = _mean_and_square(moments, step)
    values, vectors = np.linalg.eigh(mean)
    if not values[0] > 0:
        return 0.0, 0.0
    if moments.has_tables and not step.fresh:
        rho, m = step.rho, moments.size
        noise = moments.matrix("pair")
        if rho:
            noise = noise + rho * moments.matrix("triple") + rho**2 * moments.matrix("quadruple")
        drift = as_matrix(lambda p: mean @ p + p @ mean, m)
        last = len(noise) - 1
        top = eigh(noise, drift, eigvals_only=True, subset_by_index=(last, last))
        return float(1 / top[0]), 0.0
    scale = 1 / np.sqrt(values[:, None] + values[None, :])

    def apply(p: NumpyArray) -> NumpyArray:
        image = vectors.T @ square(vectors @ (scale * p) @ vectors.T) @ vectors
        image = scale * image
        return (image + image.T) / 2

    found = leading(apply, moments.size, self_adjoint=True, tol=tol)
    return 1 / found.radius, found.residual / found.radius**2


def checked(apply: Operator, radius: float, mode: NumpyArray, method: str) -> Perron:
    """Return a pair with its residual, from a fresh product."""
    residual = float(np.linalg.norm(apply(mode) - radius * mode))
    return Perron(float(radius), mode, residual, method)


def _dense(matrix: NumpyArray, size: int, self_adjoint: bool) -> tuple[float, NumpyArray]:
    if not np.isfinite(matrix).all():
        return np.nan, np.full((size, size), np.nan)
    if self_adjoint:
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        return values[-1], _oriented(to_matrix(vectors[:, -1], size))
    values, vectors = np.linalg.eig(matrix)
    place = np.argmax(np.abs(values))
    # Of several eigenvalues on the circle one is real, with a semidefinite eigenmatrix.
    tied = np.abs(values) >= np.abs(values[place]) * (1 - 1e-9)
    place = np.argmax(np.where(tied, np.real(values), -np.inf))
    mode = to_matrix(np.real(vectors[:, place]), size)
    return float(np.abs(values[place])), _oriented(mode / np.linalg.norm(mode))


def _krylov(apply: Operator, size: int, self_adjoint: bool, tol: float) -> tuple[float, NumpyArray]:
    def product(v: NumpyArray) -> NumpyArray:
        x = v.reshape(size, size)
        return apply((x + x.T) / 2).ravel()

    start = np.eye(size).ravel()
    if not np.isfinite(product(start)).all():
        return np.nan, np.full((size, size), np.nan)
    linear = LinearOperator((size**2, size**2), matvec=product, dtype=float)  # pyright: ignore[reportCallIssue]
    settings: Any = {
        "tol": tol,
        "k": 1,
        "v0": start,
        "ncv": min(40, size**2),
        "maxiter": _MOST_RESTARTS,
    }
    try:
        if self_adjoint:
            found: Any = eigsh(linear, which="LA", **settings)
        else:
            found = eigs(linear, which="LR", **settings)
    except ArpackNoConvergence:
        return _power(product, start, size)
    values, vectors = found
    mode = np.real(vectors[:, 0]).reshape(size, size)
    mode = (mode + mode.T) / 2
    return float(np.real(values[0])), _oriented(mode / np.linalg.norm(mode))


def _power(product: Operator, start: NumpyArray, size: int) -> tuple[float, NumpyArray]:
    """Return the result of a fixed number of power iterations; the residual shows its error."""
    x, radius = start / np.linalg.norm(start), 0.0
    for _ in range(_MOST_POWERS):
        image = product(x)
        radius = float(np.linalg.norm(image))
        if radius == 0:
            break
        x = image / radius
    return radius, x.reshape(size, size)


def _oriented(mode: NumpyArray) -> NumpyArray:
    return mode if np.trace(mode) >= 0 else -mode
