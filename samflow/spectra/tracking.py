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


_NO_LOOKS = (np.zeros((0, 0)), np.zeros((0, 0)))


class Tracked(NamedTuple):
    """Leading Ritz pairs, largest first.

    Attributes:
        found: the pairs asked for.
        next: the largest Ritz value below those, a guard's; −inf if there is none.
        block: vectors as rows to start from where the operator has changed.
        accepted: of each pair whether its residual is small, see `accepted`.
        looked: products of directions that were not found from `block`: without one, nothing is
            known of what is outside the space of `block`.
        lowest: the smallest Ritz value.
        looks: these directions, orthonormal and outside of `block`, and their products, as rows.

    """

    found: Ritz
    next: float
    block: NumpyArray
    accepted: NumpyArray
    looked: int
    lowest: float
    looks: tuple[NumpyArray, NumpyArray]


def accepted(residuals: NumpyArray, values: NumpyArray, tol: float) -> NumpyArray:
    """Return which of the leading pairs have a small residual; `values` are all of the space.

    The first has to have one of at most tol · max|θ|. Further ones, among which gaps are smaller,
    also one below the gap to the next Ritz value: else the residual would not tell an eigenvalue
    from the next. Where they are equal, tol² · max|θ| is small enough.
    """
    size, scale = len(residuals), float(np.abs(values).max())
    good = residuals <= tol * scale
    gaps = values[:size] - np.r_[values[1:], -np.inf][:size]
    gaps[0] = np.inf
    return good & (residuals <= np.maximum(gaps, tol**2 * scale))


def dense(matrix: NumpyArray, *, count: int, num_products: int) -> Tracked:
    """Return the leading eigenpairs of a symmetric matrix that is held, by `eigh`: all are found.

    Args:
        matrix: shape (dim, dim).
        count: how many pairs, at most dim.
        num_products: what it took to form the matrix.

    """
    if not np.isfinite(matrix).all():
        return _nothing(matrix[:1], count, num_products)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    values, vectors = values[::-1], vectors.T[::-1]
    first = vectors[:count]
    residuals = np.linalg.norm(first @ matrix - values[:count, None] * first, axis=1)
    after = float(values[count]) if len(values) > count else -np.inf
    scale = float(np.abs(values).max())
    found = Ritz(values[:count], first, residuals, scale, num_products)
    good = np.full(count, True)
    return Tracked(
        found, after, vectors[: count + GUARDS], good, len(matrix), float(values[-1]), _NO_LOOKS
    )


def _nothing(block: NumpyArray, count: int, num_products: int) -> Tracked:
    nan = np.full(count, np.nan)
    found = Ritz(nan, np.full((count, block.shape[1]), np.nan), nan, np.nan, num_products)
    return Tracked(found, np.nan, block, np.full(count, False), 0, np.nan, _NO_LOOKS)


def track(
    product: Product,
    block: NumpyArray,
    *,
    count: int,
    tol: float,
    max_products: int,
    fresh: NumpyArray | None = None,
    num_looks: int = 0,
) -> Tracked:
    """Return the `count` algebraically largest eigenpairs, from vectors that are near to theirs.

    The space of `block` is widened by the residual of the first pair that is not `accepted`:
    Davidson's method without a preconditioner. From a single random vector that is Lanczos with
    full reorthogonalisation; from eigenvectors of 50 steps of training earlier one to five more
    products do.

    A space that is invariant has no residual, so its pairs look exact whatever is outside. Where
    A decouples, warm vectors stay in such a space for ever. So before that the space is widened by
    Lanczos steps from a direction that has nothing to do with `block`.

    Args:
        product: v ↦ Av, A symmetric.
        block: at least one row, shape (m, dim).
        count: how many pairs, at most dim.
        tol: largest accepted residual.
        max_products: of v ↦ Av, at least the number of rows of `block`, and `count`.
        fresh: a direction with a part along every eigenvector, as a random one; shape (dim,).
        num_looks: products of the Lanczos steps from there, as far as `max_products` allows.

    Returns:
        A `Tracked`; NaN where a product was not finite. Residuals are those of the last space.

    Not guaranteed: that no eigenvalue farther out was missed; residuals do not show that. A few
    steps from a random direction see one that is far out, not one that is just beyond.

    Source: Davidson (1975); Saad, Numerical Methods for Large Eigenvalue Problems (2011), 8.4.

    """
    dim, wanted = block.shape[1], count + GUARDS
    most = min(max(max_products, count, len(block)), dim)
    all_basis, all_images, size = vectors(most, dim), vectors(most, dim), 0
    generator, new, looked = np.random.default_rng(0), list(block[:most]), 0
    while True:
        for row in new:
            all_basis[size] = _outside(row, all_basis[:size], generator)
            all_images[size] = product(all_basis[size])
            size += 1
        basis, images = all_basis[:size], all_images[:size]
        if not np.isfinite(images).all():
            return _nothing(block, count, size)
        if fresh is not None and looked < num_looks and size < most:
            new, looked = [images[-1] if looked else fresh], looked + 1
            continue
        small = _products(basis, images)
        values, parts = np.linalg.eigh((small + small.T) / 2)
        values, parts = values[::-1], parts[:, ::-1][:, :wanted]
        found, scale = _combined(parts, basis), float(np.abs(values).max())
        first = found[:count]
        rest = _combined(parts[:, :count], images) - values[: len(first), None] * first
        residuals = np.linalg.norm(rest, axis=1)
        good = accepted(residuals, values, tol)
        bad = np.flatnonzero(~good)
        if size == most or (size >= count and not len(bad)):
            after = float(values[count]) if size > count else -np.inf
            pairs = Ritz(values[:count], first, residuals, scale, size)
            seen = dim if size == dim else looked
            looks = slice(len(block), len(block) + looked)
            kept = (basis[looks], images[looks])
            return Tracked(pairs, after, found, good, seen, float(values[-1]), kept)
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
