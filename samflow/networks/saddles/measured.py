"""A point of any loss with the eigenvectors that were measured there, to follow orbits beside."""

from typing import NamedTuple

import numpy as np

from samflow import _checks
from samflow._types import ArrayLike, NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import gradient_norm
from samflow.networks.saddles.critical import RANK
from samflow.spectra.spectrum import Eigenpairs, extreme_eigenpairs


class MeasuredSaddle(NamedTuple):
    """Weights of a loss, and eigenpairs of H there: some, not all.

    Attributes:
        name: of the loss.
        loss: the loss.
        w: the weights, shape (dim,).
        gradient_norm: ‖g(w)‖; where it is not 0 the point itself moves.
        eigenvalues: those measured, ascending.
        vectors: their unit eigenvectors, as rows.
        statement: what USAM needs to hold a displacement along them, in words.

    """

    name: str
    loss: AbstractLoss
    w: Point
    gradient_norm: float
    eigenvalues: NumpyArray
    vectors: NumpyArray
    statement: str

    def __str__(self) -> str:
        """Return name and statement."""
        return f"{self.name}: {self.statement}"

    @property
    def negative(self) -> NumpyArray:
        """The eigenvectors of the negative eigenvalues, as rows, the weakest last."""
        return self.vectors[self.eigenvalues < -self._zero]

    @property
    def positive(self) -> NumpyArray:
        """The eigenvectors of the positive eigenvalues, as rows."""
        return self.vectors[self.eigenvalues > self._zero]

    @property
    def weakest(self) -> float:
        """The negative eigenvalue nearest to zero of those measured; NaN if there is none."""
        negative = self.eigenvalues[self.eigenvalues < -self._zero]
        return float(negative[-1]) if len(negative) else float("nan")

    @property
    def direction(self) -> NumpyArray:
        """A unit eigenvector of `weakest`; NaN if there is none."""
        negative = self.negative
        return negative[-1] if len(negative) else np.full(len(self.w), np.nan)

    @property
    def largest_lr(self) -> float:
        """The lr below which USAM holds displacements from 1/|λ₋| on, 2/U(λmax) there; or NaN."""
        top = float(self.eigenvalues[-1])
        return 2 / (top * (1 + top / abs(self.weakest))) if top > 0 else float("nan")

    @property
    def _zero(self) -> float:
        return RANK * float(np.abs(self.eigenvalues).max())


def measured_saddle(
    loss: AbstractLoss, w: ArrayLike, *, k: int = 2, pairs: Eigenpairs | None = None
) -> MeasuredSaddle:
    """Measure the ends of the spectrum at any weights, for `holding_threshold` there.

    Args:
        loss: any loss, as `checkpoint.loss`.
        w: the weights.
        k: how many eigenvectors at each end.
        pairs: of `extreme_eigenpairs` at `w`, in place of a search.

    Not guaranteed: that the weakest negative eigenvalue is among those measured; in a network there
    are mostly weaker ones.

    Raises:
        ArgumentError: as `extreme_eigenpairs`; for weights with a Hessian that is not finite.

    """
    w = _checks.point("w", w, loss.dim)
    if pairs is None:
        pairs = extreme_eigenpairs(loss, w, k=min(k, max(1, loss.dim // 2)), compare=False)
    values = np.asarray(pairs.values)
    if not np.isfinite(values).all():
        raise _checks.ArgumentError(
            f"Argument `w` must be weights at which {loss.name} is twice differentiable, but its "
            "Hessian there is not finite."
        )
    negative = int(np.sum(values < -RANK * np.abs(values).max()))
    statement = f"{negative} of {len(values)} eigenvalues measured are negative"
    size = float(gradient_norm(loss, w))
    return MeasuredSaddle(loss.name, loss, w, size, values, np.asarray(pairs.vectors), statement)
