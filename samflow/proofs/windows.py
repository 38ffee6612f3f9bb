"""The ranges of rho and lr in which a critical point attracts, with ends enclosed by balls.

With eigenvalues λ of the Hessian, U(λ) = λ(1 + rho λ) and c as in `Dynamics.edge`, a critical
point attracts under USAM iff 0 < U (flow) or 0 < lr U < c (map) for every λ. Solved for rho,

    λ < 0:  1/|λ| < rho,     any λ:  rho < (c/lr − λ)/λ²   (map only),

and solved for lr, where every U > 0: lr < c/max U. Source: docs/theory, section 2.
"""

from collections.abc import Callable
from dataclasses import replace

import sympy
from flint import arb

from samflow.proofs.balls import Ball, Balls, span
from samflow.proofs.enclosures import Dynamics, ascent_eigenvalue
from samflow.theory.symbols import lr, rho
from samflow.theory.windows import ABOVE_ZERO, FROM_ZERO, TO_INFINITY, Endpoint, Event, Window

_IN_RHO = Window(rho, FROM_ZERO, TO_INFINITY)
_IN_LR = Window(lr, ABOVE_ZERO, TO_INFINITY)


def rho_window(eigenvalues: Balls, dynamics: Dynamics) -> Window:
    """Return the range of rho in which USAM attracts, at the step size of `dynamics`."""
    if any(0 in value for value in eigenvalues):
        return replace(_IN_RHO, decided=False)
    lows = [(-1 / value, value) for value in eigenvalues if value < 0]
    highs: list[_Bound] = []
    if dynamics.lr is not None:
        bound = dynamics.edge / dynamics.lr
        highs = [((bound - value) / (value * value), value) for value in eigenvalues]
    return _window(_IN_RHO, lows, highs)


def lr_window(eigenvalues: Balls, rho: Ball, dynamics: Dynamics) -> Window:
    """Return the range of lr in which USAM with this `rho` attracts."""
    curvatures = [ascent_eigenvalue(value, rho) for value in eigenvalues]
    growing = [(u, value) for u, value in zip(curvatures, eigenvalues, strict=True) if u < 0]
    if growing:
        _, worst = min(growing, key=lambda pair: float(pair[0]))
        return replace(_IN_LR, high=Endpoint(sympy.Integer(0), Event.plus_one, False, _mid(worst)))
    if not all(u > 0 for u in curvatures):
        return replace(_IN_LR, decided=False)
    bounds = [(dynamics.edge / u, v) for u, v in zip(curvatures, eigenvalues, strict=True)]
    return _window(_IN_LR, [], bounds)


_Bound = tuple[Ball, Ball]
"""Where an end may be, and the eigenvalue that binds there."""


def _window(domain: Window, lows: list[_Bound], highs: list[_Bound]) -> Window:
    low, low_end = _extreme(lows, arb.max, Event.plus_one)
    high, high_end = _extreme(highs, arb.min, Event.flip)
    width = arb(1) if high is None else high - (arb(0) if low is None else low)
    window = replace(domain, low=low_end or domain.low, high=high_end or domain.high)
    # Doubles decide as the balls do, unless the ends are closer than doubles are.
    decided = (width <= 0) if window.is_empty else (width > 0)
    return replace(window, decided=bool(decided))


def _extreme(
    bounds: list[_Bound], pick: Callable[[Ball, Ball], Ball], event: Event
) -> tuple[Ball | None, Endpoint | None]:
    """Enclose the largest or the smallest of `bounds`."""
    if not bounds:
        return None, None
    best, binding = bounds[0]
    for value, eigenvalue in bounds[1:]:
        chosen = pick(best, value)
        if abs(float(chosen) - float(value)) < abs(float(chosen) - float(best)):
            binding = eigenvalue
        best = chosen
    ends = span(best)
    middle = sympy.Float(0.5 * ends[0] + 0.5 * ends[1])
    return best, Endpoint(middle, event, False, _mid(binding), ends)


def _mid(ball: Ball) -> sympy.Float:
    return sympy.Float(float(ball))
