"""One attempt to prove or refute a trap, at one rho and lr or for all of a small rectangle."""

import itertools
import math
from typing import Annotated, Any, NamedTuple

import numpy as np

from samflow._axes import axes
from samflow._types import Box
from samflow.proofs._cones import Budget, falls, keeps
from samflow.proofs._escapes import Escape, prove_escape
from samflow.proofs._gauges import AbstractGauge, Ellipsoid
from samflow.proofs._guesses import (
    Leaving,
    NumericMap,
    Orbits,
    box_kept,
    ellipsoid_levels,
    follow,
    least_fall,
)
from samflow.proofs._krawczyk import refine
from samflow.proofs._steps import Chart
from samflow.proofs.balls import Balls, Span, working_precision
from samflow.proofs.directions import middle
from samflow.proofs.equations import GradientEquations

DOMAIN = "the loss may not be defined where the ascent leads"
BUDGET = "the budget of cells was spent"
LARGE = "the invariant set that was found reaches farther than `within`"
OPEN = "the orbits that were followed stay, but no invariant ellipsoid or box was found"
UNPROVED = "an invariant set was found on samples, but not proved"
UNDETERMINED = "an orbit leaves, but not provably at the highest precision"

_BITS = 80
_ROOMS = (1.25, 1.1, 1.05)
_WIDE_ROOM = 1.5
"""In more dimensions, where cells are many."""
_BOX_ROOMS = (0.25, 0.05)
_LINE_ROOMS = (1e-3, 0.05)
_FEW_STEPS = 500
_BAND = 1.5
_LEAST_BAND = 1.02
_ENTRY_CELLS = 4_000
_FAR = 4.0
_SHARE = 0.25
"""Of the fall of levels that samples show, the share that is proved."""
_OUTWARDS = 1 + 1e-9


class Problem(NamedTuple):
    """A critical point, and how hard to try.

    Attributes:
        equations: the loss.
        centre: enclosure of w*.
        hessian: H(w*) in doubles.
        within: the distance from w* in which the trap must lie.
        max_steps: how many steps an orbit is followed.

    """

    equations: GradientEquations
    centre: Balls
    hessian: np.ndarray
    within: float
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

    part: Annotated[Box, axes("parameter", "end", labels={"parameter": ("rho", "lr")})]
    form: str
    rows: Annotated[tuple[tuple[float, ...], ...], axes("row", "weight")]
    shift: Annotated[tuple[float, ...], axes("row")]
    num_returns: int
    outer: float
    num_steps: Annotated[int, axes(units="step")]
    radius: Annotated[float, axes(units="weight")]
    entered_from: Annotated[float, axes(units="weight")]


class Failure(NamedTuple):
    """Why an attempt failed; `escape` where an orbit is proved to leave, at `at` = (rho, lr)."""

    reason: str
    gap: Box | None = None
    escape: Escape | None = None
    at: tuple[float, float] | None = None


def attempt(problem: Problem, part: Box, budget: Budget) -> Trap | Failure:
    """Prove a trap for all of `part` = (rhos, lrs), or an escape at a point of it."""
    with np.errstate(all="ignore"), working_precision(_BITS):
        return _Attempt(problem, part, budget).run()


