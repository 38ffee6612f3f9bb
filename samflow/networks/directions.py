"""What an update does along given directions: its effective curvature there, measured."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy

from samflow import _checks, theory
from samflow._types import NumpyArray, Point
from samflow.equilibria.products import hessian_product
from samflow.equilibria.settings import theory_settings
from samflow.losses.calls import gradient
from samflow.losses.eager import compiled
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.rules import AbstractMemoryRule
from samflow.systems import Map
from samflow.theory.symbols import beta, multiplier, scaled_curvature

_FINER = 8
_EXPECTED = 10
"""In steps h = ∛ε. Rounding of w, by ε‖w‖, makes ε‖w‖/h = ‖w‖ h² of a mismatch."""


class Along(NamedTuple):
    """The derivative D of a direction d(w), seen along unit vectors v.

    Attributes:
        curvature: vᵀDv, the effective curvature U along v, shape (m,), weight decay included.
        residual: ‖Dv − (vᵀDv)v‖, shape (m,): 0 where v is an eigenvector of D. D is not symmetric
            away from critical points: U may be farther than this from an eigenvalue.

    """

    curvature: NumpyArray
    residual: NumpyArray


def measured_along(system: Map, w: Point, vectors: NumpyArray) -> Along:
    """Return the effective curvature of a map's rule along the rows of `vectors`.

    Raises:
        ArgumentError: for a rule with a memory, whose direction depends on more than w.

    """
    without_memory(system)
    plain = eqx.tree_at(lambda s: s.momentum, system, None, is_leaf=lambda leaf: leaf is None)
    images = [np.asarray(_derivative(plain, w, jnp.asarray(v))) for v in vectors]
    curvature = np.array([v @ image for v, image in zip(vectors, images, strict=True)])
    rest = [i - u * v for u, v, i in zip(curvature, vectors, images, strict=True)]
    return Along(curvature, np.linalg.norm(rest, axis=1))


def without_memory(system: Map) -> None:
    """Check that the direction of a map's rule depends on weights alone.

    Raises:
        ArgumentError: for a rule with a memory.

    """
    if isinstance(system.rule, AbstractMemoryRule):
        raise _checks.ArgumentError(
            f"Argument `rules` must hold rules without a memory, but {system.rule.name} has one. "
            "`update_multipliers` takes it."
        )


@compiled
def _derivative(system: Map, w: Point, v: Point) -> Point:
    """Return Dv from (w − step(w))/lr, which is d(w) with weight decay and without momentum."""
    return (v - jax.jvp(system.step, (w,), (v,))[1]) / system.lr


class Difference(NamedTuple):
    """A Hessian-vector product beside a difference of gradients.

    Attributes:
        mismatch: ‖(g(w + hv) − g(w − hv))/2h − Hv‖/‖Hv‖; infinite where Hv = 0 alone, NaN where a
            gradient is not finite.
        step: h.
        expected: how large the mismatch may be by rounding and by the third derivative.

    """

    mismatch: float
    step: float
    expected: float


def gradient_difference(loss: AbstractNetworkLoss, w: Point, v: Point) -> Difference:
    """Compare Hv, ‖v‖ = 1, with a central difference of gradients over h = ∛ε or an eighth of it.

    ε is the rounding of the float type that the network computes in. A difference sees what second
    derivatives leave out: kinks that lie within h, and operations whose second derivative is wrong.
    That of the two steps is returned which is nearer: a large third derivative spoils the larger
    one, rounding the smaller one.
    """
    step = float(np.cbrt(np.finfo(loss.options.dtype).eps))
    image = np.asarray(hessian_product(loss, w)(np.asarray(v)))
    tried = [_difference(loss, w, v, image, h) for h in (step, step / _FINER)]
    return min(tried, key=lambda each: (math.isnan(each.mismatch), each.mismatch))


def _difference(
    loss: AbstractNetworkLoss, w: Point, v: Point, image: NumpyArray, step: float
) -> Difference:
    ahead, behind = (np.asarray(gradient(loss, w + s * step * v)) for s in (1, -1))
    gap = np.linalg.norm((ahead - behind) / (2 * step) - image)
    with np.errstate(divide="ignore"):
        mismatch = float(gap / np.linalg.norm(image)) if gap else 0.0
    return Difference(mismatch, step, _EXPECTED * float(np.cbrt(np.finfo(loss.options.dtype).eps)))


def roots(system: Map, curvature: float) -> NumpyArray:
    """Return the multipliers of the map along a direction of effective curvature U.

    They are the roots of the characteristic polynomial at x = lr · U: 1 − x without momentum.
    """
    settings = theory_settings(system)
    polynomial, parameters = _polynomial(settings["kind"]), (settings["lr"], settings["momentum"])
    coefficients = polynomial(parameters[0] * curvature, parameters[1])
    return np.roots(coefficients) if np.isfinite(coefficients).all() else np.array([np.nan])


def log_growth(system: Map, curvature: NumpyArray) -> NumpyArray:
    """Return log max|μ| for effective curvatures U, shape (m,); NaN where U is not finite."""
    with np.errstate(divide="ignore"):
        return np.array([np.log(np.abs(roots(system, u)).max(initial=0.0)) for u in curvature])


def growth_within(
    system: Map, curvature: NumpyArray, reach: NumpyArray
) -> tuple[NumpyArray, NumpyArray]:
    """Return the least and the largest log max|μ| for U within `reach` of `curvature`, (m,) each.

    max|μ| falls and then rises with U: it is largest at an end, and least at an end or where it
    turns, at a double root with momentum and at lr · U = 1 without.
    """
    ends = [curvature - reach, curvature + reach]
    inside = [np.clip(point, *ends) for point in _turning_points(system)]
    growth = [log_growth(system, u) for u in (curvature, *ends, *inside)]
    return np.min(growth, axis=0), np.max(growth, axis=0)


def _turning_points(system: Map) -> list[float]:
    settings = theory_settings(system)
    if settings["kind"] == "none":
        return [1 / settings["lr"]]
    zeros = np.roots(_discriminant(settings["kind"])(settings["momentum"]))
    return [float(x.real) / settings["lr"] for x in zeros]


@functools.cache
def _discriminant(kind: str) -> Callable[[float], list[float]]:
    """Return the coefficients in x of the characteristic polynomial's discriminant, of β."""
    found = sympy.discriminant(theory.characteristic_polynomial(kind), multiplier)
    return sympy.lambdify([beta], sympy.Poly(found, scaled_curvature).all_coeffs())


@functools.cache
def _polynomial(kind: str) -> Callable[[float, float], list[float]]:
    """Return the coefficients of the characteristic polynomial as a function of x and β."""
    polynomial = sympy.Poly(theory.characteristic_polynomial(kind), multiplier)
    return sympy.lambdify([scaled_curvature, beta], polynomial.all_coeffs())
