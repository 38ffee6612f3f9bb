"""A branch of fixed points or cycles, and the bifurcations on it."""

import enum
from typing import Annotated, Any, ClassVar, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Complex, Float

from samflow._status import Kind, Status
from samflow.records import AbstractRecord, Names, Provenance, axes
from samflow.systems.leaves import Leaf


class Bifurcation(enum.StrEnum):
    """What happens at a special point of a branch.

    A real multiplier passes +1 (of a flow: an eigenvalue passes 0) at a `fold`, where the branch
    turns back, and where another branch crosses: `transcritical`, `pitchfork`, or `branch_point`
    where the coefficients do not tell. It passes −1 at a `flip`. A complex pair passes the unit
    circle at `neimark_sacker`, of a flow the imaginary axis at `hopf`. At `border_collision` a
    point of a cycle meets a point where the system is not smooth.
    """

    fold = "fold"
    transcritical = "transcritical"
    pitchfork = "pitchfork"
    branch_point = "branch point"
    flip = "flip"
    neimark_sacker = "Neimark–Sacker"
    hopf = "Hopf"
    border_collision = "border collision"


class SpecialPoint(NamedTuple):
    """A bifurcation on a branch.

    Attributes:
        kind: which.
        parameter: where.
        interval: two values of the parameter between which it was located, low first.
        error: estimate of how far `parameter` may be off, from the last Newton step and rounding.
        state: the state there.
        spectrum: multipliers (map) or eigenvalues (flow), the critical one first.
        coefficient: of the critical normal form (see `equilibria.normal_forms`); NaN where it is
            not defined or not known.
        criticality: "supercritical" where what bifurcates attracts within the critical
            directions, "subcritical" where it repels; "degenerate" where the coefficient is 0 to
            rounding; empty for folds, transcritical points and borders.
        status: `located`, or `residual_too_large` where the bracket could not be narrowed.
        index: it lies between the points `index` and `index + 1` of the branch.
        direction: the critical eigenvector, or the tangent of the branch that crosses.

    """

    kind: Bifurcation
    parameter: float
    interval: Annotated[tuple[float, float], axes("end")]
    error: float
    state: Annotated[tuple[float, ...], axes("state")]
    spectrum: Annotated[tuple[complex, ...], axes("event_mode", units="1")]
    coefficient: float
    criticality: str
    status: Status
    index: int
    direction: Annotated[tuple[float, ...], axes("event_unknown")]

    def __str__(self) -> str:
        """Return one line, as `supercritical flip at 0.3675 ± 1e-15, coefficient 1.2`."""
        text = f"{self.criticality} {self.kind}".strip()
        text += f" at {self.parameter:.9g} ± {self.error:.0e}"
        return text + (
            f", coefficient {self.coefficient:.6g}" if np.isfinite(self.coefficient) else ""
        )


class Branch(AbstractRecord):
    """Fixed points, or cycles of one period, along a parameter.

    Attributes:
        states: a state of each point, shape (points, state); of a cycle one of its points.
        cycles: all states of it, in the order of the motion, shape (points, period, state).
        parameter: its value at each point, shape (points,).
        spectrum: multipliers of F^period (map) or eigenvalues (flow), largest first.
        kinds: attracting, repelling, saddle or nonhyperbolic, one a point.
        special: the bifurcations, in the order of the branch.
        ends: why the branch ends at its first and at its last point: reached bound, closed,
            unbounded, out of steps, step size vanished, border, shrunk (to a cycle of a shorter
            period), or shrunk to rest (of a return map).
        leaf: the parameter: its name, and its place in the system.
        period: of the cycles; 1 for fixed points.
        discrete: whether the system is a map.
        bounds: of the parameter.
        unit: what counted as 1 of each entry of a state, and of the parameter.

    """

    rows: ClassVar[Names] = ("event",)
    printed: ClassVar[Names] = (
        "event_kind",
        "event_parameter",
        "event_error",
        "event_coefficient",
        "event_criticality",
        "event_status",
    )
    states: Float[np.ndarray, "points state"] = eqx.field(metadata=axes("point", "state"))
    cycles: Float[np.ndarray, "points period state"] = eqx.field(
        metadata=axes("point", "phase", "state")
    )
    parameter: Float[np.ndarray, " points"] = eqx.field(metadata=axes("point"))
    spectrum: Complex[np.ndarray, "points state"] = eqx.field(metadata=axes("point", "mode"))
    kinds: tuple[Kind, ...] = eqx.field(
        static=True, metadata=axes("point", rename={"kinds": "kind"})
    )
    special: tuple[SpecialPoint, ...] = eqx.field(
        static=True, metadata=axes("event", prefix="event_")
    )
    ends: tuple[Status, Status] = eqx.field(
        static=True, metadata=axes("end_of_branch", labels={"end_of_branch": ("first", "last")})
    )
    leaf: Leaf = eqx.field(static=True, metadata=axes(prefix="parameter_"))
    period: int = eqx.field(static=True)
    discrete: bool = eqx.field(static=True)
    bounds: tuple[float, float] = eqx.field(static=True, metadata=axes("end"))
    unit: Float[np.ndarray, " unknowns"] = eqx.field(metadata=axes("unknown"))
    provenance: Provenance = eqx.field(static=True)

    def __len__(self) -> int:
        return len(self.parameter)

    @property
    def name(self) -> str:
        """What the parameter is called."""
        return self.leaf.name

    def of(self, kind: Bifurcation | str) -> tuple[SpecialPoint, ...]:
        """Return the bifurcations of one kind."""
        return tuple(point for point in self.special if point.kind == Bifurcation(kind))

    def at(self, value: float) -> Any:
        """Return the states at which the branch passes a value, shape (passages, state).

        By linear interpolation between points.
        """
        gap = self.parameter - value
        crossed = np.flatnonzero((gap[:-1] * gap[1:] < 0) | (gap[:-1] == 0))
        step = gap[crossed] - gap[crossed + 1]  # 0 where the branch stands upright, at its value
        share = (gap[crossed] / np.where(step == 0, 1.0, step))[:, None]
        between = (1 - share) * self.states[crossed] + share * self.states[crossed + 1]
        last = self.states[-1:] if gap[-1] == 0 else self.states[:0]
        return np.vstack([between, last])

    def __str__(self) -> str:
        """Return the range, the stretches of one kind, the ends and the bifurcations."""
        what = "fixed points" if self.period == 1 else f"cycles of period {self.period}"
        low, high = self.parameter.min(), self.parameter.max()
        text = f"branch of {what}, {len(self)} points, {self.name} in [{low:.6g}, {high:.6g}]"
        first, last = self.ends
        ends = str(first) if first is last else f"{first}, {last}"
        found = [f"  {point}" for point in self.special] or ["  no bifurcation found"]
        return "\n".join([f"{text}; ends: {ends}", *found])
