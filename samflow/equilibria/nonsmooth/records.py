"""What holds a rule near a critical point where it has no Jacobian: records, and how they read."""

from collections import Counter
from fractions import Fraction
from typing import Annotated, NamedTuple

import numpy as np

from samflow._axes import axes
from samflow._status import Kind
from samflow.equilibria.nonsmooth.arriving import OF_QUADRATIC_PART, Sliding, told


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

    direction: Annotated[tuple[float, ...], axes("weight", units="1")]
    curvature: Annotated[float, axes(units="loss/weight^2")]
    multiplicity: int
    radius: Annotated[float, axes(units="weight")]
    gradient: Annotated[float, axes(units="loss/weight")]
    multipliers: Annotated[tuple[complex, ...], axes("cycle_mode", units="1")]
    attracts: bool | None


class LossCycle(NamedTuple):
    """An attracting cycle of the map on the loss itself, located by Newton's method.

    Attributes:
        period: q.
        negative: of the q steps so many begin on the negative side. The sides are those of the
            eigenvector along which the gradient changes most. It points to the side where the
            slope an ascent step away is the steeper; if both are equal, its largest entry is
            positive.
        curvature: its eigenvalue.
        nearest: least distance of its points from the critical point.
        farthest: largest distance.
        multipliers: over the whole period, in the state, largest first.
        residual: how far the points are off after a period.

    """

    period: int
    negative: int
    curvature: Annotated[float, axes(units="loss/weight^2")]
    nearest: Annotated[float, axes(units="weight")]
    farthest: Annotated[float, axes(units="weight")]
    multipliers: Annotated[tuple[complex, ...], axes("loss_cycle_mode", units="1")]
    residual: Annotated[float, axes(units="weight")]

    @property
    def rotation(self) -> Fraction:
        """The rotation number: the share of steps that begin on the negative side."""
        return Fraction(self.negative, self.period)

    def __str__(self) -> str:
        """Return a line, as in `7-cycle, rotation 4/7 along λ = 2, 0.000562 to 0.0111 away`."""
        away = f"{self.nearest:.3g} to {self.farthest:.3g} away"
        turns = 0 < self.negative < self.period
        motion = f"rotation {self.rotation}" if turns else "on one side"
        return f"{self.period}-cycle, {motion} along λ = {self.curvature:.6g}, {away}"


class OnLoss(NamedTuple):
    """What orbits from beside the critical point come to on the loss itself.

    Attributes:
        cycles: the attracting cycles that they come to, located.
        outcomes: for each start "cycle", "turns" (stays near and changes sides, but no cycle was
            located), "one side" (stays near without changing sides, and no cycle was located),
            "elsewhere" (came to a cycle that is not about the point), "leaves", or "undefined".
        share: of steps that begin on the negative side, of the orbits that change sides.
        max_period: the longest period that was looked for.
        quadratic_rho: the rho up to which the quadratic part's 2-cycle is the loss's to 1 %, to
            leading order; None where it has none that attracts, or where that is not known.
        growth: the Lyapunov exponent measured on the loss, the mean over orbits that change sides
            and come to no cycle; None where there are none.

    """

    cycles: Annotated[tuple[LossCycle, ...], axes("loss_cycle")]
    outcomes: Annotated[tuple[str, ...], axes("loss_start")]
    share: float
    max_period: int
    quadratic_rho: float | None = None
    growth: Annotated[float | None, axes(units="1/step")] = None

    @property
    def turning(self) -> str:
        """Say that orbits stay and change sides, but that no cycle was located."""
        return f"rotation {self.share:.4g}, no cycle up to period {self.max_period}"

    @property
    def measured(self) -> str:
        """Say how fast orbits near each other part on the loss; empty where none were followed."""
        return "" if self.growth is None else f"Lyapunov exponent {self.growth:.3g} on the loss"

    @property
    def without(self) -> str:
        """Say what orbits do that neither come to a cycle nor change sides."""
        said = {
            "leaves": "leave",
            "one side": "stay on one side",
            "undefined": "meet a point where the rule is not defined",
            "turns": "change sides without one",
            "elsewhere": "come to a cycle about another point",
        }
        counts = Counter(self.outcomes)
        return "orbits " + ", ".join(
            said[name] + (f" ({many} of {len(self.outcomes)})" if len(counts) > 1 else "")
            for name, many in counts.items()
        )


class Trap(NamedTuple):
    """A ball of gradients that the map keeps for ever, on the quadratic part of the loss.

    Attributes:
        radius: every orbit ends with ‖g‖ ≤ radius.
        entered_from: if it begins with ‖g‖ < entered_from.
        exponent: the Lyapunov exponent log(1 + η|λ|) inside, where all eigenvalues are one λ < 0
            and chaos is proved; None otherwise.

    """

    radius: Annotated[float, axes(units="loss/weight")]
    entered_from: Annotated[float, axes(units="loss/weight")]
    exponent: Annotated[float | None, axes(units="1/step")]


