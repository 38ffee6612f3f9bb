"""Ends, norm and trace of each block of a network's Hessian, by layer or another grouping."""

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from samflow import _checks
from samflow._random import key_words, numpy_generator
from samflow._status import Status
from samflow._types import ArrayLike, NumpyArray
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.spectra.krylov import Product, Tridiagonal, lanczos, orthogonal, settled
from samflow.spectra.layers import FEWEST_PROBES, layers
from samflow.spectra.products import hessian_product
from samflow.spectra.spectrum import DENSE_DIM

_DENSE_BLOCK = 40
"""Blocks of up to so many weights are formed, which Lanczos would exhaust."""


class BlockSpectra(AbstractRecord):
    """Extreme eigenvalues, norms and traces of the diagonal blocks H_bb of a Hessian.

    A block has an eigenvalue within its residual of each of its ends, whatever the status. The
    largest eigenvalue of H is no less than that of any block, and the smallest no greater.

    Attributes:
        names: of the blocks.
        sizes: numbers of weights, shape (m,).
        smallest: the lowest eigenvalue of each, shape (m,); NaN where a product was not finite.
        largest: the highest, shape (m,).
        smallest_residuals: ‖H_bb v − λv‖ of the lowest.
        largest_residuals: of the highest.
        norms: ‖H_bb‖₂, the larger of the two by modulus.
        traces: tr H_bb, shape (m,).
        trace_errors: standard errors of `traces`; 0 where they are exact.
        status: one per block: located; residual too large, where one of the residuals exceeds
            tol · ‖H_bb‖₂; or not finite.
        num_products: how many products H v were taken.
        method: "dense", where all of H was formed, or "lanczos".

    """

    rows: ClassVar[Names] = ("block",)
    printed: ClassVar[Names] = ("block", "sizes", "smallest", "largest", "norms", "traces")
    names: tuple[str, ...] = eqx.field(
        static=True, metadata=axes("block", rename={"names": "block"})
    )
    num_products: int = eqx.field(static=True)
    method: str = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    sizes: Int[Array, " m"] = eqx.field(metadata=axes("block"))
    smallest: Float[Array, " m"] = eqx.field(metadata=axes("block", units="loss/weight^2"))
    largest: Float[Array, " m"] = eqx.field(metadata=axes("block", units="loss/weight^2"))
    smallest_residuals: Float[Array, " m"] = eqx.field(
        metadata=axes("block", units="loss/weight^2")
    )
    largest_residuals: Float[Array, " m"] = eqx.field(metadata=axes("block", units="loss/weight^2"))
    norms: Float[Array, " m"] = eqx.field(metadata=axes("block", units="loss/weight^2"))
    traces: Float[Array, " m"] = eqx.field(metadata=axes("block", units="loss/weight^2"))
    trace_errors: Float[Array, " m"] = eqx.field(metadata=axes("block", units="loss/weight^2"))
    status: Int[Array, " m"] = eqx.field(metadata=axes("block", words=Status))

    def __str__(self) -> str:
        """Return a line per block: its name, its size, both ends and its trace."""
        columns = (self.sizes, self.smallest, self.largest, self.traces, self.status)
        return "\n".join(
            f"{name}: {int(size)} weights, λ in [{float(low):.6g}, {float(high):.6g}], trace "
            f"{float(trace):.6g}"
            + ("" if Status(int(code)) is Status.located else f"; {Status(int(code)).label}")
            for name, size, low, high, trace, code in zip(self.names, *columns, strict=True)
        )


