"""The loss of any PyTorch module, through its own forward pass; imports torch when it is made."""

from samflow.losses.pytorch.loss import TorchLoss
from samflow.losses.pytorch.models import torch_network

__all__ = ["TorchLoss", "torch_network"]
