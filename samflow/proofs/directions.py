"""A cover of the unit sphere by patches that can be cut: the faces of a cube, seen from its centre.

A unit vector is e = v/‖v‖ with v_axis = side and the other coordinates u of v within [−1, 1], so
that n − 1 numbers describe it, and

    ∂e_l/∂u_k = (δ_lk − e_l e_k)/‖v‖.
"""

from collections.abc import Sequence
from typing import NamedTuple

from flint import arb

from samflow._types import Box
from samflow.proofs.balls import Ball, Balls, Span, hulls


def frame(u: Balls, axis: int, side: int) -> tuple[Ball, Balls]:
    """Return ‖v‖ and e = v/‖v‖ for the `u` of a face."""
    norm = sum(((x * x).nonnegative_part() for x in u), arb(1)).sqrt()
    return norm, [x / norm for x in [*u[:axis], arb(side), *u[axis:]]]


def turns(norm: Ball, unit: Balls, axis: int) -> list[Balls]:
    """Return ∂e/∂u_k, one row for each u_k."""
    places = range(len(unit))
    return [
        [((1 if j == k else 0) - unit[j] * unit[k]) / norm for j in places]
        for k in places
        if k != axis
    ]


class Patch(NamedTuple):
    """Part of the unit sphere: the directions of a box on one face of the cube, a closed set.

    Attributes:
        axis: the coordinate of the face.
        side: its sign, 1 or −1.
        box: one interval within [−1, 1] for each other coordinate; empty in one dimension.

    """

    axis: int
    side: int
    box: Box

    @property
    def u(self) -> Balls:
        """The free coordinates, as balls."""
        return hulls(self.box)

    def frame(self) -> tuple[Ball, Balls]:
        """Return ‖v‖ and e on the patch."""
        return frame(self.u, self.axis, self.side)

    def unit(self) -> Balls:
        """Return e on the patch, one ball for each coordinate."""
        return self.frame()[1]

    def middle(self) -> "Patch":
        """Return the patch of the one direction in the middle of the box."""
        return self._replace(box=tuple((m, m) for m in map(middle, self.box)))

    def cut(self, k: int) -> "tuple[Patch, Patch]":
        """Return the two halves across u_k; they share the direction where they are cut."""
        before, after = halves(self.box, k)
        return self._replace(box=before), self._replace(box=after)


def sphere(dim: int) -> list[Patch]:
    """Return patches that cover the unit sphere of `dim` dimensions: two points if dim is 1."""
    face: Box = ((-1.0, 1.0),) * (dim - 1)
    return [Patch(axis, side, face) for axis in range(dim) for side in (1, -1)]


def patch_of(v: Sequence[float]) -> Patch:
    """Return the patch of the one direction of a vector other than 0."""
    axis = max(range(len(v)), key=lambda i: abs(v[i]))
    u = [float(x) / abs(float(v[axis])) for i, x in enumerate(v) if i != axis]
    return Patch(axis, 1 if v[axis] > 0 else -1, tuple((x, x) for x in u))


def halves(box: Box, k: int) -> tuple[Box, Box]:
    """Cut `box` across its interval k, in the middle."""
    low, high = box[k]
    cut = middle(box[k])
    before, after = box[:k], box[k + 1 :]
    return (*before, (low, cut), *after), (*before, (cut, high), *after)


def middle(interval: Span) -> float:
    """Return the double in the middle of an interval."""
    low, high = interval
    return 0.5 * low + 0.5 * high
