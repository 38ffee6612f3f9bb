"""Directions in which g/‖g‖ rests near a critical point: along them solutions arrive or leave.

Near w* the direction θ = g/‖g‖ turns by θ′ = −(I − θθᵀ)Hℓ(θ), and (log‖g‖)′ = −S(θ), in the time
‖g‖ dτ = dt. It rests where Hℓ(e) = S(e)e. If S(e) < 0 there, a solution leaves w* along e. In two
dimensions all else turns towards such directions, if there are any: if S > 0 at each of them, all
solutions from nearby arrive.
"""

from dataclasses import dataclass

import numpy as np

from samflow.proofs._krawczyk import newton
from samflow.proofs.balls import Ball, Balls, OutsideDomain
from samflow.proofs.directional import Directional
from samflow.proofs.directions import Patch, frame, patch_of, sphere, turns
from samflow.proofs.equations import dot
from samflow.proofs.search import certify_near, find_zeros

_TRIES, _RANDOM = 6, 16
"""Eigenvectors, with both signs, and random directions from which Newton's iteration starts."""


@dataclass(frozen=True)
class RestingDirections:
    """F_j = (Hℓ)_j − side (Hℓ)_axis u_j = 0 on one face, j ≠ axis, for rules without a scale."""

    rate: Directional
    rho: float
    axis: int
    side: int

    def value(self, point: Balls) -> Balls:
        """Return F."""
        return self._along(self._pull(frame(point, self.axis, self.side)[1]), point)

    def linearise(self, box: Balls) -> tuple[Balls, list[Balls]]:
        """Return F and its Jacobian."""
        norm, e = frame(box, self.axis, self.side)
        g, h = self.rate.equations.linearise(self._at(e))
        hessian = self.rate.hessian
        pull = [dot(row, g) for row in hessian]
        moved = []
        for turn in turns(norm, e, self.axis):
            d = [self.rho * dot(row, turn) for row in h]
            moved.append([dot(row, d) for row in hessian])
        free = [j for j in range(len(e)) if j != self.axis]
        rows = [
            [
                m[j] - self.side * m[self.axis] * u - (self.side * pull[self.axis] if i == k else 0)
                for k, m in enumerate(moved)
            ]
            for i, (j, u) in enumerate(zip(free, box, strict=True))
        ]
        return self._along(pull, box), rows

    def _at(self, e: Balls) -> Balls:
        return [c + self.rho * x for c, x in zip(self.rate.centre, e, strict=True)]

    def _pull(self, e: Balls) -> Balls:
        g = self.rate.equations.value(self._at(e))
        return [dot(row, g) for row in self.rate.hessian]

    def _along(self, pull: Balls, u: Balls) -> Balls:
        ahead = self.side * pull[self.axis]
        others = [*pull[: self.axis], *pull[self.axis + 1 :]]
        return [x - ahead * y for x, y in zip(others, u, strict=True)]

    def rate_at(self, u: Balls) -> Ball:
        """Return S."""
        e = frame(u, self.axis, self.side)[1]
        return dot(e, self._pull(e))


def leaving_direction(
    rate: Directional, rho: float, start: tuple[float, ...]
) -> tuple[float, ...] | None:
    """Return a direction in which a solution leaves; None where none was proved.

    Tried are the directions that Newton's iteration leads to from `start`, where S is negative,
    from the eigenvectors of H, and from random directions.
    """
    if any(square != 1 for square in rate.squares):
        return None
    hessian = np.array([[float(x) for x in row] for row in rate.hessian])
    vectors = np.linalg.eigh(hessian)[1].T
    random = np.random.default_rng(0).normal(size=(_RANDOM, len(start)))
    starts = [np.array(start), *vectors[:_TRIES], *-vectors[:_TRIES], *random]
    for e in starts:
        found = _from(rate, rho, patch_of(e.tolist()))
        if found is not None:
            return found
    return None


def _from(rate: Directional, rho: float, patch: Patch) -> tuple[float, ...] | None:
    equations = RestingDirections(rate, rho, patch.axis, patch.side)
    if not patch.box:
        return (float(patch.side),) if equations.rate_at([]) < 0 else None
    u = newton(equations, np.array([low for low, _ in patch.box]))
    if u is None or not all(abs(x) < 2 for x in u):
        return None
    try:
        zeros = certify_near(equations, [u]).zeros
        if zeros and equations.rate_at(zeros[0]) < 0:
            e = frame(zeros[0], patch.axis, patch.side)[1]
            return tuple(float(x) for x in e)
    except OutsideDomain:
        return None
    return None


def all_rests_attract(rate: Directional, rho: float, *, max_cells: int) -> bool:
    """Say whether, in two dimensions, S > 0 is proved wherever the direction rests."""
    if len(rate.centre) != 2 or any(square != 1 for square in rate.squares):
        return False
    found = 0
    for patch in sphere(2):
        equations = RestingDirections(rate, rho, patch.axis, patch.side)
        search = find_zeros(equations, patch.box, max_boxes=max_cells)
        if search.undecided or search.unexamined:
            return False
        if not all(equations.rate_at(zero) > 0 for zero in search.zeros):
            return False
        found += len(search.zeros)
    return found > 0
