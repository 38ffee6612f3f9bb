"""What an update does along given directions: its effective curvature there, measured."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy

from samflow import _checks, theory
from samflow._types import NumpyArray, Point
from samflow.equilibria.settings import theory_settings
from samflow.losses.eager import compiled
from samflow.rules import AbstractMemoryRule
from samflow.systems import Map
from samflow.theory.symbols import beta, multiplier, scaled_curvature


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
    if isinstance(system.rule, AbstractMemoryRule):
        raise _checks.ArgumentError(
            f"Argument `rules` must hold rules without a memory, but {system.rule.name} has one. "
            "`update_multipliers` takes it."
        )
    plain = eqx.tree_at(lambda s: s.momentum, system, None, is_leaf=lambda leaf: leaf is None)
    images = [np.asarray(_derivative(plain, w, jnp.asarray(v))) for v in vectors]
    curvature = np.array([v @ image for v, image in zip(vectors, images, strict=True)])
    rest = [i - u * v for u, v, i in zip(curvature, vectors, images, strict=True)]
    return Along(curvature, np.linalg.norm(rest, axis=1))


@compiled
def _derivative(system: Map, w: Point, v: Point) -> Point:
    """Return Dv from (w − step(w))/lr, which is d(w) with weight decay and without momentum."""
    return (v - jax.jvp(system.step, (w,), (v,))[1]) / system.lr


def log_growth(system: Map, curvature: NumpyArray) -> NumpyArray:
    """Return log max|μ| for effective curvatures U: the multipliers of the map along one direction.

    They are the roots of the characteristic polynomial at x = lr · U: 1 − x without momentum.
    """
    settings = theory_settings(system)
    polynomial = sympy.Poly(theory.characteristic_polynomial(settings["kind"]), multiplier)
    coefficients = sympy.lambdify([scaled_curvature, beta], polynomial.all_coeffs())
    x = settings["lr"] * np.asarray(curvature, dtype=float)
    with np.errstate(divide="ignore"):
        return np.array([_log_modulus(coefficients(each, settings["momentum"])) for each in x])


def _log_modulus(coefficients: list[float]) -> float:
    if not np.isfinite(coefficients).all():
        return np.nan
    return float(np.log(np.abs(np.roots(coefficients)).max(initial=0.0)))
