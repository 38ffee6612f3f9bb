"""Windows of parameters in which a critical point with given Hessian eigenvalues attracts.

Each end of a window names the eigenvalue that binds and the bifurcation there.

Exact eigenvalues and parameters (int, Fraction, sympy numbers) give exact ends; floats give floats.
"""

from collections.abc import Callable, Iterable
from typing import Any

import sympy

from samflow.theory.conditions import CUBIC, SCHEMES, effective_curvature, flip_threshold, jury
from samflow.theory.symbols import (
    beta,
    evaluate,
    lr,
    nonnegative_number,
    positive_number,
    real_number,
    rho,
    scaled_curvature,
    sign,
)
from samflow.theory.windows import (
    ABOVE_ZERO,
    FROM_ZERO,
    TO_INFINITY,
    Endpoint,
    Event,
    Window,
    symbolic_lr_window,
    symbolic_rho_window,
)


def rho_window(
    eigenvalues: Iterable[Any],
    *,
    rule: str = "usam",
    lr: Any = None,
    momentum: Any = 0,
    scheme: str = "none",
    tolerance: float = 0.0,
) -> Window:
    """Return the ρ ≥ 0 for which a rule is attracted to a critical point.

    Args:
        eigenvalues: all eigenvalues of the Hessian.
        rule: "usam", or one of `CUBIC`, which no negative eigenvalue attracts; GD has no ρ.
        lr: step size; None means the flow ẇ = −d(w).
        momentum: β in [0, 1).
        scheme: of momentum.
        tolerance: |λ| at most this counts as 0. Eigenvalues of 0 are neutral: see `Window`.

    Returns:
        The intersection over the eigenvalues that are not neutral; it may be empty.

    """
    if rule not in ("usam", *CUBIC):
        raise ValueError(
            f"Argument `rule` must be `usam`, or one of {', '.join(CUBIC)}, for a window in rho, "
            f"but is `{rule}`."
        )
    beta_value = _momentum(momentum, scheme)
    flow = lr is None
    if flow and scheme != "none":
        raise ValueError(
            "Argument `lr` must be given with momentum, because a flow has no momentum here."
        )
    step = None if flow else positive_number("lr", lr)
    kappa = evaluate(flip_threshold(scheme), momentum=beta_value)

    def window(eigenvalue: sympy.Expr) -> Window:
        if rule in CUBIC and step is not None and sign(step * eigenvalue - kappa) >= 0:
            # Flipped at ρ = 0 and beyond, where the formula of the end has no real value.
            end = Endpoint(sympy.Integer(0), Event.flip, eigenvalue=eigenvalue)
            return Window(rho, FROM_ZERO, end)
        formula = symbolic_rho_window(sign(eigenvalue), rule=rule, scheme=scheme, flow=flow)
        return _evaluate(formula, lam=eigenvalue, lr=step, momentum=beta_value)

    return _intersect(Window(rho, FROM_ZERO, TO_INFINITY), eigenvalues, window, tolerance)


def lr_window(
    eigenvalues: Iterable[Any],
    *,
    rule: str = "usam",
    rho: Any = 0,
    momentum: Any = 0,
    scheme: str = "none",
    tolerance: float = 0.0,
) -> Window:
    """Return the η > 0 for which the map is attracted to a critical point.

    An eigenvalue with U(λ) < 0 makes the window empty, with the event `plus_one`; one with
    U(λ) = 0 is neutral. Arguments as in `rho_window`; GD takes no ρ.
    """
    beta_value = _momentum(momentum, scheme)
    radius = nonnegative_number("rho", rho)

    def window(eigenvalue: sympy.Expr) -> Window | None:
        curvature = evaluate(effective_curvature(rule), lam=eigenvalue, rho=radius)
        if sign(curvature) == 0:
            return None
        if sign(curvature) < 0:
            return Window(lr, ABOVE_ZERO, _nowhere(eigenvalue))
        formula = symbolic_lr_window(rule, scheme=scheme)
        return _evaluate(formula, lam=eigenvalue, rho=radius, momentum=beta_value)

    return _intersect(Window(lr, ABOVE_ZERO, TO_INFINITY), eigenvalues, window, tolerance)


