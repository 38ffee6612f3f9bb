"""Coefficients of the critical normal forms (Kuznetsov 2004, sections 5.4 and 8.7; Govaerts 2000).

With A the Jacobian, B and C the second and third derivatives of F (map) or f (flow), Aq = μq,
pᴴA = μpᴴ, ⟨p, q⟩ = pᴴq = 1, ‖q‖ = 1:

    fold, transcritical     a = ½⟨p, B(q, q)⟩
    pitchfork               c = ⅙⟨p, C(q, q, q) + 3B(q, h)⟩,  (I − A)h = B(q, q) − ⟨p, B(q, q)⟩q
    flip                    b = ⅙⟨p, C(q, q, q) + 3B(q, h)⟩,  (I − A)h = B(q, q)
    Neimark–Sacker          d = ½Re e^{−iθ}⟨p, C(q, q, q̄) + 2B(q, h) + B(q̄, k)⟩,
                            (I − A)h = B(q, q̄),  (e^{2iθ} − A)k = B(q, q)
    Hopf                    l₁ = Re⟨p, C(q, q, q̄) + 2B(q, h) + B(q̄, k)⟩/(2ω),
                            −Ah = B(q, q̄),  (2iω − A)k = B(q, q)

A flip is supercritical if b > 0; pitchfork, Neimark–Sacker and Hopf if the number is negative.
The number depends on the units of the state as 1/length or 1/length², its sign on none.
"""

from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from samflow._types import ArrayLike

Equations: TypeAlias = Any
"""A pytree with a method `advance(z, p)`: F(z) of a map, f(z) of a flow, at a parameter p."""


class Eigenpair(NamedTuple):
    """A critical eigenvalue with its right and left vectors, ‖q‖ = 1 and ⟨p, q⟩ = 1."""

    value: complex
    right: np.ndarray
    left: np.ndarray


def eigenpair(matrix: np.ndarray, near: complex) -> Eigenpair:
    """Return the eigenvalue of a matrix that is nearest to `near`, with its vectors."""
    import scipy.linalg  # slow to import, and seldom needed

    found: Any = scipy.linalg.eig(matrix, left=True, right=True)
    values, lefts, rights = found
    which = int(np.argmin(np.abs(values - near)))
    value, q, p = complex(values[which]), rights[:, which], lefts[:, which]
    if abs(value.imag) <= 1e-12 * (1 + abs(value)) and abs(complex(near).imag) == 0:
        q, p = np.real(q), np.real(p)
        q = q * np.sign(q[np.argmax(np.abs(q))])
    return Eigenpair(value, q / np.linalg.norm(q), p / np.conj(np.vdot(p, q / np.linalg.norm(q))))


class Derivatives:
    """The multilinear forms B and C of a system at a point, also of complex vectors."""

    def __init__(self, equations: Equations, y: np.ndarray) -> None:
        """Fix the equations and the point y = (z, p)."""
        self._at = equations, y

    def second(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return B(u, v)."""
        return _complex(lambda a, b: np.asarray(_second(*self._at, a, b)), u, v)

    def third(self, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Return C(u, v, w)."""
        return _complex(lambda a, b, c: np.asarray(_third(*self._at, a, b, c)), u, v, w)


def _complex(form: Any, *vectors: np.ndarray) -> np.ndarray:
    """Extend a real multilinear form to complex vectors, one argument after the other."""
    for i, vector in enumerate(vectors):
        if np.iscomplexobj(vector):
            parts = (np.real(vector), np.imag(vector))
            real, imag = (_complex(form, *vectors[:i], x, *vectors[i + 1 :]) for x in parts)
            return real + 1j * imag
    return form(*vectors)


@eqx.filter_jit
def _second(equations: Equations, y: ArrayLike, u: ArrayLike, v: ArrayLike) -> Array:
    return _directional(equations, y, (u, v))


@eqx.filter_jit
def _third(equations: Equations, y: ArrayLike, u: ArrayLike, v: ArrayLike, w: ArrayLike) -> Array:
    return _directional(equations, y, (u, v, w))


def _directional(equations: Equations, y: Array, vectors: tuple[Array, ...]) -> Array:
    def function(z: Array) -> Array:
        return equations.advance(z, y[-1])

    for vector in vectors:
        function = _along(function, vector)
    return function(y[:-1])


def _along(function: Any, vector: Array) -> Any:
    return lambda z: jax.jvp(function, (z,), (vector,))[1]


def quadratic(forms: Derivatives, pair: Eigenpair) -> float:
    """Return a = ½⟨p, B(q, q)⟩."""
    return 0.5 * float(np.real(np.vdot(pair.left, forms.second(pair.right, pair.right))))


def cubic(forms: Derivatives, shifted: np.ndarray, pair: Eigenpair, *, singular: bool) -> float:
    """Return ⅙⟨p, C(q, q, q) + 3B(q, h)⟩ of a real eigenvalue.

    Args:
        forms: B and C.
        shifted: what h is solved from: I − A, of a flow −A.
        pair: the critical eigenvalue.
        singular: whether `shifted` is singular along q, as at a pitchfork; h then has no part
            along q.

    """
    q, p = pair.right, pair.left
    square = forms.second(q, q)
    if singular:
        square = square - np.vdot(p, square) * q
    h = np.linalg.lstsq(shifted, square, rcond=1e-8)[0]
    if singular:
        h = h - np.vdot(p, h) * q
    inner = forms.third(q, q, q) + 3 * forms.second(q, h)
    return float(np.real(np.vdot(p, inner))) / 6


def rotating(forms: Derivatives, jacobian: np.ndarray, pair: Eigenpair, discrete: bool) -> float:
    """Return d of Neimark–Sacker, or l₁ of Hopf."""
    q, p, identity = pair.right, pair.left, np.eye(len(jacobian))
    mean = forms.second(q, np.conj(q))
    twice = forms.second(q, q)
    if discrete:
        turn = pair.value / abs(pair.value)
        h = np.linalg.solve(identity - jacobian, mean)
        k = np.linalg.solve(turn**2 * identity - jacobian, twice)
    else:
        turn = 1j * abs(pair.value.imag)
        h = np.linalg.solve(-jacobian, mean)
        k = np.linalg.solve(2 * turn * identity - jacobian, twice)
    inner = forms.third(q, q, np.conj(q)) + 2 * forms.second(q, h)
    inner = np.vdot(p, inner + forms.second(np.conj(q), k))
    return (
        float(np.real(np.conj(turn) * inner)) / 2
        if discrete
        else float(np.real(inner) / (2 * abs(pair.value.imag)))
    )