class Nonsmooth(NamedTuple):
    """What is known at a critical point without a Jacobian; see `Cycle`, `Trap`, `Sliding`.

    Attributes:
        kind: what the point is; of a map on the loss itself where `on_loss` decides it, and else
            as far as the quadratic part of the loss goes. Of a flow `saddle` where a solution is
            proved to leave it.
        cycles: of a map on the quadratic part, attracting or not.
        trap: of a map on the quadratic part.
        sliding: of a flow.
        exact: whether the loss is quadratic, so that all is said of the loss itself.
        on_loss: the cycles of a map on the loss itself; None on a quadratic of which theory knows
            them, and where they are not looked for: a singular Hessian, more than 64 states, weight
            decay, a loss that Python computes.

    """

    kind: Kind
    cycles: Annotated[tuple[Cycle, ...], axes("local_cycle")] = ()
    trap: Trap | None = None
    sliding: Sliding | None = None
    exact: bool = False
    on_loss: OnLoss | None = None

    @property
    def whose(self) -> str:
        """Say that the kind is one of the quadratic part; empty where it is the loss's."""
        if self.decided_on_loss:
            return ""
        return OF_QUADRATIC_PART if not self.exact and (self.cycles or self.trap) else ""

    @property
    def decided_on_loss(self) -> bool:
        """Whether orbits and cycles of the loss itself decide the kind."""
        return self.on_loss is not None and self.kind in (Kind.cycle, Kind.rotation)

    @property
    def refuted_by_orbits(self) -> bool:
        """Whether orbits on the loss do otherwise than the quadratic part has it."""
        if self.on_loss is None:
            return False
        away = {"leaves", "elsewhere", "undefined"} & set(self.on_loss.outcomes)
        return bool(away) or self.kind is Kind.undefined

    @property
    def cycles_on_loss(self) -> tuple[LossCycle, ...]:
        """The attracting cycles on the loss itself, as far as they are located."""
        return () if self.on_loss is None else self.on_loss.cycles

    @property
    def two_cycle(self) -> Cycle | None:
        """The 2-cycle of the quadratic part that attracts there, if one does."""
        return next((cycle for cycle in self.cycles if cycle.attracts), None)

    def __str__(self) -> str:
        """Return one line with what holds the system there."""
        return "; ".join(_sentences(self)) or "no set that holds orbits is known"


def _sentences(found: Nonsmooth) -> list[str]:
    parts = _of_loss(found)
    whose = "" if found.exact else OF_QUADRATIC_PART
    for cycle in found.cycles:
        if cycle.attracts:
            sphere = f", {cycle.multiplicity}-fold" if cycle.multiplicity > 1 else ""
            parts.append(
                f"attracting 2-cycle ±{cycle.radius:.6g} along λ = {cycle.curvature:.6g}{sphere}"
                f"{_up_to(found) or whose}"
            )
    if found.trap is not None:
        inside = f"‖g‖ ≤ {found.trap.radius:.6g}"
        start = found.trap.entered_from
        start = f"‖g‖ < {start:.6g}" if np.isfinite(start) else "everywhere"
        if not found.refuted_by_orbits:
            parts.append(f"kept in {inside} from {start}{whose}")
        if found.kind is Kind.chaotic_trap and found.trap.exponent is not None:
            exponent = f"Lyapunov exponent {found.trap.exponent:.6g}{whose}"
            on_loss = "" if found.on_loss is None else found.on_loss.measured
            parts += [on_loss, exponent] if on_loss else [exponent]
    if found.sliding is not None:
        parts += told(found.sliding)
    return parts


def _of_loss(found: Nonsmooth) -> list[str]:
    """Say what is there on the loss itself."""
    on_loss, cycles = found.on_loss, found.cycles_on_loss
    if on_loss is None:
        return []
    if cycles:
        named = [f"{each}, multiplier {abs(each.multipliers[0]):.3g}" for each in cycles]
        return [f"attracting on the loss: {' and '.join(named)}"]
    if found.kind is Kind.rotation:
        return [", ".join(filter(None, [on_loss.turning, on_loss.measured]))]
    if found.two_cycle is not None or (found.trap is not None and found.kind is Kind.undefined):
        return [f"no attracting cycle was located on the loss: {on_loss.without}"]
    return []


def _up_to(found: Nonsmooth) -> str:
    """Say up to which rho the 2-cycle of the quadratic part is the loss's."""
    rho = None if found.on_loss is None else found.on_loss.quadratic_rho
    if rho is None:
        return ""
    said = "for every rho" if np.isinf(rho) else f"for rho below about {rho:.3g}"
    return f"{OF_QUADRATIC_PART[:-1]}, to 1 % {said})"
