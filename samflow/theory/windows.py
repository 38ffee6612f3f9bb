"""Intervals of a parameter in which a critical point attracts, with what happens at each end."""

import enum
import functools
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import sympy

from samflow._axes import axes
from samflow.theory.conditions import CUBIC, edge, effective_curvature, flip_threshold
from samflow.theory.symbols import lam, latex, lr, rho, text


class Event(enum.StrEnum):
    """What happens at the end of a window."""

    plus_one = "plus_one"
    """A multiplier passes +1; in a flow, an eigenvalue passes 0."""
    flip = "flip"
    """A multiplier passes −1."""
    neimark_sacker = "neimark_sacker"
    """A complex pair of multipliers crosses the unit circle."""
    grows = "grows"
    """‖g‖ no longer falls from every direction; in a flow that jumps at the point."""
    outside = "outside"
    """An ascent point leaves the domain of the loss."""
    unknown = "unknown"
    """What is known ends: the proof or the search came no further."""
    none = "none"
    """Nothing: the end of the parameter's own domain, or infinity."""


@dataclass(frozen=True)
class Endpoint:
    """One end of a window.

    Attributes:
        value: where it is; may be infinite.
        event: what happens there.
        closed: whether the end itself belongs to the window.
        eigenvalue: the Hessian eigenvalue that binds; None at the end of the domain.
        enclosure: two doubles that are proved to have the end between them; None where nothing is
            proved, and at the end of the domain.
        direction: the direction of g/‖g‖ that binds; None where an eigenvalue or nothing does.

    """

    value: sympy.Expr
    event: Event
    closed: bool = False
    eigenvalue: sympy.Expr | None = None
    enclosure: Annotated[tuple[float, float] | None, axes("end")] = None
    direction: Annotated[tuple[float, ...] | None, axes("weight", units="1")] = None

    def to_dict(self) -> dict[str, Any]:
        """Return numbers and texts by name; infinity becomes None, a formula its text."""
        return {
            "value": _plain(self.value),
            "event": str(self.event),
            "closed": self.closed,
            "eigenvalue": None if self.eigenvalue is None else _plain(self.eigenvalue),
            "enclosure": None if self.enclosure is None else list(self.enclosure),
            "direction": None if self.direction is None else list(self.direction),
        }


