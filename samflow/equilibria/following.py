"""Orbits followed until it is known what becomes of them: far enough, or in leaps."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow._status import Status
from samflow.equilibria.leaps import can_leap, leap
from samflow.orbits._integrate import integrate
from samflow.orbits._iterate import Orbit, iterate
from samflow.orbits.returns.crossing import FAR, Section, next_crossing
from samflow.orbits.returns.solver import Solver
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem

WINDOW = 256
"""Consecutive states at the end of an orbit, in which periods are looked for."""
LONGEST_PERIOD = 64
"""The longest period that is seen in a window."""
_REPEATS = 1e-6
"""A window repeats itself if states one period apart differ by no more, relative to its size."""
_SLOW = 1e-3
"""A window that repeats itself to this part of its size, and moves steadily, moves slowly."""
_STEADY = 0.5
"""Two movements are one going on if they differ by no more than this part of the second."""
_SHRINKS = 0.9
"""Movements that fall by this factor or less from one part of a window to the next die out."""
_ROUNDING = 64.0
"""A movement of so many units in the last place is none."""
_CLOSE = 1e-3
"""An orbit that has come this much nearer than it began is taken to come to the point."""
_UNDERFLOWS = 1e-9
"""An orbit that ended this much nearer than it began came to the point, whatever it met there."""
_CHANGES = 1.5
"""A distance that grows or falls by this factor from one half of an orbit to the end has not
settled."""
_RTOL, _ATOL = 1e-8, 1e-6
"""Tolerances of a flow's solver: of a step, and in units of the radius of the starts."""
_COMES_BACK = 1e-5
"""A solution that comes back so near, relative to its extent, goes around a cycle."""
_WAY_AROUND = 3.0
"""Least way around a cycle, in units of its extent: of the flattest it is 4, of one way only 2."""
_CROSSINGS, _MOST_STEPS = 6, 2000
"""Crossings of a plane that are looked at, and steps of the solver to each."""
_PAUSE = 16
"""Between two leaps a flow is followed for this part of its time."""

Seen = tuple[str, int, float, float]
"""A fate, a period, and the least and largest distance in the last states."""


class About(NamedTuple):
    """The point asked about, the distance of the starts, and that from which an orbit has left."""

    w: np.ndarray
    radius: float
    leave: float

    @property
    def beyond(self) -> float:
        """A norm at which an orbit needs no more numbers: once it has left, it may go anywhere."""
        return 10 * (1e3 * (self.leave + self.radius) + float(np.linalg.norm(self.w)))


class _Look(NamedTuple):
    """What the end of an orbit shows.

    Attributes:
        seen: its fate; undecided where that is not known yet.
        period: in units of which it moves slowly, so that a leap can go on; 0 where none can.
        repeats: whether, if a leap finds a rest, the fate is that.

    """

    seen: Seen
    period: int = 0
    repeats: bool = False


def follow_map(
    system: AbstractMap, starts: Array, about: About, num_steps: int, leaps: int
) -> tuple[list[Seen], np.ndarray]:
    """Return what is seen of each orbit, and how many leaps it took."""
    every = num_steps // WINDOW - 1
    # Both runs keep as many states, so that they are one program.
    settings = {"num_steps": every * WINDOW, "keep_every": every, "escape_radius": about.beyond}
    way = iterate(system, starts, **settings)
    looks: list[_Look | None] = [None] * len(starts)
    samples = _filled(way, np.asarray(way.w))
    parked = np.asarray(jax.vmap(system.lift)(starts))
    states = np.where(_runs(way)[:, None], way.final, parked)

    def relax(states: np.ndarray) -> tuple[np.ndarray, list[_Look]]:
        nonlocal samples
        settings = {"num_steps": WINDOW, "keep_every": 1, "escape_radius": about.beyond}
        end = iterate(system, states, **settings)
        window = _filled(end, np.asarray(end.w))
        found = []
        periods, gaps = _periods(window, about.w)
        for i, code in enumerate(np.asarray(end.status).tolist()):
            if code in (Status.out_of_steps, Status.converged):
                found.append(_judge(window[i], samples[i], about, periods[i], gaps[i]))
            else:
                path = np.concatenate([samples[i], window[i]])
                found.append(_Look(_stopped(code, path, np.asarray(end.final_w)[i], about)))
        samples = np.concatenate([samples[:, 1:], window[:, -1:]], axis=1)
        return np.asarray(end.final), found

    for i, code in enumerate(np.asarray(way.status).tolist()):
        if code not in (Status.out_of_steps, Status.converged):
            looks[i] = _Look(_stopped(code, samples[i], np.asarray(way.final_w)[i], about))
    return _settle(system, (states, parked), looks, relax, about, leaps)


