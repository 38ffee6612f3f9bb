"""Where a continuum lies, before any system is looked at: its samples, tangents and ends."""

from typing import NamedTuple

import numpy as np

from samflow.equilibria.continua.records import SingularPoint
from samflow.equilibria.continua.surfaces import pieces, verified
from samflow.equilibria.continua.trace import CLOSED, SINGULAR, Path, trace
from samflow.equilibria.continua.zeros import Zeros
from samflow.proofs.varieties import Piece

_MAX_CURVES = 64
_MAX_SAMPLES = 200
"""More samples of a surface than these are left out."""
_FEWEST = 3
"""A sheet of fewer samples is no surface: its samples stay without one."""
_CLOSE = 1e-2
"""A curve between two samples lies at most this part of their distance from the cubic."""
_REACH = 0.25
"""A point of a surface is at most so far from a sample of it, in units of the box."""
_AT_END = 5e-3
"""A curve that ends at a singular point stops this near to it, in units of the box."""


class Geometry(NamedTuple):
    """A curve, or samples of a surface.

    Attributes:
        zeros: the equations, and the units of the box.
        u: samples in these units, of a curve in order.
        tangents: orthonormal in units of the weights, shape (samples, d, n).
        ends: of a curve why it ends; empty words for surfaces.
        pairs: numbers of neighbours, shape (pairs, 2).
        equations, parametrisation, proved, singular: as in `Continuum`.
        piece: the ideal, where the equations come from one.

    """

    zeros: Zeros
    u: np.ndarray
    tangents: np.ndarray
    ends: tuple[str, str]
    pairs: np.ndarray
    equations: tuple[str, ...] = ()
    parametrisation: str = ""
    proved: bool = False
    singular: tuple[SingularPoint, ...] = ()
    piece: Piece | None = None

    @property
    def dimension(self) -> int:
        """Its dimension."""
        return self.tangents.shape[1]

    @property
    def closed(self) -> bool:
        """Whether it is a curve that returns."""
        return self.ends[0] == CLOSED

    @property
    def w(self) -> np.ndarray:
        """The samples as weights."""
        return self.zeros.weights(self.u)

    def meets(self, w: np.ndarray) -> bool:
        """Say whether a common zero of its equations lies on it; on any sheet it does."""
        if self.dimension > 1:
            return True
        u = self.zeros.units(w)
        path = Path(self.u, self.tangents[:, 0], self.ends)
        tips = [self.u[i] for i in (0, -1) if self.ends[i] == SINGULAR]
        return path.holds(u) or any(np.linalg.norm(u - tip) <= _AT_END for tip in tips)

    def holds(self, w: np.ndarray) -> bool:
        """Say whether a zero lies on it: on the curve, or no further off than samples are."""
        if self.dimension == 1:
            return self.meets(w)
        gaps = np.linalg.norm(self.u - self.zeros.units(w), axis=1)
        return bool(gaps.min() <= _REACH and self.zeros.dimension(self.zeros.units(w)) >= 1)

    def guess(self, i: int, j: int, share: float) -> np.ndarray:
        """Return a point between two samples: of a curve by the cubic through both, else a chord.

        Near a crossing the chord can lie nearer to the other curve.
        """
        chord = self.u[j] - self.u[i]
        if self.dimension > 1:
            return self.u[i] + share * chord
        along = [self.tangents[k, 0] / self.zeros.size for k in (i, j)]
        slopes = [t * np.linalg.norm(chord) / np.linalg.norm(t) for t in along]
        s, t = share, 1 - share
        ends = (1 + 2 * s) * t**2 * self.u[i] + (1 + 2 * t) * s**2 * self.u[j]
        return ends + s * t * (t * slopes[0] - s * slopes[1])

    def between(self, i: int, j: int, share: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the zero between two samples, and its tangents; None where none is close."""
        chord = self.u[j] - self.u[i]
        guess = self.guess(i, j, share)
        curve = self.dimension == 1
        plane = chord[:, None] / np.linalg.norm(chord) if curve else np.zeros((len(chord), 0))
        ends, solved = self.zeros.solve(guess[None], plane[None], len(chord) - self.dimension)
        close = _CLOSE if curve else 1.0
        if not (solved[0] and np.linalg.norm(ends[0] - guess) <= close * np.linalg.norm(chord)):
            return None
        if curve and not self.zeros.frame(ends[0], 1).regular:  # as at a crossing
            t = (1 - share) * self.tangents[i, 0] + share * self.tangents[j, 0]
            return ends[0], t[None] / np.linalg.norm(t)
        return ends[0], _tangents(self.zeros, ends[0], self.dimension)


def curves(zeros: Zeros, seeds: np.ndarray) -> list[Geometry]:
    """Follow the curves through zeros (k, n), in units of the box, each once."""
    paths: list[Path] = []
    for seed in seeds:
        if len(paths) >= _MAX_CURVES:
            break
        if not any(path.holds(seed) for path in paths):
            path = trace(zeros, seed)
            if path is not None:
                paths.append(path.oriented())
    made = []
    for path in paths:
        tangents = path.tangents * zeros.size
        tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
        number = np.arange(len(path.u))
        pairs = np.stack([number[:-1], number[1:]], axis=1)
        made.append(Geometry(zeros, path.u, tangents[:, None], path.ends, pairs))
    return made


def sheets(
    zeros: Zeros, seeds: np.ndarray, dimension: int, *, known: bool = False
) -> list[Geometry]:
    """Return the samples among zeros (k, n) that lie on surfaces, one item a connected sheet.

    Args:
        zeros: the equations.
        seeds: zeros, in units of the box.
        dimension: of the surface.
        known: whether the dimension follows from the equations; else each sample is verified.

    """
    seeds = seeds[:_MAX_SAMPLES]
    kept = np.array(
        [
            zeros.frame(seed, dimension).regular if known else verified(zeros, seed, dimension)
            for seed in seeds
        ],
        dtype=bool,
    )
    seeds = seeds[kept]
    if len(seeds) < _FEWEST:
        return []
    label, pairs = pieces(zeros, seeds, dimension)
    made = []
    for name in np.unique(label):
        own = np.flatnonzero(label == name)
        if len(own) < _FEWEST:
            continue
        mine = pairs[np.isin(pairs[:, 0], own)]
        tangents = np.array([_tangents(zeros, u, dimension) for u in seeds[own]])
        numbers = np.searchsorted(own, mine)
        made.append(Geometry(zeros, seeds[own], tangents, ("", ""), numbers))
    return made


def _tangents(zeros: Zeros, u: np.ndarray, dimension: int) -> np.ndarray:
    """Return an orthonormal basis of the tangent space in units of the weights, as rows."""
    along = zeros.frame(u, dimension).along * zeros.size[:, None]
    return np.linalg.qr(along)[0].T
