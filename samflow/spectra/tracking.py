"""The leading eigenpairs of a symmetric operator that changes slowly, from those of before."""

from typing import NamedTuple

import numpy as np

from samflow._types import NumpyArray
from samflow.losses.allocation import vectors
from samflow.spectra.krylov import Product, Ritz

GUARDS = 1
"""Eigenvectors that are carried along beyond those asked for. Without one, an eigenvalue that
overtakes the largest is seen late: by up to 6 % on digits at the edge of stability."""

_DEPENDENT = 1e-10
"""A vector of which no more than this part is outside the basis is in it."""


class Tracked(NamedTuple):
    """Leading Ritz pairs, largest first.

    Attributes:
        found: the pairs asked for.
        next: the largest Ritz value below those, a guard's; −inf if there is none.
        block: vectors as rows to start from where the operator has changed.

    """

    found: Ritz
    next: float
    block: NumpyArray


def track(
    product: Product, block: NumpyArray, *, count: int, tol: float, max_products: int
) -> Tracked:
    """Return the `count` algebraically largest eigenpairs, from vectors that are near to theirs.

    The space of `block` is widened by the residual of the first pair whose ‖Av − θv‖ exceeds
    tol · max|θ|: Davidson's method without a preconditioner. From a single random vector that is
    Lanczos with full reorthogonalisation; from eigenvectors of 50 steps of training earlier one
    to five more products do.

    Args:
        product: v ↦ Av, A symmetric.
        block: at least one row, shape (m, dim).
        count: how many pairs, at most dim.
        tol: largest accepted residual.
        max_products: of v ↦ Av, at least the number of rows of `block`, and `count`.

    Returns:
        A `Tracked`; NaN where a product was not finite. Residuals are those of the last space.

    Not guaranteed: that no eigenvalue farther out was missed; residuals do not show that.

    Source: Davidson (1975); Saad, Numerical Methods for Large Eigenvalue Problems (2011), 8.4.

    """
    dim, wanted = block.shape[1], count + GUARDS
    most = min(max(max_products, count, len(block)), dim)
    all_basis, all_images, size = vectors(most, dim), vectors(most, dim), 0
    generator, new = np.random.default_rng(0), list(block[:most])
    while True:
        for row in new:
            all_basis[size] = _outside(row, all_basis[:size], generator)
            all_images[size] = product(all_basis[size])
            size += 1
        basis, images = all_basis[:size], all_images[:size]
        if not np.isfinite(images).all():
            nan = np.full(count, np.nan)
            nothing = Ritz(nan, np.full((count, dim), np.nan), nan, np.nan, size)
            return Tracked(nothing, np.nan, block)
        small = _products(basis, images)
        values, parts = np.linalg.eigh((small + small.T) / 2)
        values, parts = values[::-1], parts[:, ::-1]
        found, scale = _combined(parts, basis), float(np.abs(values).max())
        rest = _combined(parts, images) - values[:, None] * found
        residuals = np.linalg.norm(rest, axis=1)
        bad = np.flatnonzero(~(residuals[:count] <= tol * scale))
        if size == most or (size >= count and not len(bad)):
            after = float(values[count]) if size > count else -np.inf
            pairs = Ritz(values[:count], found[:count], residuals[:count], scale, size)
            return Tracked(pairs, after, found[:wanted])
        new = [rest[bad[0]] if len(bad) else generator.standard_normal(dim)]


def _outside(row: NumpyArray, basis: NumpyArray, generator: np.random.Generator) -> NumpyArray:
    """Return the direction of the part of `row` outside the basis, or a random one there."""
    rest = _orthogonal(row, basis)
    if not np.linalg.norm(rest) > _DEPENDENT * np.linalg.norm(row):
        rest = _orthogonal(generator.standard_normal(len(row)), basis)
    return rest / np.linalg.norm(rest)


# Without BLAS: on so few vectors its threads gain nothing, and wait for more in a busy loop,
# beside the training.


def _products(one: NumpyArray, other: NumpyArray) -> NumpyArray:
    return np.einsum("id,jd->ij", one, other)


def _combined(parts: NumpyArray, vectors: NumpyArray) -> NumpyArray:
    return np.einsum("ji,jd->id", parts, vectors)


def _orthogonal(row: NumpyArray, basis: NumpyArray) -> NumpyArray:
    """Return `row` less its part in the span of the basis; two passes are enough."""
    for _ in range(2):
        row = row - np.einsum("i,id->d", np.einsum("id,d->i", basis, row), basis)
    return row
