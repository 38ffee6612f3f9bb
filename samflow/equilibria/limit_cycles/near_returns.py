"""Where orbits of a flow come back to: guesses of periodic orbits and of their periods.

Orbits are followed over times that grow by a factor of 4, forwards and backwards in time. Each is
looked at from its end, over lags that are spaced evenly in their logarithm, so that a period of any
length is seen with the same relative precision. The first lag at which the orbit is near to where
it ended is the guess of the period.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samflow._status import Status
from samflow._types import Scalar, V, Vector
from samflow.equilibria.limit_cycles.shooting import SEGMENTS
from samflow.systems.angles import Angles, angles_of, shortest
from samflow.systems.base import AbstractFlow

_LAGS = 600
_SHORTEST = 0.02
"""The shortest lag, in units of the time in which a start crosses the box."""
_ROUNDS = 6
_LONGER = 4.0
_AWAY = 0.25
"""An orbit has gone away when it is farther from its end than this part of its extent."""
_NEAR = 0.15
"""And has come back when it is nearer than this part."""
_SETTLED = 2e-3
"""Such an orbit is periodic already, and is followed no more."""
_RESTS = 1e-5
"""An orbit that moves by less than this part of the box in the longest lag rests."""
_RTOL, _ATOL = 1e-7, 1e-9
_ESCAPE = 10.0
"""Orbits are followed so many times the size of the box."""
_MAX_STEPS = 20_000
_SAME = 0.05
"""Guesses that agree to this part of their periods and extents are one."""


class Guess(NamedTuple):
    """A periodic orbit, roughly: points at equal intervals of time, forwards, and the period."""

    points: Float[np.ndarray, "segments state"]
    period: float
    gap: float

    @property
    def extent(self) -> float:
        """The largest distance from the first point, in a coordinate."""
        return float(np.abs(self.points - self.points[0]).max())


class Timed(AbstractFlow):
    """A flow with the sign of time as a leaf: one program follows it both ways."""

    flow: AbstractFlow
    sign: Scalar

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.flow.dim

    @property
    def elementwise(self) -> bool:
        """Whether the flow is."""
        return self.flow.elementwise

    @property
    def angles(self) -> Angles | None:
        """The angles of the flow."""
        return angles_of(self.flow)

    def velocity(self, z: V) -> V:
        """Return ± f(z)."""
        made: V = self.sign * self.flow.velocity(z)  # pyright: ignore[reportOperatorIssue]
        return made

    def singularity(self, z: Vector) -> Scalar:
        """Return that of the flow."""
        return self.flow.singularity(z)

    def describe(self) -> str:
        """Say what the system is."""
        return f"{self.flow.describe()}, either way in time"


class Found(NamedTuple):
    """The guesses of one direction of time, and how many orbits ended in which way."""

    guesses: list[Guess]
    resting: int
    lost: int
    coming_back: int


def near_returns(flow: AbstractFlow, starts: np.ndarray, width: float, sign: float) -> Found:
    """Follow orbits from `starts` until they rest, leave, or come back to where they were."""
    from samflow.orbits.segments import SolverSettings, smooth_segments  # diffrax, half a second

    timed = Timed(flow, jnp.asarray(sign))
    time, longest = crossing_time(flow, starts, width), 0.0
    latest: dict[int, Guess] = {}
    states, open_ = np.array(starts), np.ones(len(starts), dtype=bool)
    resting, lost = 0, 0
    reach = _ESCAPE * (width + float(np.abs(starts).max()))
    for k in range(_ROUNDS):
        longest = time * _LONGER**k
        lags = np.append(0.0, np.geomspace(_SHORTEST * time, longest, _LAGS))[::-1]
        settings = SolverSettings(
            jnp.asarray(longest - lags), jnp.asarray(_RTOL), jnp.asarray(_ATOL * width), reach
        )
        found = smooth_segments(timed, jnp.asarray(states), settings, max_steps=_MAX_STEPS)
        orbits, status = np.asarray(found[0]), np.asarray(found[1])
        for i in np.flatnonzero(open_).tolist():
            if status[i] != Status.reached_end:
                open_[i], lost = False, lost + 1
                latest.pop(i, None)
                continue
            orbit = orbits[i]
            if np.abs(shortest(flow, orbit - orbit[-1])).max() <= _RESTS * width:
                open_[i], resting = False, resting + 1
                latest.pop(i, None)
                continue
            guess = _look_back(flow, orbit, lags, sign)
            if guess is not None:
                latest[i] = guess
                open_[i] = guess.gap > _SETTLED
        states = np.where(open_[:, None], orbits[:, -1], starts[:1])
        if not open_.any():
            break
    guesses = sorted(latest.values(), key=lambda guess: guess.gap)
    return Found(_apart(flow, guesses), resting, lost, len(guesses))


@eqx.filter_jit
def _velocities(flow: AbstractFlow, states: Array) -> Array:
    return jax.vmap(flow.velocity)(states)


def crossing_time(flow: AbstractFlow, starts: np.ndarray, width: float) -> float:
    """Return the time in which a start crosses the box at its first speed: the median."""
    speeds = np.linalg.norm(np.asarray(_velocities(flow, jnp.asarray(starts))), axis=1)
    known = speeds[np.isfinite(speeds) & (speeds > 0)]
    return width / float(np.median(known)) if len(known) else 1.0


def _look_back(
    flow: AbstractFlow, orbit: np.ndarray, lags: np.ndarray, sign: float
) -> Guess | None:
    """Return the first return of an orbit to where it ended, going back in its time."""
    z, lags = orbit[::-1], lags[::-1]  # from the end, lag 0
    offset = shortest(flow, z - z[0])
    away = np.linalg.norm(offset, axis=1)
    # The distance to the pieces between samples, not to these alone.
    piece = shortest(flow, np.diff(z, axis=0))
    length = np.maximum((piece**2).sum(axis=1), 1e-300)
    share = np.clip(-(offset[:-1] * piece).sum(axis=1) / length, 0, 1)
    gaps = np.linalg.norm(offset[:-1] + share[:, None] * piece, axis=1)
    extent = np.maximum.accumulate(away)[1:]
    gone = np.maximum.accumulate(away[:-1] > _AWAY * extent)
    near = gone & (gaps < _NEAR * extent)
    # It counts as gone only after the extent is seen: the least gap of the first run that is near.
    inside = np.flatnonzero(near)
    for first in inside:
        run = first + np.argmin(np.append(near[first:], False))
        best = first + int(np.argmin(gaps[first:run])) if run > first else first
        if not (away[1 : first + 1] > 2 * _NEAR * extent[best]).any():
            continue
        period = float(lags[best] + share[best] * (lags[best + 1] - lags[best]))
        phases = period * np.arange(SEGMENTS) / SEGMENTS
        # Forwards in time the points come in the order of the lag only if time was reversed.
        at = phases if sign < 0 else period - phases
        lifted = z[0] + np.vstack([np.zeros(z.shape[1]), np.cumsum(piece, axis=0)])
        points = np.stack([np.interp(at, lags, column) for column in lifted.T], axis=1)
        return Guess(points, period, float(gaps[best] / extent[best]))
    return None


def _apart(flow: AbstractFlow, guesses: list[Guess]) -> list[Guess]:
    """Keep the best of each group of guesses that are one orbit."""
    kept: list[Guess] = []
    for guess in guesses:
        same = False
        for other in kept:
            alike = abs(guess.period - other.period) <= _SAME * other.period
            gap = np.linalg.norm(shortest(flow, other.points - guess.points[0]), axis=1).min()
            apart = 2 * np.pi / SEGMENTS * other.extent  # of neighbouring points
            same |= alike and gap <= max(_SAME * other.extent, apart)
        if not same:
            kept.append(guess)
    return kept
