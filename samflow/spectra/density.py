"""The spectral density of a loss's Hessian by stochastic Lanczos quadrature, with its errors."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from samflow import _checks
from samflow._random import key_words
from samflow._status import Status
from samflow._types import ArrayLike, NumpyArray
from samflow.losses.base import AbstractLoss
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.spectra.curvature import gaussian
from samflow.spectra.krylov import Product, Tridiagonal, lanczos
from samflow.spectra.products import hessian_product

NUM_STEPS = 60
"""Of Lanczos for each probe, unless told otherwise."""
_PARTS_OF_SPREAD = 100
"""The default bandwidth is the spread of the nodes over this."""
_MARGIN = 6.0
"""The grid goes this many bandwidths beyond the nodes: 2e-9 of a Gaussian lies outside."""


class Share(NamedTuple):
    """The share of the eigenvalues below a level.

    Attributes:
        value: the weight of the nodes below it, averaged over the probes.
        standard_error: of a bound or of the value, whichever is largest, over the probes; 0 once
            the probes are as many as the weights, NaN for a single one.
        low: bound on what `value` estimates, which no number of probes but more steps make tight:
            an eigenvalue beyond the next node cannot count.
        high: the same from above.

    """

    value: float
    standard_error: float
    low: float
    high: float


class Quantile(NamedTuple):
    """A quantile of the eigenvalues, with the bounds of the quadrature; infinite if it has none."""

    value: float
    low: float
    high: float


class SpectralDensity(AbstractRecord):
    """How the eigenvalues of a Hessian are distributed: μ = (1/dim) Σᵢ δ(λᵢ), from p probes.

    Of probe v, nodes θⱼ and weights ωⱼ are the Gauss quadrature of s points of the measure
    Σᵢ (vᵢ·v)² δ(λᵢ), whose expectation is μ. Its moments up to 2s − 1 are exact.

    Attributes:
        nodes: Ritz values θ, ascending, shape (p, s); NaN for a probe that was not finite. They
            are nodes, not eigenvalues: those in the middle may have none near by.
        weights: ω ≥ 0, shape (p, s), of sum 1 for each probe.
        residuals: ‖Hy − θy‖ of each node's Ritz vector, shape (p, s), from the recurrence: H has
            an eigenvalue that near to θ.
        grid: where the density is given, shape (g,).
        density: Σ ω φ((x − θ)/bandwidth)/bandwidth, φ the normal density, mean over the probes,
            shape (g,). It is μ smoothed: a peak at 0 is as wide as the bandwidth.
        density_error: its standard error over the probes, shape (g,). Without the error of the
            quadrature, which is small where the bandwidth is wide against the nodes' distances.
        bandwidth: the standard deviation of the smoothing, in units of λ.
        status: a `Status` a probe, shape (p,): located or not finite.
        dim: number of weights.
        num_products: how many products H v were taken.

    """

    rows: ClassVar[Names] = ("grid",)
    dim: int = eqx.field(static=True)
    num_products: int = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    nodes: Float[Array, "p s"] = eqx.field(metadata=axes("probe", "node", units="loss/weight^2"))
    weights: Float[Array, "p s"] = eqx.field(metadata=axes("probe", "node", units="1"))
    residuals: Float[Array, "p s"] = eqx.field(
        metadata=axes("probe", "node", units="loss/weight^2")
    )
    grid: Float[Array, " g"] = eqx.field(metadata=axes("grid", units="loss/weight^2"))
    density: Float[Array, " g"] = eqx.field(metadata=axes("grid", units="weight^2/loss"))
    density_error: Float[Array, " g"] = eqx.field(metadata=axes("grid", units="weight^2/loss"))
    bandwidth: Float[Array, ""] = eqx.field(metadata=axes(units="loss/weight^2"))
    status: Int[Array, " p"] = eqx.field(metadata=axes("probe", words=Status))

    def moment(self, k: int) -> tuple[float, float]:
        """Return tr(Hᵏ)/dim and its standard error over the probes; for k ≤ 2s − 1.

        dim times the first is an estimate of the trace, but a poor one; use `trace`.

        Raises:
            ArgumentError: for a higher moment, which the quadrature does not know.

        """
        k, most = _checks.count("k", k, minimum=0), 2 * self.nodes.shape[1] - 1
        if k > most and self.nodes.shape[1] < self.dim:
            raise _checks.ArgumentError(
                f"Argument `k` must be at most 2 · num_steps − 1 = {most}, but is {k}."
            )
        return _mean(np.sum(np.asarray(self.weights) * np.asarray(self.nodes) ** k, axis=1), self)

    def share_below(self, level: float) -> Share:
        """Return the share of the eigenvalues below `level`.

        Between the nodes θⱼ ≤ level < θⱼ₊₁ of a probe its measure below lies between
        ω₁ + … + ωⱼ₋₁ and ω₁ + … + ωⱼ₊₁ (Chebyshev, Markov, Stieltjes), in exact arithmetic. Near
        0, where a network has most of its eigenvalues, these are far apart: ask at some −x.
        """
        theta, omega = np.asarray(self.nodes), np.asarray(self.weights)
        early, late = _shifted(theta)
        below = (theta < level, late <= level, early < level)
        if np.isnan(theta).any():
            return Share(*([float("nan")] * 4))
        value, low, high = (_mean(np.sum(omega * b, axis=1), self) for b in below)
        return Share(value[0], max(value[1], low[1], high[1]), low[0], high[0])

    @property
    def negative(self) -> Share:
        """The share of the negative eigenvalues; those of the size of rounding are of no sign."""
        return self.share_below(0.0)

    def quantile(self, q: float) -> Quantile:
        """Return the least λ with at least the share `q` of the eigenvalues at or below it.

        The value is one of the nodes, pooled over the probes. The error of having few probes is
        not in the bounds.
        """
        q = _checks.fraction("q", q)
        theta, omega = np.asarray(self.nodes), np.asarray(self.weights)
        if np.isnan(theta).any():
            return Quantile(*([float("nan")] * 3))
        early, late = _shifted(theta)
        return Quantile(
            *(_quantile(where, omega / len(omega), q) for where in (theta, early, late))
        )


def spectral_density(
    loss: AbstractLoss,
    w: ArrayLike,
    *,
    key: PRNGKeyArray,
    num_probes: int = 10,
    num_steps: int = NUM_STEPS,
    bandwidth: float | None = None,
    num_points: int = 512,
    product: Product | None = None,
    krylov: Tridiagonal | None = None,
) -> SpectralDensity:
    """Estimate the density of the eigenvalues of H(w) by stochastic Lanczos quadrature.

    The probes are orthonormal, each uniform on the sphere: means of vᵀf(H)v are without bias, and
    with dim probes they are exact. Lanczos reorthogonalises twice, so that no node is a copy.

    Args:
        loss: any loss; a network's may go `in_chunks`.
        w: the weights, shape (dim,).
        key: of the probes; probe i depends on (key, i) and the probes before it.
        num_probes: how many, at most dim; all are held.
        num_steps: of Lanczos for each, of which at most dim are made; as many vectors are held.
        bandwidth: of the smoothing, > 0; None: 1/100 of the nodes' spread.
        num_points: how many points of the grid, which reaches six bandwidths beyond the nodes.
            No less than three to a bandwidth do the curve justice.
        product: v ↦ H(w)v, where there is one already.
        krylov: a run of Lanczos on H(w) from a random start, of at least `num_steps`: its start is
            the first probe, at no product. The other probes are orthogonal to it.

    Returns:
        A `SpectralDensity`; its NaN say which probe met a product that is not finite.

    Not guaranteed: an extreme eigenvalue in the direction of no probe is missed; use
    `extreme_eigenpairs` for the ends and `trace` for the trace.

    Raises:
        ArgumentError: in single precision; for a `w` of the wrong shape or not finite; for
            numbers out of range; for more probes than weights.

    Source: Golub, Meurant, Matrices, Moments and Quadrature (2010), chapters 6 and 7; Ghorbani,
    Krishnan, Xiao, arXiv 1901.10159, section 2, for networks.

    """
    _checks.double_precision("Estimating the spectral density")
    w = _checks.point("w", w, loss.dim)
    num_probes = _checks.count("num_probes", num_probes)
    num_steps = _checks.count("num_steps", num_steps)
    num_points = _checks.count("num_points", num_points, minimum=2)
    wide = None if bandwidth is None else _checks.positive("bandwidth", bandwidth)
    if num_probes > loss.dim:
        raise _checks.ArgumentError(
            f"Argument `num_probes` must be at most {loss.dim}, the number of weights, but is "
            f"{num_probes}."
        )
    steps = min(num_steps, loss.dim)
    product, used = hessian_product(loss, w) if product is None else product, 0
    nodes, weights, residuals = (np.full((num_probes, steps), np.nan) for _ in range(3))
    generator = np.random.default_rng(key_words(key).tolist())
    starts = np.array(gaussian(key, num_probes, loss.dim))
    there = krylov is not None and krylov.finite and len(krylov.basis) >= steps
    if krylov is not None and there:
        starts[0] = krylov.basis[0]
        nodes[0], residuals[0], weights[0] = _quadrature(_first(krylov, steps))
    starts = np.linalg.qr(starts.T)[0].T
    for i, start in enumerate(starts):
        if i == 0 and there:
            continue
        for made in lanczos(product, start, max_steps=steps, generator=generator):
            used += 1
            if made.finite and len(made.basis) == steps:
                nodes[i], residuals[i], weights[i] = _quadrature(made)
    status = np.where(np.isfinite(nodes).all(axis=1), Status.located, Status.not_finite)
    low, high = nodes.min(), nodes.max()
    if wide is None:
        wide = (high - low) / _PARTS_OF_SPREAD or max(abs(high), 1.0) / _PARTS_OF_SPREAD
    grid = np.linspace(low - _MARGIN * wide, high + _MARGIN * wide, num_points)
    curves = np.stack([_smooth(grid, t, o, wide) for t, o in zip(nodes, weights, strict=True)])
    arrays = (nodes, weights, residuals, grid, curves.mean(axis=0))
    arrays += (_spread(curves, loss.dim), np.asarray(wide), status)
    settings = {"num_probes": num_probes, "num_steps": num_steps, "bandwidth": bandwidth}
    return SpectralDensity(
        loss.dim,
        used,
        provenance(loss.name, **settings, key=key_words(key).tolist()),
        *map(jnp.asarray, arrays),
    )


def _first(run: Tridiagonal, steps: int) -> Tridiagonal:
    """Return what a run was after so many steps."""
    if len(run.basis) == steps:
        return run
    below = float(run.matrix[steps, steps - 1])
    return Tridiagonal(run.matrix[:steps, :steps], below, run.basis[:steps], below == 0)


def _quadrature(run: Tridiagonal) -> tuple[NumpyArray, NumpyArray, NumpyArray]:
    """Return nodes, the residuals of their Ritz vectors, and weights."""
    nodes, parts = run.ritz()
    return nodes, run.residuals(nodes, parts), parts[0] ** 2


def _smooth(x: NumpyArray, theta: NumpyArray, omega: NumpyArray, wide: float) -> NumpyArray:
    from scipy import stats  # slow to import: commands on formulas do not use it

    return stats.norm.pdf((x[:, None] - theta) / wide) @ omega / wide


def _shifted(theta: NumpyArray) -> tuple[NumpyArray, NumpyArray]:
    """Return where a node's weight lies at the earliest, the node before, and at the latest."""
    beyond = np.full((len(theta), 1), np.inf)
    return np.hstack([-beyond, theta[:, :-1]]), np.hstack([theta[:, 1:], beyond])


def _quantile(where: NumpyArray, weights: NumpyArray, q: float) -> float:
    order = np.argsort(where, axis=None, kind="stable")
    below = np.cumsum(weights.ravel()[order])
    return float(where.ravel()[order][min(np.searchsorted(below, q), len(below) - 1)])


def _mean(each: NumpyArray, density: SpectralDensity) -> tuple[float, float]:
    return float(each.mean()), float(_spread(each, density.dim))


def _spread(each: NumpyArray, dim: int) -> NumpyArray:
    """Return the standard error of the mean over orthonormal probes: p of dim, none twice."""
    p = len(each)
    if p == 1:
        return np.full(each.shape[1:], 0.0 if dim == 1 else np.nan)
    # Probes of a whole orthonormal basis sum to the trace: the correction for a finite population
    # is exact for vᵀf(H)v.
    return np.sqrt(each.var(axis=0, ddof=1) / p * (1 - p / dim))
