"""What answers a slider at once: orbits, the direction of steps, nullclines, level sets."""

from typing import Any, NamedTuple

import numpy as np
from contourpy import LineType, contour_generator

from samflow._checks import ArgumentError
from samflow._status import Kind, Status
from samflow.equilibria import classify
from samflow.explorer.state import MOST_STARTS, TICKS, State
from samflow.orbits import integrate, iterate
from samflow.plots.field import Field, nullclines, sample_field
from samflow.plots.layers import level_values
from samflow.systems import Flow

KEPT = TICKS
"""States of an orbit that are kept besides the start; longer orbits keep every 10th or 100th."""
ARROWS = 24
"""Arrows along each side."""
_SOLVER_STEPS = 40_000
"""Of a solution of a flow, which then answers a slider in time also where it chatters."""
_ZERO = 1e-9
"""A coordinate smaller than this part of the box is printed as 0."""


class Orbits(NamedTuple):
    """Orbits of all starts.

    Attributes:
        w: kept weights, shape (starts, 1 + KEPT, 2); NaN after an orbit has ended.
        every: steps between two of them; of a flow parts of the time.
        said: one line for each orbit: how it ended, where, after how many steps.

    """

    w: np.ndarray
    every: int
    said: tuple[str, ...]

    def shown(self, steps: int) -> list[np.ndarray]:
        """Return the points of each orbit up to a step, -1 for all; those that stand still once."""
        last = KEPT if steps < 0 else steps // self.every
        return [_moving(path[: last + 1]) for path in self.w]


class Arrows(NamedTuple):
    """The direction of a step at points of a grid; none where it is not finite or zero."""

    x: np.ndarray
    y: np.ndarray
    dx: np.ndarray
    dy: np.ndarray


class Quick(NamedTuple):
    """All of a picture that is computed at once."""

    field: Field
    arrows: Arrows
    nullclines: tuple[list[np.ndarray], list[np.ndarray]]
    orbits: Orbits


def quick(state: State) -> Quick:
    """Compute orbits and motion; a program is compiled for each loss and rule, and no other.

    Momentum 0 has a program of its own, since the state then has no velocity, and so has a flow.
    """
    system = state.system()
    field = sample_field(system, state.box)
    wanted = "nullclines" in state.layers
    curves = nullclines(system, field) if wanted else ([], [])
    return Quick(field, _arrows(field), curves, orbits(state))


def orbits(state: State) -> Orbits:
    """Return the orbits of a state, all in one block of constant size."""
    number, every = len(state.starts), state.ticks // KEPT
    if not number:
        return Orbits(np.empty((0, KEPT + 1, 2)), every, ())
    padded = [*state.starts, *state.starts[:1] * (MOST_STARTS - number)]
    zero = _ZERO * float(np.ptp(np.array(state.box), axis=1).max())
    system = state.system()
    if isinstance(system, Flow):
        lasts: Any = {"t1": float(state.length or 0), "num_times": KEPT + 1}
        solved = integrate(system, padded, max_steps=_SOLVER_STEPS, **lasts)
        w = np.asarray(solved.w)[:number]
        ends = zip(solved.status, solved.stopped_at, solved.arrived_at, w, strict=False)
        told = [_said_of_flow(int(s), float(t), float(a), path, zero) for s, t, a, path in ends]
        return Orbits(w, every, tuple(told))
    found = iterate(system, padded, num_steps=state.ticks, keep_every=every)
    said = tuple(
        _said(int(status), int(steps), w, zero)
        for status, steps, w in zip(
            np.asarray(found.status)[:number],
            np.asarray(found.stopped_at)[:number],
            np.asarray(found.final_w)[:number].tolist(),
            strict=True,
        )
    )
    return Orbits(np.asarray(found.w)[:number], every, said)


def warm(state: State) -> None:
    """Compile what `quick` needs for a state.

    Raises:
        ArgumentError: for a loss that cannot be differentiated exactly.

    """
    middle = tuple(np.mean(state.box, axis=1).tolist())
    layers = tuple({*state.layers, "nullclines"})
    quick(state.changed(starts=state.starts or (middle,), layers=layers))


def level_lines(state: State, field: Field, fixed_points: Any = None) -> list[np.ndarray]:
    """Return level sets of the loss at its quantiles in the box and through its saddles."""
    if field.loss is None or "levels" not in state.layers:
        return []
    values = np.ma.masked_invalid(field.loss)
    tracer = contour_generator(field.x, field.y, values, line_type=LineType.Separate)
    levels = level_values(field, state.system(), fixed_points)
    return [np.asarray(line) for level in levels for line in tracer.lines(level)]


def at_point(state: State, w: tuple[float, float]) -> Kind | None:
    """Return what a critical point is by its Jacobian; None where the rule has none there.

    By floating point, at once; `slow.fixed_points` proves it.
    """
    system = state.system()
    if not (system.rule.smooth or system.rule.family is not None):
        return None
    try:
        found = classify(system, w, measure=False)
    except ArgumentError:
        return None
    return found.kind if found.status is Status.located else None


def _arrows(field: Field) -> Arrows:
    thinned = (len(field.x) / ARROWS * (np.arange(ARROWS) + 0.5)).astype(int)
    dx, dy = field.motion[:, thinned[:, None], thinned]
    x, y = np.meshgrid(field.x[thinned], field.y[thinned])
    seen = np.isfinite(dx) & np.isfinite(dy) & ((dx != 0) | (dy != 0))
    return Arrows(x[seen], y[seen], dx[seen], dy[seen])


def _moving(path: np.ndarray) -> np.ndarray:
    """Return a path up to where it ended, and of points at its end that are one the first."""
    path = path[np.isfinite(path).all(axis=1)]
    moves = (path != path[-1]).any(axis=1)
    return path[: int(np.flatnonzero(moves)[-1]) + 2 if moves.any() else 1]


def _said_of_flow(status: int, time: float, arrived: float, path: np.ndarray, zero: float) -> str:
    at = _at(path[np.isfinite(path).all(axis=1)][-1].tolist(), zero)
    if status == Status.reached_end:
        return f"is at ({at}) at time {time:.6g}"
    if status == Status.sliding:
        return f"reached a jump at time {arrived:.4g}, and slides or is held at ({at})"
    return f"ended at time {time:.4g} at ({at}): {Status(status).label}"


def _at(w: list[float], zero: float) -> str:
    return ", ".join(f"{x if abs(x) > zero else 0:.6g}" for x in w)


def _said(status: int, steps: int, w: list[float], zero: float) -> str:
    label, at = Status(status).label, _at(w, zero)
    if status == Status.converged:
        return f"stands still at ({at}) from step {steps}"
    if status == Status.out_of_steps:
        return f"is at ({at}) after {steps} steps"
    return f"{label} at step {steps}"
