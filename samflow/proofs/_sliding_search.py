"""The searches behind a proof of sliding: the least S, its end in rho, nearness to quadratics."""

import functools
import itertools
from typing import Any

import numpy as np
import sympy
from flint import arb

from samflow._status import Verdict
from samflow.losses.expression import ExpressionLoss
from samflow.proofs.balls import Balls, OutsideDomain, Span, span
from samflow.proofs.bounds import Cell, Failure, Minimum, first_failure, layered, minimise
from samflow.proofs.directional import Directional
from samflow.proofs.directions import Patch, patch_of, sphere
from samflow.proofs.enclosures import symmetric_eigenvalues
from samflow.proofs.equations import GradientEquations, WithinDomain
from samflow.proofs.leaving import all_rests_attract, leaving_direction
from samflow.rules.critical import AscentStep

_END_RTOL = 1e-4
_RANGE = 32.0
"""The search for the end in rho goes to this times the length over which H changes, or 2 rho."""
_BEND = 0.5
"""H has changed where it differs by this part of what it is at w*."""
_NEAR = 0.01
_PARTS, _HALVINGS = 32, 5
_FIRST_RHO = 1024.0
"""The search in rho begins with a layer of this part of its range."""
_OCTAVES = 60
_STEP, _TRIES, _FEW = 1.5, 12, 200
"""A failing rho is looked for in steps of a factor, so many times with so many cells."""

OUTSIDE = "an ascent point leaves the domain of the loss"
UNDECIDED = "not decided: the least S was not told from 0"
GROWS = "‖g‖ grows from some directions; no solution that leaves was proved"


@functools.lru_cache(maxsize=16)
def derivatives(expression: sympy.Expr, symbols: tuple[sympy.Symbol, ...]) -> GradientEquations:
    """Return the equations of a formula; those of the last few are kept."""
    return GradientEquations(expression, symbols)


