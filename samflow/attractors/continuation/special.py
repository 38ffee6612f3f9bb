"""From a test function's root to a bifurcation: which it is, its normal form, what crosses."""

from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from samflow._status import Status
from samflow._types import ArrayLike
from samflow.attractors.continuation.curve import Curve, Point
from samflow.attractors.continuation.equations import RestEquations
from samflow.attractors.continuation.events import Root, Tests
from samflow.attractors.continuation.records import Bifurcation, SpecialPoint
from samflow.equilibria import normal_forms
from samflow.equilibria.nearness import bends_sharply

_VERTICAL = 1e-3
"""The part along the parameter below which the tangent of a branch counts as vertical."""
_PRECISE = 1e-6
"""A point whose bracket is narrower than this part of the range is located."""
_FLAT = 1e-7
"""A coefficient this small, beside the derivatives that it is made of, is 0."""


class Crossing(NamedTuple):
    """The second branch at a branch point.

    Attributes:
        tangent: in units of the unknowns.
        vertical: whether one of the two branches has a tangent without part along the parameter.

    """

    tangent: np.ndarray
    vertical: bool


def special_point(curve: Curve, tests: Tests, root: Root, index: int) -> SpecialPoint | None:
    """Return the bifurcation at a root; None for a pair of real multipliers with product 1."""
    point, equations = root.point, curve.equations
    y = point.y * curve.unit
    state = curve.unit[:-1]
    shifted = point.jacobian[:, :-1] * state[:, None] / state  # A − I of a map, A of a flow
    jacobian = shifted + np.eye(len(state)) if tests.discrete else shifted
    forms = normal_forms.Derivatives(equations, y)
    neutral = 1.0 if tests.discrete else 0.0
    coefficient, direction = np.nan, np.append(state * 0, 0.0)
    if root.name == "pair":
        values = [v for v in tests.spectrum(point) if v.imag > 0]
        growth = tests.growth(np.array(values)) if values else np.array([np.inf])
        critical = values[int(np.argmin(np.abs(growth)))] if values else 0j
        if not values or np.abs(growth).min() > 1e-4 * (1 + abs(critical)):
            return None
        kind = Bifurcation.neimark_sacker if tests.discrete else Bifurcation.hopf
        pair = normal_forms.eigenpair(jacobian, critical)
        coefficient = normal_forms.rotating(forms, jacobian, pair, tests.discrete)
        sign = -1
        direction = np.append(np.real(pair.right), 0.0)
    elif root.name == "flip":
        kind, sign = Bifurcation.flip, 1
        pair = normal_forms.eigenpair(jacobian, -1.0)
        coefficient = normal_forms.cubic(forms, -shifted, pair, singular=False)
        direction = np.append(np.real(pair.right), 0.0)
    else:
        pair, sign = normal_forms.eigenpair(jacobian, neutral), -1
        kind, coefficient = Bifurcation.fold, normal_forms.quadratic(forms, pair)
        direction = np.append(np.real(pair.right), 0.0)
        if root.name == "branch":
            crossing = _crossing(curve, point)
            kind = Bifurcation.branch_point
            if crossing is not None:
                direction = crossing.tangent * curve.unit
                kind = Bifurcation.pitchfork if crossing.vertical else Bifurcation.transcritical
            if kind is Bifurcation.pitchfork:
                coefficient = normal_forms.cubic(forms, -shifted, pair, singular=True)
    here = equations.at(y[-1])
    if bends_sharply(here, y[:-1], float(state[: here.dim].max())):
        coefficient = np.nan
        kind = Bifurcation.branch_point if root.name == "branch" else kind
    span = curve.unit[-1]
    low, high = (float(end * span) for end in root.bracket)
    error = max(high - low, 4 * np.finfo(float).eps * abs(y[-1]))
    spectrum = tests.spectrum(point)
    first = np.argsort(np.abs(spectrum - pair.value), kind="stable")
    return SpecialPoint(
        kind=kind,
        parameter=float(y[-1]),
        interval=(low, high),
        error=float(error),
        state=tuple(y[:-1].tolist()),
        spectrum=tuple(spectrum[first].tolist()),
        coefficient=float(coefficient),
        criticality=_criticality(kind, sign * coefficient, forms, pair),
        status=Status.located if error <= _PRECISE * span else Status.residual_too_large,
        index=index,
        direction=tuple(direction.tolist()),
    )


def _criticality(
    kind: Bifurcation, signed: float, forms: normal_forms.Derivatives, pair: normal_forms.Eigenpair
) -> str:
    if kind in (Bifurcation.fold, Bifurcation.transcritical, Bifurcation.branch_point):
        return ""
    q = np.real(pair.right)
    size = np.linalg.norm(forms.third(q, q, q)) + np.linalg.norm(forms.second(q, q)) ** 2
    if not np.isfinite(signed):
        return ""
    if abs(signed) <= _FLAT * size:
        return "degenerate"
    return "supercritical" if signed > 0 else "subcritical"


def _crossing(curve: Curve, point: Point) -> Crossing | None:
    """Return the tangent of the other branch, by the equation of branching (Keller 1977).

    On the null space of DR, spanned by our tangent t and φ across it, ψᵀD²R[αt + βφ]² = 0 has the
    roots β = 0 and α/β = −ψᵀD²R[φ, φ]/(2ψᵀD²R[t, φ]).
    """
    left, values, right = np.linalg.svd(point.jacobian)
    null = right[-2:]
    inside = null.T @ (null @ point.tangent)
    ours = inside / np.linalg.norm(inside)
    across = null.T @ np.array([-null[1] @ ours, null[0] @ ours])
    psi = left[:, -1]
    form = _Quadratic(curve, point.y, psi)
    mixed, square = form(ours, across), form(across, across)
    if not (np.isfinite([mixed, square]).all() and abs(mixed) > 1e-9 * values[0]):
        return None
    other = across - square / (2 * mixed) * ours
    other /= np.linalg.norm(other)
    vertical = min(abs(ours[-1]), abs(other[-1])) <= _VERTICAL
    return Crossing(other, vertical)


class _Quadratic:
    """ψᵀD²R[u, v] in units of the unknowns."""

    def __init__(self, curve: Curve, y: np.ndarray, psi: np.ndarray) -> None:
        self._curve, self._y, self._psi = curve, y, psi

    def __call__(self, u: np.ndarray, v: np.ndarray) -> float:
        value = _second(self._curve.equations, self._curve.unit, self._y, u, v)
        return float(self._psi @ np.asarray(value))


@eqx.filter_jit
def _second(
    equations: RestEquations, unit: ArrayLike, y: ArrayLike, u: ArrayLike, v: ArrayLike
) -> Array:
    def scaled(y: Array) -> Array:
        return equations.residual(y * unit) / unit[:-1]

    def slope(y: Array) -> Array:
        return jax.jvp(scaled, (y,), (u,))[1]

    return jax.jvp(slope, (y,), (v,))[1]
