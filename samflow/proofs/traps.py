"""Traps of normalised SAM on the loss itself: invariant sets about a critical point, proved."""

import itertools
import math
from collections import deque
from typing import Any, ClassVar

import equinox as eqx
import flint
import numpy as np
import sympy

from samflow import _checks
from samflow._status import Verdict
from samflow._types import ArrayLike, Box
from samflow.losses.expression import ExpressionLoss
from samflow.proofs._cones import Budget
from samflow.proofs._escapes import Escape
from samflow.proofs._krawczyk import overlap
from samflow.proofs._near import critical_point
from samflow.proofs._ranges import checked_range, shown
from samflow.proofs._trapping import BUDGET, DOMAIN, Failure, Problem, Trap, attempt
from samflow.proofs.balls import (
    Balls,
    OutsideDomain,
    Span,
    hull,
    span,
    spans,
    working_precision,
)
from samflow.proofs.enclosures import symmetric_eigenvalues
from samflow.proofs.equations import GradientEquations
from samflow.proofs.search import find_zeros
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.rules import Ascent
from samflow.systems import Map
from samflow.systems.base import check_system

_PRECISION = 128
_MAX_PARTS = 64
_NARROW = 1 + 1e-6
"""Ranges whose ends have a smaller ratio are not cut again."""
_WIDTHS = 4.0
_NEIGHBOUR_BOXES = 4000

NO_POINT = "no critical point is proved to exist near the one given"
SINGULAR = "the Hessian may be singular at the critical point"
ELSEWHERE = "the critical point that Newton's iteration finds is farther than rho from `w`"
NEIGHBOUR = "another critical point lies in the region"


class TrapClaim(AbstractRecord):
    """What is proved about the trap at one critical point, for every rho and lr of a rectangle.

    Attributes:
        verdict: proved where there is a trap for all of the ranges; refuted where for some of
            them an orbit is proved to leave, see `fails` and `escape`; inconclusive otherwise;
            unsupported where nothing was tried. See `reason`.
        point: enclosure of the critical point, proved to be the only one in it.
        hessian: enclosures of the eigenvalues of H there, ascending.
        rho: the range of rho.
        lr: the range of lr.
        within: the trap must lie in ‖w − w*‖ ≤ within.
        radius: no orbit from the trap is ever farther than this from w*; the largest of the
            ranges. NaN where not proved, as for the next two.
        entered_from: every orbit with 0 < ‖w − w*‖ ≤ entered_from comes to the trap; the least.
        num_steps: within so many steps; the largest.
        traps: the sets themselves, one for each part of the ranges.
        fails: (rho, lr) at which an orbit leaves; None where none is proved to.
        escape: the starts from which it leaves.
        undecided: the parts of the ranges that are neither proved nor refuted, their hull.
        where: for an inconclusive verdict, weights that stand in the way: another critical point,
            or where nothing was decided.
        reason: why the verdict is not proved or refuted; empty otherwise.
        provenance: system, settings and versions.

    """

    basis: ClassVar[Names] = ("trap",)
    rows: ClassVar[Names] = ()
    printed: ClassVar[Names] = (
        "verdict",
        "rho",
        "lr",
        "within",
        "radius",
        "entered_from",
        "num_steps",
    )
    verdict: Verdict
    point: Box | None = eqx.field(metadata=axes("weight", "end", units="weight"))
    hessian: tuple[Span, ...] = eqx.field(metadata=axes("eigenvalue", "end", units="loss/weight^2"))
    rho: Span = eqx.field(metadata=axes("end"))
    lr: Span = eqx.field(metadata=axes("end"))
    within: float = eqx.field(metadata=axes(units="weight"))
    radius: float = eqx.field(metadata=axes(units="weight"))
    entered_from: float = eqx.field(metadata=axes(units="weight"))
    num_steps: int | None = eqx.field(metadata=axes(units="step"))
    traps: tuple[Trap, ...] = eqx.field(metadata=axes("trap", prefix="trap_"))
    fails: tuple[float, float] | None = eqx.field(
        metadata=axes("parameter", labels={"parameter": ("rho", "lr")})
    )
    escape: Escape | None
    undecided: Box | None = eqx.field(
        metadata=axes("parameter", "end", labels={"parameter": ("rho", "lr")})
    )
    where: Box | None = eqx.field(metadata=axes("weight", "end", units="weight"))
    reason: str
    provenance: Provenance

    def __str__(self) -> str:
        """Return the summary."""
        return self.summary()

    def summary(self) -> str:
        """Say in one line what is proved."""
        ball = "" if math.isnan(self.within) else f" within {self.within:.3g} of the critical point"
        ranges = f"rho in {shown(self.rho)} and lr in {shown(self.lr)}"
        text = f"trap{ball} for every {ranges}: {self.verdict}"
        if self.verdict is Verdict.proved:
            steps = f" in at most {self.num_steps} steps" if self.num_steps else ""
            return (
                f"{text}: orbits stay within {self.radius:.3g} of the point, and come "
                f"there from within {self.entered_from:.3g}{steps}"
            )
        if self.escape is not None and self.fails is not None:
            rho, lr = self.fails
            how = f"go farther than {self.within:.3g} in {self.escape.num_steps} steps"
            if self.escape.undefined:
                how = f"come to where the map is undefined in {self.escape.num_steps} steps"
            return f"{text}: at rho {rho:g}, lr {lr:g} orbits from arbitrarily near {how}"
        return f"{text} ({self.why()})"

    def why(self) -> str:
        """Return the reason with the place, where there is one: the middle of `where`."""
        if self.where is None:
            return self.reason
        place = ", ".join(f"{0.5 * (low + high):.4g}" for low, high in self.where)
        place = place if len(self.where) == 1 else f"({place})"
        joint = ", near" if self.reason == NEIGHBOUR else "; not decided near"
        return f"{self.reason}{joint} {place}"


