"""A late switch of the rule: escape, one valley, a flatter minimum, convergence (P1 to P4).

`two_phase` switches at a minimum that GD finds; `late_switch` at trained weights, in full batch, in
mini-batches or under attack; `sweep_switch` compares when.
"""

from samflow.switching._late_switch import late_switch
from samflow.switching._phases_of import phases_of
from samflow.switching._sweep_switch import sweep_switch
from samflow.switching._two_phase import two_phase
from samflow.switching.claims import ClaimVerdict, PhaseClaim
from samflow.switching.connectivity import Barrier, line_barrier
from samflow.switching.rates import Rate, fit_rate
from samflow.switching.records import LateSwitch
from samflow.switching.sweep_records import SwitchSweep

__all__ = [
    "Barrier",
    "ClaimVerdict",
    "LateSwitch",
    "PhaseClaim",
    "Rate",
    "SwitchSweep",
    "fit_rate",
    "late_switch",
    "line_barrier",
    "phases_of",
    "sweep_switch",
    "two_phase",
]
