"""Trained weights with their loss, from files as people have them and to safetensors."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

import samflow
from samflow import _checks
from samflow._extras import optional
from samflow._text import printable
from samflow._types import ArrayLike, NumpyArray, Point
from samflow.losses.network import NetworkLoss
from samflow.losses.network_base import AbstractNetworkLoss
from samflow.networks.files.lightning import attribute_of
from samflow.networks.files.tensors import TensorFile, read_tensors
from samflow.networks.files.torch_files import AVERAGED
from samflow.networks.files.trees import listed, prefixes_of
from samflow.networks.renames import Rename, check_names, renamed
from samflow.records import write_whole

_UNUSED = "num_batches_tracked"
"""A count of batch norm that no loss depends on; old files lack it."""
_UNKNOWN = ("complex128", "int2", "int4", "uint2", "uint4")
"""Types that safetensors does not have."""


class Checkpoint(NamedTuple):
    """Trained weights and the loss that makes a landscape of them.

    Attributes:
        loss: the loss of a network, with its data.
        w: weights, shape (dim,).
        source: where they came from: a path with the beginning of the file's SHA-256, or a word.
        notes: what was done to the file's tensors: what was opened, left out, widened.

    """

    loss: AbstractNetworkLoss
    w: Point
    source: str = "given"
    notes: tuple[str, ...] = ()


def save_checkpoint(path: str | os.PathLike[str], loss: AbstractNetworkLoss, w: ArrayLike) -> Path:
    """Write the weights `w` of the network of `loss` to `path`, one named tensor an array.

    The file holds the weights bit for bit, and beside them the buffers and frozen arrays that the
    loss computes with, under their own names; a tied array is there once, and types that
    safetensors lacks, as complex128, and random keys are left out. Metadata are samflow's
    version, the loss's name and the weights' shapes. It does not hold the network's code or its
    data, without which weights define no loss. An existing file is replaced in one step, and stays
    as it was if writing fails.

    Raises:
        ArgumentError: for a path without the suffix .safetensors or not writable, and for weights
            of the wrong shape or not finite; and for buffers or frozen arrays with NaN.
        ImportError: where safetensors is not installed.

    """
    path = _checks.writable("path", path, (".safetensors",))
    arrays = loss.split(_checks.point("w", w, loss.dim))
    weights = dict(zip(loss.weight_names, arrays, strict=True))
    # safetensors writes memory as it lies, so the rows must lie one after another.
    tensors = {
        name: np.ascontiguousarray(array).reshape(array.shape)
        for name, array in (weights | _numbers(loss)).items()
    }
    metadata = {
        "samflow": samflow.__version__,
        "loss": loss.name,
        "shapes": json.dumps({name: array.shape for name, array in weights.items()}),
    }
    content = optional("safetensors.numpy", "Saving a checkpoint").save(tensors, metadata)
    return write_whole(path, content)


def _numbers(loss: AbstractNetworkLoss) -> dict[str, NumpyArray]:
    """Return buffers and frozen arrays; infinite ones, as masks are, are let through."""
    extras = {n: array for n, array in loss.extras.items() if array.dtype.name not in _UNKNOWN}
    for name, array in extras.items():
        if np.isnan(array).any():
            raise _checks.ArgumentError(
                f"Argument `loss` must have buffers and frozen arrays without NaN, but `{name}` "
                f"holds {np.isnan(array).sum()} NaN."
            )
    return extras


def load_checkpoint(
    path: str | os.PathLike[str],
    loss: AbstractNetworkLoss,
    *,
    group: str | None = None,
    rename: Rename | None = None,
    leave_out: Sequence[str] = (),
    max_bytes: int | None = None,
) -> Checkpoint:
    """Return the weights in `path` with the loss that they are weights of.

    Safetensors, PyTorch files of tensors, orbax, flax (msgpack), equinox and npz are told by what
    they hold; see `read_tensors`. Nothing in a file is run. Every array of the network must be
    there under its name and with its shape: none is transposed, reshaped or left out. Buffers and
    frozen arrays that the loss has, as running statistics, are taken from the file, too; for those
    that are not in it the loss keeps its own, and `notes` say so. The prefixes `module.` and
    `_orig_mod.` are taken off the file's names where they are not the network's own, and of a file
    of Lightning the name of the attribute that holds the network.

    Args:
        path: a file, or the folder of an orbax or sharded checkpoint.
        loss: the network with its data.
        group: where the tensors are in a nested file, as "params" or "model.encoder".
        rename: the file's names to the network's: a mapping of those that differ, or a function.
            A key that ends in a dot stands for all names that begin so: {"model.": ""}.
        leave_out: names in the file, or their beginnings up to a dot, of what the network does not
            have, as "pooler" or "embeddings.position_ids".
        max_bytes: of memory that the file's tensors may fill, as for `read_tensors`.

    Raises:
        ArgumentError: for a file that cannot be read, tensors that are missing, besides, of
            another shape or not finite, names of one tied array that disagree, and types that
            JAX's default float does not hold exactly; the message says which. Where other names
            would fit it is a `MismatchError`, and has the call that does.
        ImportError: where the package that reads the format is not installed.

    """
    _checks.instance("loss", loss, AbstractNetworkLoss, "Use `sf.losses.network` to make one.")
    file = _as_network(read_tensors(path, group=group, max_bytes=max_bytes), loss)
    file = file if rename is not None else _of_attribute(path, file, loss)
    tensors = _named_by_model(file, loss) if file.format == "equinox" else dict(file.tensors)
    tensors, left_out = _without(tensors, leave_out)
    tensors = renamed(tensors, rename)
    tensors = _untied(path, tensors, loss.tied)
    shapes = dict(zip(loss.weight_names, loss.weight_shapes, strict=True))
    names = [name for name in loss.extra_names if name not in shapes and name not in loss.tied]
    extras = {name: tensors.pop(name) for name in names if name in tensors}
    check_names(path, tensors, shapes, {*names, *loss.tied}, group)
    own = loss.extras
    extras = {name: _extra(path, name, array, own.get(name)) for name, array in extras.items()}
    missing = [name for name in names if name not in extras and not name.endswith(_UNUSED)]
    arrays = [_weights(path, name, tensors[name], shape) for name, shape in shapes.items()]
    types = dict.fromkeys(shapes, loss.options.dtype)
    types |= {name: own[name].dtype for name in extras if name in own}
    there = dict(zip(shapes, arrays, strict=True)) | extras
    narrower = [n for n, dtype in types.items() if _narrowed(path, n, there[n], dtype)]
    w = jnp.concatenate([jnp.ravel(jnp.asarray(array, dtype=float)) for array in arrays])
    source = f"{printable(os.fspath(path))} ({file.format}, sha256 {file.sha256[:12]})"
    return Checkpoint(
        loss.with_extras(extras) if extras else loss,
        w,
        source,
        _notes(file, arrays, extras, narrower, left_out, missing),
    )


def _notes(
    file: TensorFile,
    arrays: list[NumpyArray],
    extras: Mapping[str, Any],
    narrower: list[str],
    left_out: list[str],
    missing: list[str],
) -> tuple[str, ...]:
    types = sorted({array.dtype.name for array in arrays} - {jnp.zeros(()).dtype.name})
    opened = printable(" and ".join(file.unwrapped))
    notes = [f"opened {opened}"] if opened else []
    left_out = [*file.left_out, *left_out]
    notes += [f"left out {listed(left_out, '{}')}"] if left_out else []
    notes += [f"widened from {' and '.join(types)}"] if types else []
    rounded = "rounded to the type that the network computes in"
    notes += [f"{rounded}: {listed(narrower, '{}')}"] if narrower else []
    notes += [f"besides the weights, {listed(extras, '{}')} are from the file"] if extras else []
    notes += (
        [f"not in the file, so that the network's own are used: {listed(missing, '{}')}"]
        if missing
        else []
    )
    averaged = any(name.endswith(AVERAGED) for name in file.left_out)
    if averaged and any(name.endswith("running_mean") for name in extras):
        notes.append(
            "the weights are an average over training (SWA), and batch norm's running statistics "
            "are not those of the average unless update_bn was called: `loss.with_statistics(w)` "
            "computes them"
        )
    return tuple(notes)


def _of_attribute(
    path: str | os.PathLike[str], file: TensorFile, loss: AbstractNetworkLoss
) -> TensorFile:
    """Return the tensors of the network that is an attribute of a module of Lightning."""
    start = attribute_of(path, file.tensors, loss.weight_names, file.left_out)
    if not start:
        return file
    inside = {n.removeprefix(start): t for n, t in file.tensors.items() if n.startswith(start)}
    others = tuple(name for name in file.tensors if not name.startswith(start))
    return file._replace(
        tensors=inside,
        unwrapped=(*file.unwrapped, start),
        left_out=(*file.left_out, *others),
    )


def _as_network(file: TensorFile, loss: AbstractNetworkLoss) -> TensorFile:
    """Return the file with the prefixes on its names again that are the network's own."""
    names = (*loss.weight_names, *loss.extra_names)
    count = prefixes_of(file.unwrapped, list(file.tensors), names)
    if not count:
        return file
    prefix = "".join(file.unwrapped[-count:])
    tensors = {f"{prefix}{name}": tensor for name, tensor in file.tensors.items()}
    return file._replace(tensors=tensors, unwrapped=file.unwrapped[:-count])


