"""The stability conditions of a system, as formulas and as numbers at a point."""

from typing import NamedTuple

import equinox as eqx
import numpy as np

from samflow import _checks, theory
from samflow._status import Kind, Status
from samflow._types import ArrayLike
from samflow.equilibria.stability import classify
from samflow.records import AbstractRecord, Provenance, provenance
from samflow.rules import GD
from samflow.systems import AbstractSystem, Flow, Map

_NEUTRAL = 1e-9
"""A Hessian eigenvalue at most this times the largest counts as 0."""


class Formula(NamedTuple):
    """One condition: what it is called, on one line of Unicode, and in LaTeX."""

    name: str
    text: str
    latex: str


class Conditions(AbstractRecord):
    """What theory says about the stability of a critical point.

    Attributes:
        formulas: for one Hessian eigenvalue λ: effective curvature, multipliers or eigenvalues,
            and the windows in ρ and η.
        curvature: the Hessian's eigenvalues at the point, ascending; empty without a point.
        rho_window: the ρ for which the point attracts, everything else as in the system; None
            without a point or for a rule without ρ.
        lr_window: the same for the step size; None for a flow.
        momentum_window: the same for momentum; None for a system without it.
        kind: theory's verdict at the point for the system as it is; None without a point.
        status: located, not a fixed point, or not differentiable (normalised SAM has no
            Jacobian at a critical point, so no multipliers and no windows).

    """

    formulas: tuple[Formula, ...] = eqx.field(static=True)
    curvature: tuple[float, ...] = eqx.field(static=True)
    rho_window: theory.Window | None = eqx.field(static=True)
    lr_window: theory.Window | None = eqx.field(static=True)
    momentum_window: theory.Window | None = eqx.field(static=True)
    kind: Kind | None = eqx.field(static=True)
    status: Status = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    def __str__(self) -> str:
        """Return the formulas, and under them the numbers where there is a point."""
        lines = [f"{formula.name}: {formula.text}" for formula in self.formulas]
        if self.status is Status.not_differentiable:
            lines.append(self.status.message)
        if self.curvature:
            lines.append(f"Hessian: {', '.join(f'{value:.6g}' for value in self.curvature)}")
        windows = {
            "rho": self.rho_window,
            "lr": self.lr_window,
            "momentum": self.momentum_window,
        }
        for name, window in windows.items():
            if window is not None:
                shown = show_window(window, flow=self.lr_window is None)
                lines.append(f"attracts for {name}: {shown}")
        return "\n".join(lines)


def conditions(system: AbstractSystem, w: ArrayLike | None = None) -> Conditions:
    """Return the stability conditions of a system's critical points, in symbols and at `w`.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> print(conditions(sf.Map(sf.losses.beale(), sf.USAM(rho=0.05), lr=0.01), [0.0, 1.0]))
    effective curvature: λ·(λ·ρ + 1)
    multipliers: -η·λ·(λ·ρ + 1) + 1
    rho window, λ < 0: -1/λ < ρ < -1/λ + 2/(η·λ²)
    rho window, λ > 0: 0 ≤ ρ < -1/λ + 2/(η·λ²)
    lr window: 0 < η < 2/(λ·(λ·ρ + 1))
    Hessian: -27.75, 27.75
    attracts for rho: 0.036036 (λ = -27.75 passes +1) < rho < 0.223683 (λ = 27.75 flips)
    attracts for lr: 0 < lr < 0.0301873 (λ = 27.75 flips)

    Args:
        system: a `Map` or a `Flow`.
        w: a critical point, shape (dim,); None for the formulas alone.

    Raises:
        ArgumentError: for a system that is no map or flow of a rule, weight decay (which moves
            the fixed points off the critical points), or a `w` that is not a critical point.

    """
    if not isinstance(system, (Map, Flow)):
        raise _checks.ArgumentError(
            f"Argument `system` must be a Map or a Flow, but is {type(system).__name__}."
        )
    if isinstance(system, Map) and system.weight_decay is not None:
        raise _checks.ArgumentError(
            "Argument `system` must have no weight decay: with it, fixed points are not critical "
            "points. Use `classify`."
        )
    smooth = system.rule.name in theory.RULES
    where = provenance(system.describe())
    formulas = _formulas(system) if smooth else ()
    status = Status.located if smooth else Status.not_differentiable
    if w is None:
        return Conditions(formulas, (), None, None, None, None, status, where)
    at_point = classify(Flow(system.loss, GD()), w)
    if at_point.status is not Status.located or at_point.curvature is None:
        raise _checks.ArgumentError(
            f"Argument `w` must be a critical point, but {np.asarray(w)} is about "
            f"{at_point.distance:.3g} away from one. Use `find_fixed_points`."
        )
    curvature = tuple(float(value) for value in at_point.curvature)
    if not smooth:
        return Conditions(formulas, curvature, None, None, None, Kind.undefined, status, where)
    settings = theory_settings(system)
    tolerance = _NEUTRAL * max(abs(value) for value in curvature)
    fixed = {"momentum": settings["momentum"], "kind": settings["kind"], "tolerance": tolerance}
    rho_window = lr_window = momentum_window = None
    if system.rule.name == "usam":
        rho_window = theory.rho_window(curvature, lr=settings["lr"], **fixed)
    if settings["lr"] is not None:
        rule, rho = settings["rule"], settings["rho"]
        lr_window = theory.lr_window(curvature, rule=rule, rho=rho, **fixed)
        if settings["kind"] != "none":
            made = {name: settings[name] for name in ("rule", "rho", "lr", "kind")}
            momentum_window = theory.momentum_window(curvature, tolerance=tolerance, **made)
    kind = theory.verdict(curvature, tolerance=tolerance, **settings)
    windows = (rho_window, lr_window, momentum_window)
    return Conditions(formulas, curvature, *windows, kind, status, where)