class Search:
    """The searches about one critical point.

    Attributes:
        loss: the loss.
        step: the rule's direction.
        max_cells: the most cells of one search.
        rtol: to which the least S is enclosed.
        gradient: g and its derivatives.
        centre: an enclosure of w*, once it is known.
        rate: S/rho.
        lams: enclosures of the eigenvalues of H.

    """

    def __init__(self, loss: ExpressionLoss, step: AscentStep, max_cells: int, rtol: float):
        self.loss, self.step, self.max_cells, self.rtol = loss, step, max_cells, rtol
        self.gradient = derivatives(loss.expression, loss.symbols)
        everywhere = loss.expression.is_polynomial(*loss.symbols)
        self.equations = self.gradient if everywhere else WithinDomain(self.gradient)

    def start(self, centre: Balls) -> bool:
        """Take the critical point in `centre`; False where H, or T, is not proved regular."""
        self.centre = centre
        self.rate = Directional(self.equations, centre, self.step)
        self.lams = symmetric_eigenvalues(self.rate.hessian)
        sizes = [*self.lams, *self.rate.squares]
        return not any(0 in size or not size.is_finite() for size in sizes)

    def least(self) -> dict[str, Any]:
        """Return the least S at the rule's rho and what it proves."""
        rho = self.step.rho
        found = self._minimum(rho)
        low, high = (span(arb(rho) * x) for x in (found.low, found.high))
        answer: dict[str, Any] = {
            "least": (low[0], high[1]),
            "direction": found.direction,
            "quadratic": span(rho * self.rate.quadratic),
        }
        if found.undefined is not None:
            return answer | {"reason": OUTSIDE, "direction": found.undefined}
        if found.low > 0:
            return answer | {"verdict": Verdict.proved}
        if not found.high < 0:
            return answer | {"reason": UNDECIDED}
        leaves = leaving_direction(self.rate, rho, found.direction)
        if leaves is None:
            held = all_rests_attract(self.rate, rho, max_cells=self.max_cells)
            return answer | ({"verdict": Verdict.proved} if held else {"reason": GROWS})
        return answer | {"verdict": Verdict.refuted, "leaves": leaves}

    def end(self) -> dict[str, Any]:
        """Return how far up in rho S > 0 in every direction."""
        top = self._range
        if top is None:
            return {"rho_range": np.inf, "rho_end": (np.inf, np.inf)}
        found = self._first_failure(top, 0.0)
        high, direction = found.high, found.direction
        if found.first is not None and (found.examined >= self.max_cells or not np.isfinite(high)):
            high, direction = self._failing(found.low, found.high, direction, top)
        if direction is None and np.isfinite(high):
            high = self._leaving_domain(found.low, high)
        return {"rho_range": top, "rho_end": (found.low, high), "end_direction": direction}

    def _failing(
        self, low: float, high: float, direction: tuple[float, ...] | None, top: float
    ) -> tuple[float, tuple[float, ...] | None]:
        """Return a smaller rho that fails, where the proof from below stopped.

        There S < 0 in a direction, or an ascent point leaves the domain, without a direction.
        """
        rho = low if low > 0 else top / _FIRST_RHO
        for _ in range(_TRIES):
            rho = min(rho * _STEP, top)
            if rho >= high:
                break
            found = self._minimum(rho, _FEW)
            if found.undefined is not None:
                return rho, None
            if found.high < 0:
                return rho, found.direction
            if rho == top:
                break
        return high, direction

    def _leaving_domain(self, low: float, high: float) -> float:
        """Return a rho nearer to `low` than `high` at which an ascent point leaves the domain."""
        for _ in range(_TRIES):
            rho = 0.5 * (low + high)
            if self._minimum(rho, _FEW).undefined is None:
                break
            high = rho
        return high

    def near(self) -> dict[str, Any]:
        """Enclose the rho up to which the least S/rho is within 1 % of the quadratic part's."""
        top = self._range
        if top is None:
            return {"near": (np.inf, np.inf)}
        level = float(self.rate.quadratic)
        below = self._first_failure(top, (1 - _NEAR) * level)
        if not below.low > 0:
            return {"near": (0.0, below.high)}
        # The least S is not too large as long as S is not, in either direction of the weakest λ.
        rhos = np.linspace(0.0, min(below.low, top), _PARTS + 1)
        for before, after in itertools.pairwise(rhos.tolist()):
            sides = (
                self._at_most((before, after), e, (1 + _NEAR) * level) for e in self._weakest()
            )
            if not any(sides):
                return {"near": (before, self._first_above(before, below.high, level))}
        return {"near": (below.low, below.high)}

    def _at_most(self, rhos: Span, e: Patch, level: float) -> bool:
        """Say whether S/rho ≤ level in one direction for every rho of an interval."""
        middle = 0.5 * rhos[0] + 0.5 * rhos[1]
        value = self.rate.value(Cell(e, ((middle, middle),)))
        value += self.rate.slope_by_rho(Cell(e, (rhos,))) * (arb(rhos[0]).union(rhos[1]) - middle)
        return bool(value <= level)

    def _first_above(self, start: float, end: float, level: float) -> float:
        """Return a rho from `start` on at which the least S/rho is proved to be 1 % too large."""
        top = min(end, self._range or end)
        for power in range(_HALVINGS, -1, -1):
            rho = start + (top - start) * 2.0**-power
            if self._minimum(rho).low > (1 + _NEAR) * level:
                return rho
        return end

    def _weakest(self) -> list[Patch]:
        hessian = np.array([[float(x) for x in row] for row in self.rate.hessian])
        lams, vectors = np.linalg.eigh(hessian)
        v = vectors[:, int(np.argmin(np.abs(lams)))]
        return [patch_of(v.tolist()), patch_of((-v).tolist())]

    def _minimum(self, rho: float, max_cells: int | None = None) -> Minimum:
        cells = [Cell(patch, ((rho, rho),)) for patch in sphere(len(self.centre))]
        most = self.max_cells if max_cells is None else max_cells
        return minimise(self.rate, cells, rtol=self.rtol, max_cells=most)

    def _first_failure(self, top: float, floor: float) -> Failure:
        return first_failure(
            self.rate,
            layered(len(self.centre), top / _FIRST_RHO, top),
            rtol=_END_RTOL,
            max_cells=self.max_cells,
            floor=floor,
        )

    @functools.cached_property
    def _range(self) -> float | None:
        """Return where the search in rho ends; None where it needs no end: H is constant."""
        if self.loss.is_quadratic:
            return None
        rho = self.step.rho
        return max(2 * rho, _RANGE * self._bending_length(rho))

    def _bending_length(self, unit: float) -> float:
        """Return a length over which H changes by half: `unit` times a power of 2."""
        hessian = np.array([[float(x) for x in row] for row in self.rate.hessian])
        axes = np.concatenate([np.eye(len(hessian)), np.linalg.eigh(hessian)[1].T])
        ends = np.concatenate([axes, -axes]).tolist()

        def changes(length: float) -> bool:
            for e in ends:
                point = [c + length * x for c, x in zip(self.centre, e, strict=True)]
                try:
                    there = self.equations.hessian(point)
                except OutsideDomain:
                    return True
                change = np.array([[float(x) for x in row] for row in there]) - hessian
                if not np.abs(change).max() < _BEND * np.abs(hessian).max():
                    return True
            return False

        powers = range(1, _OCTAVES)
        if changes(unit):
            bent = (unit / 2.0**k for k in powers if not changes(unit / 2.0 ** (k + 1)))
            return next(bent, unit)
        return next((unit * 2.0**k for k in powers if changes(unit * 2.0**k)), unit)
