"""What becomes of orbits that begin near a point: seen, not derived."""

from collections import Counter
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.orbits.integrate import integrate
from samflow.orbits.iterate import iterate
from samflow.records import AbstractRecord, Provenance, axes, provenance
from samflow.rules import USAM
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem
from samflow.systems.base import check_system

_WINDOW = 256
"""Consecutive states at the end of an orbit, in which periods are looked for."""
_LONGEST_PERIOD = 64
_REPEATS = 1e-6
"""A window repeats itself if states one period apart differ by no more, relative to its size."""
_CLOSE = 1e-3
"""An orbit that has come this much nearer than it began is taken to come to the point."""
_UNDERFLOWS = 1e-9
"""An orbit that ended this much nearer than it began came to the point, whatever it met there."""
_CHANGES = 1.5
"""A distance that grows or falls by this factor from one half of an orbit to the end has not
settled."""


class Fate(AbstractRecord):
    """What became of the orbits from a sphere around a point.

    Attributes:
        outcome: the common fate of all starts, or "mixed".
        fates: of each start: "attractor" (came to the point), "slides" (a flow: came to it in
            finite time and is held), "cycle", "trap" (stays near without period), "elsewhere"
            (rests near, not at the point), "leaves", "undecided" (had not settled by the end),
            or "undefined" (met another point where the rule is not defined, or overflowed).
        period: of the cycle; 0 where there is none.
        nearest: least distance from the point in the last states.
        farthest: largest distance in the last states.
        radius: distance of the starts.
        leave_radius: an orbit whose last states are all farther than this has left.
        provenance: system, settings and versions.

    """

    outcome: str = eqx.field(static=True)
    fates: tuple[str, ...] = eqx.field(static=True)
    period: Int[np.ndarray, " starts"] = eqx.field(metadata=axes("start"))
    nearest: Float[np.ndarray, " starts"] = eqx.field(metadata=axes("start"))
    farthest: Float[np.ndarray, " starts"] = eqx.field(metadata=axes("start"))
    radius: float
    leave_radius: float
    provenance: Provenance = eqx.field(static=True)

    def count(self) -> dict[str, int]:
        """Return how many starts met each fate, the most common first."""
        return dict(Counter(self.fates).most_common())

    def __str__(self) -> str:
        """Return one line, as `cycle of period 2 (32 of 32), 0.00526 to 0.00526 away`."""
        parts = []
        for name, many in self.count().items():
            chosen = np.array([fate == name for fate in self.fates])
            periods = sorted(set(self.period[chosen].tolist()))
            of = f" of period {', '.join(map(str, periods))}" if name == "cycle" else ""
            parts.append(f"{name}{of} ({many} of {len(self.fates)})")
        text = "; ".join(parts)
        stayed = np.array([f in ("cycle", "trap", "elsewhere") for f in self.fates])
        if stayed.any():
            near, far = self.nearest[stayed].min(), self.farthest[stayed].max()
            text += f", {near:.3g} to {far:.3g} away"
        return text


def fate(
    system: AbstractSystem,
    w: ArrayLike,
    *,
    num_starts: int = 32,
    radius: float | None = None,
    leave_radius: float | None = None,
    num_steps: int = 20_000,
    t1: float = 50.0,
    key: Array | None = None,
) -> Fate:
    """Follow orbits from random points of a small sphere around `w`, and say what becomes of them.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> print(fate(sf.Map(sf.losses.saddle((1.0, -0.5)), sf.SAM(rho=0.1), lr=0.1), [0.0, 0.0]))
    cycle of period 2 (32 of 32), 0.00526 to 0.00526 away

    An observation of finitely many orbits for a finite time, no proof: `classify` says what theory
    knows. On maps a rule's memory begins as `lift` makes it, with velocity 0.

    Args:
        system: a map or a flow.
        w: the point, shape (dim,), as a rule a critical point.
        num_starts: number of starts.
        radius: their distance from `w`; by default rho/1000, or (1 + ‖w‖)/1000 for a rule whose
            rho is no length.
        leave_radius: beyond this an orbit has left; by default 5 rho, or 100 times `radius`.
        num_steps: steps of a map, at least 512; rounded down to a multiple of 256.
        t1: time for a flow.
        key: for the starts; by default a fixed one.

    Returns:
        A `Fate`; an orbit that overflows or meets an undefined point is counted, not raised.

    Raises:
        ArgumentError: for a wrong shape or settings out of range, or in single precision.

    """
    _checks.double_precision("`fate`")
    check_system(system)
    w = _checks.point("w", w, system.dim)
    num_starts = _checks.count("num_starts", num_starts)
    num_steps = _checks.count("num_steps", num_steps, minimum=2 * _WINDOW)
    length = _ascent_length(system)
    near = length / 1000 if length else (1 + float(jnp.linalg.norm(w))) / 1000
    radius = float(_checks.positive("radius", near if radius is None else radius))
    far = 5 * length if length else 100 * radius
    leave = float(_checks.positive("leave_radius", far if leave_radius is None else leave_radius))
    directions = jr.normal(jr.key(0) if key is None else key, (num_starts, system.dim))
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
    starts = w + radius * directions
    if isinstance(system, AbstractFlow):
        seen = _follow_flow(system, starts, np.asarray(w), radius, leave, t1)
    else:
        assert isinstance(system, AbstractMap)
        seen = _follow_map(system, starts, np.asarray(w), radius, leave, num_steps)
    fates, period, nearest, farthest = zip(*seen, strict=True)
    outcome = fates[0] if len(set(fates)) == 1 else "mixed"
    return Fate(
        outcome,
        tuple(fates),
        np.array(period),
        np.array(nearest),
        np.array(farthest),
        radius,
        leave,
        provenance(system.describe(), w=np.asarray(w).tolist(), num_starts=num_starts),
    )


