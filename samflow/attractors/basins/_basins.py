"""Which start of a box ends where."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow import _checks
from samflow._types import Box
from samflow.attractors.basins.finding import SCOUTS, find_attractors
from samflow.attractors.basins.labelling import SLAB, Labels, label
from samflow.attractors.basins.records import Attractor, Basins, Ending
from samflow.attractors.basins.refinement import refine as refined
from samflow.attractors.basins.starts import sides_of, starts_in
from samflow.equilibria import FixedPoints, find_fixed_points
from samflow.losses.base import AbstractLoss
from samflow.losses.eager import AbstractEagerLoss
from samflow.records import provenance
from samflow.systems import AbstractFlow, AbstractSystem
from samflow.systems.base import check_system


def basins(
    system: AbstractSystem,
    box: Any,
    resolution: int | tuple[int, ...] | None = None,
    *,
    num_samples: int | None = None,
    refine: bool = False,
    attractors: Basins | Sequence[Attractor] | None = None,
    max_steps: int = 200_000,
    t1: float = 1e4,
    fixed_points: FixedPoints | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Basins:
    """Follow orbits from all over a box and say which attractor each comes to.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> quartic = sf.Map(sf.loss("x**2/2 - y**2/2 + y**4/4"), sf.GD(), lr=0.01)
    >>> found = basins(quartic, [(-2, 2), (-2, 2)], 20)
    >>> print(found)
    400 starts, 2 attractors
      attracting at (0, -1): 50.00% [45.12%, 54.88%]
      attracting at (0, 1): 50.00% [45.12%, 54.88%]
    >>> near = basins(quartic, [(-1, 1), (-0.1, 0.1)], 200, refine=True, attractors=found)
    >>> near.refinement.followed < 5000  # of 40,000
    True

    Attractors are found, not given. First come the attracting fixed points of `find_fixed_points`,
    and what holds orbits about the critical points of normalised SAM: a trap where `certify_trap`
    proves one, else the cycles that orbits from beside the point come to, else a ball that these
    stay in. Then come fixed points outside the box and cycles that orbits are seen to end on,
    and, of maps, chaotic and quasiperiodic attractors: an orbit has settled on one if the second
    half of a long stretch covers what the first half covers, and its Lyapunov exponents say which.

    An orbit has come to an attracting point or cycle when it is in an ellipsoid about it that one
    step, or period, maps into itself, tried at points of spheres, or proved for a trap. So slow
    maps need not converge, and no slow orbit is taken for an attractor. It has come to a chaotic or
    quasiperiodic attractor when 64 states in a row are near to points of it.

    Args:
        system: a map or a flow. Starts have velocity 0.
        box: one pair (low, high) for each weight, or one for all. A number instead of a pair holds
            the weight there: a plane through more dimensions.
        resolution: points of the grid for each weight that varies, at the middles of its cells; by
            default 100 where one or two vary.
        num_samples: where three or more vary: how many starts to draw from the box, 10,000 by
            default.
        refine: follow a coarse grid, and of finer ones only the cells that have a neighbour with
            another label. `Basins.refinement` says how many were followed and how many labels may
            be wrong.
        attractors: basins of the same system, or attractors of it: they keep their numbers, and
            with them their colours, as for another box. Fixed points are not searched for then.
        max_steps: steps of a map at most; what moves still is `unresolved`.
        t1: time for a flow at most.
        fixed_points: a record of the system, in this or a larger box; by default they are
            searched for.
        seed: of the sample, and of the starts with which attractors are looked for.
        progress: is called after each round with how many starts are decided, of how many.

    Returns:
        A `Basins`. Starts at which the loss is not defined are `undefined`. Not guaranteed: that
        attractors are all found whose basins are smaller than some 1/500 of the box, or that a
        chaotic transient of 100,000 steps is none. Not looked for: strange attractors of flows, in
        more than 16 dimensions, and of more than 2 or 3 dimensions themselves; orbits on them are
        `unresolved`, and so are those that rest on a continuum of fixed points.

    Raises:
        ArgumentError: for a wrong box, a grid where more than two weights vary, both `resolution`
            and `num_samples`, `refine` without a grid, attractors of another system, or single
            precision.

    """
    _checks.double_precision("`basins`")
    check_system(system)
    sides = sides_of(box, system.dim)
    starts, shape = starts_in(np.array(sides), resolution, num_samples, seed)
    steps, time = _checks.count("max_steps", max_steps), _checks.positive("t1", t1)
    if refine and not shape:
        raise _checks.ArgumentError(
            "Argument `refine` needs a grid, but the starts are a sample. Give `resolution`, or a "
            "number instead of a pair in `box` for each weight that is held."
        )
    known = _known(system, attractors)
    run = _Run(system, sides, time if isinstance(system, AbstractFlow) else steps, seed, progress)
    within = run.defined(starts)
    if known is None:
        points = run.fixed_points() if fixed_points is None else fixed_points
        run.find(starts[within], points)
    else:
        run.attractors = known
    labels = np.full(len(starts), int(Ending.undefined))
    made = np.full(len(starts), -1.0)
    refinement = None

    def follow(numbers: np.ndarray) -> np.ndarray:
        chosen = numbers[within[numbers]]
        labels[chosen], made[chosen] = run.label(starts[chosen])
        return labels[numbers]

    if refine:
        labels, refinement = refined(follow, shape, seed)
    else:
        follow(np.arange(len(starts)))
    where = provenance(system.describe(), box=sides, max_steps=steps)
    return Basins(starts, labels, made, run.attractors, shape, sides, refinement, where)


def _known(
    system: AbstractSystem, attractors: Basins | Sequence[Attractor] | None
) -> tuple[Attractor, ...] | None:
    if not isinstance(attractors, Basins):
        return None if attractors is None else tuple(attractors)
    theirs, ours = dict(attractors.provenance)["system"], system.describe()
    if theirs != ours:
        raise _checks.ArgumentError(
            f"Argument `attractors` must be basins of the same system, {ours}, but is of {theirs}."
        )
    return attractors.attractors


class _Run:
    """Labels starts with attractors that may become more."""

    def __init__(
        self,
        system: AbstractSystem,
        sides: Box,
        longest: float,
        seed: int,
        progress: Callable[[int, int], None],
    ) -> None:
        self._system, self._sides, self._longest = system, sides, longest
        self._seed, self._progress = seed, progress
        self._extent = max(high - low for low, high in sides)
        self._domain = getattr(getattr(system, "loss", None), "domain", None)
        self.attractors: tuple[Attractor, ...] = ()

    def defined(self, starts: np.ndarray) -> np.ndarray:
        """Say at which starts the loss is defined: in its domain, and not NaN."""
        good = np.ones(len(starts), bool)
        if self._domain is not None:
            low, high = np.array(self._domain).T
            good = np.all((starts >= low) & (starts <= high), axis=1)
        loss = getattr(self._system, "loss", None)
        if isinstance(loss, AbstractLoss) and not isinstance(loss, AbstractEagerLoss):
            good &= ~np.isnan(np.asarray(_values(loss, jnp.asarray(starts))))
        return good

    def fixed_points(self) -> FixedPoints | None:
        """Search the box, of a weight that is held all of its extent about it."""
        sides = np.array(self._sides)
        held = sides[:, 0] == sides[:, 1]
        sides[held] += self._extent * np.array([-1, 1])
        if self._domain is not None:
            low, high = np.array(self._domain).T
            sides = np.clip(sides, low[:, None], high[:, None])
            if not (sides[:, 0] < sides[:, 1]).all():
                return None
        return find_fixed_points(self._system, sides)

    def find(self, starts: np.ndarray, points: FixedPoints | None = None) -> bool:
        """Look for attractors; say whether there are new ones."""
        if not len(starts):
            return False
        if len(starts) > SCOUTS:
            random = np.random.default_rng(self._seed)
            starts = starts[np.sort(random.choice(len(starts), SCOUTS, replace=False))]
        before = len(self.attractors)
        self.attractors = find_attractors(
            self._system,
            starts,
            longest=self._longest,
            extent=self._extent,
            points=points,
            known=self.attractors,
        )
        return len(self.attractors) > before

    def label(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the label of each start, and after how many steps it was known."""
        if not len(starts):
            return np.zeros(0, int), np.zeros(0)
        found = self._label(starts)
        # A start that came to nothing may have come to an attractor that no scout came to.
        while (left := np.flatnonzero(found.labels == Ending.unresolved)).size:
            if not self.find(found.states[left]):
                break
            again = self._label(starts[left])
            for whole, part in zip(found, again, strict=True):
                whole[left] = part
        return found.labels, found.steps

    def _label(self, starts: np.ndarray) -> Labels:
        longest, progress = self._longest, self._progress
        return label(self._system, starts, self.attractors, longest=longest, progress=progress)


@eqx.filter_jit
def _values(loss: AbstractLoss, starts: Array) -> Array:
    return jax.lax.map(loss, starts, batch_size=SLAB)
