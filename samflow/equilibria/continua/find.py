"""Continua of fixed points of a system: found exactly or numerically, and what lies across."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from samflow._status import Kind
from samflow.equilibria.continua.across import Across, across, event_between, windows
from samflow.equilibria.continua.geometry import Geometry, curves, sheets
from samflow.equilibria.continua.records import Change, Continuum, SingularPoint
from samflow.equilibria.continua.zeros import Compiled, Zeros
from samflow.records import Provenance
from samflow.systems import AbstractMap, AbstractSystem

_BISECTIONS = 48
_MAX_CHANGES = 8
"""Of a surface so many places where the kind changes are located."""
_VANISHES = 1e-7
"""An eigenvalue across counts as 0 at a dip where it is at most this part of its largest."""
_GOLDEN = 0.5 * (3 - 5**0.5)
_DIP_STEPS = 60
_NARROW = 1e-4
"""Of the distance of samples: how well the place of an extreme edge is located; its value is known
to the square."""
_FLAT = 1e-9
_SAME = 1e-4
"""A dip this near to a crossing, in units of the box, is the crossing."""


def followed(function: Callable[..., Any], points: np.ndarray, box: Any) -> list[Geometry]:
    """Return the curves and surfaces through zeros found by Newton's method.

    Args:
        function: what vanishes; a `jax.tree_util.Partial`.
        points: zeros that others may lie next to, shape (k, n).
        box: where.

    """
    zeros = Zeros.of(Compiled(function), box, points)
    starts = zeros.units(points)
    kernels = np.array([zeros.dimension(u) for u in starts])
    found: list[Geometry] = []
    for dimension in sorted(set(kernels.tolist()) - {0}):
        own = starts[(kernels == dimension) & ~_held(found, starts)]
        if not len(own):
            continue
        planes = np.zeros((len(own), own.shape[1], 0))
        ends, solved = zeros.solve(own, planes, own.shape[1] - dimension)
        seeds = ends[solved & zeros.inside(ends)]
        found += curves(zeros, seeds) if dimension == 1 else sheets(zeros, seeds, dimension)
    return found


def _held(found: Sequence[Geometry], u: np.ndarray) -> np.ndarray:
    """Say which points lie on a curve that is known, as crossings do."""
    held = [[c.meets(c.zeros.weights(x)) for c in found if c.dimension == 1] for x in u]
    return np.array([any(one) for one in held], dtype=bool)


class About(NamedTuple):
    """What a record says of its own making."""

    number: int
    rule: str
    provenance: Provenance


def continuum(system: AbstractSystem, geometry: Geometry, about: About) -> Continuum:
    """Return what lies across a continuum for a system, and where that changes along it."""
    w, tangents = geometry.w, geometry.tangents
    seen = across(system, w, tangents)
    curve = geometry.dimension == 1
    lengths = np.linalg.norm(np.diff(w, axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(lengths)]) if curve else np.full(len(w), np.nan)
    loss: Any = getattr(system, "loss", None)
    middle = len(w) // 2
    value = float(loss(w[middle])) if loss is not None else float("nan")
    edges = [windows(system, one) for one in seen]
    return Continuum(
        dimension=geometry.dimension,
        w=w,
        tangents=tangents,
        arc=arc,
        closed=geometry.closed,
        ends=geometry.ends,
        equations=geometry.equations,
        parametrisation=geometry.parametrisation,
        proved=geometry.proved,
        loss=value,
        curvature=np.array([one.curvature for one in seen]),
        spectrum=np.array([one.spectrum for one in seen]),
        kinds=tuple(one.kind for one in seen),
        lr_window=np.array([in_lr for in_lr, _ in edges]),
        rho_window=np.array([in_rho for _, in_rho in edges]),
        lr_edges=_edges(system, geometry, 0, np.array([in_lr for in_lr, _ in edges])),
        rho_edges=_edges(system, geometry, 1, np.array([in_rho for _, in_rho in edges])),
        changes=_changes(system, geometry, seen, arc),
        singular=_singular(system, geometry, seen),
        number=about.number,
        rule=about.rule,
        discrete=isinstance(system, AbstractMap),
        provenance=about.provenance,
    )


def _at(system: AbstractSystem, geometry: Geometry, i: int, j: int, share: float) -> Any:
    """Return weights and what lies across between two samples; None where that is not solved."""
    found = geometry.between(i, j, share)
    if found is None:
        return None
    w = geometry.zeros.weights(found[0])
    return w, across(system, w[None], found[1][None], neutral=0.0)[0]


def _changes(
    system: AbstractSystem, geometry: Geometry, seen: Sequence[Across], arc: np.ndarray
) -> tuple[Change, ...]:
    """Locate the changes of kind between neighbours, past samples that lie on a threshold."""
    curve = geometry.dimension == 1
    if curve:
        plain = [i for i, one in enumerate(seen) if one.kind is not Kind.nonhyperbolic]
        pairs = list(itertools.pairwise(plain))
    else:
        pairs = geometry.pairs.tolist()
    pairs = [(i, j) for i, j in pairs if seen[i].kind is not seen[j].kind]
    if not curve:
        pairs = pairs[:: max(1, len(pairs) // _MAX_CHANGES)][:_MAX_CHANGES]
    found = [_located(system, geometry, seen, arc, i, j) for i, j in pairs]
    return tuple(change for change in found if change is not None)


def _located(
    system: AbstractSystem,
    geometry: Geometry,
    seen: Sequence[Across],
    arc: np.ndarray,
    i: int,
    j: int,
) -> Change | None:
    """Bisect the change of kind between two samples."""
    low, high, ends = 0.0, 1.0, [seen[i], seen[j]]
    for _ in range(_BISECTIONS):
        middle = _at(system, geometry, i, j, 0.5 * (low + high))
        if middle is None:
            break
        if middle[1].kind is ends[0].kind:
            low, ends[0] = 0.5 * (low + high), middle[1]
        else:
            high = 0.5 * (low + high)
            ends[1] = middle[1] if middle[1].kind is not Kind.nonhyperbolic else ends[1]
        if middle[1].kind is Kind.nonhyperbolic:
            break
    place = _at(system, geometry, i, j, high)
    w = geometry.w
    at = geometry.zeros.weights(geometry.guess(i, j, high)) if place is None else place[0]
    chord = float(np.linalg.norm(w[j] - w[i]))
    along = float(arc[i] + np.linalg.norm(at - w[i])) if geometry.dimension == 1 else float("nan")
    before, after = seen[i].kind, seen[j].kind
    event = event_between(system, *ends)
    error = max((high - low) * chord, 1e-15 * float(np.abs(at).max()))
    return Change(tuple(map(float, at)), along, before, after, event, error)


def _singular(
    system: AbstractSystem, geometry: Geometry, seen: Sequence[Across]
) -> tuple[SingularPoint, ...]:
    """Return the crossings that are known, and dips of a curve's least curvature across to 0."""
    known = list(geometry.singular)
    sizes = np.array([_least(system, one) for one in seen])
    if geometry.dimension > 1 or not np.isfinite(sizes).all() or len(sizes) < 3:
        return tuple(known)
    unit = float(sizes.max())
    if (np.array([one.kind for one in seen]) == Kind.nonhyperbolic).all():
        return tuple(known)  # degenerate all along
    for i in range(1, len(sizes) - 1):
        if sizes[i] > min(sizes[i - 1], sizes[i + 1]) or sizes[i] > 0.5 * unit:
            continue
        place = _dip(system, geometry, i, lambda one: _least(system, one))
        if place is None or not place[1] <= _VANISHES * unit:
            continue
        scale = geometry.zeros.size
        near = [np.linalg.norm((place[0] - np.array(p.w)) / scale) <= _SAME for p in known]
        if not any(near):
            known.append(SingularPoint(tuple(map(float, place[0])), "degenerate", False))
    return tuple(known)


