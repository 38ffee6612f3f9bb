"""Moments of a batch's Hessian, exactly, for every batch size, with and without replacement.

With H_B = (1/B) Σ Hᵢ over a batch, the means of H_B X H_B, H_B² X H_B and H_B² X H_B² are sums over
the ways in which two, three or four draws coincide: the partitions of the places in the product.
"""

import functools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from samflow._types import NumpyArray
from samflow.noise.interpolation.linearisation import Linearisation

Partition = tuple[tuple[int, ...], ...]

TABLE_DIM = 30
"""Up to this many directions the moments are tables: linear maps of the symmetric matrices."""


def partitions(places: int) -> Iterator[Partition]:
    """Yield the partitions of 1, ..., places, each block and the blocks in ascending order."""
    if places == 0:
        yield ()
        return
    for smaller in partitions(places - 1):
        for i, block in enumerate(smaller):
            yield (*smaller[:i], (*block, places), *smaller[i + 1 :])
        yield (*smaller, (places,))


@functools.cache
def coefficients(
    places: int, batch_size: int, num_examples: int, replacement: bool
) -> dict[Partition, Fraction]:
    """Return the weight c_τ of each partition τ in E[Y(i₁, ..., i_m)], the indices a batch's means.

    E[B⁻ᵐ Σ Y] = Σ_τ c_τ M_τ(Y), with M_τ the mean of Y over independent indices, one per block of
    τ. With replacement c_τ = (B)_{|τ|} / Bᵐ, the falling factorial. Without, the indices of
    different blocks differ, and Möbius inversion on the lattice of partitions turns that into means
    over independent ones:

        c_τ = n^{|τ|} B⁻ᵐ Σ_{σ ≤ τ} μ(σ, τ) (B)_{|σ|} / (n)_{|σ|}.
    """
    size, n = batch_size, num_examples
    every = list(partitions(places))
    if replacement:
        return {tau: Fraction(math.perm(size, len(tau)), size**places) for tau in every}
    found = {}
    for tau in every:
        total = Fraction(0)
        for sigma in every:
            inside = [sum(set(part) <= set(block) for part in sigma) for block in tau]
            if sum(inside) < len(sigma) or len(sigma) > size:
                continue  # σ does not refine τ, or has more blocks than a batch has examples
            moebius = math.prod((-1) ** (k - 1) * math.factorial(k - 1) for k in inside)
            total += moebius * Fraction(math.perm(size, len(sigma)), math.perm(n, len(sigma)))
        found[tau] = total * Fraction(n ** len(tau), size**places)
    return found


