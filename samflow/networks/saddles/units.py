"""Hidden units of a perceptron: copied, merged, made alike, and what a copy adds to the Hessian."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from samflow import _checks
from samflow._types import ArrayLike
from samflow.losses import network


class UnitBlock(NamedTuple):
    """The second-order form of displacements that leave the sum of a unit's copies alone.

    With u the unit's incoming weights and bias, x̃ᵢ what they meet, sᵢ = u·x̃ᵢ, a its outgoing
    weights and eᵢ the derivative of the loss of example i by the inputs of the next layer:

        C = (1/n) Σᵢ (a·eᵢ) φ''(sᵢ) x̃ᵢ x̃ᵢᵀ,        M = (1/n) Σᵢ φ'(sᵢ) eᵢ x̃ᵢᵀ.

    Mᵀa is the gradient by u, so that M has the kernel a at a critical point: with a single output
    and a ≠ 0, M = 0.

    Attributes:
        curvature: C, shape (in, in), the bias last where there is one.
        coupling: M, shape (out, in).

    """

    curvature: Float[Array, "in in"]
    coupling: Float[Array, "out in"]

    def matrix(self, factor: float) -> Array:
        """Return [[factor C, Mᵀ], [M, 0]]: incoming weights first, then outgoing."""
        outputs = len(self.coupling)
        bottom = jnp.concatenate([self.coupling, jnp.zeros((outputs, outputs))], axis=1)
        return jnp.concatenate(
            [jnp.concatenate([factor * self.curvature, self.coupling.T], axis=1), bottom]
        )


def duplicate_unit(
    model: eqx.nn.MLP, unit: int, *, share: float = 0.5, layer: int = 0
) -> eqx.nn.MLP:
    """Return the same function with one unit more: a copy that takes a part of its output.

    The unit keeps `share` of its outgoing weights; the copy, last in its layer, has the rest.
    Both have the incoming weights and the bias. At a critical point of a loss the result is one
    of the larger network's loss.

    Args:
        model: a perceptron of at least two layers, without `scan`, its activation without weights.
        unit: which unit of the hidden layer.
        share: any real number; 0 and 1 leave one of the two without effect.
        layer: which hidden layer, from 0.

    Returns:
        A network whose layer is one wider. Its `width_size`, which equinox uses at construction
        only, stays.

    Raises:
        ArgumentError: for a model that is not such a perceptron, a unit or a layer that is not
            there, and a share that is not finite.

    """
    _checked(model, (unit,), layer)
    if np.ndim(share) or np.asarray(share).dtype.kind not in "iuf" or not np.isfinite(share):
        raise _checks.ArgumentError(f"Argument `share` must be finite, but is {share}.")
    row, bias, column = _unit(model, unit, layer)
    weight, biases, outgoing = _arrays(model, layer)
    weight = jnp.concatenate([weight, row[None]])
    biases = None if biases is None else jnp.concatenate([biases, bias[None]])
    outgoing = outgoing.at[:, unit].set(share * column)
    outgoing = jnp.concatenate([outgoing, (1 - share) * column[:, None]], axis=1)
    return _replaced(model, layer, weight, biases, outgoing)


def merge_copies(model: eqx.nn.MLP, unit: int, *, share: float = 0.5, layer: int = 0) -> eqx.nn.MLP:
    """Return the network without the copy: the linear map that undoes `duplicate_unit`.

    Incoming weights become share·u₁ + (1 − share)·u₂, outgoing ones a₁ + a₂.
    """
    weight, biases, outgoing = _arrays(model, layer)
    mean = lambda a: a[:-1].at[unit].set(share * a[unit] + (1 - share) * a[-1])  # noqa: E731
    merged = outgoing[:, :-1].at[:, unit].add(outgoing[:, -1])
    return _replaced(model, layer, mean(weight), None if biases is None else mean(biases), merged)


def difference(model: eqx.nn.MLP, unit: int, *, share: float = 0.5, layer: int = 0) -> Array:
    """Return u₁ − u₂ and (1 − share)·a₁ − share·a₂ of a unit and its copy, one after the other."""
    first, last = (_unit(model, j, layer) for j in (unit, -1))
    parts = [first[0] - last[0], (1 - share) * first[2] - share * last[2]]
    if first[1] is not None:
        parts.insert(1, (first[1] - last[1])[None])
    return jnp.concatenate(parts)


def symmetrise(model: eqx.nn.MLP, alike: tuple[int, ...], *, layer: int = 0) -> eqx.nn.MLP:
    """Return the network with the mean of the units `alike` in the place of each.

    This is the projection on the fixed space of the permutations of these units.

    Raises:
        ArgumentError: as `duplicate_unit`, and for fewer than two units or repeated ones.

    """
    _checked(model, tuple(alike), layer)
    if len(alike) < 2 or len(set(alike)) < len(alike):
        raise _checks.ArgumentError(
            f"Argument `alike` must name two or more different units, but is {alike}."
        )
    chosen = jnp.asarray(alike)
    weight, biases, outgoing = _arrays(model, layer)
    mean = lambda a: a.at[chosen].set(a[chosen].mean(axis=0))  # noqa: E731
    biases = None if biases is None else mean(biases)
    return _replaced(model, layer, mean(weight), biases, mean(outgoing.T).T)


def unit_block(
    model: eqx.nn.MLP,
    x: ArrayLike,
    y: ArrayLike,
    *,
    unit: int,
    layer: int = 0,
    loss: str | None = None,
) -> UnitBlock:
    """Return C and M of a unit, from the derivatives of activation and loss, without a Hessian.

    Args:
        model: a perceptron, as for `duplicate_unit`.
        x: inputs, as for `sf.losses.network`.
        y: targets.
        unit: which unit of the hidden layer.
        layer: which hidden layer, from 0.
        loss: a name of a loss, as for `sf.losses.network`.

    Raises:
        ArgumentError: as `duplicate_unit` and `sf.losses.network`.

    """
    _checked(model, (unit,), layer)
    x = jnp.asarray(x, dtype=float)
    slopes = _output_gradient(_outputs(model, x), y, loss)
    return _block(model, x, slopes, unit, layer)


@eqx.filter_jit
def _block(model: eqx.nn.MLP, x: Array, slopes: Array, unit: int, layer: int) -> UnitBlock:
    """Return C and M from the gradient of the mean loss by the outputs."""
    row, bias, column = _unit(model, unit, layer)
    inputs = jax.vmap(lambda one: _forward(model, one, 0, layer))(x)
    last = jax.vmap(lambda one: _next_inputs(model, one, layer))(x)
    (e,) = jax.vjp(jax.vmap(lambda z: _rest(model, z, layer)), last)[1](slopes)
    if bias is not None:
        inputs = jnp.concatenate([inputs, jnp.ones((len(x), 1))], axis=1)
        row = jnp.concatenate([row, bias[None]])
    slope = jax.grad(model.activation)
    first, second = jax.vmap(lambda s: (slope(s), jax.grad(slope)(s)))(inputs @ row)
    curvature = jnp.einsum("n,ni,nj->ij", (e @ column) * second, inputs, inputs)
    return UnitBlock(curvature, jnp.einsum("n,no,ni->oi", first, e, inputs))


@eqx.filter_jit
def _outputs(model: eqx.nn.MLP, x: Array) -> Array:
    return jax.vmap(model)(x)


class _Outputs(eqx.Module):
    """The network whose weights are its outputs, one row an example: it takes the row's number."""

    f: Array

    def __call__(self, i: Array) -> Array:
        return self.f[i.astype(int)]


