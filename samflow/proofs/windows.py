"""The ranges of rho and lr in which a critical point attracts, with ends enclosed by balls.

With eigenvalues λ of the Hessian, U(λ) = λ(1 + rho λ) and c as in `Dynamics.edge`, a critical
point attracts under USAM iff 0 < U (flow) or 0 < lr U < c (map) for every λ. Solved for rho,

    λ < 0:  1/|λ| < rho,     any λ:  rho < (c/lr − λ)/λ²   (map only),

and solved for lr, where every U > 0: lr < c/max U. Source: docs/theory, section 2.
"""

from collections.abc import Callable
from typing import NamedTuple

from flint import arb

from samflow._status import Verdict
from samflow.proofs.balls import Ball, Balls, Span, span
from samflow.proofs.enclosures import Dynamics, ascent_eigenvalue


class End(NamedTuple):
    """One end of a window: doubles around it, and which Hessian eigenvalue sets it."""

    enclosure: Span
    eigenvalue: int


class Window(NamedTuple):
    """An open range of a hyperparameter in which a critical point attracts.

    Attributes:
        parameter: rho or lr.
        verdict: proved where the range holds a number, refuted where it is empty, inconclusive
            where the sign of an eigenvalue, or the order of the ends, is not decided.
        low: the lower end; None where the range begins at 0.
        high: the upper end; None where there is none.

    """

    parameter: str
    verdict: Verdict
    low: End | None = None
    high: End | None = None


def rho_window(eigenvalues: Balls, dynamics: Dynamics) -> Window:
    """Return the range of rho in which USAM attracts, at the step size of `dynamics`."""
    if any(0 in value for value in eigenvalues):
        return Window("rho", Verdict.inconclusive)
    lows = {i: -1 / value for i, value in enumerate(eigenvalues) if value < 0}
    highs: dict[int, Ball] = {}
    if dynamics.lr is not None:
        bound = dynamics.edge / dynamics.lr
        highs = {i: (bound - value) / (value * value) for i, value in enumerate(eigenvalues)}
    return _window("rho", lows, highs)


def lr_window(eigenvalues: Balls, rho: Ball, dynamics: Dynamics) -> Window:
    """Return the range of lr in which USAM with this `rho` attracts."""
    curvatures = [ascent_eigenvalue(value, rho) for value in eigenvalues]
    if any(u < 0 for u in curvatures):
        return Window("lr", Verdict.refuted)
    if not all(u > 0 for u in curvatures):
        return Window("lr", Verdict.inconclusive)
    return _window("lr", {}, {i: dynamics.edge / u for i, u in enumerate(curvatures)})


def _window(parameter: str, lows: dict[int, Ball], highs: dict[int, Ball]) -> Window:
    low, low_end = _extreme(lows, arb.max)
    high, high_end = _extreme(highs, arb.min)
    width = arb(1) if high is None else high - (arb(0) if low is None else low)
    verdict = Verdict.inconclusive
    if width > 0:
        verdict = Verdict.proved
    elif width <= 0:
        verdict = Verdict.refuted
    return Window(parameter, verdict, low_end, high_end)


def _extreme(
    candidates: dict[int, Ball], pick: Callable[[Ball, Ball], Ball]
) -> tuple[Ball | None, End | None]:
    """Enclose the largest or the smallest of `candidates`."""
    best, index = None, -1
    for i, value in candidates.items():
        if best is None:
            best, index = value, i
            continue
        chosen = pick(best, value)
        if abs(float(chosen) - float(value)) < abs(float(chosen) - float(best)):
            index = i
        best = chosen
    return (None, None) if best is None else (best, End(span(best), index))
