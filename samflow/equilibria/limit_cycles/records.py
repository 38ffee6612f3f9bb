"""The record of the limit cycles of a flow."""

from collections import Counter
from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Complex, Float, Int

from samflow._status import Kind, Status
from samflow._types import Box
from samflow.records import AbstractRecord, Names, Provenance, axes


class LimitCycles(AbstractRecord):
    """The periodic orbits of a flow found with a point in a box, each classified.

    Attributes:
        points: points of each at equal intervals of time, beginning with the least in
            lexicographic order, shape (cycles, points, state).
        period: of each.
        multipliers: the Floquet multipliers: eigenvalues of the derivative of the flow around the
            cycle, largest first. One is 1, along the cycle.
        exponents: log |multiplier| / period, in the same order; accurate where multipliers are too
            small for that, and −inf nowhere.
        trivial_error: by how much the multiplier along the cycle differs from 1.
        divergence: the integral of div f around the cycle. By Liouville's formula it is the sum of
            the log |multiplier|.
        liouville_error: by how much it is not: both are computed independently.
        kinds: by the other multipliers: attracting, repelling, saddle or nonhyperbolic.
        margin: 1 − max |multiplier| of the others, positive exactly where attracting.
        winding: how many times each coordinate goes around, if it is an angle; else 0.
        residual: the largest distance by which a segment of the cycle misses the next.
        error: estimate of how far points are from the true cycle's: by how much they moved when
            the tolerance of the solver was made a thousandth.
        period_error: the same of the period.
        status: located or residual too large, one a cycle.
        complete: whether it is a theorem that there are no others.
        note: how the search went, or the theorem.

    """

    rows: ClassVar[Names] = ("cycle",)
    printed: ClassVar[Names] = ("kind", "period", "multipliers", "status")
    points: Float[np.ndarray, "cycles points state"] = eqx.field(
        metadata=axes("cycle", "point", "state")
    )
    period: Float[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle", units="time"))
    multipliers: Complex[np.ndarray, "cycles state"] = eqx.field(
        metadata=axes("cycle", "mode", units="1")
    )
    exponents: Float[np.ndarray, "cycles state"] = eqx.field(
        metadata=axes("cycle", "mode", units="1/time")
    )
    trivial_error: Float[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle"))
    divergence: Float[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle"))
    liouville_error: Float[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle"))
    kinds: tuple[Kind, ...] = eqx.field(
        static=True, metadata=axes("cycle", rename={"kinds": "kind"})
    )
    margin: Float[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle"))
    winding: Int[np.ndarray, "cycles state"] = eqx.field(metadata=axes("cycle", "state"))
    residual: Float[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle"))
    error: Float[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle"))
    period_error: Float[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle", units="time"))
    status: Int[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle", words=Status))
    complete: bool = eqx.field(static=True)
    note: str = eqx.field(static=True)
    box: Box = eqx.field(static=True, metadata=axes("weight", "end", units="weight"))
    provenance: Provenance = eqx.field(static=True)

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def w(self) -> Float[np.ndarray, "cycles points dim"]:
        """The weights of the points: a flow has no velocity."""
        return self.points

    def __str__(self) -> str:
        """Return one line: how many cycles, of which kinds and periods."""
        if self.complete:
            return f"no limit cycles: {self.note}"
        noun = "limit cycle" if len(self) == 1 else "limit cycles"
        counts = Counter(str(kind) for kind in self.kinds)
        kinds = ", ".join(f"{many} {kind}" for kind, many in sorted(counts.items()))
        periods = ", ".join(f"{period:.7g}" for period in self.period[:4].tolist())
        more = ", ..." if len(self) > 4 else ""
        text = f"{len(self)} {noun} (from orbits, more may exist)"
        return text + (f": {kinds}; period {periods}{more}" if kinds else "")