def block_spectra(
    loss: AbstractNetworkLoss,
    w: ArrayLike,
    *,
    by: Literal["layer", "array"] | Callable[[str], str] = "layer",
    tol: float = 1e-3,
    max_products: int = 200,
    trace_products: int = 10,
    key: PRNGKeyArray | None = None,
) -> BlockSpectra:
    """Find both ends of the spectrum, the norm and the trace of every diagonal block of H(w).

    Up to `DENSE_DIM` weights H is formed, and so is each block of up to 40 weights: all is exact to
    rounding. Beyond, Lanczos runs on v ↦ (H v)_b for v in a block alone, until the residuals of
    both ends are at most tol · ‖H_bb‖₂ or the block is exhausted. With Q its basis, tr H_bb =
    tr QᵀH_bbQ + E zᵀ(I − QQᵀ)H_bb(I − QQᵀ)z, z of random signs: only the second part has an error.

    >>> import equinox as eqx, jax; import samflow as sf
    >>> model = eqx.nn.MLP(2, 1, 3, 1, activation=jax.numpy.tanh, key=jax.random.key(0))
    >>> loss = sf.losses.network(model, [[0.5, 1.0], [1.0, -1.0]], [[0.0], [1.0]])
    >>> found = block_spectra(loss, loss.flatten(model), by=lambda name: name.rpartition(".")[2])
    >>> found.names, found.sizes.tolist()
    (('weight', 'bias'), [9, 4])

    Args:
        loss: of a network; it may go `in_chunks`.
        w: the weights, shape (dim,).
        by: "layer": arrays whose names are the same up to the last dot, as a weight and its bias;
            "array": each array by itself; or a function of an array's name that returns its
            block's, as lambda name: name.split(".")[0].
        tol: largest residual as a part of the block's norm.
        max_products: where Lanczos gives up in each block; it holds so many vectors of its length.
        trace_products: probes of each block's trace, at least 3.
        key: of the random starts and probes; None: always the same.

    Returns:
        A `BlockSpectra`, whatever its status.

    Not guaranteed: that Lanczos missed no eigenvalue farther out, as for `extreme_eigenpairs`.

    Raises:
        ArgumentError: in single precision; for a loss of no network, a `w` of the wrong shape or
            not finite, and numbers out of range.

    """
    _checks.double_precision("Finding the spectra of blocks")
    _checks.instance("loss", loss, AbstractNetworkLoss, "Blocks are those of a network's arrays.")
    w = _checks.point("w", w, loss.dim)
    tol, most = _checks.positive("tol", tol), _checks.count("max_products", max_products, minimum=2)
    probes = _checks.count("trace_products", trace_products, minimum=FEWEST_PROBES)
    blocks = _blocks(loss, by)
    product = hessian_product(loss, w)
    if loss.dim <= DENSE_DIM:
        hessian = np.stack([product(unit) for unit in np.eye(loss.dim)])
        found = [_dense(hessian[np.ix_(part, part)]) for part in blocks.values()]
        used, method = loss.dim, "dense"
    else:
        generator, found, method = numpy_generator(key), [], "lanczos"
        for part in blocks.values():
            inside = _inside(product, loss.dim, part)
            if len(part) <= _DENSE_BLOCK:
                found.append(_dense(np.stack([inside(unit) for unit in np.eye(len(part))])))
            else:
                found.append(_lanczos(inside, len(part), tol, most, probes, generator))
        used = sum(each.num_products for each in found)
    (low, high), (below, above) = (
        np.array([getattr(each, name) for each in found]).T for name in ("ends", "residuals")
    )
    norms = np.maximum(np.abs(low), np.abs(high))
    good = np.where(
        np.maximum(below, above) <= tol * norms, Status.located, Status.residual_too_large
    )
    return BlockSpectra(
        names=tuple(blocks),
        num_products=used,
        method=method,
        provenance=provenance(
            loss.name,
            by=by if isinstance(by, str) else getattr(by, "__name__", "function"),
            tol=tol,
            max_products=most,
            trace_products=probes,
            key=None if key is None else key_words(key).tolist(),
        ),
        sizes=jnp.asarray([len(part) for part in blocks.values()]),
        smallest=jnp.asarray(low),
        largest=jnp.asarray(high),
        smallest_residuals=jnp.asarray(below),
        largest_residuals=jnp.asarray(above),
        norms=jnp.asarray(norms),
        traces=jnp.asarray([each.trace for each in found]),
        trace_errors=jnp.asarray([each.error for each in found]),
        status=jnp.asarray(np.where(np.isfinite(norms), good, Status.not_finite)),
    )


def _blocks(loss: AbstractNetworkLoss, by: str | Callable[[str], str]) -> dict[str, NumpyArray]:
    """Return where the weights of each block are, by its name."""
    if not callable(by):
        _checks.known("by", by, ("layer", "array"))
        return {n: np.arange(part.start, part.stop) for n, part in layers(loss, by).items()}
    found: dict[str, list[NumpyArray]] = {}
    for name, part in layers(loss, "array").items():
        found.setdefault(str(by(name)), []).append(np.arange(part.start, part.stop))
    return {name: np.concatenate(parts) for name, parts in found.items()}


class _Found(NamedTuple):
    """Both ends of a block with their residuals, its trace with its error, and the products."""

    ends: tuple[float, float]
    residuals: tuple[float, float]
    trace: float
    error: float
    num_products: int


_NOTHING = (np.nan, np.nan)


def _dense(block: NumpyArray) -> _Found:
    if not np.isfinite(block).all():
        return _Found(_NOTHING, _NOTHING, np.nan, np.nan, len(block))
    values, vectors = np.linalg.eigh(block)
    residuals = np.linalg.norm(block @ vectors - vectors * values, axis=0)
    ends = (float(values[0]), float(values[-1])), (float(residuals[0]), float(residuals[-1]))
    return _Found(*ends, float(np.trace(block)), 0.0, len(block))


def _inside(product: Product, dim: int, part: NumpyArray) -> Product:
    """Return u ↦ H_bb u."""
    v = np.zeros(dim)

    def inside(u: NumpyArray) -> NumpyArray:
        v[part] = u
        return product(v)[part]

    return inside


def _lanczos(
    inside: Product,
    size: int,
    tol: float,
    max_products: int,
    probes: int,
    generator: np.random.Generator,
) -> _Found:
    steps, start = min(max_products, size), generator.standard_normal(size)
    last: list[Tridiagonal] = []

    def made() -> Iterator[Tridiagonal]:
        for each in lanczos(inside, start, max_steps=steps, generator=generator):
            last[:] = [each]
            yield each

    found = settled(made(), lambda n: np.array([0, n - 1]), tol=tol, max_steps=steps)
    used, (run,) = found.num_steps, last
    if not run.finite:
        return _Found(_NOTHING, _NOTHING, np.nan, np.nan, used)
    low, high = map(float, found.values)
    below, above = map(float, found.residuals)
    trace, error = float(np.trace(run.matrix)), 0.0
    if used < size:
        signs = generator.choice([-1.0, 1.0], size=(probes, size))
        outside = [orthogonal(z, run.basis) for z in signs]
        rest = np.array([z @ inside(z) for z in outside])
        trace, error = trace + float(rest.mean()), float(rest.std(ddof=1) / np.sqrt(probes))
        used += probes
    return _Found((low, high), (below, above), trace, error, used)
