"""P1 to P4 of a switch, read off what a monitor saw of the training."""

import math

import numpy as np

from samflow import _checks
from samflow._status import Status
from samflow._types import NumpyArray
from samflow.networks.monitoring import TrainingRecord
from samflow.spectra.directions import log_growth, roots
from samflow.switching.claims import (
    PhaseClaim,
    convergence_claim,
    escape_claim,
    flatter_claim,
    unclaimed_rate,
    valley_claim,
)
from samflow.switching.connectivity import Barrier
from samflow.switching.convergence import settle
from samflow.switching.linear_regime import Fitted, decay_windows, growth_windows, steadiest
from samflow.switching.modes import LeadingMode, has_closed_form
from samflow.systems import Map
from samflow.systems.base import check_fixed
from samflow.systems.edges import update_of

_UNKNOWN = "no closed form of the rule's multipliers is known"


@_checks.untraced(of=None)
def phases_of(
    record: TrainingRecord, system: Map, *, barrier: Barrier | None = None
) -> tuple[PhaseClaim, ...]:
    """Return P1 to P4 of a switch to `system` in full batch, from the rows of a monitor.

    The switch is at the first row of `system`, the end where the motion has died out, or at the
    last row before another map took over.
    Rates are fitted to the motion v₁·Δ²w, with the v₁ of the row before; between rows the
    predicted rate is interpolated. `late_switch` holds one v₁ and makes the run again instead.

    Args:
        record: of a training in full batch, by a monitor with `motion=True`.
        system: the map from the switch on, as it was trained.
        barrier: of the loss on the line from the weights at the switch to those at the end, as
            `line_barrier` finds it; None: P2 is not measured.

    Raises:
        ArgumentError: for a record without rows of `system`, or without motion.

    """
    _checks.instance("system", system, Map, "Use `sf.Map(loss, rule, lr=...)`.")
    check_fixed(system)
    _checks.instance("record", record, TrainingRecord, "Give `monitor.record`.")
    rows = _stretch(record, system)
    first, last = int(rows[0]), int(rows[-1])
    begin, end = (int(record.steps[i]) for i in (first, last))
    inside = (record.motion_steps > begin + 1) & (record.motion_steps <= end)
    motion, offset = record.motion[inside], begin + 2
    if not len(motion):
        raise _checks.ArgumentError(
            "Argument `record` must have the motion at each step, but has none between steps "
            f"{begin} and {end}. Use `Monitor(motion=True)`, and train by two steps at least."
        )

    def growth_at(k: int) -> float:
        return float(np.interp(k + offset, record.steps[rows], record.growth[rows]))

    sizes = np.abs(motion)
    status, settled = settle(sizes, sizes, float(sizes[0]))
    # Where the motion has died out; later a network drifts along its valley, and sharpens again.
    place = min(int(np.searchsorted(record.steps[rows], settled + offset)), len(rows) - 1)
    here, there = (_mode(record, system, int(i)) for i in (rows[0], rows[place]))
    top = int(np.argmax(sizes))
    escape = steadiest(growth_windows(sizes[: top + 1]), here.growth, growth_at)
    no_end = "" if status is Status.converged else "the motion had not died out at the last row"
    convergence = Fitted()
    if status is Status.converged and math.isfinite(there.curvature):
        windows = decay_windows(motion, top, settled, roots(system, there.curvature))
        convergence = steadiest(windows, there.growth, growth_at)
    known = has_closed_form(system)
    p1 = (
        escape_claim(system, here, escape, motion)
        if known
        else unclaimed_rate("P1", here.growth, escape.rate, _UNKNOWN)
    )
    peak = float(record.loss[rows].max())
    rise, of = peak - float(record.loss[first]), f"the rise to the largest loss seen, {peak:.4g}"
    height = math.nan if barrier is None else barrier.height
    missing = "the barrier was not given" if barrier is None else (no_end if known else "")
    return (
        p1,
        valley_claim(height, rise, of, no_end=missing),
        flatter_claim(system, here, there, no_end=no_end if known else ""),
        convergence_claim(system, there, convergence, no_end=no_end if known else ""),
    )


def _stretch(record: TrainingRecord, system: Map) -> NumpyArray:
    """Return the rows of the first stretch of `system`."""
    name = update_of(system).name
    own = np.array([each == name for each in record.update], dtype=bool)
    own &= np.isclose(record.lr, float(system.lr), rtol=1e-12)
    if not own.any():
        raise _checks.ArgumentError(
            f"Argument `record` must have rows of {name}, but has rows of "
            f"{', '.join(dict.fromkeys(record.update)) or 'nothing'}."
        )
    first = int(np.argmax(own))
    others = np.flatnonzero(~own[first:])
    return np.arange(first, first + others[0] if len(others) else len(own))


def _mode(record: TrainingRecord, system: Map, i: int) -> LeadingMode:
    u, residual = record.effective_curvature[i], record.eigenvalue_residuals[i, 0]
    reach = record.effective_residual[i] + residual
    growth = log_growth(system, u + reach * np.array([0.0, -1.0, 1.0]))
    middle, low, high = float(growth[0]), float(np.min(growth)), float(np.max(growth))
    v = np.full(system.dim, np.nan)  # not kept in a record, and not needed
    sharpness = float(record.sharpness[i])
    return LeadingMode(sharpness, float(residual), v, math.nan, float(u), middle, low, high)
