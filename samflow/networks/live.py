"""Networks as they stand in a training loop, with the loss that their loader makes of them."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from samflow._checks import ArgumentError
from samflow.losses.flax_modules import flax_parts
from samflow.losses.loaders import Unpack, read
from samflow.losses.models import network, network_function
from samflow.losses.pytorch.live import live_loss
from samflow.networks.checkpoints import Checkpoint


def live_checkpoint(
    model: Any,
    dataloader: Any,
    loss_fn: Any = None,
    *,
    mode: str | None = None,
    batch_loss: Callable[[Any, Any], Any] | None = None,
    unpack: Unpack | None = None,
    forward: Callable[[Any, Any], Any] | None = None,
    max_examples: int | None = None,
    max_bytes: int | None = None,
    **settings: Any,
) -> Checkpoint:
    """Take a model, a loader and a loss function as a training loop has them.

    The loader is read once and its examples are held: every product H v is of the same examples,
    whether the loader shuffles or draws at random, and `notes` say where it does. The model is
    never written. Of PyTorch, wrappers are taken off (torch.compile, DataParallel,
    DistributedDataParallel, AveragedModel), attention is computed by the kernel that has a second
    derivative, and half precision is raised to float32. Weights are the parameters that require a
    gradient.

    >>> import jax, equinox as eqx
    >>> model = eqx.nn.MLP(2, 1, 3, 1, activation=jax.numpy.tanh, key=jax.random.key(0))
    >>> batches = [(np.ones((4, 2)), np.zeros((4, 1))), (np.zeros((2, 2)), np.ones((2, 1)))]
    >>> checkpoint = live_checkpoint(model, batches)
    >>> checkpoint.loss.num_examples, checkpoint.source
    (6, 'MLP as it is')

    Args:
        model: a `torch.nn.Module`; a module of equinox; a module of flax.nnx; one of flax.linen
            with its variables, `module.bind(variables)`.
        dataloader: an iterable of batches, as a DataLoader is, each a tuple (inputs..., targets),
            or a mapping with "labels", "label", "targets", "target" or "y"; or a tuple of arrays
            (x, y).
        loss_fn: of PyTorch, whatever `torch_network` takes as `loss`; None: the module's own
            `loss`, if it takes the targets by their name and returns one, or else a criterion by
            the targets. A function gets what the module returns; a named criterion, and those of
            torch.nn, get its `logits`, its only tensor, or the first of a tuple. A function that is
            no mean over examples, as a contrastive one, is computed of whole batches. Of other
            libraries, what `network` takes.
        mode: "eval" for what model.eval() computes; "train" for batch norm with the statistics of
            the data and no dropout; None: the mode that the model is in, refused where it is in
            training and this changes what it computes.
        batch_loss: takes (module, batch) and returns the loss of the batch, a scalar; L is the mean
            over the loader's batches, by their sizes. Of PyTorch only.
        unpack: takes a batch and returns (inputs, targets).
        forward: takes (module, inputs) and returns outputs. Of PyTorch only.
        max_examples: after so many the reading ends.
        max_bytes: of memory that the examples may fill; None: 40 % of what is free.
        settings: further ones of `torch_network` or `network`, as chunk_size, dtype, device,
            weight_decay.

    Not guaranteed: that the training loop computed in the same precision. Autocast around the
    model is off here; the curvature is that of the loss in float32 or float64.

    Raises:
        ArgumentError: for a model in training mode whose outputs differ from those in evaluation
            mode, without a `mode`; for batches that are no arrays of as many examples each, or have
            no targets; for examples that fill too much memory, with how much they take; and what
            `torch_network` and `network` raise.
        ImportError: where PyTorch or flax is needed and not installed.

    """
    source, named = f"{type(model).__name__} as it is", {"mode": mode, "batch_loss": batch_loss}
    limits = {"unpack": unpack, "max_examples": max_examples, "max_bytes": max_bytes}
    if _is_torch(model):
        loss, notes = live_loss(
            model, dataloader, loss_fn, **named, **limits, forward=forward, **settings
        )
        return Checkpoint(loss, loss.flatten(), source, notes)
    others = {**named, "forward": forward}
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise ArgumentError(
            f"Argument `{given[0]}` is for modules of PyTorch, but the model is a "
            f"{type(model).__name__}. Put the model into the mode, or wrap it in a function."
        )
    held = read(dataloader, **limits)
    if held.y is None:
        raise ArgumentError(
            "Argument `dataloader` must give targets, but its batches hold inputs alone. Pass "
            "`unpack`."
        )
    x, y, parts = _array(held.x), _array(held.y), flax_parts(model)
    settings = {"loss": loss_fn, "name": type(model).__name__, **settings}
    if parts is None:
        made = network(model, x, y, **settings)
        return Checkpoint(made, made.flatten(model), source, held.notes)
    norm = None if parts.batch_norm == "none" else parts.batch_norm
    made = network_function(
        parts.function, parts.params, x, y, state=parts.state, batch_norm=norm, **settings
    )
    return Checkpoint(made, made.flatten(parts.params), source, (*parts.notes, *held.notes))


def _is_torch(model: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def _array(tree: Any) -> Any:
    """Return examples as the networks of JAX take them: one array."""
    if isinstance(tree, dict) and len(tree) == 1:
        tree = next(iter(tree.values()))
    if isinstance(tree, (dict, tuple)):
        raise ArgumentError(
            "Argument `dataloader` must give one array of inputs and one of targets for a model of "
            f"JAX, but gives {len(tree)}. Pass `unpack`, and a model that takes one array."
        )
    return np.asarray(tree)
