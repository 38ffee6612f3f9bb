"""S(e) = eᵀH g(w + rho e) on the unit sphere and on that of a span, by products alone."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from samflow._types import NumpyArray
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import gradient, hvp
from samflow.spectra.products import hessian_product
from samflow.spectra.spectrum import Eigenpairs

_STEPS, _MEMORY = 40, 10
_TOLERANCE = 1e-10


class Extreme(NamedTuple):
    """A least or greatest S that a search ended at: its value and direction."""

    value: float
    direction: NumpyArray


class Sphere:
    """S and its gradient at unit vectors e of R^dim, for one loss at one point.

    ∇S = H g(w + ρe) + ρ H(w + ρe) H e, from products alone. With `basis`, orthonormal eigenvectors
    as rows, e = basisᵀc: then He needs no product.
    """

    def __init__(
        self, loss: AbstractLoss, w: NumpyArray, pairs: Eigenpairs, curved: NumpyArray
    ) -> None:
        """Take the point, and the eigenpairs whose span is searched."""
        self.loss, self.w = loss, np.asarray(w)
        self.product = hessian_product(loss, jnp.asarray(w))
        self.values = np.asarray(pairs.values)[curved]
        self.basis = np.asarray(pairs.vectors)[curved]
        self.num_gradients = 0

    def gradient_at(self, point: NumpyArray) -> NumpyArray:
        """Return g(point)."""
        self.num_gradients += 1
        return np.asarray(gradient(self.loss, jnp.asarray(point)))

    def image(self, e: NumpyArray) -> NumpyArray:
        """Return He."""
        self.num_gradients += 2
        return np.asarray(self.product(e))

    def product_at(self, point: NumpyArray, v: NumpyArray) -> NumpyArray:
        """Return H(point)v."""
        self.num_gradients += 2
        return np.asarray(hvp(self.loss, jnp.asarray(point), jnp.asarray(v)))

    def rate(self, e: NumpyArray, rho: float, image: NumpyArray | None = None) -> float:
        """Return S(e)."""
        image = self.image(e) if image is None else image
        return float(image @ self.gradient_at(self.w + rho * e))

    def extreme(
        self, starts: list[NumpyArray], rho: float, sign: int, *, span: bool, steps: int = _STEPS
    ) -> Extreme:
        """Minimise sign·S from each start over the sphere, or over that of the span.

        By L-BFGS in y with e along y, or along Λ⁻¹y in the span, so that the quadratic part, the
        length of Λc squared, is well conditioned.
        """
        from scipy.optimize import minimize  # slow to import

        inside = self._inside if span else self._anywhere
        found = []
        for start in starts:
            first = self.values * (self.basis @ start) if span else start
            scale = abs(inside(first, rho)[0]) or 1.0

            def descend(y: NumpyArray, scale: float = scale) -> tuple[float, NumpyArray]:
                value, slope, _ = inside(y, rho)
                return sign * value / scale, sign * slope / scale

            options = {"maxiter": steps, "maxcor": _MEMORY, "ftol": _TOLERANCE, "gtol": 1e-9}
            end = minimize(
                descend, first / np.linalg.norm(first), jac=True, method="L-BFGS-B", options=options
            )
            value, _, e = inside(end.x, rho)
            found.append(Extreme(value, e))
        return min(found, key=lambda each: sign * each.value)

    def _inside(self, y: NumpyArray, rho: float) -> tuple[float, NumpyArray, NumpyArray]:
        """Return S, its gradient in y, and e, for e along basisᵀ(y/Λ)."""
        c = y / self.values
        size = np.linalg.norm(c)
        c = c / size
        e, image = self.basis.T @ c, self.basis.T @ (self.values * c)
        ascended = self.w + rho * e
        slope = self.gradient_at(ascended)
        value = float(image @ slope)
        inner = self.values * (self.basis @ slope)
        inner = inner + rho * (self.basis @ self.product_at(ascended, image))
        across = inner - (inner @ c) * c
        return value, across / size / self.values, e

    def _anywhere(self, y: NumpyArray, rho: float) -> tuple[float, NumpyArray, NumpyArray]:
        size = np.linalg.norm(y)
        e = y / size
        image, ascended = self.image(e), self.w + rho * e
        slope = self.gradient_at(ascended)
        inner = self.image(slope) + rho * self.product_at(ascended, image)
        return float(image @ slope), (inner - (inner @ e) * e) / size, e


def first_change(
    positive: Callable[[float], bool], grid: NumpyArray, width: float
) -> tuple[float, float]:
    """Return where a function of rho begins to be positive on a grid, and where that ends.

    0 where it is positive at the first rho; infinite where that never begins, or does not end. Both
    are bisected to a part `width`.
    """
    signs = [positive(float(rho)) for rho in grid]
    if not any(signs):
        return float("inf"), float("inf")
    start = signs.index(True)
    begins = 0.0 if start == 0 else _bisected(positive, *grid[start - 1 : start + 1], width=width)
    after = [i for i in range(start, len(grid)) if not signs[i]]
    if not after:
        return begins, float("inf")
    low, high = grid[after[0] - 1 : after[0] + 1]
    return begins, _bisected(lambda rho: not positive(rho), low, high, width=width)


def _bisected(becomes: Callable[[float], bool], low: float, high: float, *, width: float) -> float:
    while high - low > width * high:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if becomes(middle) else (middle, high)
    return float(0.5 * (low + high))
