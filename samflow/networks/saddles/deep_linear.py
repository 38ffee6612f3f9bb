"""Saddles of deep linear networks, whose eigenvalues are known in closed form."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from samflow import _checks
from samflow._types import ArrayLike, NumpyArray
from samflow.losses import network
from samflow.losses.models import examples
from samflow.networks.saddles.critical import RANK
from samflow.networks.saddles.symmetries import SymmetrySaddle, saddle_at


def deep_linear_saddle(
    x: ArrayLike,
    y: ArrayLike,
    *,
    width: int,
    layers: int = 2,
    learned: int | None = None,
) -> SymmetrySaddle:
    """Put a linear network f(x) = W_L ... W₁x at zero, or where it has learned one mode.

    With σᵢ the singular values of Σ = (1/n) Σ y xᵀ, L layers and squared loss, H has

    =====================  ====================================================================
    at zero, L = 2         σᵢ and −σᵢ, each `width` times; else 0
    at zero, L ≥ 3         0 only: the saddle is of order L, and no condition on ρ is left
    mode k, (1/n)Σxxᵀ = I  with s = σₖ: L s^(2−2/L) once; s^(1−2/L)(s ± σᵢ) for each i ≠ k;
                           s^(2−2/L) for each further input or output; for L = 2 also ±σᵢ,
                           i ≠ k, each `width` − 1 times; else 0
    =====================  ====================================================================

    So for L ≥ 3 a learned mode makes a strict saddle only where a stronger one is not learned.

    Args:
        x: inputs (n, in).
        y: targets (n, out).
        width: of every hidden layer.
        layers: L ≥ 2.
        learned: the mode k, from 0, strongest first; None for all weights zero. It is spread
            evenly over the layers, σₖ^(1/L) each.

    Raises:
        ArgumentError: for shapes and counts out of range; for a learned mode, where Σxxᵀ/n is not
            the identity or σₖ is 0.

    Source: Saxe, McClelland, Ganguli 2014 (arXiv 1312.6120) for the modes; Achour et al. 2022
    (arXiv 2107.13289) for which saddles are strict.

    """
    _checks.double_precision("Making a saddle")
    width, layers = _checks.count("width", width), _checks.count("layers", layers, minimum=2)
    x, y = (np.asarray(examples(n, a), dtype=float) for n, a in (("x", x), ("y", y)))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not len(x):
        raise _checks.ArgumentError(
            f"Arguments `x` and `y` must be (n, in) and (n, out), but have {x.shape} and {y.shape}."
        )
    with np.errstate(over="ignore"):
        moment = y.T @ x / len(x)
    if not np.isfinite(moment).all():
        raise _checks.ArgumentError(
            "Arguments `x` and `y` must have a finite sum Σ y xᵀ, but it overflows. Scale them "
            "down."
        )
    left, sigma, right = np.linalg.svd(moment)
    model = eqx.filter_eval_shape(lambda: _linear(x.shape[1], y.shape[1], width, layers))
    weights = [np.zeros(layer.weight.shape) for layer in model.layers]
    if learned is not None:
        mode = _checks.count("learned", learned, minimum=0)
        _check_learned(x, sigma, mode)
        part = sigma[mode] ** (1 / layers)
        for weight in weights[1:-1]:
            weight[0, 0] = part
        weights[0][0], weights[-1][:, 0] = part * right[mode], part * left[:, mode]
    model = eqx.tree_at(
        lambda m: [layer.weight for layer in m.layers], model, [jnp.asarray(a) for a in weights]
    )
    where = "zero" if learned is None else f"mode {learned} alone"
    name = f"linear network of {layers} layers at {where}"
    made = network(model, x, y, loss="squared", name=name)
    closed = _linear_eigenvalues(sigma, x.shape[1], y.shape[1], width, layers, learned)
    closed = np.concatenate([closed, np.zeros(made.dim - len(closed))])
    return saddle_at(f"linear, {layers} layers, {where}", made, made.flatten(model), closed)


def _linear(inputs: int, outputs: int, width: int, layers: int) -> eqx.nn.MLP:
    return eqx.nn.MLP(
        inputs,
        outputs,
        width,
        layers - 1,
        activation=_same,
        use_bias=False,
        use_final_bias=False,
        key=jr.key(0),
    )


def _same(z: Any) -> Any:
    return z


def _check_learned(x: NumpyArray, sigma: NumpyArray, mode: int) -> None:
    if mode >= len(sigma) or not sigma[mode] > RANK * sigma[0]:
        raise _checks.ArgumentError(
            "Argument `learned` must be the index of a mode with σ > 0, where σ = "
            f"{np.array2string(sigma)}, but is {mode}."
        )
    if not np.allclose(x.T @ x / len(x), np.eye(x.shape[1]), atol=1e-10):
        raise _checks.ArgumentError(
            "Argument `x` must be whitened, xᵀx/n = I, for a learned mode, but is not."
        )


def _linear_eigenvalues(
    sigma: NumpyArray, inputs: int, outputs: int, width: int, layers: int, learned: int | None
) -> NumpyArray:
    """Return the eigenvalues of `deep_linear_saddle`'s table; the others are zero."""
    if learned is None:
        both = np.concatenate([sigma, -sigma]) if layers == 2 else np.zeros(0)
        return np.tile(both, width)
    s, others = sigma[learned], np.delete(sigma, learned)
    pairs = s ** (1 - 2 / layers) * np.concatenate([s + others, s - others])
    further = np.full(abs(inputs - outputs), s ** (2 - 2 / layers))
    idle = np.tile(np.concatenate([others, -others]), width - 1 if layers == 2 else 0)
    return np.concatenate([[layers * s ** (2 - 2 / layers)], pairs, further, idle])