def _least(system: AbstractSystem, one: Across) -> float:
    """Return the least size of an eigenvalue across: of the Hessian, or of what must vanish."""
    if np.isfinite(one.curvature).all():
        return float(np.abs(one.curvature).min(initial=np.inf))
    shift = 1.0 if isinstance(system, AbstractMap) else 0.0
    return float(np.abs(one.spectrum - shift).min(initial=np.inf))


def _dip(
    system: AbstractSystem,
    geometry: Geometry,
    i: int,
    measure: Callable[[Across], float],
    width: float = 1e-9,
) -> tuple[np.ndarray, float] | None:
    """Minimise a measure of what lies across between the neighbours of sample i, by golden section.

    Returns:
        Where it is least and how much, to a part of the distance of samples; None where no point
        between them is solved for.

    """

    def size(s: float) -> tuple[np.ndarray, float] | None:
        found = _at(system, geometry, *((i - 1, i, s) if s <= 1 else (i, i + 1, s - 1)))
        return None if found is None else (found[0], measure(found[1]))

    low, high = 0.0, 2.0
    inner = [low + _GOLDEN * (high - low), high - _GOLDEN * (high - low)]
    values = [size(s) for s in inner]
    for _ in range(_DIP_STEPS):
        first, second = values
        if first is None or second is None:
            return first or second
        if first[1] <= second[1]:
            high, inner, values = inner[1], [0.0, inner[0]], [None, first]
            inner[0] = low + _GOLDEN * (high - low)
            values[0] = size(inner[0])
        else:
            low, inner, values = inner[0], [inner[1], 0.0], [second, None]
            inner[1] = high - _GOLDEN * (high - low)
            values[1] = size(inner[1])
        if high - low < width:
            break
    ends = [value for value in values if value is not None]
    return min(ends, key=lambda pair: pair[1]) if ends else None


def _edges(
    system: AbstractSystem, geometry: Geometry, which: int, window: np.ndarray
) -> tuple[float, float]:
    """Return the least and the largest upper end of a window along a continuum; NaN without any.

    Args:
        system: a map or a flow.
        geometry: the continuum.
        which: 0 for lr, 1 for rho.
        window: both ends at the samples, shape (samples, 2).

    """
    ends = window[:, 1]
    known = np.isfinite(ends) & (ends > 0)
    if not known.any():
        return float("nan"), float("nan")
    found = []
    for sign in (1.0, -1.0):
        signed = np.where(known, sign * ends, np.inf)
        i = int(signed.argmin())
        best = float(signed[i])

        def measure(one: Across, sign: float = sign) -> float:
            end = sign * windows(system, one)[which][1]
            return end if np.isfinite(end) and end != 0 else np.inf

        flat = float(np.ptp(ends[known])) <= _FLAT * float(ends[known].max())
        if geometry.dimension == 1 and 0 < i < len(ends) - 1 and not flat:
            place = _dip(system, geometry, i, measure, _NARROW)
            best = best if place is None else min(best, place[1])
        found.append(sign * best)
    return found[0], found[1]
