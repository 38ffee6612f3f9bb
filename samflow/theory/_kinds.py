"""Kinds of critical points (attracting, repelling, saddle) from inequalities.

No eigenvalue is solved for, so that this is independent of the analyses that compute multipliers.
Jury's criterion places the roots of
p(z) = z² − Tz + D by the signs of p(1), p(−1) and 1 − D.
"""

import functools
from typing import Any

import numpy as np
import sympy
from numpy.typing import ArrayLike

from samflow._status import Kind
from samflow.theory.conditions import RULES, effective_curvature, jury
from samflow.theory.symbols import beta, lam, rho, scaled_curvature


def kind(
    eigenvalues: ArrayLike,
    *,
    rule: str,
    rho: Any = 0,
    lr: Any = None,
    momentum: Any = 0,
    scheme: str = "none",
    tolerance: float = 0.0,
) -> Kind:
    """Say what a critical point with these Hessian eigenvalues is. See `kinds`."""
    eigenvalues = np.asarray(eigenvalues)
    if eigenvalues.ndim != 1:
        raise ValueError(
            f"Argument `eigenvalues` must have shape (n,), but has shape {eigenvalues.shape}. "
            "Use `kinds` for many points."
        )
    answer = kinds(
        eigenvalues,
        rule=rule,
        rho=rho,
        lr=lr,
        momentum=momentum,
        scheme=scheme,
        tolerance=tolerance,
    )
    return Kind(str(answer))


def kinds(
    eigenvalues: ArrayLike,
    *,
    rule: str,
    rho: Any = 0,
    lr: Any = None,
    momentum: Any = 0,
    scheme: str = "none",
    tolerance: float = 0.0,
) -> np.ndarray:
    """Say what each of many critical points is.

    Args:
        eigenvalues: of the Hessian, shape (..., n), n ≥ 1. Fractions are decided exactly.
        rule: one of `RULES`, or "sam".
        rho: radius; broadcasts against shape (...).
        lr: step size; broadcasts likewise. None means the flow ẇ = −d(w), which has no momentum.
        momentum: β; broadcasts likewise. 0 with scheme "none".
        scheme: of momentum. With momentum the state is (w, v) and each λ has two multipliers, even
            where β = 0: one of them is then 0.
        tolerance: a dimensionless number. A point counts as nonhyperbolic where some |λ| is at most
            this part of the largest, |U| at most this part of |λ|(1 + ρ|λ|), or |p(−1)| or (for a
            complex pair) |1 − D| at most this.

    Returns:
        The kinds as strings, shape (...): attracting (all multipliers inside the unit circle),
        repelling (all outside), saddle (some in, some out, none on it), nonhyperbolic (one or
        more on it), undefined (rule "sam", which has no Jacobian; or numbers that are not finite).

    """
    values = np.asarray(eigenvalues)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(
            f"Argument `eigenvalues` must have shape (..., n), n ≥ 1, but has shape {values.shape}."
        )
    step = 1 if lr is None else lr
    rho, momentum, step = (np.asarray(value)[..., None] for value in (rho, momentum, step))
    if scheme == "none" and (momentum != 0).any():
        raise ValueError(
            "Argument `momentum` must be 0 with scheme `none`, but is not. Give scheme "
            "`heavy_ball` or `nesterov`."
        )
    values, rho, momentum, step = np.broadcast_arrays(values, rho, momentum, step)
    if rule == "sam":
        return np.full(values.shape[:-1], Kind.undefined.value)
    with np.errstate(over="ignore", invalid="ignore"):
        curvature = _curvature_function(rule)(values, rho)
        sizes = abs(values)
        # A tolerance of 0 must not meet Fractions, which it would make floats.
        slack = tolerance * _curvature_function(rule)(sizes, rho) if tolerance else 0
        least = tolerance * sizes.max(axis=-1, keepdims=True) if tolerance else 0
        flat = (sizes <= least) | (abs(curvature) <= slack)  # p(1) = ηU for every scheme
        if lr is None:
            finite, outside, on, order = _flow_counts(curvature, scheme, flat)
        else:
            finite, outside, on, order = _map_counts(
                step * curvature, momentum, scheme, flat, tolerance
            )
    count = outside.sum(axis=-1)
    return np.select(
        [~finite.all(axis=-1), on.any(axis=-1), count == 0, count == order * values.shape[-1]],
        [Kind.undefined, Kind.nonhyperbolic, Kind.attracting, Kind.repelling],
        Kind.saddle,
    )


def _flow_counts(curvature: np.ndarray, scheme: str, flat: np.ndarray) -> tuple:
    if scheme != "none":
        raise ValueError(
            "Argument `lr` must be given with momentum, because a flow has no momentum here."
        )
    return _is_finite(curvature), curvature < 0, flat, 1


def _map_counts(
    x: np.ndarray, momentum: np.ndarray, scheme: str, flat: np.ndarray, tolerance: float
) -> tuple:
    """Count multipliers outside the circle for each x = ηU, and find those on it.

    p(1) p(−1) < 0: one root inside (−1, 1), one outside. Both negative: a root beyond either end.
    Both positive: a complex pair, or two real roots on the same side of 1 and of −1; then the
    product D decides. `flat` says which are on it at +1.
    """
    at_plus, at_minus, gap = _jury_function(scheme)(x, momentum)
    gap = gap + 0 * x  # without momentum the gap is the number 1
    both_positive = (at_plus > 0) & ~flat & (at_minus > tolerance)
    on = flat | (abs(at_minus) <= tolerance)
    on = on | (both_positive & (abs(gap) <= tolerance))
    one_outside = (at_plus > 0) != (at_minus > 0)
    two_outside = ((at_plus < 0) & (at_minus < 0)) | (both_positive & (gap < 0))
    outside = np.where(one_outside, 1, np.where(two_outside, 2, 0))
    return _is_finite(at_plus + at_minus + gap), outside, on, 1 if scheme == "none" else 2


def _is_finite(array: np.ndarray) -> np.ndarray:
    return (array - array) == 0  # also for Fractions, which np.isfinite does not take


@functools.cache
def _curvature_function(rule: str) -> Any:
    if rule not in RULES:
        raise ValueError(f"Unknown rule `{rule}`. Known: {', '.join((*RULES, 'sam'))}.")
    return sympy.lambdify([lam, rho], effective_curvature(rule), "math")


@functools.cache
def _jury_function(scheme: str) -> Any:
    return sympy.lambdify([scaled_curvature, beta], jury(scheme), "math")
