"""The radius of {‖g‖ ≤ r} about a critical point that is proved to be kept by SAM's flow."""

import math
from typing import Any

import numpy as np
from flint import arb

from samflow.proofs._krawczyk import approximate_inverse
from samflow.proofs._sliding_search import Search
from samflow.proofs.balls import Balls, span, spans
from samflow.proofs.bounds import Cell, Failure, first_failure, layered, minimise
from samflow.proofs.coarse_radius import coarse_radius
from samflow.proofs.directions import sphere
from samflow.proofs.falling import Lengths, Surroundings

_RTOL = 0.01
_SHARE = 32
"""Within the radius that is kept ‖g‖ falls at this part of the rate at w* at least."""
_FIRST, _LAST = 64.0, 16.0
"""The search begins with a layer of this part of rho times the smallest |λ|, and ends at the last
times rho times the largest."""
_TIED = 2
"""In up to so many dimensions the radius is found by cutting directions."""


def kept_radius(search: Search, least: float) -> dict[str, Any]:
    """Return the radius that is kept, what limits it, and the time of arrival."""
    step, dim = search.step, len(search.centre)
    if step.limit_only:
        return {"radius_limit": "not sought for a rule that is of this form in the limit alone"}
    if step.scale is not None or step.keeps_length:
        return {"radius_limit": "not sought for a rule with a scale, or that keeps a length"}
    inverse = approximate_inverse(search.rate.hessian)
    if inverse is None or not (least > 0 or step.eps):
        return {"radius": 0.0, "radius_limit": "the least S is not positive"}
    floor = 0.0 if step.eps else least / _SHARE
    sizes = sorted(abs(float(lam)) for lam in search.lams)
    if dim > _TIED:
        return _coarse(search, inverse, least, floor, step.rho * sizes[-1])
    around = Surroundings(search.equations, search.centre, step, inverse)
    first, last = step.rho * sizes[0] / _FIRST, step.rho * sizes[-1] * _LAST
    if step.eps:
        first = min(first, step.eps / _FIRST)
    kept = first_failure(
        around,
        layered(dim, first, last),
        rtol=_RTOL,
        max_cells=search.max_cells,
        floor=floor,
    )
    if not kept.low > 0:
        return {"radius": 0.0, "radius_limit": "too few cells"}
    cells = [Cell(patch, ((kept.low, kept.low),)) for patch in sphere(dim)]
    shortest = minimise(Lengths(around), cells, rtol=_RTOL, max_cells=search.max_cells)
    # Less than ‖g‖ on the boundary of what was examined, which solutions then do not reach.
    size = math.nextafter(span(arb(kept.low) * max(shortest.low, 0.0))[0], 0.0)
    arrival = np.inf if step.eps or not size else span(arb(size) / kept.least)[1]
    return {"radius": size, "time": arrival, "radius_limit": _limit(around, kept)}


def _coarse(
    search: Search, inverse: list[Balls], least: float, floor: float, first: float
) -> dict[str, Any]:
    if search.step.eps or search.step.share != 1:
        limit = f"not sought in more than {_TIED} dimensions with eps or a share"
        return {"radius": 0.0, "radius_limit": limit}
    kept = coarse_radius(
        search.equations,
        search.centre,
        inverse,
        rho=search.step.rho,
        least=least,
        floor=floor,
        first=first,
    )
    time = span(arb(kept.radius) / kept.rate)[1] if kept.rate > 0 else np.inf
    limit = f"in more than {_TIED} dimensions e is free, so that larger radii may be kept"
    return {"radius": kept.radius, "time": time, "radius_limit": limit}


def _limit(around: Surroundings, kept: Failure) -> str:
    """Say what ended the search for a larger radius."""
    if kept.direction is not None:
        return f"‖g‖ does not fall fast enough at g/‖g‖ ≈ {_shown(kept.direction)}"
    if kept.first is None:
        return "the end of the search"
    place = ", ".join(f"[{low:.4g}, {high:.4g}]" for low, high in spans(around.point(kept.first)))
    if not around.length(kept.first).value > 0:
        return f"another critical point may lie in {place}"
    return f"not decided around {place}"


def _shown(direction: tuple[float, ...]) -> str:
    return f"({', '.join(f'{x:.4g}' for x in direction)})"
