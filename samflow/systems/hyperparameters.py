"""A system's hyperparameters as samflow.theory takes them."""

import math
from typing import Any

from samflow.rules import Ascent
from samflow.systems.flow import Flow
from samflow.systems.map import Map


def theory_settings(system: Map | Flow) -> dict[str, Any]:
    """Return a system's hyperparameters under the names that samflow.theory takes.

    `rule` and `rho` are those of the family that the rule is of at a critical point, in general
    the GD or USAM that it is there; rho is not finite where the rule is of none.
    """
    family, rho = system.rule.family, system.rule.effective_rho()
    if family is not None and math.isnan(rho):  # a family of its own: no rho of USAM serves
        rho = float(getattr(system.rule, "rho", 0.0))
    settings: dict[str, Any] = {"rule": family or Ascent.gradient.value, "rho": rho}
    settings |= {"lr": None, "momentum": 0.0, "scheme": "none"}
    if isinstance(system, Map):
        settings["lr"] = float(system.lr)
        if system.momentum is not None:
            settings["momentum"] = float(system.momentum)
            settings["scheme"] = "nesterov" if system.nesterov else "heavy_ball"
    return settings
