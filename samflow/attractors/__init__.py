"""Lyapunov exponents, branches along a parameter, sweeps over several."""

from samflow.attractors._bifurcation_diagram import (
    BifurcationDiagram,
    BranchEvent,
    bifurcation_diagram,
)
from samflow.attractors.basins import (
    Attractor,
    Basins,
    Boundary,
    Ending,
    Share,
    StoredBasins,
    basins,
    boundary,
)
from samflow.attractors.charts import AttractorChart, Chart, stability_chart
from samflow.attractors.continuation import (
    Bifurcation,
    BifurcationCurve,
    Branch,
    Codimension2,
    CurvePoint,
    SpecialPoint,
    continue_bifurcation,
    continue_branch,
    families,
    switch_branch,
)
from samflow.attractors.diagram import OrbitDiagram, orbit_diagram
from samflow.attractors.lyapunov import Lyapunov, kaplan_yorke, lyapunov_spectrum
from samflow.attractors.manifolds import Arm, End, Manifolds, manifolds
from samflow.attractors.opening import open_store
from samflow.attractors.sweep import StoredSweep, Sweep, sweep

__all__ = [
    "Arm",
    "Attractor",
    "AttractorChart",
    "Basins",
    "Bifurcation",
    "BifurcationCurve",
    "BifurcationDiagram",
    "Boundary",
    "Branch",
    "BranchEvent",
    "Chart",
    "Codimension2",
    "CurvePoint",
    "End",
    "Ending",
    "Lyapunov",
    "Manifolds",
    "OrbitDiagram",
    "Share",
    "SpecialPoint",
    "StoredBasins",
    "StoredSweep",
    "Sweep",
    "basins",
    "bifurcation_diagram",
    "boundary",
    "continue_bifurcation",
    "continue_branch",
    "families",
    "kaplan_yorke",
    "lyapunov_spectrum",
    "manifolds",
    "open_store",
    "orbit_diagram",
    "stability_chart",
    "sweep",
    "switch_branch",
]
