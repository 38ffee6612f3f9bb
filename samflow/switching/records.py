"""The record of a late switch: the four predictions, and what was seen of the run."""

from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from samflow import _checks
from samflow._status import Status
from samflow._types import NumpyArray
from samflow.records import AbstractRecord, Names, Provenance, axes
from samflow.spectra.curvature import Trace
from samflow.switching.claims import ClaimVerdict, PhaseClaim
from samflow.switching.connectivity import Barrier
from samflow.switching.rates import Rate

COLUMNS = ("train loss", "train error", "test loss", "test error", "adversarial error")
"""What is measured along a run; NaN where it makes no sense or was not asked for."""
_ENDS = ("at the switch", "at the end")
_WHEN = {"when": _ENDS}


class LateSwitch(AbstractRecord):
    """Weights that went on under another rule, and what theory says of it.

    Attributes:
        phases: P1 to P4.
        status: of the orbit: converged (settled, full batch only), out of steps, diverged or not
            finite.
        failed_at: (epoch, step) at which a training diverged or was not finite; None if none did,
            and of `two_phase`.
        converged_at: the step at which the full-batch run settled, or its last; for a run in
            mini-batches the last.
        sharpness: λ_max at the switch and at the end.
        sharpness_residual: how far an eigenvalue may be from each.
        edge: the largest λ that the rule keeps at this step size; NaN where it has none.
        effective_curvature: U = vᵀDv at the switch, measured; NaN for a rule with a memory.
        trace: tr H at the switch and at the end; None where it was not asked for.
        gradient_norm: ‖g‖ at the switch and at the end.
        barrier: on the straight line from the switch to the end, weights as they are: units of
            the network are not permuted.
        barrier_recomputed: the same with batch norm's statistics recomputed at every point; None
            where that was not done.
        peak: the highest training loss seen.
        escape: the rate fitted for P1.
        convergence: the rate fitted for P4.
        notes: what else should be known.
        start: weights at the switch, shape (dim,), before the displacement.
        end: weights at the end; where the full-batch run has settled,
            (w[k] + 2w[k+1] + w[k+2])/4, without the alternation of steps. NaN if it diverged.
        epochs: at which a training was measured, counted from the switch; none of `two_phase`.
        measured: `COLUMNS` at these epochs.
        loss: the training loss at each step; empty in mini-batches.
        along: v·(w[k] − w[0]) at each step, w[0] with the displacement and v the leading
            eigenvector at the switch.
        escaping: v·Δ²w at each step, Δ²w[k] = w[k+2] − 2w[k+1] + w[k], from which a slow drift
            along the valley drops out; empty in mini-batches.
        converging: the same with the leading eigenvector at the end, until it has settled.

    """

    basis: ClassVar[Names] = ("escape", "drift")
    rows: ClassVar[Names] = ("phase",)
    printed: ClassVar[Names] = (
        "phase",
        "phase_statement",
        "phase_verdict",
        "phase_predicted",
        "phase_measured",
        "phase_tolerance",
    )
    phases: tuple[PhaseClaim, ...] = eqx.field(
        static=True, metadata=axes("phase", prefix="phase_", rename={"name": "phase"})
    )
    status: Status = eqx.field(static=True)
    converged_at: int = eqx.field(static=True, metadata=axes(units="step"))
    sharpness: tuple[float, float] = eqx.field(
        static=True, metadata=axes("when", units="loss/weight^2", labels=_WHEN)
    )
    sharpness_residual: tuple[float, float] = eqx.field(
        static=True, metadata=axes("when", units="loss/weight^2", labels=_WHEN)
    )
    edge: float = eqx.field(static=True, metadata=axes(units="loss/weight^2"))
    effective_curvature: float = eqx.field(static=True, metadata=axes(units="loss/weight^2"))
    gradient_norm: tuple[float, float] = eqx.field(
        static=True, metadata=axes("when", units="loss/weight", labels=_WHEN)
    )
    peak: float = eqx.field(static=True, metadata=axes(units="loss"))
    escape: Rate = eqx.field(static=True)
    convergence: Rate = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    barrier: Barrier = eqx.field(metadata=axes(units="loss"))
    barrier_recomputed: Barrier | None
    start: Float[Array, " dim"] = eqx.field(metadata=axes("weight", units="weight"))
    end: Float[Array, " dim"] = eqx.field(metadata=axes("weight", units="weight"))
    loss: NumpyArray = eqx.field(metadata=axes("state", units="loss"))
    along: NumpyArray = eqx.field(metadata=axes("made", units="weight"))
    escaping: NumpyArray = eqx.field(metadata=axes("step", units="weight"))
    converging: NumpyArray = eqx.field(metadata=axes("tail", units="weight"))
    epochs: NumpyArray = eqx.field(
        default_factory=lambda: np.zeros(0, int), metadata=axes("time", units="epoch")
    )
    measured: NumpyArray = eqx.field(
        default_factory=lambda: np.zeros((0, len(COLUMNS))),
        metadata=axes("time", "column", labels={"column": COLUMNS}),
    )
    trace: tuple[Trace, Trace] | None = eqx.field(
        default=None, metadata=axes("when", labels=_WHEN, rename={"probe": "trace_probe"})
    )
    failed_at: tuple[int, int] | None = eqx.field(
        static=True, default=None, metadata=axes("failure", labels={"failure": ("epoch", "step")})
    )
    notes: tuple[str, ...] = eqx.field(
        static=True, default=(), metadata=axes("note", rename={"notes": "note"})
    )

    @property
    def holds(self) -> bool:
        """Whether something is claimed, and all that is was measured and came out as predicted."""
        wrong = ClaimVerdict.fails, ClaimVerdict.not_measured
        return bool(self.named(ClaimVerdict.holds)) and not any(map(self.named, wrong))

    @property
    def fails(self) -> bool:
        """Whether a prediction came out otherwise; what was not measured does not count."""
        return bool(self.named(ClaimVerdict.fails))

    def named(self, verdict: ClaimVerdict) -> str:
        """Return the names of the predictions with a verdict, as "P1, P2"; empty if none has it."""
        return ", ".join(phase.name for phase in self.phases if phase.verdict == verdict)

    @property
    def answer(self) -> str:
        """The verdicts on the four predictions, and how the orbit ended, in two sentences."""
        told = [f"{each}: {self.named(each)}" for each in ClaimVerdict if self.named(each)]
        before, after = self.sharpness
        fall = f"; sharpness {before:.6g} before, {after:.6g} after" if np.isfinite(after) else ""
        line = f"{'; '.join(told)}. The orbit after the switch: {self.status.label}{fall}."
        return line[0].upper() + line[1:]

    def __getitem__(self, column: str) -> NumpyArray:
        """Return one of `COLUMNS` at `epochs`."""
        return self.measured[:, COLUMNS.index(_checks.known("column", column, COLUMNS))]

    def __str__(self) -> str:
        """Return the answer, the predictions, a line each, and a table of what was measured."""
        lines = [self.answer, *map(str, self.phases)]
        if self.trace is not None:
            lines += [f"{when}: {each}" for when, each in zip(_ENDS, self.trace, strict=True)]
        kept = [i for i in range(len(COLUMNS)) if np.isfinite(self.measured[:, i]).any()]
        rows = [
            (f"{epoch}", *(f"{row[i]:.5g}" for i in kept))
            for epoch, row in zip(self.epochs, self.measured, strict=True)
        ]
        if rows:
            lines += table_lines(("epoch", *(COLUMNS[i] for i in kept)), rows)
        return "\n".join([*lines, *self.notes])


def table_lines(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Return a table, a line for each row, with columns that end together."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (titles, *rows)
    ]
