"""What an update does along given directions: its effective curvature there, measured."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy

from samflow import _checks, theory
from samflow._types import NumpyArray, Point
from samflow.losses.base import AbstractDerivedLoss, AbstractLoss
from samflow.losses.eager import AbstractEagerLoss, compiled
from samflow.spectra.differences import Difference, gradient_difference
from samflow.spectra.products import Remembered
from samflow.systems import Map
from samflow.systems.base import check_fixed
from samflow.systems.hyperparameters import theory_settings
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


def measured_along(
    system: Map, w: Point, vectors: NumpyArray, *, remembered: Remembered | None = None
) -> Along:
    """Return the effective curvature of a map's rule along the rows of `vectors`.

    What is `remembered` of the map's loss is not computed again: rules share products at w.

    Raises:
        ArgumentError: for a rule with a memory, whose direction depends on more than w.

    """
    _checks.instance("system", system, Map, "Use `sf.Map(loss, rule, lr=...)`.")
    check_fixed(system)
    without_memory(system)
    plain = eqx.tree_at(lambda s: s.momentum, system, None, is_leaf=lambda leaf: leaf is None)
    if system.rule.by_gradients:
        held = Remembered(system.loss) if remembered is None else remembered
        for v in vectors:  # products at w, before those at the ascent point take their place
            held.image(w, v)
        plain = eqx.tree_at(lambda s: s.loss, plain, _OneProgram(system.loss, held))
    images = [np.asarray(_derivative(plain, w, jnp.asarray(v))) for v in vectors]
    curvature = np.array([v @ image for v, image in zip(vectors, images, strict=True)])
    rest = [i - u * v for u, v, i in zip(curvature, vectors, images, strict=True)]
    return Along(curvature, np.linalg.norm(rest, axis=1))


class _OneProgram(AbstractEagerLoss, AbstractDerivedLoss):
    """A loss whose gradient and products are one compiled program each, whatever the rule.

    A rule's derivative compiled as a whole is a program of its own for each rule, several times as
    large: for a network of convolutions that took most of the time of a diagnosis.
    """

    loss: AbstractLoss
    remembered: Remembered = eqx.field(static=True)

    def value_at(self, w: Point) -> Any:
        """Return L(w)."""
        return self.remembered.value(w)

    def gradient_at(self, w: Point) -> Any:
        """Return g(w)."""
        return self.remembered.gradient(w)

    def product_at(self, w: Point) -> Callable[[Any], Any]:
        """Return v ↦ H(w)v."""
        return self.remembered.product(w)


def without_memory(system: Map) -> None:
    """Check that the direction of a map's rule depends on weights alone.

    Raises:
        ArgumentError: for a rule with a memory.

    """
    if system.rule.num_memories:
        raise _checks.ArgumentError(
            f"Argument `rules` must hold rules without a memory, but {system.rule.name} has one. "
            "Use `update_multipliers`, which accepts it."
        )


@compiled
def _derivative(system: Map, w: Point, v: Point) -> Point:
    """Return Dv from (w − step(w))/lr, which is d(w) with weight decay and without momentum."""
    return (v - jax.jvp(system.step, (w,), (v,))[1]) / system.lr


def roots(system: Map, curvature: float) -> NumpyArray:
    """Return the multipliers of the map along a direction of effective curvature U.

    They are the roots of the characteristic polynomial at x = lr · U: 1 − x without momentum.
    """
    settings = theory_settings(system)
    polynomial, parameters = _polynomial(settings["scheme"]), (settings["lr"], settings["momentum"])
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
    if settings["scheme"] == "none":
        return [1 / settings["lr"]]
    zeros = np.roots(_discriminant(settings["scheme"])(settings["momentum"]))
    return [float(x.real) / settings["lr"] for x in zeros]


@functools.cache
def _discriminant(scheme: str) -> Callable[[float], list[float]]:
    """Return the coefficients in x of the characteristic polynomial's discriminant, of β."""
    found = sympy.discriminant(theory.characteristic_polynomial(scheme), multiplier)
    return sympy.lambdify([beta], sympy.Poly(found, scaled_curvature).all_coeffs())


@functools.cache
def _polynomial(scheme: str) -> Callable[[float, float], list[float]]:
    """Return the coefficients of the characteristic polynomial as a function of x and β."""
    polynomial = sympy.Poly(theory.characteristic_polynomial(scheme), multiplier)
    return sympy.lambdify([scaled_curvature, beta], polynomial.all_coeffs())


__all__ = [
    "Along",
    "Difference",
    "gradient_difference",
    "growth_within",
    "log_growth",
    "measured_along",
    "roots",
    "without_memory",
]
