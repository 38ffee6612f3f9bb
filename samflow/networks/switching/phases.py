"""The four predictions about a late switch of a network, and where none is made."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import theory
from samflow._types import NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.finite_sum import FiniteSum
from samflow.networks.switching.records import NOT_CLAIMED, SwitchPhase
from samflow.networks.training.loop import How
from samflow.noise.interpolation.directional import mean_square_along
from samflow.rules import GD
from samflow.spectra.directions import log_growth, measured_along
from samflow.spectra.spectrum import extreme_eigenpairs
from samflow.systems import Map
from samflow.systems.hyperparameters import theory_settings
from samflow.valleys import Barrier, Phase, Rate
from samflow.valleys.phases import (
    FAILS,
    HOLDS,
    edge_of_stability,
    flatter,
    one_valley,
    rate_phase,
)

_GROWN = 100.0
"""No escape: the motion along v never exceeds its first size by this. A rate is fitted to as much
growth, and what momentum adds before it decays stays below."""
_FIRST = 3
_ROUNDINGS = 100
"""A barrier of so many units of rounding of the losses is none."""
_PART = 0.01
"""A barrier below this part of the range of losses seen is none; as in valleys."""


class Local(NamedTuple):
    """The leading eigenpair at a point, and what a map does along it to first order.

    Attributes:
        sharpness: λ_max.
        residual: how far an eigenvalue may be from it.
        v: the eigenvector, shape (dim,).
        curvature: U = vᵀDv; NaN for a rule with a memory or without a Jacobian there.
        growth: log|μ| at U.
        low: its least value for U within the residuals.
        high: its largest value there.

    """

    sharpness: float
    residual: float
    v: NumpyArray
    curvature: float
    growth: float
    low: float
    high: float


def local(system: Map, loss: AbstractLoss, w: Point, *, tol: float | None = None) -> Local:
    """Return what the map does along the leading eigenvector of the Hessian of `loss` at `w`."""
    pairs = extreme_eigenpairs(loss, w, k=1, which="largest", tol=tol, compare=False)
    v, residual = np.asarray(pairs.vectors[-1]), float(pairs.residuals[-1])
    known = not system.rule.num_memories and np.isfinite(v).all()
    u = low = high = middle = math.nan
    if known:
        along = measured_along(system, w, v[None])
        u, reach = float(along.curvature[0]), float(along.residual[0]) + residual
        growth = log_growth(system, u + reach * np.array([0, -1, 1]))
        middle, low, high = float(growth[0]), float(np.min(growth)), float(np.max(growth))
    return Local(float(pairs.values[-1]), residual, v, u, middle, low, high)


def closed_growth(system: Map, sharpness: float) -> float:
    """Return log|μ| with U(λ) = λ(1 + rho λ); NaN for rules without a closed form."""
    if not has_closed_form(system):
        return math.nan
    rho = theory_settings(system)["rho"]
    decay = 0.0 if system.weight_decay is None else float(system.weight_decay)
    return float(log_growth(system, np.array([sharpness * (1 + rho * sharpness) + decay]))[0])


def has_closed_form(system: Map) -> bool:
    """Whether the rule is differentiable at a critical point, and its Jacobian is known."""
    return system.rule.name in theory.RULES


def edge(system: Map) -> float:
    """Return the largest λ that the rule keeps, without weight decay; NaN if none is known."""
    return edge_of_stability(theory_settings(system)) if has_closed_form(system) else math.nan


def escape_phase(
    how: How, here: Local, escape: Rate, along: Sequence[float], escaping: NumpyArray
) -> SwitchPhase:
    """Return P1 for a full-batch run of a rule that theory knows, or what it does not claim."""
    closed = closed_growth(how.system, here.sharpness)
    if not (here.low > 0 or here.high < 0):
        return _unclaimed(
            "P1", here.growth, closed, escape, "residuals leave open whether the start is unstable"
        )
    if here.high < 0:
        return _no_escape(here, closed, escaping)
    why = ""
    if _grown(escaping) >= _GROWN:
        why = "it left in too few steps to fit a rate; a smaller displacement gives more"
    return _from(rate_phase("P1", escape, here.growth, along, missing=why), closed)


def _no_escape(here: Local, closed: float, escaping: NumpyArray) -> SwitchPhase:
    grown = _grown(escaping)
    return SwitchPhase(
        "P1",
        f"no escape is predicted, log|μ| = {here.growth:.4g} a step: the motion along the leading "
        f"eigenvector grows by less than {_GROWN:g}",
        HOLDS if grown < _GROWN else FAILS,
        1.0,
        math.nan,
        closed,
        grown,
        math.nan,
        math.nan,
        _GROWN,
        "two decades, as much growth as a rate is fitted to",
    )


def _grown(escaping: NumpyArray) -> float:
    """Return how many times its first size the motion reaches."""
    if not len(escaping):
        return math.nan
    sizes = np.abs(escaping)
    return float(sizes.max() / max(sizes[:_FIRST].max(), np.finfo(float).tiny))


def noisy_escape(how: How, here: Local, w: Point, escape: Rate, key: PRNGKeyArray) -> SwitchPhase:
    """Return P1 for a run in mini-batches, or under attack: a number, and no claim."""
    system, predicted = how.system, here.growth
    reason = "under attack the start is no fixed point; log|μ| is that at unperturbed inputs"
    if how.attack is None:
        reason = "in mini-batches theory predicts a mean square over many runs, not one run"
        plain = system.state_dim == system.dim and isinstance(system.loss, FiniteSum)
        predicted = math.nan
        if plain and how.batch_size is not None and np.isfinite(here.v).all():
            size = how.batch_size
            found = mean_square_along(system, w, here.v, batch_size=size, key=key)
            predicted = math.log(found.radius) / 2 if found.radius > 0 else -math.inf
            reason += "; ½ log E[(vᵀJv)²] is a lower bound of its rate"
    return _unclaimed("P1", predicted, closed_growth(system, here.sharpness), escape, reason)


_UNCLAIMED = {
    "P1": "escape along the leading eigenvector, a step",
    "P4": "final convergence along the leading eigenvector, a step",
}


def _unclaimed(name: str, predicted: float, closed: float, rate: Rate, reason: str) -> SwitchPhase:
    return SwitchPhase(
        name,
        _UNCLAIMED[name],
        NOT_CLAIMED,
        predicted,
        math.nan,
        closed,
        rate.slope,
        rate.low,
        rate.high,
        math.nan,
        reason,
    )


def nonsmooth_escape(here: Local, escape: Rate) -> SwitchPhase:
    """Return P1 for a rule that has no multiplier at a critical point: a number, and no claim."""
    reason = (
        "the rule has no Jacobian at a critical point, or none that is known: log|μ| is that of "
        "motions that are small against ‖g‖"
    )
    return _unclaimed("P1", here.growth, math.nan, escape, reason)


def valley_phase(
    how: How, losses: NumpyArray, barrier: Barrier, *, settled: bool, recomputed: bool
) -> SwitchPhase:
    """Return P2: no barrier on the straight line."""
    peak, height = float(np.max(losses)), barrier.height
    if height <= _ROUNDINGS * how.system.loss.precision * float(np.abs(barrier.losses).max()):
        height = 0.0
    if how.deterministic:
        found = _from(one_valley(peak, height, float(losses[0]), settled=settled), math.nan)
    else:
        tolerance = _PART * float(np.ptp(losses))
        found = SwitchPhase(
            "P2",
            "no barrier on the straight line from start to end: one valley",
            HOLDS if settled and height <= tolerance else FAILS,
            0.0,
            math.nan,
            math.nan,
            height,
            math.nan,
            math.nan,
            tolerance,
            "1 % of the range of training losses measured along the run",
        )
    if recomputed:
        words = "batch norm's statistics recomputed at every point"
        found = found._replace(statement=f"{found.statement}; {words}")
    return found


def flatter_phase(how: How, start: Local, end: Local, *, settled: bool) -> SwitchPhase:
    """Return P3: a smaller sharpness, and in the full batch below the rule's edge."""
    system = how.system
    limit = edge(system) if how.deterministic else math.nan
    known = math.isfinite(limit)
    found = flatter(start.sharpness, end.sharpness, limit if known else math.inf, settled=settled)
    phase = _from(found, math.nan)._replace(
        predicted=limit if known else start.sharpness,
        low=end.sharpness - end.residual,
        high=end.sharpness + end.residual,
    )
    if not known:
        phase = phase._replace(statement=f"sharpness falls from {start.sharpness:.6g}")
    known = has_closed_form(system) if how.deterministic else isinstance(system.rule, GD)
    if known and how.attack is None and not start.low > 0:
        why = "the rule does not leave the start, so that nothing is said of where it ends"
        phase = phase._replace(verdict=NOT_CLAIMED, reason=why)
    return phase


def convergence_phase(
    how: How, end: Local, rate: Rate, along: Sequence[float], *, settled: bool
) -> SwitchPhase:
    """Return P4: the rate at which the motion dies out."""
    system = how.system
    closed = closed_growth(system, end.sharpness)
    if not how.deterministic:
        why = "noise keeps the run moving" if how.attack is None else "the attack changes the loss"
        return _unclaimed("P4", end.growth, closed, rate, why)
    if not has_closed_form(system):
        why = "the rule has no Jacobian at a critical point, or none that is known"
        return _unclaimed("P4", end.growth, closed, rate, why)
    why = "the motion died out in too few steps, or too unevenly, to fit a rate" if settled else ""
    return _from(rate_phase("P4", rate, end.growth, along, missing=why), closed)


def _from(phase: Phase, closed: float) -> SwitchPhase:
    return SwitchPhase(
        phase.name,
        phase.statement,
        phase.verdict,
        phase.predicted,
        phase.mean,
        closed,
        phase.measured,
        phase.low,
        phase.high,
        phase.tolerance,
        phase.reason,
    )
