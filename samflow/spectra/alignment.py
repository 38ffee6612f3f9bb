"""How well SAM's ascent points along the sharpest direction: |cos(g, v₁)|."""

from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._random import numpy_generator
from samflow._status import Status
from samflow._types import ArrayLike, NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import gradient
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.spectra.krylov import Ritz, lanczos, settled
from samflow.spectra.multipliers import CRITICAL
from samflow.spectra.products import hessian_product
from samflow.spectra.spectrum import DENSE_DIM, Eigenpairs, extreme_eigenpairs

_FEW = 4
"""Pairs that Lanczos is asked for: the gap below λ₁ is seen up to a multiplicity of 3."""
_SAME = 1e-6
"""Relative to max|λ|: eigenvalues nearer than this to the largest share its eigenspace."""


class AscentAlignment(AbstractRecord):
    """How much of the gradient lies along the largest eigenvalue's eigenspace.

    Attributes:
        cosine: ‖Pg‖/‖g‖ in [0, 1], P the projection onto the eigenspace; of a simple eigenvalue
            |cos(g, v₁)|. NaN unless the status is located or residual too large.
        error: bound on the error of `cosine`, residual over gap; infinite where no gap is seen.
        eigenvalue: λ₁, the algebraically largest eigenvalue of H.
        multiplicity: of λ₁; None where H was not diagonalised as a whole.
        gradient_norm: ‖g‖.
        status: located; residual too large, where `error` exceeds `tol`; no gradient, where ‖g‖ is
            rounding, so that it has no direction; or not finite.

    """

    basis: ClassVar[Names] = ("checkpoint",)
    rows: ClassVar[Names] = ()
    cosine: float = eqx.field(static=True, metadata=axes(units="1"))
    error: float = eqx.field(static=True, metadata=axes(units="1"))
    eigenvalue: float = eqx.field(static=True, metadata=axes(units="loss/weight^2"))
    multiplicity: int | None = eqx.field(static=True)
    gradient_norm: float = eqx.field(static=True, metadata=axes(units="loss/weight"))
    status: Status = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    def __str__(self) -> str:
        """Return the cosine, or why there is none."""
        if not np.isfinite(self.cosine):
            return f"{self.status.label}: {self.status.message}"
        many = self.multiplicity is not None and self.multiplicity > 1
        space = f"the {self.multiplicity}-fold" if many else "the"
        more = "" if self.status is Status.located else f"; {self.status.label}"
        return (
            f"|cos(g, v₁)| = {self.cosine:.6g} ± {self.error:.2g}, {space} largest eigenvalue "
            f"{self.eigenvalue:.6g}{more}"
        )


