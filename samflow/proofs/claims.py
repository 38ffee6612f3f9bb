"""Claims about a critical point for whole ranges of rho and lr: proved, refuted, or undecided.

At a fixed eigenvalue λ of the Hessian, lr U = lr λ(1 + rho λ) is affine in rho and in lr, so its
extremes on a rectangle are at the corners: four numbers an eigenvalue decide a whole rectangle.
"""

import itertools
from collections import deque
from typing import Any, ClassVar

import equinox as eqx
import flint
import numpy as np
import sympy

from samflow import _checks
from samflow._status import Kind, Verdict
from samflow._types import ArrayLike, Box
from samflow.losses.base import AbstractLoss
from samflow.losses.expression import ExpressionLoss
from samflow.proofs._near import critical_point
from samflow.proofs._ranges import checked_range, halves, shown
from samflow.proofs.balls import Ball, Balls, Span, exact, spans, working_precision
from samflow.proofs.enclosures import Dynamics, ascent_eigenvalue, symmetric_eigenvalues
from samflow.proofs.equations import GradientEquations
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance

_CLAIMS = (Kind.attracting, Kind.repelling, Kind.saddle)
_MAX_RECTANGLES = 400
_PRECISION = 128


class StabilityClaim(AbstractRecord):
    """What is proved about one critical point for every rho and lr in a rectangle.

    Attributes:
        verdict: proved where the claim holds for all of the ranges; refuted where it is proved
            to fail for some of them, see `fails`; inconclusive otherwise; unsupported where
            nothing was tried, see `reason`.
        claim: attracting, repelling or saddle.
        point: enclosure of the critical point, proved to be the only one in it.
        hessian: enclosures of the eigenvalues of H there, ascending.
        rho: the range of rho.
        lr: the range of lr; None for the flow.
        fails: a part of the ranges, ((low, high), ...) in the order rho, lr, throughout which the
            claim is proved false; None where no such part was found. Equal to all of the ranges
            where the claim holds nowhere.
        undecided: a box around all that is neither proved nor refuted; None where there is
            nothing of the kind.
        reason: why the verdict is not proved or refuted; empty otherwise.
        provenance: system, settings and versions.

    """

    basis: ClassVar[Names] = ("effective curvature", "multipliers", "verdicts")
    rows: ClassVar[Names] = ()
    printed: ClassVar[Names] = ("verdict", "claim", "rho", "lr", "reason")
    verdict: Verdict
    claim: str
    point: Box | None = eqx.field(metadata=axes("weight", "end", units="weight"))
    hessian: tuple[Span, ...] = eqx.field(metadata=axes("eigenvalue", "end", units="loss/weight^2"))
    rho: Span = eqx.field(metadata=axes("end"))
    lr: Span | None = eqx.field(metadata=axes("end"))
    fails: Box | None = eqx.field(metadata=axes("parameter", "end"))
    undecided: Box | None = eqx.field(metadata=axes("parameter", "end"))
    reason: str
    provenance: Provenance

    def __str__(self) -> str:
        """Return the summary."""
        return self.summary()

    def summary(self) -> str:
        """Say in one line what is proved."""
        ranges = f"rho in {shown(self.rho)}"
        ranges += "" if self.lr is None else f" and lr in {shown(self.lr)}"
        text = f"{self.claim} for every {ranges}: {self.verdict}"
        return f"{text} ({self.reason})" if self.reason else text


