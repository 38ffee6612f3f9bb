"""Noise at critical points: second moments, ensembles of paths, escape times, stable minima."""

from samflow.noise.comparison import EscapeComparison, compare_escape
from samflow.noise.escape import EscapeTimes, escape_time, escape_times
from samflow.noise.interpolation._least_squares import least_squares
from samflow.noise.interpolation.alignment import AlignmentBound, alignment_bound
from samflow.noise.interpolation.directional import MeanSquareAlong, mean_square_along
from samflow.noise.interpolation.mean_square import MeanSquareRate, mean_square_rate
from samflow.noise.interpolation.thresholds import StabilityThreshold, stability_threshold
from samflow.noise.interpolation.typical import TypicalRate, typical_rate
from samflow.noise.moments import SecondMoment, second_moment
from samflow.noise.passage import (
    chain_exit_time,
    chain_survival,
    kramers_time,
    linear_exit_time,
    mean_passage_time,
)
from samflow.noise.paths import PathMoments, Paths, sample_moments, sample_paths
from samflow.noise.survival import Survival, kaplan_meier
from samflow.systems.clipped_gradients import ClippedBatch
from samflow.systems.gradient_noise import (
    AdditiveNoise,
    MiniBatch,
    data_noise,
    hessian_noise,
    isotropic_noise,
)

__all__ = [
    "AdditiveNoise",
    "AlignmentBound",
    "ClippedBatch",
    "EscapeComparison",
    "EscapeTimes",
    "MeanSquareAlong",
    "MeanSquareRate",
    "MiniBatch",
    "PathMoments",
    "Paths",
    "SecondMoment",
    "StabilityThreshold",
    "Survival",
    "TypicalRate",
    "alignment_bound",
    "chain_exit_time",
    "chain_survival",
    "compare_escape",
    "data_noise",
    "escape_time",
    "escape_times",
    "hessian_noise",
    "isotropic_noise",
    "kaplan_meier",
    "kramers_time",
    "least_squares",
    "linear_exit_time",
    "mean_passage_time",
    "mean_square_along",
    "mean_square_rate",
    "sample_moments",
    "sample_paths",
    "second_moment",
    "stability_threshold",
    "typical_rate",
]
