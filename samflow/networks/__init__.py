"""Real networks: digits, training, trained weights on disk, and their curvature."""

from samflow.networks.architectures import convolutional, residual
from samflow.networks.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from samflow.networks.conventions import CONVENTIONS, Convention, make_loss, make_map, make_rule
from samflow.networks.diagnosis import (
    Diagnosis,
    Effort,
    Interrupted,
    Nearness,
    Preconditioned,
    RuleStability,
    diagnose,
)
from samflow.networks.digits import digits_loss, load_digits, perceptron
from samflow.networks.files import TensorFile, read_leaves, read_tensors
from samflow.networks.live import live_checkpoint
from samflow.networks.mnist import load_mnist
from samflow.networks.moments import SecondMoment, load_moment, optax_moment, torch_moment
from samflow.networks.monitoring import Monitor, OptaxMonitor, TorchMonitor, TrainingRecord
from samflow.networks.renames import MismatchError
from samflow.networks.saddles import (
    MeasuredSaddle,
    SlidingSample,
    SymmetrySaddle,
    deep_linear_saddle,
    duplication_saddle,
    holding_threshold,
    measured_saddle,
    permutation_saddle,
    sample_sliding,
)
from samflow.networks.sharding import shard_data
from samflow.networks.training import (
    PGD,
    Trained,
    Training,
    TrainState,
    adversarial_error,
    first_state,
    load_state,
    save_state,
    switch,
    train,
    train_to_minimum,
)
from samflow.networks.transformer import vision_transformer

__all__ = [
    "CONVENTIONS",
    "PGD",
    "Checkpoint",
    "Convention",
    "Diagnosis",
    "Effort",
    "Interrupted",
    "MeasuredSaddle",
    "MismatchError",
    "Monitor",
    "Nearness",
    "OptaxMonitor",
    "Preconditioned",
    "RuleStability",
    "SecondMoment",
    "SlidingSample",
    "SymmetrySaddle",
    "TensorFile",
    "TorchMonitor",
    "TrainState",
    "Trained",
    "Training",
    "TrainingRecord",
    "adversarial_error",
    "convolutional",
    "deep_linear_saddle",
    "diagnose",
    "digits_loss",
    "duplication_saddle",
    "first_state",
    "holding_threshold",
    "live_checkpoint",
    "load_checkpoint",
    "load_digits",
    "load_mnist",
    "load_moment",
    "load_state",
    "make_loss",
    "make_map",
    "make_rule",
    "measured_saddle",
    "optax_moment",
    "perceptron",
    "permutation_saddle",
    "read_leaves",
    "read_tensors",
    "residual",
    "sample_sliding",
    "save_checkpoint",
    "save_state",
    "shard_data",
    "switch",
    "torch_moment",
    "train",
    "train_to_minimum",
    "vision_transformer",
]
