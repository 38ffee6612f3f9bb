"""Which rho holds an orbit at a saddle, found on orbits alone: no multiplier is looked at.

The map is followed from beside the saddle, and what it does to the displacement is measured
within the span of eigenvectors. Components along which H vanishes are left out: the multiplier
there is 1 for every rho, so that they neither grow nor shrink.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike, NumpyArray
from samflow.networks.saddles.symmetries import SymmetrySaddle
from samflow.orbits.iterate import iterate
from samflow.records import AbstractRecord, Provenance, axes, provenance
from samflow.rules import USAM
from samflow.systems import Map

FACTOR = 1e3
"""Growth or decay by this factor ends the question: a ball of so many times the first distance."""
_KEPT = 400
_FEWEST = 3
_SCAN = 1.5 ** np.arange(24)


class Departure(NamedTuple):
    """What an orbit that begins beside a saddle does to its displacement from it.

    Attributes:
        held: whether the displacement shrinks, in the negative subspace and in the positive one.
        rate: the slope of the logarithm of the part that was watched, a step, over the second
            half of its way to `FACTOR` times more or less; NaN of fewer than three points.
        sizes: the norm of that part at each state kept.
        steps: their step numbers.
        drift: the displacement where H vanishes, at the end of that way, over the first distance.

    """

    held: bool
    rate: float
    sizes: NumpyArray
    steps: NumpyArray
    drift: float


class HoldingThreshold(AbstractRecord):
    """The smallest rho with which USAM holds an orbit at a saddle.

    Attributes:
        rho: the middle of the bracket; NaN where there is none.
        low: the largest rho tried that leaves, below `high`; 0 is gradient descent.
        high: the smallest rho tried above it that holds.
        predicted: 1/|λ₋|, of the weakest negative eigenvalue; NaN if there is none.
        num_orbits: how many orbits were followed.
        status: located; `still_inside` if gradient descent is held, too; `escaped` if no rho
            tried holds.
        tried: every rho tried, in order, shape (num_orbits,).
        held: whether it held the orbit.

    """

    num_orbits: int = eqx.field(static=True)
    status: Status = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    rho: float = eqx.field(static=True)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    predicted: float = eqx.field(static=True)
    tried: Float[Array, " orbits"] = eqx.field(metadata=axes("orbit"))
    held: Bool[Array, " orbits"] = eqx.field(metadata=axes("orbit"))


def departure(
    saddle: SymmetrySaddle,
    system: Map,
    *,
    along: ArrayLike | None = None,
    distance: float = 1e-6,
    num_steps: int = 2000,
) -> Departure:
    """Follow a map from `distance` beside the saddle, and say whether it is held.

    By default the start has an equal part of every eigenvector of H of a non-zero eigenvalue, and
    what is watched are the norms of the displacement's projections on the negative and on the
    positive subspace. An orbit is held if both shrink: a norm shrinks that falls to 1/`FACTOR` of
    the first distance before it rises to `FACTOR` of it, or, where it does neither in
    `num_steps`, has a negative slope of its logarithm over the second half. No multiplier enters,
    and which of several negative eigenvalues decides is left to the orbit.

    Args:
        saddle: the point.
        system: a map of its loss without momentum; any rule.
        along: a direction, shape (dim,), in which to start instead; it alone is watched, with its
            sign: `saddle.direction` gives the rate of the weakest negative eigenvalue.
        distance: of the start, in units of weight: above the distance of `w` from the true
            critical point, about ‖g‖/min|λ|, and so small that `FACTOR` times it is in reach of
            the linearisation.
        num_steps: most steps, enough for all but the slowest component to have died by half of
            them.

    Not guaranteed: that an orbit held so long is held for ever, within less of the threshold
    than the slopes can tell.

    Raises:
        ArgumentError: for arguments out of range, a map with momentum or of another dimension,
            and without `along` for a saddle of which H vanishes.

    """
    _checks.double_precision("Following an orbit at a saddle")
    _checks.kind("system", system, Map, "Use `sf.Map(saddle.loss, rule, lr=...)`.")
    distance = float(_checks.positive("distance", distance))
    num_steps = _checks.count("num_steps", num_steps)
    dim = len(saddle.eigenvalues)
    if system.state_dim != dim:
        raise _checks.ArgumentError(
            f"Argument `system` must have states of {dim} weights and no momentum, but has "
            f"{system.state_dim}."
        )
    watched, start = _watched(saddle, along)
    keep_every = max(1, num_steps // _KEPT)
    orbit = iterate(
        system, saddle.w + distance * jnp.asarray(start), num_steps=num_steps, keep_every=keep_every
    )
    states = np.array(orbit.states)
    if orbit.status == Status.converged:  # its rows end where it came to rest
        states[np.isnan(states).any(axis=1)] = orbit.final
    moved = states - np.asarray(saddle.w)
    fates = [_fate(np.linalg.norm(moved @ rows.T, axis=1) / distance) for rows in watched]
    sizes = np.linalg.norm(moved @ watched[0].T, axis=1)
    curved = np.concatenate([saddle.negative, saddle.positive])
    last = moved[fates[0].end - 1]
    return Departure(
        held=all(fate.shrinks for fate in fates),
        rate=fates[0].slope / keep_every,
        sizes=sizes,
        steps=np.asarray(orbit.steps),
        drift=float(np.linalg.norm(last - curved.T @ (curved @ last))) / distance,
    )


def _watched(
    saddle: SymmetrySaddle, along: ArrayLike | None
) -> tuple[list[NumpyArray], NumpyArray]:
    """Return the orthonormal rows of each subspace to watch, and the direction of the start."""
    if along is not None:
        v = np.asarray(_checks.point("along", along, len(saddle.eigenvalues)))
        if not np.linalg.norm(v) > 0:
            raise _checks.ArgumentError("Argument `along` must be a direction, but is 0.")
        v = v / np.linalg.norm(v)
        return [v[None]], v
    subspaces = [rows for rows in (saddle.negative, saddle.positive) if len(rows)]
    if not subspaces:
        raise _checks.ArgumentError(
            "Argument `along` must be given where H vanishes: no direction is distinguished."
        )
    start = np.sum(np.concatenate(subspaces), axis=0)
    return subspaces, start / np.linalg.norm(start)


class _Fate(NamedTuple):
    shrinks: bool
    slope: float
    end: int


def _fate(sizes: NumpyArray) -> _Fate:
    """Say whether a norm, 1 at first, shrinks; its log-slope a state; and where its way ends."""
    out = ~(sizes < FACTOR) | (sizes < 1 / FACTOR)  # NaN is out
    end = int(np.argmax(out)) if out.any() else len(sizes)
    with np.errstate(divide="ignore"):
        slope = _slope(np.log(sizes[end // 2 : end]))
    return _Fate(bool(sizes[end] < 1 / FACTOR if end < len(sizes) else slope < 0), slope, end)


def _slope(values: NumpyArray) -> float:
    if len(values) < _FEWEST:
        return float(np.nan)
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])


def holding_threshold(
    saddle: SymmetrySaddle,
    *,
    lr: float,
    along: ArrayLike | None = None,
    scan: Sequence[float] | None = None,
    rel: float = 0.005,
    distance: float = 1e-6,
    num_steps: int = 2000,
) -> HoldingThreshold:
    """Find the smallest rho with which USAM holds an orbit at a saddle, by bisection on orbits.

    Gradient descent is followed first; then the `scan`, upwards, until a rho holds; then the
    bracket between this one and the one before is halved until it is narrower than `rel`. What is
    held is said in `departure`. Theory, for comparison alone: `predicted` = 1/|λ₋|, for an lr with
    lr·U(λmax) < 2 there (`saddle.largest_lr`).

    Args:
        saddle: the point.
        lr: step size.
        along: as for `departure`.
        scan: values of rho in ascending order; by default 24 from 0.5/max|λ| on, each 1.5 times
            the one before.
        rel: width of the bracket at which to stop, as a part of rho.
        distance: as for `departure`.
        num_steps: as for `departure`; all rho share one compiled program.

    Returns:
        A `HoldingThreshold`; no bracket where gradient descent is held (a minimum) or no rho of
        the scan holds. A window of rho narrower than the scan's spacing may be missed: above it
        the positive eigenvalues flip.

    Raises:
        ArgumentError: as `departure`, and for a scan that is not positive and ascending.

    """
    distance = float(_checks.positive("distance", distance))
    rel = float(_checks.positive("rel", rel))
    system = Map(saddle.loss, USAM(rho=0.0), lr=lr)  # pyright: ignore[reportCallIssue, reportArgumentType]
    tried: dict[float, bool] = {}

    def holds(rho: float) -> bool:
        moved = eqx.tree_at(lambda s: s.rule.rho, system, jnp.asarray(rho, dtype=float))
        made = departure(saddle, moved, along=along, distance=distance, num_steps=num_steps)
        tried[rho] = made.held
        return made.held

    low = high = float(np.nan)
    status = Status.still_inside if holds(0.0) else Status.escaped
    if status == Status.escaped:
        values = [0.0, *_scanned(saddle, scan)]
        for before, after in itertools.pairwise(values):
            if holds(after):
                low, high, status = before, after, Status.located
                break
    while high - low > rel * high:  # false for NaN
        middle = 0.5 * (low + high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return HoldingThreshold(
        num_orbits=len(tried),
        status=status,
        provenance=provenance(
            system.describe(), saddle=saddle.name, rel=rel, distance=distance, num_steps=num_steps
        ),
        rho=0.5 * (low + high),
        low=low,
        high=high,
        predicted=-1 / saddle.weakest,
        tried=jnp.asarray(list(tried)),
        held=jnp.asarray(list(tried.values())),
    )


def _scanned(saddle: SymmetrySaddle, scan: Sequence[float] | None) -> list[float]:
    top = float(np.abs(saddle.eigenvalues).max())
    if scan is None and not top > 0:
        raise _checks.ArgumentError("Argument `scan` must be given where H vanishes.")
    values = [float(rho) for rho in (0.5 / top * _SCAN if scan is None else scan)]
    rising = all(low < high for low, high in itertools.pairwise([0.0, *values]))
    if not values or not rising or not np.isfinite(values[-1]):
        raise _checks.ArgumentError(
            f"Argument `scan` must be finite numbers above 0 in ascending order, but is {values}."
        )
    return values