@_checks.untraced()
def certify_trap(
    system: Map,
    w: ArrayLike,
    *,
    rho: Any = None,
    lr: Any = None,
    within: Any = None,
    max_cells: int = 200_000,
    max_steps: int = 10_000,
) -> TrapClaim:
    """Prove or refute that SAM's map on the loss has a trap about a critical point.

    A trap is a set that holds a neighbourhood of the critical point w*, lies in
    ‖w − w*‖ ≤ within, and from which no orbit of w⁺ = w − lr g(w + rho g(w)/‖g(w)‖) ever goes
    farther than that. An orbit that hits w* exactly, where the map is undefined, ends there.

    `proved` comes with the set: an ellipsoid ‖H(w − w*)‖ ≤ r, or a box along the eigenvectors of H,
    with the larger multiples of it from which orbits come to it. `refuted` says that arbitrarily
    near to w* there are starts whose orbits leave ‖w − w*‖ ≤ within, so that no trap lies in it.
    It does not say that a larger region has none, that all orbits leave, or that they do not come
    back. `inconclusive` says why, and where.

    Args:
        system: a `Map` on a loss given by a formula, of SAM or of another rule that states that
            its ascent is rho g/‖g‖; without momentum and weight decay.
        w: weights of shape (dim,) close to the critical point; the one that Newton's iteration
            leads to is proved to exist, and returned.
        rho: a number, or a pair (low, high) for all numbers between; > 0. By default the rule's.
        lr: the same; by default the system's.
        within: a distance. By default four times what the ball of the quadratic part extends to
            (Proposition 10 of docs/theory), at the upper ends of the ranges:
            lr·rho·max λ²/min(1, 2 − lr λ), over min|λ|.
        max_cells: how many cells all searches together examine at most, about 0.3 ms each.
        max_steps: how many steps orbits are followed for a refutation.

    Returns:
        A `TrapClaim`. Its verdict is unsupported, with the reason, for other systems, and
        inconclusive where the Hessian is singular, where `w` is not near a critical point, where
        another critical point lies in the region, where the ascent may leave the domain of the
        loss, where the budget is spent, and where orbits stay but no set of the two forms is kept.

    Raises:
        ArgumentError: for numbers out of range; for what is not a `Map`.

    Not guaranteed: that the sets are the smallest, or the entry the largest. Many dimensions: the
    number of cells grows like a power of dim − 1; 3 take seconds, more than 4 seldom succeed.

    Source: docs/theory, section 3, Propositions T1 to T3.

    """
    check_system(system, Map)
    start = np.asarray(_checks.point("w", w, system.dim), dtype=float)
    given = getattr(system.rule, "rho", 0.0) if rho is None else rho
    reason = _unsupported(system)
    rhos = checked_range("rho", given, _checks.nonnegative if reason else _positive)
    lrs = checked_range("lr", system.lr if lr is None else lr, _checks.positive)
    cells, steps = _checks.count("max_cells", max_cells), _checks.count("max_steps", max_steps)
    versions = {"python-flint": flint.__version__, "sympy": sympy.__version__}
    asked = {
        "rho": rhos,
        "lr": lrs,
        "provenance": provenance(system.describe(), max_cells=cells, max_steps=steps, **versions),
    }
    distance = math.nan if within is None else _checks.positive("within", within)
    if reason:
        return _record(Verdict.unsupported, reason, within=distance, **asked)
    loss = system.loss
    assert isinstance(loss, ExpressionLoss)
    equations = GradientEquations(loss.expression, loss.symbols)
    with working_precision(_PRECISION):
        centre = critical_point(equations, start, precision=_PRECISION)
        if centre is None:
            why = SINGULAR if _singular(equations, start) else NO_POINT
            return _record(Verdict.inconclusive, why, within=distance, **asked)
        rows = equations.hessian(centre)
        eigenvalues = symmetric_eigenvalues(rows)
        about = {**asked, "point": spans(centre), "hessian": spans(eigenvalues)}
    away = np.linalg.norm(start - [float(x) for x in centre])
    if away > rhos[1]:
        return _record(Verdict.inconclusive, ELSEWHERE, within=distance, **about)
    if within is None:
        distance = _reach(np.array([float(x) for x in eigenvalues]), rhos[1], lrs[1])
    hessian = np.array([[float(x) for x in row] for row in rows])
    problem = Problem(equations, centre, 0.5 * (hessian + hessian.T), distance, steps)
    return _sweep(problem, Budget(cells), {**about, "within": distance})


