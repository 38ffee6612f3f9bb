"""Where a system repeats itself: cycles of maps, by Newton's method from many starts; of flows."""

from collections import Counter
from functools import partial
from typing import Any, ClassVar, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Complex, Float, Int

from samflow import _checks
from samflow._status import Kind, Status
from samflow._types import Box
from samflow.equilibria._units import Unitless, bounded, box_width, power_of_two, unitless, units
from samflow.equilibria.limit_cycles import LimitCycles, find_limit_cycles
from samflow.equilibria.nearness import EIGENVALUE_ERROR, kind_of
from samflow.equilibria.newton import DISTINCT, Ends, distinct, shoot, unit_points
from samflow.losses.base import AbstractLoss
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems import AbstractFlow, AbstractMap
from samflow.systems.angles import angles_of, rebased, shortest, unwrapped
from samflow.systems.base import check_system

_GUESSES = ("random points", "orbits", "their tails", "planes through critical points")
_STARTS, _ORBITS = 256, 24
"""How many by default: guesses of each kind of cycles of a map, and orbits of a flow."""
_TAIL = 100
"""Steps after which an orbit is near what attracts it."""
_DECADES = -5.0
"""How far below the size of the box, in powers of ten, guesses in planes go."""
_CRITICAL_STEPS = 30
_ACCURATE = 1e-3
"""The largest error with which a cycle counts as found, relative to the box."""
_RCOND = 1e-12
_HYPERBOLIC = 1e-9
_TIE = 1e-9


