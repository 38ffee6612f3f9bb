"""A curve of zeros followed from one of its points, both ways, to the faces of the box.

A step goes along the tangent; Gauss-Newton then solves the equations in the plane across it (Keller
1977). It is taken only if the corrector moved little, the tangent turned little, and the middle of
the step lies where the cubic through both ends puts it. A set of zeros of analytic functions has no
end: a curve that is lost where its equations are regular is none.
"""

from typing import NamedTuple

import numpy as np

from samflow.equilibria.continua.zeros import Zeros

BOX, SINGULAR, LONG, CLOSED, LOST = "the box", "a singular point", "too long", "closed", "lost"
"""Why a curve ends: it leaves the box; its equations lose their rank; no steps are left."""

_FIRST, _MOST, _LEAST = 0.01, 0.0125, 1e-4
"""Lengths of steps, in units of the box."""
_TURN, _CORRECTED, _MIDDLE = 0.985, 0.2, 0.03
"""As in `attractors.continuation.curve`: at most 10 degrees, and so little from the cubic."""
_GROWTH, _SHRINKAGE = 1.5, 0.5
_MAX_STEPS = 4000
_ROOM = 1e-12


class Path(NamedTuple):
    """A curve in units of the box.

    Attributes:
        u: points in order, shape (k, n); of a closed curve the first is repeated at the end.
        tangents: unit vectors along it, shape (k, n).
        ends: why it ends at its first and its last point.

    """

    u: np.ndarray
    tangents: np.ndarray
    ends: tuple[str, str]

    @property
    def closed(self) -> bool:
        """Whether it came back to its first point."""
        return self.ends[0] == CLOSED

    def oriented(self) -> "Path":
        """Return an open curve so that its first point comes first in lexicographic order."""
        if self.closed or tuple(self.u[0]) <= tuple(self.u[-1]):
            return self
        return Path(self.u[::-1], -self.tangents[::-1], (self.ends[1], self.ends[0]))

    def holds(self, u: np.ndarray) -> bool:
        """Say whether a point lies on the curve, as nearly as its chords do."""
        a, b = self.u[:-1], self.u[1:]
        chords = b - a
        lengths = np.linalg.norm(chords, axis=1)
        along = np.einsum("ij,ij->i", u - a, chords) / lengths**2
        nearest = a + np.clip(along, 0, 1)[:, None] * chords
        return bool((np.linalg.norm(u - nearest, axis=1) <= 0.05 * lengths).any())


def trace(zeros: Zeros, start: np.ndarray) -> Path | None:
    """Follow the curve through `start`, a regular zero; None where there is none.

    Returns:
        The curve; None where it is lost, as beside a zero that is degenerate and isolated.

    """
    frame = zeros.frame(start, 1)
    if not frame.regular:
        return None
    tangent = frame.along[:, 0]
    ahead, turns, end = _half(zeros, start, tangent)
    if end == CLOSED:
        return Path(ahead, turns, (CLOSED, CLOSED))
    if end == LOST:
        return None
    behind, back, beginning = _half(zeros, start, -tangent)
    if beginning == LOST or len(ahead) + len(behind) < 3:
        return None
    points = np.concatenate([behind[:0:-1], ahead])
    return Path(points, np.concatenate([-back[:0:-1], turns]), (beginning, end))


def _half(
    zeros: Zeros, start: np.ndarray, tangent: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str]:
    """Follow a curve one way; return its points, its tangents and why it ends."""
    points, tangents, step = [start], [tangent], _FIRST
    while len(points) < _MAX_STEPS:
        made = _stepped(zeros, points[-1], tangents[-1], step)
        if made is None:
            step *= _SHRINKAGE
            if step < _LEAST:
                return np.array(points), np.array(tangents), _why(zeros, points[-1])
            continue
        new, turned = made
        if not zeros.inside(new, _ROOM):
            face = _to_face(zeros, points[-1], new)
            if face is not None and np.linalg.norm(face - points[-1]) > 1e-9:
                points.append(face)
                tangents.append(_tangent(zeros, face, turned))
            return np.array(points), np.array(tangents), BOX
        if len(points) > 2 and _passes(points[-1], new, start, tangents[-1], tangent):
            points.append(start)
            tangents.append(tangent)
            return np.array(points), np.array(tangents), CLOSED
        points.append(new)
        tangents.append(turned)
        step = min(step * _GROWTH, _MOST)
    return np.array(points), np.array(tangents), LONG


