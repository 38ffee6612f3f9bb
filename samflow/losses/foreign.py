"""Checks of user code: modules of other libraries, and errors that a network raises."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu

from samflow import _checks
from samflow.losses.network import NetworkLoss


def check_library(name: str, model: Any) -> None:
    """Refuse modules of other libraries; the error names the function that takes them."""
    kinds = {base.__module__.split(".")[0]: base.__module__ for base in type(model).__mro__}
    if "torch" in kinds and hasattr(model, "state_dict"):
        raise _checks.ArgumentError(
            f"Argument `{name}` must be computed by JAX, but {type(model).__name__} is a module of "
            "PyTorch. Use `sf.losses.torch_network(model, x, y)`."
        )
    if "nnx" in kinds.get("flax", ""):
        raise _checks.ArgumentError(
            f"Argument `{name}` must be a function of arrays, but {type(model).__name__} is a "
            "module of flax.nnx. Use `graph, params, rest = nnx.split(model, nnx.Param, ...)` and "
            "`sf.losses.network_function(lambda p, s, x: nnx.merge(graph, p, s)(x), params, x, y, "
            "state=rest)`."
        )
    if hasattr(model, "init") and hasattr(model, "apply"):
        raise _checks.ArgumentError(
            f"Argument `{name}` must be a function of arrays, but {type(model).__name__} is a "
            "module that keeps its weights apart, as those of flax.linen. Use "
            '`sf.losses.network_function(lambda p, x: module.apply({"params": p}, x), params, x, '
            'y)` with params = module.init(key, x)["params"].'
        )


def output_shape(loss: NetworkLoss) -> tuple[int, ...]:
    """Return the shape of one example's outputs; attribute an error to the network."""
    first = dataclasses.replace(loss, x=jnp.asarray(loss.x[:2]))
    w = jax.ShapeDtypeStruct((loss.dim,), jnp.zeros(()).dtype)
    try:
        return eqx.filter_eval_shape(first.predict, w).shape[1:]
    except (MemoryError, _checks.ArgumentError):
        raise
    except Exception as error:  # of the user's code
        reason = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
        text = (
            f"Argument `x` must hold examples that the network takes, but one of shape "
            f"{loss.x.shape[1:]} fails: the network itself raised {type(error).__name__}: {reason}."
        )
        if "key" in reason and _draws(loss):
            text += (
                " It has dropout: use `equinox.nn.inference_mode(model)`, which switches it off."
            )
        raise _checks.ArgumentError(text) from error


def _draws(loss: NetworkLoss) -> bool:
    """Whether the network has dropout that is on."""
    whole = eqx.combine(jtu.tree_unflatten(loss.structure, loss.weight_names), loss.skeleton)
    dropout = lambda node: isinstance(node, eqx.nn.Dropout)  # noqa: E731
    layers = jtu.tree_leaves(whole, is_leaf=dropout)
    return any(dropout(layer) and not layer.inference for layer in layers)
