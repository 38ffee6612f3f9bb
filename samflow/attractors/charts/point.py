"""What one critical point is, in every cell of a plane."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._status import Kind, Status
from samflow.attractors.charts import jumping, smooth
from samflow.attractors.charts.curves import Condition, boundaries
from samflow.attractors.charts.plane import Plane
from samflow.attractors.charts.records import Chart
from samflow.attractors.sweep import Sweep, sweep
from samflow.equilibria import classify
from samflow.equilibria.lengths import natural_length
from samflow.losses.base import AbstractLoss
from samflow.records import provenance
from samflow.rules import GD
from samflow.systems import Flow

_BESIDE = 1e-3
"""How far from the point orbits begin, in units of the ascent length, else of that of the loss."""
LEFT = 5.0
"""An orbit that ends farther away than so many steps are long has left."""
ELSEWHERE = "not a fixed point"
LEAVES = "leaves"


class CriticalPoint(NamedTuple):
    """A critical point, and the eigenvalues of the Hessian there, ascending."""

    w: np.ndarray
    curvature: np.ndarray


def critical_point(name: str, loss: AbstractLoss, w: Any) -> CriticalPoint:
    """Return the critical point at `w`.

    Raises:
        ArgumentError: where there is none; `name` is what the argument is called.

    """
    checked = _checks.point(name, w, loss.dim)
    found = classify(Flow(loss, GD()), checked)
    if found.status is not Status.located or found.curvature is None:
        raise _checks.ArgumentError(
            f"Argument `{name}` must be a critical point, but {_checks.excerpt(w)} is about "
            f"{found.distance:.3g} away from one. Use `find_fixed_points`."
        )
    return CriticalPoint(np.asarray(found.state), np.asarray(found.curvature))


def of_cells(
    plane: Plane, point: CriticalPoint, num_steps: int, gradient_norm: float | None
) -> dict[str, np.ndarray]:
    """Return what a chart has for each cell, which no other cell changes."""
    system, start = plane.system, beside(plane, point)
    periods = sweep(system, plane.grid, "period", w0=start, num_steps=num_steps)
    growth = sweep(system, plane.grid, "exponent", w0=start, num_steps=num_steps)
    ends = sweep(system, plane.grid, "sharpness", w0=start, num_steps=num_steps)
    found = conditions(plane, point, gradient_norm)
    known = by_jacobian(plane) and smooth.has_conditions(plane)
    return {
        "what": what_it_is(plane, point, num_steps, periods),
        "binding": smooth.binding(plane, found) if known else np.full(plane.shape, ""),
        "period": periods["period"],
        "exponent": growth["exponent"],
        "sharpness": ends["sharpness"],
    }


def chart(
    plane: Plane,
    point: CriticalPoint,
    cells: dict[str, np.ndarray],
    num_steps: int,
    gradient_norm: float | None,
) -> Chart:
    """Return the chart of a critical point, made of what `of_cells` returned."""
    return Chart(
        **cells,
        x=plane.x,
        y=plane.y,
        boundaries=boundaries(conditions(plane, point, gradient_norm), plane.x, plane.y),
        point=tuple(point.w.tolist()),
        by_jacobian=by_jacobian(plane),
        names=plane.names,
        provenance=provenance(plane.system.describe(), num_steps=num_steps),
    )


def by_jacobian(plane: Plane) -> bool:
    """Say whether the rule has a Jacobian at critical points."""
    return plane.system.rule.smooth or plane.system.rule.family is not None


def conditions(plane: Plane, point: CriticalPoint, gradient_norm: float | None) -> list[Condition]:
    """Return theory's conditions on the point in the plane."""
    if by_jacobian(plane):
        known = smooth.has_conditions(plane)
        return smooth.conditions(plane, point.curvature) if known else []
    return jumping.conditions(plane, point.w, point.curvature, gradient_norm)


def beside(plane: Plane, point: CriticalPoint) -> np.ndarray:
    """Return a start beside the point, off all eigenvectors of the Hessian: these can be kept."""
    w, loss = point.w, plane.system.loss
    length = plane.system.rule.ascent_length(w) or natural_length(Flow(loss, GD()), jnp.asarray(w))
    if not np.isfinite(length):  # as of GD on a quadratic loss: no length differs from another
        length = float(1 + np.linalg.norm(w))
    vectors = _eigenvectors(loss, w)
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    direction = (vectors * np.sign(largest)).sum(axis=0)
    return w + _BESIDE * length * direction / np.sqrt(len(w))


def _eigenvectors(loss: AbstractLoss, w: np.ndarray) -> np.ndarray:
    """Return the eigenvectors of the Hessian at a point, a row for each."""
    return np.linalg.eigh(np.asarray(loss.hessian(jnp.asarray(w))))[1].T


def what_it_is(
    plane: Plane, point: CriticalPoint, num_steps: int, periods: Sweep | None = None
) -> np.ndarray:
    """Return a word for each cell: by the Jacobian, or by orbits from beside the point.

    It "leaves" where orbits from both sides do.
    """
    system = plane.system
    if by_jacobian(plane):
        found = sweep(system, plane.grid, "classify", w0=point.w)
        rests = found["status"] == Status.located.label
        return np.where(rests | (found["kind"] != str(Kind.undefined)), found["kind"], ELSEWHERE)
    reach = LEFT * jumps(plane, point)
    words = _by_orbits(plane, point, beside(plane, point), reach, num_steps, periods)
    if not (words == LEAVES).any():
        return words
    mirrored = 2 * point.w - beside(plane, point)
    others = _by_orbits(plane, point, mirrored, reach, num_steps, None)
    return np.where(words == LEAVES, others, words)


def jumps(plane: Plane, point: CriticalPoint) -> np.ndarray:
    """Return how long a step is beside the point, in every cell.

    lr·max‖g(w + rho e)‖/(1 − momentum), with e an eigenvector of H or −e.
    """
    loss, at = plane.system.loss, plane.over_cells()
    vectors = _eigenvectors(loss, point.w)
    sides = np.concatenate([vectors, -vectors])
    radii, place = np.unique(np.broadcast_to(at["rho"], plane.shape), return_inverse=True)
    ascents = jnp.asarray(point.w + radii[:, None, None] * sides)
    gradients = np.asarray(jax.vmap(jax.vmap(loss.gradient))(ascents))
    largest = np.linalg.norm(gradients, axis=-1).max(axis=1)[place].reshape(plane.shape)
    return largest * at["lr"] / (1 - at["momentum"])


def _by_orbits(
    plane: Plane,
    point: CriticalPoint,
    start: np.ndarray,
    reach: np.ndarray,
    num_steps: int,
    periods: Sweep | None,
) -> np.ndarray:
    """Say what an orbit from beside the point does, from where it ends and its period."""
    found = sweep(plane.system, plane.grid, "orbit", w0=start, num_steps=num_steps)
    away = np.linalg.norm(found["final"][..., : len(point.w)] - point.w, axis=-1)
    if periods is None:
        periods = sweep(plane.system, plane.grid, "period", w0=start, num_steps=num_steps)
    goes_on = [Status.converged.label, Status.out_of_steps.label]
    left = (away > reach) | ~np.isin(found["status"], goes_on)
    period = periods["period"]
    names = {0: "stays", 1: str(Kind.attracting)} | {
        p: f"cycle of period {p}" for p in range(2, int(period.max()) + 1)
    }
    return np.where(left, LEAVES, np.vectorize(names.get)(period))