class BatchMoments:
    """The moments of a batch's Hessian from which the second moment of a step follows.

    Matrices are in the basis of the linearisation, shape (m, m). Up to `TABLE_DIM` directions the
    maps are computed once and kept, so that another lr or rho costs little.
    """

    def __init__(self, data: Linearisation, batch_size: int, replacement: bool) -> None:
        """Keep the examples, and how they are drawn."""
        n, k, m = data.rows.shape
        self.data, self.batch_size, self.replacement = data, batch_size, replacement
        self.size = m
        self._flat = data.rows.reshape(n * k, m)
        self._signed = (data.signs[:, :, None] * data.rows).reshape(n * k, m)
        self._gram = np.einsum("ika,ila->ikl", data.rows, data.rows)
        self.hessian = self._flat.T @ self._signed / n
        """H, the mean of the examples'."""

    @functools.cached_property
    def squared_hessian(self) -> NumpyArray:
        """E[H_B²], shape (m, m)."""
        return self._pair(np.eye(self.size))

    def pair(self, x: NumpyArray) -> NumpyArray:
        """Return E[H_B X H_B] for a symmetric X."""
        return self._apply(x, "pair")

    def triple(self, x: NumpyArray) -> NumpyArray:
        """Return E[H_B² X H_B + H_B X H_B²] for a symmetric X."""
        return self._apply(x, "triple")

    def quadruple(self, x: NumpyArray) -> NumpyArray:
        """Return E[H_B² X H_B²] for a symmetric X."""
        return self._apply(x, "quadruple")

    @property
    def has_tables(self) -> bool:
        """Whether the problem is small enough for tables."""
        return self.size <= TABLE_DIM

    def matrix(self, which: str) -> NumpyArray:
        """Return "pair", "triple" or "quadruple" as a matrix in `symmetric_basis`, shape (D, D)."""
        if which not in self._tables:
            images = [self._direct(which)(element) for element in symmetric_basis(self.size)]
            self._tables[which] = np.stack([to_vector(image) for image in images], axis=1)
        return self._tables[which]

    def _direct(self, which: str) -> Callable[[NumpyArray], NumpyArray]:
        return {"pair": self._pair, "triple": self._triple, "quadruple": self._quadruple}[which]

    def _apply(self, x: NumpyArray, which: str) -> NumpyArray:
        # For a single product the table would cost more than it saves.
        if self.has_tables and which in self._tables:
            return to_matrix(self._tables[which] @ to_vector(x), self.size)
        return self._direct(which)(x)

    @functools.cached_property
    def _tables(self) -> dict[str, NumpyArray]:
        return {}

    def _weights(self, places: int) -> dict[Partition, float]:
        exact = coefficients(places, self.batch_size, self.data.num_examples, self.replacement)
        return {tau: float(c) for tau, c in exact.items() if c}

    def _pair(self, x: NumpyArray) -> NumpyArray:
        h = self.hessian
        terms = {((1, 2),): lambda: self._sandwich(x), ((1,), (2,)): lambda: h @ x @ h}
        return sum(c * terms[tau]() for tau, c in self._weights(2).items())  # pyright: ignore[reportReturnType]

    def _triple(self, x: NumpyArray) -> NumpyArray:
        h = self.hessian
        terms = {
            ((1,), (2,), (3,)): lambda: h @ h @ x @ h,
            ((1, 2), (3,)): lambda: self._square @ x @ h,
            ((1,), (2, 3)): lambda: h @ self._sandwich(x),
            ((1, 3), (2,)): lambda: self._sandwich(h @ x),
            ((1, 2, 3),): lambda: self._sandwich(x, left=True),
        }
        total = sum(c * terms[tau]() for tau, c in self._weights(3).items())
        return total + total.T  # pyright: ignore[reportAttributeAccessIssue]

    def _quadruple(self, x: NumpyArray) -> NumpyArray:
        h = self.hessian
        # Of two mirror images, one is computed and the other is its transpose.
        terms = {
            ((1,), (2,), (3,), (4,)): lambda: h @ h @ x @ h @ h,
            ((1, 2), (3,), (4,)): lambda: self._square @ x @ h @ h,
            ((1,), (2, 3), (4,)): lambda: h @ self._sandwich(x) @ h,
            ((1, 4), (2,), (3,)): lambda: self._sandwich(h @ x @ h),
            ((1, 3), (2,), (4,)): lambda: self._sandwich(h @ x) @ h,
            ((1, 2), (3, 4)): lambda: self._square @ x @ self._square,
            ((1, 4), (2, 3)): lambda: self._sandwich(self._sandwich(x)),
            ((1, 3), (2, 4)): lambda: self._crossing(x),
            ((1, 2, 3), (4,)): lambda: self._sandwich(x, left=True) @ h,
            ((1, 2, 4), (3,)): lambda: self._sandwich(x @ h, left=True),
            ((1, 2, 3, 4),): lambda: self._sandwich(x, left=True, right=True),
        }
        total = np.zeros_like(x)
        for tau, c in self._weights(4).items():
            if tau in terms:
                term = terms[tau]()
                total += c * (term if _mirror(tau) == tau else term + term.T)
        return total

    @functools.cached_property
    def _square(self) -> NumpyArray:
        """The mean of Hᵢ²."""
        return self._sandwich(np.eye(self.size))

    def _sandwich(self, y: NumpyArray, *, left: bool = False, right: bool = False) -> NumpyArray:
        """Return the mean of Hᵢ Y Hᵢ, with Hᵢ² in its place on the `left` or the `right`."""
        n, k, m = self.data.rows.shape
        middle = np.matmul(
            (self._signed @ y).reshape(n, k, m), self._signed.reshape(n, k, m).swapaxes(1, 2)
        )
        gram, sign = self._gram, self.data.signs
        if left:
            middle = sign[:, :, None] * np.matmul(gram, middle)
        if right:
            middle = np.matmul(middle, gram) * sign[:, None, :]
        rows = np.matmul(middle, self.data.rows).reshape(n * k, m)
        return self._flat.T @ rows / n

    def _crossing(self, y: NumpyArray) -> NumpyArray:
        """Return the mean of Hᵢ Hⱼ Y Hᵢ Hⱼ; with one row per example, a product of entries."""
        n, k, _ = self.data.rows.shape
        gram = self._blocks(self._flat @ self._flat.T)
        middle = self._blocks(self._signed @ y @ self._signed.T).swapaxes(0, 1)
        product = np.matmul(np.matmul(gram, middle), gram)
        back = product.swapaxes(1, 2).reshape(n * k, n * k)
        return self._signed.T @ back @ self._signed / n**2

    def _blocks(self, matrix: NumpyArray) -> NumpyArray:
        """Return a matrix over all rows as blocks (n, n, k, k), one per pair of examples."""
        n, k, _ = self.data.rows.shape
        return matrix.reshape(n, k, n, k).swapaxes(1, 2)


def _mirror(tau: Partition) -> Partition:
    """Return the partition of the product read backwards, four places."""
    return tuple(sorted(tuple(sorted(5 - place for place in block)) for block in tau))


def symmetric_basis(size: int) -> Iterator[NumpyArray]:
    """Yield symmetric matrices, orthonormal in the trace product, in the order of `to_vector`."""
    for i, j in zip(*np.triu_indices(size), strict=True):
        element = np.zeros((size, size))
        element[i, j] = element[j, i] = 1.0 if i == j else math.sqrt(0.5)
        yield element


def to_vector(x: NumpyArray) -> NumpyArray:
    """Return the coordinates of the symmetric part of `x` in `symmetric_basis`."""
    i, j = np.triu_indices(len(x))
    return np.where(i == j, x[i, j], (x[i, j] + x[j, i]) * math.sqrt(0.5))


def to_matrix(v: NumpyArray, size: int) -> NumpyArray:
    """Return the symmetric matrix with the coordinates `v` in `symmetric_basis`."""
    i, j = np.triu_indices(size)
    x = np.zeros((size, size))
    x[i, j] = x[j, i] = np.where(i == j, v, v * math.sqrt(0.5))
    return x
