"""Making losses of networks: from modules, or from functions of a tree of arrays."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array

from samflow import _checks
from samflow._types import ArrayLike, NumpyArray
from samflow.losses import batch_norm as norms
from samflow.losses.criteria import (
    BY_TARGETS,
    CRITERIA,
    check_booleans,
    check_smoothing,
    criterion_of,
)
from samflow.losses.foreign import check_library, output_shape
from samflow.losses.network import NetworkLoss, as_inputs, path_name
from samflow.losses.network_base import BATCH_NORM, NetworkOptions

_FINITE_AT_ONCE = 4096
"""Examples that are checked together: data on disk are not read as a whole."""


def network(
    model: Callable[..., Any],
    x: ArrayLike,
    y: ArrayLike,
    *,
    loss: str | None = None,
    name: str | None = None,
    label_smoothing: float = 0.0,
    weight_decay: float = 0.0,
    batch_norm: str | None = None,
    dtype: Any = None,
    state: Any = None,
    frozen: Sequence[str] = (),
    per_example: bool = True,
) -> NetworkLoss:
    """Make a loss of a network and its data.

    ===============  ==========================================================
    "squared"        L(w) = (1/n) Σᵢ ½‖f_w(xᵢ) − yᵢ‖²
    "cross_entropy"  L(w) = −(1/n) Σᵢ Σⱼ yᵢⱼ log softmax(f_w(xᵢ))ⱼ
    ===============  ==========================================================

    A square is summed over outputs, and the mean is over examples only, so that H does not shrink
    with the number of outputs. A cross-entropy sums over classes, the last axis of the outputs;
    where these have more axes, as tokens (n, length, K), it is the mean over positions, too.
    `print(loss)` names the loss. `loss.flatten(model)` gives the weights of `model`, in
    JAX's default float type.

    Args:
        model: an equinox module, or any callable pytree, which takes one example and returns its
            output. Its floating-point arrays are the weights. It must be deterministic: of a
            module with dropout take `equinox.nn.inference_mode(model)`.
        x: inputs (n, ...), one example per row: numbers, whole numbers, as tokens are, or booleans,
            as the pixels of a mask, which count as 0 and 1. An array
            on disk (`numpy.memmap`) stays there if it has the network's float type, for
            `in_chunks`.
        y: targets (n, ...), in the shape of the outputs; one-hot rows or probabilities for
            "cross_entropy", which are not checked to sum to 1. Or classes, whole numbers from 0,
            in the shape of the outputs without the last axis. Booleans are refused as classes,
            since they do not say which class True is.
        loss: a name in `CRITERIA`; None: "cross_entropy" for targets that are whole numbers, and
            "squared" for floats, as `torch_network` does.
        name: what to call it; None: the class of the model, or the name of the function.
        label_smoothing: s in [0, 1): the targets become (1 − s) y + s/K for K classes.
        weight_decay: ≥ 0; adds ½ weight_decay ‖w‖² to L, over all weights. The weight decay of an
            optimiser that is not part of L belongs to `sf.Map`.
        batch_norm: "eval" for running statistics, which `with_statistics` can compute anew, or
            "train" for those of the batch at hand; with these outputs depend on the other examples,
            and the loss does not go in chunks. Of a module with `state` it sets the mode of every
            `equinox.nn.BatchNorm`, and None is "eval". Any other network decides itself: say here
            what it does, or None if it has no batch norm.
        dtype: float type in which the network computes, at least single precision; None: JAX's
            default. Weights, gradients and products come and go in the default.
        state: of a module of equinox with batch norm, the `equinox.nn.State` that goes with it, in
            the network's float type; the module takes (example, state) and returns (output,
            state), and what it writes there is dropped. None: it takes the example.
        frozen: beginnings of names of arrays that are no weights, as "layers.0".
        per_example: False for a model that takes all of x at once.

    Raises:
        ArgumentError: for an unknown loss, whole numbers in the shape of the outputs without a
            `loss`, booleans as classes, data that are not finite or do not fit each other or the
            network, what the network raises on them, classes out of range, a network without
            weights or with arrays that are not real floats, and a name in `frozen` that no array
            has; for a `state` that is none of equinox, and a module with batch norm over axes of
            several names, or with its initial state inside.

    """
    options = _options(loss, label_smoothing, weight_decay, batch_norm, dtype)
    check_library("model", model)
    if not callable(model):
        raise _checks.ArgumentError(
            f"Argument `model` must be callable on one example, but is {type(model).__name__}."
        )
    named = name or _name_of(model)
    if state is None:
        function = _each if per_example else _all
        return _made(model, None, function, x, y, options, named, frozen)
    _checks.instance("state", state, eqx.nn.State, "Use `equinox.nn.make_with_state`.")
    if batch_norm is None and norms.layers(model):
        options = options._replace(batch_norm="eval")
    model = norms.in_mode(model, options.batch_norm)
    if per_example:
        norms.axis_name(model)
    state = jtu.tree_map(lambda a: as_inputs(a, options.dtype), state)
    function = norms.each if per_example else norms.together
    made = _made(model, state, function, x, y, options, named, frozen)
    known = options.batch_norm == "eval" and norms.layers(model)
    measure = norms.measure_each if per_example else norms.measure_together
    return dataclasses.replace(made, measure=measure) if known else made


def network_function(
    function: Callable[..., Array],
    params: Any,
    x: ArrayLike,
    y: ArrayLike,
    *,
    loss: str | None = None,
    name: str | None = None,
    label_smoothing: float = 0.0,
    weight_decay: float = 0.0,
    batch_norm: str | None = None,
    dtype: Any = None,
    state: Any = None,
    frozen: Sequence[str] = (),
) -> NetworkLoss:
    """Make a loss of a function of a tree of arrays, as flax and plain JAX have networks.

    >>> import jax.numpy as jnp
    >>> params = {"matrix": jnp.ones((3, 2)), "shift": jnp.zeros(3)}
    >>> linear = lambda p, x: x @ p["matrix"].T + p["shift"]
    >>> loss = network_function(linear, params, [[1.0, 2.0]], [[3.0, 3.0, 0.0]])
    >>> loss.weight_names, float(loss(loss.flatten(params)))
    (('matrix', 'shift'), 4.5)

    A module of flax is `lambda p, s, x: module.apply({"params": p, **s}, x, train=False)` with its
    other collections as `state`.

    Args:
        function: takes (params, x), or (params, state, x) where there is a state, with all of a
            batch x, and returns the outputs, one example a row. It must be deterministic.
        params: a tree of arrays, of which the floats are the weights.
        x: inputs, as for `network`.
        y: targets, as for `network`.
        loss: as for `network`.
        name: as for `network`.
        label_smoothing: as for `network`.
        weight_decay: as for `network`.
        batch_norm: what the function does about batch norm, as for `network`.
        dtype: as for `network`.
        state: a tree of arrays that are no weights, as running statistics; how to compute these
            anew is not known, so that `with_statistics` refuses.
        frozen: as for `network`.

    Raises:
        ArgumentError: as `network`.

    """
    options = _options(loss, label_smoothing, weight_decay, batch_norm, dtype)
    check_library("function", function)
    if not callable(function):
        raise _checks.ArgumentError(
            f"Argument `function` must be callable, but is {type(function).__name__}."
        )
    as_jax = lambda a: jnp.asarray(a) if isinstance(a, np.ndarray) else a  # noqa: E731
    params, state = jtu.tree_map(as_jax, (params, state))
    made = _without_state(function) if state is None else function
    return _made(params, state, made, x, y, options, name or _name_of(function), frozen)


def _each(model: Any, state: None, x: Array) -> Array:
    return jax.vmap(model)(x)


def _all(model: Any, state: None, x: Array) -> Array:
    return model(x)


@functools.lru_cache(maxsize=128)
def _without_state(function: Callable[..., Array]) -> Callable[[Any, Any, Array], Array]:
    """Return the same wrapper for the same function, so that it is compiled once."""
    return lambda params, state, x: function(params, x)


def _name_of(model: Any) -> str:
    """Return the name of a function, or of the class of a module; a lambda has none."""
    name = getattr(model, "__name__", type(model).__name__)
    return "network" if name == "<lambda>" else name


def _options(
    loss: str | None,
    label_smoothing: float,
    weight_decay: float,
    batch_norm: str | None,
    dtype: Any,
) -> NetworkOptions:
    criterion = BY_TARGETS if loss is None else _checks.known("loss", loss, CRITERIA)
    smoothing = _checks.fraction("label_smoothing", label_smoothing)
    decay = _checks.nonnegative("weight_decay", weight_decay)
    mode = "none" if batch_norm is None else _checks.known("batch_norm", batch_norm, BATCH_NORM)
    return NetworkOptions(criterion, smoothing, decay, mode, _float_type(dtype))


def _float_type(dtype: Any) -> str:
    default = jnp.zeros(()).dtype
    try:
        chosen = default if dtype is None else jnp.dtype(dtype)
    except TypeError:
        chosen = None
    if chosen is None or chosen not in (jnp.float32, default):
        known = " or ".join(sorted({"float32", default.name}))
        raise _checks.ArgumentError(
            f"Argument `dtype` must be {known}, but is {dtype!r}: curvature needs at least single "
            "precision, and JAX's default is the highest available."
        )
    return chosen.name


def _made(
    tree: Any,
    state: Any,
    function: Callable[[Any, Any, Array], Array],
    x: ArrayLike,
    y: ArrayLike,
    options: NetworkOptions,
    name: str,
    frozen: Sequence[str],
) -> NetworkLoss:
    """Split the tree into weights and the rest, and check that shapes and types fit."""
    inputs, targets = examples("x", x), examples("y", y)
    if len(inputs) != len(targets):
        raise _checks.ArgumentError(
            f"Argument `y` must have one row per example of `x`, that is {len(inputs)}, but has "
            f"{len(targets)}."
        )
    arrays, rest = _trained(tree, frozen)
    fixed, skeleton = eqx.partition(rest, eqx.is_array)
    paths, structure = jtu.tree_flatten_with_path(arrays)
    _check_arrays([leaf for _, leaf in paths], jtu.tree_leaves(rest))
    made = NetworkLoss(
        x=_stored(inputs, options.dtype),
        y=jnp.asarray(targets),
        fixed=fixed,
        state=state,
        function=function,
        skeleton=skeleton,
        structure=structure,
        weight_names=tuple(path_name(path) for path, _ in paths),
        weight_shapes=tuple(leaf.shape for _, leaf in paths),
        dim=sum(leaf.size for _, leaf in paths),
        options=options,
        name=name,
    )
    return _with_targets(made, targets)


def _trained(tree: Any, frozen: Sequence[str]) -> tuple[Any, Any]:
    """Return the tree with the arrays that are weights, and with all the rest."""
    arrays, rest = eqx.partition(tree, eqx.is_inexact_array)
    if isinstance(frozen, str):
        raise _checks.ArgumentError(
            "Argument `frozen` must be a list of names, but is a single string. Put it into a list."
        )
    names = [path_name(path) for path, _ in jtu.tree_flatten_with_path(arrays)[0]]
    for start in frozen:
        if not any(_begins(name, start) for name in names):
            raise _checks.ArgumentError(
                f"Argument `frozen` must hold beginnings of names of arrays, but none of "
                f"{', '.join(names)} begins with {start!r}."
            )
    held = jtu.tree_map_with_path(
        lambda path, leaf: any(_begins(path_name(path), start) for start in frozen), arrays
    )
    still, moving = eqx.partition(arrays, held)
    return moving, eqx.combine(still, rest)


def _begins(name: str, start: str) -> bool:
    return name == start or name.startswith(start + ".")


def _stored(x: Any, dtype: str) -> Any:
    """Return inputs as JAX has them; those on disk in the right type stay where they are."""
    x = x.astype(dtype) if x.dtype.kind == "b" else x
    on_disk = isinstance(x, np.memmap) and (x.dtype == dtype or x.dtype.kind in "iu")
    return x if on_disk else as_inputs(x, dtype)


def examples(name: str, value: ArrayLike) -> NumpyArray:
    """Return examples (n, ...) as NumPy has them: floats, whole numbers or booleans, all finite."""
    try:
        array = value if isinstance(value, np.memmap) else np.asarray(value)
        if np.ma.is_masked(value):
            raise TypeError("some entries are masked")
        if array.dtype.kind in "cmMSU":  # NumPy would make numbers of them: the real part, a count
            raise TypeError(array.dtype.name)
        if array.dtype.kind == "O":
            array = _checks.real_numbers(array)
        array = array if array.dtype.kind in "biuf" else array.astype(float)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _checks.ArgumentError(
            f"Argument `{name}` must be real numbers of shape (n, ...), but is not: {error}."
        ) from error
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.ndim == 0 or not array.size:
        raise _checks.ArgumentError(
            f"Argument `{name}` must have shape (n, ...) with n ≥ 1, but has shape {array.shape}."
        )
    parts = (array[i : i + _FINITE_AT_ONCE] for i in range(0, len(array), _FINITE_AT_ONCE))
    bad = np.concatenate([~np.isfinite(p).reshape(len(p), -1).all(axis=1) for p in parts])
    if bad.any():
        raise _checks.ArgumentError(
            f"Argument `{name}` must be finite, but {bad.sum()} of {len(array)} examples are not; "
            f"the first is example {bad.argmax()}."
        )
    return array


def _check_arrays(weights: list[Any], rest: list[Any]) -> None:
    if not weights:
        raise _checks.ArgumentError("Argument `model` must have weights, but holds no float array.")
    foreign = [leaf for leaf in rest if isinstance(leaf, np.ndarray)]
    others = [leaf for leaf in weights if not jnp.issubdtype(leaf.dtype, jnp.floating)]
    if others or foreign:
        found = (others or foreign)[0]
        raise _checks.ArgumentError(
            "Argument `model` must hold real floating-point arrays of JAX as weights, but holds "
            f"one of {type(found).__name__} {found.dtype} of shape {found.shape}. Make it static."
        )


def _with_targets(loss: NetworkLoss, y: NumpyArray) -> NetworkLoss:
    """Return the loss with its criterion, and targets as classes or rows, as fits the outputs."""
    shape = (len(loss.x), *output_shape(loss))
    whole, o = y.dtype.kind in "iu", loss.options
    check_booleans(y.dtype.kind == "b", y.shape == shape, named=o.criterion != BY_TARGETS)
    o = o._replace(criterion=criterion_of(o.criterion, whole, y.shape == shape and len(shape) > 1))
    check_smoothing(o.label_smoothing, o.criterion)
    loss = dataclasses.replace(loss, options=o)
    if o.criterion == "cross_entropy":
        check_logits(shape)
    if y.shape != shape and whole and y.shape == shape[:-1]:
        check_classes(y, shape[-1])
        if o.criterion != "squared":
            return dataclasses.replace(loss, y=jnp.asarray(y.astype(np.int32)))
        return dataclasses.replace(loss, y=jax.nn.one_hot(y, shape[-1]))
    if y.shape != shape:
        raise _checks.ArgumentError(
            f"Argument `y` must have the shape of the network's outputs, {shape}, but has shape "
            f"{y.shape}. Or give classes, whole numbers of shape {shape[:-1]}; the last axis of "
            "the outputs is then that of the classes."
        )
    return dataclasses.replace(loss, y=jnp.asarray(y, dtype=float))


def check_logits(shape: tuple[int, ...]) -> None:
    """Refuse outputs (n, ..., K) of one class, whose cross-entropy is 0 whatever they are.

    Raises:
        ArgumentError: for K < 2 and for outputs without an axis of classes.

    """
    if len(shape) < 2 or shape[-1] < 2:
        raise _checks.ArgumentError(
            f"Argument `loss` must not be cross_entropy for outputs of shape {shape}, which have "
            "fewer than two classes. Let the network return a score for each class, as (0, z) for "
            "one logit z."
        )


def check_classes(y: NumpyArray, num_classes: int) -> None:
    """Refuse classes that are no output."""
    wrong = (y < 0) | (y >= num_classes)
    if wrong.any():
        raise _checks.ArgumentError(
            f"Argument `y` must hold classes 0 to {num_classes - 1}, but {wrong.sum()} of {y.size} "
            f"are not; the first is {y[wrong].flat[0]}."
        )
