"""Models and data that a command is pointed to: a function in the user's code, or arrays."""

import importlib
import os
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samflow import _checks
from samflow.cli._own_code import own_code
from samflow.cli.output import say


class LossSettings(NamedTuple):
    """What makes a loss of a model and its data, by the names that the options have."""

    loss: str | None = None
    label_smoothing: float = 0.0
    loss_weight_decay: float = 0.0
    batch_norm: str = "eval"
    chunk_size: int | None = None
    dtype: str | None = None


def make_loss(model: str, data: str | None, examples: int | None, settings: LossSettings) -> Any:
    """Return the loss of the model that `model` makes, on `data`.

    Args:
        model: "module:function"; the function takes nothing and returns a `torch.nn.Module`, an
            equinox module, alone or with its `equinox.nn.State`, or a loss of `samflow.losses`,
            which has its data.
        data: an .npz with the arrays x and y, or "module:function" that returns (x, y) or a
            DataLoader.
        examples: how many of the first examples are taken; None for all.
        settings: the rest.

    """
    with own_code(f"--model {model}"):
        made = function_at("--model", model)()
    from samflow.losses.network_base import AbstractNetworkLoss

    if isinstance(made, AbstractNetworkLoss):
        if data is not None:
            raise _checks.ArgumentError(
                f"Argument `--data` must be left out, because {model!r} is already a loss, with "
                "its data."
            )
        _check_no_more(model, examples, settings)
        return _in_chunks(made, settings.chunk_size)
    if data is None:
        raise _checks.ArgumentError(
            "Argument `--data` is missing: weights alone define no loss. Give an .npz with the "
            "arrays x and y, or module:function that returns them."
        )
    x, y = examples_of(data, examples)
    common: dict[str, Any] = {"loss": settings.loss, "label_smoothing": settings.label_smoothing}
    common |= {"weight_decay": settings.loss_weight_decay, "dtype": settings.dtype}
    common |= {"name": model}
    if _is_torch(made):
        from samflow.losses import torch_network

        extra = {"batch_norm": settings.batch_norm, "chunk_size": settings.chunk_size}
        return torch_network(made, x, y, **common, **extra)
    from samflow.losses import network

    pair: Any = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    module, state = pair
    if state is not None:
        common |= {"state": state, "batch_norm": settings.batch_norm}
    elif settings.batch_norm not in ("none", "eval"):
        raise _checks.ArgumentError(
            "Argument `--batch-norm` must be left out for a model without state, but is "
            f"{settings.batch_norm!r} for {model!r}. To give an equinox model with its state, "
            "return (model, state)."
        )
    loss = network(module, x, y, **common)
    return _in_chunks(loss, settings.chunk_size)


def _check_no_more(model: str, examples: int | None, settings: LossSettings) -> None:
    """Refuse options that shape a loss, beside one that is made already."""
    chosen = settings._replace(chunk_size=None)._asdict()
    given = [name for name, value in chosen.items() if value != getattr(LossSettings(), name)]
    given += [] if examples is None else ["examples"]
    if given:
        options = ", ".join(f"`--{name.replace('_', '-')}`" for name in given)
        raise _checks.ArgumentError(
            f"Argument {options} must be left out, because {model!r} is already a loss. Set it "
            "where the loss is made."
        )


def _in_chunks(loss: Any, chunk_size: int | None) -> Any:
    return loss if chunk_size is None else loss.in_chunks(chunk_size)


def _is_torch(model: Any) -> bool:
    """Whether `model` is a module of torch, which is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def function_at(option: str, place: str) -> Callable[[], Any]:
    """Return the function that "module:function" names, with modules of this folder found first."""
    module, colon, name = place.partition(":")
    if not (module and colon and name) or module.startswith("."):
        raise _checks.ArgumentError(
            f"Argument `{option}` must be module:function, such as my_models:make, but is "
            f"{place!r}."
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise
        raise _checks.ArgumentError(
            f"Argument `{option}` must name a module that can be imported, but {module!r} cannot. "
            "Run the command in the folder that contains it."
        ) from error
    function = getattr(found, name, None)
    if not callable(function):
        has = [each for each in vars(found) if not each.startswith("_")]
        raise _checks.ArgumentError(
            f"Argument `{option}` must name a function, but {module} has no function {name!r}; it "
            f"has {', '.join(has) or 'nothing'}."
        )
    return function


def examples_of(data: str, most: int | None) -> tuple[Any, Any]:
    """Return (x, y) from an .npz, or from a function that returns them or a DataLoader."""
    if data.endswith(".npz"):
        x, y = _arrays(Path(data))
    else:
        with own_code(f"--data {data}"):
            made = function_at("--data", data)()
            if hasattr(made, "dataset") and hasattr(made, "batch_size"):  # a DataLoader
                from samflow.losses.loaders import read

                held = read(made, max_examples=most)
                for note in held.notes:
                    say(note)
                return held.x, held.y
        if not (isinstance(made, tuple) and len(made) == 2):
            raise _checks.ArgumentError(
                f"Argument `--data` must name a function that returns (x, y), but {data!r} "
                f"returned {type(made).__name__}."
            )
        x, y = made
    if most is not None:
        most = _checks.count("--examples", most)
        there = min(_lengths((x, y)), default=0)
        if most > there:
            raise _checks.ArgumentError(
                f"Argument `--examples` must be at most {there}, the number of examples, but is "
                f"{most}."
            )
        x, y = _first((x, y), most)
    return x, y


def _lengths(tree: Any) -> list[int]:
    """Return the lengths of all arrays of a tuple or a mapping, as `torch_network` takes them."""
    if isinstance(tree, Mapping):
        tree = tuple(tree.values())
    if isinstance(tree, tuple):
        return [n for each in tree for n in _lengths(each)]
    if not hasattr(tree, "__len__") or np.ndim(tree) == 0:
        raise _checks.ArgumentError(
            "Argument `--data` must have arrays with one row per example, but one array has no "
            "rows."
        )
    return [len(tree)]


def _first(tree: Any, count: int) -> Any:
    if isinstance(tree, Mapping):
        return {name: _first(each, count) for name, each in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_first(each, count) for each in tree)
    return tree[:count]


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not os.path.isfile(path):
        raise _checks.ArgumentError(
            f"Argument `--data` must be a file, but there is no file {str(path)!r}."
        )
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            missing = [name for name in ("x", "y") if name not in file.files]
            if missing:
                raise _checks.ArgumentError(
                    f"Argument `--data` must hold the arrays x and y, but {str(path)!r} lacks "
                    f"{' and '.join(missing)}; it has {', '.join(file.files) or 'nothing'}."
                )
            return file["x"], file["y"]
    except (_checks.ArgumentError, MemoryError):
        raise
    except Exception as error:  # decoders of damaged bytes raise of many types
        raise _checks.ArgumentError(
            f"Argument `--data` must be a complete .npz file of numbers, but {str(path)!r} is not: "
            f"{error}"
        ) from error
