"""The largest step size, or radius, at which an interpolating minimum is mean-square stable."""

import math
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from scipy.optimize import brentq

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.noise.interpolation import batch_jacobians
from samflow.noise.interpolation.batch_moments import BatchMoments
from samflow.noise.interpolation.batch_operator import batches, critical_lr, has_closed_form, update
from samflow.noise.interpolation.linearisation import Linearisation, linearise
from samflow.noise.interpolation.mean_square import exact
from samflow.records import AbstractRecord, Names, Provenance, provenance
from samflow.rules import Ascent
from samflow.systems.base import check_fixed
from samflow.systems.stochastic_map import StochasticMap

_MOST_DOUBLINGS = 60
_ROUNDING = 1e-12
"""A radius is 1 up to this: directions that hardly curve have one within rounding of it."""
_SAFETY = 4.0
"""Rounding of a radius near 1, in units of the requested tolerance, that the bracket allows."""


class StabilityThreshold(AbstractRecord):
    """The threshold at which the mean-square rate passes 0, enclosed from both sides.

    Attributes:
        parameter: "lr" or "rho".
        low: the largest value that was found stable: radius ≤ 1, or 1 + 1e-12 with momentum or
            a second draw.
        high: the least that was found unstable, next to it; infinite if none was found.
        margin_low: at most 0: the spectral radius at `low` less 1 + 1e-12; or, without momentum
            and with one draw per step, lr/η* − 1 there, with η* the exact largest step.
        margin_high: more than 0, the same at `high`.
        num_evaluations: how many margins were computed.
        status: located; out_of_steps where no unstable value was found; not_a_fixed_point where
            `w` does not fit every example.

    """

    basis: ClassVar[Names] = ("interpolation",)
    rows: ClassVar[Names] = ()
    parameter: str = eqx.field(static=True)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    margin_low: float = eqx.field(static=True)
    margin_high: float = eqx.field(static=True)
    num_evaluations: int = eqx.field(static=True)
    status: Status = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    def __str__(self) -> str:
        """Return the threshold on one line."""
        return f"{self.parameter} = {self.value:.9g} ({self.status.label})"

    @property
    def value(self) -> float:
        """The middle of the bracket."""
        return (self.low + self.high) / 2


@_checks.untraced()
def stability_threshold(
    system: StochasticMap,
    w: ArrayLike,
    parameter: Literal["lr", "rho"] = "lr",
    *,
    rtol: float = 1e-9,
) -> StabilityThreshold:
    """Find the largest lr, or rho, at which the mean-square rate at `w` is not positive.

    The other hyperparameters are those of `system`. Without momentum, and with one draw per step,
    the radius is a convex function of lr and of rho, and 1 at lr = 0, so that there is one
    threshold, found from η* = 1/λmax of a pencil. With momentum the radius itself is
    tested, on a grid that doubles, and the first threshold on that grid is returned.

    Args:
        system: the map of GD or USAM on mini-batches; its own value of `parameter` is not used.
        w: the minimum, shape (dim,).
        parameter: "lr" or "rho".
        rtol: relative width of the bracket.

    Raises:
        ArgumentError: for another rule, for "rho" of GD, for "rho" where the minimum is not stable
            at rho = 0, for examples that curve down so that no lr is stable; and as
            `mean_square_rate`.

    """
    _checks.double_precision("Finding a threshold of stability")
    _checks.instance("system", system, StochasticMap, "Use `sf.StochasticMap(map, noise)`.")
    check_fixed(system)
    _checks.known("parameter", parameter, ("lr", "rho"))
    rtol = max(_checks.positive("rtol", rtol), 1e-12)
    noise = batches(system)
    batch_jacobians.check_smooth(system)
    has_rho = system.map.rule.ascent is Ascent.gradient
    if not (has_rho if parameter == "rho" else has_closed_form(system)):
        needed = "USAM" if parameter == "rho" else "GD or USAM"
        raise _checks.ArgumentError(
            f"Argument `system` must be of {needed} for a threshold in {parameter}, but is of "
            f"{system.map.rule.name}."
        )
    data = linearise(system.loss, w)
    moments = BatchMoments(data, noise.batch_size, noise.replacement)
    if moments.has_tables:
        for which in ("pair", "triple", "quadruple") if has_rho else ("pair",):
            moments.matrix(which)
    count = 0

    def margin(value: float) -> float:
        """Return the margin of `value`: it is at most 0 iff `value` is stable."""
        nonlocal count
        count += 1
        if parameter == "lr":
            moved = eqx.tree_at(lambda s: s.map.lr, system, jnp.asarray(value))
        else:
            moved = eqx.tree_at(lambda s: s.map.rule.rho, system, jnp.asarray(value))
        step = update(moved)
        if step.self_adjoint:
            largest, _ = critical_lr(moments, step, tol=rtol * 0.01)
            return float(moved.map.lr) / largest - 1 if largest > 0 else math.inf
        return exact(moved, data, moments).radius - 1 - _ROUNDING

    steepest = float(max((data.rows**2).sum(axis=(1, 2))))
    low = 0.0
    if parameter == "lr":
        low = 1 / (steepest * (1 + update(system).rho * steepest))
        for _ in range(_MOST_DOUBLINGS):  # without momentum the first is stable already
            if margin(low) <= 0:
                break
            low /= 2
    if not margin(low) <= 0:
        raise _checks.ArgumentError(
            f"Argument `system` must be stable at {parameter} = {low:.6g}, from which the "
            "threshold is searched upwards, but is not."
        )
    high = 2 * low if low else 1 / steepest
    for _ in range(_MOST_DOUBLINGS):
        if not margin(high) <= 0:
            break
        low, high = high, 2 * high
    else:
        sides, margins = (low, math.inf), (margin(low), math.nan)
        return _record(system, parameter, sides, margins, count, _status(data, Status.out_of_steps))
    # The margin is 0 at lr = 0 as well; the bracket keeps the root finder away from there.
    settings: Any = {"rtol": rtol / 4, "xtol": rtol * high / 4}
    zero: Any = brentq(margin, low, high, **settings)
    root = float(zero)
    width = rtol * root / 2
    sides, margins = (low, high), (margin(low), margin(high))
    for _ in range(8):
        near = max(root - width, low), min(root + width, high)
        found = margin(near[0]), margin(near[1])
        if found[0] <= 0 < found[1]:
            sides, margins = near, found
            break
        width *= _SAFETY
    return _record(system, parameter, sides, margins, count, _status(data, Status.located))


def _status(data: Linearisation, status: Status) -> Status:
    return status if data.interpolates else Status.not_a_fixed_point


def _record(
    system: StochasticMap,
    parameter: str,
    sides: tuple[float, float],
    margins: tuple[float, float],
    num_evaluations: int,
    status: Status,
) -> StabilityThreshold:
    return StabilityThreshold(
        parameter=parameter,
        low=sides[0],
        high=sides[1],
        margin_low=margins[0],
        margin_high=margins[1],
        num_evaluations=num_evaluations,
        status=status,
        provenance=provenance(system.describe(), parameter=parameter),
    )
