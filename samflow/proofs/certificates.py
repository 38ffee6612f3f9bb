"""Records of a proof about fixed points: certificates and certified points."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import equinox as eqx

from samflow._status import Kind, Verdict
from samflow._types import Box
from samflow.proofs._undecided import Undecided
from samflow.proofs.balls import Span
from samflow.records import AbstractRecord, Names, Provenance, axes, plain
from samflow.theory.windows import Window


class ComplexSpan(NamedTuple):
    """A rectangle of the complex plane."""

    real: Annotated[Span, axes("end")]
    imag: Annotated[Span, axes("end")]


@dataclass(frozen=True)
class CertifiedPoint:
    """A fixed point that is proved to exist and to be the only one in its enclosure.

    All intervals are pairs of doubles rounded outwards; (−inf, inf) means that nothing is known.

    Attributes:
        enclosure: one interval for each coordinate.
        midpoint: its middle, for use in floating point; a coordinate that may be 0 is 0.
        ascent: enclosure of the ascent point, w + rho g(w) or, for SAM, w + rho g(w)/‖g(w)‖; the
            same box at a critical point.
        origin: "critical" where g(w) = 0, "hallucinated" where g(w) ≠ 0.
        loss: enclosure of L(w).
        hessian: the eigenvalues of H(w), ascending.
        index: the number of negative eigenvalues; None where a sign is not decided.
        eigenvalues: of the map's Jacobian (multipliers) or the flow's; empty where there is none.
        kind: what the fixed point is for the system; None where that is not decided; undefined at
            a critical point of SAM, which has no direction there.
        kind_verdict: whether `kind` is proved.
        windows: the ranges of rho and of lr in which the point attracts, the other being as
            given; empty at hallucinated points, which move with rho, and for SAM.

    """

    enclosure: Annotated[Box, axes("weight", "end", units="weight")]
    midpoint: Annotated[tuple[float, ...], axes("weight", units="weight")]
    ascent: Annotated[Box, axes("weight", "end", units="weight")]
    origin: str
    loss: Annotated[Span, axes("end", units="loss")]
    hessian: Annotated[tuple[Span, ...], axes("eigenvalue", "end", units="loss/weight^2")]
    index: int | None
    eigenvalues: Annotated[tuple[ComplexSpan, ...], axes("mode")]
    kind: Kind | None
    kind_verdict: Verdict
    windows: Annotated[tuple[Window, ...], axes("window", prefix="window_")]

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and lists; an unbounded end of an interval is None."""
        return {name: plain(value) for name, value in vars(self).items()}


class Certificate(AbstractRecord):
    """The fixed points of a box, as far as they are proved.

    Attributes:
        verdict: proved if `points` are all the fixed points of the sort `covers` in the box;
            inconclusive if parts of the box remain undecided; unsupported if nothing was tried,
            see `reason`.
        points: each is proved to exist, for every verdict, and none is listed twice.
        inconclusive: the parts of the box that may contain more, with the reason; some of `points`
            can lie in them as well.
        box: the closed box that was searched.
        covers: which sort of fixed points the certificate is about.
        boxes_examined: how many boxes the subdivision looked at.
        method: how the proof was done.
        reason: why nothing was tried; empty otherwise.
        provenance: system, settings and versions.

    """

    basis: ClassVar[Names] = ("effective curvature", "multipliers", "verdicts", "hallucinated")
    rows: ClassVar[Names] = ("point",)
    printed: ClassVar[Names] = ("midpoint", "origin", "kind", "kind_verdict")
    verdict: Verdict
    points: tuple[CertifiedPoint, ...] = eqx.field(metadata=axes("point", prefix=""))
    inconclusive: tuple[Undecided, ...] = eqx.field(metadata=axes("part"))
    box: Box = eqx.field(metadata=axes("weight", "end", units="weight"))
    covers: str
    boxes_examined: int
    method: str
    reason: str
    provenance: Provenance

    def __str__(self) -> str:
        """Return the summary."""
        return self.summary()

    def summary(self) -> str:
        """Say in one line what is proved."""
        where = " × ".join(f"[{_short(low)}, {_short(high)}]" for low, high in self.box)
        if self.verdict is Verdict.unsupported:
            return f"fixed points in {where}: unsupported: {self.reason}"
        # A critical point is no fixed point of SAM, which has no direction there.
        apart = sum(point.kind is Kind.undefined for point in self.points)
        number = _counted(len(self.points) - apart, "fixed point")
        number += f" and {_counted(apart, 'critical point')}" if apart else ""
        parts = len(self.inconclusive)
        if self.verdict is Verdict.proved:
            text = f"exactly {number} in {where}: proved"
        else:
            text = f"at least {number} in {where}: inconclusive in {parts} sub-box"
            text += "" if parts == 1 else "es"
        kinds = Counter(p.kind.value if p.kind else "undecided" for p in self.points)
        listed = ", ".join(f"{many} {kind}" for kind, many in sorted(kinds.items()))
        return f"{text} ({listed})" if listed else text


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _short(number: float) -> str:
    return repr(number).removesuffix(".0")
