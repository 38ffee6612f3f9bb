"""How far a critical point attracts the flow of a normalised rule, measured on the true loss."""

import math
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from samflow import _checks
from samflow._status import Status
from samflow._types import ArrayLike
from samflow.equilibria._units import ascent_length
from samflow.orbits.filippov.critical import Surroundings, critical_point, surroundings
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.rules.base import is_normalised
from samflow.systems.flow import Flow

_GROWTH = 4.0
_FIRST = 1 / 16
"""First radius tried, in units of the length of the rule's shortest limit at w*."""
_LARGEST = 4096.0
"""Default of `max_radius`, in the same units."""
_SMALLEST = 1e-6
"""Where the search inwards gives up, relative to the first radius."""
_CRITICAL = 1e-6
"""Largest distance from `w` to the critical point, relative to ‖w‖ and the rule's own length."""
_RETURNED = 1e-3
"""A solution has come to w* if it ends this part of its start's distance from it."""
_ESCAPE = 1e6
"""Radius of escape, in units of the distance of the farthest start from 0."""
_MAX_STEPS = 20_000
_SOLVER_RTOL, _SOLVER_ATOL = 1e-7, 1e-9
"""The second in units of the least distance of a start."""


class AttractionRadius(AbstractRecord):
    """The radius in r = ‖H(w₀ − w*)‖ from within which sampled solutions came to w*.

    Attributes:
        w: the critical point w*.
        radius: the largest r from which every start tried came to w*, known to within rtol;
            None where nothing stopped at it up to the largest radius tried, 0 where w* does not
            hold even what starts next to it.
        bracket: the largest r tried from which every start came, and the smallest from which one
            did not; the second is infinite where there is none.
        worst: the unit vector H(w₀ − w*)/r of a start at the second which did not come to w*; NaN
            where there is none.
        num_directions: how many directions were tried.
        status: `located`; `out_of_steps` where the search ended at its largest radius, all starts
            attracted, or its smallest, none; `not_unique` where w* does not hold.

    """

    basis: ClassVar[Names] = ("sam flow",)
    rows: ClassVar[Names] = ()
    w: Float[Array, " dim"] = eqx.field(metadata=axes("weight", units="weight"))
    radius: float | None = eqx.field(metadata=axes(units="loss/weight"))
    bracket: tuple[float, float] = eqx.field(metadata=axes("end", units="loss/weight"))
    worst: Float[Array, " dim"] = eqx.field(metadata=axes("weight", units="weight"))
    num_directions: int = eqx.field(static=True)
    status: Status = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)


def measured_attraction_radius(
    flow: Flow,
    w: ArrayLike,
    *,
    num_directions: int = 64,
    key: Array | None = None,
    rtol: float = 1e-3,
    max_radius: float | None = None,
) -> AttractionRadius:
    """Measure the largest r such that the flow comes to w* from every sampled ‖H(w₀ − w*)‖ = r.

    `theory.attraction_radius` is proved, and exact on quadratics; this is what the true loss does.
    A finite sample of directions, so an upper estimate: a direction between them may fail before.

    Args:
        flow: of a normalised rule.
        w: an isolated critical point: H must be nonsingular there.
        num_directions: of random directions of H(w₀ − w*), besides the eigenvectors of H with both
            signs, which are always among them.
        key: for the directions; by default a fixed one.
        rtol: of the radius.
        max_radius: the largest r to try; by default 4096 times the length of the shortest limit
            of the rule at w*, which for SAM is about rho min|λ|.

    Returns:
        An `AttractionRadius`. Radii are tried in growing steps, then bisected between the last
        that attracts and the first that does not. A start beyond that attracts again is not seen.
        What has not come to w* in a time of (10 + 4 log(1/rtol))/min|λ| counts as not coming.

    Raises:
        ArgumentError: for a rule that is not normalised, a `w` that is no isolated critical
            point, numbers out of range, or single precision.

    """
    _checks.double_precision("`measured_attraction_radius`")
    _checks.instance("flow", flow, Flow, "Use `sf.Flow`.")
    if not is_normalised(flow.rule):
        raise _checks.ArgumentError(
            "Argument `flow` must be of a rule that divides by the length of a gradient, but is of "
            f"{flow.rule.name}. The flows of other rules do not arrive in finite time."
        )
    w = _checks.point("w", w, flow.dim)
    num_directions = _checks.count("num_directions", num_directions, minimum=0)
    rtol = _checks.positive("rtol", rtol)
    if max_radius is not None:
        max_radius = _checks.positive("max_radius", max_radius)
    around = _surroundings(flow, w)
    _check_point(around, w)
    unit = float(jnp.min(jnp.linalg.norm(around.limits, axis=1)))
    largest = _LARGEST * unit if max_radius is None else max_radius
    directions = _directions(around.vectors, num_directions, jr.key(0) if key is None else key)
    if bool(around.is_defined & around.holds):
        found = _search(around, directions, (_FIRST * unit, largest), rtol)
        bracketed = found.low > 0 and math.isfinite(found.high)
        status = Status.located if bracketed else Status.out_of_steps
    else:
        found, status = _Bracket(0.0, 0.0, None), Status.not_unique
    return AttractionRadius(
        w=around.point,
        radius=found.low if math.isfinite(found.high) else None,
        bracket=(found.low, found.high),
        worst=jnp.full(flow.dim, jnp.nan) if found.worst is None else found.worst,
        num_directions=len(directions),
        status=status,
        provenance=provenance(flow.describe(), rtol=rtol, max_radius=largest),
    )


