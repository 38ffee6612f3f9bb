"""What a monitor that is called in a loop of another library keeps: its rows, and its calls."""

from collections.abc import Mapping

import numpy as np

from samflow._types import NumpyArray
from samflow.networks.monitoring._monitor import Monitor


class CalledMonitor:
    """Base of the monitors of PyTorch and of optax."""

    _monitor: Monitor
    _calls: int

    def write(self) -> None:
        """Write the record to the monitor's `save_to`."""
        self._monitor.write()

    def state_dict(self) -> dict[str, NumpyArray]:
        """Return what to save in a checkpoint, so that rows go on as if nothing had happened."""
        return {**self._monitor.arrays(), "calls": np.array(self._calls)}

    def load_state_dict(self, state: Mapping[str, NumpyArray]) -> None:
        """Take up what `state_dict` returned.

        Raises:
            ArgumentError: for the state of a monitor with other settings.

        """
        self._monitor.restore(state)
        self._calls = int(state["calls"])