def _positive(name: str, value: Any) -> float:
    return _checks.positive(name, value, "With rho 0 SAM is GD: use `certify_stability`.")


def _unsupported(system: Map) -> str:
    if not isinstance(system.loss, ExpressionLoss):
        return "the loss is not given by a formula"
    if system.rule.ascent not in (Ascent.unit, Ascent.over_whole):
        if system.rule.ascent.is_linear:
            rho = "" if system.rule.ascent is Ascent.gradient else " with rho=0"
            return (
                f"the map of {system.rule.name} has a Jacobian at a critical point: use "
                f"`sf.certify_stability`{rho}"
            )
        return (
            f"the rule {system.rule.name} does not state that its ascent is rho g/‖g‖ (`ascent`), "
            "as the supported rules SAM, NSAM and DNSAM do"
        )
    if system.momentum is not None:
        return "the map has momentum"
    return "" if system.weight_decay is None else "the map has weight decay"


def _singular(equations: GradientEquations, w: np.ndarray) -> bool:
    """Say whether g vanishes at `w` up to rounding, but det H may vanish too."""
    try:
        g, h = equations.linearise([hull(x, x) for x in w.tolist()])
    except OutsideDomain:
        return False
    matrix = np.array([[float(x) for x in row] for row in h])
    if not np.isfinite(matrix).all() or not all(0 in x for x in g):
        return False
    values = np.abs(np.linalg.eigvalsh(matrix))
    return bool(values.min() <= 1e-9 * values.max())


