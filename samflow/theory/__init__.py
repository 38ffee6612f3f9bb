"""Closed forms for SAM near critical points and in valleys, in sympy alone.

The independent twin of the numerical analyses: nothing here imports JAX. The derivations are in
docs/theory.md.
"""

from samflow.theory.conditions import (
    KINDS,
    RULES,
    characteristic_polynomial,
    edge,
    effective_curvature,
    escape_rate,
    flip_threshold,
    flow_eigenvalue,
    jury,
    multipliers,
    update_matrix,
)
from samflow.theory.critical_points import lr_window, momentum_window, rho_window
from samflow.theory.drift import ascent_distance, sharpness_flow, valley_drift
from samflow.theory.normalised import (
    arrival_time,
    arrival_time_bound,
    attraction_radius,
    cycle_multiplier,
    cycle_radius,
    saddle_cycle_bounds,
    stable_cycles,
    transverse_curvature,
    trap_exponent,
    trap_radius,
)
from samflow.theory.practical import (
    PLACEMENTS,
    eps_window,
    practical_curvature,
    practical_cycle,
)
from samflow.theory.symbols import evaluate, latex, text
from samflow.theory.verdicts import verdict, verdicts
from samflow.theory.windows import (
    Endpoint,
    Event,
    Window,
    late_switch_window,
    symbolic_lr_window,
    symbolic_rho_window,
)

__all__ = [
    "KINDS",
    "PLACEMENTS",
    "RULES",
    "Endpoint",
    "Event",
    "Window",
    "arrival_time",
    "arrival_time_bound",
    "ascent_distance",
    "attraction_radius",
    "characteristic_polynomial",
    "cycle_multiplier",
    "cycle_radius",
    "edge",
    "effective_curvature",
    "eps_window",
    "escape_rate",
    "evaluate",
    "flip_threshold",
    "flow_eigenvalue",
    "jury",
    "late_switch_window",
    "latex",
    "lr_window",
    "momentum_window",
    "multipliers",
    "practical_curvature",
    "practical_cycle",
    "rho_window",
    "saddle_cycle_bounds",
    "sharpness_flow",
    "stable_cycles",
    "symbolic_lr_window",
    "symbolic_rho_window",
    "text",
    "transverse_curvature",
    "trap_exponent",
    "trap_radius",
    "update_matrix",
    "valley_drift",
    "verdict",
    "verdicts",
]
