"""States of training on disk: bit for bit, and never into other settings than their own."""

import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from samflow import _checks
from samflow._random import key_words
from samflow._schedule import Schedule
from samflow._types import NumpyArray
from samflow.losses.evaluation import few_outputs, same_outputs
from samflow.networks.monitoring import Monitor
from samflow.records import write_whole
from samflow.systems import AdaptiveMap, Map

_FORMAT = "samflow training state 2"
_ENTRIES = {"settings", "z", "key", "at", "outputs"}
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
"""What NumPy and its readers raise on bytes that are no whole file of theirs."""
_MONITOR = "monitor."
_COMPARED_ROWS = 4096
"""Names of an array of data that enter its fingerprint."""
_COMPARED_STEPS = [*range(256), *(n * 2**k for k in range(6, 28) for n in (4, 5, 6, 7))]
"""Steps at which the values of a schedule enter its fingerprint."""


class TrainState(NamedTuple):
    """All that the rest of a training depends on, besides its settings.

    Attributes:
        z: the map's state, shape (state_dim,): weights, then velocity, then the rule's memory.
        key: of the order of examples and of random attacks, in every epoch.
        epoch: epochs made.
        step: steps made in the epoch that is under way.

    """

    z: Float[Array, " state"]
    key: PRNGKeyArray
    epoch: int = 0
    step: int = 0


class Store(NamedTuple):
    """Where states are saved, under which settings, and what is saved beside them.

    Attributes:
        path: the file.
        settings: what a state must have been made with to go on from it.
        every: steps between two times of saving.
        system: the map whose states they are.
        arrays: returns named arrays to save with the state.

    """

    path: Path
    settings: dict[str, str]
    every: int
    system: Map | AdaptiveMap
    arrays: Callable[[], Mapping[str, Any]] = dict

    def write(self, state: TrainState) -> None:
        """Save `state` in the place of what is there, whole or not at all."""
        arrays = {f"beside.{name}": np.asarray(value) for name, value in self.arrays().items()}
        buffer = io.BytesIO()
        np.savez(
            buffer,
            format=np.array(_FORMAT),
            settings=np.array(json.dumps(self.settings)),
            z=np.asarray(state.z),
            key=np.asarray(key_words(state.key)),
            at=np.array([state.epoch, state.step]),
            outputs=self._outputs(state),
            allow_pickle=False,
            **arrays,
        )
        write_whole(self.path, buffer.getvalue())

    def read(self, *, more: bool = False) -> tuple[TrainState, dict[str, NumpyArray]]:
        """Return the state with the arrays beside it; refuse that of other settings.

        With `more` the file may have settings besides, as of the sweep that it is a part of.
        """
        file = _opened(self.path)
        found = file["settings"]
        if more:
            found = {name: value for name, value in found.items() if name in self.settings}
        _check_settings(self.path, found, self.settings)
        check_state(file["state"], self.system, "path")
        if not same_outputs(self.system.loss, file["outputs"], self._outputs(file["state"])):
            raise _checks.ArgumentError(
                "Argument `path` must hold a state of the same network, but with the weights in "
                f"{str(self.path)!r} this one has different outputs: {self.system.loss.name} "
                "differs in something that is not an array, such as an activation."
            )
        names = [name for name in file if name.startswith("beside.")]
        return file["state"], {name.removeprefix("beside."): file[name] for name in names}

    def _outputs(self, state: TrainState) -> NumpyArray:
        return few_outputs(self.system.loss, self.system.position(jnp.asarray(state.z)))


def _key(words: NumpyArray) -> PRNGKeyArray:
    return jr.wrap_key_data(jnp.asarray(words), impl="threefry2x32")