def follow_flow(
    system: AbstractFlow, starts: Array, about: About, t1: float, leaps: int
) -> tuple[list[Seen], np.ndarray]:
    """Return what is seen of each solution, and how many leaps it took."""
    settings: dict[str, Any] = {
        "num_times": WINDOW,
        "rtol": _RTOL,
        "atol": _ATOL * about.radius,
        "escape_radius": about.beyond,
    }
    time, smooth = t1, bool(np.isinf(float(system.singularity(starts[0]))))

    def relax(states: np.ndarray) -> tuple[np.ndarray, list[_Look]]:
        nonlocal time
        path = integrate(system, states, t1=time, **settings)
        time = t1 / _PAUSE
        ends, found = states.copy(), []
        for i, code in enumerate(np.asarray(path.status).tolist()):
            w = np.asarray(path.w)[i]
            w = w[np.isfinite(w).all(axis=1)]
            ends[i] = w[-1]
            if smooth and code in (Status.step_size_vanished, Status.not_finite):
                code = Status.out_of_steps  # it explodes before the next time kept: leaps go there
            look = _judge_solution(code, w, about)
            if smooth and code == Status.reached_end and look.seen[0] == UNDECIDED:
                look = _around(system, w, about, t1) or look
            found.append(look)
        return ends, found

    looks: list[_Look | None] = [None] * len(starts)
    parked = np.asarray(starts)
    return _settle(system, (parked, parked), looks, relax, about, leaps)


def _settle(
    system: AbstractSystem,
    begin: tuple[np.ndarray, np.ndarray],
    looks: list[_Look | None],
    relax: Any,
    about: About,
    leaps: int,
) -> tuple[list[Seen], np.ndarray]:
    """Follow the orbits, in turns of `relax` and a leap, until the fate of each is known.

    `begin` has their states, and states where those wait whose fate is known: all take part in
    every turn, so that one program serves any number of them.
    """
    states, parked = begin
    taken = np.zeros(len(states), dtype=int)
    leaps = leaps if can_leap(system) else 0
    open_ = [look is None for look in looks]
    for turn in range(leaps + 1):
        if not any(open_):
            break
        states, found = relax(states)
        for i, look in enumerate(found):
            if open_[i]:
                looks[i] = look
                open_[i] = look.seen[0] == UNDECIDED
        slow = [i for i, look in enumerate(looks) if open_[i] and look is not None and look.period]
        states = np.where(np.array(open_)[:, None], states, parked)
        if turn == leaps or not slow:
            continue
        periods = np.array([1 if look is None else max(look.period, 1) for look in looks])
        led = leap(system, states, periods, about.w)
        for i in slow:
            look = looks[i]
            assert look is not None
            if led.rests[i] and look.repeats:
                name = "elsewhere" if look.period == 1 else "cycle"
                looks[i] = _Look((name, look.period, *look.seen[2:]))
                open_[i] = False
            elif led.hidden[i]:
                open_[i] = False
            elif led.goes[i]:
                states[i] = led.states[i]
                taken[i] += 1
    return [look.seen for look in looks if look is not None], taken


UNDECIDED = "undecided"


def _runs(orbit: Orbit) -> np.ndarray:
    """Say which orbits are inside still: the others ended on the way."""
    return np.isin(np.asarray(orbit.status), (Status.out_of_steps, Status.converged))


