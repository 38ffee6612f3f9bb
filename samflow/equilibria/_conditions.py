"""The stability conditions of a system, as formulas and as numbers at a point."""

from dataclasses import replace
from typing import Annotated, Any, ClassVar, NamedTuple

import equinox as eqx
import numpy as np
import sympy

from samflow import _checks, theory
from samflow._status import Kind, Status, Verdict
from samflow._types import ArrayLike
from samflow.equilibria.adaptive import alike_at_rest, first_rate_window, texts_at_rest
from samflow.equilibria.higher import HigherOrder
from samflow.equilibria.nonsmooth.arriving import Evidence, Sliding
from samflow.equilibria.nonsmooth.flows import practical_flow, with_end
from samflow.equilibria.stability import classify
from samflow.proofs.traps import certify_trap
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.rules import GD, Ascent, is_normalised
from samflow.systems import AbstractSystem, AdaptiveMap, Flow, Map
from samflow.systems.base import check_fixed
from samflow.systems.hyperparameters import theory_settings
from samflow.theory.symbols import eps, rho
from samflow.theory.windows import ABOVE_ZERO, TO_INFINITY

_TRAP_DIM, _TRAP_CELLS, _TRAP_STEPS = 3, 1000, 500
"""How long a trap of SAM's map is searched: half a second or so."""
NEUTRAL = 1e-9
"""Relative: a Hessian eigenvalue at most this times the largest counts as 0, and a multiplier this
near to the unit circle as neutral."""
_CLOSE = 1e-2
"""Relative: what ends a window is known if its enclosure is narrower than this."""


class Formula(NamedTuple):
    """One condition: what it is called, on one line of Unicode, and in LaTeX."""

    name: str
    text: str
    latex: str


class Conditions(AbstractRecord):
    """What theory says about the stability of a critical point.

    Attributes:
        formulas: for one Hessian eigenvalue λ: effective curvature, multipliers or eigenvalues,
            and the windows in ρ, η and, for practical SAM, ε.
        curvature: the Hessian's eigenvalues at the point, ascending; empty without a point.
        rho_window: the ρ for which the point attracts, everything else as in the system; None
            without a point or for a rule without ρ. Of the flow of normalised SAM and its relatives
            the ρ for which ‖g‖ falls from every direction, on the loss itself: see `sliding`. It
            may go on attracting beyond.
        lr_window: the same for the step size; None for a flow, and where the point has no
            linearisation: for normalised SAM, for Lion, and for Adam with eps = 0. Print the record
            itself to have what is known in each case.
        momentum_window: the same for momentum; None for a system without it.
        eps_window: the same for the ε of practical SAM; None for others, and for ρ = 0, where ε
            does nothing.
        sliding: of the flow of a rule that jumps at the point, what is known of it there, and what
            that rests on; of the flow of practical SAM on a formula the radius that is proved to be
            kept; None for others.
        trap: of the map of SAM on a formula, without momentum and in up to three dimensions: what
            a short search of `certify_trap` proves at its own rho and lr; empty for others.
        kind: theory's verdict at the point for the system as it is; None without a point, or
            where theory has none.
        status: located; not differentiable (normalised SAM has no Jacobian at a critical point,
            so no multipliers, and its map no windows); no closed form, where there is a Jacobian,
            or may be one, but no formula for its conditions here; or not a fixed point, where the
            rule moves the critical point.
        higher: where `kind` is nonhyperbolic, what terms of higher order decide, as in `classify`.
        closed_forms: what samflow.theory has in closed form for the rule; empty where it has
            nothing.

    """

    basis: ClassVar[Names] = ("effective curvature", "multipliers", "verdicts")
    printed: ClassVar[Names] = (
        "parameter",
        "low_value",
        "low_event",
        "high_value",
        "high_event",
        "neutral",
        "formula",
        "formula_latex",
    )
    formulas: tuple[Formula, ...] = eqx.field(
        static=True, metadata=axes("formula", prefix="formula_", rename={"name": "formula"})
    )
    curvature: tuple[float, ...] = eqx.field(
        static=True, metadata=axes("eigenvalue", units="loss/weight^2")
    )
    rho_window: theory.Window | None = eqx.field(static=True, metadata=axes(hidden=True))
    lr_window: theory.Window | None = eqx.field(static=True, metadata=axes(hidden=True))
    momentum_window: theory.Window | None = eqx.field(static=True, metadata=axes(hidden=True))
    eps_window: theory.Window | None = eqx.field(static=True, metadata=axes(hidden=True))
    sliding: Sliding | None = eqx.field(static=True)
    trap: str = eqx.field(static=True)
    kind: Kind | None = eqx.field(static=True)
    status: Status = eqx.field(static=True)
    closed_forms: str = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    higher: HigherOrder | None = eqx.field(static=True, default=None)

    @property
    def windows(self) -> Annotated[tuple[theory.Window, ...], axes("window", prefix="")]:
        """The windows that there are, in the order rho, lr, momentum, eps."""
        windows = (self.rho_window, self.lr_window, self.momentum_window, self.eps_window)
        return tuple(window for window in windows if window is not None)

    @property
    def rows(self) -> Names:
        """A row for each window; without a point for each formula."""
        return ("window",) if self.windows else ("formula",) if self.formulas else ()

    def __str__(self) -> str:
        """Return the formulas, and under them the numbers where there is a point."""
        lines = [f"{formula.name}: {formula.text}" for formula in self.formulas]
        if self.status is not Status.located:
            lines.append(self.status.message)
            lines += [f"In closed form: {self.closed_forms}."] if self.closed_forms else []
        if self.curvature:
            lines.append(f"Hessian: {', '.join(f'{value:.6g}' for value in self.curvature)}")
        flow = self.lr_window is None
        lines += [window.describe(flow=flow) for window in self.windows]
        lines += [f"{self.kind}: {self.sliding}"] if self.sliding is not None else []
        lines += [self.trap] if self.trap else []
        lines += [f"{self.kind}: {self.higher}"] if self.higher is not None else []
        return "\n".join(lines)


