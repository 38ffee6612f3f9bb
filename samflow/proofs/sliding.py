"""Proofs that a critical point holds the flow of a normalised rule, on the loss itself.

At a critical point w* the direction jumps. Near it d‖g‖/dt = −S(ĝ) + O(‖g‖) with
S(e) = eᵀH g(w* + rho e) for SAM: where S > 0 on the unit sphere, every solution from nearby arrives
in finite time and stays. docs/theory, "Sliding".
"""

import functools
import itertools
from typing import Any, ClassVar

import equinox as eqx
import flint
import numpy as np
import sympy
from flint import arb

from samflow import _checks
from samflow._status import Verdict
from samflow._types import ArrayLike, Box
from samflow.losses.expression import ExpressionLoss
from samflow.proofs._krawczyk import approximate_inverse
from samflow.proofs._near import critical_point
from samflow.proofs.balls import Balls, OutsideDomain, Span, span, spans, working_precision
from samflow.proofs.bounds import Cell, Failure, Minimum, first_failure, minimise
from samflow.proofs.coarse_radius import coarse_radius
from samflow.proofs.directional import Directional
from samflow.proofs.directions import Patch, patch_of, sphere
from samflow.proofs.enclosures import symmetric_eigenvalues
from samflow.proofs.equations import GradientEquations, WithinDomain
from samflow.proofs.falling import Lengths, Surroundings
from samflow.proofs.leaving import all_rests_attract, leaving_direction
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.rules.critical import AscentStep
from samflow.systems.flow import Flow

_PRECISION = 96
_CELLS = 6000
_RTOL, _COARSE = 1e-3, 0.05
"""Of the least S, in up to two dimensions and in more."""
_END_RTOL = 1e-4
_RANGE = 32.0
"""The search for the end in rho goes to this times the length over which H changes, or 2 rho."""
_BEND = 0.5
"""H has changed where it differs by this part of what it is at w*."""
_NEAR = 0.01
_PARTS, _HALVINGS = 32, 5
_FIRST_RHO, _FIRST_S, _LAST_S = 1024.0, 64.0, 16.0
"""The searches in rho and in ‖g‖ begin with a layer of this part of their range or their unit,
rho times the smallest |λ|; the latter ends at the last times rho times the largest."""
_OCTAVES = 60
_TIED = 2
"""In up to so many dimensions the radius is found by cutting directions."""
_STEP, _TRIES, _FEW = 1.5, 12, 200
"""A failing rho is looked for in steps of a factor, so many times with so many cells."""
_SHARE = 32
"""Within the radius that is kept ‖g‖ falls at this part of the rate at w* at least."""

OUTSIDE = "an ascent point leaves the domain of the loss"
NO_FORMULA = "the loss is not given by a formula"
NO_STEP = "the rule does not state its direction in the terms of proofs (`ascent_step`)"
NO_POINT = "no critical point is proved to exist near the one given"
SINGULAR = "the Hessian, or the rule's scale, is not proved to be regular"
UNDECIDED = "the least S was not told from 0"
GROWS = "‖g‖ grows from some directions; no solution that leaves was proved"


