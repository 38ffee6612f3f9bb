"""The extreme multipliers of an update at a checkpoint, beside their closed form."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array, Complex, Float, Int, PRNGKeyArray

from samflow import _checks, theory
from samflow._random import numpy_generator
from samflow._status import Status
from samflow._types import ArrayLike, NumpyArray, Point
from samflow.losses.eager import compiled
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.rules import Ascent
from samflow.spectra.directions import roots
from samflow.spectra.krylov import Product, Ritz, arnoldi, settled
from samflow.spectra.products import hessian_product
from samflow.spectra.spectrum import tolerance
from samflow.systems import Map
from samflow.systems.base import check_fixed
from samflow.systems.hyperparameters import theory_settings
from samflow.theory.symbols import lam, rho

DENSE_DIM = 200
"""Up to this many entries of the state the whole Jacobian is formed and diagonalised."""

CRITICAL = 1e-10
"""‖g‖ up to this times max|λ| and a length, as ‖w‖, counts as 0."""
_SINGULAR = 1e-12
"""Up to this times 1 + ‖w‖ the distance from where a rule is not smooth is rounding."""


class Multipliers(AbstractRecord):
    """Multipliers μ of a map's Jacobian J at a state, largest modulus first.

    Attributes:
        values: μ, shape (k,), complex; NaN where there is no Jacobian.
        vectors: eigenvectors x as rows of length 1, shape (k, state_dim), complex.
        residuals: ‖Jx − μx‖, shape (k,), of the products that were taken. J is not symmetric: by
            this much J would have to change for μ to be a multiplier of it, and μ itself may be
            farther from one.
        curvature: λ, the Rayleigh quotient of H with the weights' part u of x, shape (k,).
        curvature_residuals: ‖Hu − λu‖/‖u‖, shape (k,): how far u is from an eigenvector of H.
        closed_form: the root nearest to μ of the characteristic polynomial at ηU(λ), shape (k,),
            complex: 1 − ηU(λ) without momentum. NaN for a rule that has none.
        gap: |μ − closed_form|, shape (k,).
        gradient_norm: ‖g(w)‖.
        exact: whether the closed form is one here: at a critical point, and for GD everywhere.
            It then errs by rounding and residuals alone.
        statement: the same in words.
        status: a `Status` a multiplier: located, residual_too_large, not_differentiable or
            not_finite.
        num_products: how many products J x were taken.
        method: "dense" or "arnoldi".

    """

    basis: ClassVar[Names] = ("checkpoint",)
    rows: ClassVar[Names] = ("multiplier",)
    exact: bool = eqx.field(static=True)
    statement: str = eqx.field(static=True)
    num_products: int = eqx.field(static=True)
    method: str = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    values: Complex[Array, " k"] = eqx.field(metadata=axes("multiplier", units="1"))
    vectors: Complex[Array, "k state"] = eqx.field(metadata=axes("multiplier", "state"))
    residuals: Float[Array, " k"] = eqx.field(metadata=axes("multiplier", units="1"))
    curvature: Float[Array, " k"] = eqx.field(metadata=axes("multiplier", units="loss/weight^2"))
    curvature_residuals: Float[Array, " k"] = eqx.field(
        metadata=axes("multiplier", units="loss/weight^2")
    )
    closed_form: Complex[Array, " k"] = eqx.field(metadata=axes("multiplier", units="1"))
    gap: Float[Array, " k"] = eqx.field(metadata=axes("multiplier", units="1"))
    gradient_norm: Float[Array, ""] = eqx.field(metadata=axes(units="loss/weight"))
    status: Int[Array, " k"] = eqx.field(metadata=axes("multiplier", words=Status))

    def __str__(self) -> str:
        """Return a line a multiplier, and what the closed form is worth."""
        lines = []
        rows = zip(self.values, self.residuals, self.closed_form, self.gap, strict=True)
        for mu, residual, closed, gap in rows:
            line = f"{_complex(complex(mu))}, residual {float(residual):.1e}"
            line += f"; closed form {_complex(complex(closed))}, gap {float(gap):.1e}"
            lines.append(line)
        return "\n".join([*lines, self.statement])


def update_multipliers(
    system: Map,
    w: ArrayLike,
    *,
    k: int = 4,
    tol: float | None = None,
    max_products: int = 400,
    key: PRNGKeyArray | None = None,
) -> Multipliers:
    """Find the `k` multipliers of largest modulus of the update at the weights `w`.

    J is the Jacobian of z⁺ = F(z) at z = system.lift(w), which with momentum has velocity 0; its
    products are derivatives of F in a direction (jvp). Up to `DENSE_DIM` entries of z it is
    formed; beyond, Arnoldi with two passes of reorthogonalisation and no restart runs until each
    of the `k` has a residual of at most tol · max|μ|.

    Beside each μ stands what theory makes of the curvature λ along its eigenvector. Of GD that is
    exact anywhere. USAM's Jacobian is I − ηH(w + ρg)(I + ρH(w)): with g = 0 it is a polynomial in
    H(w), elsewhere H(w + ρg) − H(w) ≈ ρ L'''(w)g comes in, and `gap` says by how much.

    Args:
        system: a map; any rule has multipliers where it is smooth.
        w: weights, shape (dim,), as a rule near a critical point, but it need not be one.
        k: how many. Of a complex pair at the end of the list one may be left out.
        tol: largest accepted residual, as a part of max|μ|; None: 1e-8, or a hundred units of
            rounding of the loss if that is more.
        max_products: where Arnoldi gives up; it holds so many vectors as long as the state.
        key: of Arnoldi's random start.

    Returns:
        A `Multipliers`. Where the rule has no Jacobian all is NaN, status not_differentiable. A
        multiplier whose residual is too large says so and is not dropped.

    Not guaranteed: that Arnoldi missed none. A repeated multiplier may be found once. In flat
    directions of a network multipliers cluster at 1, and those beyond it by less than 1e-4 may
    not be reached with `max_products`.

    Raises:
        ArgumentError: for a system that is no map of a rule; in single precision; for a `w` of
            the wrong shape or not finite; for more multipliers than entries of the state.

    Source: docs/theory, sections 1 and 2, for the closed form.

    """
    _checks.double_precision("Finding multipliers")
    _checks.instance("system", system, Map, "Use `sf.Map(loss, rule, lr=...)`.")
    check_fixed(system)
    w = _checks.point("w", w, system.dim)
    k, max_products = _checks.count("k", k), _checks.count("max_products", max_products)
    tol, dim = tolerance(system.loss, tol), system.state_dim
    if k > dim:
        raise _checks.ArgumentError(
            f"Argument `k` must be at most {dim}, the dimension of the state, but is {k}."
        )
    z, gradient_norm, singularity = _at(system, w)
    dense = dim <= DENSE_DIM
    smooth = bool(singularity > _SINGULAR * (1 + jnp.linalg.norm(w)))
    if not smooth:
        found = _nothing(k, dim)
    elif dense:
        found = _dense(_jacobian_product(system, z), dim, k)
    else:
        steps = min(max(max_products, k), dim)
        found = _arnoldi(_jacobian_product(system, z), dim, k, tol, steps, key)
    values, vectors, residuals = found.values, found.vectors, found.residuals
    known = bool(np.isfinite(values).all())
    status = np.full(k, Status.not_finite if smooth else Status.not_differentiable)
    if known:
        good = residuals <= tol * found.scale
        status = np.where(good, Status.located, Status.residual_too_large)
    curvature, errors = _curvature(system, w, vectors) if known else (residuals, residuals)
    size = np.max(np.abs(curvature)) * np.linalg.norm(w)
    critical = bool(gradient_norm <= CRITICAL * size)
    closed = _closed_form(system, curvature, values)
    anywhere = system.rule.ascent is Ascent.none
    exact = known and (critical or anywhere) and bool(np.isfinite(closed).all())
    arrays = (values, vectors, residuals, curvature, errors, closed, np.abs(values - closed))
    return Multipliers(
        exact,
        _statement(system, exact, critical, float(gradient_norm), closed, smooth),
        found.num_steps,
        "dense" if dense else "arnoldi",
        provenance(system.describe(), k=k, tol=tol, max_products=max_products, key=key),
        *map(jnp.asarray, (*arrays, gradient_norm, status)),
    )


@compiled
def _at(system: Map, w: Point) -> tuple[Array, Array, Array]:
    z = system.lift(w)
    return z, jnp.linalg.norm(system.loss.gradient(w)), system.singularity(z)


@compiled
def _jvp(system: Map, z: Point, x: Point) -> Array:
    return jax.jvp(system.step, (z,), (x,))[1]


def _jacobian_product(system: Map, z: Point) -> Product:
    return lambda x: np.array(_jvp(system, z, jnp.asarray(x)))


def _nothing(k: int, dim: int) -> Ritz:
    nan = np.full(k, np.nan)
    return Ritz(nan + 0j, np.full((k, dim), np.nan + 0j), nan, np.nan, 0)


def _dense(product: Product, dim: int, k: int) -> Ritz:
    jacobian = np.stack([product(unit) for unit in np.eye(dim)], axis=1)
    if not np.isfinite(jacobian).all():
        return _nothing(k, dim)._replace(num_steps=dim)
    values, vectors = np.linalg.eig(jacobian)
    first = np.lexsort((-np.imag(values), -np.abs(values)))[:k]
    values, vectors = values[first].astype(complex), vectors[:, first].astype(complex)
    residuals = np.linalg.norm(jacobian @ vectors - vectors * values, axis=0)
    return Ritz(values, vectors.T, residuals, float(np.abs(values).max()), dim)


def _arnoldi(
    product: Product, dim: int, k: int, tol: float, max_steps: int, key: PRNGKeyArray | None
) -> Ritz:
    generator = numpy_generator(key)
    start = generator.standard_normal(dim)
    return settled(
        arnoldi(product, start, max_steps=max_steps, generator=generator),
        lambda size: np.arange(k),
        tol=tol,
        max_steps=max_steps,
    )


def _curvature(system: Map, w: Point, vectors: NumpyArray) -> tuple[NumpyArray, NumpyArray]:
    """Return the Rayleigh quotients of the weights' parts, and how far these are from Hu = λu."""
    u = vectors[:, : system.dim]
    length = np.linalg.norm(u, axis=1)
    u = u / np.where(length > 0, length, np.nan)[:, None]
    product = hessian_product(system.loss, w)
    images = np.stack([product(v.real) + 1j * product(v.imag) for v in u])
    quotients = np.sum(u.conj() * images, axis=1).real
    return quotients, np.linalg.norm(images - quotients[:, None] * u, axis=1)


def _closed_form(system: Map, curvature: NumpyArray, values: NumpyArray) -> NumpyArray:
    """Return, for each λ, the root of the characteristic polynomial nearest to the value."""
    if system.rule.family is None or np.isnan(curvature).any():
        return np.full(len(values), np.nan + 0j)
    made = theory_settings(system)
    effective = sympy.lambdify([lam, rho], theory.effective_curvature(made["rule"]))
    decay = 0.0 if system.weight_decay is None else float(system.weight_decay)
    found = [roots(system, u) for u in effective(curvature, made["rho"]) + decay]
    return np.array([r[np.argmin(np.abs(r - mu))] for r, mu in zip(found, values, strict=True)])


def _statement(
    system: Map, exact: bool, critical: bool, gradient_norm: float, closed: NumpyArray, smooth: bool
) -> str:
    if not smooth:
        return f"{system.rule.name} has no Jacobian here."
    if np.isnan(closed).any():
        return f"No closed form of the multipliers of {system.rule.name} is known here."
    if critical:
        return "A critical point up to rounding: the closed form is exact."
    if exact:
        return (
            f"No critical point, ‖g‖ = {gradient_norm:.3g}, but "
            f"{system.rule.name}'s closed form is exact anywhere."
        )
    return (
        f"No critical point, ‖g‖ = {gradient_norm:.3g}: the closed form, which is that of a "
        "critical point, is approximate; `gap` says by how much."
    )


def _complex(value: complex) -> str:
    return f"{value.real:.6g}" + (f"{value.imag:+.6g}i" if value.imag else "")
