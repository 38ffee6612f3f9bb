"""The record of a sweep over the epoch of a switch, with intervals over seeds."""

import math
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from samflow import _checks
from samflow._status import Status
from samflow._types import NumpyArray
from samflow.records import AbstractRecord, Names, Provenance, axes
from samflow.switching.records import table_lines


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

    basis: ClassVar[Names] = ("escape", "drift")
    rows: ClassVar[Names] = ("arm", "seed")
    total_epochs: int = eqx.field(static=True, metadata=axes(units="epoch"))
    before: str = eqx.field(static=True)
    after: str = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    switch_epochs: Int[NumpyArray, " arm"] = eqx.field(metadata=axes("arm", units="epoch"))
    sharpness: Float[NumpyArray, "arm seed"] = eqx.field(
        metadata=axes("arm", "seed", units="loss/weight^2")
    )
    sharpness_residual: Float[NumpyArray, "arm seed"] = eqx.field(
        metadata=axes("arm", "seed", units="loss/weight^2")
    )
    switch_sharpness: Float[NumpyArray, "arm seed"] = eqx.field(
        metadata=axes("arm", "seed", units="loss/weight^2")
    )
    train_loss: Float[NumpyArray, "arm seed"] = eqx.field(
        metadata=axes("arm", "seed", units="loss")
    )
    train_error: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed", units="1"))
    test_loss: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed", units="loss"))
    test_error: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed", units="1"))
    adversarial_error: Float[NumpyArray, "arm seed"] = eqx.field(
        metadata=axes("arm", "seed", units="1")
    )
    barrier: Float[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed", units="loss"))
    status: Int[NumpyArray, "arm seed"] = eqx.field(metadata=axes("arm", "seed", words=Status))

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

    @property
    def answer(self) -> str:
        """The arm that ends flattest, and how many runs came to no end, in two sentences."""
        failed, means = int((self.status != Status.out_of_steps).sum()), self.sharpness.mean(axis=1)
        told = f"{failed} of {self.status.size} runs diverged or were not finite."
        if not np.isfinite(means).any():
            return f"No arm finished with every seed. {told}"
        best = int(np.nanargmin(means))
        flattest = f"switch at epoch {self.switch_epochs[best]}, mean sharpness {means[best]:.4g}"
        without = f"{means[-1]:.4g}" if np.isfinite(means[-1]) else "none"
        return f"Flattest at the end: {flattest}; without a switch {without}. {told}"

    def __str__(self) -> str:
        """Return which arm ends flattest, and means with half-widths of 95 % intervals by arm."""
        told = [name for name in QUANTITIES if name != "sharpness_residual"]
        shown = [name for name in told if np.isfinite(self._values(name)).any()]
        intervals = {name: self.interval(name) for name in shown}
        rows: list[tuple[str, ...]] = []
        for i, epoch in enumerate(self.switch_epochs.tolist()):
            cells = [_cell(*intervals[name][i]) for name in shown]
            rows.append((f"{epoch}", *cells))
        head = f"{self.before}; from the switch on {self.after}; {self.total_epochs} epochs"
        titles = ("switch", *(name.replace("_", " ") for name in shown))
        return "\n".join([self.answer, head, *table_lines(titles, rows)])


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