def _reach(eigenvalues: np.ndarray, rho: float, lr: float) -> float:
    """Return four times the extent of the ball of the quadratic part, Proposition 10."""
    slack = 2 - lr * eigenvalues
    room = np.where(slack > 0, np.minimum(slack, 1), 1)
    ball = lr * rho * (eigenvalues**2 / room).max()
    return _WIDTHS * float(ball / np.abs(eigenvalues).min())


def _sweep(problem: Problem, budget: Budget, about: dict[str, Any]) -> TrapClaim:
    """Cut the ranges until every part is proved, or one point of them is refuted."""
    whole: Box = (about["rho"], about["lr"])
    boxes = min(_NEIGHBOUR_BOXES, budget.left)
    queue: deque[Box] = deque([whole])
    traps: list[Trap] = []
    left: list[Box] = []
    first: Failure | None = None
    parts = 0
    while queue:
        part = queue.popleft()
        parts += 1
        found = attempt(problem, part, budget)
        if isinstance(found, Trap):
            traps.append(found)
            continue
        if found.escape is not None:
            return _record(Verdict.refuted, "", fails=found.at, escape=found.escape, **about)
        cut = _cut(part) if parts + len(queue) < _MAX_PARTS else []
        queue.extend(cut)
        if not cut:
            left.append(part)
            first = first or found
    if first is None:
        return _record(
            Verdict.proved,
            "",
            radius=max(trap.radius for trap in traps),
            entered_from=min(trap.entered_from for trap in traps),
            num_steps=max(trap.num_steps for trap in traps),
            traps=tuple(traps),
            **about,
        )
    # Long orbits are followed at single points only: of the ranges, at their corners.
    for rho, lr in itertools.product(*whole) if parts > 1 else ():
        found = attempt(problem, ((rho, rho), (lr, lr)), budget)
        if isinstance(found, Failure) and found.escape is not None:
            return _record(Verdict.refuted, "", fails=found.at, escape=found.escape, **about)
    axes = zip(*left, strict=True)
    undecided = tuple((min(a for a, _ in axis), max(b for _, b in axis)) for axis in axes)
    neighbour = None if first.reason in (BUDGET, DOMAIN) else _neighbour(problem, boxes)
    reason = first.reason if neighbour is None else NEIGHBOUR
    where = first.gap if neighbour is None else neighbour
    return _record(
        Verdict.inconclusive,
        reason,
        traps=tuple(traps),
        undecided=undecided,
        where=where,
        **about,
    )


def _cut(part: Box) -> list[Box]:
    """Cut the range whose ends have the larger ratio, where sets of both halves are as large."""
    ratios = [high / low for low, high in part]
    k = ratios.index(max(ratios))
    if ratios[k] < _NARROW:
        return []
    low, high = part[k]
    cut = math.sqrt(low) * math.sqrt(high)
    before, after = part[:k], part[k + 1 :]
    return [(*before, (low, cut), *after), (*before, (cut, high), *after)]


def _neighbour(problem: Problem, boxes: int) -> Box | None:
    """Return an enclosure of the nearest other critical point in the region, if any is found."""
    around = [span(x) for x in problem.centre]
    region = tuple((a - problem.within, b + problem.within) for a, b in around)
    found = find_zeros(problem.equations, region, max_boxes=boxes).zeros

    def distance(zero: Balls) -> float:
        pairs = zip(zero, problem.centre, strict=True)
        return math.hypot(*(float(x) - float(c) for x, c in pairs))

    others = [
        zero
        for zero in found
        if not overlap(zero, problem.centre) and distance(zero) <= problem.within
    ]
    return spans(min(others, key=distance)) if others else None


def _record(verdict: Verdict, reason: str, **known: Any) -> TrapClaim:
    nothing = {
        "point": None,
        "hessian": (),
        "radius": math.nan,
        "entered_from": math.nan,
        "num_steps": None,
        "traps": (),
        "fails": None,
        "escape": None,
        "undecided": None,
        "where": None,
    }
    return TrapClaim(verdict=verdict, reason=reason, **{**nothing, **known})