@eqx.filter_jit
def _surroundings(flow: Flow, w: Array) -> Surroundings:
    return surroundings(flow, critical_point(flow.loss, w))


def _check_point(around: Surroundings, w: Array) -> None:
    residual = around.system.loss.gradient(around.point)
    distance = float(jnp.linalg.norm(around.point - w))
    allowed = _CRITICAL * (ascent_length(around.system, w) + float(jnp.linalg.norm(w)))
    if not (float(jnp.linalg.norm(residual)) <= float(around.rounding) and distance <= allowed):
        size = float(jnp.linalg.norm(around.system.loss.gradient(w)))
        raise _checks.ArgumentError(
            f"Argument `w` must be a critical point, but ‖g(w)‖ is {size:.3g}. "
            "Use `sf.find_fixed_points` to find one."
        )
    if int(around.rank) < w.size:
        raise _checks.ArgumentError(
            f"Argument `w` must be an isolated critical point, but the Hessian's rank is "
            f"{int(around.rank)} of {w.size}."
        )


def _directions(vectors: Array, count: int, key: Array) -> Array:
    """Return ± the eigenvectors and `count` random unit vectors; number i depends on i alone."""
    keys = jax.vmap(lambda i: jr.fold_in(key, i))(jnp.arange(count))
    random = jax.vmap(lambda k: jr.normal(k, vectors.shape[1:], vectors.dtype))(keys)
    random = random / jnp.linalg.norm(random, axis=1, keepdims=True)
    return jnp.concatenate([vectors, -vectors, random])


class _Bracket(NamedTuple):
    """The last radius that attracts, the first that does not, and a direction that fails there."""

    low: float
    high: float
    worst: Array | None


def _search(
    around: Surroundings, directions: Array, radii: tuple[float, float], rtol: float
) -> _Bracket:
    """Bracket the radius from `radii`, the first to try and the last."""
    first, largest = radii
    horizon = (10 + 4 * math.log(1 / min(rtol, 1.0))) / float(jnp.min(jnp.abs(around.values)))
    found, radius = _Bracket(0.0, math.inf, None), min(first, largest)
    while found.high - found.low > rtol * found.low and _SMALLEST * first < found.high:
        comes = np.asarray(_come(around, directions, radius, horizon))
        if comes.all():
            found = found._replace(low=radius)
        else:
            found = found._replace(high=radius, worst=directions[int(np.argmin(comes))])
        if found.low >= largest:
            return found
        if math.isinf(found.high):
            radius = min(_GROWTH * found.low, largest)
        else:
            radius = (found.low + found.high) / 2 if found.low > 0 else found.high / _GROWTH
    return found


def _come(around: Surroundings, directions: Array, radius: float, horizon: float) -> Array:
    """Say which of the starts with H(w₀ − w*) = radius · direction come to w* in time."""
    from samflow.orbits.filippov.solution import follow
    from samflow.orbits.segments import SolverSettings  # diffrax, half a second

    offsets = radius * (directions @ around.vectors.T / around.values) @ around.vectors
    distance = jnp.linalg.norm(offsets, axis=1)
    escape = _ESCAPE * (jnp.linalg.norm(around.point) + jnp.max(distance))
    atol = _SOLVER_ATOL * jnp.min(distance)
    settings = SolverSettings(jnp.array([0.0, horizon]), _SOLVER_RTOL, atol, escape)
    end = follow(around.system, around.point + offsets, settings, max_steps=_MAX_STEPS)
    back = jnp.linalg.norm(end.w - around.point, axis=1) <= _RETURNED * distance
    return (end.status == Status.sliding) & back
