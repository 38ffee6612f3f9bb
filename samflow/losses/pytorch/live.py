"""The loss of a PyTorch module as it stands in a training loop: wrapped, in its mode, by a loader.

What a person would have to know of it is said in notes. What would make it another loss than the
one that is trained is refused, or asked for.
"""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from samflow import _checks
from samflow._checks import ArgumentError
from samflow._extras import optional
from samflow.losses.loaders import Read, Unpack, accepted, read
from samflow.losses.pytorch.autograd import explained
from samflow.losses.pytorch.criteria import criterion
from samflow.losses.pytorch.inspection import NoMeanError, apart
from samflow.losses.pytorch.loss import TorchLoss
from samflow.losses.pytorch.models import torch_network
from samflow.losses.pytorch.objective import received
from samflow.losses.pytorch.outputs import own_loss, tensor_of
from samflow.losses.pytorch.probing import TRIED, probed
from samflow.losses.pytorch.wrappers import unwrapped

MODES = ("eval", "train")
_NARROW = {"float16", "bfloat16"}


def live_loss(
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
) -> tuple[TorchLoss, tuple[str, ...]]:
    """Return the loss of a module over the examples of a loader, and what should be known of it.

    Arguments are those of `sf.networks.live_checkpoint`.
    """
    torch = optional("torch", "A loss of a PyTorch module")
    if mode is not None:
        _checks.known("mode", mode, MODES)
    if batch_loss is not None and not (loss_fn is None and forward is None and unpack is None):
        raise ArgumentError(
            "Argument `batch_loss` computes the loss of a batch as the loader gives it: leave out "
            "`loss_fn`, `forward` and `unpack`."
        )
    module, wrappers = unwrapped(torch, model)
    before = torch.get_rng_state()
    try:
        kept = unpack if batch_loss is None else lambda batch: (batch, None)
        held = read(dataloader, unpack=kept, max_examples=max_examples, max_bytes=max_bytes)
    finally:
        torch.set_rng_state(before)
    settings = {"batch_norm": mode, "name": type(module).__name__, **settings}
    if batch_loss is not None:
        scalar, notes = _as_it_is(batch_loss), ()
        loss = _of_batches(module, held.x, held, batch_loss, scalar, settings)
    else:
        loss, notes = _of_outputs(torch, module, held, loss_fn, forward, settings)
    if mode is None:
        _check_mode(torch, module, loss)
    taken_off = tuple(f"Computed without its wrapper {name}." for name in wrappers)
    more = (*held.notes, *_frozen(module), *_precision(module, loss.options.dtype), *probed(loss))
    return loss, (*taken_off, *notes, *more)


