"""Real networks: digits, training, trained weights on disk, and their curvature."""

from samflow.networks.architectures import convolutional, residual
from samflow.networks.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from samflow.networks.conventions import CONVENTIONS, Convention, make_loss, make_map, make_rule
from samflow.networks.curvature import Trace, trace
from samflow.networks.density import Quantile, Share, SpectralDensity, spectral_density
from samflow.networks.diagnose import diagnose
from samflow.networks.diagnosis import Diagnosis, Place, RuleVerdict
from samflow.networks.digits import digits_loss, load_digits, perceptron
from samflow.networks.files import TensorFile, read_leaves, read_tensors
from samflow.networks.mnist import load_mnist
from samflow.networks.multipliers import Multipliers, update_multipliers
from samflow.networks.pytorch import TorchLoss, torch_network
from samflow.networks.train import Training, train_to_minimum

__all__ = [
    "CONVENTIONS",
    "Checkpoint",
    "Convention",
    "Diagnosis",
    "Multipliers",
    "Place",
    "Quantile",
    "RuleVerdict",
    "Share",
    "SpectralDensity",
    "TensorFile",
    "TorchLoss",
    "Trace",
    "Training",
    "convolutional",
    "diagnose",
    "digits_loss",
    "load_checkpoint",
    "load_digits",
    "load_mnist",
    "make_loss",
    "make_map",
    "make_rule",
    "perceptron",
    "read_leaves",
    "read_tensors",
    "residual",
    "save_checkpoint",
    "spectral_density",
    "torch_network",
    "trace",
    "train_to_minimum",
    "update_multipliers",
]