class SlidingProof(AbstractRecord):
    """What is proved about a critical point w* of a normalised rule's flow, on the loss itself.

    Attributes:
        verdict: proved where all solutions from nearby arrive in finite time and stay: S > 0 in
            every direction, or, in two dimensions, in every direction in which g/‖g‖ rests. Refuted
            where a solution is proved to leave, in the direction `leaves`. Inconclusive otherwise;
            unsupported where nothing was tried. See `reason`.
        point: an enclosure of w*, proved to be the only critical point in it.
        rho: the rule's rho.
        least: an enclosure of the least S, in units of gradient over time; the rate at which ‖g‖
            falls in the direction in which it falls slowest.
        direction: the direction of the least S.
        quadratic: the least S of the quadratic part of the loss, for SAM rho times the smallest λ².
        leaves: the direction in which a solution leaves; None where none is proved to.
        rho_end: an enclosure of the least rho > 0 at which the least S is 0: S > 0 in every
            direction for every rho in (0, low], and S < 0 in `end_direction` at rho = high. high is
            infinite where nothing fails up to low, the end of the search or of the proof; None
            where it was not asked for.
        end_direction: the direction in which S < 0 first; None where nothing fails, or where at
            rho = high an ascent point leaves the domain of the loss.
        rho_range: where the search for the end stopped at the latest: the greater of 2 rho and 32
            lengths over which H changes by half; infinite for a quadratic loss.
        near: an enclosure of the rho up to which the least S is that of the quadratic part to
            within 1 %.
        radius: every solution that starts with ‖g‖ ≤ radius in the part of that set around w*
            stays in it, and ‖g‖ falls to 0. 0 where none was proved, None where not asked for.
        time: the latest time at which such solutions arrive; infinite where they approach for
            ever, as with eps.
        radius_limit: what ended the search for a larger radius.
        reason: why the verdict is not proved; empty otherwise.
        provenance: system, settings and versions.

    """

    rows: ClassVar[Names] = ()
    printed: ClassVar[Names] = ("verdict", "rho", "least", "rho_end", "radius", "time", "reason")
    verdict: Verdict
    point: Box | None = eqx.field(metadata=axes("weight", "end", units="weight"))
    rho: float
    least: Span | None = eqx.field(metadata=axes("end", units="loss/weight/time"))
    direction: tuple[float, ...] | None = eqx.field(metadata=axes("weight", units="1"))
    quadratic: Span | None = eqx.field(metadata=axes("end", units="loss/weight/time"))
    leaves: tuple[float, ...] | None = eqx.field(metadata=axes("weight", units="1"))
    rho_end: Span | None = eqx.field(metadata=axes("end"))
    end_direction: tuple[float, ...] | None = eqx.field(metadata=axes("weight", units="1"))
    rho_range: float | None
    near: Span | None = eqx.field(metadata=axes("end"))
    radius: float | None = eqx.field(metadata=axes(units="loss/weight"))
    time: float | None = eqx.field(metadata=axes(units="time"))
    radius_limit: str
    reason: str
    provenance: Provenance


def certify_sliding(
    flow: Flow,
    w: ArrayLike,
    *,
    end: bool = True,
    near: bool = True,
    radius: bool = True,
    max_cells: int = _CELLS,
    rtol: float | None = None,
) -> SlidingProof:
    """Prove or refute that the critical point near `w` holds a flow of SAM or a relative.

    S(e) = m(e)ᵀH ℓ(e) over all unit vectors e, with the limit ℓ(e) of the rule's direction as
    g → 0 along e, and m(e) = e; with a scale T, as in ASAM, m(e) = T²e/‖Te‖, and S is the rate at
    which ‖Tg‖ falls. Directions are covered by patches of the sphere, which are cut until ball
    arithmetic decides.

    >>> import samflow as sf
    >>> proof = certify_sliding(sf.Flow(sf.losses.quartic(), sf.SAM(rho=0.5)), [0.0, 0.0])
    >>> str(proof.verdict), [round(x, 3) for x in proof.rho_end]
    ('proved', [1.0, 1.0])

    Args:
        flow: of a rule that states its direction (`ascent_step`), on a loss given by a formula.
            With eps, S is that of eps → 0, and the verdict, the end and the radius are about the
            rule as it is: see `Not guaranteed`.
        w: weights of shape (dim,) close to the critical point.
        end: whether to look for the end in rho.
        near: whether to look for the rho up to which the quadratic part is near.
        radius: whether to look for the radius that is kept.
        max_cells: the most cells that one search examines, 50 to 300 µs each.
        rtol: the relative width to which the least S is enclosed; by default 1e-3 in up to two
            dimensions, and 0.05 in more.

    Raises:
        ArgumentError: for another system, or a `w` of the wrong shape.

    Not guaranteed: that a verdict is found. S > 0 is sufficient, not necessary: see docs/theory,
    "Sliding". With eps the point is smooth, and `radius` is the set in which ‖g‖ falls for ever; it
    is found only if ‖g‖ falls both where the rule is USAM with rho/eps and where it is SAM.

    Source: docs/theory, "Sliding".

    """
    _checks.instance("flow", flow, Flow, "Use `sf.Flow`.")
    start = np.asarray(_checks.point("w", w, flow.dim), dtype=float)
    max_cells = _checks.count("max_cells", max_cells)
    if rtol is None:
        rtol = _RTOL if flow.dim < 3 else _COARSE
    rtol = _checks.positive("rtol", rtol)
    step = flow.rule.ascent_step(flow.loss)
    rho = float("nan") if step is None else step.rho
    named = provenance(
        flow.describe(),
        max_cells=max_cells,
        precision=_PRECISION,
        **{"python-flint": flint.__version__},
    )
    nothing = _nothing(rho, named)
    if not isinstance(flow.loss, ExpressionLoss):
        nothing["reason"] = NO_FORMULA
        return SlidingProof(**nothing)
    if step is None or not step.rho > 0 or not step.share > 0:
        nothing["reason"] = NO_STEP
        return SlidingProof(**nothing)
    with working_precision(_PRECISION):
        search = _Search(flow.loss, step, max_cells, rtol)
        nothing["verdict"] = Verdict.inconclusive
        centre = critical_point(search.gradient, start, precision=_PRECISION)
        if centre is None:
            nothing["reason"] = NO_POINT
            return SlidingProof(**nothing)
        nothing["point"] = spans(centre)
        if not search.start(centre):
            nothing["reason"] = SINGULAR
            return SlidingProof(**nothing)
        found = nothing | search.least()
        if end:
            found |= search.end()
        if near:
            found |= search.near()
        if radius:
            found |= search.radius(found)
        if step.eps:
            found |= _with_eps(found)
        return SlidingProof(**(found | _in_own_rho(flow.rule, step, found)))


