"""Which attractor each start comes to, of attractors that are given; every start by itself."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from samflow._status import Status
from samflow.attractors.basins.records import Attractor, Ending
from samflow.orbits import integrate, iterate
from samflow.orbits._iterate import start_states
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem

FIRST_STEPS = 250
"""Steps of the first round; each later one makes twice as many."""
FIRST_TIME = 10.0
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
        self._length = FIRST_TIME if isinstance(system, AbstractFlow) else FIRST_STEPS
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
        final, status = follow(self._system, self.states, length, padded=self.made > 0)
        self._length *= 4 if isinstance(self._system, AbstractFlow) else 2
        self.made += length
        self.labels.states[self.open] = final
        ended = np.full(len(final), int(Ending.unresolved))
        ended[~np.isfinite(final).all(axis=1)] = int(Ending.not_finite)
        for code, ending in _ENDINGS.items():
            ended[status == code] = int(ending)
        self._settle(ended)
        self._settle(self._undefined())

    def _undefined(self) -> np.ndarray:
        """Label the undecided orbits that are at a point where the loss has no value.

        Its gradient may have one there: 1/x is the derivative of log x, and goes on below 0.
        """
        found = np.full(len(self.open), int(Ending.unresolved))
        if len(found) and hasattr(self._system, "loss"):
            lost = np.isnan(_losses(self._system, padded_states(self.states)))[: len(found)]
            found[lost] = int(Ending.undefined)
        return found

    def decide(self, attractors: Sequence[Attractor]) -> None:
        """Label the orbits that have come to one of the attractors."""
        states = self.states
        found = np.full(len(states), int(Ending.unresolved))
        for i, attractor in enumerate(attractors):
            left = np.flatnonzero(found == Ending.unresolved)
            here = left[attractor.region.holds(states[left])]
            if len(here) and attractor.region.stays:
                here = here[self._stay(states[here], attractor)]
            found[here] = i
        self._settle(found)

    def _stay(self, states: np.ndarray, attractor: Attractor) -> np.ndarray:
        """Say of states in an attractor's region whether their orbits stay there for a time."""
        region = attractor.region
        size = states.shape[1]
        visited = watch(self._system, states, region.stays)
        inside = region.holds(visited.reshape(-1, size)).reshape(visited.shape[:2])
        return np.all(inside, axis=1)

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


@eqx.filter_jit
def _losses(system: Any, states: Array) -> Array:
    return jax.lax.map(lambda z: system.loss(system.position(z)), states, batch_size=1024)


def follow(
    system: AbstractSystem, states: np.ndarray, length: float, *, padded: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return where orbits are after a number of steps or a time, and the status of each."""
    number = len(states)
    states = padded_states(states) if padded else states
    if isinstance(system, AbstractMap):
        orbit = iterate(system, states, num_steps=int(length), anywhere=True)
        final, status = orbit.final, orbit.status
    else:
        assert isinstance(system, AbstractFlow)
        solution = integrate(system, states, t1=length, num_times=2, anywhere=True)
        final, status = solution.states[:, -1], solution.status
    return np.asarray(final)[:number], np.asarray(status)[:number]


def watch(system: AbstractSystem, states: np.ndarray, times: int) -> np.ndarray:
    """Return the next states of orbits, shape (N, times + 1, state)."""
    number, states = len(states), padded_states(states)
    if isinstance(system, AbstractMap):
        kept = iterate(system, states, num_steps=times, keep_every=1, anywhere=True).states
    else:
        assert isinstance(system, AbstractFlow)
        number_kept = times + 1
        kept = integrate(system, states, t1=FIRST_TIME, num_times=number_kept, anywhere=True).states
    return np.asarray(kept)[:number]


def padded_states(states: np.ndarray) -> np.ndarray:
    """Return the states filled up to a power of two, so that few sizes are compiled."""
    size = 1 << int(np.ceil(np.log2(max(len(states), 16))))
    filling = np.broadcast_to(states[-1], (size - len(states), states.shape[1]))
    return np.concatenate([states, filling])