def _ascent_length(system: AbstractSystem) -> float:
    """Return rho where it is a length in weight space, else 0."""
    rule: Any = getattr(system, "rule", None)
    return 0.0 if isinstance(rule, USAM) else float(getattr(rule, "rho", 0.0))


Seen = tuple[str, int, float, float]
"""A fate, a period, and the least and largest distance in the last states."""


def _follow_map(
    system: AbstractMap, starts: Array, w: np.ndarray, radius: float, leave: float, num_steps: int
) -> list[Seen]:
    # Once it has left, an orbit may go anywhere: its numbers are no longer needed.
    beyond = 10 * (1e3 * (leave + radius) + float(np.linalg.norm(w)))
    every = num_steps // _WINDOW - 1
    # Both runs keep as many states, so that they are one program.
    way = iterate(system, starts, num_steps=every * _WINDOW, keep_every=every, escape_radius=beyond)
    going = np.asarray(way.status) == Status.out_of_steps
    last = jnp.where(jnp.asarray(going)[:, None], way.final, jax.vmap(system.lift)(starts))
    end = iterate(system, last, num_steps=_WINDOW, keep_every=1, escape_radius=beyond)
    samples = np.asarray(way.w)
    distances = np.linalg.norm(samples - w, axis=-1)
    finals = np.linalg.norm(np.asarray(way.final_w) - w, axis=-1)
    windows = np.asarray(end.w)
    seen = []
    for i, code in enumerate(np.asarray(way.status).tolist()):
        if going[i]:
            seen.append(_judge(windows[i], samples[i], w, radius, leave))
        else:
            seen.append(_stopped(code, distances[i], float(finals[i]), radius, leave))
    return seen


def _stopped(code: int, distances: np.ndarray, final: float, radius: float, leave: float) -> Seen:
    """Judge an orbit that ended on the way: at rest, outside, or where the map is undefined."""
    known = distances[np.isfinite(distances)]
    near, far = float(known[-1]), float(known[len(known) // 2 :].max())
    if code == Status.converged and final <= leave:
        return ("attractor" if final <= _CLOSE * radius else "elsewhere"), 1, final, final
    # An orbit that shrinks to nothing comes to where squares of gradients underflow: what it does
    # then is rounding. One that hovers about the point can meet it exactly.
    if near <= _UNDERFLOWS * radius:
        return "attractor", 0, near, near
    if code == Status.diverged or final > leave:
        return "leaves", 0, final, np.inf
    if code == Status.undefined and near <= _CLOSE * radius:
        return "attractor", 0, near, near
    if code == Status.undefined and far <= leave:
        return "trap", 0, near, far
    return "undefined", 0, near, far


def _judge(
    window: np.ndarray, samples: np.ndarray, w: np.ndarray, radius: float, leave: float
) -> Seen:
    """Judge an orbit by its last states and by samples on the way."""
    distances = np.linalg.norm(samples - w, axis=1)
    away = np.linalg.norm(window - w, axis=1)
    if not np.isfinite(away).all():
        reached = np.isfinite(away) & (away <= _CLOSE * radius)
        return ("attractor" if reached.any() else "undefined"), 0, np.nan, np.nan
    near, far = float(away.min()), float(away.max())
    if near > leave:
        return "leaves", 0, near, far
    if far <= _CLOSE * radius:
        return "attractor", 1, near, far
    for period in range(1, _LONGEST_PERIOD + 1):
        if np.abs(window[period:] - window[:-period]).max() <= _REPEATS * far:
            settled = _settled(distances, far)
            if period > 1 or settled:
                return ("elsewhere" if period == 1 else "cycle"), period, near, far
    late = np.column_stack([distances, samples])[len(samples) // 2 :]
    falls, grows = _one_way(late)
    nearer, farther = bool(falls[0]), bool(grows[0])
    if _settled(distances, far):
        # What is trapped comes back; what goes one way in some coordinate has not settled.
        return ("undecided" if (falls | grows).any() else "trap"), 0, near, far
    return ("attractor" if nearer else "leaves" if farther else "undecided"), 0, near, far


def _one_way(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say of each column whether it only falls, and whether it only grows."""
    steps = np.diff(columns, axis=0)
    return np.all(steps < 0, axis=0, keepdims=True)[0], np.all(steps > 0, axis=0, keepdims=True)[0]


def _settled(distances: np.ndarray, far: float) -> bool:
    """Say whether an orbit went about as far before, from half its way on, as at the end."""
    before = float(distances[len(distances) // 2 :].max())
    return before / _CHANGES <= far <= before * _CHANGES


def _follow_flow(
    system: AbstractFlow, starts: Array, w: np.ndarray, radius: float, leave: float, t1: float
) -> list[Seen]:
    beyond = 1e3 * (leave + radius) + float(np.linalg.norm(w))
    path = integrate(system, starts, t1=t1, num_times=_WINDOW, escape_radius=beyond)
    seen = []
    for i, code in enumerate(np.asarray(path.status).tolist()):
        away = np.linalg.norm(np.asarray(path.w)[i] - w, axis=1)
        known = away[np.isfinite(away)]
        end = float(known[-1])
        if code == Status.diverged or end > leave:
            found = "leaves"
        elif code == Status.sliding:
            found = "slides" if end <= _CLOSE * radius else "elsewhere"
        elif code != Status.reached_end:
            found = "undefined"
        elif end <= _CLOSE * radius:
            found = "attractor"
        else:
            falls, grows = _one_way(known[len(known) // 2 :, None])
            found = "attractor" if falls[0] else "leaves" if grows[0] else "undecided"
        seen.append((found, 0, end, end))
    return seen