@functools.lru_cache(maxsize=16)
def _derivatives(expression: sympy.Expr, symbols: tuple[sympy.Symbol, ...]) -> GradientEquations:
    return GradientEquations(expression, symbols)


def _nothing(rho: float, named: Provenance) -> dict[str, Any]:
    names = "point least direction quadratic leaves rho_end end_direction rho_range near radius"
    found: dict[str, Any] = dict.fromkeys([*names.split(), "time"])
    return found | {
        "verdict": Verdict.unsupported,
        "rho": rho,
        "radius_limit": "",
        "reason": "",
        "provenance": named,
    }


def _in_own_rho(rule: Any, step: AscentStep, found: dict[str, Any]) -> dict[str, Any]:
    """Return the fields in units of rho for a rule whose ascent is a part of rho long."""
    own = float(getattr(rule, "rho", step.rho))
    if own == step.rho:
        return {}
    factor = arb(own) / arb(step.rho)
    changed: dict[str, Any] = {"rho": own}
    for name in ("rho_end", "near"):
        if found[name] is not None:
            ends = [span(arb(x) * factor) if np.isfinite(x) else (x, x) for x in found[name]]
            changed[name] = (ends[0][0], ends[1][1])
    if found["rho_range"] is not None:
        changed["rho_range"] = found["rho_range"] * own / step.rho
    return changed


