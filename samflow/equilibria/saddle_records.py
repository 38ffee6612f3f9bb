"""What a survey of a loss's critical points returns."""

from typing import Annotated, Any, ClassVar, NamedTuple

import equinox as eqx

from samflow import theory
from samflow._status import Kind, Status, Verdict
from samflow._types import Box
from samflow.equilibria._fate import Fate
from samflow.equilibria.continua.records import Continuum
from samflow.equilibria.higher import HigherOrder
from samflow.equilibria.nonsmooth.arriving import Sliding
from samflow.equilibria.nonsmooth.records import Nonsmooth
from samflow.proofs._undecided import Undecided
from samflow.proofs.traps import TrapClaim
from samflow.records import AbstractRecord, Names, Provenance, axes, plain


class Number(NamedTuple):
    """A complex number."""

    real: float
    imag: float

    def __complex__(self) -> complex:
        return complex(self.real, self.imag)


class Behaviour(NamedTuple):
    """What a critical point is for one rule.

    Attributes:
        rule: its name.
        multipliers: of the map; empty where it has no Jacobian or is not at rest.
        kind: of the map at the point, see `Kind`.
        verdict: proved where `kind` and the point are; unsupported where `kind` is by floating
            point, or by the quadratic part of the loss.
        status: located, not differentiable, or not a fixed point.
        rho_window: the rho for which the point attracts; for USAM.
        lr_window: the lr for which the point attracts; for GD and USAM.
        local: what there is instead of multipliers where the map has no Jacobian, exact on the
            quadratic part of the loss; None at degenerate points.
        flow: what the point is for the rule's flow; None for a rule with a memory.
        sliding: how that flow comes to the point where it jumps there, or that a solution leaves,
            and what this rests on: see `Sliding.evidence`; None where the flow does not jump.
        trap: what `certify_trap` proves of the map on the loss itself with a small budget; None
            for other rules than SAM, with momentum, and in more than three dimensions.
        fate: what became of orbits from near the point; None where none were followed.
        higher: at an isolated nonhyperbolic point what higher orders decide; None elsewhere.

    """

    rule: str
    multipliers: Annotated[tuple[Number, ...], axes("mode", units="1")]
    kind: Kind
    verdict: Verdict
    status: Status
    rho_window: theory.Window | None
    lr_window: theory.Window | None
    local: Nonsmooth | None
    flow: Kind | None
    sliding: Sliding | None
    trap: TrapClaim | None
    fate: Fate | None
    higher: HigherOrder | None = None


class SurveyedPoint(NamedTuple):
    """A critical point.

    Attributes:
        w: where it is.
        enclosure: a box which is proved to hold it and no other; None where that is not proved.
        exact: whether the gradient vanishes there by exact algebra, of which `w` are the nearest
            doubles. Where the survey is `complete` it is also proved to be isolated.
        sampled: whether it is one sample of a curve or a surface of critical points.
        loss: L(w).
        loss_error: what of it may be rounding; 0 where that is not known.
        shape: minimum, saddle, maximum, or degenerate (the sign of an eigenvalue is not decided).
        eigenvalues: of the Hessian, ascending.
        behaviours: one a rule.

    """

    w: Annotated[tuple[float, ...], axes("weight", units="weight")]
    enclosure: Annotated[Box | None, axes("weight", "end", units="weight")]
    exact: bool
    sampled: bool
    loss: Annotated[float, axes(units="loss")]
    loss_error: Annotated[float, axes(units="loss")]
    shape: str
    eigenvalues: Annotated[tuple[float, ...], axes("eigenvalue", units="loss/weight^2")]
    behaviours: Annotated[tuple[Behaviour, ...], axes("behaviour", prefix="")]

    @property
    def proved(self) -> Annotated[bool, axes()]:
        """Whether the point is proved to exist."""
        return self.enclosure is not None or self.exact

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and lists by name."""
        return plain(self._asdict()) | {"proved": self.proved}


class HallucinatedPoint(NamedTuple):
    """A fixed point of USAM or SAM which is no critical point: its ascent point is one elsewhere.

    Attributes:
        rule: usam or sam.
        w: where it is.
        ascent: its ascent point, which is critical.
        multipliers: of the map.
        kind: attracting, repelling or saddle; None where that is not decided.
        verdict: whether `kind` is proved.

    """

    rule: str
    w: Annotated[tuple[float, ...], axes("weight", units="weight")]
    ascent: Annotated[tuple[float, ...], axes("weight", units="weight")]
    multipliers: Annotated[tuple[Number, ...], axes("hallucinated_mode", units="1")]
    kind: Kind | None
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and lists by name."""
        return plain(self._asdict())


class Survey(AbstractRecord):
    """The critical points of a loss in a box.

    Attributes:
        loss: its name.
        box: where critical points were looked for.
        rules: the rules asked for.
        rho: radius of the ascent step.
        lr: step size.
        momentum: of heavy ball; 0 for none.
        verdict: proved where ball arithmetic proves that `points` are all critical points in the
            box; unsupported for a loss without a formula.
        note: how the search went.
        points: the critical points, in lexicographic order.
        undecided: parts of the box about which nothing is proved, and why.
        hallucinated: fixed points of USAM and SAM elsewhere; None where they were not looked for.
        hallucinated_note: how that search went for each rule.
        weights: their names, of a loss with a formula; else empty.
        continua: the curves and surfaces of critical points, once for each rule, with the spectrum
            across. Those of one `number` are the same set.
        complete: whether all critical points are known, by balls or by exact algebra: isolated
            ones one by one, curves and surfaces by their equations.

    """

    basis: ClassVar[Names] = (
        "effective curvature",
        "multipliers",
        "verdicts",
        "sam flow",
        "sam cycle",
        "sam saddle",
    )
    rows: ClassVar[Names] = ("point", "behaviour")
    printed: ClassVar[Names] = ("w", "loss", "shape", "rule", "kind", "verdict", "flow", "status")
    loss: str = eqx.field(metadata=axes(rename={"loss": "loss_name"}))
    box: Box = eqx.field(metadata=axes("weight", "end", units="weight"))
    rules: tuple[str, ...] = eqx.field(metadata=axes("asked", rename={"rules": "rules_asked"}))
    rho: float
    lr: float
    momentum: float
    verdict: Verdict = eqx.field(metadata=axes(rename={"verdict": "points_verdict"}))
    note: str
    points: tuple[SurveyedPoint, ...] = eqx.field(metadata=axes("point", prefix=""))
    undecided: tuple[Undecided, ...] = eqx.field(metadata=axes("undecided"))
    hallucinated: tuple[HallucinatedPoint, ...] | None = eqx.field(metadata=axes("hallucinated"))
    hallucinated_note: str
    provenance: Provenance
    weights: tuple[str, ...] = eqx.field(
        static=True, default=(), metadata=axes("weight", rename={"weights": "weight"})
    )
    continua: tuple[Continuum, ...] = eqx.field(
        default=(), metadata=axes("continuum", prefix="continuum_")
    )
    complete: bool = False
