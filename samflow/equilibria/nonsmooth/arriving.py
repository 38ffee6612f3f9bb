"""How a flow comes to a critical point at which its rule jumps, or leaves it: the record."""

import enum
from typing import Annotated, NamedTuple

import numpy as np

from samflow._axes import axes

OF_QUADRATIC_PART = " (of the quadratic part)"
_SHOWN = 4
"""Of a long direction so many entries are printed."""


class Evidence(enum.StrEnum):
    """What a statement about a flow rests on."""

    exact = "exact, as the loss is quadratic"
    proved = "proved"
    """On the loss itself, in ball arithmetic."""
    minimised = "by minimisation over the sphere"
    """On the loss itself: the least value found from many starts."""
    quadratic_part = "of the quadratic part"


class Sliding(NamedTuple):
    """How a flow comes to the critical point, or why it does not.

    S(e) is the rate at which ‖g‖ falls at the point in the limit g → 0 along e; of ASAM, ‖Tg‖.

    Attributes:
        evidence: what the kind of the point rests on.
        finite_time: whether the flow arrives, rather than approaching for ever; None where it does
            neither as a whole.
        radius: the flow comes to the point from every ‖Ng‖ < radius around it, N = I but for ASAM
            (N = T); it may be infinite. None where no radius is known. Proved on the loss itself
            where `evidence` says proved or exact, and else of the quadratic part.
        quadratic_radius: that of the quadratic part of the loss; None where none is known.
        least: an interval with the least S; one number where it was found by minimisation. None
            where it was not looked for.
        direction: the direction of the least S.
        rho_end: the first rho at which the least S is 0, as an interval: for every rho up to low
            S > 0 in all directions, at high it is not. high is infinite where nothing fails up to
            low. None where it was not looked for.
        end_evidence: what `rho_end` rests on where that is not `evidence`; None where it is.
        end_direction: the direction that binds at `rho_end`; None where nothing does, or where an
            ascent point leaves the domain of the loss there.
        near: the rho, as an interval, up to which the least S is that of the quadratic part to
            within 1 %, as is proved; None where it was not looked for.
        leaves: a direction in which a solution is proved to leave; None where there is none.
        without_eps: of a rule with eps, a direction in which a solution leaves where eps is 0, as
            is proved; None where there is none.
        reason: why nothing more is known; empty otherwise.
        measured: the radius in ‖Hw‖ that was measured on the loss itself, an upper estimate; None
            where it was not asked for, or where nothing within the largest radius tried fails.

    """

    evidence: Evidence
    finite_time: bool | None = None
    radius: Annotated[float | None, axes(units="loss/weight")] = None
    quadratic_radius: Annotated[float | None, axes(units="loss/weight")] = None
    least: Annotated[tuple[float, float] | None, axes("end", units="loss/weight/time")] = None
    direction: Annotated[tuple[float, ...] | None, axes("weight", units="1")] = None
    rho_end: Annotated[tuple[float, float] | None, axes("end")] = None
    end_evidence: Evidence | None = None
    end_direction: Annotated[tuple[float, ...] | None, axes("weight", units="1")] = None
    near: Annotated[tuple[float, float] | None, axes("end")] = None
    leaves: Annotated[tuple[float, ...] | None, axes("weight", units="1")] = None
    without_eps: Annotated[tuple[float, ...] | None, axes("weight", units="1")] = None
    reason: str = ""
    measured: Annotated[float | None, axes(units="loss/weight")] = None

    @property
    def exact(self) -> bool:
        """Whether what is said holds for the loss itself, not for its quadratic part alone."""
        return self.evidence is not Evidence.quadratic_part

    def __str__(self) -> str:
        """Return one line with what is known."""
        return "; ".join(told(self))


def told(flow: Sliding) -> list[str]:
    """Say in parts what is known of a flow."""
    if flow.leaves is not None:
        parts = [f"a solution leaves along {vector(flow.leaves)}: {flow.evidence}"]
    elif flow.finite_time is None:
        parts = [flow.reason] if flow.reason else []
    else:
        how = "arrives in finite time" if flow.finite_time else "approaches for ever"
        if flow.evidence is Evidence.exact:
            parts = [how if flow.radius is None else f"{how} from ‖g‖ < {flow.radius:.6g}"]
        elif flow.evidence is Evidence.quadratic_part:
            start = "" if flow.radius is None else f" from ‖g‖ < {flow.radius:.6g}"
            parts = [f"{how}{start}{OF_QUADRATIC_PART}"]
        else:
            start = f", from ‖g‖ < {flow.radius:.6g} at least" if flow.radius else ""
            parts = [f"{how}{start}: {flow.evidence}"]
    if flow.without_eps is not None:
        along = vector(flow.without_eps)
        parts.append(f"with eps = 0 a solution leaves along {along}: {Evidence.proved}")
    parts += _rate(flow)
    parts += _ends(flow)
    if flow.measured is not None:
        parts.append(f"measured {flow.measured:.6g}")
    return parts


def _rate(flow: Sliding) -> list[str]:
    """Say at which rate ‖g‖ falls or grows: the proved end; nothing if the sign is not known."""
    if flow.least is None or flow.evidence is Evidence.exact or not np.isfinite(flow.least).all():
        return []
    low, high = flow.least
    where = "" if flow.direction is None else f" along {vector(flow.direction)}"
    bound = "" if f"{low:.5g}" == f"{high:.5g}" else " or more"
    if low > 0:
        return [f"‖g‖ falls at the rate {low:.5g}{bound}, slowest{where}"]
    return [f"‖g‖ first grows at the rate {-high:.5g}{bound}{where}"] if high < 0 else []


def _ends(flow: Sliding) -> list[str]:
    """Say up to which rho this holds, and the quadratic part is near."""
    parts = []
    if flow.rho_end is not None and flow.rho_end[0] > 0 and flow.evidence is not Evidence.exact:
        low, high = flow.rho_end
        beyond = np.isfinite(high) and flow.end_direction is None
        why = ", where an ascent point leaves the domain" if beyond else ""
        how = "" if flow.end_evidence is None else f": {flow.end_evidence}"
        parts.append(f"‖g‖ falls in every direction for {rho_range(low, high)}{why}{how}")
    if flow.near is not None and flow.near[0] > 0 and flow.evidence is not Evidence.exact:
        low, high = flow.near
        parts.append(f"the quadratic part is within 1 % for {rho_range(low, high)}")
    return parts


def rho_range(low: float, high: float) -> str:
    """Say up to which rho something holds, to the digits that its enclosure has."""
    if not np.isfinite(high):
        return f"rho up to {low:.6g} at least"
    for digits in range(6, 2, -1):
        if f"{low:.{digits}g}" == f"{high:.{digits}g}":
            return f"rho < {low:.{digits}g}"
    return f"rho < {low:.4g} at least, {high:.4g} at most"


def vector(direction: tuple[float, ...]) -> str:
    """Return a unit vector; entries that are 0 to a millionth are 0."""
    shown = ", ".join(f"{round(x, 6) + 0.0:.3g}" for x in direction[:_SHOWN])
    return f"({shown}, ...)" if len(direction) > _SHOWN else f"({shown})"
