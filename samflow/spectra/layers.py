"""Traces of a network's Hessian by layer, from products H v with the whole Hessian."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from samflow import _checks
from samflow._random import key_words
from samflow._status import Status
from samflow._types import ArrayLike, NumpyArray
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.spectra.products import hessian_product

FEWEST_PROBES = 3


class LayerTraces(AbstractRecord):
    """Traces of the diagonal blocks of a Hessian, one per layer, with intervals; their sum is tr H.

    Attributes:
        names: of the layers, in the order of the weights.
        sizes: number of weights of each, shape (m,).
        values: tr H_ll, shape (m,); NaN where a product was not finite.
        standard_errors: of `values`, shape (m,); 0 for "exact".
        intervals: values ∓ t · standard_errors, shape (m, 2), t Student's quantile.
        status: one per layer: located; residual too large, where the half-width exceeds
            tol · |value|; or not finite.
        num_products: how many products H v were taken.
        method: "exact" or "hutchinson".

    """

    rows: ClassVar[Names] = ("layer",)
    names: tuple[str, ...] = eqx.field(
        static=True, metadata=axes("layer", rename={"names": "layer"})
    )
    num_products: int = eqx.field(static=True)
    method: str = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    sizes: Int[Array, " m"] = eqx.field(metadata=axes("layer"))
    values: Float[Array, " m"] = eqx.field(metadata=axes("layer", units="loss/weight^2"))
    standard_errors: Float[Array, " m"] = eqx.field(metadata=axes("layer", units="loss/weight^2"))
    intervals: Float[Array, "m 2"] = eqx.field(metadata=axes("layer", "end", units="loss/weight^2"))
    status: Int[Array, " m"] = eqx.field(metadata=axes("layer", words=Status))

    def __str__(self) -> str:
        """Return a line per layer: its name, its trace and the interval."""
        return "\n".join(
            f"{name}: trace {float(value):.6g} in [{float(low):.6g}, {float(high):.6g}]"
            + ("" if Status(int(code)) is Status.located else f"; {Status(int(code)).label}")
            for name, value, (low, high), code in zip(
                self.names, self.values, self.intervals, self.status, strict=True
            )
        )


def layer_traces(
    loss: AbstractNetworkLoss,
    w: ArrayLike,
    *,
    num_products: int = 100,
    key: PRNGKeyArray,
    by: Literal["layer", "array"] = "layer",
    level: float = 0.95,
    tol: float = 0.1,
) -> LayerTraces:
    """Estimate the trace of each diagonal block of H(w), a block for every layer.

    Each product serves all layers: with z of random signs, E Σ_{i in l} zᵢ (H z)ᵢ = tr H_ll
    (Hutchinson). From `num_products` ≥ dim on, the diagonal of H is summed. `trace` is more
    accurate for the whole trace: what it gains from a basis of images does not split by layer.

    >>> import equinox as eqx, jax; import samflow as sf
    >>> model = eqx.nn.MLP(2, 1, 3, 1, activation=jax.numpy.tanh, key=jax.random.key(0))
    >>> loss = sf.losses.network(model, [[0.5, 1.0], [1.0, -1.0]], [[0.0], [1.0]])
    >>> layer_traces(loss, loss.flatten(model), key=jax.random.key(1)).names
    ('layers.0', 'layers.1')

    Args:
        loss: of a network; it may go `in_chunks`.
        w: the weights, shape (dim,).
        num_products: how many products H v may be taken, at least 3.
        key: of the probes; probe i depends on (key, i) alone.
        by: "layer": arrays whose names are the same up to the last dot, as a weight and its bias;
            "array": each array by itself.
        level: of the intervals, in [0, 1).
        tol: largest half-width, as a part of |value|, that counts as located.

    Returns:
        A `LayerTraces`, whatever its status.

    Not guaranteed: the level of the intervals, which takes the mean over probes to be normal.

    Raises:
        ArgumentError: in single precision; for a loss of no network, a `w` of the wrong shape or
            not finite, and numbers out of range.

    Source: Hutchinson 1990, A stochastic estimator of the trace.

    """
    _checks.double_precision("Estimating traces")
    _checks.instance("loss", loss, AbstractNetworkLoss, "Use `trace` for a loss without layers.")
    w = _checks.point("w", w, loss.dim)
    asked = _checks.count("num_products", num_products, minimum=FEWEST_PROBES)
    _checks.known("by", by, ("layer", "array"))
    level = _checks.fraction("level", level)
    tol = _checks.positive("tol", tol)
    words = key_words(key).tolist()
    blocks = layers(loss, by)
    product = hessian_product(loss, w)
    exact = asked >= loss.dim
    probes = np.eye(loss.dim) if exact else rademacher(key, asked, loss.dim)
    # sums[i, l] is what probe i gives for layer l
    images = (probe * product(probe) for probe in probes)
    sums = np.array([[float(image[part].sum()) for part in blocks.values()] for image in images])
    if exact:
        values, errors, width = sums.sum(axis=0), np.zeros(len(blocks)), 0.0
    else:
        values, errors = sums.mean(axis=0), sums.std(axis=0, ddof=1) / np.sqrt(asked)
        from scipy import stats  # slow to import: commands on formulas do not use it

        width = float(stats.t.ppf((1 + level) / 2, asked - 1))
    narrow = width * errors <= tol * np.abs(values)
    located = np.where(narrow, Status.located, Status.residual_too_large)
    return LayerTraces(
        names=tuple(blocks),
        num_products=len(probes),
        method="exact" if exact else "hutchinson",
        provenance=provenance(
            loss.name, num_products=asked, by=by, level=level, tol=tol, key=words
        ),
        sizes=jnp.asarray([part.stop - part.start for part in blocks.values()]),
        values=jnp.asarray(values),
        standard_errors=jnp.asarray(errors),
        intervals=jnp.asarray(np.stack([values - width * errors, values + width * errors], -1)),
        status=jnp.asarray(np.where(np.isfinite(values), located, Status.not_finite)),
    )


def layers(loss: AbstractNetworkLoss, by: str = "layer") -> dict[str, slice]:
    """Return where the weights of each layer are in the vector of weights, by its name.

    Arrays of one layer that do not follow one another count as layers of their own, numbered.
    """
    found: dict[str, slice] = {}
    last, start = None, 0
    for name, shape in zip(loss.weight_names, loss.weight_shapes, strict=True):
        stop = start + int(np.prod(shape))
        layer = name if by == "array" else (name.rpartition(".")[0] or name)
        if layer == last:
            begun = next(reversed(found))
            found[begun] = slice(found[begun].start, stop)
        else:
            found[_unused(found, layer)] = slice(start, stop)
        last, start = layer, stop
    return found


def _unused(found: dict[str, slice], layer: str) -> str:
    count = sum(name == layer or name.startswith(f"{layer} (") for name in found)
    return f"{layer} ({count + 1})" if count else layer


def rademacher(key: PRNGKeyArray | None, count: int, dim: int) -> NumpyArray:
    """Return probes of −1 and 1 as rows; probe i depends on (key, i) alone. None is key(0)."""
    key = jr.key(0) if key is None else key
    draw = jax.vmap(lambda i: jr.rademacher(jr.fold_in(key, i), (dim,), float))
    return np.asarray(draw(jnp.arange(count)))
