"""Files, written whole or not at all, and Datasets in netCDF."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from samflow import _checks

_SHORT_NAME = 50
"""Characters of a name that its temporary neighbour repeats."""


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write a file whole or not at all; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty temporary neighbour to write to, which then gets the name of the file.

    What a link points to is replaced, not the link; a file that is there keeps its permissions. A
    process that is killed in between leaves the neighbour, `.NAME.` and eight digits, behind. A
    pipe or a device is not replaced.
    """
    path, place = Path(path), Path(os.path.realpath(path))
    if place.exists() and not place.is_file():
        raise FileExistsError(errno.EEXIST, "the path is a folder, a pipe or a device", str(path))
    temporary = place.with_name(f".{place.name[:_SHORT_NAME]}.{secrets.token_hex(4)}")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # by the umask
    try:
        yield temporary
        if place.exists():
            shutil.copymode(place, temporary)
        os.replace(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise


_SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""With which a file of netCDF-4 begins."""
_PART = "complex_part"
"""The last dimension of a complex variable in a file: its real and its imaginary part."""


def save(dataset: Any, path: str | os.PathLike[str]) -> Path:
    """Write a record's Dataset to a netCDF file, whole or not at all."""
    path = _checks.writable("path", path, (".nc",))
    encoding = {name: {"_FillValue": None} for name, v in dataset.variables.items()}
    encoding = {n: e for n, e in encoding.items() if dataset[n].dtype.kind in "fc"}
    complexes = [name for name, array in dataset.data_vars.items() if array.dtype.kind == "c"]
    written = dataset.assign({name: _apart(dataset[name]) for name in complexes})
    with replacing(path) as temporary:
        written.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
    return path


def load_dataset(path: str | os.PathLike[str]) -> Any:
    """Return the xarray Dataset that a record saved, equal to its `to_dataset()`.

    Nothing in the file is executed.

    Raises:
        ArgumentError: for a path without a file, and for a file that no record saved.

    """
    import xarray

    path = Path(path)
    if not path.is_file():
        raise _checks.ArgumentError(
            f"Argument `path` must be a file that `record.save` wrote, but {str(path)!r} is no "
            "file. Give its path."
        )
    try:
        with path.open("rb") as opened:
            if opened.read(len(_SIGNATURE)) != _SIGNATURE:
                raise ValueError("it is no HDF5 file")
        with xarray.open_dataset(path, engine="h5netcdf", decode_times=False) as file:
            dataset = file.load()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _checks.ArgumentError(
            f"Argument `path` must be a netCDF file, but {str(path)!r} cannot be read as one "
            f"({' '.join(str(error).split())[:200]}). Give a file that `record.save` wrote."
        ) from error
    if not {"record", "samflow"} <= dataset.attrs.keys():
        raise _checks.ArgumentError(
            f"Argument `path` must be a file that `record.save` wrote, but {str(path)!r} has no "
            "attributes `record` and `samflow`. Read it by `xarray.open_dataset`."
        )
    complexes = [name for name, array in dataset.data_vars.items() if _PART in array.dims]
    return dataset.assign({name: _together(dataset[name]) for name in complexes})


def _apart(array: Any) -> Any:
    """Return the variable of a complex array, its parts along a last dimension."""
    parts = np.stack([array.values.real, array.values.imag], axis=-1)
    return (*array.dims, _PART), parts, array.attrs


def _together(array: Any) -> Any:
    """Return the variable of complex numbers whose parts are along the last dimension."""
    real, imag = np.moveaxis(array.values, -1, 0)
    values = np.empty(real.shape, np.result_type(real.dtype, np.complex64))
    values.real, values.imag = real, imag  # not real + 1j·imag, which makes NaN of infinities
    return array.dims[:-1], values, array.attrs
