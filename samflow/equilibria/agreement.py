"""Whether orbits do what theory says of the point near which they begin."""

from collections.abc import Sequence

import numpy as np

from samflow._status import Kind
from samflow.equilibria.nonsmooth.records import Nonsmooth

_EXPECTED = {
    Kind.attracting: {"attractor"},
    Kind.sliding: {"slides", "attractor"},
    Kind.cycle: {"cycle"},
    Kind.trap: {"trap", "cycle", "attractor"},
    Kind.chaotic_trap: {"trap"},
}
_COMES = {"attractor", "slides"}
_ALIKE = 2.0
"""The distances of a cycle are those foretold within this factor: rho is small, not 0."""


def disagreement(
    kind: Kind, local: Nonsmooth | None, fates: Sequence[str], periods: np.ndarray, far: np.ndarray
) -> str:
    """Say in a few words that orbits do otherwise than `kind` says; empty where they do not.

    What is undecided or undefined contradicts nothing, nor does a kind that says nothing.
    """
    known = [i for i, fate in enumerate(fates) if fate not in ("undecided", "undefined")]
    if kind in (Kind.repelling, Kind.saddle):
        differ = bool(known) and all(fates[i] in _COMES for i in known)
    elif kind in _EXPECTED:
        differ = any(fates[i] not in _EXPECTED[kind] for i in known)
        if kind is Kind.cycle and local is not None and not differ:
            radii = [cycle.radius for cycle in local.cycles if cycle.attracts]
            differ = any(periods[i] != 2 or not _alike(far[i], radii) for i in known)
    else:
        differ = False
    return f"orbits differ from theory, which predicts: {_said(kind, local)}" if differ else ""


def _alike(far: float, radii: Sequence[float]) -> bool:
    return any(radius / _ALIKE <= far <= _ALIKE * radius for radius in radii)


def _said(kind: Kind, local: Nonsmooth | None) -> str:
    for cycle in () if local is None else local.cycles:
        if kind is Kind.cycle and cycle.attracts:
            return f"a 2-cycle ±{cycle.radius:.6g}{'' if local is None else local.whose}"
    return f"{kind}{'' if local is None else local.whose}"
