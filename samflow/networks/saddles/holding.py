"""Which rho holds an orbit at a saddle, found on orbits alone: no multiplier is looked at.

The map is followed from beside the saddle, and what it does to the displacement is measured
along each eigenvector. Components along which H vanishes are left out: the multiplier
there is 1 for every rho, so that they neither grow nor shrink. Weights that are no critical point
move; the displacement is then from the orbit that begins at them.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike, NumpyArray
from samflow.networks.saddles.measured import MeasuredSaddle
from samflow.networks.saddles.symmetries import SymmetrySaddle
from samflow.orbits._iterate import iterate
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.rules import USAM
from samflow.systems import Map
from samflow.systems.base import check_fixed

FACTOR = 1e3
"""Growth or decay by this factor ends the question: a ball of so many times the first distance."""
_KEPT = 400
_FEWEST = 3
_FINEST = 1e-6
"""Below, what is of second order in the distance of the start decides."""
_SCAN = 1.5 ** np.arange(24)

Saddle = SymmetrySaddle | MeasuredSaddle


class Departure(NamedTuple):
    """What an orbit that begins beside a saddle does to its displacement from it.

    Attributes:
        held: whether every part of the displacement that was watched shrinks.
        settled: whether that can be told. A part that neither grew nor shrank by `FACTOR` must
            move the same way in the third quarter of its steps as in the last; False of fewer than
            three points a quarter. Of an orbit that leaves one settled part is enough.
        rate: the slope of the logarithm of the part that grows fastest, or shrinks slowest, a
            step, over the second half of its way to `FACTOR` times more or less; NaN of fewer
            than three points.
        sizes: the modulus of that part at each state kept.
        steps: their step numbers.
        drift: the displacement where H vanishes, at the end of that way, over the first distance.

    """

    held: bool
    settled: bool
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
            tried holds; `out_of_steps` if an orbit was too short to tell, the last one tried: then
            `low` and `high` are where the search had come to.
        tried: every rho tried, in order, shape (num_orbits,).
        held: whether it held the orbit.

    """

    basis: ClassVar[Names] = ("network saddles",)
    rows: ClassVar[Names] = ("orbit",)
    num_orbits: int = eqx.field(static=True)
    status: Status = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    rho: float = eqx.field(static=True)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    predicted: float = eqx.field(static=True)
    tried: Float[Array, " orbits"] = eqx.field(metadata=axes("orbit"))
    held: Bool[Array, " orbits"] = eqx.field(metadata=axes("orbit"))

    def __str__(self) -> str:
        """Return the threshold beside that of theory, or why none was found."""
        said = {
            Status.located: f"orbits of USAM are held from rho = {self.rho:g} on",
            Status.escaped: "no rho that was tried holds an orbit of USAM",
            Status.still_inside: "no threshold: an orbit of gradient descent is held, too",
        }
        found = said.get(self.status, "no threshold: an orbit was too short to tell")
        return f"{found} (theory: 1/|λ₋| = {self.predicted:g})"


def departure(
    saddle: Saddle,
    system: Map,
    *,
    along: ArrayLike | None = None,
    distance: float = 1e-6,
    num_steps: int = 2000,
) -> Departure:
    """Follow a map from `distance` beside the saddle, and say whether it is held.

    By default the start has an equal part of every eigenvector of H of a non-zero eigenvalue, and
    what is watched are the components of the displacement along each of them. An orbit is held if
    all of them shrink: one shrinks that falls to 1/`FACTOR` of its start before any rises to
    `FACTOR` of its own, or, where none does in `num_steps`, has a negative slope of its logarithm
    over the second half. No multiplier enters, and which of several negative eigenvalues decides
    is left to the orbit. Near the saddle the components do not mix, so that a slow one is told
    from a fast one that dies beside it.

    Args:
        saddle: the point, or weights of `measured_saddle`: then the displacement is that between
            two orbits, which changes by the Jacobians along the way.
        system: a map of its loss without momentum; any rule.
        along: a direction, shape (dim,), in which to start instead; it alone is watched, with its
            sign: `saddle.direction` gives the rate of the weakest negative eigenvalue.
        distance: of the start, in units of weight: above the distance of `w` from the true
            critical point, about ‖g‖/min|λ|, and so small that `FACTOR` times it is in reach of
            the linearisation.
        num_steps: most steps, at least 12.

    Not guaranteed: that an orbit held so long is held for ever, within less of the threshold
    than the slopes can tell.

    Raises:
        ArgumentError: for arguments out of range, a map with momentum or of another dimension,
            and without `along` for a saddle of which H vanishes.

    """
    _checks.double_precision("Following an orbit at a saddle")
    _checks.instance("system", system, Map, "Use `sf.Map(saddle.loss, rule, lr=...)`.")
    check_fixed(system)
    distance = _checks.positive("distance", distance)
    num_steps = _checks.count("num_steps", num_steps, minimum=4 * _FEWEST)
    dim = len(saddle.w)
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
    base = np.asarray(saddle.w)
    if isinstance(saddle, MeasuredSaddle):
        beside = iterate(system, saddle.w, num_steps=num_steps, keep_every=keep_every)
        base = _whole(beside)
    moved = _whole(orbit) - base
    parts = np.abs(moved @ watched.T)
    fates = _fates(parts / parts[0])
    growing = [fate.settled and not fate.shrinks for fate in fates]
    first = int(np.argmax([np.inf if np.isnan(fate.slope) else fate.slope for fate in fates]))
    curved = np.concatenate([saddle.negative, saddle.positive])
    last = moved[fates[first].end - 1]
    return Departure(
        held=all(fate.shrinks for fate in fates),
        settled=any(growing) or all(fate.settled for fate in fates),
        rate=fates[first].slope / keep_every,
        sizes=parts[:, first],
        steps=np.asarray(orbit.steps),
        drift=float(np.linalg.norm(last - curved.T @ (curved @ last))) / distance,
    )