def theory_settings(system: Map | Flow) -> dict:
    """Return a system's hyperparameters under the names that samflow.theory takes."""
    settings = {"rule": system.rule.name, "rho": float(getattr(system.rule, "rho", 0.0))}
    settings |= {"lr": None, "momentum": 0.0, "kind": "none"}
    if isinstance(system, Map):
        settings["lr"] = float(system.lr)
        if system.momentum is not None:
            settings["momentum"] = float(system.momentum)
            settings["kind"] = "nesterov" if system.nesterov else "heavy_ball"
    return settings


def show_window(window: theory.Window, *, flow: bool = False) -> str:
    """Return a window with numbers on one line, with what happens at each end.

    `0.036036 (λ = -27.75 passes +1) < rho < 0.223683 (λ = 27.75 flips)`, or `never` with reason.
    """
    name = {"ρ": "rho", "η": "lr", "β": "momentum"}[str(window.parameter)]
    if window.is_empty:
        blocking = [
            _event(end, flow) for end in (window.low, window.high) if end.eigenvalue is not None
        ]
        return "never" + (f": {'; '.join(blocking)}" if blocking else "")
    low, high = window.low, window.high
    left = f"{float(low.value):.6g}" + (
        f" ({_event(low, flow)})" if low.eigenvalue is not None else ""
    )
    text = f"{left} {'≤' if low.closed else '<'} {name}"
    if high.eigenvalue is not None:
        text += f" < {float(high.value):.6g} ({_event(high, flow)})"
    if not window.is_hyperbolic:
        text += f"; {window.neutral} neutral direction" + ("s" if window.neutral > 1 else "")
    return text


_EVENTS = {
    theory.Event.plus_one: "passes +1",
    theory.Event.flip: "flips",
    theory.Event.neimark_sacker: "Neimark–Sacker",
}


def _event(end: theory.Endpoint, flow: bool) -> str:
    assert end.eigenvalue is not None
    if flow:
        return f"λ = {float(end.eigenvalue):.6g}: an eigenvalue passes 0"
    return f"λ = {float(end.eigenvalue):.6g} {_EVENTS[end.event]}"


def _formulas(system: Map | Flow) -> tuple[Formula, ...]:
    rule, kind = system.rule.name, theory_settings(system)["kind"]
    flow = isinstance(system, Flow)

    def formula(name: str, *expressions: object) -> Formula:
        texts = ", ".join(theory.text(e) for e in expressions)  # pyright: ignore
        return Formula(name, texts, ", ".join(theory.latex(e) for e in expressions))  # pyright: ignore

    found = [formula("effective curvature", theory.effective_curvature(rule))]
    if flow:
        found.append(formula("eigenvalue", theory.flow_eigenvalue(rule)))
    else:
        found.append(formula("multipliers", *theory.multipliers(rule, kind)))
    if rule == "usam":
        for sign, name in ((-1, "rho window, λ < 0"), (1, "rho window, λ > 0")):
            window = theory.symbolic_rho_window(sign, kind=kind, flow=flow)
            found.append(Formula(name, window.text(), window.latex()))
    if not flow:
        window = theory.symbolic_lr_window(rule, kind=kind)
        found.append(Formula("lr window", window.text(), window.latex()))
    return tuple(found)
