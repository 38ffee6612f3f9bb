"""Saddles that the symmetries of a network make, and the rho at which USAM is held by them."""

from samflow.networks.saddles.critical import CriticalPointSearch, critical_point
from samflow.networks.saddles.deep_linear import deep_linear_saddle
from samflow.networks.saddles.holding import (
    Departure,
    HoldingThreshold,
    departure,
    holding_threshold,
)
from samflow.networks.saddles.measured import MeasuredSaddle, measured_saddle
from samflow.networks.saddles.sliding import sample_sliding
from samflow.networks.saddles.sliding_sample import SlidingSample
from samflow.networks.saddles.symmetries import (
    SymmetrySaddle,
    duplication_saddle,
    permutation_saddle,
)
from samflow.networks.saddles.units import duplicate_unit

__all__ = [
    "CriticalPointSearch",
    "Departure",
    "HoldingThreshold",
    "MeasuredSaddle",
    "SlidingSample",
    "SymmetrySaddle",
    "critical_point",
    "deep_linear_saddle",
    "departure",
    "duplicate_unit",
    "duplication_saddle",
    "holding_threshold",
    "measured_saddle",
    "permutation_saddle",
    "sample_sliding",
]