@_checks.untraced()
def conditions(system: AbstractSystem, w: ArrayLike | None = None) -> Conditions:
    """Return the stability conditions of a system's critical points, in symbols and at `w`.

    Of GD, USAM, two-step and Hessian USAM, of practical SAM, which at a critical point is USAM
    with ρ/ε for ρ, and of the flows of normalised SAM and its relatives, on the loss itself. Of
    SAM's map it says what is proved at its own rho and lr; give ranges to `certify_trap`. Of other
    rules `status` says why there are none. Of an `AdaptiveMap` they are those at rest, where P is
    √eps_root + eps; the window in momentum is that in beta1.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> print(conditions(sf.Map(sf.losses.beale(), sf.USAM(rho=0.05), lr=0.01), [0.0, 1.0]))
    effective curvature: λ·(λ·ρ + 1)
    multipliers: -η·λ·(λ·ρ + 1) + 1
    rho window, λ < 0: -1/λ < ρ < -1/λ + 2/(η·λ²)
    rho window, λ > 0: 0 ≤ ρ < -1/λ + 2/(η·λ²)
    lr window: 0 < η < 2/(λ·(λ·ρ + 1))
    Hessian: -27.75, 27.75
    attracts for 0.036036 (λ = -27.75 passes +1) < rho < 0.223683 (λ = 27.75 flips)
    attracts for 0 < lr < 0.0301873 (λ = 27.75 flips)

    Args:
        system: a `Map`, an `AdaptiveMap` or a `Flow`.
        w: a critical point, shape (dim,); None for the formulas alone.

    Raises:
        ArgumentError: for a system that is no map or flow of a rule, weight decay (which moves
            the fixed points off the critical points), or a `w` that is not a critical point.

    """
    if isinstance(system, AdaptiveMap):
        return _of_adaptive(system, w)
    if not isinstance(system, (Map, Flow)):
        raise _checks.ArgumentError(
            f"Argument `system` must be a Map or a Flow, but is {type(system).__name__}. Make "
            "one of a loss and a rule: `sf.Map(loss, rule, lr=...)` or `sf.Flow(loss, rule)`."
        )
    check_fixed(system)
    if isinstance(system, Map) and system.weight_decay is not None:
        raise _checks.ArgumentError(
            "Argument `system` must have no weight decay: with it, fixed points are not critical "
            "points. Use `classify`."
        )
    where = provenance(system.describe())
    linear = system.rule.family is not None
    formulas = _formulas(system) if linear else ()
    curvature = () if w is None else _curvature(system, w)
    status, windows, kind = Status.located, _Windows(), None
    if not linear:
        status = _why_none(system, w)
        if w is not None and status is Status.not_differentiable:
            kind = Kind.undefined
        if isinstance(system, Flow) and kind is not None:
            return _of_sliding(system, w, curvature, where)
    elif w is not None:
        flat = NEUTRAL * max(abs(value) for value in curvature)  # in the unit of the Hessian
        windows = _windows(system, curvature, flat)
        kind = theory.kind(curvature, tolerance=NEUTRAL, **theory_settings(system))
    trap = "" if w is None or status is not Status.not_differentiable else _trap(system, w)
    forms, sliding = system.rule.closed_forms, None
    if isinstance(system, Flow) and w is not None and kind is not None:
        sliding = practical_flow(system, np.asarray(w, dtype=float))
    higher = classify(system, w).higher if w is not None and kind is Kind.nonhyperbolic else None
    known = (sliding, trap, kind, status, forms, where)
    return Conditions(formulas, curvature, *windows, *known, higher)


