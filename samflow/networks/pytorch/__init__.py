"""The loss of any PyTorch module, through its own forward pass."""

from samflow.networks.pytorch.loss import TorchLoss, torch_network

__all__ = ["TorchLoss", "torch_network"]
