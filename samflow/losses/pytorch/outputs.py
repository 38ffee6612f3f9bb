"""What a module returns: a tensor, or a record in which one tensor stands for the outputs."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from samflow._checks import ArgumentError

_LOGITS = "logits"


def tensor_of(torch: Any, made: Any) -> tuple[Any, str]:
    """Return the tensor of outputs in what a module returned, and where it was; "" for itself.

    `logits` of a mapping or a record, the only tensor of a mapping, the first of a tuple.

    Raises:
        ArgumentError: where none of these is there.

    """
    if torch.is_tensor(made):
        return made, ""
    found = made.get(_LOGITS) if isinstance(made, Mapping) else getattr(made, _LOGITS, None)
    if torch.is_tensor(found):
        return found, f"`{_LOGITS}`"
    if isinstance(made, Mapping):
        tensors = {name: each for name, each in made.items() if torch.is_tensor(each)}
        if len(tensors) == 1:
            name, tensor = next(iter(tensors.items()))
            return tensor, f"`{name}`"
    elif isinstance(made, (tuple, list)) and made and torch.is_tensor(made[0]):
        return made[0], f"the first of {len(made)} entries" if len(made) > 1 else "its only entry"
    raise no_tensor(made)


def no_tensor(made: Any) -> ArgumentError:
    """Return the error for a module whose outputs are no tensor."""
    return ArgumentError(
        f"Argument `model` must return one tensor, but returns {_described(made)}. Pass "
        "`forward`, such as forward=lambda module, x: module(x).logits."
    )


def own_loss(torch: Any, made: Any) -> Any:
    """Return the scalar `loss` in what a module returned, or None."""
    found = made.get("loss") if isinstance(made, Mapping) else getattr(made, "loss", None)
    return found if torch.is_tensor(found) and getattr(found, "ndim", 1) == 0 else None


def leaves_of(torch: Any, made: Any) -> list[Any]:
    """Return the tensors in what a module returned."""
    found: list[Any] = []
    mapped(torch, lambda tensor: (found.append(tensor), tensor)[1], made)
    return found


def mapped(torch: Any, function: Callable[[Any], Any], made: Any) -> Any:
    """Return the same record with a function of each of its tensors."""
    if torch.is_tensor(made):
        return function(made)
    parts = dict(_parts(made))
    if not parts:
        return made
    new = {name: mapped(torch, function, each) for name, each in parts.items()}
    if isinstance(made, Mapping):
        return _mapping(made, new)
    if isinstance(made, (tuple, list)):
        values = list(new.values())
        return type(made)(*values) if hasattr(made, "_fields") else type(made)(values)
    if dataclasses.is_dataclass(made):
        return dataclasses.replace(made, **new)  # pyright: ignore[reportArgumentType]
    other = copy.copy(made)
    other.__dict__.update(new)
    return other


def _mapping(made: Mapping, new: dict[Any, Any]) -> Any:
    """Return a mapping of its own class where this takes its entries by name, as records do."""
    if type(made) is dict:
        return new
    try:
        return type(made)(**new)
    except TypeError:
        return new


def _parts(made: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(made, Mapping):
        yield from made.items()
    elif isinstance(made, (tuple, list)):
        yield from enumerate(made)
    elif dataclasses.is_dataclass(made) and not isinstance(made, type):
        yield from ((f.name, getattr(made, f.name)) for f in dataclasses.fields(made) if f.init)
    elif hasattr(made, "__dict__") and not isinstance(made, type):  # tensors alone: no circles
        yield from ((name, each) for name, each in vars(made).items() if hasattr(each, "grad_fn"))


def _described(made: Any) -> str:
    kind = type(made).__name__
    if isinstance(made, Mapping):
        return f"{kind} with {', '.join(map(repr, made)) or 'nothing in it'}"
    return kind
