"""Star-shaped sets about a critical point w*: ellipsoids and parallelepipeds, cut into cones.

In the coordinates y = A(w − w*) an ellipsoid is ‖y‖ ≤ 1 and a parallelepiped is |y − c|∞ ≤ 1 with
|c|∞ < 1. Either is the set V ≤ 1 of its gauge V, which grows in proportion along every ray from w*:
y has V(y) = s iff y = s q for a q on the surface. A patch of a cube's faces parametrises the q.
"""

import abc
import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from flint import arb, arb_mat

from samflow.proofs.balls import Ball, Balls
from samflow.proofs.directions import Patch, frame, turns


@dataclass(frozen=True)
class AbstractGauge(abc.ABC):
    """A shape about w*.

    Attributes:
        rows: A, doubles that are taken exactly.

    """

    rows: np.ndarray

    @abc.abstractmethod
    def surface(self, patch: Patch) -> tuple[Balls, list[Balls]]:
        """Return the points q of a patch of the surface, and ∂q/∂u_k, one row for each u_k."""

    @abc.abstractmethod
    def ray(self, patch: Patch) -> "Ray":
        """Return the rays of a patch."""

    @abc.abstractmethod
    def excesses(self, y: Balls, s: Ball) -> Balls:
        """Return functions of y and s that are all ≤ 0 iff V(y) ≤ s."""

    @abc.abstractmethod
    def slopes(self, y: Balls) -> list[Balls]:
        """Return the derivatives of `excesses` by y."""

    @abc.abstractmethod
    def changes(self, start: Balls, moved: Balls, s: Ball) -> Balls:
        """Return `excesses` of start − moved over s = V(start)."""

    @abc.abstractmethod
    def change_slopes(self, start: Balls, moved: Balls) -> list[tuple[Balls, Balls, Ball]]:
        """Return the derivatives of `changes` by start, by moved and by s."""

    @abc.abstractmethod
    def fall(self, excess: Ball, s: Ball) -> Ball:
        """Return by how much V(y) is less than s where no excess is more than `excess`."""

    @abc.abstractmethod
    def bound(self, y: Balls) -> Ball:
        """Return V(y)."""

    @abc.abstractmethod
    def level(self, y: np.ndarray) -> np.ndarray:
        """Return V of numbers y of shape (..., dim)."""

    @abc.abstractmethod
    def extents(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the largest distance from w* in V ≤ 1, and the least outside it, in weights."""

    @property
    def matrix(self) -> Any:
        """A as a matrix of balls."""
        return arb_mat([[arb(x) for x in row] for row in self.rows.tolist()])


class Ray(NamedTuple):
    """The points s q of a ray, written as s·scale·along, where `along` is linear in u.

    Attributes:
        along: a vector, with unit vectors as derivatives by the u_k.
        scale: a positive number.
        shrink: the derivatives of log(scale) by the u_k.

    """

    along: Balls
    scale: Ball
    shrink: Balls


class Ellipsoid(AbstractGauge):
    """‖y‖ ≤ 1."""

    def surface(self, patch: Patch) -> tuple[Balls, list[Balls]]:
        """Return unit vectors."""
        norm, q = frame(patch.u, patch.axis, patch.side)
        return q, turns(norm, q, patch.axis)

    def ray(self, patch: Patch) -> Ray:
        """Return the point of the cube, with 1 over its length."""
        norm, _ = frame(patch.u, patch.axis, patch.side)
        return Ray(_whole(patch), 1 / norm, [-x / square(norm) for x in patch.u])

    def excesses(self, y: Balls, s: Ball) -> Balls:
        """Return ‖y‖² − s²."""
        return [sum((square(x) for x in y), arb(0)) - square(s)]

    def slopes(self, y: Balls) -> list[Balls]:
        """Return 2y."""
        return [[2 * x for x in y]]

    def changes(self, start: Balls, moved: Balls, s: Ball) -> Balls:
        """Return ‖moved‖² − 2 start·moved: ‖start‖ is s, and nothing cancels."""
        return [sum((square(m) - 2 * x * m for x, m in zip(start, moved, strict=True)), arb(0))]

    def change_slopes(self, start: Balls, moved: Balls) -> list[tuple[Balls, Balls, Ball]]:
        """Return −2 moved, 2 moved − 2 start and 0."""
        by_start = [-2 * m for m in moved]
        by_moved = [2 * m - 2 * x for x, m in zip(start, moved, strict=True)]
        return [(by_start, by_moved, arb(0))]

    def fall(self, excess: Ball, s: Ball) -> Ball:
        """Return s − √(s² + excess) or less: −excess/2s."""
        return -excess / (2 * s)

    def bound(self, y: Balls) -> Ball:
        """Return ‖y‖."""
        return sum((square(x) for x in y), arb(0)).sqrt()

    def level(self, y: np.ndarray) -> np.ndarray:
        """Return ‖y‖."""
        return np.linalg.norm(y, axis=-1)

    def extents(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the singular values of A⁻¹."""
        values = np.linalg.svd(self.rows, compute_uv=False)
        return 1 / values.min(), 1 / values.max()


@dataclass(frozen=True)
class Parallelepiped(AbstractGauge):
    """|y − c|∞ ≤ 1.

    Attributes:
        shift: c.

    """

    shift: np.ndarray

    def surface(self, patch: Patch) -> tuple[Balls, list[Balls]]:
        """Return the points of the faces."""
        return self.ray(patch).along, free_units(patch)

    def ray(self, patch: Patch) -> Ray:
        """Return the points of the faces, which are linear in u already."""
        q = [c + x for c, x in zip(self._centre, _whole(patch), strict=True)]
        return Ray(q, arb(1), [arb(0)] * len(patch.box))

    def excesses(self, y: Balls, s: Ball) -> Balls:
        """Return how far each coordinate is above its upper and below its lower end."""
        above = [x - s * (c + 1) for x, c in zip(y, self._centre, strict=True)]
        return above + [s * (c - 1) - x for x, c in zip(y, self._centre, strict=True)]

    def slopes(self, y: Balls) -> list[Balls]:
        """Return ± unit vectors."""
        units = [[arb(int(i == j)) for j in range(len(y))] for i in range(len(y))]
        return [*units, *[[-x for x in unit] for unit in units]]

    def changes(self, start: Balls, moved: Balls, s: Ball) -> Balls:
        """Return the excesses of the difference: they are linear."""
        return self.excesses([x - m for x, m in zip(start, moved, strict=True)], s)

    def change_slopes(self, start: Balls, moved: Balls) -> list[tuple[Balls, Balls, Ball]]:
        """Return ± unit vectors, the same with the other sign, and minus the ends."""
        by_s = [-(c + 1) for c in self._centre] + [c - 1 for c in self._centre]
        slopes = self.slopes(start)
        return [(slope, [-x for x in slope], end) for slope, end in zip(slopes, by_s, strict=True)]

    def fall(self, excess: Ball, s: Ball) -> Ball:
        """Return −excess over the farthest end."""
        return -excess / (1 + max(abs(c) for c in self._centre))

    def bound(self, y: Balls) -> Ball:
        """Return the largest ratio of a coordinate to an end of the set."""
        ends = [end for c in self._centre for end in (c + 1, c - 1)]
        pairs = zip([x for x in y for _ in range(2)], ends, strict=True)
        return functools.reduce(arb.max, [x / end for x, end in pairs])

    def level(self, y: np.ndarray) -> np.ndarray:
        """Return the least s with y in s times the set."""
        return np.maximum(y / (self.shift + 1), y / (self.shift - 1)).max(axis=-1)

    def extents(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the farthest corner and the nearest face."""
        inverse = np.linalg.inv(self.rows)
        signs = np.stack(np.meshgrid(*[[-1.0, 1.0]] * len(self.shift))).reshape(len(inverse), -1)
        corners = inverse @ (self.shift[:, None] + signs)
        faces = (1 - np.abs(self.shift)) / np.linalg.norm(self.rows, axis=1)
        return np.linalg.norm(corners, axis=0).max(), faces.min()

    @property
    def _centre(self) -> Balls:
        return [arb(c) for c in self.shift.tolist()]


def _whole(patch: Patch) -> Balls:
    """Return the points of a patch of the cube."""
    u = patch.u
    return [*u[: patch.axis], arb(patch.side), *u[patch.axis :]]


def free_units(patch: Patch) -> list[Balls]:
    """Return the unit vector of each u_k."""
    places = range(len(patch.box) + 1)
    return [[arb(int(j == k)) for j in places] for k in places if k != patch.axis]


def square(x: Ball) -> Ball:
    """Return x² ≥ 0."""
    return (x * x).nonnegative_part()