def ascent_alignment(
    loss: AbstractLoss,
    w: ArrayLike,
    *,
    tol: float = 0.01,
    max_products: int = 400,
    key: PRNGKeyArray | None = None,
) -> AscentAlignment:
    """Return |cos(g, v₁)| at `w`, v₁ the eigenvector of the Hessian's largest eigenvalue.

    SAM's ascent goes along g, and L(w + ρĝ) − L(w) = ρ‖g‖ + ½ρ²ĝᵀHĝ + O(ρ³): of the curvature it
    sees ĝᵀHĝ ≥ c²λ₁ + (1 − c²)λₙ, c the cosine and λₙ the least eigenvalue.

    Up to `DENSE_DIM` weights, H is diagonalised. Beyond, Lanczos from a random start finds λ₁, and
    Lanczos from g its projection on the eigenspace, whatever the multiplicity.

    Args:
        loss: any loss; a network's may go `in_chunks`.
        w: the weights, shape (dim,).
        tol: the largest error of the cosine that counts as located.
        max_products: where either run of Lanczos gives up.
        key: of Lanczos's random start.

    Returns:
        An `AscentAlignment`, whatever its status.

    Not guaranteed: as of `extreme_eigenpairs`, that Lanczos missed no eigenvalue farther out.

    Raises:
        ArgumentError: in single precision; for a `w` of the wrong shape or not finite; for
            numbers out of range.

    Source: Luo et al. 2024 (arXiv 2501.12666), who regularise λ₁ by making this alignment better
    (Eigen-SAM). Here is the diagnostic alone.

    """
    _checks.double_precision("Finding the alignment of the ascent")
    w = _checks.point("w", w, loss.dim)
    tol = _checks.positive("tol", tol)
    max_products = _checks.count("max_products", max_products)
    dense = loss.dim <= DENSE_DIM
    k = loss.dim if dense else _FEW
    pairs = extreme_eigenpairs(loss, w, k=k, which="largest", max_products=max_products, key=key)
    g = np.asarray(gradient(loss, w))
    where = provenance(loss.name, tol=tol, max_products=max_products, key=key)
    values, size = np.asarray(pairs.values), float(np.linalg.norm(g))
    top = float(values[-1])

    def nothing(status: Status) -> AscentAlignment:
        return AscentAlignment(np.nan, np.nan, top, None, size, status, where)

    if not (np.isfinite(values).all() and np.isfinite(size)):
        return nothing(Status.not_finite)
    scale = float(np.abs(values).max())
    if size <= max(CRITICAL, loss.precision) * scale * float(np.linalg.norm(w)):
        return nothing(Status.no_gradient)
    if dense:
        cosine, error, multiplicity = *_by_pairs(pairs, g / size, scale), _near(values, scale)
    else:
        found = _from_gradient(loss, w, g, max_products, key)
        cosine, error = _by_ritz(found, g / size, pairs)
        multiplicity = None
    status = Status.located if error <= tol else Status.residual_too_large
    return AscentAlignment(cosine, error, top, multiplicity, size, status, where)


def _near(values: NumpyArray, scale: float) -> int:
    return int((values >= values[-1] - _SAME * scale).sum())


def _by_pairs(pairs: Eigenpairs, e: NumpyArray, scale: float) -> tuple[float, float]:
    """Return ‖Pe‖ and its error, from all eigenpairs."""
    values, vectors = np.asarray(pairs.values), np.asarray(pairs.vectors)
    count = _near(values, scale)
    gap = values[-1] - values[-count - 1] if count < len(values) else np.inf
    residual = float(np.linalg.norm(np.asarray(pairs.residuals)[-count:]))
    return float(np.linalg.norm(vectors[-count:] @ e)), residual / float(gap)


def _from_gradient(
    loss: AbstractLoss, w: Point, g: NumpyArray, max_products: int, key: PRNGKeyArray | None
) -> Ritz:
    """Return the largest Ritz pairs of the Krylov space of g."""
    steps, generator = min(max(max_products, _FEW), loss.dim), numpy_generator(key)
    return settled(
        lanczos(hessian_product(loss, w), g, max_steps=steps, generator=generator),
        lambda size: np.arange(max(size - _FEW, 0), size),
        tol=_SAME,
        max_steps=steps,
    )


def _by_ritz(found: Ritz, e: NumpyArray, pairs: Eigenpairs) -> tuple[float, float]:
    """Return ‖Pe‖ and its error, from Ritz pairs of the Krylov space of e.

    In exact arithmetic that space has of each eigenspace the projection of e alone. Of the largest
    eigenvalue it has nothing where e is orthogonal to it: then no Ritz value is near.
    """
    top, near = float(np.asarray(pairs.values)[-1]), _SAME * found.scale
    of_top = np.abs(found.values - top) <= near + found.residuals
    below = np.append(found.values[~of_top], np.asarray(pairs.values)[:-1])
    below = below[below < top - near]
    residual = np.linalg.norm(found.residuals[of_top]) + float(np.asarray(pairs.residuals)[-1])
    cosine = float(np.linalg.norm(found.vectors[of_top] @ e))
    error = float(residual / (top - below.max())) if len(below) else np.inf
    return min(cosine, 1.0), error