@dataclass(frozen=True)
class Window:
    """An interval of `parameter`, from `low` to `high`.

    Attributes:
        parameter: the symbol that varies.
        low: the lower end.
        high: the upper end.
        neutral: how many eigenvalues have a multiplier of 1 (flow: an eigenvalue of 0) for
            every value of the parameter. They do not bound the window. If there are any, the
            point is nonhyperbolic everywhere in the window: it attracts along the other
            eigenvectors, and linearisation does not decide along these.
        decided: whether the window is known. Ball arithmetic may leave open the sign of an
            eigenvalue (the ends are then those of the domain), or which end is the higher.

    """

    parameter: sympy.Symbol
    low: Endpoint
    high: Endpoint
    neutral: int = 0
    decided: bool = True

    @property
    def name(self) -> Annotated[str, axes(rename={"name": "parameter"})]:
        """The argument that sets the parameter: rho, lr, momentum or eps."""
        return _ARGUMENTS[str(self.parameter)]

    @property
    def is_empty(self) -> Annotated[bool | None, axes(rename={"is_empty": "empty"})]:
        """Whether no value is inside; None where that is not decided.

        For windows with numbers at both ends.
        """
        if not self.decided:
            return None
        if self.low.closed and self.high.closed:
            return _holds(self.low.value > self.high.value)
        return _holds(self.low.value >= self.high.value)

    @property
    def is_hyperbolic(self) -> bool:
        """Whether the window decides stability: no eigenvalue is neutral throughout."""
        return self.neutral == 0

    def adjusted_variables(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the variables of a Dataset; of an empty window the ends are NaN, as it has none.

        `to_dict` keeps the numbers: a table whose lower end is above the upper one misleads.
        """
        if not self.is_empty:
            return variables
        ends = {f"{end}_{name}" for end in ("low", "high") for name in ("value", "enclosure")}
        return {
            name: v._replace(values=np.full(np.shape(v.values), np.nan)) if name in ends else v
            for name, v in variables.items()
        }

    def __contains__(self, value: object) -> bool:
        """Whether `value` is inside; for windows with numbers at both ends."""
        number = sympy.sympify(value)
        above = number >= self.low.value if self.low.closed else number > self.low.value
        below = number <= self.high.value if self.high.closed else number < self.high.value
        return _holds(above) and _holds(below)

    def times(self, factor: sympy.Expr) -> "Window":
        """Return the window with both ends multiplied by `factor` > 0."""
        low, high = (replace(end, value=factor * end.value) for end in (self.low, self.high))
        return replace(self, low=low, high=high)

    def describe(self, *, flow: bool = False) -> str:
        """Return a sentence on a window with numbers, with what happens at each end.

        `attracts for 0.036036 (λ = -27.75 passes +1) < rho < 0.223683 (λ = 27.75 flips)`

        Args:
            flow: whether the system is a flow, where an eigenvalue passes 0, not a multiplier +1.

        """
        name = self.name
        if not self.decided:
            why = "an eigenvalue may be 0, or the ends may meet"
            return f"not decided for which {name} it attracts: {why}"
        if self.is_empty:
            needs = [_need(name, "> ", self.low), _need(name, "< ", self.high)]
            return f"attracts for no {name}: " + ", ".join(need for need in needs if need)
        low, high = self._signs("≤", "<")
        left, right = (_shown(end, flow) for end in (self.low, self.high))
        line = f"attracts for {left} {low} {name}"
        if self.high.value != sympy.oo:
            line += f" {high} {right}"
        if not self.is_hyperbolic:
            line += f"; {self.neutral} neutral direction" + ("s" if self.neutral > 1 else "")
        return line

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and texts by name."""
        return {
            "parameter": self.name,
            "empty": self.is_empty,
            "low": self.low.to_dict(),
            "high": self.high.to_dict(),
            "neutral": self.neutral,
        }

    def text(self) -> str:
        """Return the inequality on one line, as in `-1/λ < ρ < 2/(η·λ²) - 1/λ`."""
        left, right = self._signs("≤", "<")
        line = f"{text(self.low.value)} {left} {self.parameter}"
        return line if self.high.value == sympy.oo else f"{line} {right} {text(self.high.value)}"

    def latex(self) -> str:
        """Return the inequality in LaTeX."""
        left, right = self._signs(r"\le", "<")
        line = f"{latex(self.low.value)} {left} {latex(self.parameter)}"
        return line if self.high.value == sympy.oo else f"{line} {right} {latex(self.high.value)}"

    def _signs(self, closed: str, opened: str) -> tuple[str, str]:
        return (closed if self.low.closed else opened, closed if self.high.closed else opened)


_ARGUMENTS = {"ρ": "rho", "η": "lr", "β": "momentum", "ε": "eps"}

_SHOWN = 4
"""Of a long direction so many entries are printed."""

_EVENTS = {
    Event.plus_one: "passes +1",
    Event.flip: "flips",
    Event.neimark_sacker: "Neimark–Sacker",
}


def _shown(end: Endpoint, flow: bool) -> str:
    """Return where an end with numbers is, and which eigenvalue does what there."""
    number = f"{float(end.value):.6g}"
    if end.direction is not None:
        shown = ", ".join(f"{round(x, 6) + 0.0:.3g}" for x in end.direction[:_SHOWN])
        shown += ", ..." if len(end.direction) > _SHOWN else ""
        return f"{number} (‖g‖ grows along ({shown}))"
    if end.event is Event.outside:
        return f"{number} (an ascent point leaves the domain)"
    if end.event is Event.unknown:
        known = end.enclosure[1] if end.enclosure else float("inf")
        return f"{number} (not known {f'up to {known:.6g}' if known < float('inf') else 'beyond'})"
    if end.eigenvalue is None:
        return number
    happens = ": an eigenvalue passes 0" if flow else f" {_EVENTS[end.event]}"
    return f"{number} (λ = {float(end.eigenvalue):.6g}{happens})"


def _need(name: str, comparison: str, end: Endpoint) -> str:
    """Say what an end asks of the parameter in an empty window; "" at the end of the domain."""
    if end.eigenvalue is None:
        return ""
    lam, value = f"λ = {float(end.eigenvalue):.6g}", float(end.value)
    if comparison == "< " and value <= 0:
        return f"{lam} {'grows' if end.event is Event.plus_one else 'has flipped'} at every {name}"
    return f"{lam} needs {name} {comparison}{value:.6g}"


def _plain(expression: sympy.Expr) -> float | str | None:
    if not expression.is_number:
        return text(expression)
    return float(expression) if expression.is_finite else None


FROM_ZERO = Endpoint(sympy.Integer(0), Event.none, closed=True)
"""The lower end of the domain of ρ and of β."""

ABOVE_ZERO = Endpoint(sympy.Integer(0), Event.none)
"""The lower end of the domain of η."""

TO_INFINITY = Endpoint(sympy.oo, Event.none)
"""No upper end."""


@functools.cache
def symbolic_rho_window(
    sign: int, *, rule: str = "usam", scheme: str = "none", flow: bool = False
) -> Window:
    """Return the ρ for which a rule is attracted along an eigenvector, λ of the given sign.

    USAM's map, λ < 0: −1/λ < ρ < κ/(ηλ²) − 1/λ; λ > 0: 0 ≤ ρ < κ/(ηλ²) − 1/λ, which is empty where
    ηλ ≥ κ. Flow: the lower end alone. κ is `flip_threshold(scheme)`, 2(1 + β) for heavy ball.

    Rules with a U of degree 3 are never attracted along λ < 0: the window ends at 0. For
    0 < ηλ < κ it ends, with k = κ/(ηλ), at (√k − 1)/λ (two-step), (√(4k − 3) − 1)/(2λ) (nested)
    and (k − 1)/λ² (Hessian).

    Args:
        sign: 1 or −1, the sign of λ. (λ = 0 is neutral for every ρ.)
        rule: "usam", or one of `CUBIC`.
        scheme: of momentum.
        flow: whether the system is the flow ẇ = −d(w).

    """
    if sign not in (-1, 1):
        raise ValueError(f"Argument `sign` must be 1 or -1, but is {sign!r}.")
    curvature = effective_curvature(rule)
    low, high = FROM_ZERO, TO_INFINITY
    if rule in CUBIC:
        if sign < 0:
            return Window(rho, low, Endpoint(sympy.Integer(0), Event.plus_one, eigenvalue=lam))
        if not flow:
            high = Endpoint(_cubic_flips(scheme)[rule], Event.flip, eigenvalue=lam)
        return Window(rho, low, high)
    if sign < 0:
        (crossing,) = sympy.solve(curvature / lam, rho)
        low = Endpoint(crossing, Event.plus_one, eigenvalue=lam)
    if not flow:
        (flip,) = sympy.solve(lr * curvature - flip_threshold(scheme), rho)
        high = Endpoint(flip.apart(lam), Event.flip, eigenvalue=lam)
    return Window(rho, low, high)


def _cubic_flips(scheme: str) -> dict[str, sympy.Expr]:
    """Return the ρ at which ηU(λ) = κ, for 0 < ηλ < κ, for each rule of `CUBIC`."""
    k = flip_threshold(scheme) / (lr * lam)
    return {
        "two-step-usam": (sympy.sqrt(k) - 1) / lam,
        "nested-usam": (sympy.sqrt(4 * k - 3) - 1) / (2 * lam),
        "hessian-usam": (k - 1) / lam**2,
    }


@functools.cache
def symbolic_lr_window(rule: str, *, scheme: str = "none") -> Window:
    """Return the η for which the map is attracted along an eigenvector with U(λ) > 0.

    0 < η < κ/U(λ). Where U(λ) < 0, no step size attracts.
    """
    (flip,) = sympy.solve(lr * effective_curvature(rule) - flip_threshold(scheme), lr)
    return Window(lr, ABOVE_ZERO, Endpoint(flip.factor(), Event.flip, eigenvalue=lam))


def late_switch_window(*, scheme: str = "none") -> Window:
    """Return the sharpness λ of the minima that GD keeps and USAM leaves.

    (√(1 + 4κρ/η) − 1)/(2ρ) < λ < κ/η: from USAM's edge of stability to GD's. A switch from GD to
    USAM at such a minimum escapes from it; section 4 of docs/theory.
    """
    low, high = (
        Endpoint(edge(rule, scheme), Event.flip, eigenvalue=lam) for rule in ("usam", "gd")
    )
    return Window(lam, low, high)


def _holds(relation: object) -> bool:
    if relation in (sympy.true, sympy.false):
        return bool(relation)
    raise ValueError(
        f"It is not known whether {relation}: the window has free symbols. Substitute numbers for "
        "them."
    )
