"""What one pass of a module shows that a person should know: attention, autocast, narrow floats."""

from typing import Any

from samflow.losses.pytorch.autograd import explained
from samflow.losses.pytorch.loss import TorchLoss
from samflow.losses.pytorch.objective import received

TRIED = 8
"""How many examples are passed."""
_ATTENTION = ("scaled_dot_product_attention", "multi_head_attention_forward")


def probed(loss: TorchLoss) -> tuple[str, ...]:
    """Return what a pass of a few examples shows of how the module computes."""
    made, count = loss.objective, min(TRIED, loss.num_examples, *(loss.objective.sizes or ())[:1])
    torch, network = made.network.torch, made.network
    x, _ = made.examples.part(slice(0, count))
    seen: set[str] = set()

    class Watching(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            if getattr(func, "__name__", "") in _ATTENTION:
                seen.add("attention")
            if torch.is_tensor(result) and result.dtype in (torch.float16, torch.bfloat16):
                seen.add(str(result.dtype).removeprefix("torch."))
            return result

    leaves = network.leaves(received(torch, loss.flatten()))
    with network.exact(gradients=False), explained(torch, made.name, count), Watching():
        network(leaves, x)
    return _said(seen, loss.options.dtype)


def _said(seen: set[str], dtype: str) -> tuple[str, ...]:
    narrow = sorted(seen - {"attention"})
    notes = []
    if "attention" in seen:
        notes.append(
            "Attention is computed by PyTorch's math kernel, the same function: the fused ones "
            "have no second derivative."
        )
    if narrow:
        notes.append(
            f"The module itself casts to {' and '.join(narrow)} on its way: loss and curvature are "
            f"those of its rounded numbers, not of {dtype}."
        )
    return tuple(notes)
