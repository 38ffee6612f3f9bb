"""Proofs that a critical point holds the flow of a normalised rule, on the loss itself.

At a critical point w* the direction jumps. Near it d‖g‖/dt = −S(ĝ) + O(‖g‖) with
S(e) = eᵀH g(w* + rho e) for SAM: where S > 0 on the unit sphere, every solution from nearby arrives
in finite time and stays. docs/theory, "Sliding".
"""

from typing import Any, ClassVar

import equinox as eqx
import flint
import numpy as np
from flint import arb

from samflow import _checks
from samflow._status import Verdict
from samflow._types import ArrayLike, Box
from samflow.losses.expression import ExpressionLoss
from samflow.proofs._kept_radius import kept_radius
from samflow.proofs._near import critical_point
from samflow.proofs._sliding_search import Search
from samflow.proofs.balls import Span, span, spans, working_precision
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.rules.critical import AscentStep
from samflow.systems.flow import Flow

_PRECISION = 96
_CELLS = 6000
_RTOL, _COARSE = 1e-3, 0.05
"""Of the least S, in up to two dimensions and in more."""
NO_FORMULA = "the loss is not given by a formula"
NO_STEP = "the rule does not state its direction in the terms of proofs (`ascent_step`)"
NO_POINT = "no critical point is proved to exist near the one given"
SINGULAR = "the Hessian, or the rule's scale, is not proved to be regular"


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

    basis: ClassVar[Names] = ("sliding",)
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

    def __str__(self) -> str:
        """Return the summary."""
        return self.summary()

    def summary(self) -> str:
        """Say in one line what is proved."""
        text = f"held at rho {self.rho:g}: {self.verdict}"
        if self.leaves is not None:
            text += f", a solution leaves along {_vector(self.leaves)}"
        if self.reason:
            text += f" ({self.reason})"
        if self.radius:
            text += f"; kept from ‖g‖ ≤ {self.radius:.6g}"
            text += f", by the time {self.time:.6g}" if self._arrives else ""
        if self.rho_end is not None and self.rho_end[0] > 0:
            low, high = self.rho_end
            text += f"; ‖g‖ falls from every direction for every rho up to {low:.6g}"
            text += f", not at {high:.6g}" if high < float("inf") else ""
        return text

    @property
    def _arrives(self) -> bool:
        return self.time is not None and self.time < float("inf")


def _vector(direction: tuple[float, ...]) -> str:
    return f"({', '.join(f'{round(x, 6) + 0.0:.3g}' for x in direction)})"


@_checks.untraced()
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
        search = Search(flow.loss, step, max_cells, rtol)
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
            found |= kept_radius(search, found["least"][0])
        if step.eps:
            found |= _with_eps(found)
        return SlidingProof(**(found | _in_own_rho(flow.rule, step, found)))


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
