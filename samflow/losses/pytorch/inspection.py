"""What must hold of a PyTorch module, its data and its criterion to make a loss of them."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from samflow import _checks
from samflow._checks import ArgumentError
from samflow.losses.criteria import check_smoothing
from samflow.losses.pytorch.autograd import explained, first_line, kinks, not_reentrant, operations
from samflow.losses.pytorch.criteria import masses, settled
from samflow.losses.pytorch.data import shapes, sliced
from samflow.losses.pytorch.objective import Objective
from samflow.losses.pytorch.outputs import leaves_of, mapped, no_tensor, tensor_of
from samflow.losses.pytorch.stateless import Stateless

_TRIED = 8
"""How many examples the module is tried on."""
_ROUNDINGS = 1e3
"""Outputs that differ by so many units of rounding were not computed in another order only."""


def weights_of(torch: Any, module: Any) -> dict[str, Any]:
    """Return the parameters that require a gradient; refuse what weights cannot be."""
    named = dict(module.named_parameters())
    if any(isinstance(p, torch.nn.parameter.UninitializedParameter) for p in named.values()):
        raise ArgumentError(
            "Argument `model` must have parameters of known shapes, but has lazy parameters. Pass "
            "data through it once first."
        )
    weights = {name: p for name, p in named.items() if p.requires_grad}
    if not weights:
        raise ArgumentError(
            "Argument `model` must have parameters that require a gradient, but none of the "
            f"{len(named)} parameters of {type(module).__name__} does."
        )
    for name, p in weights.items():
        if not p.is_floating_point():
            raise ArgumentError(
                f"Argument `model` must have real floating-point weights, but {name!r} is of "
                f"{p.dtype}. Freeze it: requires_grad_(False)."
            )
        if p.is_meta:
            raise ArgumentError(
                f"Argument `model` must hold numbers, but {name!r} is on the device `meta`, which "
                "holds none."
            )
        if not bool(torch.isfinite(p.detach()).all()):
            raise ArgumentError(f"Argument `model` must have finite weights, but {name!r} is not.")
    return weights


def float_type(torch: Any, weights: dict[str, Any], dtype: Any) -> Any:
    """Return the type to compute in: at least single precision, at most JAX's default."""
    known = {"float32": torch.float32, "float64": torch.float64}
    if dtype is None:
        chosen = torch.float32
        for p in weights.values():
            chosen = torch.promote_types(chosen, p.dtype)
    else:
        try:
            name = str(dtype) if isinstance(dtype, torch.dtype) else jnp.dtype(dtype).name
        except TypeError:
            name = repr(dtype)
        chosen = known.get(name.removeprefix("torch."))
        if chosen is None:
            raise ArgumentError(
                f"Argument `dtype` must be float32 or float64, but is {name}: curvature needs at "
                "least single precision."
            )
    if chosen == torch.float64:
        _checks.double_precision("A network in torch.float64")
    return chosen


def device_of(torch: Any, module: Any, device: Any) -> Any:
    """Return the device to compute on: the one asked for, or the one that holds the module."""
    if device is not None:
        try:
            place = torch.device(device)
            return torch.empty(0, device=place).device
        except (RuntimeError, AssertionError, TypeError) as error:
            raise ArgumentError(
                f"Argument `device` must be one that PyTorch can use, but is {device!r}: "
                f"{first_line(error)}."
            ) from error
    places = {t.device for t in (*module.parameters(), *module.buffers())}
    if len(places) > 1:
        raise ArgumentError(
            f"Argument `model` must be on one device, but is on {sorted(map(str, places))}. Pass "
            "`device` to compute on one."
        )
    return places.pop()


class NoMeanError(ArgumentError):
    """A criterion is no mean over examples: it can be a loss of whole batches."""


