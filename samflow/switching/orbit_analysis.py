"""From an orbit after a switch to the record of the four predictions, of toys and of networks."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow._status import Status
from samflow._types import NumpyArray, Point
from samflow.losses.evaluation import gradient_norm
from samflow.losses.finite_sum import FiniteSum
from samflow.networks.training.loop import How
from samflow.noise.interpolation.directional import mean_square_along
from samflow.spectra.directions import roots
from samflow.switching.claims import (
    ClaimVerdict,
    PhaseClaim,
    convergence_claim,
    escape_claim,
    flatter_claim,
    unclaimed_rate,
    valley_claim,
)
from samflow.switching.connectivity import Barrier
from samflow.switching.convergence import LEAST_TAIL, settle
from samflow.switching.linear_regime import (
    Fitted,
    decay_windows,
    growth_windows,
    places_of,
    steadiest,
)
from samflow.switching.modes import (
    LeadingMode,
    closed_form_growth,
    edge_of_stability,
    has_closed_form,
    is_gradient_descent,
    leading_mode,
)
from samflow.switching.motion import Motion
from samflow.switching.rates import Rate, fit_rate
from samflow.switching.records import LateSwitch
from samflow.systems import Map

FEWEST_STEPS, NUM_STEPS = 50, 2000
"""Of a deterministic orbit: the fewest in which all four can be measured, and those by default."""
MAPS_ALONE = "Use `sf.Map(loss, rule, lr=...)`: P1 to P4 are not predicted for other optimisers."
"""Said of an `AdaptiveMap`, for one."""
_ROUNDINGS = 100
"""A barrier of so many units of rounding of the losses is none."""
NEGATIVE = 1e-3
"""λ_min below −this·λ_max is a negative curvature; above, networks have a crowd around 0."""


class Analysis(NamedTuple):
    """What an orbit shows: how and where it ended, and its rates."""

    status: Status
    converged_at: int
    end: Point
    there: LeadingMode
    escape: Fitted
    convergence: Fitted = Fitted()
    converging: NumpyArray = np.zeros(0)


def analyse(
    system: Map,
    here: LeadingMode,
    motion: Motion,
    length: float,
    progress: Callable[[str], None],
    *,
    both_ends: bool = False,
) -> Analysis:
    """Return where the orbit of one map ended, and how fast it left and settled.

    Args:
        system: the map from the switch on.
        here: the leading mode at the start.
        motion: the orbit.
        length: that of the problem, over which the Hessian changes.
        progress: told what is being done.
        both_ends: whether λ_min is wanted at the end.

    """
    count = len(motion.bends)
    status, settled = motion.status, max(count - 1, 0)
    if status is Status.out_of_steps:
        status, settled = settle(motion.losses[:count], motion.bends, here.sharpness * length**2)
    has_end = status in (Status.converged, Status.out_of_steps)
    top = int(np.argmax(motion.bends)) if count else 0
    windows = growth_windows(np.abs(motion.escaping[: top + 1]))
    progress("curvature along the way")
    steps = [step for rate in windows for step in places_of(rate)] + [settled] * has_end
    place = motion.averaged(steps)
    escape = steadiest(windows, here.growth, _growth_at(system, place))
    if not has_end:
        nowhere = jnp.full(system.dim, jnp.nan)
        return Analysis(status, settled, nowhere, leading_mode(system, nowhere), escape)
    progress("curvature at the end")
    end = place(settled)
    there = leading_mode(system, end, both_ends=both_ends)
    converging = motion.project(there.v, min(count, settled + 1 + LEAST_TAIL))
    convergence = Fitted()
    if status is Status.converged and math.isfinite(there.curvature):
        modes = roots(system, there.curvature)
        windows = decay_windows(converging, top, settled, modes)
        place = motion.averaged([step for rate in windows for step in places_of(rate)])
        convergence = steadiest(windows, there.growth, _growth_at(system, place))
    return Analysis(status, settled, end, there, escape, convergence, converging)


def _growth_at(system: Map, place: Callable[[int], Point]) -> Callable[[int], float]:
    return functools.cache(lambda step: leading_mode(system, place(step)).growth)


def analyse_noisy(system: Map, motion: Motion, last: Point) -> Analysis:
    """Return where a run in mini-batches, or under attack, ended, and how fast it left."""
    end = last if motion.status is Status.out_of_steps else jnp.full(system.dim, jnp.nan)
    there = leading_mode(system, end)
    escape = Fitted(fit_rate(np.abs(motion.along), growing=True))
    return Analysis(motion.status, len(motion.along) - 1, end, there, escape)


class Study(NamedTuple):
    """A switch, the orbit after it, and what that shows.

    Attributes:
        how: how the steps were made.
        start: the weights before the displacement.
        here: the leading mode there.
        motion: the orbit.
        losses: the training losses that were seen.
        found: what the orbit shows.
        barriers: as the loss is, and with batch norm's statistics recomputed.
        key: of the mini-batches drawn for a prediction.

    """

    how: How
    start: Point
    here: LeadingMode
    motion: Motion
    losses: NumpyArray
    found: Analysis
    barriers: tuple[Barrier, Barrier | None]
    key: PRNGKeyArray

    def record(self, **more: Any) -> LateSwitch:
        """Return all that was found, and `more` that the record has."""
        system, here, motion, found = _map_of(self.how), self.here, self.motion, self.found
        return LateSwitch(
            phases=_claims(self),
            status=found.status,
            converged_at=found.converged_at,
            sharpness=(here.sharpness, found.there.sharpness),
            sharpness_residual=(here.residual, found.there.residual),
            edge=edge_of_stability(system),
            effective_curvature=here.curvature,
            gradient_norm=(_gradient_norm(system, self.start), _gradient_norm(system, found.end)),
            peak=float(np.fmax.reduce(self.losses)),
            escape=found.escape.rate,
            convergence=found.convergence.rate,
            barrier=self.barriers[0],
            barrier_recomputed=self.barriers[1],
            start=self.start,
            end=found.end,
            loss=motion.losses if self.how.deterministic else np.zeros(0),
            along=motion.along,
            escaping=motion.escaping,
            converging=found.converging,
            **more,
        )


def _map_of(how: How) -> Map:
    """Return the map: P1 to P4 are predicted for no other, and `late_switch` takes no other."""
    assert isinstance(how.system, Map)
    return how.system


def _gradient_norm(system: Map, w: Point) -> float:
    return float(gradient_norm(system.loss, w))


def _claims(study: Study) -> tuple[PhaseClaim, ...]:
    how, start, here, motion, losses, found, barriers, key = study
    system, there, noisy = _map_of(how), found.there, not how.deterministic
    known = has_closed_form(system)
    no_end, where = _no_end(found, goes_on=noisy or not known), no_minimum(there)
    if noisy:
        first = _noisy_escape(how, start, here, found.escape.rate, jr.fold_in(key, 1))
        fourth = _noisy_convergence(how, there, found.convergence.rate)
        loss_range, of = np.ptp(losses), "the range of training losses measured along the run"
    else:
        if known:
            first = escape_claim(system, here, found.escape, motion.escaping)
        else:
            first = unclaimed_rate("P1", here.growth, found.escape.rate, _NONSMOOTH)
        fourth = convergence_claim(system, there, found.convergence, no_end=no_end)
        peak = float(np.fmax.reduce(losses))
        loss_range, of = peak - losses[0], f"the rise to the orbit's largest loss {peak:.4g}"
    second = valley_claim(
        _height(system, barriers), float(loss_range), of, no_end=no_end, no_minimum=where
    )
    if barriers[1] is not None:
        words = "batch norm's statistics recomputed at every point"
        second = second._replace(statement=f"{second.statement}; {words}")
    third = flatter_claim(system, here, there, noisy=noisy, no_end=no_end, no_minimum=where)
    leaves = here.low > 0 or how.attack is not None
    if not leaves and (is_gradient_descent(system) if noisy else known):
        third = third._replace(verdict=ClaimVerdict.not_claimed, reason=_NOT_LEFT)
    return first, second, third, fourth


_NONSMOOTH = (
    "the rule has no Jacobian at a critical point, or none that is known: log|μ| is that of "
    "motions that are small against ‖g‖"
)
_NOT_LEFT = "the rule does not leave the start, so that nothing is claimed about its end"


def _height(system: Map, barriers: tuple[Barrier, Barrier | None]) -> float:
    """Return the height of the barrier without mismatched statistics; 0 where it is rounding."""
    barrier = barriers[0] if barriers[1] is None else barriers[1]
    rounding = _ROUNDINGS * system.loss.precision * float(np.abs(barrier.losses).max())
    return 0.0 if barrier.height <= rounding else barrier.height


def _noisy_escape(
    how: How, start: Point, here: LeadingMode, escape: Rate, key: PRNGKeyArray
) -> PhaseClaim:
    system, predicted = _map_of(how), here.growth
    reason = "under attack the start is not a fixed point; log|μ| is for unperturbed inputs"
    if how.attack is None:
        reason = "with mini-batches theory predicts a mean square over many runs, not one run"
        plain = system.state_dim == system.dim and isinstance(system.loss, FiniteSum)
        predicted = math.nan
        if plain and how.batch_size is not None and np.isfinite(here.v).all():
            size = how.batch_size
            found = mean_square_along(system, start, here.v, batch_size=size, key=key)
            predicted = math.log(found.radius) / 2 if found.radius > 0 else -math.inf
            reason += "; ½ log E[(vᵀJv)²] is a lower bound of its rate"
    closed = closed_form_growth(system, here.sharpness)
    return unclaimed_rate("P1", predicted, escape, reason, closed)


def _noisy_convergence(how: How, there: LeadingMode, convergence: Rate) -> PhaseClaim:
    reason = "noise keeps the run moving" if how.attack is None else "the attack changes the loss"
    closed = closed_form_growth(_map_of(how), there.sharpness)
    return unclaimed_rate("P4", there.growth, convergence, reason, closed)


def _no_end(found: Analysis, *, goes_on: bool) -> str:
    """Return why there is no end to compare with; a rule on a cycle, or with noise, goes on."""
    if found.status in (Status.diverged, Status.not_finite):
        ended = (
            "diverged" if found.status is Status.diverged else "reached a value that is not finite"
        )
        return f"the orbit {ended}, so that it has no end"
    if found.status is Status.converged or goes_on:
        return ""
    return "the orbit had not converged after the steps made"


def no_minimum(there: LeadingMode) -> str:
    """Return why an end is no minimum; empty where it is one, or λ_min was not asked for."""
    if not there.lowest < -NEGATIVE * there.sharpness:
        return ""
    return f"the end is not a minimum: its Hessian has the eigenvalue {there.lowest:.4g}"