class _Attempt:
    """What the forms of traps that are tried share."""

    def __init__(self, problem: Problem, part: Box, budget: Budget):
        self.problem, self.part, self.budget = problem, part, budget
        equations = problem.equations
        centre = [float(x) for x in problem.centre]
        self.numeric = NumericMap(equations.gradient, equations.symbols, centre)
        middles = tuple(map(middle, part))
        self.pairs: list[Any] = sorted({*itertools.product(*part), middles})
        self.far = _FAR * max(problem.within, part[0][1])

    def run(self) -> Trap | Failure:
        """Try an ellipsoid, then follow orbits, then try a box around where they have been."""
        found = self._ellipsoid() if self.numeric.dim > 1 else None
        if isinstance(found, Trap):
            return found
        # A wide part whose middle has a set is for cutting.
        if found is not None and found.reason != OPEN and len(self.pairs) > 1:
            return found
        boxed = self._box_or_escape(min(_FEW_STEPS, self.problem.max_steps))
        if isinstance(boxed, Trap) or boxed.escape is not None or len(self.pairs) > 1:
            return boxed
        later = self._box_or_escape(self.problem.max_steps, again=boxed.reason == OPEN)
        if isinstance(later, Trap) or later.reason != OPEN:
            return later
        return boxed if found is None or found.reason == OPEN else found

    def _box_or_escape(self, num_steps: int, *, again: bool = True) -> Trap | Failure:
        """Follow orbits; prove that one leaves, or try a box around where they have been."""
        axes = np.linalg.eigh(self.problem.hessian)[1].T
        orbits = []
        for pair in self.pairs:
            orbit = follow(self.numeric, axes, pair, self.problem.within, num_steps)
            if orbit.leaving is not None:
                return self._escape(orbit.leaving, pair)
            orbits.append(orbit)
        return self._box(axes, orbits) if again else Failure(OPEN)

    def _ellipsoid(self) -> Trap | Failure:
        """Try ‖H(w − w*)‖ ≤ r."""
        within = self.problem.within
        values, vectors = np.linalg.eigh(self.problem.hessian)
        rows = values[:, None] * vectors.T  # ‖rows x‖ = ‖H x‖, and cells lie along eigenvectors
        whole = Ellipsoid(rows)
        guess = ellipsoid_levels(
            self.numeric, whole, self.pairs, self.far / float(whole.extents()[1])
        )
        if guess is None:
            return Failure(OPEN)
        low, high = guess
        failure: Trap | Failure = Failure(UNPROVED)
        if len(self.pairs) > 1 and high < _ROOMS[0] * low:
            return failure
        for room in _ROOMS if self.numeric.dim < 3 else (_WIDE_ROOM, *_ROOMS):
            gauge = Ellipsoid(rows / (low * room))
            if gauge.extents()[0] > within:
                failure = Failure(LARGE)
            elif low * room <= high:
                failure = self._prove(gauge, 1)
            if isinstance(failure, Trap):
                return failure
        return failure

    def _box(self, axes: np.ndarray, orbits: list[Orbits]) -> Trap | Failure:
        """Try a box around what orbits from near w* visit."""
        low = np.min([orbit.low for orbit in orbits], axis=0)
        high = np.max([orbit.high for orbit in orbits], axis=0)
        failure = Failure(OPEN)
        for room in _BOX_ROOMS if self.numeric.dim > 1 else _LINE_ROOMS:
            guess = box_kept(self.numeric, axes, low, high, self.pairs, room)
            if guess is None:
                continue
            gauge, num_returns = guess
            if gauge.extents()[0] > self.problem.within:
                failure = Failure(LARGE)
                continue
            failure = self._prove(gauge, num_returns)
            if isinstance(failure, Trap):
                return failure
        return failure

    def _prove(self, gauge: AbstractGauge, num_returns: int) -> Trap | Failure:
        problem, part = self.problem, self.part
        chart = Chart(problem.equations, problem.centre, gauge)
        kept = keeps(chart, part, num_returns, self.budget)
        if kept.gap is not None:
            named = BUDGET if kept.spent else DOMAIN if kept.outside else UNPROVED
            return Failure(named, chart.around(kept.gap))
        farthest, nearest = map(float, gauge.extents())
        radius = farthest * kept.bound * _OUTWARDS
        if radius > problem.within:
            return Failure(LARGE)
        outer, num_steps = self._entered(chart, num_returns, self.far / nearest)
        return Trap(
            part=part,
            form="ellipsoid" if isinstance(gauge, Ellipsoid) else "box",
            rows=tuple(map(tuple, gauge.rows.tolist())),
            shift=tuple(getattr(gauge, "shift", np.zeros(chart.dim)).tolist()),
            num_returns=num_returns,
            outer=outer,
            num_steps=num_steps,
            radius=radius,
            entered_from=nearest * outer / _OUTWARDS,
        )

    def _entered(self, chart: Chart, num_returns: int, high: float) -> tuple[float, int]:
        """Return the level up to which V falls, and how many steps the fall takes at most."""
        outer, num_steps, ratio = 1.0, 0, _BAND
        budget = Budget(min(self.budget.left, _ENTRY_CELLS))
        while outer < high and ratio > _LEAST_BAND:
            band = (outer, min(outer * ratio, high))
            fall = self._fall(chart, band, num_returns, budget)
            if fall > 0:
                outer = band[1]
                num_steps += num_returns * (math.ceil((band[1] - band[0]) / fall) + 1)
            else:
                ratio = math.sqrt(ratio)
        return outer, num_steps

    def _fall(self, chart: Chart, band: Span, num_returns: int, budget: Budget) -> float:
        """Return by how much V is proved to fall between two levels; 0: it is not."""
        sampled = least_fall(self.numeric, chart.gauge, band, self.pairs, num_returns)
        if not sampled > 0:
            return 0.0
        found = falls(chart, self.part, band, num_returns, _SHARE * sampled, budget)
        return -found.bound if found.proved else 0.0

    def _escape(self, leaving: Leaving, pair: tuple[float, float]) -> Failure:
        equations, centre = self.problem.equations, self.problem.centre
        rho, lr = pair
        escape = prove_escape(
            equations,
            lambda bits: refine(equations, centre, precision=bits),
            direction=leaving.direction,
            rho=rho,
            lr=lr,
            within=self.problem.within,
            max_steps=2 * leaving.num_steps + 100,
        )
        return Failure("" if escape else UNDETERMINED, None, escape, pair)
