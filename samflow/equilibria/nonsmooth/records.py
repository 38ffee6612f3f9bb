"""What holds a rule near a critical point where it has no Jacobian: records, and how they read."""

from typing import NamedTuple

import numpy as np

from samflow._status import Kind

OF_QUADRATIC_PART = " (of the quadratic part)"


class Cycle(NamedTuple):
    """The 2-cycles w* ± radius·direction, on the quadratic part of the loss.

    Attributes:
        direction: a unit vector; for SAM an eigenvector of the Hessian.
        curvature: directionᵀ H direction, for SAM the eigenvalue.
        multiplicity: of the eigenspace of such directions; from 2 on the cycles fill a sphere.
        radius: distance of the cycle from the critical point.
        gradient: ‖g‖ on it.
        multipliers: over two steps, in the state, largest first.
        attracts: whether the cycle, or the sphere of cycles as a whole, attracts; None where a
            multiplier is neutral for another reason (a zero eigenvalue).

    """

    direction: tuple[float, ...]
    curvature: float
    multiplicity: int
    radius: float
    gradient: float
    multipliers: tuple[complex, ...]
    attracts: bool | None


class Trap(NamedTuple):
    """A ball of gradients that the map keeps for ever, on the quadratic part of the loss.

    Attributes:
        radius: every orbit ends with ‖g‖ ≤ radius.
        entered_from: if it begins with ‖g‖ < entered_from.
        exponent: the Lyapunov exponent log(1 + η|λ|) inside, where all eigenvalues are one λ < 0
            and chaos is proved; None otherwise.

    """

    radius: float
    entered_from: float
    exponent: float | None


class Sliding(NamedTuple):
    """How a flow comes to the critical point.

    Attributes:
        radius: the flow comes to the point from every ‖Ng‖ < radius, N = I but for ASAM (N = T); it
            may be infinite. None where no radius is known.
        exact: whether the loss is quadratic, so that the radius is proved for the loss itself;
            otherwise it is that of its quadratic part.
        finite_time: whether the flow arrives, rather than approaching for ever.
        measured: the radius in ‖Hw‖ that was measured on the loss itself, an upper estimate; None
            where it was not asked for, or where nothing within the largest radius tried fails.

    """

    radius: float | None
    exact: bool
    finite_time: bool
    measured: float | None = None


class Nonsmooth(NamedTuple):
    """What is known at a critical point without a Jacobian; see `Cycle`, `Trap`, `Sliding`.

    Attributes:
        kind: what the point is; of a map as far as the quadratic part of the loss goes.
        cycles: of a map, attracting or not.
        trap: of a map.
        sliding: of a flow.
        exact: whether the loss is quadratic, so that all is said of the loss itself.

    """

    kind: Kind
    cycles: tuple[Cycle, ...] = ()
    trap: Trap | None = None
    sliding: Sliding | None = None
    exact: bool = False

    @property
    def whose(self) -> str:
        """Say that cycles and traps are those of the quadratic part; empty where they are exact."""
        return OF_QUADRATIC_PART if not self.exact and (self.cycles or self.trap) else ""

    def __str__(self) -> str:
        """Return one line with what holds the system there."""
        return "; ".join(_sentences(self)) or "no set that holds orbits is known"


def _sentences(found: Nonsmooth) -> list[str]:
    parts = []
    for cycle in found.cycles:
        if cycle.attracts:
            sphere = f", {cycle.multiplicity}-fold" if cycle.multiplicity > 1 else ""
            parts.append(
                f"attracting 2-cycle ±{cycle.radius:.6g} along λ = {cycle.curvature:.6g}{sphere}"
                f"{found.whose}"
            )
    if found.trap is not None:
        inside = f"‖g‖ ≤ {found.trap.radius:.6g}"
        start = found.trap.entered_from
        start = f"‖g‖ < {start:.6g}" if np.isfinite(start) else "everywhere"
        parts.append(f"kept in {inside} from {start}{found.whose}")
        if found.trap.exponent is not None:
            parts.append(f"Lyapunov exponent {found.trap.exponent:.6g}{found.whose}")
    if found.sliding is not None:
        how = "arrives in finite time" if found.sliding.finite_time else "approaches for ever"
        if found.sliding.radius is None:
            parts.append(f"{how}, from every direction tried")
        else:
            whose = "" if found.sliding.exact else OF_QUADRATIC_PART
            parts.append(f"{how} from ‖g‖ < {found.sliding.radius:.6g}{whose}")
        if found.sliding.measured is not None:
            parts.append(f"measured {found.sliding.measured:.6g}")
    return parts