def momentum_window(
    eigenvalues: Iterable[Any],
    *,
    rule: str = "usam",
    rho: Any = 0,
    lr: Any,
    scheme: str = "heavy_ball",
    tolerance: float = 0.0,
) -> Window:
    """Return the β in [0, 1) for which the map with momentum is attracted to a critical point.

    Heavy ball: ηU/2 − 1 < β < 1, a Neimark–Sacker bifurcation at β = 1.
    Nesterov: β < (2 − ηU)/(2(ηU − 1)) where ηU > 1, a flip.
    """
    if scheme not in SCHEMES or scheme == "none":
        raise ValueError(f"Argument `scheme` must be heavy_ball or nesterov, but is {scheme!r}.")
    step, radius = positive_number("lr", lr), nonnegative_number("rho", rho)
    to_one = Endpoint(sympy.Integer(1), Event.none)

    def window(eigenvalue: sympy.Expr) -> Window | None:
        x = step * evaluate(effective_curvature(rule), lam=eigenvalue, rho=radius)
        if sign(x) == 0:
            return None
        if sign(x) < 0:
            return Window(beta, FROM_ZERO, _nowhere(eigenvalue))
        _, at_minus, determinant_gap = (side.subs(scaled_curvature, x) for side in jury(scheme))
        low, high = FROM_ZERO, to_one
        for side, event in ((at_minus, Event.flip), (determinant_gap, Event.neimark_sacker)):
            # Each condition is affine in β: slope β + constant > 0.
            slope, constant = side.diff(beta), side.subs(beta, 0)
            if sign(slope) == 0:
                continue
            end = Endpoint(-constant / slope, event, eigenvalue=eigenvalue)
            low, high = (_later(low, end), high) if sign(slope) > 0 else (low, _sooner(high, end))
        return Window(beta, low, high)

    return _intersect(Window(beta, FROM_ZERO, to_one), eigenvalues, window, tolerance)


def _intersect(
    domain: Window,
    eigenvalues: Iterable[Any],
    window: Callable[[sympy.Expr], Window | None],
    tolerance: float,
) -> Window:
    numbers = [real_number("eigenvalues", value) for value in eigenvalues]
    if not numbers:
        raise ValueError("Argument `eigenvalues` must have at least one number, but is empty.")
    low, high, neutral = domain.low, domain.high, 0
    for number in numbers:
        part = window(number) if abs(number) > tolerance else None
        if part is None:
            neutral += 1
            continue
        low, high = _later(low, part.low), _sooner(high, part.high)
    return Window(domain.parameter, low, high, neutral)


def _later(first: Endpoint, second: Endpoint) -> Endpoint:
    """Return the higher of two lower ends. At a tie prefer an end with an event, then the first."""
    if second.value > first.value:
        return second
    tie = not second.value < first.value
    return second if tie and first.eigenvalue is None else first


def _sooner(first: Endpoint, second: Endpoint) -> Endpoint:
    """Return the lower of two upper ends. At a tie prefer an end with an event, then the first."""
    if second.value < first.value:
        return second
    tie = not second.value > first.value
    return second if tie and first.eigenvalue is None else first


def _nowhere(eigenvalue: sympy.Expr) -> Endpoint:
    """Return an upper end at 0: a multiplier is beyond +1 at every value of the parameter."""
    return Endpoint(sympy.Integer(0), Event.plus_one, eigenvalue=eigenvalue)


def _evaluate(formula: Window, **values: Any) -> Window:
    def end(symbolic: Endpoint) -> Endpoint:
        if symbolic.eigenvalue is None:
            return symbolic
        number = evaluate(symbolic.value, **values)
        return Endpoint(number, symbolic.event, symbolic.closed, values["lam"])

    return Window(formula.parameter, end(formula.low), end(formula.high))


def _momentum(value: Any, scheme: str) -> sympy.Expr:
    flip_threshold(scheme)  # refuses an unknown scheme
    number = real_number("momentum", value)
    if not 0 <= number < 1:
        raise ValueError(f"Argument `momentum` must be in [0, 1), but is {value}.")
    if scheme == "none" and sign(number) != 0:
        raise ValueError(
            f"Argument `momentum` must be 0 with scheme `none`, but is {value}. "
            "Give scheme `heavy_ball` or `nesterov`."
        )
    return number
