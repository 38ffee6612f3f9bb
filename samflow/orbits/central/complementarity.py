"""The semidefinite complementarity problem of a few critical eigenvalues.

    Find Σ ⪰ 0 with Y = C + R[Σ] ⪰ 0 and ⟨Σ, Y⟩ = 0,   C symmetric, R linear.

Both matrices are parts of one symmetric M: Σ = M₊ and Y = M₋, M = M₊ − M₋. What is left is
Robinson's normal equation C + R[M₊] = M₋: k(k + 1)/2 equations and no inequality, which Powell's
hybrid method of MINPACK solves (`scipy.optimize.root`). A convex solver would not do: away from
critical points R of a sharpness-aware rule is not symmetric, so that there is nothing to minimise.

Source: Robinson, Normal Maps Induced by Linear Transformations (1992).
"""

from typing import NamedTuple

import numpy as np

from samflow._types import NumpyArray

_TOL = 1e-9
"""Largest accepted residual, in units of C."""


class Solution(NamedTuple):
    """Σ, and how nearly it solves the problem.

    Attributes:
        variance: Σ, shape (k, k), positive semidefinite.
        residual: ‖C + R[M₊] − M₋‖ over ‖C‖.
        normal: M, to start the next problem from.

    """

    variance: NumpyArray
    residual: float
    normal: NumpyArray

    @property
    def solved(self) -> bool:
        """Whether the residual is rounding."""
        return bool(self.residual <= _TOL)


def solve(slack: NumpyArray, response: NumpyArray, start: NumpyArray | None = None) -> Solution:
    """Solve the problem with C = `slack` (k, k) and R = `response` (k, k, k, k).

    R[Σ]ᵢⱼ = Σₗₘ response[i, j, l, m] Σₗₘ. The solution exists and is unique where R is strictly
    monotone: ⟨X, R[X]⟩ > 0 for each symmetric X ≠ 0.

    Args:
        slack: C.
        response: R.
        start: M of a problem nearby.

    """
    size = len(slack)
    nothing = np.zeros((size, size))
    if np.linalg.eigvalsh(slack)[0] >= 0:
        return Solution(nothing, 0.0, -slack)
    unit = float(np.linalg.norm(slack))
    gain = float(np.linalg.norm(response))
    if not (np.isfinite(unit) and np.isfinite(gain) and gain > 0):
        return Solution(np.full_like(slack, np.nan), np.inf, nothing)
    c, r = slack / unit, response / gain
    scale = unit / gain  # of Σ
    if size == 1:
        along = float(r[0, 0, 0, 0])
        found = np.array([[-c[0, 0] / along]]) if along > 0 else np.full((1, 1), np.nan)
        return Solution(scale * found, 0.0 if along > 0 else np.inf, found)
    starts = [-c, np.eye(size), -c + np.eye(size)]
    if start is not None and start.shape == slack.shape:
        starts.insert(0, start)
    best = min((_from(each, c, r) for each in starts[:1]), key=lambda found: found[1])
    for each in starts[1:]:
        if best[1] <= _TOL:
            break
        best = min(best, _from(each, c, r), key=lambda found: found[1])
    normal, residual = best
    return Solution(scale * parts(normal)[0], residual, normal)


def parts(matrix: NumpyArray) -> tuple[NumpyArray, NumpyArray]:
    """Return M₊ and M₋, both positive semidefinite, with M = M₊ − M₋ and M₊M₋ = 0."""
    values, vectors = np.linalg.eigh(matrix)
    plus = (vectors * np.maximum(values, 0)) @ vectors.T
    return plus, plus - matrix


def _from(start: NumpyArray, c: NumpyArray, r: NumpyArray) -> tuple[NumpyArray, float]:
    from scipy.optimize import root  # slow to import: those without central flows wait

    size = len(c)
    upper = np.triu_indices(size)

    def matrix(x: NumpyArray) -> NumpyArray:
        full = np.zeros((size, size))
        full[upper] = x
        return full + np.triu(full, 1).T

    def equation(x: NumpyArray) -> NumpyArray:
        plus, minus = parts(matrix(x))
        return (c + _symmetric(np.einsum("ijlm,lm->ij", r, plus)) - minus)[upper]

    found = root(equation, start[upper], method="hybr", options={"xtol": 1e-13})
    return matrix(found.x), float(np.linalg.norm(equation(found.x)))


def _symmetric(matrix: NumpyArray) -> NumpyArray:
    return (matrix + matrix.T) / 2
