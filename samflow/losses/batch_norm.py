"""Batch norm of equinox: its mode, passes with its state, and recomputing its statistics."""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from equinox.nn import BatchNorm, State, StatefulLayer
from jaxtyping import Array

from samflow._checks import ArgumentError
from samflow.losses.network import path_name


def layers(model: Any) -> list[BatchNorm]:
    """Return the batch norms of a module."""
    return [each for each in jtu.tree_leaves(model, is_leaf=_is_norm) if _is_norm(each)]


def in_mode(model: Any, batch_norm: str) -> Any:
    """Return a module whose batch norms take running statistics ("eval") or the batch's ("train").

    Raises:
        ArgumentError: for a module with its initial state inside.

    """
    found = layers(model)
    if not found:
        return model
    if any(map(eqx.is_array, jtu.tree_leaves([_indices(norm) for norm in found]))):
        raise ArgumentError(
            "Argument `model` must not contain its initial state, which is not a weight, but does. "
            "Use `equinox.nn.make_with_state`, or `equinox.nn.delete_init_state(model)`."
        )
    modes = [batch_norm == "eval"] * len(found)
    return eqx.tree_at(lambda m: [norm.inference for norm in layers(m)], model, modes)


def axis_name(model: Any) -> Hashable | None:
    """Return the name of the axis of examples in a module's batch norms, None without any.

    Raises:
        ArgumentError: for a module with batch norms over axes of several names.

    """
    named = [norm.axis_name for norm in layers(model)]
    names = {n for axis in named for n in (axis if isinstance(axis, list | tuple) else [axis])}
    if len(names) > 1:
        raise ArgumentError(
            "Argument `model` must have batch norms over one axis, the axis of examples, but has "
            f"{', '.join(sorted(map(repr, names)))}. Pass `per_example=False` and name them in it."
        )
    return next(iter(names), None)


def each(model: Any, state: State, x: Array) -> Array:
    """Return the outputs of a module that takes one example and its state."""
    return _each(model, state, x)[0]


def together(model: Any, state: State, x: Array) -> Array:
    """Return the outputs of a module that takes all examples and its state."""
    return _together(model, state, x)[0]


def measure_each(model: Any, state: State, x: Array) -> dict[str, Array]:
    """Return the statistics over x of a module that takes one example and its state."""
    return _measured(_each, model, state, x)


def measure_together(model: Any, state: State, x: Array) -> dict[str, Array]:
    """Return the statistics over x of a module that takes all examples and its state."""
    return _measured(_together, model, state, x)


def _each(model: Any, state: State, x: Array) -> tuple[Array, State]:
    taken = jax.vmap(
        lambda one, state: model(one, state),
        in_axes=(0, None),
        out_axes=(0, None),
        axis_name=axis_name(model),
    )
    return taken(x, state)


def _together(model: Any, state: State, x: Array) -> tuple[Array, State]:
    # The state that a layer writes is dropped: the layers keep a copy.
    return model(x, jtu.tree_map(lambda leaf: leaf, state))


class _Calls:
    """How often each layer was called within one pass."""

    def __init__(self) -> None:
        self.of = Counter()


class _Learning(StatefulLayer):
    """A batch norm in training whose running statistics are the mean over the calls of a pass."""

    norm: BatchNorm
    calls: _Calls = eqx.field(static=True)

    def __call__(
        self, x: Array, state: State, *, key: Any = None, inference: bool | None = None
    ) -> tuple[Array, State]:
        norm, (_, statistics) = self.norm, _indices(self.norm)
        if inference:
            return norm(x, state, key=key, inference=True)
        before = state.get(statistics)
        y, state = norm(x, _forgotten(norm, state), key=key, inference=False)
        self.calls.of[statistics.marker] += 1
        k = self.calls.of[statistics.marker]
        found = state.get(statistics)
        if k > 1:
            found = jtu.tree_map(lambda a, b: a + (b - a) / k, before, found)
        return y, state.set(statistics, found)


def _measured(
    passed: Callable[..., tuple[Array, State]], model: Any, state: State, x: Array
) -> dict[str, Array]:
    calls = _Calls()
    learning = jtu.tree_map(
        lambda each: _Learning(each, calls) if _is_norm(each) else each,  # pyright: ignore[reportCallIssue]
        model,
        is_leaf=_is_norm,
    )
    after = passed(learning, state, x)[1]
    names = jtu.tree_map_with_path(lambda path, _: path_name(path), state)
    held = [index for norm in layers(model) for index in _indices(norm)]
    found: dict[str, Array] = {}
    for index in held:
        own = jtu.tree_leaves(names.get(index)), jtu.tree_leaves(after.get(index))
        found.update(zip(*own, strict=True))
    return found


def _indices(norm: BatchNorm) -> tuple[Any, Any]:
    """Return the places in the state of the count of batches and of the statistics."""
    if norm.mode == "ema":
        return norm.ema_first_time_index, norm.ema_state_index
    return norm.batch_counter, norm.batch_state_index


def _forgotten(norm: BatchNorm, state: State) -> State:
    """Return the state as before the first batch."""
    batches, statistics = _indices(norm)
    zeros = jtu.tree_map(jnp.zeros_like, state.get(statistics))
    none = jnp.array(True) if norm.mode == "ema" else jnp.zeros_like(state.get(batches))
    return state.set(statistics, zeros).set(batches, none)


def _is_norm(node: Any) -> bool:
    return isinstance(node, BatchNorm)
