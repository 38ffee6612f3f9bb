"""Real networks: digits, training, trained weights on disk, and their curvature."""

from samflow.networks.checkpoints import load_checkpoint, save_checkpoint
from samflow.networks.curvature import Trace, trace
from samflow.networks.density import Quantile, Share, SpectralDensity, spectral_density
from samflow.networks.digits import digits_loss, load_digits, perceptron
from samflow.networks.multipliers import Multipliers, update_multipliers
from samflow.networks.train import Training, train_to_minimum

__all__ = [
    "Multipliers",
    "Quantile",
    "Share",
    "SpectralDensity",
    "Trace",
    "Training",
    "digits_loss",
    "load_checkpoint",
    "load_digits",
    "perceptron",
    "save_checkpoint",
    "spectral_density",
    "trace",
    "train_to_minimum",
    "update_multipliers",
]