def _filled(orbit: Orbit, w: np.ndarray) -> np.ndarray:
    """Return the states kept, with the last one repeated where an orbit stands still."""
    rests = np.asarray(orbit.status) == Status.converged
    here = rests[:, None, None] & ~np.isfinite(w)
    return np.where(here, np.asarray(orbit.final_w)[:, None], w)


def _stopped(code: int, path: np.ndarray, final: np.ndarray, about: About) -> Seen:
    """Judge an orbit that ended on the way: outside, or where the map is undefined."""
    with np.errstate(over="ignore"):  # one step can go as far as there are numbers
        distances = np.linalg.norm(path - about.w, axis=1)
        end = float(np.linalg.norm(final - about.w))
    known = distances[np.isfinite(distances)]
    near, far = float(known[-1]), float(known[len(known) // 2 :].max())
    # An orbit that shrinks to nothing comes to where squares of gradients underflow: what it does
    # then is rounding. One that hovers about the point can meet it exactly.
    if near <= _UNDERFLOWS * about.radius:
        return "attractor", 0, near, near
    if code == Status.diverged or end > about.leave:
        return "leaves", 0, end, np.inf
    if code == Status.undefined and near <= _CLOSE * about.radius:
        return "attractor", 0, near, near
    if code == Status.undefined and far <= about.leave:
        return "trap", 0, near, far
    return "undefined", 0, near, far


def _periods(windows: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first period with which each window repeats itself, or does so nearly; 0 for none.

    And by how much states one period apart differ, relative to the largest distance from w.
    """
    far = np.linalg.norm(windows - w, axis=2).max(axis=1)
    gaps = np.full((len(windows), 1 + LONGEST_PERIOD), np.inf)
    with np.errstate(all="ignore"):
        for period in range(1, 1 + LONGEST_PERIOD):
            apart = np.abs(windows[:, period:] - windows[:, :-period]).max(axis=(1, 2))
            gaps[:, period] = apart / far
    gaps[~np.isfinite(gaps)] = np.inf  # at the point itself, which is judged before
    first = np.zeros(len(windows), dtype=int)
    for bound in (_SLOW, _REPEATS):
        within = gaps <= bound
        # A window that moves slowly with one period repeats itself with no other.
        first = np.where(within.any(axis=1) & (first == 0), within.argmax(axis=1), first)
    return first, gaps[np.arange(len(windows)), first]


def _judge(window: np.ndarray, samples: np.ndarray, about: About, period: int, gap: float) -> _Look:
    """Judge an orbit by its last states and by samples on the way."""
    away = np.linalg.norm(window - about.w, axis=1)
    near, far = float(away.min()), float(away.max())
    if near > about.leave:
        return _Look(("leaves", 0, near, far))
    if far <= _CLOSE * about.radius:
        return _Look(("attractor", 1, near, far))
    open_ = (UNDECIDED, 0, near, far)
    if period:
        moves = _moves(window, period, far)
        repeats = gap <= _REPEATS
        if repeats and period > 1 and moves == "not":
            return _Look(("cycle", period, near, far))
        if repeats and moves == "less and less":
            return _Look(("elsewhere" if period == 1 else "cycle", period, near, far))
        if repeats or moves == "steadily":
            # A rest of period 1 is asked, too: steps may be too small to be seen in the weights.
            return _Look(open_, int(period), repeats)
    distances = np.linalg.norm(samples - about.w, axis=1)
    late = np.column_stack([distances, samples])[len(samples) // 2 :]
    falls, grows = _one_way(late)
    # What is trapped comes back; what goes one way in some coordinate has not settled.
    held = _settled(distances, far) and not (falls | grows).any()
    return _Look(("trap", 0, near, far) if held else open_)


def _moves(window: np.ndarray, period: int, far: float) -> str:
    """Say how states one period apart move: not, steadily, less and less, or in some other way."""
    span = (len(window) - 1) // 2 // period * period
    first, second = window[-1 - span] - window[-1 - 2 * span], window[-1] - window[-1 - span]
    before, after = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if max(before, after) <= _ROUNDING * np.finfo(float).eps * np.linalg.norm(window, axis=1).max():
        return "not"
    share = after / before if before > 0 else np.inf
    if share <= _SHRINKS and after * share / (1 - share) <= _REPEATS * far:
        return "less and less"
    steadily = float(np.linalg.norm(first - second)) <= _STEADY * after
    return "steadily" if steadily else "in some other way"


def _one_way(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say of each column whether it only falls, and whether it only grows."""
    steps = np.diff(columns, axis=0)
    return np.all(steps < 0, axis=0), np.all(steps > 0, axis=0)


def _settled(distances: np.ndarray, far: float) -> bool:
    """Say whether an orbit went about as far before, from half its way on, as at the end."""
    before = float(distances[len(distances) // 2 :].max())
    return before / _CHANGES <= far <= before * _CHANGES


def _around(system: AbstractFlow, w: np.ndarray, about: About, time: float) -> _Look | None:
    """Say that a solution goes around a limit cycle.

    It comes back to where it ended, or nearly. To where it began it does not: about a centre each
    solution is closed, and none is a limit. Nor has it only gone one way, as one that slowly comes
    to rest.
    """
    late = w[len(w) // 2 :]
    extent = float(np.linalg.norm(late - late.mean(axis=0), axis=1).max())
    if np.linalg.norm(np.diff(late, axis=0), axis=1).sum() < _WAY_AROUND * extent:
        return None

    def comes_back(state: np.ndarray) -> bool:
        gaps = np.asarray(_gaps(system, jnp.asarray(state), jnp.asarray(time)))
        return bool((gaps[np.isfinite(gaps)] <= _COMES_BACK * extent).any())

    if comes_back(w[0]) or not comes_back(w[-1]):
        return None
    away = np.linalg.norm(late - about.w, axis=1)
    return _Look(("limit cycle", 0, float(away.min()), float(away.max())))


@eqx.filter_jit
def _gaps(system: AbstractFlow, z: Array, time: Array) -> Array:
    """Return the distances from `z` at which a solution crosses the plane across its field there.

    NaN where it does not come back.
    """
    tolerances = jnp.asarray(_RTOL / 10), _RTOL * jnp.linalg.norm(z), jnp.asarray(jnp.inf)
    solver = Solver(*tolerances, jnp.asarray(_MOST_STEPS))
    section = Section(system.velocity(z), z)

    def cross(at: Array, _: None) -> tuple[Array, Array]:
        end = next_crossing(system, section, at, time, solver, FAR).z
        return end, jnp.linalg.norm(end - z)

    return jax.lax.scan(cross, z, length=_CROSSINGS)[1]


def _judge_solution(code: int, w: np.ndarray, about: About) -> _Look:
    """Judge a solution of a flow by the states on its way."""
    end = float(np.linalg.norm(w[-1] - about.w))

    def found(fate: str, period: int = 0, repeats: bool = False) -> _Look:
        return _Look((fate, 0, end, end), period, repeats)

    if code == Status.diverged or end > about.leave:
        return found("leaves")
    late = w[3 * len(w) // 4 :]
    way = float(np.linalg.norm(np.diff(late, axis=0), axis=1).sum())
    if code == Status.sliding:
        if end <= _CLOSE * about.radius:
            return found("slides")
        tolerance = _RTOL * float(np.linalg.norm(w[-1])) + _ATOL * about.radius
        return found("elsewhere" if way <= _REPEATS * end + 10 * tolerance else UNDECIDED)
    if code not in (Status.reached_end, Status.out_of_steps):
        return found("undefined")
    if end <= _CLOSE * about.radius:
        return found("attractor")
    # What went far in the last quarter of the time goes on by itself.
    slow = code == Status.out_of_steps or way <= _STEADY * end
    return found(UNDECIDED, 1 if slow else 0, slow)