def checked_chunks(
    network: Stateless, chunk_size: int, sizes: tuple[int, ...] | None = None
) -> int:
    """Return `chunk_size` if the loss is the mean over chunks of so many examples.

    Args:
        network: the module as a function.
        chunk_size: how many examples are to go at once.
        sizes: of the batches that the loss is a function of; None for a mean over examples.

    """
    if sizes is not None:
        raise ArgumentError(
            "Argument `chunk_size` must be None for a loss of whole batches, because the mean over "
            f"chunks is a different loss. Its batches go one by one already, {max(sizes)} examples "
            "at most at once: give smaller `batches`, which is another loss, if these do not fit."
        )
    if network.batch_statistics:
        raise ArgumentError(
            "Argument `chunk_size` must be None if batch norm takes its statistics from the batch, "
            "because the mean over chunks is a different loss. Use running statistics and "
            'batch_norm="eval".'
        )
    return _checks.count("chunk_size", chunk_size)


def tried(made: Objective, weights: list[Any], chunk_size: int | None) -> Objective:
    """Return the objective with what a few examples show of it."""
    network, n = made.network, len(made.examples)
    count = min(n, _TRIED, chunk_size or n, *(made.sizes or ())[:1])
    few = np.arange(count) * n // count  # spread: data are often sorted by class
    flat = network.flat(weights, weights[0].to(network.dtype))
    with network.exact(), explained(network.torch, made.name, count), not_reentrant(network.torch):
        leaves = network.leaves(flat)
        x, y = made.examples.part(few)
        with _refused(x, count):
            f, again = network(leaves, x), network(leaves, made.examples.part(few)[0])
        made = _with_outputs(made, f, count)
        _check_deterministic(network.torch, f, again)
        if made.criterion.formula != "function":
            made = _with_criterion(made, f, chunk_size)
        elif made.sizes is None:
            _check_ignored(made, chunk_size)
        value = _mean(made, f, y, count)
        try:
            grads = made.first_order(leaves, few, create_graph=False)
        except NotImplementedError as error:  # PyTorch's own, of an operation without derivative
            raise ArgumentError(
                "Argument `model` must have a gradient, but PyTorch cannot compute it: "
                f"{first_line(error)}."
            ) from error
    unused = tuple(name for name, g in zip(network.names, grads, strict=True) if g is None)
    if len(unused) == len(network.names):
        raise ArgumentError(
            "Argument `model` must have a loss that depends on its weights, but it depends on "
            "none: the forward pass detaches them, or calls another module."
        )
    recorded = kinks(operations([value]))
    return dataclasses.replace(made, kinks=recorded, unused=unused)


@contextlib.contextmanager
def _refused(x: Any, count: int) -> Iterator[None]:
    """Say of what a module's forward pass raises that its inputs are to blame; not of memory."""
    try:
        yield
    except (MemoryError, ArgumentError):
        raise
    except Exception as error:  # of the user's code
        if "memory" in str(error):
            raise
        raise ArgumentError(
            f"Argument `x` must hold examples that the module takes, but {count} of shape "
            f"{shapes(x)} fail: {first_line(error)}. The module's own forward pass raised this "
            f"{type(error).__name__}."
        ) from error


def _with_outputs(made: Objective, f: Any, count: int) -> Objective:
    """Return the objective with the shape of an example's outputs; a function takes any record."""
    torch, free = made.network.torch, made.criterion.function is not None
    try:
        rows, taken = tensor_of(torch, f)
    except ArgumentError:
        if free and leaves_of(torch, f):
            return made
        raise
    if taken and not free:
        raise no_tensor(f)
    if rows.ndim == 0 or len(rows) != count or not rows.is_floating_point():
        if free and (made.sizes is not None or taken):
            return made
        raise ArgumentError(
            "Argument `model` must return one row of real numbers per example, but returns "
            f"{rows.dtype} of shape {tuple(rows.shape)} for {count} examples."
        )
    return dataclasses.replace(made, output_shape=tuple(rows.shape[1:]))


