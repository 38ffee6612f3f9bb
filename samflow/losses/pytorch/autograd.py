"""What PyTorch's record of a pass tells: kinks, missing second derivatives; and its errors."""

import contextlib
import importlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from samflow._checks import ArgumentError
from samflow.losses.allocation import allocation_error

_KINKED = re.compile(
    r"(Relu|LeakyRelu|PreluKernel|RreluWithNoise|Hardtanh|Hardshrink|Softshrink|Hardswish"
    r"|Hardsigmoid|Threshold|Abs|Clamp(Min|Max)?|Maximum|Minimum|Fmax|Fmin|Max|Min|Amax|Amin|Sort"
    r"|Topk|Kthvalue|Median|(Adaptive|Fractional)?MaxPool[123]D(WithIndices)?)Backward\d*"
)
_NO_SECOND = "torch::autograd::Error"
"""The node that PyTorch leaves where a backward pass was marked as differentiable once."""


def operations(tensors: Sequence[Any]) -> set[str]:
    """Return the names of the operations that PyTorch recorded on the way to `tensors`."""
    stack = [t.grad_fn for t in tensors if t is not None and t.grad_fn is not None]
    seen, names = set(stack), set()
    while stack:
        node = stack.pop()
        names.add(_kinked_elu(node) or node.name())
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)
    return names


def _kinked_elu(node: Any) -> str | None:
    """Say that an ELU has a kink at 0 but for the slope 1, as SELU has; CELU has none."""
    if not node.name().startswith("EluBackward"):
        return None
    kink = node._saved_alpha * node._saved_input_scale != 1
    return "ReluBackward of elu" if kink else node.name()


def kinks(names: set[str]) -> tuple[str, ...]:
    """Return which operations have a slope that jumps, as "relu" and "max_pool2d"."""
    found = {"elu" if n.endswith("of elu") else n for n in names if _KINKED.match(n)}
    short = (re.sub(r"(Kernel|WithIndices|WithNoise)?Backward\d*$", "", name) for name in found)
    return tuple(sorted({re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in short}))


@contextlib.contextmanager
def explained(torch: Any, name: str, at_once: int, *, whole: bool = False) -> Iterator[None]:
    """Say what to do where memory runs out or an operation has no second derivative."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        memory = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
        if memory or re.search("can't allocate memory|out of memory", str(error)):
            raise allocation_error(name, at_once, str(error), whole=whole) from error
        if re.search(r"derivative for .* is not implemented|double backward", str(error)):
            raise second_derivative(name, first_line(error)) from error
        raise


@contextlib.contextmanager
def not_reentrant(torch: Any) -> Iterator[None]:
    """Refuse gradient checkpointing that starts a backward pass of its own within one.

    It leaves out the gradients of weights whose inputs need none, as those of a first layer, and
    has no second derivative.

    Raises:
        ArgumentError: where a forward pass inside checkpoints so.

    """
    reentrant = importlib.import_module("torch.utils.checkpoint").CheckpointFunction

    def refuse(*args: Any) -> Any:
        raise ArgumentError(
            "Argument `model` must not use reentrant gradient checkpointing: weights inside would "
            "get no gradient or no second derivative. Call torch.utils.checkpoint.checkpoint(..., "
            "use_reentrant=False), or switch checkpointing off."
        )

    reentrant.apply = refuse  # shadows what it inherits, until it is taken away
    try:
        yield
    finally:
        del reentrant.apply


def second_derivative(name: str, text: str) -> ArgumentError:
    """Return what to raise of a network that has a gradient and no Hessian."""
    if re.search("attention|flash|sdp|flex", text, re.IGNORECASE):
        return ArgumentError(
            f"{name} has a gradient, but PyTorch has no second derivative of attention: {text}. "
            "Call torch.nn.functional.scaled_dot_product_attention, of which the kernel that has "
            'one is taken by itself; in transformers, attn_implementation="sdpa" or "eager".'
        )
    return ArgumentError(
        f"{name} has a gradient, but PyTorch has no second derivative of it: {text}. Replace the "
        "operation by ones that have, such as sums, products and indexing; value and gradient work "
        "without it."
    )


def cut(grads: Sequence[Any]) -> bool:
    """Say whether a backward pass was one that is differentiable once: products would lack it."""
    return _NO_SECOND in operations(grads)


def first_line(error: BaseException) -> str:
    """Return what a foreign error says first."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
