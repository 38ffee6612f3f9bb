"""A PyTorch module as a function of its weights, apart from the module that the user holds.

Nothing of the user's is written: the tree of modules is copied, its tensors are shared, and every
forward pass is given weights and buffers of its own. What PyTorch decides by global switches is
set as curvature needs it for the time of a call, and set back.
"""

import contextlib
import copy
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from samflow._checks import ArgumentError
from samflow.losses.pytorch.autograd import first_line

_LOCK = threading.RLock()
"""A pass exchanges weights within the copy and sets global switches; callbacks have threads."""


class Stateless(NamedTuple):
    """A copy of a module whose weights come from outside, with all else that a pass needs.

    Attributes:
        torch: the library.
        module: the copy, inside of one that calls it as `forward` says: names begin "module.".
        names: of the weights, as `named_parameters` has them.
        aliases: every name of each weight, more than one where it is tied.
        shapes: of the weights.
        dtype: in which it computes.
        device: where.
        batch_statistics: whether some batch norm normalises with the batch at hand.
        batch_norm: whether there is any batch norm.
        recurrent: whether there are layers that cuDNN cannot differentiate twice.

    """

    torch: Any
    module: Any
    names: tuple[str, ...]
    aliases: tuple[tuple[str, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    dtype: Any
    device: Any
    batch_statistics: bool
    batch_norm: bool
    recurrent: bool

    def leaves(self, flat: Any) -> list[Any]:
        """Return the weights as tensors of their own, of which derivatives may be taken."""
        own = flat.detach().to(device=self.device, dtype=self.dtype, copy=True)
        return [piece.requires_grad_() for piece in self.pieces(own)]

    def pieces(self, flat: Any) -> list[Any]:
        """Return the parts of a flat tensor in the shapes of the weights."""
        parts = flat.split([shape.numel() for shape in map(self.torch.Size, self.shapes)])
        return [p.detach().view(shape) for p, shape in zip(parts, self.shapes, strict=True)]

    def flat(self, tensors: Sequence[Any], target: Any) -> Any:
        """Return tensors in the shapes of the weights as one of the type of `target`; None is 0."""
        filled = (
            self.torch.zeros(shape, dtype=self.dtype, device=self.device) if t is None else t
            for t, shape in zip(tensors, self.shapes, strict=True)
        )
        dense = (t.detach() if t.layout == self.torch.strided else t.to_dense() for t in filled)
        return self.torch.cat([t.reshape(-1) for t in dense]).to(target.dtype)

    def __call__(self, leaves: Sequence[Any], x: Any) -> Any:
        """Return the outputs; buffers that the pass writes are written in clones."""
        return self._passed(self._tensors(leaves), x)

    def _tensors(self, leaves: Sequence[Any]) -> dict[str, Any]:
        """Return the weights and clones of the buffers, one of what is tied, by their slots."""
        held = dict(self.module.named_parameters())
        own = {id(b): b.clone() for b in self.module.buffers()}
        for name, leaf in zip(self.names, leaves, strict=True):
            own[id(held[f"module.{name}"])] = leaf
        return {name: own[id(t)] for name, t in _slots(self.module) if id(t) in own}

    def _passed(self, tensors: dict[str, Any], x: Any) -> Any:
        # Tied here: what PyTorch ties by names it does not undo in a module that has two.
        call = self.torch.func.functional_call
        with _twice_differentiable(self.torch, self.device.type):
            return call(self.module, tensors, (x,), tie_weights=False)

    def in_modes_of(self, module: Any, leaves: Sequence[Any], x: Any) -> Any:
        """Return the outputs of a pass in the modes of a module that the copy is of."""
        copied = list(self.module.module.modules())
        before = [each.training for each in copied]
        devices = [self.device] if self.device.type == "cuda" else []
        try:
            for each, own in zip(copied, module.modules(), strict=True):
                each.training = own.training
            with self.torch.random.fork_rng(devices):
                return self(leaves, x)
        finally:
            for each, mode in zip(copied, before, strict=True):
                each.training = mode

    def state(self) -> dict[str, Any]:
        """Return the state_dict of the copy, under the names of the user's module."""
        return self.module.module.state_dict()

    def tied(self) -> dict[str, str]:
        """Return the first name of a weight or a buffer by each of its other names."""
        module, first = self.module.module, {}
        named = (module.named_parameters, module.named_buffers)
        pairs = [pair for each in named for pair in each(remove_duplicate=False)]
        names = {name: first.setdefault(id(tensor), name) for name, tensor in pairs}
        return {name: other for name, other in names.items() if name != other}

    def with_state(self, tensors: Mapping[str, Any]) -> "Stateless":
        """Return the same function with other tensors that are no weights."""
        module = _again(self.torch, self.module)
        state, weights = module.module.state_dict(), {n for names in self.aliases for n in names}
        for name, array in tensors.items():
            if name in weights:
                continue
            if tuple(state[name].shape) != tuple(array.shape):
                raise ArgumentError(
                    f"Tensor `{name}` must have shape {tuple(state[name].shape)}, but has shape "
                    f"{tuple(array.shape)}."
                )
            state[name].copy_(self.torch.as_tensor(_known(array)))
        return self._replace(module=module)

    def with_batch_norm(self, train: bool) -> "Stateless":
        """Return the same function with batch norm's statistics from the batch, or running ones."""
        module = _again(self.torch, self.module)
        return self._replace(module=module, batch_statistics=_set_norms(self.torch, module, train))

    @property
    def running_statistics(self) -> bool:
        """Whether some batch norm normalises with running statistics that training would move."""
        return any(not norm.training for norm in _tracking(self.torch, self.module).values())

    def learning(self) -> "Stateless":
        """Return the function of which `statistics` are taken: batch norm learns them anew."""
        module = _again(self.torch, self.module)
        for norm in _tracking(self.torch, module).values():
            norm.reset_running_stats()
            norm.momentum = None  # averages over the calls of a pass
            norm.train()
        return self._replace(module=module, batch_statistics=True)

    def statistics(self, leaves: Sequence[Any], x: Any) -> dict[str, Any]:
        """Return the running statistics that a pass of `learning` leaves, as a state_dict does."""
        tensors, norms = self._tensors(leaves), _tracking(self.torch, self.module)
        counts = {name: tensors[f"{name}.num_batches_tracked"] for name in norms}
        self._passed(tensors, x)
        called = [name for name, count in counts.items() if count > 0]
        names = [f"{name}.{each}" for name in called for each in ("running_mean", "running_var")]
        return {name.removeprefix("module."): tensors[name] for name in names}

    @contextlib.contextmanager
    def exact(self, *, gradients: bool = True) -> Iterator[None]:
        """Let PyTorch compute in the precision asked for, and only what has two derivatives."""
        torch = self.torch
        attention = torch.nn.attention
        fast = torch.backends.mha.get_fastpath_enabled()
        with (
            _LOCK,
            torch.inference_mode(False),
            torch.set_grad_enabled(gradients),
            torch.autocast(self.device.type, enabled=False),
            attention.sdpa_kernel(attention.SDPBackend.MATH),
            _switched(_switches(torch.backends, self.recurrent)),
            _uncompiled(torch),
        ):
            torch.backends.mha.set_fastpath_enabled(False)
            try:
                yield
            finally:
                torch.backends.mha.set_fastpath_enabled(fast)


def _known(array: Any) -> Any:
    """Return an array whose type PyTorch takes: bfloat16 and floats of 8 bits widened exactly."""
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biufc":
        return array.astype(np.float32, casting="safe")
    return array


def _uncompiled(torch: Any) -> Any:
    """Return a context in which what torch.compile made runs as it was written."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and the import takes seconds
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")


def _twice_differentiable(torch: Any, device: str) -> Any:
    """Return a context in which functions whose second derivative PyTorch lacks are formulas.

    Where a module switches autocast on by itself, it is off for each function.

    Seen in 2.13: weight norm takes the norm for a constant in its second derivative, which is
    wrong without a word; hardsigmoid has none; nor have sparse gradients of embeddings.
    """
    functional = torch.nn.functional
    looked_up = (functional.embedding, functional.embedding_bag, torch.embedding)

    class Formulas(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func is torch._weight_norm:
                func = _weight_norm
            elif func is torch.nn.functional.hardsigmoid:
                func = _hardsigmoid
            elif func in looked_up:  # functions of PyTorch hand their settings on by name
                kwargs, args = dict(kwargs or {}) | {"sparse": False}, args[:4]
            if torch.is_autocast_enabled(device):
                with torch.autocast(device, enabled=False):
                    return func(*args, **(kwargs or {}))
            return func(*args, **(kwargs or {}))

    def _weight_norm(v: Any, g: Any, dim: int = 0) -> Any:
        return g * v / torch.norm_except_dim(v, 2, dim)

    def _hardsigmoid(x: Any, inplace: bool = False) -> Any:
        return torch.nn.functional.relu6(x + 3) / 6

    return Formulas()


def _switches(backends: Any, recurrent: bool) -> list[tuple[Any, str, Any]]:
    if hasattr(backends.cudnn, "conv"):
        found = [backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul]
        found += [backends.mkldnn.conv, backends.mkldnn.matmul, backends.mkldnn.rnn]
        switches: list[tuple[Any, str, Any]] = [(each, "fp32_precision", "ieee") for each in found]
    else:  # before 2.9
        switches = [(each, "allow_tf32", False) for each in (backends.cudnn, backends.cuda.matmul)]
    return [*switches, (backends.cudnn, "enabled", False)] if recurrent else switches


@contextlib.contextmanager
def _switched(switches: list[tuple[Any, str, Any]]) -> Iterator[None]:
    before = [getattr(each, name) for each, name, _ in switches]
    try:
        for each, name, value in switches:
            setattr(each, name, value)
        yield
    finally:
        for (each, name, _), value in zip(switches, before, strict=True):
            setattr(each, name, value)


def stateless(
    torch: Any, module: Any, train: bool, dtype: Any, device: Any, forward: Callable | None
) -> Stateless:
    """Copy `module` with its tensors shared, in evaluation mode.

    Batch norm is in training mode if `train`.

    Buffers are cloned, so that statistics of further training do not change the copy's. Tensors
    that are no weights keep their memory where type and device agree.
    """
    weights = {name: p for name, p in module.named_parameters() if p.requires_grad}
    tied = list(module.named_parameters(remove_duplicate=False))
    copied = _copied(torch, module, weights, dtype, device)
    copied.eval()
    batch_statistics = _set_norms(torch, copied, train)
    return Stateless(
        torch=torch,
        module=_calling(torch, copied, forward),
        names=tuple(weights),
        aliases=tuple(tuple(n for n, q in tied if q is p) for p in weights.values()),
        shapes=tuple(tuple(p.shape) for p in weights.values()),
        dtype=dtype,
        device=device,
        batch_statistics=batch_statistics,
        batch_norm=bool(_norms(torch, copied)),
        recurrent=any(isinstance(m, torch.nn.RNNBase) for m in copied.modules()),
    )


def _slots(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield every place that holds a parameter or a buffer, under one name, and what it holds."""
    for prefix, each in module.named_modules():
        own = itertools.chain(each._parameters.items(), each._buffers.items())
        yield from ((f"{prefix}.{name}".lstrip("."), t) for name, t in own if t is not None)


def _norms(torch: Any, module: Any) -> list[Any]:
    return [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]


def _tracking(torch: Any, module: Any) -> dict[str, Any]:
    """Return the batch norms that have running statistics, by their names."""
    norms = {id(norm) for norm in _norms(torch, module) if norm.track_running_stats}
    named = {name: each for name, each in module.named_modules() if id(each) in norms}
    return {name: norm for name, norm in named.items() if norm.running_mean is not None}


def _set_norms(torch: Any, module: Any, train: bool) -> bool:
    """Set the mode of every batch norm; return whether some normalises with the batch at hand."""
    norms = _norms(torch, module)
    for norm in norms:
        norm.train(train)
    return any(norm.training or norm.running_mean is None for norm in norms)


def _copied(torch: Any, module: Any, weights: Mapping[str, Any], dtype: Any, device: Any) -> Any:
    """Return the tree of modules anew, every reference within it as it was."""
    memo: dict[int, Any] = {id(p): p for p in weights.values()}
    for p in module.parameters():
        if id(p) not in memo:
            moved = _moved(p.detach(), dtype, device)
            memo[id(p)] = torch.nn.Parameter(moved, requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = _moved(buffer.detach().clone(), dtype, device)
    memo.update(_passing(torch, module))
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise ArgumentError(
            "Argument `model` must be a module that copy.deepcopy can copy, but "
            f"{type(module).__name__} is not: {first_line(error)}"
        ) from error


def _again(torch: Any, module: Any) -> Any:
    """Return a tree that was copied anew: its weights are shared, all other tensors copied."""
    memo = {id(p): p for p in module.parameters() if p.requires_grad}
    return copy.deepcopy(module, memo | _passing(torch, module))


def _passing(torch: Any, module: Any) -> dict[int, Any]:
    """Return what a hook makes before every pass, which cannot be copied."""
    plain = [value for each in module.modules() for value in vars(each).values()]
    return {id(t): t for t in plain if torch.is_tensor(t) and not t.is_leaf}


def _moved(tensor: Any, dtype: Any, device: Any) -> Any:
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)


def _calling(torch: Any, module: Any, forward: Callable | None) -> Any:
    class Calling(torch.nn.Module):
        """Gives a module its inputs as the user's forward function does, or as they come."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Any) -> Any:
            if forward is not None:
                return forward(self.module, x)
            if isinstance(x, Mapping):
                return self.module(**x)
            return self.module(*x) if isinstance(x, tuple) else self.module(x)

    made = Calling()
    made.training = False
    return made
