"""Extreme eigenvalues of a loss's Hessian, without forming it where it is large."""

import warnings
from collections.abc import Iterator
from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from samflow import _checks
from samflow._random import numpy_generator
from samflow._status import Status
from samflow._types import ArrayLike, NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.eager import compiled
from samflow.losses.function import FunctionLoss
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.spectra.differences import gradient_difference
from samflow.spectra.krylov import Product, Ritz, Stopped, Tridiagonal, lanczos, settled
from samflow.spectra.products import hessian_product

DENSE_DIM = 200
"""Up to this many weights the whole Hessian is formed and diagonalised."""

_TOL = 1e-8
_ROUNDINGS = 100
_FOR_A_RATE = 3
"""Tests of residuals from which it is told how fast they fall."""

WHICH = ("both", "largest", "smallest")


class Eigenpairs(AbstractRecord):
    """Eigenpairs (λ, v) of a Hessian H, in ascending order of λ, each with its residual.

    H has an eigenvalue within `residuals[i]` of `values[i]`, whatever the status.

    Attributes:
        values: λ, shape (m,); NaN where H is not finite.
        vectors: v as rows of length 1, shape (m, dim), the largest entry of each positive.
        residuals: ‖Hv − λv‖, shape (m,), of the products that were taken, or of H itself.
        status: a `Status` a pair: located, residual_too_large or not_finite.
        num_products: how many products Hv were taken; H itself is dim.
        method: "dense" or "lanczos", whichever was used.

    """

    rows: ClassVar[Names] = ("pair",)
    num_products: int = eqx.field(static=True)
    method: str = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    values: Float[Array, " m"] = eqx.field(metadata=axes("pair", units="loss/weight^2"))
    vectors: Float[Array, "m dim"] = eqx.field(metadata=axes("pair", "weight"))
    residuals: Float[Array, " m"] = eqx.field(metadata=axes("pair", units="loss/weight^2"))
    status: Int[Array, " m"] = eqx.field(metadata=axes("pair", words=Status))


def extreme_eigenpairs(
    loss: AbstractLoss,
    w: ArrayLike,
    *,
    k: int = 1,
    which: Literal["both", "largest", "smallest"] = "both",
    tol: float | None = None,
    max_products: int = 400,
    key: PRNGKeyArray | None = None,
    compare: bool = True,
) -> Eigenpairs:
    """Find the `k` algebraically largest or smallest eigenvalues of H(w), or `k` at each end.

    Up to `DENSE_DIM` weights, H is formed, of a network by a product for each weight. Beyond,
    Lanczos with two passes of full reorthogonalisation and no restart runs on one compiled product
    v ↦ H(w)v until every pair asked for has a residual of at most tol · max|λ|. Next to a thousand
    eigenvalues near 0, as networks have them, this takes a tenth of the products of restarted
    Lanczos (ARPACK), which often ends without any.

    Args:
        loss: any loss; a network's may go `in_chunks`.
        w: the weights, shape (dim,).
        k: how many at an end.
        which: the end, or both.
        tol: largest accepted residual as a part of max|λ|; None: 1e-8, or a hundred units of
            rounding of the loss if that is more.
        max_products: where Lanczos gives up; it holds so many vectors of length dim.
        key: of Lanczos's random start; the answer's digits beyond `tol` may depend on it.
        compare: whether to hold Hv, for the sharpest direction v of a network or a function,
            against a difference of gradients; a warning says where the two disagree, as at kinks,
            or where rounding passes its gradient straight through. Costs four gradients.

    Returns:
        The pairs, `k` or 2`k`. A pair whose residual is too large says so and is not dropped.

    Not guaranteed: that Lanczos missed no eigenvalue farther out. It finds a repeated eigenvalue
    once until it has exhausted the space that its start spans; residuals do not show what is
    missed.

    Raises:
        ArgumentError: in single precision; for a `w` of the wrong shape or not finite; for more
            pairs than weights.
        Stopped: for an interrupt during Lanczos: its `found` are the pairs as they were by then.

    Source: Parlett, The Symmetric Eigenvalue Problem (1998), chapter 13; the bound on λ is
    theorem 4.5.1 there.

    """
    _checks.double_precision("Finding extreme eigenvalues")
    w = _checks.point("w", w, loss.dim)
    k, max_products = _checks.count("k", k), _checks.count("max_products", max_products)
    _checks.known("which", which, WHICH)
    tol = tolerance(loss, tol)
    ends = (k if which != "largest" else 0, k if which != "smallest" else 0)
    if sum(ends) > loss.dim:
        raise _checks.ArgumentError(
            f"Argument `k` must ask for no more eigenpairs than the {loss.dim} weights, but is {k} "
            f"with which={which!r}."
        )
    pairs = EndsSearch(loss, w, max_products=max_products, key=key).pairs(k, which=which, tol=tol)
    if compare and isinstance(loss, (AbstractNetworkLoss, FunctionLoss)):
        _compare(loss, w, pairs)
    return pairs