def _output_gradient(outputs: Array, y: ArrayLike, loss: str | None) -> Array:
    """Return the gradient of the mean loss by the outputs, in their shape: eᵢ/n a row."""
    model = _Outputs(outputs)
    made = network(model, jnp.arange(len(outputs)), y, loss=loss)
    slope = eqx.filter_jit(made.gradient)(made.flatten(model))
    return slope.reshape(outputs.shape)


def _forward(model: eqx.nn.MLP, h: Array, begin: int, end: int) -> Array:
    """Return the outputs of hidden layer `end` − 1 from the inputs of layer `begin`."""
    for layer in model.layers[begin:end]:
        h = jax.vmap(model.activation)(layer(h))
    return h


def _next_inputs(model: eqx.nn.MLP, x: Array, layer: int) -> Array:
    return model.layers[layer + 1](_forward(model, x, 0, layer + 1))


def _rest(model: eqx.nn.MLP, z: Array, layer: int) -> Array:
    """Return the network's output from what layer `layer` + 1 feeds into its activation."""
    if layer + 2 < len(model.layers):
        z = jax.vmap(model.activation)(z)
        z = model.layers[-1](_forward(model, z, layer + 2, len(model.layers) - 1))
    return jax.vmap(model.final_activation)(z)


def _arrays(model: eqx.nn.MLP, layer: int) -> tuple[Array, Array | None, Array]:
    return model.layers[layer].weight, model.layers[layer].bias, model.layers[layer + 1].weight


def _unit(model: eqx.nn.MLP, unit: int, layer: int) -> tuple[Any, Any, Any]:
    """Return a unit's incoming weights, its bias or None, and its outgoing weights."""
    weight, biases, outgoing = _arrays(model, layer)
    return weight[unit], None if biases is None else biases[unit], outgoing[:, unit]


def _replaced(
    model: eqx.nn.MLP, layer: int, weight: Array, biases: Array | None, outgoing: Array
) -> eqx.nn.MLP:
    """Return the network with other arrays about a hidden layer, and layers of their sizes."""
    old = model.layers[layer + 1]
    first = _linear(weight, biases)
    second = _linear(outgoing, old.bias)
    return eqx.tree_at(lambda m: (m.layers[layer], m.layers[layer + 1]), model, (first, second))


def _linear(weight: Array, bias: Array | None) -> eqx.nn.Linear:
    outputs, inputs = weight.shape
    make = lambda: eqx.nn.Linear(inputs, outputs, use_bias=bias is not None, key=jr.key(0))  # noqa: E731
    made = eqx.filter_eval_shape(make)  # its weights are never drawn
    parts = lambda m: (m.weight,) if bias is None else (m.weight, m.bias)  # noqa: E731
    return eqx.tree_at(parts, made, (weight,) if bias is None else (weight, bias))


def _checked(model: Any, chosen: tuple[int, ...], layer: int) -> None:
    _checks.instance("model", model, eqx.nn.MLP)
    learnt = jax.tree.leaves(eqx.filter((model.activation, model.final_activation), eqx.is_array))
    scalar = "scalar" in (model.in_size, model.out_size)
    if model.scan or len(model.layers) < 2 or learnt or scalar:
        raise _checks.ArgumentError(
            "Argument `model` must be an MLP with a hidden layer, vectors in and out, `scan` off "
            "and no weights in its activations."
        )
    hidden = len(model.layers) - 1
    if not 0 <= _checks.count("layer", layer, minimum=0) < hidden:
        raise _checks.ArgumentError(
            f"Argument `layer` must be one of the {hidden} hidden layers, from 0, but is {layer}."
        )
    width = len(model.layers[layer].weight)
    for unit in chosen:
        if not 0 <= _checks.count("unit", unit, minimum=0) < width:
            raise _checks.ArgumentError(
                f"Argument `unit` must be one of the {width} units of layer {layer}, from 0, "
                f"but is {unit}."
            )
