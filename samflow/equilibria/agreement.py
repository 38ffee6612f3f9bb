"""Whether orbits do what theory says of the point near which they begin."""

from collections.abc import Sequence

import numpy as np

from samflow._status import Kind
from samflow.equilibria.following import LONGEST_PERIOD
from samflow.equilibria.nonsmooth.records import Nonsmooth

_EXPECTED = {
    Kind.attracting: {"attractor"},
    Kind.sliding: {"slides", "attractor"},
    Kind.cycle: {"cycle"},
    Kind.rotation: {"trap", "cycle"},
    Kind.trap: {"trap", "cycle", "attractor"},
    Kind.chaotic_trap: {"trap"},
}
_COMES = {"attractor", "slides"}
_ALIKE = 2.0
"""The distances of a cycle of the quadratic part are those on the loss within this factor."""
_SEEN = 1e-2
"""An orbit whose largest distance is a located cycle's to this part is on it."""


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
        if kind is Kind.cycle and local is not None:
            # Orbits on a cycle of a longer period than is looked for in them are seen as trapped.
            seen = {"cycle", "trap"}
            differ = any(
                fates[i] not in seen or not _on_a_cycle(local, int(periods[i]), float(far[i]))
                for i in known
            )
        else:
            differ = any(fates[i] not in _EXPECTED[kind] for i in known)
    else:
        differ = False
    return f"orbits differ from theory, which predicts: {_said(kind, local)}" if differ else ""


def _on_a_cycle(local: Nonsmooth, period: int, far: float) -> bool:
    """Say whether a cycle of this period and largest distance is one of those that are known.

    Period 0, of an orbit without a period that was seen, agrees with the longer ones, and with
    anything where orbits that turn on no located cycle are known beside.
    """
    if local.on_loss is not None:
        if not period and "turns" in local.on_loss.outcomes:
            return True
        return any(
            (cycle.period == period if period else cycle.period > LONGEST_PERIOD)
            and abs(far - cycle.farthest) <= _SEEN * cycle.farthest
            for cycle in local.cycles_on_loss
        )
    radii = [cycle.radius for cycle in local.cycles if cycle.attracts]
    return period == 2 and any(radius / _ALIKE <= far <= _ALIKE * radius for radius in radii)


def _said(kind: Kind, local: Nonsmooth | None) -> str:
    if local is None:
        return str(kind)
    if kind is Kind.cycle and local.on_loss is not None:
        return f"a {' or a '.join(map(str, local.cycles_on_loss))}"
    if kind is Kind.cycle and local.two_cycle is not None:
        return f"a 2-cycle ±{local.two_cycle.radius:.6g}{local.whose}"
    return f"{kind}{local.whose}"
