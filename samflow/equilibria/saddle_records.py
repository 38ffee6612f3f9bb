"""What a survey of a loss's critical points returns."""

from typing import Any, NamedTuple

from samflow import theory
from samflow._status import Kind, Verdict
from samflow._types import Box
from samflow.proofs.balls import Span
from samflow.proofs.certificates import plain
from samflow.proofs.undecided import Undecided
from samflow.records import AbstractRecord, Provenance


class Number(NamedTuple):
    """A complex number."""

    real: float
    imag: float


class Threshold(NamedTuple):
    """An end of a window: where it is, and which Hessian eigenvalue does what there."""

    value: float
    enclosure: Span
    eigenvalue: float
    event: theory.Event


class Range(NamedTuple):
    """The open range of rho or lr in which a critical point attracts, all else as it is.

    Attributes:
        empty: whether no value attracts; None where that is not decided.
        low: the lower end; None where the range begins at 0.
        high: the upper end; None where there is none.
        reason: why the range is empty or not decided; otherwise empty.

    """

    empty: bool | None
    low: Threshold | None
    high: Threshold | None
    reason: str


class Cycle(NamedTuple):
    """Normalised SAM's 2-cycles ±radius·v, v any unit eigenvector of a Hessian eigenvalue.

    Attributes:
        eigenvalue: the Hessian eigenvalue.
        multiplicity: of the eigenvalue; from 2 on there is a sphere of such cycles.
        radius: distance of the cycle from the critical point.
        attracts: whether the cycle, or the sphere of cycles as a whole, attracts; None where the
            sign of an eigenvalue is not decided.

    """

    eigenvalue: float
    multiplicity: int
    radius: float
    attracts: bool | None


class Trap(NamedTuple):
    """The interval |w| ≤ radius which keeps normalised SAM's chaotic orbit, in one dimension."""

    radius: float
    lyapunov_exponent: float


class Quadratic(NamedTuple):
    """What normalised SAM does on the quadratic part of the loss: exact there, and only there.

    `trap` is None where there is none or where theory does not say.
    """

    cycles: tuple[Cycle, ...]
    trap: Trap | None


class Behaviour(NamedTuple):
    """What a critical point is for one rule.

    Attributes:
        rule: gd, usam or sam.
        multipliers: of the map; empty for SAM, which has no Jacobian at a critical point.
        kind: attracting, repelling, saddle, nonhyperbolic, or undefined (SAM).
        verdict: proved where `kind` and the point are.
        rho_window: the rho for which the point attracts; for USAM.
        lr_window: the lr for which the point attracts; for GD and USAM.
        quadratic: what there is instead of multipliers; for SAM.

    """

    rule: str
    multipliers: tuple[Number, ...]
    kind: Kind
    verdict: Verdict
    rho_window: Range | None
    lr_window: Range | None
    quadratic: Quadratic | None


class SurveyedPoint(NamedTuple):
    """A critical point.

    Attributes:
        w: where it is.
        enclosure: a box which is proved to hold it and no other; None where nothing is proved.
        loss: L(w).
        shape: minimum, saddle, maximum, or degenerate (the sign of an eigenvalue is not decided).
        eigenvalues: of the Hessian, ascending.
        behaviours: one a rule.

    """

    w: tuple[float, ...]
    enclosure: Box | None
    loss: float
    shape: str
    eigenvalues: tuple[float, ...]
    behaviours: tuple[Behaviour, ...]

    @property
    def proved(self) -> bool:
        """Whether the point is proved to exist."""
        return self.enclosure is not None

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and lists by name."""
        return plain(self) | {"proved": self.proved}


class HallucinatedPoint(NamedTuple):
    """A fixed point of USAM which is no critical point: its ascent point is one elsewhere."""

    w: tuple[float, ...]
    ascent: tuple[float, ...]
    multipliers: tuple[Number, ...]
    kind: Kind | None
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and lists by name."""
        return plain(self)


class Survey(AbstractRecord):
    """The critical points of a loss in a box.

    Attributes:
        loss: its name.
        box: where critical points were looked for.
        rules: the rules asked for.
        rho: radius of USAM and SAM.
        lr: step size.
        momentum: of heavy ball; 0 for none.
        verdict: proved where `points` are all critical points in the box; unsupported for a loss
            without a formula.
        note: how the search went.
        points: the critical points, in lexicographic order.
        undecided: parts of the box about which nothing is proved, and why.
        hallucinated: fixed points of USAM elsewhere; None where they were not looked for.
        hallucinated_note: how that search went.

    """

    loss: str
    box: Box
    rules: tuple[str, ...]
    rho: float
    lr: float
    momentum: float
    verdict: Verdict
    note: str
    points: tuple[SurveyedPoint, ...]
    undecided: tuple[Undecided, ...]
    hallucinated: tuple[HallucinatedPoint, ...] | None
    hallucinated_note: str
    provenance: Provenance