@_checks.untraced(None)
def certify_stability(
    loss: AbstractLoss,
    w: ArrayLike,
    *,
    rho: Any,
    lr: Any = None,
    momentum: Any = 0.0,
    nesterov: bool = False,
    claim: str = "attracting",
) -> StabilityClaim:
    """Prove or refute that a critical point is `claim` under USAM for every rho and lr in ranges.

    0 < U(λ) for every eigenvalue λ of H (flow), 0 < lr U(λ) < c for every λ (map), with c = 2,
    2(1 + β) or (2 + 2β)/(1 + 2β): plain, heavy ball, Nesterov. GD is rho = 0.

    Args:
        loss: a loss given by a formula.
        w: weights of shape (dim,) close to the critical point. The one that Newton's
            iteration leads to is proved to exist, and returned: see whether it is the one meant.
        rho: a number, or a pair (low, high) for all numbers between; ≥ 0.
        lr: the same, > 0; None for the flow.
        momentum: a number in [0, 1).
        nesterov: which form of momentum.
        claim: attracting, repelling or saddle. With momentum > 0 nothing is repelling: a mode
            that leaves the unit circle has a partner that stays inside.

    Returns:
        A `StabilityClaim`. A range that ends exactly on a threshold is inconclusive there.

    Raises:
        ArgumentError: for numbers out of range, or an unknown claim.

    Source: docs/theory, section 2.

    """
    _checks.instance("loss", loss, AbstractLoss, "Use `sf.loss` to make one.")
    start = np.asarray(_checks.point("w", w, loss.dim), dtype=float)
    _checks.known("claim", claim, _CLAIMS)
    rhos = checked_range("rho", rho, _checks.nonnegative)
    lrs = None if lr is None else checked_range("lr", lr, _checks.positive)
    beta = _checks.fraction("momentum", momentum)
    asked = {
        "claim": claim,
        "rho": rhos,
        "lr": lrs,
        "provenance": provenance(
            f"usam on {getattr(loss, 'name', loss)}",
            momentum=beta,
            nesterov=nesterov,
            precision=_PRECISION,
            **{"python-flint": flint.__version__, "sympy": sympy.__version__},
        ),
    }
    if not isinstance(loss, ExpressionLoss):
        reason = "the loss is not given by a formula"
        return _without_point(Verdict.unsupported, reason, **asked)
    equations = GradientEquations(loss.expression, loss.symbols)
    with working_precision(_PRECISION):
        critical = critical_point(equations, start, precision=_PRECISION)
        if critical is None:
            reason = "no critical point is proved to exist near the one given"
            return _without_point(Verdict.inconclusive, reason, **asked)
        hessian = symmetric_eigenvalues(equations.hessian(critical))
        dynamics = Dynamics(None if lrs is None else exact(lrs), exact(beta), nesterov)
        whole = (rhos,) if lrs is None else (rhos, lrs)
        fails, undecided = _sweep(claim, hessian, whole, dynamics)
    reason, verdict = "", Verdict.proved
    if fails is not None:
        verdict = Verdict.refuted
    elif undecided is not None:
        verdict, reason = Verdict.inconclusive, "a threshold is too close to a part of the ranges"
    return StabilityClaim(
        verdict=verdict,
        point=spans(critical),
        hessian=spans(hessian),
        fails=fails,
        undecided=undecided,
        reason=reason,
        **asked,
    )


def _without_point(verdict: Verdict, reason: str, **asked: Any) -> StabilityClaim:
    nothing = {"point": None, "hessian": (), "fails": None, "undecided": None}
    return StabilityClaim(verdict=verdict, reason=reason, **nothing, **asked)


def _sweep(
    claim: str, hessian: Balls, whole: Box, dynamics: Dynamics
) -> tuple[Box | None, Box | None]:
    """Cut the ranges until they are decided; return a part that fails and the hull of the rest."""
    queue: deque[Box] = deque([whole])
    fails: Box | None = None
    left: list[Box] = []
    for _ in range(_MAX_RECTANGLES):
        if not queue:
            break
        part = queue.popleft()
        holds = _holds(claim, hessian, part, dynamics)
        if holds is None:
            parts = halves(part, whole)
            queue.extend(parts)
            left += [] if parts else [part]
        elif not holds and fails is None:
            fails = part
    left += queue
    if fails is None:
        # The part that fails can be too narrow to be cut out, yet hold a corner.
        corners = itertools.product(*(((end, end) for end in ends) for ends in whole))
        failing = (c for c in corners if _holds(claim, hessian, c, dynamics) is False)
        fails = next(failing, None)
    if not left:
        return fails, None
    axes = zip(*left, strict=True)
    return fails, tuple((min(a for a, _ in axis), max(b for _, b in axis)) for axis in axes)


def _holds(claim: str, hessian: Balls, part: Box, dynamics: Dynamics) -> bool | None:
    """Say whether the claim holds all over `part`, fails all over it, or neither is proved."""
    sides = [_stays_inside(eigenvalue, part, dynamics) for eigenvalue in hessian]
    if claim == Kind.attracting and False in sides:
        return False
    # With momentum every mode has an eigenvalue inside: one that leaves makes a saddle.
    beta = dynamics.momentum
    paired = dynamics.lr is not None and beta is not None and beta > 0
    if claim == Kind.repelling and (paired or True in sides):
        return False
    if None in sides:
        return None
    if claim == Kind.saddle:
        return False in sides and (paired or True in sides)
    return all(sides) if claim == Kind.attracting else not any(sides)


def _stays_inside(eigenvalue: Ball, part: Box, dynamics: Dynamics) -> bool | None:
    """Say whether one mode decays all over `part`, grows all over it, or neither is proved."""
    rates = [ascent_eigenvalue(eigenvalue, exact(rho)) for rho in part[0]]
    if dynamics.lr is not None:
        rates = [exact(lr) * rate for lr in part[1] for rate in rates]
    bounded = dynamics.lr is None or all(rate < dynamics.edge for rate in rates)
    if bounded and all(rate > 0 for rate in rates):
        return True
    beyond = dynamics.lr is not None and all(rate > dynamics.edge for rate in rates)
    return False if beyond or all(rate < 0 for rate in rates) else None
