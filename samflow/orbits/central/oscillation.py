"""How a map oscillates about a point of its central flow, and where the oscillation pushes it."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from samflow._checks import ArgumentError
from samflow._status import Status
from samflow._types import NumpyArray, Point
from samflow.orbits.central import complementarity
from samflow.orbits.central.critical import Modes, bend, direction_at, leading_modes, slope
from samflow.rules import Ascent
from samflow.systems import Map

_NEAR = 0.03
"""Eigenvalues this near to the limit, as a part of it, enter the complementarity problem."""

_ABOVE = 0.02
"""A start may be so far above the limit, as a part of it."""

RANK = 1e-6
"""Relative: eigenvalues of Σ beyond this are oscillations."""


class Oscillation(NamedTuple):
    """What the run does about a point of the flow.

    Attributes:
        modes: the leading eigenpairs of Dd there.
        variance: Σ in their basis, shape (k, k).
        mean_direction: ⟨d⟩, shape (dim,).
        normal: from which the next complementarity problem starts.

    """

    modes: Modes
    variance: NumpyArray
    mean_direction: NumpyArray
    normal: NumpyArray | None = None


class Stepping(NamedTuple):
    """The numbers of a map and of the steps along its flow.

    Attributes:
        lr: step size.
        momentum: β.
        kappa: the value of lr·μ at which the map flips.
        substeps: of Euler's method for each step of the map; 1: the map itself, averaged.
        pairs: how many eigenpairs are watched.

    """

    lr: float
    momentum: float
    kappa: float
    substeps: int
    pairs: int

    @property
    def limit(self) -> float:
        """The largest stable μ."""
        return self.kappa / self.lr

    @property
    def time(self) -> float:
        """By which ⟨d⟩ moves the flow in a step, in the long run."""
        return self.lr / ((1 - self.momentum) * self.substeps)

    def slowed(self, d: NumpyArray, modes: Modes) -> NumpyArray:
        """Return directions (..., dim) with half of their parts near the edge.

        A whole step of the average along those would oscillate itself, with multiplier −1; with
        half of it the multiplier is 0, with heavy ball ±√−β.
        """
        if self.substeps > 1:
            return d
        parts = d @ modes.left.T
        return d - 0.5 * (parts * (modes.values > (1 - _NEAR) * self.limit)) @ modes.right


def at_edge(
    system: Map, w: Point, stepping: Stepping, last: Oscillation | None
) -> tuple[Oscillation, Status]:
    """Return Σ at `w` by the complementarity problem at the end of the coming step."""
    modes = leading_modes(system, w, stepping.pairs, last.modes.block if last else ())
    d = np.asarray(direction_at(system, w))
    size = len(modes.values)
    nothing = Oscillation(modes, np.zeros((size, size)), d)
    if not (np.isfinite(modes.values).all() and np.isfinite(d).all()):
        return nothing, Status.not_finite
    limit = stepping.limit
    if last is None and modes.values[0] > (1 + _ABOVE) * limit:
        raise ArgumentError(
            f"Argument `w0` must be at or below the edge of stability, but the leading curvature "
            f"is {modes.values[0]:.4g} and the map flips at {limit:.4g}. Start where the run has "
            "come below, or use a smaller lr."
        )
    active = int((modes.values > (1 - _NEAR) * limit).sum())
    if not active:
        return nothing, Status.reached_end
    if not modes.is_real:
        return nothing, Status.undefined
    u, v = ([jnp.asarray(row) for row in rows[:active]] for rows in (modes.right, modes.left))
    each = range(active)
    bends = np.zeros((active, active, len(d)))
    for i in each:
        for j in range(i + 1):
            bends[i, j] = bends[j, i] = bend(system, w, u[i], u[j])
    if system.rule.ascent is Ascent.none:  # d is a gradient
        slopes = bends
    else:
        slopes = np.array([[slope(system, w, v[i], u[j]) for j in each] for i in each])
    time = stepping.time
    change = time * slopes @ stepping.slowed(d, modes)
    slack = limit * np.eye(active) - np.diag(modes.values[:active]) + (change + change.T) / 2
    response = 0.5 * time * np.einsum("ijp,lmp->ijlm", slopes, stepping.slowed(bends, modes))
    before = last.normal if last else None
    found = complementarity.solve(slack, response, before)
    if not found.solved:
        return nothing, Status.residual_too_large if _monotone(response) else Status.unbalanced
    variance = np.zeros((size, size))
    variance[:active, :active] = found.variance
    if rank(variance) == size < system.dim:
        return nothing, Status.too_few_pairs
    push = 0.5 * np.einsum("ij,ijp->p", found.variance, bends)
    return Oscillation(modes, variance, d + push, found.normal), Status.reached_end


def rank(variance: NumpyArray) -> int:
    """Return in how many directions there is an oscillation."""
    sizes = np.linalg.eigvalsh(variance)
    return int((sizes > RANK * max(sizes.max(), 0.0)).sum()) if sizes.max() > 0 else 0


def _monotone(response: NumpyArray) -> bool:
    """Say whether ⟨X, R[X]⟩ > 0 for each symmetric X."""
    size = len(response)
    rows, columns = np.triu_indices(size)
    basis = np.zeros((len(rows), size, size))
    weight = np.where(rows == columns, 1.0, 1 / math.sqrt(2))
    basis[np.arange(len(rows)), rows, columns] = weight
    basis[np.arange(len(rows)), columns, rows] = weight
    matrix = np.einsum("aij,ijlm,blm->ab", basis, response, basis)
    return bool(np.linalg.eigvalsh(matrix + matrix.T)[0] > 0)


def moved(
    system: Map, w: Point, velocity: Point, found: Oscillation, stepping: Stepping
) -> tuple[Any, Any]:
    """Return weights and velocity after a step of the flow, or after a part of one."""
    d = stepping.slowed(found.mean_direction, found.modes)
    if stepping.substeps > 1:
        return w - stepping.time * d, velocity
    velocity = stepping.momentum * velocity + d
    ahead = d + stepping.momentum * velocity if system.nesterov else velocity
    return w - stepping.lr * ahead, velocity
