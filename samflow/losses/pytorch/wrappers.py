"""Modules that hold the module proper: compiled, in parallel on devices, averaged over training."""

from typing import Any

from samflow._checks import ArgumentError

_HOLDERS = ("DataParallel", "DistributedDataParallel", "AveragedModel")
"""Classes of PyTorch whose `module` is computed as it is."""


def unwrapped(torch: Any, module: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the module inside of PyTorch's wrappers, and the names of those, outermost first.

    The gradient of a compiled module has no derivative; the others add nothing to what is computed.

    Raises:
        ArgumentError: for weights that are sharded over devices.

    """
    taken = []
    while (holder := _holder(torch, module)) is not None:
        name, inner = holder
        taken.append(name)
        module = inner
    if any(hasattr(p, "full_tensor") for p in module.parameters()) or _is_sharded(module):
        raise ArgumentError(
            f"Argument `model` must hold whole weights, but those of {type(module).__name__} are "
            "sharded over devices. Load the full state_dict, as "
            "torch.distributed.checkpoint.state_dict.get_model_state_dict gives it with "
            "full_state_dict=True, into a module that is not sharded."
        )
    return module, tuple(taken)


def _holder(torch: Any, module: Any) -> tuple[str, Any] | None:
    compiled = getattr(module, "_orig_mod", None)
    if isinstance(compiled, torch.nn.Module):
        return "torch.compile", compiled
    kinds = {each.__name__ for each in type(module).__mro__ if _of_pytorch(each)}
    name = next((name for name in _HOLDERS if name in kinds), None)
    return None if name is None else (name, module.module)


def _is_sharded(module: Any) -> bool:
    kinds = {each.__name__ for each in type(module).__mro__ if _of_pytorch(each)}
    return "FullyShardedDataParallel" in kinds


def _of_pytorch(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "torch"
