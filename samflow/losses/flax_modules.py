"""Modules of flax as functions of a tree of arrays: linen with its variables, and nnx."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.tree_util as jtu

from samflow._checks import ArgumentError
from samflow._extras import optional


class Parts(NamedTuple):
    """What `network_function` takes of a module.

    Attributes:
        function: takes (params, x), or (params, state, x) where there is a state.
        params: the tree of weights.
        state: other arrays; None for none.
        batch_norm: "eval", or "none" without batch norm.
        notes: with which arguments the module is called.

    """

    function: Callable[..., Any]
    params: Any
    state: Any
    batch_norm: str
    notes: tuple[str, ...]


def flax_parts(model: Any) -> Parts | None:
    """Return the parts of a module of flax; None of what is none.

    Of linen the module must have its variables, `module.bind(variables)`; arguments `train`,
    `training` and `deterministic` of its call are those of evaluation.

    Raises:
        ArgumentError: for a module of linen without variables, and one of nnx in training mode with
            dropout or batch norm.

    """
    origins = {base.__module__ for base in type(model).__mro__}
    if any(name.startswith("flax.nnx") for name in origins):
        return _of_nnx(model)
    if any(name.startswith("flax.linen") for name in origins):
        return _of_linen(model)
    return None


def _of_linen(model: Any) -> Parts:
    if model.scope is None:
        raise ArgumentError(
            f"Argument `model` must have its variables, but {type(model).__name__} is a module of "
            "flax.linen without. Pass module.bind(variables), with variables = "
            '{"params": params, ...}.'
        )
    module, variables = model.unbind()
    off = {"train": False, "training": False, "deterministic": True}
    names = inspect.signature(type(module).__call__).parameters
    given = {name: value for name, value in off.items() if name in names}
    others = {name: tree for name, tree in variables.items() if name != "params"}
    notes = tuple(f"The module is called with {name}={value}." for name, value in given.items())
    norm = "eval" if "batch_stats" in others else "none"
    if not others:
        plain = lambda p, x: module.apply({"params": p}, x, **given)  # noqa: E731
        return Parts(plain, variables["params"], None, norm, notes)
    function = lambda p, s, x: module.apply({"params": p, **s}, x, **given)  # noqa: E731
    return Parts(function, variables["params"], others, norm, notes)


def _of_nnx(model: Any) -> Parts:
    nnx = optional("flax.nnx", "A module of flax")
    layers = [each for _, each in nnx.iter_graph(model) if isinstance(each, nnx.Module)]
    training = [each for each in layers if _in_training(nnx, each)]
    if training:
        raise ArgumentError(
            "Argument `model` must be in evaluation mode, but has "
            f"{', '.join(sorted({type(each).__name__ for each in training}))} in training mode. "
            "Call model.eval()."
        )
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    pure, structure = nnx.to_pure_dict(params), jtu.tree_structure(params)
    norm = "eval" if any(isinstance(each, nnx.BatchNorm) for each in layers) else "none"
    others = jtu.tree_leaves(rest)
    merged = functools.partial(_merged, nnx, graph, structure)
    if not others:
        return Parts(lambda p, x: merged(p, rest)(x), pure, None, norm, ())
    return Parts(lambda p, s, x: merged(p, s)(x), pure, rest, norm, ())


def _merged(nnx: Any, graph: Any, structure: Any, params: Any, rest: Any) -> Any:
    return nnx.merge(graph, jtu.tree_unflatten(structure, jax.tree.leaves(params)), rest)


def _in_training(nnx: Any, layer: Any) -> bool:
    if isinstance(layer, nnx.Dropout):
        return not layer.deterministic and layer.rate > 0
    return isinstance(layer, nnx.BatchNorm) and not layer.use_running_average
