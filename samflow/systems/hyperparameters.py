"""A system's hyperparameters as samflow.theory takes them."""

from typing import Any

from samflow.systems.flow import Flow
from samflow.systems.map import Map


def theory_settings(system: Map | Flow) -> dict[str, Any]:
    """Return a system's hyperparameters under the names that samflow.theory takes."""
    settings = {"rule": system.rule.name, "rho": float(getattr(system.rule, "rho", 0.0))}
    settings |= {"lr": None, "momentum": 0.0, "kind": "none"}
    if isinstance(system, Map):
        settings["lr"] = float(system.lr)
        if system.momentum is not None:
            settings["momentum"] = float(system.momentum)
            settings["kind"] = "nesterov" if system.nesterov else "heavy_ball"
    return settings
