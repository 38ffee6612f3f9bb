"""samflow: the dynamics of sharpness-aware minimisation.

A loss and a rule make a system; every analysis takes any system and returns a record. See
docs/index.md for the tour and docs/theory for the mathematics.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOME = {
    "loss": "losses",
    "GD": "rules",
    "SAM": "rules",
    "USAM": "rules",
    "rule": "rules",
    "Adam": "systems",
    "AdamW": "systems",
    "AdaptiveMap": "systems",
    "Diffusion": "systems",
    "Flow": "systems",
    "FunctionDiffusion": "systems",
    "FunctionFlow": "systems",
    "FunctionMap": "systems",
    "Lion": "systems",
    "Map": "systems",
    "RMSprop": "systems",
    "StochasticMap": "systems",
    "central_flow": "orbits",
    "integrate": "orbits",
    "iterate": "orbits",
    "Section": "orbits",
    "poincare_map": "orbits",
    "poincare_section": "orbits",
    "stroboscopic_map": "orbits",
    "certify_fixed_points": "proofs",
    "certify_sliding": "proofs",
    "certify_stability": "proofs",
    "certify_trap": "proofs",
    "classify": "equilibria",
    "conditions": "equilibria",
    "find_cycles": "equilibria",
    "fate": "equilibria",
    "find_fixed_points": "equilibria",
    "survey": "equilibria",
    "basins": "attractors",
    "continue_branch": "attractors",
    "manifolds": "attractors",
    "open_store": "attractors",
    "lyapunov_spectrum": "attractors",
    "stability_chart": "attractors",
    "sweep": "attractors",
    "switch_branch": "attractors",
    "mean_square_rate": "noise",
    "typical_rate": "noise",
    "escape_time": "noise",
    "explore": "explorer",
    "late_switch": "switching",
    "sweep_switch": "switching",
    "two_phase": "switching",
    "landscape": "landscapes",
    "load_dataset": "records",
    "portrait": "plots",
    "portraits": "plots",
    "Kind": "_status",
    "Status": "_status",
    "Verdict": "_status",
}
"""Which subpackage holds a public name; it is imported when the name is first used."""

_SUBPACKAGES = ("equilibria", "losses", "networks", "orbits", "plots", "proofs", "rules", "systems")
_SUBPACKAGES += ("attractors", "explorer", "landscapes", "noise", "records", "spectra")
_SUBPACKAGES += ("switching", "theory")

if TYPE_CHECKING:
    from samflow import (
        attractors,
        equilibria,
        explorer,
        landscapes,
        losses,
        networks,
        noise,
        orbits,
        plots,
        proofs,
        records,
        rules,
        spectra,
        switching,
        systems,
        theory,
    )
    from samflow._status import Kind, Status, Verdict
    from samflow.attractors import (
        basins,
        continue_branch,
        lyapunov_spectrum,
        manifolds,
        open_store,
        stability_chart,
        sweep,
        switch_branch,
    )
    from samflow.equilibria import (
        classify,
        conditions,
        fate,
        find_cycles,
        find_fixed_points,
        survey,
    )
    from samflow.explorer import explore
    from samflow.landscapes import landscape
    from samflow.losses import loss
    from samflow.noise import escape_time, mean_square_rate, typical_rate
    from samflow.orbits import (
        Section,
        central_flow,
        integrate,
        iterate,
        poincare_map,
        poincare_section,
        stroboscopic_map,
    )
    from samflow.plots import portrait, portraits
    from samflow.proofs import (
        certify_fixed_points,
        certify_sliding,
        certify_stability,
        certify_trap,
    )
    from samflow.records import load_dataset
    from samflow.rules import GD, SAM, USAM, rule
    from samflow.switching import late_switch, sweep_switch, two_phase
    from samflow.systems import (
        Adam,
        AdamW,
        AdaptiveMap,
        Diffusion,
        Flow,
        FunctionDiffusion,
        FunctionFlow,
        FunctionMap,
        Lion,
        Map,
        RMSprop,
        StochasticMap,
    )

__all__ = [
    "GD",
    "SAM",
    "USAM",
    "Adam",
    "AdamW",
    "AdaptiveMap",
    "Diffusion",
    "Flow",
    "FunctionDiffusion",
    "FunctionFlow",
    "FunctionMap",
    "Kind",
    "Lion",
    "Map",
    "RMSprop",
    "Section",
    "Status",
    "StochasticMap",
    "Verdict",
    "attractors",
    "basins",
    "central_flow",
    "certify_fixed_points",
    "certify_sliding",
    "certify_stability",
    "certify_trap",
    "classify",
    "conditions",
    "continue_branch",
    "equilibria",
    "escape_time",
    "explore",
    "explorer",
    "fate",
    "find_cycles",
    "find_fixed_points",
    "integrate",
    "iterate",
    "landscape",
    "landscapes",
    "late_switch",
    "load_dataset",
    "loss",
    "losses",
    "lyapunov_spectrum",
    "manifolds",
    "mean_square_rate",
    "networks",
    "noise",
    "open_store",
    "orbits",
    "plots",
    "poincare_map",
    "poincare_section",
    "portrait",
    "portraits",
    "proofs",
    "records",
    "rule",
    "rules",
    "spectra",
    "stability_chart",
    "stroboscopic_map",
    "survey",
    "sweep",
    "sweep_switch",
    "switch_branch",
    "switching",
    "systems",
    "theory",
    "two_phase",
    "typical_rate",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"samflow.{_HOME[name]}"), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"samflow.{name}")
    raise AttributeError(f"module 'samflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
