"""What an analysis returns: labelled fields, a status an item, and where the numbers came from."""

import errno
import json
import math
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np

from samflow._status import Status

if TYPE_CHECKING:  # type checkers would take abstract variables for constructor arguments
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

Provenance = tuple[tuple[str, str], ...]


def axes(*names: str) -> dict[str, tuple[str, ...]]:
    """Return the metadata of an array field of a record: a name for each of its trailing axes."""
    return {"axes": names}


def provenance(system: str, **settings: Any) -> Provenance:
    """Return what is needed to compute a record again: system, settings and versions."""
    from samflow import __version__

    pairs = {"system": system, **{name: str(value) for name, value in settings.items()}}
    pairs |= {"samflow": __version__, "jax": jax.__version__}
    return tuple(pairs.items())


class AbstractRecord(eqx.Module):
    """Base of all records: a module of arrays that turns into a Dataset or JSON."""

    provenance: AbstractVar[Provenance]
    """What is needed to compute the record again."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and lists; NaN and infinities become None."""
        return {name: plain(value) for name, value in vars(self).items()}

    def to_json(self) -> str:
        """Return the record as JSON text, valid for every reader: NaN becomes null."""
        return to_json(self.to_dict())

    def to_dataset(self) -> Any:
        """Return an xarray Dataset: declared axes become dimensions, the rest attributes."""
        import xarray

        variables: dict[str, Any] = {}
        attributes: dict[str, Any] = dict(self.provenance)
        for name, field in self.__dataclass_fields__.items():
            value = getattr(self, name)
            names = field.metadata.get("axes")
            if names is None:
                if name != "provenance" and isinstance(value, (str, int, float)):
                    attributes[name] = value
                continue
            array = np.asarray(value)
            extra = tuple(f"batch_{i}" for i in range(array.ndim - len(names)))
            variables[name] = ((*extra, *names), array)
        return xarray.Dataset(variables, attrs=attributes)


def to_json(content: Any) -> str:
    """Return plain content, as `to_dict` makes it, as JSON text."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """Return a value as what JSON knows; NaN and infinities become None."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, Status):
        return value.label
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, (tuple, list)):
        if value and all(isinstance(v, tuple) and len(v) == 2 for v in value):
            keys = [key for key, _ in value]
            if all(isinstance(key, str) for key in keys):
                return {key: plain(item) for key, item in value}
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return str(value) if isinstance(value, str) else value
    array = np.asarray(value)
    if np.iscomplexobj(array):
        return {"real": plain(np.real(array)), "imag": plain(np.imag(array))}
    if array.ndim:
        return [plain(item) for item in array]
    number = array.item()
    return None if isinstance(number, float) and not math.isfinite(number) else number


_SHORT_NAME = 50
"""Characters of a name that its temporary neighbour repeats."""


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write a file whole or not at all: to a temporary neighbour first, then by renaming.

    What a link points to is replaced, not the link; a file that is there keeps its permissions. A
    process that is killed in between leaves the neighbour, `.NAME.` and eight digits, behind. A
    pipe or a device is not replaced.
    """
    path, place = Path(path), Path(os.path.realpath(path))
    data = content.encode() if isinstance(content, str) else content
    if place.exists() and not place.is_file():
        raise FileExistsError(errno.EEXIST, "the path is a folder, a pipe or a device", str(path))
    temporary = place.with_name(f".{place.name[:_SHORT_NAME]}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # by the umask
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        if place.exists():
            shutil.copymode(place, temporary)
        os.replace(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise
    return path
