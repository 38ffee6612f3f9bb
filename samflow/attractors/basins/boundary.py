"""How intertwined basins are: entropy and dimension of their boundary, from a grid."""

from typing import Any, NamedTuple

import numpy as np

from samflow import _checks
from samflow.attractors.basins.records import Basins


class Boundary(NamedTuple):
    """Measures of a boundary (Daza, Wagemakers, Georgeot, Guéry-Odelin, Sanjuán 2016).

    Attributes:
        entropy: mean over boxes of −Σ p log p, p the shares of labels in a box.
        boundary_entropy: the same over boxes with more than one label; above log 2 the boundary
            is fractal; NaN where there are none.
        dimension: of the boundary: that of the box, less the exponent α of the share of boxes
            f(ε) ∝ ε^α of side ε with more than one label; NaN where there are none.
        dimension_error: standard error of the fit.
        box: side of the boxes of the entropies, in cells.

    """

    entropy: float
    boundary_entropy: float
    dimension: float
    dimension_error: float
    box: int


def boundary(found: Basins, *, box: int = 5) -> Boundary:
    """Measure the boundary of basins on a grid.

    Args:
        found: of `basins` with a grid.
        box: side of the boxes of the entropies, in cells.

    Raises:
        ArgumentError: for a sample, or a grid smaller than eight boxes.

    """
    side = _checks.count("box", box, minimum=2)
    if not found.shape or min(found.shape) < 8 * side:
        raise _checks.ArgumentError(
            f"Argument `found` must be on a grid of at least {8 * side} cells a weight, but its "
            f"grid is {found.shape or 'a sample'}."
        )
    labels = found.grid
    entropies = np.array([_entropy(cell) for cell in _boxes(labels, side)])
    mixed = entropies > 0
    sizes = [size for size in (2, 3, 4, 6, 8, 12, 16, 24, 32) if 8 * size <= min(labels.shape)]
    shares = np.array([np.mean([_entropy(b) > 0 for b in _boxes(labels, size)]) for size in sizes])
    dimension, error = _fitted(np.array(sizes), shares, labels.ndim)
    return Boundary(
        float(entropies.mean()),
        float(entropies[mixed].mean()) if mixed.any() else float("nan"),
        dimension,
        error,
        side,
    )


def _boxes(labels: np.ndarray, side: int) -> np.ndarray:
    """Return the labels in boxes of `side` cells a weight, one row a box; the rest is left out."""
    shape = [n // side for n in labels.shape]
    cut = labels[tuple(slice(0, n * side) for n in shape)]
    split = cut.reshape([k for n in shape for k in (n, side)])
    order = [*range(0, 2 * labels.ndim, 2), *range(1, 2 * labels.ndim, 2)]
    return split.transpose(order).reshape(int(np.prod(shape)), -1)


def _entropy(labels: np.ndarray) -> float:
    counts = np.unique(labels, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum()) if len(counts) > 1 else 0.0


def _fitted(sizes: np.ndarray, shares: np.ndarray, dim: int) -> tuple[float, float]:
    """Return the dimension of the boundary and its standard error, by least squares of logs."""
    if not (shares > 0).all() or len(sizes) < 3:
        return float("nan"), float("nan")
    from scipy.stats import linregress  # slow to import, and seldom needed

    fit: Any = linregress(np.log(sizes), np.log(shares))
    return float(dim - fit.slope), float(fit.stderr)
