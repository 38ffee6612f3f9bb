"""Which attractor each start comes to, of attractors that are given; every start by itself."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow._status import Status
from samflow.attractors.basins.records import Attractor, Ending, Region
from samflow.attractors.basins.stiff import along
from samflow.orbits import integrate, iterate
from samflow.orbits._integrate import jumps_somewhere
from samflow.orbits._iterate import start_states
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem
from samflow.systems.angles import wrapped

FIRST_STEPS = 250
"""Steps of the first round; each later one makes twice as many."""
_FIRST_PART = 1e-3
"""Of the longest time of a flow, in the first round; each later one lasts four times as long."""
_HARD = 64
"""Orbits that are led on together, whose steps are costly."""
SLAB, _LARGE_SLAB, _MANY = 512, 16384, 65536
"""Orbits are followed in parts of the first size, of more than the last in parts of the second."""
_ENDINGS = {
    Status.diverged: Ending.diverged,
    Status.not_finite: Ending.not_finite,
    Status.undefined: Ending.undefined,
    Status.step_size_vanished: Ending.undefined,
}


class Labels(NamedTuple):
    """What became of each start.

    Attributes:
        labels: the number of its attractor, or a negative `Ending`, shape (starts,).
        steps: after how many steps (or which time) it was seen to be there; -1 if never.
        states: where each orbit was when it was last looked at, shape (starts, state).

    """

    labels: np.ndarray
    steps: np.ndarray
    states: np.ndarray


def label(
    system: AbstractSystem,
    starts: np.ndarray,
    attractors: Sequence[Attractor],
    *,
    longest: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Labels:
    """Say to which of the attractors each start comes.

    The result for a start does not depend on which others are given with it: starts may be
    labelled in any parts.

    Args:
        system: the map or flow.
        starts: weights (N, dim) or states (N, state).
        attractors: of this system, as `find_attractors` returns them.
        longest: how many steps, or how much time of a flow, orbits are followed at most.
        progress: is called after each round with how many starts are decided, of how many.

    """
    orbits = Orbits(system, starts, longest)
    while orbits.going:
        orbits.advance()
        orbits.decide(attractors)
        progress(len(starts) - len(orbits.open), len(starts))
    return orbits.labels


class Orbits:
    """The state of many orbits: which are decided, and where the others are."""

    def __init__(self, system: AbstractSystem, starts: np.ndarray, longest: float) -> None:
        self._system, self._longest = system, longest
        number = len(starts)
        flow = isinstance(system, AbstractFlow)
        self._length = _FIRST_PART * longest if flow else FIRST_STEPS
        self.made = 0.0
        self.open = np.arange(number)
        unresolved = np.full(number, int(Ending.unresolved))
        states = np.array(start_states(system, starts, anywhere=True))
        self.labels = Labels(unresolved, np.full(number, -1.0), states)
        self._settle(np.where(outside(system, starts), int(Ending.outside), self._undefined()))

    @property
    def going(self) -> bool:
        """Whether any orbit is undecided and may be followed further."""
        return len(self.open) > 0 and self.made < self._longest

    @property
    def states(self) -> np.ndarray:
        """Where the undecided orbits are, shape (open, state)."""
        return self.labels.states[self.open]

    def advance(self) -> None:
        """Follow the undecided orbits for a round, twice as long as the last one."""
        length = min(self._length, self._longest - self.made)
        final, status = follow(self._system, self.states, length)
        self._lead_on(final, status, length)
        self._length *= 4 if isinstance(self._system, AbstractFlow) else 2
        self.made += length
        self.labels.states[self.open] = final
        ended = np.full(len(final), int(Ending.unresolved))
        lost = ~np.isfinite(final).all(axis=1)
        ended[lost] = int(Ending.not_finite)
        if isinstance(self._system, AbstractFlow):
            ended[status == Status.out_of_steps] = int(Ending.solver_out_of_steps)
        for code, ending in _ENDINGS.items():
            ended[status == code] = int(ending)
        self._settle(ended)
        self._settle(self._undefined())

    def _lead_on(self, final: np.ndarray, status: np.ndarray, length: float) -> None:
        """Follow the paths of solutions on which the solver of a smooth flow gave up."""
        system = self._system
        if not isinstance(system, AbstractFlow) or jumps_somewhere(system):
            return
        hard = np.isin(status, [Status.step_size_vanished, Status.out_of_steps])
        if hard.any():
            time = jnp.asarray(float(length))
            run = lambda part: along(system, jnp.asarray(part), time)  # noqa: E731
            w, status[hard] = _in_slabs(run, self.states[hard], _HARD)
            final[hard] = np.asarray(wrapped(system, jnp.asarray(w)))

    def _undefined(self) -> np.ndarray:
        """Label the undecided orbits that are at a point where the loss has no value.

        Its gradient may have one there: 1/x is the derivative of log x, and goes on below 0.
        """
        found = np.full(len(self.open), int(Ending.unresolved))
        if len(found) and hasattr(self._system, "loss"):
            found[_has_no_value(self._system, self.states)] = int(Ending.undefined)
        return found

    def decide(self, attractors: Sequence[Attractor]) -> None:
        """Label the orbits that have come to one of the attractors."""
        states = self.states
        found = np.full(len(states), int(Ending.unresolved))
        # Regions that are kept decide first: an orbit may pass another region on its way to one.
        for i in sorted(range(len(attractors)), key=lambda i: attractors[i].region.stays):
            region = attractors[i].region
            left = np.flatnonzero(found == Ending.unresolved)
            here = left[region.holds(states[left])]
            if len(here) and region.stays:
                others = [*attractors[:i], *attractors[i + 1 :]]
                here = here[_stay(self._system, states[here], region, others)]
            found[here] = i
        self._settle(found)

    def _settle(self, found: np.ndarray) -> None:
        """Give labels to the undecided orbits that are decided by `found`."""
        done = found != Ending.unresolved
        chosen = self.open[done]
        self.labels.labels[chosen] = found[done]
        self.labels.steps[chosen] = self.made
        self.open = self.open[~done]


def outside(system: AbstractSystem, starts: np.ndarray) -> np.ndarray:
    """Say of starts whether they lie outside the domain that the loss declares."""
    domain = getattr(getattr(system, "loss", None), "domain", None)
    if domain is None:
        return np.zeros(len(starts), bool)
    low, high = np.array(domain).T
    w = starts[:, : system.dim]
    return ~np.all((low <= w) & (w <= high), axis=1)


def _has_no_value(system: Any, states: np.ndarray) -> np.ndarray:
    """Say of states whether the loss is NaN there."""
    return np.isnan(_in_slabs(lambda part: (_losses(system, jnp.asarray(part)),), states)[0])


@eqx.filter_jit
def _losses(system: Any, states: Array) -> Array:
    return jax.lax.map(lambda z: system.loss(system.position(z)), states, batch_size=1024)


def _stay(
    system: AbstractSystem, states: np.ndarray, region: Region, others: Sequence[Attractor]
) -> np.ndarray:
    """Say of states in a region whether their orbits stay, and not only about another attractor."""
    visited = watch(system, states, region.stays, every=region.every)
    points = visited.reshape(-1, visited.shape[2])

    def always(region: Region) -> np.ndarray:
        return np.all(region.holds(points).reshape(visited.shape[:2]), axis=1)

    stay = always(region)
    for other in others:
        inside = other.points[region.holds(other.points)]
        if len(inside) and len(region.centres) > 1:
            stay &= ~always(region.about(inside))
    return stay


def follow(
    system: AbstractSystem, states: np.ndarray, length: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return where orbits are after a number of steps or a time, and the status of each."""

    def run(part: np.ndarray) -> tuple[Any, Any]:
        if isinstance(system, AbstractMap):
            orbit = iterate(system, part, num_steps=int(length), anywhere=True)
            return orbit.final, orbit.status
        assert isinstance(system, AbstractFlow)
        solution = integrate(system, part, t1=length, num_times=2, anywhere=True)
        return wrapped(system, solution.states[:, -1]), solution.status

    return _in_slabs(run, states)


