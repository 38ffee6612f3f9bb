"""Makes the loss of a PyTorch module and its data, and checks what it is given."""

from collections.abc import Callable, Sequence
from typing import Any

from samflow import _checks
from samflow._extras import optional
from samflow.losses.criteria import BY_TARGETS, check_smoothing
from samflow.losses.network_base import BATCH_NORM, NetworkOptions
from samflow.losses.pytorch.criteria import criterion
from samflow.losses.pytorch.data import examples
from samflow.losses.pytorch.inspection import (
    checked_chunks,
    device_of,
    float_type,
    tried,
    weights_of,
)
from samflow.losses.pytorch.loss import TorchLoss
from samflow.losses.pytorch.objective import Objective
from samflow.losses.pytorch.stateless import stateless


def torch_network(
    model: Any,
    x: Any,
    y: Any,
    *,
    loss: str | Callable[[Any, Any], Any] | None = None,
    name: str | None = None,
    label_smoothing: float = 0.0,
    weight_decay: float = 0.0,
    batch_norm: str | None = None,
    dtype: Any = None,
    device: Any = None,
    chunk_size: int | None = None,
    forward: Callable[[Any, Any], Any] | None = None,
    batches: int | Sequence[int] | None = None,
) -> TorchLoss:
    """Make a loss of a PyTorch module and its data, as they are.

    `loss.flatten()` gives the weights that the module has now. The weights are its parameters that
    require a gradient; frozen ones are used, from the same memory. Buffers are those of now.
    Dropout is off, and so is autocast, also where the module switches it on. Attention, TF32 and
    what else PyTorch decides by switches is such that second derivatives exist, in the precision
    asked for. Gradients of embeddings are dense.

    The mean over a batch or a chunk divides by what counts in it: where targets are ignored or
    classes have weights, examples have different shares, and the mean over batches is another
    number, as it is in PyTorch.

    Args:
        model: any `torch.nn.Module`; it is never written, and neither are its modes.
        x: inputs (n, ...), one example a row: tensors, arrays of NumPy or JAX, `numpy.memmap`, or
            anything with a length that slices and arrays of indices select from. A tuple or
            mapping of such is passed on as arguments of the module.
        y: targets (n, ...), in the shape of the outputs (n, K, ...); or classes, whole numbers
            from 0, in their shape without axis 1, as PyTorch has them. Classes may be on the last
            axis, as of tokens (n, length, K), where targets fit only that.
        loss: None: "cross_entropy" for targets that are whole numbers and "squared" for floats, as
            `sf.losses.network` does; or one of these names. "cross_entropy" is PyTorch's: the mean
            over examples and positions, as tokens or pixels, without targets of -100. "squared"
            is ½‖f − y‖², the mean over examples. `torch.nn.CrossEntropyLoss` and `NLLLoss`, or
            their functions, bring `weight`, `ignore_index`, `label_smoothing` and `reduction`
            ("mean" or "none") along. Or any function of (outputs, targets) that returns the loss
            of each example, shape (n,), or their mean; not their sum. It gets what the module
            returns, also a record of several tensors. `print(loss)` says which loss was taken.
        name: what to call it; None: the class of the module.
        label_smoothing: s in [0, 1), as for `torch.nn.CrossEntropyLoss`.
        weight_decay: ≥ 0; adds ½ weight_decay ‖w‖² to L, over all weights. The weight decay of an
            optimiser that is not part of L belongs to `sf.Map`.
        batch_norm: None or "eval" for its running statistics, "train" for those of the batch at
            hand; with these the loss does not go in chunks.
        dtype: float type to compute in, torch.float32 or torch.float64; None: that of the
            weights, half precision raised to single.
        device: where to compute; None: where the weights are.
        chunk_size: how many examples are computed at once; None: all.
        forward: takes (module, x) and returns the outputs, as
            `lambda module, x: module(**x).logits`; it must not use the module by another name.
        batches: for a `loss` that is a function of a whole batch, as contrastive ones are: of how
            many consecutive examples, or of how many each batch has. L is the mean over batches, by
            their sizes, and the examples of a batch always go together. None: `loss` is a mean over
            examples, which is tried on a few.

    Not guaranteed: that randomness is noticed which shows on none of the few examples tried; second
    derivatives of an `autograd.Function` whose backward is not itself differentiable and does not
    say so by `once_differentiable`: PyTorch leaves them out.

    Raises:
        ArgumentError: for data that are not finite or do not fit each other or the module, a
            function that is no mean over examples without `batches`, classes out of range, targets
            that fit two axes of the outputs, a module without weights, with complex weights or some
            that are not finite, one that is not deterministic, one with reentrant gradient
            checkpointing, and what does not fit into memory.
        ImportError: where PyTorch is not installed.

    """
    torch = optional("torch", "A loss of a PyTorch module")
    _checks.instance("model", model, torch.nn.Module)
    model = getattr(model, "_orig_mod", model)  # compiled: its gradient has no derivative
    asked = criterion(torch, loss)
    smoothing = _checks.fraction("label_smoothing", label_smoothing)
    if asked.formula != BY_TARGETS:
        check_smoothing(smoothing, asked.name)
    decay = _checks.nonnegative("weight_decay", weight_decay)
    if batch_norm is not None:
        _checks.known("batch_norm", batch_norm, BATCH_NORM)
    weights = weights_of(torch, model)
    place = float_type(torch, weights, dtype), device_of(torch, model, device)
    network = stateless(torch, model, batch_norm == "train", *place, forward)
    held = examples(torch, x, y, *place)
    sizes = None if batches is None else _sizes(batches, len(held))
    if sizes is not None and asked.function is None:
        raise _checks.ArgumentError(
            f"Argument `batches` must be None for {asked.name}, which is a mean over examples. It "
            "is for a function of (outputs, targets)."
        )
    chunk_size = None if chunk_size is None else checked_chunks(network, chunk_size, sizes)
    held.check(chunk_size)
    statistics = "train" if network.batch_statistics else "eval"
    options = NetworkOptions(
        criterion=asked.name,
        label_smoothing=smoothing,
        weight_decay=decay,
        batch_norm=statistics if network.batch_norm else "none",
        dtype=str(network.dtype).removeprefix("torch."),
    )
    named = name or type(model).__name__
    made = Objective(model, network, held, asked, options, named, sizes=sizes)
    return TorchLoss(tried(made, list(weights.values()), chunk_size), chunk_size=chunk_size)


def _sizes(batches: int | Sequence[int], n: int) -> tuple[int, ...]:
    """Return the sizes of the batches of n examples."""
    if isinstance(batches, Sequence):
        sizes = tuple(_checks.count("batches", each) for each in batches)
    else:
        size = min(_checks.count("batches", batches), n)
        sizes = tuple(min(size, n - start) for start in range(0, n, size))
    if sum(sizes) != n:
        raise _checks.ArgumentError(
            f"Argument `batches` must add up to the {n} examples, but adds up to {sum(sizes)}."
        )
    return sizes