def _as_it_is(batch_loss: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """Return the identity under the name of a function."""
    same = lambda f: f  # noqa: E731
    same.__name__ = getattr(batch_loss, "__name__", type(batch_loss).__name__)
    return same


def _of_outputs(
    torch: Any, module: Any, held: Read, loss_fn: Any, forward: Any, settings: dict[str, Any]
) -> tuple[TorchLoss, tuple[str, ...]]:
    """Return the loss that compares outputs with targets, and notes."""
    if held.y is None:
        raise ArgumentError(
            "Argument `dataloader` must give targets, but its batches hold inputs alone. Pass "
            "batch_loss=lambda module, batch: ... for a loss without targets, or `unpack`."
        )
    notes: tuple[str, ...] = ()
    x, left = (held.x, ()) if forward is not None else accepted(module.forward, held.x)
    if left:
        notes += (f"The module takes no {', '.join(left)}: left out of the loader's batches.",)
    named = isinstance(x, Mapping) and _takes(module, held.target)
    if loss_fn is None and forward is None and named:
        whole = {**x, held.target: held.y}
        with contextlib.suppress(_NoLossError):
            return _of_batches(module, whole, held, _call, _own(torch), settings), notes
    call = _call if forward is None else forward
    if criterion(torch, loss_fn).function is None:
        where: set[str] = set()

        def outputs(module: Any, x: Any) -> Any:
            f, place = tensor_of(torch, call(module, x))
            where.add(place)
            return f

        loss = torch_network(module, x, held.y, loss=loss_fn, forward=outputs, **settings)
        places = sorted(where - {""})
        return loss, notes + tuple(f"Outputs are {p} of what the module returns." for p in places)
    common: dict[str, Any] = {"loss": loss_fn, "forward": call, **settings}
    try:
        return torch_network(module, x, held.y, **common), notes
    except NoMeanError:
        loss = torch_network(module, x, held.y, batches=held.sizes, **common)
    said = (
        f"{loss.options.criterion} is no mean over examples: it is computed of whole batches, "
        "those of the loader."
    )
    return loss, (*notes, said)


def _takes(module: Any, target: str) -> bool:
    """Whether the forward pass has an argument with the name of the targets of a mapping."""
    return bool(target) and target in inspect.signature(module.forward).parameters


class _NoLossError(ArgumentError):
    """A module returns no loss of its own."""


def _own(torch: Any) -> Callable[[Any], Any]:
    def own(f: Any) -> Any:
        found = own_loss(torch, f)
        if found is None:
            raise _NoLossError("Argument `model` must return its own `loss`, but returns none.")
        return found

    own.__name__ = "the module's own"
    return own


def _of_batches(
    module: Any,
    x: Any,
    held: Read,
    forward: Callable[[Any, Any], Any],
    scalar: Callable[[Any], Any],
    settings: dict[str, Any],
) -> TorchLoss:
    """Return the mean over the loader's batches of a scalar of what `forward` returns."""

    def loss(f: Any, y: Any) -> Any:
        return scalar(f)

    loss.__name__ = scalar.__name__
    blank = np.zeros(sum(held.sizes))
    return torch_network(
        module, x, blank, loss=loss, forward=forward, batches=held.sizes, **settings
    )


def _call(module: Any, x: Any) -> Any:
    if isinstance(x, Mapping):
        return module(**x)
    return module(*x) if isinstance(x, tuple) else module(x)


def _check_mode(torch: Any, module: Any, loss: TorchLoss) -> None:
    """Refuse a module in training mode if that is another function."""
    if not any(each.training for each in module.modules()):
        return
    made, count = loss.objective, min(TRIED, loss.num_examples, *(loss.objective.sizes or ())[:1])
    named = [(name, each) for name, each in module.named_modules() if _draws(torch, each)]
    network, gap = made.network, float(bool(named))
    if not named:
        x, _ = made.examples.part(slice(0, count))
        with network.exact(gradients=False), explained(torch, made.name, count):
            leaves = network.leaves(received(torch, loss.flatten()))
            try:
                gap = apart(torch, network(leaves, x), network.in_modes_of(module, leaves, x))
            except ValueError:  # a batch of one for batch norm, or outputs of training alone
                gap = 1.0
        named = [(name, each) for name, each in module.named_modules() if _norms(torch, each)]
    if not gap:
        return
    found = ", ".join(f"{type(each).__name__} {name!r}" for name, each in named[:3])
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    why = f": {found}{more}" if found else ""
    raise ArgumentError(
        "Argument `model` must be in evaluation mode, but is in training mode, which changes what "
        f'it computes{why}. Call model.eval(), or say what to take: mode="eval" for what '
        'model.eval() computes, mode="train" for batch norm with the statistics of the data, '
        "without dropout."
    )


def drops_in_training(torch: Any, module: Any, loss: TorchLoss) -> tuple[str, ...] | None:
    """Return the parts of a module that drop numbers at random as it stands; None if none does.

    Dropout that no part shows, as F.dropout, is seen from the outputs: they differ between two
    seeds, or, of a module without batch norm, from those in evaluation mode.
    """
    parts = list(module.named_modules())
    if not any(each.training for _, each in parts):
        return None
    named = tuple(
        f"{type(each).__name__} {name or 'itself'}" for name, each in parts if _draws(torch, each)
    )
    if named:
        return named
    made, count = loss.objective, min(TRIED, loss.num_examples, *(loss.objective.sizes or ())[:1])
    network, (x, _) = made.network, made.examples.part(slice(0, count))
    devices = [network.device] if network.device.type == "cuda" else []
    with network.exact(gradients=False), explained(torch, made.name, count):
        leaves, passes = network.leaves(received(torch, loss.flatten())), []
        try:
            for seed in range(2):
                with torch.random.fork_rng(devices):
                    torch.manual_seed(seed)
                    passes.append(network.in_modes_of(module, leaves, x))
            gap = apart(torch, *passes)
            if not gap and not any(_norms(torch, each) for _, each in parts):
                gap = apart(torch, network(leaves, x), passes[0])
        except ValueError:  # a batch of one for batch norm, or outputs of training alone
            gap = 0.0
    return (f"{type(module).__name__} itself",) if gap else None


def _draws(torch: Any, module: Any) -> bool:
    """Whether a module in training drops numbers at random."""
    kinds = (torch.nn.modules.dropout._DropoutNd,)
    share = module.p if isinstance(module, kinds) else getattr(module, "dropout", 0.0)
    return module.training and isinstance(share, float) and share > 0


def _norms(torch: Any, module: Any) -> bool:
    return module.training and isinstance(module, torch.nn.modules.batchnorm._BatchNorm)


def _frozen(module: Any) -> tuple[str, ...]:
    """Say how many parameters are no weights, as under low-rank adapters."""
    still = [p for p in module.parameters() if not p.requires_grad]
    if not still:
        return ()
    count, total = sum(p.numel() for p in still), sum(p.numel() for p in module.parameters())
    return (
        f"{count} of {total} parameters are frozen (requires_grad=False, {len(still)} arrays): "
        "they are used, and curvature is that of the others.",
    )


def _precision(module: Any, dtype: str) -> tuple[str, ...]:
    """Say in which float type curvature is computed where the module has a narrower one."""
    types = sorted({str(p.dtype).removeprefix("torch.") for p in module.parameters()} & _NARROW)
    if not types:
        return ()
    return (
        f"Parameters are of {' and '.join(types)}, which {dtype} holds exactly: loss and curvature "
        f"are computed in {dtype}.",
    )
