"""A monitor of training: curvature, edges, alignment and losses, every k steps."""

from samflow.networks.monitoring._monitor import Monitor
from samflow.networks.monitoring.optax_states import OptaxMonitor
from samflow.networks.monitoring.pytorch import TorchMonitor
from samflow.networks.monitoring.records import TrainingRecord

__all__ = ["Monitor", "OptaxMonitor", "TorchMonitor", "TrainingRecord"]