class Cycles(AbstractRecord):
    """The cycles of one minimal period found with a point in a box, each classified.

    Attributes:
        points: the points of each in the order of the motion, beginning with the least in
            lexicographic order, shape (cycles, period, state).
        multipliers: eigenvalues of the product of the Jacobians around each, largest first; NaN
            where the kind is undefined.
        kinds: attracting, repelling, saddle or nonhyperbolic, one a cycle; undefined where a
            point has no Jacobian.
        margin: 1 − max |multiplier|, positive exactly where attracting.
        winding: how many times each coordinate goes around, if it is an angle; else 0. Of a
            `FunctionMap` it is that of the images that its function returns.
        residual: the largest ‖F(zᵢ) − zᵢ₊₁‖ of each, with a velocity v as the length lr·v.
        error: estimate of how far the largest entry of the points is from the true cycle's.
        status: located, residual too large, or not differentiable, one a cycle.
        complete: always False; Newton's method proves nothing.
        note: how many starts ended where, and which of them found how many of the cycles.

    """

    rows: ClassVar[Names] = ("cycle",)
    printed: ClassVar[Names] = ("points", "kind", "multipliers", "status")
    points: Float[np.ndarray, "cycles period state"] = eqx.field(
        metadata=axes("cycle", "point", "state")
    )
    multipliers: Complex[np.ndarray, "cycles state"] = eqx.field(
        metadata=axes("cycle", "mode", units="1")
    )
    kinds: tuple[Kind, ...] = eqx.field(
        static=True, metadata=axes("cycle", rename={"kinds": "kind"})
    )
    margin: Float[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle"))
    winding: Int[np.ndarray, "cycles state"] = eqx.field(metadata=axes("cycle", "state"))
    residual: Float[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle"))
    error: Float[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle"))
    status: Int[np.ndarray, " cycles"] = eqx.field(metadata=axes("cycle", words=Status))
    period: int = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    complete: bool = eqx.field(static=True)
    note: str = eqx.field(static=True)
    box: Box = eqx.field(static=True, metadata=axes("weight", "end", units="weight"))
    provenance: Provenance = eqx.field(static=True)

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def w(self) -> Float[np.ndarray, "cycles period dim"]:
        """The weights of the points."""
        return self.points[..., : self.dim]

    def __str__(self) -> str:
        """Return one line: how many cycles, of which kinds, and that there may be more."""
        counts = Counter(str(kind) for kind in self.kinds)
        kinds = ", ".join(f"{many} {kind}" for kind, many in sorted(counts.items()))
        noun = "cycle" if len(self) == 1 else "cycles"
        found = f"{len(self)} {noun} of period {self.period} (multistart, more may exist)"
        return found + (f": {kinds}" if kinds else "")


@overload
def find_cycles(
    system: AbstractMap,
    box: Any = None,
    *,
    period: int,
    num_starts: int | None = ...,
    tol: float = ...,
    key: Array | None = ...,
) -> Cycles: ...


@overload
def find_cycles(
    system: AbstractFlow,
    box: Any = None,
    *,
    num_starts: int | None = ...,
    tol: float = ...,
    key: Array | None = ...,
) -> LimitCycles: ...


@_checks.untraced()
def find_cycles(
    system: AbstractMap | AbstractFlow,
    box: Any = None,
    *,
    period: int | None = None,
    num_starts: int | None = None,
    tol: float = 1e-9,
    key: Array | None = None,
) -> Cycles | LimitCycles:
    """Find and classify cycles with a point in `box`: of a map those of one period, of a flow all.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> saddle = sf.loss("x**2/2 - y**2/4")
    >>> found = find_cycles(sf.Map(saddle, sf.SAM(rho=0.1), lr=0.1), period=2, box=[(-1, 1)] * 2)
    >>> print(found)
    2 cycles of period 2 (multistart, more may exist): 1 attracting, 1 repelling
    >>> bool(abs(found.w[0, 1, 0] - 0.01 / 1.9) < 1e-12)  # lr·rho·λ/(2 − lr·λ)
    True

    Newton's method solves for all points at once (multiple shooting) and keeps away from cycles
    of a shorter period (deflation). It starts from `num_starts` guesses of each kind:

    - random points of the box, one for each point of the cycle;
    - orbits of such points, and orbits after 100 steps, near what attracts;
    - on a loss, random points of planes (and lines) through critical points along eigenvectors
      of the Hessian: on a quadratic these are invariant, and SAM's 2-cycles lie in them.

    The periodic orbits of a flow, whose periods nobody knows, are looked for along orbits from
    random points of the box, forwards in time and backwards, which finds in the plane what attracts
    and what repels. Where an orbit comes back to where it was, Newton's method solves for the orbit
    and its period (multiple shooting). In three dimensions and more, cycles that neither attract
    nor repel are found only where orbits come by.

    >>> print(find_cycles(sf.Flow(sf.losses.beale(), sf.GD())))
    no limit cycles: the loss falls along every solution of its gradient flow that is not at rest.

    Nothing is proved: cycles can be missed, more of them the longer the period and the larger the
    multipliers, which for SAM's 2-cycle along a weak eigenvalue λ are about 4(λ_max/λ)⁴. Of a
    continuum of cycles, which are nonhyperbolic, some are returned.

    Source: deflation, Farrell, Birkisson, Funke 2015; SAM's cycles, section 3 of docs/theory;
    shooting, Seydel, Practical Bifurcation and Stability Analysis (2010), chapter 7.

    Args:
        system: a map, with momentum or memory or without; or an autonomous flow.
        box: a pair (low, high) for each weight, or one for all; by default the loss's domain.
        period: of the cycles of a map; left out for a flow. 1 gives the fixed points that are not
            singular, of SAM the hallucinated ones too.
        num_starts: guesses of each kind, 256 by default; of a flow orbits in each direction of
            time, 24 by default.
        tol: largest accepted residual, relative to the width of the box and the largest |entry|
            of the points; a velocity v counts as the length lr·v.
        key: for the random guesses; by default a fixed one.

    Returns:
        `Cycles`, in lexicographic order of their least points, or `LimitCycles`, in the order of
        their periods; empty where none was found. Of a gradient flow, which has none, that is a
        theorem, and the record says so (`complete`).

    Raises:
        ArgumentError: for a map without a period, a flow with one, a flow that changes with the
            time, a wrong or missing box, or single precision.

    """
    _checks.double_precision("`find_cycles`")
    check_system(system)
    tol, box = _checks.positive("tol", tol), _box(system, box)
    if isinstance(system, AbstractFlow):
        if period is not None:
            raise _checks.ArgumentError(
                f"Argument `period` must be left out for a flow, but is {period}: periods of its "
                "cycles are found."
            )
        orbits = _checks.count("num_starts", _ORBITS if num_starts is None else num_starts)
        return find_limit_cycles(system, box, orbits, tol, key)
    check_system(system, AbstractMap, "Use a map or a flow.")
    if period is None:
        raise _checks.ArgumentError(
            "Argument `period` is missing. Give the period of the cycles of a map, such as 2."
        )
    period, dim = _checks.count("period", period), system.dim
    num_starts = _checks.count("num_starts", _STARTS if num_starts is None else num_starts)
    where = provenance(system.describe(), period=period, box=box, num_starts=num_starts, tol=tol)
    random = unit_points(num_starts, period * (dim + 2) + 2, jr.key(0) if key is None else key)
    low, high = jnp.asarray(box).T
    guesses, damped = _guesses(system, period, random, low, high)
    length = power_of_two(box_width(box))
    unit = length * units(system)
    sides = tuple((a / length, b / length) for a, b in box)
    made = unitless(bounded(system, box), unit)
    ends = shoot(made, guesses / unit, damped, jnp.asarray(box_width(sides)))
    ends = ends._replace(points=rebased(made, ends.points, sides))
    found, note = _select(made, ends, sides, tol, len(guesses) // num_starts)
    return _record(system, ends, found, tol, unit, note, box, where)


def _box(system: Any, box: Any) -> Box:
    """Return the box, by default the domain of the loss."""
    if box is None:
        box = getattr(getattr(system, "loss", None), "domain", None)
    if box is None:
        raise _checks.ArgumentError(
            f"Argument `box` must be given for {system.describe()}: it has no loss with a "
            "domain. Give one pair (low, high) for each weight, or one pair for all."
        )
    return _checks.box("box", box, system.dim)


@eqx.filter_jit
def _guesses(
    system: AbstractMap, period: int, random: Array, low: Array, high: Array
) -> tuple[Float[Array, "starts period state"], Bool[Array, " starts"]]:
    """Return guesses of each kind of `_GUESSES`, and for which of them to search along the step.

    `random` has a row of numbers in [0, 1) a start: for the points in the box, for those in a
    plane, for their distances there, and for the choice to search.
    """
    num, width = len(random), high - low
    cuts = (period * system.dim, period * (system.dim + 2))
    in_box, in_plane, last = jnp.split(random, cuts, axis=1)
    w = low + width * in_box.reshape(num, period, system.dim)

    def step(z: Array, _: None) -> tuple[Array, Array]:
        """Move, but stay where the image is far from the box."""
        image = system.step(z)
        w = system.position(image)
        near = (w >= low - width) & (w <= high + width)
        return jnp.where(near.all() & jnp.isfinite(image).all(), image, z), z

    lifted = jax.vmap(jax.vmap(system.lift))(w)
    orbits = jax.vmap(lambda z: lax.scan(step, z, length=_TAIL + period)[1])(lifted[:, 0])
    kinds = [lifted, orbits[:, :period], orbits[:, _TAIL:]]
    if (loss := getattr(system, "loss", None)) is not None:
        centres, planes = jax.vmap(partial(_plane, loss, low, high))(w[:, 0], jnp.arange(num))
        distances = jnp.max(width) * 10 ** (_DECADES * last[:, 0])
        places = 2 * in_plane.reshape(num, period, 2) - 1
        w = centres[:, None] + distances[:, None, None] * places @ planes
        kinds.append(jax.vmap(jax.vmap(system.lift))(w))
    return jnp.concatenate(kinds), jnp.tile(last[:, 1] < 0.5, len(kinds))


def _plane(
    loss: AbstractLoss, low: Array, high: Array, w: Array, turn: Array
) -> tuple[Float[Array, " dim"], Float[Array, "2 dim"]]:
    """Return the critical point to which Newton's method comes from `w`, and two eigenvectors.

    They are those of the Hessian whose turn it is; the second is 0 where they would be the same.
    Where no critical point of the box is found, it is `w` itself, and the vectors are axes.
    """

    def newton(carry: tuple[Array, Array, Array], _: None) -> tuple[Any, None]:
        w = carry[0]
        values, vectors = jnp.linalg.eigh(loss.hessian(w))
        inverse = jnp.where(jnp.abs(values) > _RCOND * jnp.max(jnp.abs(values)), 1 / values, 0.0)
        step = vectors @ (inverse * (vectors.T @ loss.gradient(w)))
        return (w - step, vectors, jnp.max(jnp.abs(step))), None

    dim = len(w)
    start = (w, jnp.eye(dim), jnp.zeros(()))
    end, vectors, last = lax.scan(newton, start, length=_CRITICAL_STEPS)[0]
    inside = ((end >= low) & (end <= high)).all()
    found = inside & (last <= _ACCURATE * jnp.max(high - low))
    rows = jnp.where(found, vectors.T, jnp.eye(dim))
    i, j = turn % dim, turn // dim % dim
    return jnp.where(found, end, w), jnp.stack([rows[i], jnp.where(i == j, 0.0, rows[j])])


def _select(
    system: Unitless, ends: Ends, box: Box, tol: float, num_kinds: int
) -> tuple[np.ndarray, str]:
    """Return which ends are cycles, one for each cycle, and how the search went."""
    dim = system.dim
    points, error, width = np.asarray(ends.points), np.asarray(ends.error), box_width(box)
    starts, period, _ = points.shape
    apart = shortest(system, points - points[:, :1])
    size = np.ptp(apart, axis=1).max(axis=1) if period > 1 else np.full(starts, width)
    small = np.asarray(ends.residual) <= tol * _scale(points, width)
    accurate = (error <= _ACCURATE * width) & (small | (error <= DISTINCT * size))
    accurate &= np.asarray(ends.defined)
    minimal = np.ones(starts, dtype=bool)
    for q in range(1, period):
        if period % q == 0:
            gap = np.abs(shortest(system, points - np.roll(points, q, axis=1))).max(axis=(1, 2))
            minimal &= gap > 2 * error + DISTINCT * size
    low, high = np.asarray(box).T
    w = points[..., :dim]
    inside = ((w >= low) & (w <= high)).all(axis=2).any(axis=1)
    index = np.flatnonzero(accurate & minimal & inside)
    turned = partial(shortest, system)
    group = index[distinct(points[index], error[index], size[index], turned)]
    kind = index // (starts // num_kinds)
    shares = [f"{len(np.unique(group[kind == k]))} from {_GUESSES[k]}" for k in range(num_kinds)]
    note = (
        f"Newton from {starts} starts: {len(index)} came to a cycle of period {period} in the "
        f"box, {int((accurate & minimal & ~inside).sum())} to one outside it, "
        f"{int((accurate & ~minimal).sum())} to one of a shorter period, "
        f"{int((~accurate).sum())} to none. Cycles found: {', '.join(shares)}."
    )
    return np.unique(group), note


def _scale(points: np.ndarray, width: float) -> np.ndarray:
    return width + np.abs(points).max(axis=(1, 2))


def _record(
    system: AbstractMap,
    ends: Ends,
    found: np.ndarray,
    tol: float,
    unit: np.ndarray,
    note: str,
    box: Box,
    where: Provenance,
) -> Cycles:
    """Return the record, in which points are in the units of the system again."""
    length = unit[0]
    points, residual, error, derivative, singularity, _ = (np.asarray(a)[found] for a in ends)
    for i, cycle in enumerate(points):
        points[i] = _canonical(cycle)
    smooth = singularity > 0
    spectra = np.linalg.eigvals(derivative).astype(complex)
    spectra[~smooth] = np.nan
    spectra = np.take_along_axis(spectra, np.argsort(-np.abs(spectra), kind="stable"), axis=1)
    growth = np.abs(spectra) - 1
    neutral = _HYPERBOLIC + EIGENVALUE_ERROR * np.linalg.norm(derivative, axis=(1, 2))
    small = residual <= tol * _scale(points, box_width(box) / length)
    status = np.where(small, Status.located, Status.residual_too_large)
    status = np.where(smooth, status, Status.not_differentiable)
    kinds = [kind_of(g, n) for g, n in zip(growth, neutral.tolist(), strict=True)]
    first = _rounded(points[:, 0], np.abs(points).max(initial=0.0))
    order = np.lexsort(first.T[::-1])
    return Cycles(
        points=points[order] * unit,
        multipliers=spectra[order],
        kinds=tuple(kinds[i] for i in order),
        margin=-growth.max(axis=1)[order],
        winding=_winding(system, points[order] * unit),
        residual=residual[order] * length,
        error=error[order] * length,
        status=status[order],
        period=points.shape[1],
        dim=system.dim,
        complete=False,
        note=note,
        box=box,
        provenance=where,
    )


def _winding(system: AbstractMap, points: np.ndarray) -> np.ndarray:
    """Return how many times the angles of cycles (cycles, period, state) go around."""
    angles = angles_of(system)
    if angles is None or not len(points):
        return np.zeros((len(points), points.shape[2]), int)
    lengths = np.array([np.inf if one is None else one[1] - one[0] for one in angles])
    moved = np.asarray(_images(unwrapped(system), jnp.asarray(points)))
    return np.rint((moved - np.roll(points, -1, axis=1)).sum(axis=1) / lengths).astype(int)


@eqx.filter_jit
def _images(system: AbstractMap, points: Array) -> Array:
    return jax.vmap(jax.vmap(system.step))(points)


def _canonical(z: np.ndarray) -> np.ndarray:
    """Begin a cycle with its least point; entries that differ by rounding only are equal."""
    least = np.lexsort(_rounded(z, np.ptp(z, axis=0).max()).T[::-1])[0]
    return np.roll(z, -least, axis=0)


def _rounded(z: np.ndarray, size: float) -> np.ndarray:
    return np.round(z / (_TIE * size)) if size > 0 else z
