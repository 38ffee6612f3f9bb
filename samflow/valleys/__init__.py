"""Valleys: what happens when SAM is switched on at a minimum."""

from samflow.valleys.connectivity import Barrier, line_barrier
from samflow.valleys.phases import Phase
from samflow.valleys.rates import Rate, fit_rate
from samflow.valleys.two_phase import TwoPhase, two_phase

__all__ = ["Barrier", "Phase", "Rate", "TwoPhase", "fit_rate", "line_barrier", "two_phase"]
