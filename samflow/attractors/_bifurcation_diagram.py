"""Branches of fixed points and cycles along a parameter, over what orbits end in."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple

import equinox as eqx
import numpy as np

from samflow import _checks
from samflow._types import ArrayLike
from samflow.attractors.continuation import Branch, SpecialPoint, families
from samflow.attractors.continuation.families import begins
from samflow.attractors.diagram import OrbitDiagram, orbit_diagram
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems import AbstractFlow, AbstractMap
from samflow.systems.base import check_system
from samflow.systems.leaves import Leaf, Selector, check_values, find_leaf

_BESIDE = 1e-3
"""How far from each point orbits begin, relative to 1 + |w|."""


class BranchEvent(NamedTuple):
    """A bifurcation, and the branch that it is on.

    Attributes:
        branch: number of the branch, from 1.
        period: of the cycles on it; 1 for fixed points.
        point: what happens.

    """

    branch: int
    period: int
    point: Annotated[SpecialPoint, axes(prefix="")]


class BifurcationDiagram(AbstractRecord):
    """Branches along one parameter, their bifurcations, and the last states of orbits.

    Attributes:
        name: of the parameter.
        events: the bifurcations of all branches.
        branches: each branch once.
        orbits: the last states of orbits; None for a flow.

    """

    rows: ClassVar[Names] = ("event",)
    printed: ClassVar[Names] = ("branch", "period", "kind", "parameter", "error", "criticality")
    name: str = eqx.field(static=True)
    events: tuple[BranchEvent, ...] = eqx.field(metadata=axes("event", prefix=""))
    branches: tuple[Branch, ...] = eqx.field(
        metadata=axes("branch_number", prefix="branch_", rename={"event": "event_on_branch"})
    )
    orbits: OrbitDiagram | None = eqx.field(metadata=axes(prefix="orbit_"))
    provenance: Provenance = eqx.field(static=True)

    def __str__(self) -> str:
        """Return a line for each branch and each bifurcation."""
        return "\n".join(str(branch) for branch in self.branches) or "no branch"


@_checks.untraced()
def bifurcation_diagram(
    system: AbstractMap | AbstractFlow,
    points: ArrayLike,
    parameter: Selector,
    bounds: tuple[float, float],
    *,
    rounds: int = 1,
    num_values: int = 300,
    num_kept: int = 64,
    num_transient: int = 1000,
    progress: Callable[[str], None] = lambda message: None,
) -> BifurcationDiagram:
    """Follow fixed points along a parameter, what is born on the way, and orbits by brute force.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> quartic = sf.loss("x**2/2 - y**2/2 + y**4/4")
    >>> system = sf.Map(quartic, sf.USAM(rho=0.5), lr=0.1)
    >>> found = bifurcation_diagram(system, [[0.0, 0.0]], "rho", (0.1, 2.0), num_values=5)
    >>> [(event.branch, str(event.point.kind)) for event in found.events]
    [(1, 'pitchfork'), (2, 'pitchfork')]

    Args:
        system: the map or flow.
        points: fixed points, roughly, shape (N, dim). A point without a Jacobian, as a critical
            point under SAM, begins the branch of the cycle about it, if orbits settle on one.
        parameter: as for `continue_branch`.
        bounds: as for `continue_branch`.
        rounds: how often to follow a branch that is born at a flip or a branch point.
        num_values: of the parameter, for orbits; they begin beside each point.
        num_kept: last states of each orbit.
        num_transient: steps before.
        progress: is told what is done next.

    Raises:
        ArgumentError: as `continue_branch`; for points outside the loss's domain, and for one
            that is near no fixed point, before any branch is followed.

    An end of the range that no map has, as lr = 0 or momentum = 1, has no orbits.

    """
    _checks.double_precision("`bifurcation_diagram`")
    check_system(system)
    leaf = find_leaf(system, parameter)
    starts = np.atleast_2d(np.asarray(_checks.point("points", points, system.dim, batched=True)))
    domain = getattr(getattr(system, "loss", None), "domain", None)
    _checks.inside("points", starts, domain)
    count = _checks.count("num_values", num_values)
    for w in starts:
        if not begins(system, w, parameter, bounds):
            raise _checks.ArgumentError(
                f"Argument `points` must be near fixed points, but Newton's method found none from "
                f"({', '.join(f'{x:.6g}' for x in w)}). Use `find_fixed_points`; at a bifurcation "
                "begin beside it."
            )
    branches: list[Branch] = []
    for w in starts:
        progress(f"from ({', '.join(f'{x:.6g}' for x in w)})")
        branches += families(system, w, parameter, bounds, rounds=rounds, known=branches)
    orbits = None
    if isinstance(system, AbstractMap):
        progress("orbits")
        values = np.linspace(*bounds, count)
        values = values[[not _is_end(system, leaf, value, bounds) for value in values.tolist()]]
        beside = _beside(starts, domain)
        orbits = orbit_diagram(
            system, beside, parameter, values, num_kept=num_kept, num_transient=num_transient
        )
    events = [
        BranchEvent(number, branch.period, point)
        for number, branch in enumerate(branches, start=1)
        for point in branch.special
    ]
    where = provenance(system.describe(), parameter=leaf.name, bounds=bounds, rounds=rounds)
    return BifurcationDiagram(leaf.name, tuple(events), tuple(branches), orbits, where)


def _beside(starts: np.ndarray, domain: Any) -> np.ndarray:
    """Return points a little above each weight; below it where the domain of the loss ends."""
    away = _BESIDE * (1 + np.abs(starts))
    if domain is None:
        return starts + away
    return np.where(starts + away <= np.array(domain)[:, 1], starts + away, starts - away)


def _is_end(system: AbstractMap, leaf: Leaf, value: float, bounds: tuple[float, float]) -> bool:
    """Say whether a value is an end of the range, and one that the constructor refuses."""
    try:
        check_values(system, leaf, [value] if value in bounds else [])
    except _checks.ArgumentError:
        return True
    return False


def parts(found: Any) -> tuple[list[Branch], OrbitDiagram | None]:
    """Return the branches and orbits of a diagram, or of branches alone."""
    if isinstance(found, BifurcationDiagram):
        return list(found.branches), found.orbits
    return ([found] if isinstance(found, Branch) else list(found)), None