def _of_adaptive(system: AdaptiveMap, w: ArrayLike | None) -> Conditions:
    """Return those of the heavy ball that is alike at rest, with what P and the base add."""
    check_fixed(system)
    if system.weight_decay is not None or system.base.decays:
        raise _checks.ArgumentError(
            "Argument `system` must have no weight decay: with it, fixed points are not critical "
            "points. Use `classify`; `system.edge` is the edge while the moments are frozen."
        )
    where, alike = provenance(system.describe()), alike_at_rest(system)
    if alike is None or alike.rule.family is None:
        jumps = alike is None or is_normalised(system.rule)
        kind = Kind.undefined if w is not None and jumps else None
        status = Status.not_differentiable if jumps else Status.no_closed_form
        curvature = () if w is None else _curvature(alike or system.plain(), w)
        nothing = (None, None, None, None, None, "")
        return Conditions((), curvature, *nothing, kind, status, _TWO_CYCLES, where)
    found = conditions(alike, w)
    lr_window = found.lr_window
    if lr_window is not None:
        lr_window = lr_window.times(sympy.Float(float(system.lr) / float(alike.lr)))
    first = alike.momentum is not None and found.curvature
    return replace(
        found,
        formulas=tuple(Formula(*texts) for texts in texts_at_rest(alike.rule.family)),
        lr_window=lr_window,
        momentum_window=first_rate_window(system, found.curvature) if first else None,
        closed_forms=_TWO_CYCLES,
        provenance=where,
    )


_TWO_CYCLES = "2-cycles along one weight (theory.adaptive_cycle, theory.lion_band)"
"""What there is in closed form with a base, beside conditions at rest."""


def _trap(system: Map | Flow, w: Any) -> str:
    """Say what a short search proves of SAM's map; empty where none can be made."""
    if not isinstance(system, Map) or system.momentum is not None:
        return ""
    if system.rule.ascent is not Ascent.unit or system.dim > _TRAP_DIM:
        return ""
    found = certify_trap(system, w, max_cells=_TRAP_CELLS, max_steps=_TRAP_STEPS)
    return "" if found.verdict is Verdict.unsupported else found.summary()


def _of_sliding(
    system: Flow, w: Any, curvature: tuple[float, ...], where: Provenance
) -> Conditions:
    """Return the window in ρ of a flow that jumps at the point."""
    found = classify(system, w)
    local, sliding, window = found.local, None, None
    if local is not None:
        position = system.position(found.state)
        sliding = with_end(
            local, system, position, np.asarray(system.loss.hessian(position))
        ).sliding
    if sliding is not None:
        window = _falling_window(sliding)
    status = Status.not_differentiable if window is None else Status.located
    forms = system.rule.closed_forms
    nothing = (None, None, None)
    return Conditions(
        (), curvature, window, *nothing, sliding, "", found.kind, status, forms, where
    )


def _falling_window(sliding: Sliding) -> theory.Window | None:
    """Return the ρ for which ‖g‖ falls from every direction; None where it is not known."""
    if sliding.evidence is Evidence.exact:
        return theory.Window(rho, ABOVE_ZERO, TO_INFINITY) if sliding.finite_time else None
    if sliding.rho_end is None:
        return None
    low, high = sliding.rho_end
    proved = (sliding.end_evidence or sliding.evidence) is Evidence.proved
    if not low > 0:
        return None
    # Where the two are far apart only the lower one is known, and not what happens there.
    known = np.isfinite(high) and high - low <= _CLOSE * high
    fails = theory.Event.outside if sliding.end_direction is None else theory.Event.grows
    end = theory.Endpoint(
        value=sympy.Float(low),
        event=fails if known else theory.Event.unknown,
        enclosure=(low, high) if proved else None,
        direction=sliding.end_direction if known else None,
    )
    return theory.Window(rho, ABOVE_ZERO, end)