def _stepped(
    zeros: Zeros, old: np.ndarray, tangent: np.ndarray, length: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the next point and its tangent; None where the step may have left the curve."""
    new = corrected(zeros, old + length * tangent, tangent)
    if new is None or np.linalg.norm(new - old - length * tangent) > _CORRECTED * length:
        return None
    turned = _tangent(zeros, new, tangent)
    if not turned @ tangent >= _TURN:
        return None
    chord = np.linalg.norm(new - old)
    middle = 0.5 * (old + new) + 0.125 * chord * (tangent - turned)
    found = corrected(zeros, middle, tangent)
    if found is None or np.linalg.norm(found - middle) > _MIDDLE * length:
        return None
    return new, turned


def corrected(zeros: Zeros, guess: np.ndarray, tangent: np.ndarray) -> np.ndarray | None:
    """Return the zero in the plane through `guess` across `tangent`, or None."""
    rank = len(guess) - 1
    ends, solved = zeros.solve(guess[None], tangent[None, :, None], rank)
    return ends[0] if solved[0] else None


def _tangent(zeros: Zeros, u: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the tangent at a zero in the direction of travel; defined at crossings as well."""
    slope = zeros.jacobian(u[None])[0]
    size = np.linalg.norm(slope, 2)
    matrix = np.vstack([slope / size if size > 0 else slope, before])
    right = np.append(np.zeros(len(slope)), 1.0)
    found = np.linalg.lstsq(matrix, right, rcond=1e-10)[0]
    length = np.linalg.norm(found)
    return found / length if length > 0 else before


def _why(zeros: Zeros, u: np.ndarray) -> str:
    """Say why a curve cannot be followed further: whether its equations lose their rank ahead."""
    singular = np.linalg.svd(zeros.jacobian(u[None])[0], compute_uv=False)
    lost = singular[len(u) - 2] <= 10 * _LEAST * max(singular[0], 1e-300) if len(u) > 1 else True
    # Where all of the Jacobian vanishes together, its size tells.
    return SINGULAR if lost or singular[0] <= 10 * _LEAST else LOST


def _to_face(zeros: Zeros, inner: np.ndarray, outer: np.ndarray) -> np.ndarray | None:
    """Return where the curve meets the face of the box between two of its points."""
    faces = np.where(outer > 1, 1.0, 0.0)
    out = (outer > 1) | (outer < 0)
    shares = np.where(out, (faces - inner) / np.where(out, outer - inner, 1.0), np.inf)
    i = int(np.argmin(shares))
    guess = inner + shares[i] * (outer - inner)
    guess[i] = faces[i]
    plane = np.eye(len(inner))[i]
    face = corrected(zeros, guess, plane)
    close = face is not None and np.linalg.norm(face - guess) <= np.linalg.norm(outer - inner)
    if not close or face is None:
        return None
    face[i] = faces[i]
    return face if zeros.inside(face, 1e-9) else None


def _passes(
    old: np.ndarray, new: np.ndarray, start: np.ndarray, tangent: np.ndarray, first: np.ndarray
) -> bool:
    """Say whether a step passes the first point of the curve, in its direction."""
    chord = new - old
    length = np.linalg.norm(chord)
    share = (start - old) @ chord / length**2
    off = np.linalg.norm(start - old - share * chord)
    return bool(0 < share <= 1 and off <= 0.1 * length and tangent @ first > 0.9)
