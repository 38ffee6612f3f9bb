"""Central flows: a map that oscillates at its edge of stability, in the time average.

The model is L(x, y) = V(x) + ½λ(x)y² + Q y⁴/24. The map oscillates along y and moves along x.
Section 12 of docs/theory.
"""

import functools
from typing import Any, NamedTuple

import sympy

from samflow.theory.normalised import cycle_radius
from samflow.theory.symbols import lam, rho

pull = sympy.Symbol("V'", real=True)
"""V′ at the edge; it is taken to be small."""

bend = sympy.Symbol("V''", real=True)
"""V″."""

steepening = sympy.Symbol("λ'", real=True)
"""λ′: how the sharpness changes along x."""

steepening_slope = sympy.Symbol("λ''", real=True)
"""λ″."""

quartic = sympy.Symbol("Q", real=True)
"""The fourth derivative of the loss along y."""


class EdgeForm(NamedTuple):
    """The direction d = (D + ½by², μy + qy³/6) of a rule on the model, to third order in y.

    Attributes:
        drift: D.
        drift_slope: dD/dx.
        push: b, with which the oscillation pushes x.
        push_slope: db/dx.
        slope: dμ/dx.
        cubic: q.

    """

    drift: sympy.Expr
    drift_slope: sympy.Expr
    push: sympy.Expr
    push_slope: sympy.Expr
    slope: sympy.Expr
    cubic: sympy.Expr


@functools.cache
def edge_form(rule: str) -> EdgeForm:
    """Return the form of "gd" or "usam" where V′ is small: it is kept in D alone.

    GD: D = V′, b = μ′ = λ′, q = Q. USAM: b = ((1 + ρλ)² + ρV″)λ′,
    μ′ = (1 + 2ρλ + ρ(1 + ρλ)V″)λ′ and q = ((1 + ρλ)³ + ρλ)Q + 3ρ(1 + ρλ)λ′².
    """
    x, y = sympy.symbols("x y", real=True)
    sharpness = lam + steepening * x + steepening_slope * x**2 / 2
    loss = pull * x + bend * x**2 / 2 + sharpness * y**2 / 2 + quartic * y**4 / 24
    gradient = sympy.Matrix([loss.diff(x), loss.diff(y)])
    ascents = {"gd": sympy.zeros(2, 1), "usam": rho * gradient}
    if rule not in ascents:
        raise ValueError(f"Unknown rule `{rule}`. Known: {', '.join(ascents)}.")
    at = dict(zip((x, y), sympy.Matrix([x, y]) + ascents[rule], strict=True))
    along, across = gradient.subs(at, simultaneous=True)

    def term(expr: Any, order: int, *, slope: int = 0, small: bool = True) -> Any:
        found = expr.diff(y, order).diff(x, slope).subs({x: 0, y: 0})
        return sympy.factor(found.subs(pull, 0) if small else found)

    return EdgeForm(
        drift=term(along, 0, small=False),
        drift_slope=term(along, 0, slope=1),
        push=term(along, 2),
        push_slope=term(along, 2, slope=1),
        slope=term(across, 1, slope=1),
        cubic=term(across, 3),
    )


def edge_variance(form: EdgeForm) -> sympy.Expr:
    """Return σ² = −2D/b, at which the oscillation holds x, and with it μ, at the edge."""
    return -2 * form.drift / form.push


def deviation_growth(form: EdgeForm, *, lr: Any, momentum: Any = 0) -> sympy.Expr:
    """Return the growth a step of deviations from the edge, of heavy ball; to order σ².

        γ = −η(D′ + ½b′σ² − ⅓qσ²)/(2(1 − β)) + (1 + β)η²bμ′σ²/(2(1 − β)³)

    The run settles on the central flow where γ < 0. The last term, of the finite step, is never
    negative, and momentum multiplies it by (1 + β)/(1 − β)² against the others.
    """
    square, lr, beta = edge_variance(form), sympy.sympify(lr), sympy.sympify(momentum)
    damped = form.drift_slope + form.push_slope * square / 2 - form.cubic * square / 3
    driven = form.push * form.slope * square * lr * (1 + beta) / (1 - beta) ** 2
    return lr * (driven - damped) / (2 * (1 - beta))


def saturated_variance(
    curvature: Any,
    mean_gradient: Any,
    *,
    rho: Any,
    lr: Any,
    momentum: Any = 0,
    scheme: str = "none",
) -> sympy.Expr:
    """Return σ² = max(0, c² − ‖ḡ‖²/λ²) of normalised SAM, with c the radius of its 2-cycle.

    Where the average gradient ‖ḡ‖ is larger than λc, SAM does not oscillate along λ.
    """
    curvature, mean_gradient = map(sympy.sympify, (curvature, mean_gradient))
    radius = cycle_radius(curvature, rho=rho, lr=lr, momentum=momentum, scheme=scheme)
    return sympy.Max(0, radius**2 - (mean_gradient / curvature) ** 2)


def saturation_multiplier(curvature: Any, mean_gradient: Any, *, rho: Any, lr: Any) -> sympy.Expr:
    """Return 1 − (2 − ηλ)λ²σ²/(‖ḡ‖² + λ²σ²), by which deviations from that σ change in a step."""
    curvature, lr = map(sympy.sympify, (curvature, lr))
    square = saturated_variance(curvature, mean_gradient, rho=rho, lr=lr)
    oscillating = curvature**2 * square
    return 1 - (2 - lr * curvature) * oscillating / (
        oscillating + sympy.sympify(mean_gradient) ** 2
    )
