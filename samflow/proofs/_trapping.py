"""One attempt to prove or refute a trap, at one rho and lr or for all of a small rectangle."""

import itertools
import math
from typing import NamedTuple

import numpy as np

from samflow._types import Box
from samflow.proofs._cones import Kept, falls, keeps
from samflow.proofs._gauges import AbstractGauge, Ellipsoid
from samflow.proofs._guesses import (
    NumericMap,
    Orbits,
    box_kept,
    ellipsoid_levels,
    follow,
    least_fall,
)
from samflow.proofs._krawczyk import refine
from samflow.proofs._leaving import Escape, prove_escape
from samflow.proofs._steps import Stepper
from samflow.proofs.balls import Balls, exact, working_precision
from samflow.proofs.equations import GradientEquations

DOMAIN = "the loss may not be defined where the ascent leads"
BUDGET = "the budget of cells was spent"
LARGE = "the invariant set that was found reaches farther than `within`"
OPEN = "the orbits that were followed stay, but no invariant ellipsoid or box was found"
UNPROVED = "an invariant set was found on samples, but not proved"
UNDETERMINED = "an orbit leaves, but not provably at the highest precision"

_BITS = 80
_ROOMS = (1.05, 1.2, 1.5)
_BOX_ROOMS = (0.05, 0.25)
_BAND = 1.25
_SHARE = 0.5
"""Of the fall of levels that samples show, the share that is proved."""
_OUTWARDS = 1 + 1e-9


class Problem(NamedTuple):
    """A critical point, and how hard to try.

    Attributes:
        equations: the loss.
        centre: enclosure of w*.
        hessian: H(w*) in doubles.
        within: the distance from w* in which the trap must lie.
        max_cells: how many cells one search examines at most.
        max_steps: how many steps an orbit is followed.

    """

    equations: GradientEquations
    centre: Balls
    hessian: np.ndarray
    within: float
    max_cells: int
    max_steps: int


class Trap(NamedTuple):
    """A set about w* that is proved to be kept, for all rho and lr of a part of the ranges.

    With y = rows·(w − w*) it is ‖y‖ ≤ 1 (ellipsoid) or |y − shift|∞ ≤ 1 (box).

    Attributes:
        part: ((low, high), (low, high)), the rho and the lr.
        form: ellipsoid or box.
        rows: a matrix.
        shift: of a box; zeros for an ellipsoid.
        num_returns: an orbit from the set is back in it within so many steps; 1: it never leaves.
        outer: every multiple of the set between 1 and this one is kept as well, and is left for
            the set itself.
        num_steps: within how many steps orbits from `outer` times the set are in the set.
        radius: no orbit from the set is ever farther than this from w*.
        entered_from: `outer` times the set holds all points that are no farther than this from w*.

    """

    part: Box
    form: str
    rows: tuple[tuple[float, ...], ...]
    shift: tuple[float, ...]
    num_returns: int
    outer: float
    num_steps: int
    radius: float
    entered_from: float


class Failure(NamedTuple):
    """Why an attempt failed; `escape` where an orbit is proved to leave, at `at` = (rho, lr)."""

    reason: str
    gap: Box | None = None
    escape: Escape | None = None
    at: tuple[float, float] | None = None


def attempt(problem: Problem, part: Box) -> Trap | Failure:
    """Prove a trap for all of `part` = (rhos, lrs), or an escape at a point of it."""
    numeric = NumericMap(
        problem.equations.gradient, problem.equations.symbols, [float(x) for x in problem.centre]
    )
    pairs = sorted(set(itertools.product(*part)) | {tuple(0.5 * a + 0.5 * b for a, b in part)})
    failure = None
    with np.errstate(all="ignore"), working_precision(_BITS):
        if numeric.dim > 1:
            found = _ellipsoid(problem, numeric, part, pairs)
            if isinstance(found, Trap):
                return found
            failure = found
        axes = np.linalg.eigh(problem.hessian)[1].T
        orbits = []
        for pair in pairs:
            orbit = follow(numeric, axes, pair, problem.within, problem.max_steps)
            if orbit.leaving is not None:
                return _escape(problem, orbit, pair)
            orbits.append(orbit)
        found = _box(problem, numeric, part, pairs, axes, orbits)
        if isinstance(found, Trap) or failure is None or failure.reason == OPEN:
            return found
        return failure


