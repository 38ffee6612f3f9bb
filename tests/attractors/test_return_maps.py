"""Branches of return maps: how they end, and where a fold is one.

r′ = r(μ + r² − r⁴), θ′ = 1: cycles at r² = (1 ± √(1 + 4μ))/2, which meet in a fold at μ = −1/4. The
inner ones shrink to the rest at μ = 0.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import samflow as sf
from samflow._status import Status
from samflow.attractors.continuation import Bifurcation
from samflow.attractors.continuation.curve import Curve, Point
from samflow.attractors.continuation.ending import Crossings
from samflow.attractors.continuation.equations import RestEquations
from samflow.systems import find_leaf


def bautin(z, mu):
    square = z[0] ** 2 + z[1] ** 2
    growth = mu + square - square**2
    return jnp.array([growth * z[0] - z[1], growth * z[1] + z[0]])


def returns(height, mu):
    """Return the map of the line y = height, crossed upwards."""
    flow = sf.FunctionFlow(Partial(bautin, mu=jnp.asarray(mu)), dim=2, name="Bautin")
    return sf.poincare_map(flow, sf.Section([0.0, 1.0], [0.0, height]), max_time=20.0)


@pytest.mark.parametrize(
    ("height", "last", "kind", "status", "end"),
    [
        (0.0, 1e-3, Bifurcation.hopf, Status.shrunk_to_rest, 0.0),
        (0.5, 1e-3, Bifurcation.border_collision, Status.border, -3 / 16),
        (0.0, 1e-2, None, None, None),
    ],
)
def test_a_cycle_shrinks_or_grazes_its_section(height, last, kind, status, end):
    """u = √(r² − height²) is the speed at the section: 0 at r = 0, or at r = height."""
    system = returns(height, 0.0)
    curve = Curve(RestEquations(system, find_leaf(system, "mu"), 1), np.ones(2))
    points = []
    for u in (1.0, 2e-2, last):
        square = u**2 + height**2
        y = np.array([u, square**2 - square])
        points.append(Point(y, np.zeros(2), np.zeros((1, 2))))
    seen = Crossings(curve)
    seen.add(points[0])
    seen.add(points[1])
    found = seen.ending(points[2])
    if kind is None:
        assert found is None
        assert seen.ending(points[2], stuck=True).kind is Bifurcation.hopf
        return
    assert (found.kind, found.status) == (kind, status)
    assert abs(found.parameter - end) < 1e-6  # u⁴ of the point from which it is extrapolated
    assert found.last == points[2].y[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("height", "kind", "status", "end"),
    [
        (0.0, "Hopf", Status.shrunk_to_rest, 0.0),
        (0.5, "border collision", Status.border, -3 / 16),
    ],
)
def test_a_fold_of_cycles_and_how_their_branch_ends(height, kind, status, end):
    start = np.sqrt((1 + np.sqrt(1.4)) / 2 - height**2)
    branch = sf.continue_branch(returns(height, 0.1), [start], "mu", (-0.5, 0.2))
    assert set(branch.ends) == {status, Status.reached_bound}
    (fold,) = branch.of("fold")
    (last,) = branch.of(kind)
    assert len(branch.special) == 2
    assert abs(fold.parameter + 0.25) < 1e-8
    # Of a grazing cycle the solver overlooks near crossings: the last one seen says less.
    assert abs(last.parameter - end) <= last.error + 1e-9
    assert last.error < (1e-5 if kind == "Hopf" else 5e-3)
