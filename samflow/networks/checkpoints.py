"""Trained weights on disk, as safetensors: no pickle, and written whole or not at all."""

import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import samflow
from samflow import _checks
from samflow._types import ArrayLike, NumpyArray, Point
from samflow.losses.network import NetworkLoss
from samflow.networks._extras import optional
from samflow.records import write_whole

_DTYPES = {"float64": "F64", "float32": "F32"}


def save_checkpoint(path: str | os.PathLike[str], loss: NetworkLoss, w: ArrayLike) -> Path:
    """Write the weights `w` of the network of `loss` to `path`, one named tensor an array.

    The file holds the weights bit for bit, with samflow's version, the loss's name and the shapes
    as metadata; it does not hold the network's code or its data, without which weights define no
    loss. An existing file is replaced in one step, and stays as it was if writing fails.

    Raises:
        ArgumentError: for a path without the suffix .safetensors or not writable, and for weights
            of the wrong shape or not finite.
        ImportError: where safetensors is not installed.

    """
    path = _checks.writable("path", path, (".safetensors",))
    arrays = loss.split(_checks.point("w", w, loss.dim))
    # safetensors writes memory as it lies, so the rows must lie one after another.
    tensors = {
        name: np.ascontiguousarray(array).reshape(array.shape)
        for name, array in zip(loss.weight_names, arrays, strict=True)
    }
    metadata = {
        "samflow": samflow.__version__,
        "loss": loss.name,
        "shapes": json.dumps({name: array.shape for name, array in tensors.items()}),
    }
    content = optional("safetensors.numpy", "Saving a checkpoint").save(tensors, metadata)
    return write_whole(path, content)


def load_checkpoint(path: str | os.PathLike[str], loss: NetworkLoss) -> Point:
    """Return the weights in `path`, shape (dim,), for the network of `loss`.

    Nothing in the file is run. Every tensor must have the name, the shape and the float type of
    the network's array: none is cast, renamed or left out.

    Raises:
        ArgumentError: for a file that is missing, truncated or not safetensors, and for tensors
            that do not fit; the message says which.
        ImportError: where safetensors is not installed.

    """
    safetensors = optional("safetensors", "Loading a checkpoint")
    path = Path(path)
    if not path.is_file():
        raise _checks.ArgumentError(f"Argument `path` must be a file, but {str(path)!r} is none.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            _check_names(path, set(file.keys()), set(loss.weight_names))
            arrays = [
                _tensor(path, file, name, shape, _DTYPES[loss.options.dtype])
                for name, shape in zip(loss.weight_names, loss.weight_shapes, strict=True)
            ]
    except (safetensors.SafetensorError, OSError) as error:
        raise _checks.ArgumentError(
            f"Argument `path` must be a whole safetensors file, but {str(path)!r} is not: {error}"
        ) from error
    return jnp.concatenate([jnp.ravel(jnp.asarray(array)) for array in arrays])


def _check_names(path: Path, found: set[str], wanted: set[str]) -> None:
    if found != wanted:
        missing, unknown = sorted(wanted - found), sorted(found - wanted)
        raise _checks.ArgumentError(
            f"Argument `path` must hold the tensors {sorted(wanted)}, but {str(path)!r} lacks "
            f"{missing} and has besides {unknown}."
        )


def _tensor(path: Path, file, name: str, shape: tuple[int, ...], dtype: str) -> NumpyArray:
    header = file.get_slice(name)
    found = (tuple(header.get_shape()), header.get_dtype())
    if found != (shape, dtype):
        raise _checks.ArgumentError(
            f"Tensor `{name}` must have shape {shape} and type {dtype}, but in {str(path)!r} has "
            f"shape {found[0]} and type {found[1]}."
        )
    array = file.get_tensor(name)
    if not np.isfinite(array).all():
        raise _checks.ArgumentError(
            f"Tensor `{name}` must be finite, but in {str(path)!r} "
            f"{np.sum(~np.isfinite(array))} of {array.size} entries are not."
        )
    return array
