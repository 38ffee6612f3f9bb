"""Training under any rule, that stops and goes on bit for bit, with or without attacks."""

from samflow.networks.training.attacks import PGD, adversarial_error
from samflow.networks.training.loop import Trained, first_state, switch, train
from samflow.networks.training.minimum import Training, train_to_minimum
from samflow.networks.training.states import TrainState, load_state, save_state

__all__ = [
    "PGD",
    "TrainState",
    "Trained",
    "Training",
    "adversarial_error",
    "first_state",
    "load_state",
    "save_state",
    "switch",
    "train",
    "train_to_minimum",
]