def _ellipsoid(problem, numeric: NumericMap, part: Box, pairs) -> Trap | Failure:
    """Try ‖H(w − w*)‖ ≤ r."""
    whole = Ellipsoid(problem.hessian)
    top = problem.within / whole.extents()[1] * 16
    guess = ellipsoid_levels(numeric, whole, pairs, top)
    if guess is None:
        return Failure(OPEN)
    low, high = guess
    failure = Failure(UNPROVED)
    for room in _ROOMS:
        if low * room > high:
            break
        gauge = Ellipsoid(problem.hessian / (low * room))
        if gauge.extents()[0] > problem.within:
            return Failure(LARGE)
        found = _prove(problem, numeric, gauge, part, pairs, 1, high / (low * room))
        if isinstance(found, Trap):
            return found
        failure = found
    return failure


def _box(problem, numeric, part: Box, pairs, axes, orbits: list[Orbits]) -> Trap | Failure:
    """Try a box around what orbits from near w* visit."""
    low = np.min([orbit.low for orbit in orbits], axis=0)
    high = np.max([orbit.high for orbit in orbits], axis=0)
    failure = Failure(OPEN)
    for room in _BOX_ROOMS:
        guess = box_kept(numeric, axes, low, high, pairs, room)
        if guess is None:
            continue
        gauge, num_returns = guess
        if gauge.extents()[0] > problem.within:
            failure = Failure(LARGE)
            continue
        failure = _prove(problem, numeric, gauge, part, pairs, num_returns, math.inf)
        if isinstance(failure, Trap):
            return failure
    return failure


def _prove(
    problem: Problem,
    numeric: NumericMap,
    gauge: AbstractGauge,
    part: Box,
    pairs,
    num_returns: int,
    high: float,
) -> Trap | Failure:
    rho, lr = (exact(ends) for ends in part)
    stepper = Stepper(problem.equations, problem.centre, gauge, rho, lr)
    kept = keeps(stepper, num_returns, problem.max_cells)
    if not kept.proved:
        return _gap(stepper, kept)
    outer, num_steps = 1.0, 0
    while num_returns == 1 and outer < high:
        band = (outer, min(outer * _BAND, high))
        wanted = _SHARE * least_fall(numeric, gauge, band, pairs)
        if not wanted > 0:
            break
        fallen, fall = falls(stepper, band, wanted, problem.max_cells)
        if not fallen.proved:
            break
        outer = band[1]
        num_steps += math.ceil((band[1] - band[0]) / fall) + 1
    farthest, nearest = gauge.extents()
    radius = float(farthest * max(1.0, kept.highest)) * _OUTWARDS
    if radius > problem.within:
        return Failure(LARGE)
    return Trap(
        part=part,
        form="ellipsoid" if isinstance(gauge, Ellipsoid) else "box",
        rows=tuple(map(tuple, gauge.rows.tolist())),
        shift=tuple(getattr(gauge, "shift", np.zeros(numeric.dim)).tolist()),
        num_returns=num_returns,
        outer=outer,
        num_steps=num_steps,
        radius=radius,
        entered_from=float(nearest * outer) / _OUTWARDS,
    )


def _gap(stepper: Stepper, kept: Kept) -> Failure:
    assert kept.gap is not None
    where = stepper.weights(kept.gap)
    if kept.outside:
        return Failure(DOMAIN, where)
    return Failure(BUDGET if kept.spent else UNPROVED, where)


def _escape(problem: Problem, orbit: Orbits, pair: tuple[float, float]) -> Failure:
    assert orbit.leaving is not None
    rho, lr = pair
    escape = prove_escape(
        problem.equations,
        lambda bits: refine(problem.equations, problem.centre, precision=bits),
        direction=orbit.leaving.direction,
        rho=rho,
        lr=lr,
        within=problem.within,
        max_steps=2 * orbit.leaving.num_steps + 100,
    )
    return Failure("" if escape else UNDETERMINED, None, escape, pair)
