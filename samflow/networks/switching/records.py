"""What comes out of a late switch, and of a sweep over when it happens."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import stats

from samflow import _checks
from samflow._status import Status
from samflow._types import NumpyArray
from samflow.records import AbstractRecord, Provenance, axes
from samflow.spectra.curvature import Trace
from samflow.valleys import Barrier, Rate
from samflow.valleys.phases import FAILS, HOLDS, NOT_MEASURED

NOT_CLAIMED = "not claimed"
"""What is said of a phase, beside what `two_phase` says, where theory does not predict."""


class SwitchPhase(NamedTuple):
    """One of the four predictions about a late switch, with what was measured.

    Attributes:
        name: P1 to P4.
        statement: what is claimed, or why nothing is.
        verdict: "holds", "fails", "not measured" or "not claimed".
        predicted: the number that theory gives; for a rate, log|μ| at the effective curvature
            measured at the start (P1) or the end (P4). NaN where there is none.
        mean: for a rate, the mean of log|μ| over the fitted window; NaN where there is none.
        closed_form: for a rate, log|μ| with U(λ_max) = λ(1 + rho λ) at the start (P1) or the end
            (P4) alone; NaN where the rule has no closed form.
        measured: the number found; NaN where none could be.
        low: lower end of the 95 % interval of a rate, or of the interval of a sharpness.
        high: upper end of it.
        tolerance: how far they may be apart.
        reason: why this tolerance, or why nothing is claimed or measured.

    """

    name: str
    statement: str
    verdict: str
    predicted: float
    mean: float
    closed_form: float
    measured: float
    low: float
    high: float
    tolerance: float
    reason: str

    def __str__(self) -> str:
        """Return one line."""
        numbers = f"predicted {self.predicted:.6g}, measured {self.measured:.6g}"
        rest = f" ({self.reason})" if self.verdict in (NOT_CLAIMED, NOT_MEASURED) else ""
        return f"{self.name} {self.verdict}: {self.statement}; {numbers}{rest}"


COLUMNS = ("train loss", "train error", "test loss", "test error", "adversarial error")
"""What is measured along a run; NaN where it makes no sense or was not asked for."""


class LateSwitch(AbstractRecord):
    """A checkpoint that went on under another rule, and what theory says of it.

    Attributes:
        phases: P1 to P4.
        status: of the run: converged (settled, full batch only), out of steps, diverged or not
            finite.
        failed_at: (epoch, step) of the step that diverged or was not finite; None if none was.
        settled_at: the step at which the full-batch run settled, or its last; for a run in
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
        start: weights at the switch, shape (dim,), with the displacement.
        end: weights at the end; where the full-batch run has settled,
            (w[k] + 2w[k+1] + w[k+2])/4, without the alternation of steps. NaN if it diverged.
        epochs: at which the run was measured, counted from the switch.
        measured: `COLUMNS` at these epochs.
        step_loss: the training loss at each step; empty in mini-batches.
        along: v·(w[k] − w[0]) at each step, v the leading eigenvector at the switch.
        escaping: v·Δ²w at each step, Δ²w[k] = w[k+2] − 2w[k+1] + w[k]; empty in mini-batches.
        settling: the same with the leading eigenvector at the end.

    """

    phases: tuple[SwitchPhase, ...] = eqx.field(static=True)
    status: Status = eqx.field(static=True)
    failed_at: tuple[int, int] | None = eqx.field(static=True)
    settled_at: int = eqx.field(static=True)
    sharpness: tuple[float, float] = eqx.field(static=True)
    sharpness_residual: tuple[float, float] = eqx.field(static=True)
    edge: float = eqx.field(static=True)
    effective_curvature: float = eqx.field(static=True)
    gradient_norm: tuple[float, float] = eqx.field(static=True)
    peak: float = eqx.field(static=True)
    escape: Rate = eqx.field(static=True)
    convergence: Rate = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    trace: tuple[Trace, Trace] | None
    barrier: Barrier
    barrier_recomputed: Barrier | None
    start: Float[Array, " dim"] = eqx.field(metadata=axes("weight"))
    end: Float[Array, " dim"] = eqx.field(metadata=axes("weight"))
    epochs: NumpyArray = eqx.field(metadata=axes("time"))
    measured: NumpyArray = eqx.field(metadata=axes("time", "column"))
    step_loss: NumpyArray = eqx.field(metadata=axes("state"))
    along: NumpyArray = eqx.field(metadata=axes("made"))
    escaping: NumpyArray = eqx.field(metadata=axes("step"))
    settling: NumpyArray = eqx.field(metadata=axes("tail"))

    @property
    def holds(self) -> bool:
        """Whether something is claimed, and all that is was measured and came out as predicted."""
        verdicts = {phase.verdict for phase in self.phases}
        return HOLDS in verdicts and not verdicts & {FAILS, NOT_MEASURED}

    def __getitem__(self, column: str) -> NumpyArray:
        """Return one of `COLUMNS` at `epochs`."""
        return self.measured[:, COLUMNS.index(_checks.known("column", column, COLUMNS))]

    def __str__(self) -> str:
        """Return the phases, a line each, and a table of what was measured."""
        lines = [str(phase) for phase in self.phases]
        if self.trace is not None:
            lines += [f"{when}: {each}" for when, each in zip(_ENDS, self.trace, strict=True)]
        kept = [i for i in range(len(COLUMNS)) if np.isfinite(self.measured[:, i]).any()]
        lines += _table(
            ("epoch", *(COLUMNS[i] for i in kept)),
            [
                (f"{epoch}", *(f"{row[i]:.5g}" for i in kept))
                for epoch, row in zip(self.epochs, self.measured, strict=True)
            ],
        )
        return "\n".join([*lines, *self.notes])


_ENDS = ("at the switch", "at the end")


class SwitchSweep(AbstractRecord):
    """One rule, then another, switched at several epochs, from several starts.

    Arrays have a row an arm and a column a seed; all arms of a seed take the same examples at the
    same epochs. Where a run diverged, what could not be measured is NaN.

    Attributes:
        switch_epochs: of the arms, in ascending order: 0 is the second rule all along, the last,
            `total_epochs`, the first rule all along.
        total_epochs: epochs in all, the same for every arm.
        sharpness: λ_max at the end.
        sharpness_residual: how far an eigenvalue may be from it.
        switch_sharpness: λ_max at the switch.
        train_loss: at the end.
        train_error: share misclassified at the end; NaN for targets that are no classes.
        test_loss: at the end, of the held-out data; NaN without them.
        test_error: share misclassified of these.
        adversarial_error: under the attack, of the held-out data, or of the training data without
            them; NaN without an attack.
        barrier: height on the straight line from the switch to the end.
        status: a `Status` a run: out of steps, diverged or not finite.

    """

    total_epochs: int = eqx.field(static=True)
    before: str = eqx.field(static=True)
    after: str = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    switch_epochs: Int[NumpyArray, " arm"] = eqx.field(metadata=axes("arm"))
    sharpness: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed"))
    sharpness_residual: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed"))
    switch_sharpness: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed"))
    train_loss: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed"))
    train_error: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed"))
    test_loss: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed"))
    test_error: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed"))
    adversarial_error: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed"))
    barrier: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed"))
    status: Int[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed"))

    def interval(self, name: str, *, level: float = 0.95) -> NumpyArray:
        """Return (low, mean, high) of a quantity over seeds, one row an arm, by Student's t.

        The ends are NaN of fewer than two seeds, and all three of an arm with a NaN.
        """
        return np.array([_student(row, level) for row in self._values(name)])

    def difference(
        self, name: str, first: int, second: int, *, level: float = 0.95
    ) -> tuple[float, float, float]:
        """Return (low, mean, high) of a quantity's difference, seed by seed, by Student's t.

        Args:
            name: the quantity, as "test_error".
            first: switch epoch of the arm that the other is taken off.
            second: switch epoch of the other.
            level: of the interval.

        """
        values = self._values(name)
        return _student(values[self._arm(first)] - values[self._arm(second)], level)

    def _values(self, name: str) -> NumpyArray:
        return getattr(self, _checks.known("quantity", name, QUANTITIES))

    def _arm(self, epoch: int) -> int:
        found = np.flatnonzero(self.switch_epochs == epoch)
        if not len(found):
            raise _checks.ArgumentError(
                f"Argument `epoch` must be one of {self.switch_epochs.tolist()}, but is {epoch}."
            )
        return int(found[0])

    def __str__(self) -> str:
        """Return a table of means with half-widths of 95 % intervals, one line an arm."""
        told = [name for name in QUANTITIES if name != "sharpness_residual"]
        shown = [name for name in told if np.isfinite(self._values(name)).any()]
        intervals = {name: self.interval(name) for name in shown}
        rows: list[tuple[str, ...]] = []
        for i, epoch in enumerate(self.switch_epochs.tolist()):
            cells = [_cell(*intervals[name][i]) for name in shown]
            rows.append((f"{epoch}", *cells))
        head = f"{self.before}; from the switch on {self.after}; {self.total_epochs} epochs"
        titles = ("switch", *(name.replace("_", " ") for name in shown))
        return "\n".join([head, *_table(titles, rows)])


QUANTITIES = (
    "sharpness",
    "sharpness_residual",
    "switch_sharpness",
    "train_loss",
    "train_error",
    "test_loss",
    "test_error",
    "adversarial_error",
    "barrier",
)
"""What a sweep measures of every run."""


def _student(values: Any, level: float) -> tuple[float, float, float]:
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return math.nan, mean, math.nan
    half = float(stats.t.ppf((1 + level) / 2, count - 1) * np.std(values, ddof=1) / count**0.5)
    return mean - half, mean, mean + half


def _cell(low: float, mean: float, high: float) -> str:
    return f"{mean:.4g}" if math.isnan(low) else f"{mean:.4g} ± {(high - low) / 2:.2g}"


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (titles, *rows)
    ]
