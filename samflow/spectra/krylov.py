"""Lanczos and Arnoldi with two-pass reorthogonalisation, driven from Python by one product.

Sources: Parlett, The Symmetric Eigenvalue Problem (1998), chapter 13 (Lanczos) and section 6.9
(two passes are enough); Saad, Numerical Methods for Large Eigenvalue Problems (2011), section 6.2
(Arnoldi).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from samflow._types import NumpyArray
from samflow.losses.allocation import vectors

_TESTED_ALWAYS = 40
_TESTED_EVERY = 10

Product = Callable[[NumpyArray], NumpyArray]
"""v ↦ Av for a real vector v."""


class Hessenberg(NamedTuple):
    """What j steps of Arnoldi made of A: AV = VH + h vⱼ₊₁ eⱼᵀ, V orthonormal.

    The relation is of the products that were taken and holds to rounding, so that residuals need
    no other products: with Hs = θs + r, ‖AVs − θVs‖² = ‖r‖² + h²|sⱼ|².

    Attributes:
        matrix: H = VᵀAV, shape (j, j); full, with what reorthogonalisation took out.
        below: h, 0 at best; not finite where the last product was not.
        basis: V as rows, shape (j, dim); a view, which the next step continues.
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

    def residuals(self, values: NumpyArray, parts: NumpyArray) -> NumpyArray:
        """Return ‖AVs − θVs‖ for every value θ and column s of `parts`."""
        inside = np.linalg.norm(self.matrix @ parts - parts * values, axis=0)
        return np.hypot(inside, np.abs(self.below * parts[-1]))

    def ritz(self) -> tuple[NumpyArray, NumpyArray]:
        """Return Ritz values by modulus, largest first, and H's eigenvectors as columns."""
        values, parts = np.linalg.eig(self.matrix)
        order = np.lexsort((-np.imag(values), -np.abs(values)))
        return values[order].astype(complex), parts[:, order].astype(complex)


class Tridiagonal(Hessenberg):
    """What j steps of Lanczos made of a symmetric A: AV = VT + βⱼ vⱼ₊₁ eⱼᵀ, V orthonormal.

    T is the tridiagonal part of `matrix`, whose other entries are rounding of the products. They
    count in the residuals.
    """

    @property
    def alpha(self) -> NumpyArray:
        """T's diagonal, shape (j,)."""
        return np.diag(self.matrix)

    @property
    def beta(self) -> NumpyArray:
        """What lies below it, shape (j − 1,): 0 where the space of a start was exhausted."""
        return np.diag(self.matrix, -1)

    def ritz(self) -> tuple[NumpyArray, NumpyArray]:
        """Return the Ritz values in ascending order, and T's eigenvectors as columns."""
        from scipy.linalg import eigh_tridiagonal  # slow to import: those without networks wait

        values, parts = eigh_tridiagonal(self.alpha, self.beta)
        return values, parts


def arnoldi(
    product: Product, start: NumpyArray, *, max_steps: int, generator: np.random.Generator
) -> Iterator[Hessenberg]:
    """Run Arnoldi from `start` and yield after each step, one product a step.

    Once the space that the start spans is exhausted it goes on from a random vector outside, so
    that repeated eigenvalues are found in the end. It stops after `max_steps`, at most dim, or
    at a product that is not finite.
    """
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


def lanczos(
    product: Product, start: NumpyArray, *, max_steps: int, generator: np.random.Generator
) -> Iterator[Tridiagonal]:
    """Run Lanczos, which with full reorthogonalisation is Arnoldi of a symmetric A."""
    for made in arnoldi(product, start, max_steps=max_steps, generator=generator):
        yield Tridiagonal(*made)


class Ritz(NamedTuple):
    """The pairs that a run of Lanczos or Arnoldi was asked for.

    Attributes:
        values: Ritz values, in the order of the process; NaN where a product was not finite.
        vectors: Ritz vectors as rows of length 1; likewise.
        residuals: ‖Av − θv‖ of each; likewise.
        scale: max|θ| of all Ritz values, wanted or not.
        num_steps: steps made, one product each.

    """

    values: NumpyArray
    vectors: NumpyArray
    residuals: NumpyArray
    scale: float
    num_steps: int

    def within(self, tol: float, own: bool = False) -> NumpyArray:
        """Return which residuals are at most tol · max|θ|, or tol · |θ| of their own value."""
        return self.residuals <= tol * (np.abs(self.values) if own else self.scale)


class Stopped(KeyboardInterrupt):
    """The user's interrupt of a run, with what the steps made so far give."""

    def __init__(self, found: Any) -> None:
        """Hold what was found, whose residuals say how far it is."""
        super().__init__()
        self.found = found


def settled(
    steps: Iterator[Tridiagonal] | Iterator[Hessenberg],
    wanted: Callable[[int], NumpyArray],
    *,
    tol: float,
    max_steps: int,
    own: bool = False,
    tested: Callable[[Ritz], None] = lambda found: None,
) -> Ritz:
    """Make steps until the wanted Ritz pairs have residuals up to tol · max|θ|, or to the end.

    They are tested after each of the first steps, later after every tenth: what a test costs
    grows with the cube of the number of steps.

    Args:
        steps: of `lanczos` or `arnoldi`, at most `max_steps`.
        wanted: the indices of the wanted values among so many.
        tol: largest accepted residual.
        max_steps: where the process ends.
        own: whether each residual is held against its own |θ| instead of max|θ|.
        tested: is told of the pairs at each test.

    Raises:
        Stopped: for an interrupt, once there are as many pairs as are wanted.

    """
    least, last = len(wanted(max_steps)), None
    try:
        for made in steps:
            last = made
            found = _ended(made, wanted, least, max_steps)
            if found is None:
                continue
            tested(found)
            if len(made.basis) >= max_steps or not made.finite or found.within(tol, own).all():
                return found
    except KeyboardInterrupt as interrupt:
        if last is None or not last.finite or len(last.basis) < least:
            raise
        raise Stopped(_chosen(last, wanted)) from interrupt
    raise AssertionError("the last step returns")


def _ended(
    made: Tridiagonal | Hessenberg,
    wanted: Callable[[int], NumpyArray],
    least: int,
    max_steps: int,
) -> Ritz | None:
    """Return what to end with after a step if it is good enough; None to go on untested."""
    size, dim = made.basis.shape
    if not made.finite:
        nothing = np.full(least, np.nan)
        return Ritz(nothing, np.full((least, dim), np.nan), nothing, np.nan, size)
    due = size <= _TESTED_ALWAYS or size % _TESTED_EVERY == 0
    last = size >= max_steps
    return _chosen(made, wanted) if last or (due and size > least and not made.exhausted) else None


def _chosen(made: Tridiagonal | Hessenberg, wanted: Callable[[int], NumpyArray]) -> Ritz:
    size = len(made.basis)
    values, parts = made.ritz()
    scale, chosen = float(np.abs(values).max()), wanted(size)
    values, parts = values[chosen], parts[:, chosen]
    residuals = made.residuals(values, parts)
    return Ritz(values, _combined(parts, made.basis), residuals, scale, size)


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
