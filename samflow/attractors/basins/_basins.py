"""Which start of a box ends where."""

from collections.abc import Callable
from typing import Any

import numpy as np

from samflow import _checks
from samflow._status import Status
from samflow.attractors.basins.known import Known, from_fixed_points, from_orbits
from samflow.attractors.basins.records import Basins, Ending
from samflow.equilibria import FixedPoints, find_fixed_points
from samflow.orbits import integrate, iterate
from samflow.records import provenance
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem
from samflow.systems.base import check_system

_FIRST_STEPS = 250
"""Steps of the first round; each later one makes twice as many."""
_FIRST_TIME = 10.0
_LOOKED_AT = 256
"""Orbits in which cycles are looked for, after each round."""
_ENDINGS = {
    Status.diverged: Ending.diverged,
    Status.not_finite: Ending.not_finite,
    Status.undefined: Ending.undefined,
}


@_checks.untraced()
def basins(
    system: AbstractSystem,
    box: Any,
    resolution: int | tuple[int, ...] | None = None,
    *,
    num_samples: int | None = None,
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
    >>> print(basins(quartic, [(-2, 2), (-2, 2)], 20))
    400 starts, 2 attractors
      attracting at (0, -1): 50.00% [45.12%, 54.88%]
      attracting at (0, 1): 50.00% [45.12%, 54.88%]

    Attractors are found, not given: the attracting fixed points and what holds orbits about
    critical points of normalised SAM come from `find_fixed_points`; cycles up to period 64 from
    orbits that repeat themselves to 1e-9. An orbit has come to an attracting point or cycle when
    it is in an ellipsoid about it that one step, or period, maps into itself, tried at points of
    spheres; so slow maps need not converge, and no slow orbit is taken for an attractor.

    Args:
        system: a map or a flow. Starts have velocity 0.
        box: one pair (low, high) for each weight, or one for all.
        resolution: points of the grid a weight, at the middles of its cells; by default 100 in
            one and two dimensions.
        num_samples: from three dimensions on: how many starts to draw from the box, 10,000 by
            default.
        max_steps: steps of a map at most; what moves still is `unresolved`.
        t1: time for a flow at most.
        fixed_points: a record of the system, in this or a larger box; by default they are
            searched for.
        seed: of the sample.
        progress: is called after each round with how many starts are decided, of how many.

    Returns:
        A `Basins`. Not guaranteed: attractors without a fixed point that repeat themselves only
        after more than 64 steps, such as strange ones, are not recognised; orbits on them are
        `unresolved`. So are orbits that rest on a continuum of fixed points.

    Raises:
        ArgumentError: for a wrong box, a grid in more than two dimensions, both `resolution` and
            `num_samples`, or single precision.

    """
    _checks.double_precision("`basins`")
    check_system(system)
    sides = _checks.box("box", box, system.dim)
    starts, shape = _starts(np.array(sides), resolution, num_samples, seed)
    steps = _checks.count("max_steps", max_steps)
    time = _checks.positive("t1", t1)
    extent = float(np.ptp(np.array(sides), axis=1).max())
    points = find_fixed_points(system, sides) if fixed_points is None else fixed_points
    known = from_fixed_points(system, points, extent)
    run = _Run(system, starts, known, extent)
    if isinstance(system, AbstractMap):
        run.follow_map(steps, progress)
    else:
        assert isinstance(system, AbstractFlow)
        run.follow_flow(time, progress)
    where = provenance(system.describe(), box=sides, max_steps=steps)
    attractors = tuple(one.attractor for one in run.known)
    return Basins(starts, run.labels, run.steps, attractors, shape, sides, where)


def _starts(
    sides: np.ndarray,
    resolution: int | tuple[int, ...] | None,
    num_samples: int | None,
    seed: int,
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the starts, and the shape of their grid; empty for a sample."""
    dim = len(sides)
    if resolution is not None and num_samples is not None:
        raise _checks.ArgumentError(
            "Arguments `resolution` and `num_samples` cannot both be given: choose a grid or a "
            "sample."
        )
    if num_samples is None and (resolution is not None or dim <= 2):
        if dim > 2:
            raise _checks.ArgumentError(
                f"Argument `resolution` is for one and two weights, but there are {dim}. Give "
                "`num_samples` for a sample of the box."
            )
        given: Any = 100 if resolution is None else resolution
        numbers = (given,) * dim if np.ndim(given) == 0 else tuple(given)
        if len(numbers) != dim:
            raise _checks.ArgumentError(
                f"Argument `resolution` must be one number, or one for each of {dim} weights, but "
                f"is {_checks.excerpt(resolution)}."
            )
        shape = tuple(_checks.count("resolution", n) for n in numbers)
        middles = [
            low + (high - low) * (np.arange(n) + 0.5) / n
            for (low, high), n in zip(sides, shape, strict=True)
        ]
        mesh = np.meshgrid(*middles, indexing="ij")
        return np.stack([each.ravel() for each in mesh], axis=1), shape
    number = _checks.count("num_samples", 10_000 if num_samples is None else num_samples)
    random = np.random.default_rng(_checks.count("seed", seed, minimum=0))
    return sides[:, 0] + (sides[:, 1] - sides[:, 0]) * random.random((number, dim)), ()


class _Run:
    """The state of all orbits: which are decided, and where the others are."""

    def __init__(
        self, system: AbstractSystem, starts: np.ndarray, known: list[Known], extent: float
    ) -> None:
        self._system, self._extent, self.known = system, extent, known
        self._states = starts
        self._open = np.arange(len(starts))
        self._seen = np.full(len(starts), -1)
        """Where each orbit was at the last check, for attractors at which it must stay."""
        self.labels = np.full(len(starts), int(Ending.unresolved))
        self.steps = np.full(len(starts), -1.0)

    def follow_map(self, max_steps: int, progress: Callable[[int, int], None]) -> None:
        """Make rounds of steps until all are decided or `max_steps` are made."""
        assert isinstance(self._system, AbstractMap)
        made, length = 0, _FIRST_STEPS
        while len(self._open) and made < max_steps:
            length = min(length, max_steps - made)
            found = iterate(self._system, _padded(self._states[self._open], made), num_steps=length)
            made, number = made + length, len(self._open)
            final, status = np.asarray(found.final)[:number], np.asarray(found.status)[:number]
            if made == length:
                self._states = np.zeros((len(self.labels), final.shape[1]))
            self._decide(final, status, made)
            self._look_for_cycles(made)
            length *= 2
            progress(len(self.labels) - len(self._open), len(self.labels))

    def follow_flow(self, t1: float, progress: Callable[[int, int], None]) -> None:
        """Integrate over rounds of time until all are decided or `t1` is reached."""
        assert isinstance(self._system, AbstractFlow)
        time, length = 0.0, _FIRST_TIME
        while len(self._open) and time < t1:
            length = min(length, t1 - time)
            found = integrate(
                self._system, _padded(self._states[self._open], 0), t1=length, num_times=2
            )
            time, number = time + length, len(self._open)
            final = np.asarray(found.states)[:number, -1]
            self._decide(final, np.asarray(found.status)[:number], time)
            length *= 4
            progress(len(self.labels) - len(self._open), len(self.labels))

    def _decide(self, final: np.ndarray, status: np.ndarray, when: float) -> None:
        """Give labels to the orbits that have ended or come to an attractor."""
        chosen = self._open
        label = np.full(len(chosen), int(Ending.unresolved))
        near = np.full(len(chosen), -1)
        for code, ending in _ENDINGS.items():
            label[status == code] = int(ending)
        for i, one in enumerate(self.known):
            inside = one.holds(final) & (label == Ending.unresolved)
            label[inside & (not one.stays or self._seen[chosen] == i)] = i
            near[inside] = i
        self._seen[chosen] = near
        self._states[chosen] = final
        done = label != Ending.unresolved
        self.labels[chosen[done]] = label[done]
        self.steps[chosen[done]] = when
        self._open = chosen[~done]

    def _look_for_cycles(self, when: float) -> None:
        """Add the cycles that open orbits move on, and label the orbits that are there."""
        assert isinstance(self._system, AbstractMap)
        if not len(self._open):
            return
        some = self._open[:: max(1, len(self._open) // _LOOKED_AT)][:_LOOKED_AT]
        new = from_orbits(self._system, _padded(self._states[some], 1), self.known, self._extent)
        self.known += new
        if new:
            here = self._states[self._open]
            self._decide(here, np.full(len(here), int(Status.out_of_steps)), when)


def _padded(states: np.ndarray, made: int) -> np.ndarray:
    """Return the states filled to a power of two after the first round: few sizes are compiled."""
    if not made:
        return states
    size = 1 << int(np.ceil(np.log2(max(len(states), 16))))
    filling = np.broadcast_to(states[-1], (size - len(states), states.shape[1]))
    return np.concatenate([states, filling])