def _opened(path: Path) -> dict[str, Any]:
    """Return all that is in a file, with the settings and the state made of it."""
    if path.exists() and not path.is_file():
        raise _checks.ArgumentError(
            f"Argument `path` must be a file that `save_state` wrote, but {str(path)!r} is a "
            "folder, a pipe or a device."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            needed = sum(entry.file_size for entry in archive.infolist())
        if needed > path.stat().st_size:  # arrays of zeros, packed, may fill any memory
            raise ValueError(
                f"it is compressed, with {needed} bytes inside, and `save_state` does not compress"
            )
        # Opened here: where there is no archive in it, np.load leaves the file open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as stored:
            file: dict[str, Any] = {name: stored[name] for name in stored.files}
        if str(file["format"]) == _FORMAT and {"settings", "z", "key", "at", "outputs"} <= set(
            file
        ):
            epoch, step = (int(each) for each in file["at"])
            state = TrainState(jnp.asarray(file["z"]), _key(file["key"]), epoch, step)
            file["outputs"] = np.asarray(file["outputs"], dtype=float)
            return file | {"settings": dict(json.loads(str(file["settings"]))), "state": state}
    except _DAMAGED as error:
        raise _checks.ArgumentError(
            f"Argument `path` must be a training state that `save_state` wrote, but "
            f"{str(path)!r} cannot be read as one: {error}"
        ) from error
    raise _checks.ArgumentError(
        "Argument `path` must be a training state that this version of samflow saved, but "
        f"{str(path)!r} is not."
    )


def _check_settings(path: Path, found: dict[str, str], wanted: dict[str, str]) -> None:
    names = [*wanted, *(name for name in found if name not in wanted)]
    differ = [name for name in names if found.get(name) != wanted.get(name)]
    if differ:
        told = "; ".join(
            f"{name} {found.get(name, 'nothing')} in the file, {wanted.get(name, 'nothing')} here"
            for name in differ
        )
        raise _checks.ArgumentError(
            f"Argument `path` must hold a state with the same settings, but in {str(path)!r} these "
            f"differ: {told}. To continue with another rule, load it with its own settings and use "
            "`switch`."
        )


def fingerprint(system: Map | AdaptiveMap, **others: Any) -> dict[str, str]:
    """Return what tells one training from another: exact numbers, digests of data, options.

    Data count by shape, type, and at most 4,096 rows of each array. What is no array, as an
    activation, the function of a rule, or all of a PyTorch module, counts by its name only: a
    `Store` looks at outputs. A schedule counts by its name and its values at some steps.
    """
    loss = system.loss
    rest = eqx.tree_at(lambda s: s.loss, system, None)
    leaves = jtu.tree_flatten_with_path(rest, is_leaf=lambda node: isinstance(node, Schedule))[0]
    numbers = {jtu.keystr(path, simple=True, separator="."): _exact(leaf) for path, leaf in leaves}
    flags = {
        f"rule.{name}": _named(value)
        for name, value in vars(system.rule).items()
        if not (eqx.is_array(value) or isinstance(value, (dict, Schedule))) and value is not None
    }
    return {
        "rule": system.rule.name,
        **flags,
        **numbers,
        **_form(system),
        "loss": f"{loss.name} ({type(loss).__name__})",
        "options": str(tuple(getattr(loss, "options", ()))),
        "chunk_size": str(getattr(loss, "chunk_size", None)),
        "dim": str(system.dim),
        "data": digest(*filter(_is_data, jax.tree.leaves(loss))),
        **{name: str(value) for name, value in others.items()},
    }


def _form(system: Map | AdaptiveMap) -> dict[str, str]:
    if isinstance(system, Map):
        return {"nesterov": str(system.nesterov)}
    corrected = getattr(system.base, "bias_correction", None)
    return {"base": system.base.name, "bias_correction": str(corrected)}


def _named(value: Any) -> str:
    return getattr(value, "__qualname__", type(value).__name__) if callable(value) else str(value)


def _exact(leaf: Any) -> str:
    if isinstance(leaf, Schedule):
        values = np.asarray(jax.vmap(leaf.at)(jnp.asarray(_COMPARED_STEPS)))
        # To nine digits: another version of a function in JAX may round otherwise.
        told = " ".join(f"{value:.9g}" for value in values)
        return f"{leaf.describe()} ({hashlib.sha256(told.encode()).hexdigest()[:16]})"
    if callable(leaf):
        return _named(leaf)
    return digest(leaf) if np.ndim(leaf) else repr(np.asarray(leaf).item())


def _is_data(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def digest(*arrays: Any) -> str:
    """Return a digest of arrays, of no more than some thousand rows each."""
    total = hashlib.sha256()
    for array in arrays:
        stride = max(1, -(-np.shape(array)[0] // _COMPARED_ROWS)) if np.ndim(array) else 1
        rows = np.ascontiguousarray(array[::stride] if np.ndim(array) else array)
        total.update(f"{np.shape(array)} {rows.dtype.name} ".encode())
        total.update(rows.tobytes())
    return total.hexdigest()[:16]


def save_state(
    path: str | os.PathLike[str],
    state: TrainState,
    system: Map | AdaptiveMap,
    *,
    batch_size: int | None = None,
    drop_last: bool = False,
    attack: Any = None,
) -> Path:
    """Write a state to an .npz file, whole or not at all, with the settings that it belongs to.

    Args:
        path: the file; one that exists is replaced.
        state: what to save: numbers keep every bit.
        system: the map that made it.
        batch_size: as for `train`.
        drop_last: as for `train`.
        attack: as for `train`.

    Raises:
        ArgumentError: for a path without the suffix .npz or not writable, and a state that is not
            of the system.

    """
    path = _checks.writable("path", path, (".npz",))
    check_state(state, system)
    settings = step_settings(system, batch_size, drop_last, attack)
    Store(path, settings, 1, system).write(state)
    return path


def load_state(
    path: str | os.PathLike[str],
    system: Map | AdaptiveMap,
    *,
    batch_size: int | None = None,
    drop_last: bool = False,
    attack: Any = None,
    monitor: Monitor | None = None,
) -> TrainState:
    """Return the state in a file that `save_state` or `train` wrote, to go on from it.

    Those that `late_switch` and `sweep_switch` leave in `save_to` are taken, too: so are their
    weights had. Nothing in the file is run. Arguments are those of `train`.

    Raises:
        ArgumentError: for a file that cannot be read, and for one of other settings; the message
            says which differ.

    """
    settings = step_settings(system, batch_size, drop_last, attack)
    state, beside = Store(Path(path), settings, 1, system).read(more=True)
    if monitor is not None:
        start = len(_MONITOR)
        found = {name[start:]: each for name, each in beside.items() if name.startswith(_MONITOR)}
        if not found:
            raise _checks.ArgumentError(
                f"Argument `monitor` needs rows that were saved with the state, but {str(path)!r} "
                "has none. Load the state without a monitor, and train with a new one."
            )
        monitor.restore(found)
    return state


def saved_monitor(monitor: Monitor) -> dict[str, NumpyArray]:
    """Return the arrays of a monitor as they are saved beside a state."""
    return {f"{_MONITOR}{name}": array for name, array in monitor.arrays().items()}


def step_settings(
    system: Map | AdaptiveMap, batch_size: int | None, drop_last: bool, attack: Any
) -> dict[str, str]:
    """Return the fingerprint of the settings of a training."""
    told = "none" if attack is None else attack.describe()
    return fingerprint(system, batch_size=batch_size, drop_last=drop_last, attack=told)


def check_state(state: Any, system: Map | AdaptiveMap, name: str = "state") -> None:
    """Refuse what is no state of the system."""
    _checks.instance(name, state, TrainState, "Use `sf.networks.first_state(system, w, key=...)`.")
    if jnp.shape(state.z) != (system.state_dim,):
        raise _checks.ArgumentError(
            f"Argument `{name}` must have z of shape ({system.state_dim},), like the states of the "
            f"map of {system.rule.name}, but has shape {jnp.shape(state.z)}. `switch` goes from "
            "one map to another."
        )
    if not jnp.isfinite(state.z).all():
        raise _checks.ArgumentError(
            f"Argument `{name}` must have a finite z, but {jnp.sum(~jnp.isfinite(state.z))} of "
            f"{system.state_dim} entries are not."
        )
    key_words(state.key)
