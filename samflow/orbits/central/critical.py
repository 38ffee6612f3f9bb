"""The leading eigenpairs of a direction's derivative, and how they change along weights.

A = Dd(w) is not symmetric away from critical points, so that a pair has two vectors: A u = μ u and
Aᵀ v = μ v, with vᵢ·uⱼ = δᵢⱼ.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from samflow._types import NumpyArray, Point
from samflow.rules import Ascent
from samflow.spectra.krylov import orthogonal
from samflow.systems import Map

DENSE_DIM = 32
"""Up to this many weights the whole derivative is formed."""

_GUARDS = 2
_TOL = 1e-4
_MOST_ROUNDS = 60
_WIDEST = 5
"""Blocks that a basis may have."""

_DEPENDENT = 1e-10
"""A row of which no more than this part is left depends on others."""


class Modes(NamedTuple):
    """The leading eigenpairs, μ descending.

    Attributes:
        values: μ, shape (k,).
        right: u as rows of length 1, shape (k, dim).
        left: v, likewise, not of length 1.
        residual: the largest ‖Au − μu‖ over the largest |μ|.
        block: vectors to start from at weights nearby; empty where the derivative is formed.
        is_real: whether no pair of them is complex.

    """

    values: NumpyArray
    right: NumpyArray
    left: NumpyArray
    residual: float
    block: tuple[NumpyArray, ...]
    is_real: bool


def leading_modes(system: Map, w: Point, count: int, block: tuple[NumpyArray, ...] = ()) -> Modes:
    """Return `count` eigenpairs of the largest μ at `w`; `block` is that of weights nearby."""
    symmetric = system.rule.ascent is Ascent.none
    if system.dim <= DENSE_DIM:
        return _dense(np.array(_jacobian(system, w)), count, symmetric)
    if not block:
        generator = np.random.default_rng(0)
        block = (generator.standard_normal((min(count + _GUARDS, system.dim), system.dim)),) * 2
    values, right, residual = _galerkin(
        lambda x: np.asarray(_products(system, w, x)), block[0], count
    )
    left = right
    if not symmetric:
        _, left, other = _galerkin(lambda x: np.asarray(_transposed(system, w, x)), block[1], count)
        residual = max(residual, other)
    real = bool(np.isreal(values[:count]).all())
    dual = _dual(right[:count], left[:count])
    return Modes(np.real(values[:count]), right[:count], dual, residual, (right, left), real)


def direction(system: Map, w: Point) -> Any:
    """Return d(w) with weight decay."""
    d = system.rule.step(system.loss, w, w[:0])[0]
    return d if system.weight_decay is None else d + system.weight_decay * w


@eqx.filter_jit
def direction_at(system: Map, w: Point) -> Any:
    """Return d(w), compiled."""
    return direction(system, w)


@eqx.filter_jit
def bend(system: Map, w: Point, a: Point, b: Point) -> Any:
    """Return D²d(w)[a, b]."""
    along = lambda w: jax.jvp(lambda w: direction(system, w), (w,), (a,))[1]  # noqa: E731
    return jax.jvp(along, (w,), (b,))[1]


@eqx.filter_jit
def slope(system: Map, w: Point, v: Point, u: Point) -> Any:
    """Return the gradient of vᵀ Dd(w) u with v and u fixed: of μ, where v·u = 1."""
    entry = lambda w: jnp.vdot(v, jax.jvp(lambda w: direction(system, w), (w,), (u,))[1])  # noqa: E731
    return jax.grad(entry)(w)


@eqx.filter_jit
def _jacobian(system: Map, w: Point) -> Any:
    return jax.jacfwd(lambda w: direction(system, w))(w)


@eqx.filter_jit
def _products(system: Map, w: Point, x: Any) -> Any:
    one = lambda v: jax.jvp(lambda w: direction(system, w), (w,), (v,))[1]  # noqa: E731
    return jax.vmap(one)(x)


@eqx.filter_jit
def _transposed(system: Map, w: Point, x: Any) -> Any:
    pull = jax.vjp(lambda w: direction(system, w), w)[1]
    return jax.vmap(lambda v: pull(v)[0])(x)


def _dense(matrix: NumpyArray, count: int, symmetric: bool) -> Modes:
    if not np.isfinite(matrix).all():
        nan = np.full((count, len(matrix)), np.nan)
        return Modes(nan[:, 0], nan, nan, np.nan, (), True)
    if symmetric:
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        order = np.argsort(-values)[:count]
        u = vectors[:, order].T
        return Modes(values[order], u, u, 0.0, (), True)
    values, vectors = np.linalg.eig(matrix)
    order = np.argsort(-np.real(values))
    duals = np.linalg.inv(vectors)[order[:count]]
    order = order[:count]
    real = bool(np.isreal(values[order]).all())
    values, u = np.real(values[order]), np.real(vectors[:, order].T)
    return Modes(values, u, np.real(duals), 0.0, (), real)


def _dual(right: NumpyArray, left: NumpyArray) -> NumpyArray:
    """Return combinations v of the rows of `left` with vᵢ·uⱼ = δᵢⱼ."""
    return np.linalg.solve(left @ right.T, left)


def _galerkin(product: Any, block: NumpyArray, count: int) -> tuple[NumpyArray, NumpyArray, float]:
    """Return the leading eigenvalues of a matrix, eigenvectors as rows, and their residual.

    The space of `block` is widened by the residuals until these are small: block Davidson without
    a preconditioner, for which a matrix need not be symmetric. From vectors at weights nearby two
    or three rounds do.

    Source: Davidson (1975); Saad, Numerical Methods for Large Eigenvalue Problems (2011), 8.4.
    """
    size = len(block)
    basis = _orthonormal(block, block[:0])
    images, residual = product(basis), np.nan
    values, vectors = np.full(size, np.nan), np.full_like(basis, np.nan)
    for _ in range(_MOST_ROUNDS):
        if not np.isfinite(images).all():
            return np.full(size, np.nan), np.full_like(vectors, np.nan), np.nan
        values, parts = np.linalg.eig(basis @ images.T)
        order = np.argsort(-np.real(values))[:size]
        values, parts = values[order], np.real(parts[:, order]).T
        parts = parts / np.linalg.norm(parts, axis=1)[:, None]
        vectors, moved = parts @ basis, parts @ images
        rest = moved - np.real(values)[:, None] * vectors
        residual = float(np.linalg.norm(rest[:count], axis=1).max() / np.abs(values).max())
        if residual <= _TOL:
            break
        if len(basis) >= _WIDEST * size:
            basis = _orthonormal(vectors, vectors[:0])
            images = np.linalg.solve(vectors @ basis.T, moved)
        new = _orthonormal(rest, basis)
        basis, images = np.vstack([basis, new]), np.vstack([images, product(new)])
    return values, vectors, residual


def _orthonormal(rows: NumpyArray, against: NumpyArray) -> NumpyArray:
    """Return an orthonormal basis of the rows, orthogonal to those of `against`.

    Row by row: LAPACK's QR of so few rows waits for threads most of the time. A row that depends on
    others is replaced by a random one.
    """
    generator, done = np.random.default_rng(0), len(against)
    basis = np.vstack([against, np.empty_like(rows)])
    for row in rows:
        new = orthogonal(row, basis[:done])
        if not np.linalg.norm(new) > _DEPENDENT * np.linalg.norm(row):
            new = orthogonal(generator.standard_normal(len(row)), basis[:done])
        basis[done] = new / np.linalg.norm(new)
        done += 1
    return basis[len(against) :]
