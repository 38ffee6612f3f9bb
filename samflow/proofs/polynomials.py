"""Integer polynomials in floating point, at many points at once."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from samflow.proofs.varieties import Polynomial


class Numeric:
    """Polynomials in floating point, with their Jacobian, at many points.

    Each is divided by its largest coefficient.
    """

    def __init__(self, polynomials: Sequence[Polynomial]) -> None:
        """Take the coefficients and exponents of integer polynomials."""
        self._parts = [_arrays(polynomial) for polynomial in polynomials]

    def value(self, points: np.ndarray) -> np.ndarray:
        """Return the polynomials at points (k, n), shape (k, polynomials)."""
        return np.stack([_monomials(points, e) @ c for c, e in self._parts], axis=1)

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        """Return their gradients, shape (k, polynomials, n)."""
        return np.stack(
            [np.stack(list(_slopes(points, c, e)), axis=1) for c, e in self._parts], axis=1
        )


def _arrays(polynomial: Polynomial) -> tuple[np.ndarray, np.ndarray]:
    terms = polynomial.to_dict()
    largest = max(abs(int(c)) for c in terms.values())
    numbers = np.array([float(Fraction(int(c), largest)) for c in terms.values()])
    return numbers, np.array([list(map(int, k)) for k in terms], dtype=int)


def _monomials(points: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    return np.prod(points[:, None, :] ** exponents, axis=2)


def _slopes(points: np.ndarray, c: np.ndarray, exponents: np.ndarray) -> Iterator[np.ndarray]:
    for i in range(exponents.shape[1]):
        lower = exponents.copy()
        lower[:, i] = np.maximum(lower[:, i] - 1, 0)
        yield _monomials(points, lower) @ (c * exponents[:, i])
