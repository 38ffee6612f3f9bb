"""Lanczos and Arnoldi with two-pass reorthogonalisation, driven from Python by one product.

Sources: Parlett, The Symmetric Eigenvalue Problem (1998), chapter 13 (Lanczos) and section 6.9
(two passes are enough); Saad, Numerical Methods for Large Eigenvalue Problems (2011), section 6.2
(Arnoldi).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh_tridiagonal

from samflow._types import NumpyArray
from samflow.losses.memory import vectors

_TESTED_ALWAYS = 40
_TESTED_EVERY = 10
_MARGIN = 0.1

Product = Callable[[NumpyArray], NumpyArray]
"""v ↦ Av for a real vector v."""


class Tridiagonal(NamedTuple):
    """What j steps of Lanczos made of a symmetric A: AV = VT + βⱼ vⱼ₊₁ eⱼᵀ, V orthonormal.

    Attributes:
        alpha: diagonal of T, shape (j,); its last entry is not finite where Av was not.
        beta: what lies below it, shape (j,); the last is βⱼ, outside T. It is 0 where the space
            that the start spans was exhausted.
        basis: V as rows, shape (j, dim); a view, which the next step continues.
        exhausted: whether βⱼ is rounding.

    """

    alpha: NumpyArray
    beta: NumpyArray
    basis: NumpyArray
    exhausted: bool

    @property
    def finite(self) -> bool:
        """Whether every product was finite."""
        return bool(np.isfinite(self.alpha[-1]))

    def ritz(self) -> tuple[NumpyArray, NumpyArray, NumpyArray]:
        """Return the Ritz values in ascending order, T's eigenvectors as columns, residuals."""
        values, parts = eigh_tridiagonal(self.alpha, self.beta[:-1])
        return values, parts, np.abs(self.beta[-1] * parts[-1])


def lanczos(
    product: Product, start: NumpyArray, *, max_steps: int, generator: np.random.Generator
) -> Iterator[Tridiagonal]:
    """Run Lanczos from `start` and yield after each step, one product a step.

    Once the space that the start spans is exhausted it goes on from a random vector outside, so
    that repeated eigenvalues are found in the end. It stops after `max_steps`, at most dim, or
    at a product that is not finite.
    """
    dim = len(start)
    basis = vectors(max_steps, dim)
    alpha, beta = np.zeros(max_steps), np.zeros(max_steps)
    q = start
    for j in range(max_steps):
        basis[j] = q / np.linalg.norm(q)
        image = product(basis[j])
        size = j + 1
        if not np.isfinite(image).all():
            alpha[j] = np.nan
            yield Tridiagonal(alpha[:size], beta[:size], basis[:size], False)
            return
        alpha[j] = basis[j] @ image
        q = orthogonal(image, basis[:size])
        beta[j] = np.linalg.norm(q)
        scale = max(np.abs(alpha[:size]).max(), beta[:j].max(initial=0.0))
        exhausted = bool(beta[j] <= np.finfo(float).eps * dim * scale)
        yield Tridiagonal(alpha[:size], beta[:size], basis[:size], exhausted)
        if exhausted and size < max_steps:
            beta[j] = 0.0
            q = orthogonal(generator.standard_normal(dim), basis[:size])


class Hessenberg(NamedTuple):
    """What j steps of Arnoldi made of A: AV = VH + h vⱼ₊₁ eⱼᵀ, V orthonormal.

    Attributes:
        matrix: H, shape (j, j).
        below: h, 0 at best; not finite where the last product was not.
        basis: V as rows, shape (j, dim).
        exhausted: whether h is rounding.

    """

    matrix: NumpyArray
    below: float
    basis: NumpyArray
    exhausted: bool

    @property
    def finite(self) -> bool:
        """Whether every product was finite."""
        return bool(np.isfinite(self.below))

    def ritz(self) -> tuple[NumpyArray, NumpyArray, NumpyArray]:
        """Return Ritz values by modulus, largest first, H's eigenvectors, and residuals."""
        values, parts = np.linalg.eig(self.matrix)
        order = np.lexsort((-np.imag(values), -np.abs(values)))
        values, parts = values[order].astype(complex), parts[:, order].astype(complex)
        return values, parts, np.abs(self.below * parts[-1])


def arnoldi(
    product: Product, start: NumpyArray, *, max_steps: int, generator: np.random.Generator
) -> Iterator[Hessenberg]:
    """Run Arnoldi from `start` and yield after each step; the twin of `lanczos` for any A."""
    dim = len(start)
    basis, matrix = vectors(max_steps, dim), np.zeros((max_steps + 1, max_steps))
    q = start
    for j in range(max_steps):
        basis[j] = q / np.linalg.norm(q)
        image = product(basis[j])
        size = j + 1
        if not np.isfinite(image).all():
            yield Hessenberg(matrix[:size, :size], np.nan, basis[:size], False)
            return
        q = orthogonal(image, basis[:size])
        matrix[:size, j] = basis[:size] @ (image - q)
        below = float(np.linalg.norm(q))
        exhausted = below <= np.finfo(float).eps * dim * np.linalg.norm(matrix[:size, :size])
        yield Hessenberg(matrix[:size, :size], below, basis[:size], bool(exhausted))
        matrix[size, j] = 0.0 if exhausted else below
        if exhausted and size < max_steps:
            q = orthogonal(generator.standard_normal(dim), basis[:size])


class Ritz(NamedTuple):
    """Where a run of Lanczos or Arnoldi ended.

    Attributes:
        values: Ritz values, in the order of the process; empty where a product was not finite.
        vectors: Ritz vectors as rows of length 1.
        num_steps: steps made, one product each.

    """

    values: NumpyArray
    vectors: NumpyArray
    num_steps: int


def settled(
    steps: Iterator[Tridiagonal] | Iterator[Hessenberg],
    wanted: Callable[[int], NumpyArray],
    *,
    tol: float,
    max_steps: int,
) -> Ritz:
    """Make steps until the wanted Ritz pairs have residuals below tol · max|θ|, or to the end.

    Residuals are the recurrence's, and tested after each of the first steps, later after every
    tenth: what a test costs grows with the square of the number of steps.

    Args:
        steps: of `lanczos` or `arnoldi`, at most `max_steps`.
        wanted: the indices of the wanted values among so many.
        tol: largest accepted residual. A tenth of it is asked for: rounding must not fail a fresh
            residual.
        max_steps: where the process ends.

    """
    for made in steps:
        size, least = len(made.basis), len(wanted(max_steps))
        if not made.finite:
            return Ritz(np.empty(0), np.empty((0, made.basis.shape[1])), size)
        due = size <= _TESTED_ALWAYS or size % _TESTED_EVERY == 0
        if size == max_steps or (due and size > least and not made.exhausted):
            values, parts, error = made.ritz()
            bound = _MARGIN * tol * np.abs(values).max()
            if size == max_steps or (error[wanted(size)] <= bound).all():
                return Ritz(values, _combined(parts, made.basis), size)
    raise AssertionError("the last step returns")


def _combined(parts: NumpyArray, basis: NumpyArray) -> NumpyArray:
    """Return partsᵀ basis without a complex copy of the basis."""
    if not np.iscomplexobj(parts):
        return parts.T @ basis
    return np.real(parts).T @ basis + 1j * (np.imag(parts).T @ basis)


def orthogonal(v: NumpyArray, basis: NumpyArray) -> NumpyArray:
    """Return `v` less its part in the span of the rows of `basis`; two passes are enough."""
    for _ in range(2):
        v = v - basis.T @ (basis @ v)
    return v