def watch(
    system: AbstractSystem, states: np.ndarray, times: int, *, every: float = 1, slab: int = SLAB
) -> np.ndarray:
    """Return states of orbits, `every` so many steps or so much time; (N, times + 1, state)."""

    def run(part: np.ndarray) -> tuple[Any]:
        if isinstance(system, AbstractMap):
            steps = int(every)
            length = times * steps
            orbits = iterate(system, part, num_steps=length, keep_every=steps, anywhere=True)
            kept = np.array(orbits.states)
            rests = np.asarray(orbits.status) == Status.converged  # what follows is not kept
            final = np.asarray(orbits.final)[rests][:, None]
            kept[rests] = np.where(np.isnan(kept[rests]), final, kept[rests])
            return (kept,)
        assert isinstance(system, AbstractFlow)
        t1, number = times * every, times + 1
        solution = integrate(system, part, t1=t1, num_times=number, anywhere=True)
        return (wrapped(system, solution.states),)

    return _in_slabs(run, states, slab)[0]


def _in_slabs(
    run: Callable[[np.ndarray], tuple[Any, ...]], states: np.ndarray, slab: int | None = None
) -> tuple[Any, ...]:
    """Return what `run` returns of states, run in parts of few sizes, each compiled once."""
    number = len(states)
    size = slab or (_LARGE_SLAB if number > _MANY else SLAB)
    size *= jax.local_device_count()  # among which `iterate` shares orbits
    filling = np.broadcast_to(states[-1], (-number % size, states.shape[1]))
    parts = np.concatenate([states, filling]).reshape(-1, size, states.shape[1])
    found = zip(*(map(np.asarray, run(part)) for part in parts), strict=True)
    return tuple(np.concatenate(each)[:number] for each in found)