def _check_deterministic(torch: Any, f: Any, again: Any) -> None:
    gap = apart(torch, f, again)
    if gap:
        raise ArgumentError(
            "Argument `model` must be deterministic, but the outputs of two passes differ by "
            f"{gap:.2g}: something is drawn at random, as by torch.nn.functional.dropout without "
            "training=self.training, or a state is kept from one pass to the next."
        )


def apart(torch: Any, f: Any, again: Any) -> float:
    """Return by how much two passes' outputs differ beyond rounding; 0 if they do not."""
    gaps = [0.0]
    for one, other in zip(leaves_of(torch, f), leaves_of(torch, again), strict=True):
        if not one.numel() or not one.is_floating_point():
            continue
        size = float(one.detach().abs().max())
        tol = _ROUNDINGS * torch.finfo(one.dtype).eps * (1 + size)
        if not torch.allclose(one, other, rtol=0, atol=tol, equal_nan=True):
            gaps.append(float((one - other).detach().abs().max()))
    return max(gaps)


def _with_criterion(made: Objective, f: Any, chunk_size: int | None) -> Objective:
    """Return the objective with the criterion that fits its outputs and targets."""
    criterion = settled(made.criterion, made.examples, f, chunk_size)
    options = made.options._replace(criterion=criterion.name)
    check_smoothing(options.label_smoothing, criterion.name)
    mass, left_out = masses(criterion, made.examples, chunk_size)
    return dataclasses.replace(
        made, criterion=criterion, options=options, mass=mass, left_out=left_out
    )


def _check_ignored(made: Objective, chunk_size: int | None) -> None:
    """Refuse a mean over the targets that are not ignored: batches differ in how many those are."""
    function = made.criterion.function
    ignored = getattr(function, "ignore_index", None)
    if ignored is None or getattr(function, "reduction", "") != "mean":
        return
    for span in made.examples.spans(chunk_size):
        y = made.examples.part(span)[1]
        if made.network.torch.is_tensor(y) and bool((y == ignored).any()):
            raise NoMeanError(
                "Argument `loss` must be a mean over examples, but leaves out those whose target "
                f"is {ignored}, and there are some. Use torch.nn.CrossEntropyLoss itself, for "
                'which this is known, or reduction="none", with which they count with a loss of 0.'
            )


def _mean(made: Objective, f: Any, y: Any, count: int) -> Any:
    """Return the mean loss of a few outputs; of a function check that it is a mean."""
    torch = made.network.torch
    if made.criterion.function is None:
        return made.mean(f, y)
    each = made.criterion.function(f, y)
    if not torch.is_tensor(each) or tuple(each.shape) not in ((), (count,)):
        has = f"shape {tuple(each.shape)}" if torch.is_tensor(each) else type(each).__name__
        raise ArgumentError(
            f"Argument `loss` must return one loss per example, shape ({count},), or their mean, "
            f"but returns {has}."
        )
    value = made.mean(f, y)
    if made.sizes is not None:
        return value
    singles = [
        float(made.mean(_one(torch, f, i, count), sliced(y, slice(i, i + 1)))) for i in range(count)
    ]
    mean = sum(singles) / count
    if abs(float(value.detach()) - mean) > _ROUNDINGS * torch.finfo(value.dtype).eps * (
        1 + abs(mean)
    ):
        raise NoMeanError(
            f"Argument `loss` must be a mean over examples, but for {count} examples together it "
            f"is {float(value.detach()):.6g}, while the average of their single losses is "
            f"{mean:.6g}. Return one loss per example or their mean, as the criteria of torch.nn "
            'do with reduction="none" or "mean", not a sum. If it compares examples with each '
            "other, as a contrastive loss does, say of how many it is a function: `batches=64`."
        )
    return value


def _one(torch: Any, f: Any, i: int, count: int) -> Any:
    """Return what a module returned of example i, without derivatives."""
    row = lambda t: t.detach()[i : i + 1] if t.ndim and len(t) == count else t.detach()  # noqa: E731
    return mapped(torch, row, f)