def _curvature(system: Map | Flow, w: ArrayLike) -> tuple[float, ...]:
    """Return the Hessian's eigenvalues at `w`, which must be a critical point."""
    at_point = classify(Flow(system.loss, GD()), w)
    if at_point.status is not Status.located or at_point.curvature is None:
        raise _checks.ArgumentError(
            f"Argument `w` must be a critical point, but {np.asarray(w)} is about "
            f"{at_point.distance:.3g} away from one. Use `find_fixed_points`."
        )
    return tuple(float(value) for value in at_point.curvature)


def _why_none(system: Map | Flow, w: ArrayLike | None) -> Status:
    """Say why there are no conditions; without a point, by what the rule is at most of them."""
    if w is None:
        jumps = is_normalised(system.rule) or system.rule.num_memories
        return Status.not_differentiable if jumps else Status.no_closed_form
    status = classify(system, w).status
    return Status.no_closed_form if status is Status.located else status


class _Windows(NamedTuple):
    rho: theory.Window | None = None
    lr: theory.Window | None = None
    momentum: theory.Window | None = None
    eps: theory.Window | None = None


def _windows(system: Map | Flow, curvature: tuple[float, ...], tolerance: float) -> _Windows:
    made, rule = theory_settings(system), system.rule
    about: dict[str, Any] = {name: made[name] for name in ("lr", "momentum", "scheme")}
    about["tolerance"] = tolerance
    in_rho = in_lr = in_momentum = in_eps = None
    if "eps" in rule.windows:
        own = {name: float(getattr(rule, name)) for name in rule.windows}
        in_rho = theory.practical_rho_window(curvature, eps=own["eps"], **about)
        if own["rho"] > 0:
            in_eps = theory.eps_window(curvature, rho=own["rho"], **about)
    elif "rho" in rule.windows:
        in_rho = theory.rho_window(curvature, rule=made["rule"], **about)
    if made["lr"] is not None:
        step, beta = about.pop("lr"), about.pop("momentum")
        about |= {name: made[name] for name in ("rule", "rho")}
        in_lr = theory.lr_window(curvature, momentum=beta, **about)
        if made["scheme"] != "none":
            in_momentum = theory.momentum_window(curvature, lr=step, **about)
    return _Windows(in_rho, in_lr, in_momentum, in_eps)


def _formulas(system: Map | Flow) -> tuple[Formula, ...]:
    """Return the formulas; those of a rule with ε are USAM's with ρ/ε in the place of ρ."""
    made, flow = theory_settings(system), isinstance(system, Flow)
    rule, scheme = made["rule"], made["scheme"]
    practical = "eps" in system.rule.windows

    def shown(expression: Any) -> Any:
        return expression.subs(rho, rho / eps) if practical else expression

    def formula(name: str, *expressions: Any) -> Formula:
        expressions = tuple(map(shown, expressions))
        texts, latex = (map(form, expressions) for form in (theory.text, theory.latex))
        return Formula(name, ", ".join(texts), ", ".join(latex))

    def window(name: str, found: theory.Window) -> Formula:
        return Formula(name, found.text(), found.latex())

    found = [formula("effective curvature", theory.effective_curvature(rule))]
    if flow:
        found.append(formula("eigenvalue", theory.flow_eigenvalue(rule)))
    else:
        found.append(formula("multipliers", *theory.multipliers(rule, scheme)))
    if "rho" in system.rule.windows:
        for sign, name in ((-1, "λ < 0"), (1, "λ > 0")):
            in_rho = theory.symbolic_rho_window(sign, rule=rule, scheme=scheme, flow=flow)
            named = f"rho window, {name}"
            if in_rho.high.value == 0:
                found.append(Formula(named, "none", r"\emptyset"))
                continue
            found.append(window(named, in_rho.times(eps) if practical else in_rho))
    if practical:
        flips = theory.text(theory.flip_threshold(scheme))
        for sign, name in ((-1, "λ < 0"), (1, "λ > 0" if flow else f"0 < η·λ < {flips}")):
            in_eps = theory.symbolic_eps_window(sign, scheme=scheme, flow=flow)
            found.append(window(f"eps window, {name}", in_eps))
    if not flow:
        in_lr = theory.symbolic_lr_window(rule, scheme=scheme)
        high = replace(in_lr.high, value=shown(in_lr.high.value))
        found.append(window("lr window", replace(in_lr, high=high)))
    return tuple(found)