class EndsSearch:
    """One run of Lanczos on H(w), asked for its ends again and again with smaller residuals.

    A later answer continues the run of an earlier one: no product is made twice, and the last
    answer is the one that would have been found without those before it.

    Attributes:
        krylov: what the run has made so far; None before the first product, and where H is formed.
        hessian: H, where it is formed.

    """

    def __init__(
        self,
        loss: AbstractLoss,
        w: Point,
        *,
        max_products: int,
        key: PRNGKeyArray | None = None,
        product: Product | None = None,
    ) -> None:
        """Prepare a run on checked arguments; `product` is v ↦ H(w)v, made where it is None."""
        self._loss, self._w, self._key = loss, w, key
        self._most = min(max_products, loss.dim)
        self._product = product
        self._steps: Iterator[Tridiagonal] | None = None
        self._ratios: list[tuple[int, float]] = []
        self.krylov: Tridiagonal | None = None
        self.hessian: NumpyArray | None = None

    def pairs(
        self,
        k: int,
        *,
        which: str = "both",
        tol: float,
        own: bool = False,
        most: int | None = None,
    ) -> Eigenpairs:
        """Go on until the pairs at the ends have residuals of at most tol · max|λ|.

        Args:
            k: how many at an end.
            which: the end, or both.
            tol: largest accepted residual.
            own: whether it is a part of each |λ| instead of max|λ|.
            most: products, all in all, after which this answer is given as it is.

        Raises:
            Stopped: for an interrupt, with the pairs as they are by then.

        """
        ends = (k if which != "largest" else 0, k if which != "smallest" else 0)
        settings = provenance(self._loss.name, k=k, which=which, tol=tol, key=self._key)
        self._ratios = []
        try:
            if self._loss.dim <= DENSE_DIM:
                found, method = self._dense(ends), "dense"
            else:
                found, method = self._lanczos(ends, tol, own, most), "lanczos"
        except Stopped as stopped:
            raise Stopped(record_of(stopped.found, "lanczos", tol, settings, own)) from stopped
        return record_of(found, method, tol, settings, own and method == "lanczos")

    @property
    def expected(self) -> int | None:
        """How many products this answer takes in all if residuals keep falling as they do."""
        recent = self._ratios[len(self._ratios) // 2 :]
        if len(recent) < _FOR_A_RATE:
            return None
        sizes, logs = np.array([(size, np.log(ratio)) for size, ratio in recent]).T
        slope = np.polyfit(sizes, logs, 1)[0]
        if not slope < 0:
            return None
        return int(min(np.ceil(sizes[-1] - max(logs[-1], 0.0) / slope), self._most))

    def _dense(self, ends: tuple[int, int]) -> Ritz:
        if self.hessian is None:
            self.hessian = _formed(self._loss, self._w)
        return _dense(self.hessian, ends)

    def _lanczos(self, ends: tuple[int, int], tol: float, own: bool, most: int | None) -> Ritz:
        if self._steps is None:
            product = self._product or hessian_product(self._loss, self._w)
            generator = numpy_generator(self._key)
            start = generator.standard_normal(self._loss.dim)
            self._most = max(self._most, sum(ends))
            self._steps = lanczos(product, start, max_steps=self._most, generator=generator)

        def tested(found: Ritz) -> None:
            limit = tol * (np.abs(found.values) if own else found.scale)
            with np.errstate(divide="ignore", invalid="ignore"):
                worst = float(np.max(found.residuals / limit))
            if np.isfinite(worst) and worst > 0:
                self._ratios.append((found.num_steps, worst))

        return settled(
            self._recorded(self._steps),
            lambda size: ends_of(size, ends),
            tol=tol,
            max_steps=self._most if most is None else min(max(most, sum(ends)), self._most),
            own=own,
            tested=tested,
        )

    def _recorded(self, steps: Iterator[Tridiagonal]) -> Iterator[Tridiagonal]:
        """Yield the last step again, which may do already, and then further ones."""
        if self.krylov is not None:
            yield self.krylov
        while self.krylov is None or (self.krylov.finite and len(self.krylov.basis) < self._most):
            self.krylov = next(steps)
            yield self.krylov


def record_of(
    found: Ritz, method: str, tol: float, settings: Provenance, own: bool = False
) -> Eigenpairs:
    """Return the record of pairs, each with its status."""
    vectors = found.vectors
    vectors = vectors * np.sign(np.take_along_axis(vectors, _peak(vectors), axis=1))
    status = np.where(found.within(tol, own), Status.located, Status.residual_too_large)
    status = np.where(np.isfinite(found.residuals), status, Status.not_finite)
    return Eigenpairs(
        values=jnp.asarray(found.values),
        vectors=jnp.asarray(vectors),
        residuals=jnp.asarray(found.residuals),
        status=jnp.asarray(status),
        num_products=found.num_steps,
        method=method,
        provenance=settings,
    )


def _compare(loss: AbstractLoss, w: Point, pairs: Eigenpairs) -> None:
    """Warn where a difference of gradients along the sharpest direction is not Hv."""
    values = np.asarray(pairs.values)
    if not np.isfinite(values).all():
        return
    sharpest = int(np.argmax(np.abs(values)))
    difference = gradient_difference(loss, w, pairs.vectors[sharpest])
    if not difference.agrees:
        text = difference.statement(getattr(loss, "kinks", ()))
        warnings.warn(f"{loss.name}: {text}", UserWarning, stacklevel=3)


def tolerance(loss: AbstractLoss, tol: float | None) -> float:
    """Return the relative tolerance for what products with H of a loss can resolve."""
    if tol is None:
        return max(_TOL, _ROUNDINGS * loss.precision)
    return _checks.positive("tol", tol)


def _peak(vectors: NumpyArray) -> NumpyArray:
    return np.argmax(np.abs(vectors), axis=1, keepdims=True)


@compiled
def _hessian(loss: AbstractLoss, w: Point) -> Array:
    return loss.hessian(w)


def _formed(loss: AbstractLoss, w: Point) -> NumpyArray:
    if isinstance(loss, AbstractNetworkLoss):  # one compiled product, which other analyses share
        product = hessian_product(loss, w)
        return np.stack([product(unit) for unit in np.eye(loss.dim)], axis=1)
    return np.array(_hessian(loss, w))


def _dense(h: NumpyArray, ends: tuple[int, int]) -> Ritz:
    values, vectors = map(np.array, jnp.linalg.eigh(h))
    chosen, scale = ends_of(len(values), ends), float(np.max(np.abs(values)))
    values, vectors = values[chosen], vectors[:, chosen]
    residuals = np.linalg.norm(h @ vectors - vectors * values, axis=0)
    return Ritz(values, vectors.T, residuals, scale, len(h))


def ends_of(size: int, ends: tuple[int, int]) -> NumpyArray:
    """Return the indices of so many lowest and highest of `size` values in ascending order."""
    return np.r_[0 : ends[0], size - ends[1] : size]
