"""Labels starts with attractors that may become more on the way."""

from collections.abc import Callable

import numpy as np

from samflow._status import Kind
from samflow._types import Box
from samflow.attractors.basins.capture import exponent
from samflow.attractors.basins.finding import SCOUTS, find_attractors
from samflow.attractors.basins.labelling import Labels, label
from samflow.attractors.basins.records import Attractor, Ending
from samflow.equilibria import FixedPoints, find_fixed_points
from samflow.equilibria.limit_cycles.near_returns import crossing_time
from samflow.systems import AbstractFlow, AbstractSystem

_TRIED = 64
"""Starts that tell how fast a flow is where no fixed point attracts."""


class Search:
    """The attractors of a system that are known so far, in and about a box.

    Attributes:
        attractors: in the order in which they were found.
        longest: how many steps, or how much time of a flow, orbits are followed at most.

    """

    def __init__(self, system: AbstractSystem, sides: Box, longest: float, seed: int) -> None:
        """Begin with no attractors."""
        self._system, self._sides, self._seed = system, sides, seed
        self._extent = max(high - low for low, high in sides)
        self.longest = longest
        self.attractors: tuple[Attractor, ...] = ()

    def fixed_points(self) -> FixedPoints | None:
        """Search the box; where a weight is held, so far to both sides as the box is wide."""
        sides = np.array(self._sides)
        held = sides[:, 0] == sides[:, 1]
        sides[held] += self._extent * np.array([-1, 1])
        domain = getattr(getattr(self._system, "loss", None), "domain", None)
        if domain is not None:
            low, high = np.array(domain).T
            sides = np.clip(sides, low[:, None], high[:, None])
            if not (sides[:, 0] < sides[:, 1]).all():
                return None
        return find_fixed_points(self._system, sides)

    def time(self, points: FixedPoints | None) -> float:
        """Return the time constant of a flow: the longest with which a fixed point attracts.

        Without one the time in which a typical start crosses the box at its first speed.
        """
        rates = [
            exponent(self._system, np.asarray(one.state), 1)
            for one in (() if points is None else points.stability)
            if one.kind is Kind.attracting
        ]
        if rates:
            return float(-1 / max(rates))
        assert isinstance(self._system, AbstractFlow)
        low, high = np.array(self._sides).T
        starts = low + (high - low) * np.random.default_rng(0).uniform(size=(_TRIED, len(low)))
        return crossing_time(self._system, starts, self._extent)

    def find(self, starts: np.ndarray, points: FixedPoints | None = None) -> bool:
        """Look for attractors with some of the starts; say whether there are new ones."""
        if len(starts) > SCOUTS:
            random = np.random.default_rng(self._seed)
            starts = starts[np.sort(random.choice(len(starts), SCOUTS, replace=False))]
        before = len(self.attractors)
        self.attractors = find_attractors(
            self._system,
            starts,
            longest=self.longest,
            extent=self._extent,
            points=points,
            known=self.attractors,
        )
        return len(self.attractors) > before

    def label(
        self,
        starts: np.ndarray,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Labels:
        """Return the labels of starts."""
        longest = self.longest
        found = label(self._system, starts, self.attractors, longest=longest, progress=progress)
        # A start that came to nothing may have come to an attractor that no scout came to.
        known = np.isfinite(found.states).all(axis=1)
        while (left := np.flatnonzero((found.labels == Ending.unresolved) & known)).size:
            if not self.find(found.states[left]):
                break
            again = label(self._system, starts[left], self.attractors, longest=longest)
            for whole, part in zip(found, again, strict=True):
                whole[left] = part
        return found
