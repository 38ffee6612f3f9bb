"""A system's hyperparameters as samflow.theory takes them."""

from typing import Any

from samflow.rules import Ascent
from samflow.systems.flow import Flow
from samflow.systems.map import Map


def theory_settings(system: Map | Flow) -> dict[str, Any]:
    """Return a system's hyperparameters under the names that samflow.theory takes.

    `rule` and `rho` are those of the GD or USAM that the rule is at a critical point; rho is not
    finite where it is neither, or unknown.
    """
    like = Ascent.none if system.rule.ascent is Ascent.none else Ascent.gradient
    settings: dict[str, Any] = {"rule": like.value, "rho": system.rule.effective_rho()}
    settings |= {"lr": None, "momentum": 0.0, "scheme": "none"}
    if isinstance(system, Map):
        settings["lr"] = float(system.lr)
        if system.momentum is not None:
            settings["momentum"] = float(system.momentum)
            settings["scheme"] = "nesterov" if system.nesterov else "heavy_ball"
    return settings
