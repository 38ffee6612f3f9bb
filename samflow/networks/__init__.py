"""Real networks: a small one on real digits, its training, and trained weights on disk."""

from samflow.networks.checkpoints import load_checkpoint, save_checkpoint
from samflow.networks.digits import digits_loss, load_digits, perceptron
from samflow.networks.train import Training, train_to_minimum

__all__ = [
    "Training",
    "digits_loss",
    "load_checkpoint",
    "load_digits",
    "perceptron",
    "save_checkpoint",
    "train_to_minimum",
]