def _with_eps(found: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict on a rule with eps, which rests on the radius."""
    if found["radius"]:
        return {"verdict": Verdict.proved, "reason": "", "leaves": None}
    reason = f"no radius was proved: {found['radius_limit']}"
    return {"verdict": Verdict.inconclusive, "reason": reason, "leaves": None}


class _Search:
    """The searches about one critical point."""

    def __init__(self, loss: ExpressionLoss, step: AscentStep, max_cells: int, rtol: float):
        self.loss, self.step, self.max_cells, self.rtol = loss, step, max_cells, rtol
        self.gradient = _derivatives(loss.expression, loss.symbols)
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
        if found.first is not None and found.examined >= self.max_cells:
            high, direction = self._failing(found.low, found.high, direction, top)
        return {"rho_range": top, "rho_end": (found.low, high), "end_direction": direction}

    def _failing(
        self, low: float, high: float, direction: tuple[float, ...] | None, top: float
    ) -> tuple[float, tuple[float, ...] | None]:
        """Return a smaller rho at which S < 0 somewhere, where the proof from below stopped."""
        rho = low if low > 0 else top / _FIRST_RHO
        for _ in range(_TRIES):
            rho = min(rho * _STEP, top)
            if rho >= high:
                break
            found = self._minimum(rho, _FEW)
            if found.high < 0:
                return rho, found.direction
            if found.undefined is not None or rho == top:
                break
        return high, direction

    def near(self) -> dict[str, Any]:
        """Enclose the rho up to which the least S/rho is within 1 % of the quadratic part's."""
        top = self._range
        if top is None:
            return {"near": (np.inf, np.inf)}
        level = float(self.rate.quadratic)
        below = self._first_failure(top, (1 - _NEAR) * level)
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
            _layered(len(self.centre), top / _FIRST_RHO, top),
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
        """Return the length, of those that are a power of 2 times `unit`, over which H changes."""
        hessian = np.array([[float(x) for x in row] for row in self.rate.hessian])
        axes = np.concatenate([np.eye(len(hessian)), np.linalg.eigh(hessian)[1].T])
        for power in range(-_OCTAVES, _OCTAVES + 1):
            length = unit * 2.0**power
            for e in [*axes, *-axes]:
                point = [c + length * x for c, x in zip(self.centre, e.tolist(), strict=True)]
                try:
                    there = self.equations.hessian(point)
                except OutsideDomain:
                    return length
                change = np.array([[float(x) for x in row] for row in there]) - hessian
                if not np.abs(change).max() < _BEND * np.abs(hessian).max():
                    return length
        return unit

    def radius(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return the radius that is kept, what limits it, and the time of arrival."""
        step, dim = self.step, len(self.centre)
        if step.limit_only:
            return {"radius_limit": "not sought for a rule that is of this form in the limit alone"}
        if step.scale is not None or step.keeps_length:
            return {"radius_limit": "not sought for a rule with a scale, or that keeps a length"}
        inverse = approximate_inverse(self.rate.hessian)
        if inverse is None or not (found["least"][0] > 0 or step.eps):
            return {"radius": 0.0, "radius_limit": "the least S is not positive"}
        floor = 0.0 if step.eps else found["least"][0] / _SHARE
        sizes = sorted(abs(float(lam)) for lam in self.lams)
        if dim > _TIED:
            return self._coarse(inverse, found["least"][0], floor, step.rho * sizes[-1])
        around = Surroundings(self.equations, self.centre, step, inverse)
        first, last = step.rho * sizes[0] / _FIRST_S, step.rho * sizes[-1] * _LAST_S
        if step.eps:
            first = min(first, step.eps / _FIRST_S)
        kept = first_failure(
            around,
            _layered(dim, first, last),
            rtol=_RTOL * 10,
            max_cells=self.max_cells,
            floor=floor,
        )
        if not kept.low > 0:
            return {"radius": 0.0, "radius_limit": "no radius was proved with so many cells"}
        cells = [Cell(patch, ((kept.low, kept.low),)) for patch in sphere(dim)]
        shortest = minimise(Lengths(around), cells, rtol=_RTOL * 10, max_cells=self.max_cells)
        size = span(arb(kept.low) * max(shortest.low, 0.0))[0]
        arrival = np.inf if step.eps or not size else span(arb(size) / kept.least)[1]
        return {"radius": size, "time": arrival, "radius_limit": _limit(around, kept)}

    def _coarse(
        self, inverse: list[Balls], least: float, floor: float, first: float
    ) -> dict[str, Any]:
        if self.step.eps or self.step.share != 1:
            limit = f"not sought in more than {_TIED} dimensions with eps or a share"
            return {"radius": 0.0, "radius_limit": limit}
        kept = coarse_radius(
            self.equations,
            self.centre,
            inverse,
            rho=self.step.rho,
            least=least,
            floor=floor,
            first=first,
        )
        time = span(arb(kept.radius) / kept.rate)[1] if kept.rate > 0 else np.inf
        limit = f"in more than {_TIED} dimensions e is free, so that larger radii may be kept"
        return {"radius": kept.radius, "time": time, "radius_limit": limit}


def _limit(around: Surroundings, kept: Failure) -> str:
    """Say what ended the search for a larger radius."""
    if kept.direction is not None:
        return f"‖g‖ does not fall fast enough at g/‖g‖ ≈ {_shown(kept.direction)}"
    if kept.first is None:
        return "the end of the search"
    place = ", ".join(f"[{low:.4g}, {high:.4g}]" for low, high in spans(around.point(kept.first)))
    if not around.length(kept.first).value > 0:
        return f"another critical point may lie in {place}"
    return f"not decided around {place}"


def _layered(dim: int, first: float, last: float) -> list[Cell]:
    """Return cells over all directions, and over 0 to `last` in layers that grow by a factor."""
    edges = [0.0, first]
    while edges[-1] < last:
        edges.append(min(edges[-1] * (2.0 if edges[-1] > last / 2**16 else 8.0), last))
    return [Cell(patch, (layer,)) for patch in sphere(dim) for layer in itertools.pairwise(edges)]


def _shown(direction: tuple[float, ...]) -> str:
    return f"({', '.join(f'{x:.4g}' for x in direction)})"