def _untied(
    path: str | os.PathLike[str], tensors: dict[str, NumpyArray], tied: Mapping[str, str]
) -> dict[str, NumpyArray]:
    """Return tensors under the first of their names; refuse one that differs under another."""
    made = {name: tensor for name, tensor in tensors.items() if name not in tied}
    for other, name in tied.items():
        if other in tensors and not _same(tensors[other], made.setdefault(name, tensors[other])):
            raise _checks.ArgumentError(
                f"Tensors `{name}` and `{other}` must be the same, since the network has one array "
                f"for both, but in {os.fspath(path)!r} they differ."
            )
    return made


def _same(a: NumpyArray, b: NumpyArray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _without(
    tensors: dict[str, NumpyArray], leave_out: Sequence[str]
) -> tuple[dict[str, NumpyArray], list[str]]:
    """Return the tensors that are wanted, and the names of the others."""
    if isinstance(leave_out, str) or not isinstance(leave_out, Sequence):
        raise _checks.ArgumentError(
            f"Argument `leave_out` must be a list of names, but is {_checks.excerpt(leave_out)}."
        )
    begins = lambda name, start: name == start or name.startswith(f"{start}.")  # noqa: E731
    for start in leave_out:
        if not any(begins(name, start) for name in tensors):
            raise _checks.ArgumentError(
                "Argument `leave_out` must hold names in the file, or their beginnings up to a "
                f"dot, but no name begins with {start!r}; it has {listed(tensors, '{}')}."
            )
    others = [name for name in tensors if any(begins(name, start) for start in leave_out)]
    return {name: t for name, t in tensors.items() if name not in others}, others


def _named_by_model(file: TensorFile, loss: AbstractNetworkLoss) -> dict[str, NumpyArray]:
    """Return the leaves of an equinox file, which have an order and no names, by the model's."""
    if not isinstance(loss, NetworkLoss) or jtu.tree_leaves((loss.fixed, loss.state)):
        raise _checks.ArgumentError(
            "Argument `path` must not be an equinox file if the network has arrays that are not "
            "weights. Load it with `equinox.tree_deserialise_leaves(path, model)` and use "
            "`Checkpoint(loss, loss.flatten(model))`."
        )
    # Leaves of no array and no number, as activations are, do not get into the file.
    written = (bool, int, float, complex, np.generic)
    leaves = jtu.tree_leaves(loss.unflatten(jnp.zeros(loss.dim)))
    stored = [leaf for leaf in leaves if eqx.is_array(leaf) or isinstance(leaf, written)]
    tensors = list(file.tensors.values())
    if len(tensors) != len(stored):
        raise _checks.ArgumentError(
            f"Argument `path` must hold {len(stored)} leaves of the network, but holds "
            f"{len(tensors)}."
        )
    arrays = [t for leaf, t in zip(stored, tensors, strict=True) if eqx.is_array(leaf)]
    return dict(zip(loss.weight_names, arrays, strict=True))


def _extra(
    path: str | os.PathLike[str], name: str, array: NumpyArray, own: NumpyArray | None
) -> NumpyArray:
    """Return a tensor that fits in the place of the network's `own`, in its own type.

    Infinite entries are those that the network has itself, as a mask does.
    """
    if own is None:
        return array
    if jnp.issubdtype(own.dtype, jnp.floating):
        alike = array.shape == own.shape and jnp.issubdtype(array.dtype, jnp.floating)
        known = np.isinf(own) & (array == own) if alike else False
        finite = np.where(known, np.zeros((), array.dtype), array) if alike else array
        _weights(path, name, finite, own.shape)
        with np.errstate(over="ignore"):
            fits = np.isfinite(finite.astype(own.dtype)).all()
    else:
        floats, complex_ = jnp.issubdtype(array.dtype, jnp.floating), np.iscomplexobj(array)
        fits = not floats and complex_ == np.iscomplexobj(own)
        fits = fits and np.array_equal(array.astype(own.dtype), array)
    if name.endswith("running_var") and bool((array < 0).any()):
        raise _checks.ArgumentError(
            f"Tensor `{name}` must be variances, at least 0, but in {os.fspath(path)!r} one is "
            f"{array.min():.3g}."
        )
    if not fits:
        raise _checks.ArgumentError(
            f"Tensor `{name}` must be numbers that {own.dtype.name}, its type in the network, can "
            f"represent, but in {os.fspath(path)!r} it is {array.dtype.name} with numbers that are "
            "not."
        )
    return array


def _narrowed(path: str | os.PathLike[str], name: str, array: NumpyArray, dtype: Any) -> bool:
    """Return whether a type loses digits of a tensor; refuse one that it does not hold at all."""
    if not jnp.issubdtype(array.dtype, jnp.floating) or np.can_cast(array.dtype, dtype):
        return False
    with np.errstate(over="ignore"):
        made = array.astype(dtype)
    if not np.array_equal(np.isfinite(made), np.isfinite(array)):
        raise _checks.ArgumentError(
            f"Tensor `{name}` must be numbers that {np.dtype(dtype).name}, the precision of the "
            f"network, can represent, but in {os.fspath(path)!r} one is {np.abs(array).max():.3g}."
        )
    return not np.array_equal(made, array)


def _weights(
    path: str | os.PathLike[str], name: str, array: NumpyArray, shape: tuple[int, ...]
) -> NumpyArray:
    """Return a tensor that fits, in its own type."""
    default = jnp.zeros(()).dtype
    if array.shape != shape:
        hint = " It is transposed." if array.shape == shape[::-1] else ""
        raise _checks.ArgumentError(
            f"Tensor `{name}` must have shape {shape}, but in {os.fspath(path)!r} has shape "
            f"{array.shape}.{hint}"
        )
    if not (jnp.issubdtype(array.dtype, jnp.floating) and np.can_cast(array.dtype, default)):
        raise _checks.ArgumentError(
            f"Tensor `{name}` must be of a float type that {default.name} holds exactly, but in "
            f"{os.fspath(path)!r} is {array.dtype.name}."
        )
    if not np.isfinite(array).all():
        raise _checks.ArgumentError(
            f"Tensor `{name}` must be finite, but in {os.fspath(path)!r} "
            f"{np.sum(~np.isfinite(array))} of {array.size} entries are not."
        )
    return array