def _whole(orbit: Any) -> NumpyArray:
    states = np.array(orbit.states)
    if orbit.status == Status.converged:  # its rows end where it came to rest
        states[np.isnan(states).any(axis=1)] = orbit.final
    return states


def _watched(saddle: Saddle, along: ArrayLike | None) -> tuple[NumpyArray, NumpyArray]:
    """Return the orthonormal rows to watch, and the direction of the start."""
    if along is not None:
        v = np.asarray(_checks.point("along", along, len(saddle.w)))
        if not np.linalg.norm(v) > 0:
            raise _checks.ArgumentError("Argument `along` must be a direction, but is 0.")
        v = v / np.linalg.norm(v)
        return v[None], v
    rows = np.concatenate([saddle.negative, saddle.positive])
    if not len(rows):
        raise _checks.ArgumentError(
            "Argument `along` must be given at a saddle where H vanishes, because no direction is "
            "distinguished there."
        )
    return rows, np.sum(rows, axis=0) / np.sqrt(len(rows))


class _Fate(NamedTuple):
    shrinks: bool
    settled: bool
    slope: float
    end: int


def _fates(parts: NumpyArray) -> list[_Fate]:
    """Say of each column, 1 at first, whether it shrinks; until one of them is out of the ball."""
    beyond = ~(parts < FACTOR).all(axis=1)  # NaN is beyond
    last = int(np.argmax(beyond)) + 1 if beyond.any() else len(parts)
    return [_fate(part[:last]) for part in parts.T]


def _fate(part: NumpyArray) -> _Fate:
    """Say whether a part shrinks; its log-slope a state; and where its way ends."""
    out = ~(part < FACTOR) | (part < 1 / FACTOR)
    end = int(np.argmax(out)) if out.any() else len(part)
    with np.errstate(divide="ignore"):
        second = np.log(part[end // 2 : end])
    slope = _slope(second)
    if end < len(part):
        return _Fate(bool(part[end] < 1 / FACTOR), True, slope, end)
    middle = len(second) // 2
    before, after = _slope(second[:middle]), _slope(second[middle:])
    return _Fate(slope < 0, before * after > 0, slope, end)  # NaN is not settled


def _slope(values: NumpyArray) -> float:
    if len(values) < _FEWEST:
        return float(np.nan)
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])


def holding_threshold(
    saddle: Saddle,
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
        saddle: the point; of any weights, `measured_saddle`.
        lr: step size.
        along: as for `departure`.
        scan: values of rho in ascending order; by default 24 from 0.5/max|λ| on, each 1.5 times
            the one before.
        rel: width of the bracket at which to stop, as a part of rho, at least 1e-6.
        distance: as for `departure`.
        num_steps: as for `departure`; all rho share one compiled program.

    Returns:
        A `HoldingThreshold`; no bracket where gradient descent is held (a minimum) or no rho of
        the scan holds. A window of rho narrower than the scan's spacing may be missed: above it
        the positive eigenvalues flip.

    Raises:
        ArgumentError: as `departure`, and for a scan that is not positive and ascending.

    """
    distance = _checks.positive("distance", distance)
    rel = _checks.positive("rel", rel)
    if not rel >= _FINEST:
        raise _checks.ArgumentError(
            f"Argument `rel` must be at least {_FINEST:g}, the precision that orbits allow, but is "
            f"{rel:g}."
        )
    system = Map(saddle.loss, USAM(rho=0.0), lr=lr)
    tried: dict[float, Departure] = {}

    def follow(rho: float) -> Departure:
        moved = eqx.tree_at(lambda s: s.rule.rho, system, jnp.asarray(rho, dtype=float))
        made = departure(saddle, moved, along=along, distance=distance, num_steps=num_steps)
        tried[rho] = made
        return made

    low, high, status = _bisected(follow, _scanned(saddle, scan), rel)
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
        held=jnp.asarray([made.held for made in tried.values()]),
    )


def _bisected(
    follow: Callable[[float], Departure], scan: list[float], rel: float
) -> tuple[float, float, Status]:
    """Return the largest rho known to leave below the smallest known to hold, and how it ended."""
    nowhere = float(np.nan)
    low, high = 0.0, nowhere
    for rho in [0.0, *scan]:
        made = follow(rho)
        if not made.settled:
            return nowhere, nowhere, Status.out_of_steps
        if made.held:
            high = rho
            break
        low = rho
    if not high > 0:
        return nowhere, nowhere, Status.still_inside if high == 0 else Status.escaped
    while high - low > rel * high:
        middle = 0.5 * (low + high)
        made = follow(middle)
        if not made.settled:
            return low, high, Status.out_of_steps
        low, high = (low, middle) if made.held else (middle, high)
    return low, high, Status.located


def _scanned(saddle: Saddle, scan: Sequence[float] | None) -> list[float]:
    top = float(np.abs(saddle.eigenvalues).max())
    if scan is None and not top > 0:
        raise _checks.ArgumentError(
            "Argument `scan` must be given at a saddle where H vanishes: the values of rho to try."
        )
    values = [float(rho) for rho in (0.5 / top * _SCAN if scan is None else scan)]
    rising = all(low < high for low, high in itertools.pairwise([0.0, *values]))
    if not values or not rising or not np.isfinite(values[-1]):
        raise _checks.ArgumentError(
            f"Argument `scan` must be finite numbers above 0 in ascending order, but is {values}."
        )
    return values
