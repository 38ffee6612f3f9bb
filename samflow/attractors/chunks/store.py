"""A folder of arrays over a grid (zarr, version 3), whose chunks are written whole or not at all.

zarr writes each file beside its place and then gives it its name. A chunk is several files, one of
each array; when all are there, one more says that it is done. What a killed process leaves behind
is thus never taken for a result, and two processes that write the same chunk write the same bytes.
"""

import contextlib
import json
import os
import secrets
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samflow import _checks
from samflow._extras import optional
from samflow.attractors.chunks.layout import Layout
from samflow.attractors.chunks.slices import Slices

DONE = "chunk_done"
"""An array of the store: which chunks are computed."""
_STORE = "store"
"""The attribute in which the store keeps what it needs, as JSON: netCDF has no other structures."""

Found = dict[str, np.ndarray]


class Chunks:
    """A store that exists."""

    def __init__(self, path: Path, group: Any) -> None:
        """Hold an open zarr group; see `open_chunks` and `create`."""
        self.path, self._group = path, group
        kept = json.loads(group.attrs[_STORE])
        self.record: str = group.attrs["record"]
        self.request: dict[str, str] = kept["request"]
        self.details: dict[str, Any] = kept["details"]
        self.dims: tuple[str, ...] = tuple(kept["dims"])
        self.names: tuple[str, ...] = tuple(kept["arrays"])
        self.layout = Layout(tuple(kept["shape"]), tuple(kept["chunk"]))

    def done(self) -> np.ndarray:
        """Return for each chunk whether it is computed."""
        return done_in(self.path)

    def has(self, number: int) -> bool:
        """Say whether a chunk is computed."""
        return (self.path / DONE / "c" / str(number)).exists()

    @property
    def provenance(self) -> tuple[tuple[str, str], ...]:
        """What is needed to compute the record again."""
        attributes = self._group.attrs.items()
        return tuple((key, value) for key, value in attributes if key not in ("record", _STORE))

    def counts(self) -> dict[str, int]:
        """Return how many chunks there are, and how many are missing."""
        return {"chunks": self.layout.count, "missing": len(self.missing)}

    def told_missing(self) -> str:
        """Return a sentence about the chunks that are missing, on a line of its own, or nothing."""
        missing = len(self.missing)
        if not missing:
            return ""
        return (
            f"\n{missing} of {self.layout.count} chunks are missing: the same call with "
            f"store={str(self.path)!r} computes them"
        )

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the chunks that are not computed yet."""
        return tuple(np.flatnonzero(~self.done()).tolist())

    def write(self, number: int, found: Found) -> None:
        """Write a chunk, and then that it is done."""
        place = self.layout.place(number)
        sizes = tuple(part.stop - part.start for part in place)
        for name in self.names:
            array = self._group[name]
            values = np.ascontiguousarray(found[name])  # zarr takes texts in the order of memory
            if values.dtype.kind == "U":
                values = values.astype(np.dtypes.StringDType())
            elif not np.can_cast(values.dtype, array.dtype, "same_kind"):
                raise _checks.ArgumentError(
                    f"Argument `of` must return the same kinds of values in all cells, but "
                    f"{name!r} is {array.dtype} in some and {values.dtype} in others."
                )
            if values.shape[1:] != array.shape[len(sizes) :]:
                raise _checks.ArgumentError(
                    f"Argument `of` must return arrays of one shape in all cells, but {name!r} "
                    f"has {array.shape[len(sizes) :]} in some and {values.shape[1:]} in others."
                )
            array[place] = values.reshape(*sizes, *values.shape[1:])
        self._group[DONE][number] = True

    def more_dims(self, name: str) -> tuple[str, ...]:
        """Return the names of the further axes of an array."""
        return tuple(self._group[name].metadata.dimension_names)[len(self.dims) :]

    def slices(self, name: str) -> Slices:
        """Return an array that reads what is asked of it."""
        _checks.known("name", name, self.names)
        return Slices(self._group[name], self.layout, self.has, str(self.path))

    def coordinate(self, name: str) -> np.ndarray:
        """Return the values along an axis."""
        return np.asarray(self._group[name][:])

    def to_dataset(self) -> Any:
        """Return the arrays as an xarray Dataset that reads what is asked of it."""
        import xarray

        return xarray.open_dataset(self.path, engine="zarr", consolidated=False, cache=False)


def open_chunks(path: str | os.PathLike[str]) -> Chunks:
    """Return the store in a folder.

    Raises:
        ArgumentError: where there is none.
        ImportError: where zarr is not installed.

    """
    zarr, path = _zarr(), Path(path)
    if not is_store(path):
        what = "a file" if path.is_file() else "a folder of something else"
        raise _checks.ArgumentError(
            f"Argument `store` must be a folder that `sweep` or `basins` wrote, but {str(path)!r} "
            f"{f'is {what}' if path.exists() else 'does not exist'}."
        )
    return Chunks(path, zarr.open_group(path, mode="r+" if _writable(path) else "r"))


def done_in(path: str | os.PathLike[str]) -> np.ndarray:
    """Return for each chunk of a store whether it is computed; zarr is not needed for this."""
    path = Path(path)
    kept = json.loads(json.loads((path / "zarr.json").read_bytes())["attributes"][_STORE])
    found = np.zeros(Layout(tuple(kept["shape"]), tuple(kept["chunk"])).count, bool)
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(path / DONE / "c"):
            if name.isdigit() and int(name) < len(found):
                found[int(name)] = True
    return found


def progress_of(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Return how many chunks of a store are computed, of how many; None where there is no store."""
    if not is_store(Path(path)):
        return None
    done = done_in(path)
    return int(done.sum()), len(done)


def is_store(path: Path) -> bool:
    """Say whether a folder is one of ours."""
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        kept = json.loads(attributes[_STORE])
        return {"request", "chunk"} <= kept.keys() and "record" in attributes
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def find(path: str | os.PathLike[str], request: Mapping[str, str]) -> Chunks | None:
    """Return the store of a request if there is one; None if it can be made there.

    Raises:
        ArgumentError: for a store of another request, which names what differs; for a path at
            which there is something else, or at which nothing can be written.
        ImportError: where zarr is not installed.

    """
    _zarr()
    path = Path(path)
    if is_store(path):
        chunks = open_chunks(path)
        check_same(chunks, request)
        if chunks.missing and not _writable(path):
            raise _checks.ArgumentError(
                f"Argument `store` must be writable, since chunks are missing, but {str(path)!r} "
                "is not. Copy it to another path."
            )
        return chunks
    if path.is_dir() and any(path.iterdir()):
        raise _checks.ArgumentError(
            f"Argument `store` must be a new folder, or one that `sweep` or `basins` wrote, but "
            f"{str(path)!r} holds something else. Give another path."
        )
    if path.exists() and not path.is_dir():
        raise _checks.ArgumentError(
            f"Argument `store` must be a folder, but {str(path)!r} is a file. Give another path."
        )
    if not path.is_dir():
        _checks.writable("store", path)
    elif not _writable(path) or not _writable(path.parent):
        raise _checks.ArgumentError(
            f"Argument `store` must be writable, but {str(path)!r} is not. Give another path."
        )
    return None


def check_same(chunks: Chunks, request: Mapping[str, str], layout: Layout | None = None) -> None:
    """Refuse a store of another request, or with other chunks, by the name of what differs."""
    there, asked = dict(chunks.request), dict(request)
    if layout is not None:
        there["chunks of shape"], asked["chunks of shape"] = map(
            str, (chunks.layout.chunk, layout.chunk)
        )
    differ = [
        f"{name} {there[name]}, not {asked[name]}"
        for name in asked
        if name in there and there[name] != asked[name]
    ]
    if alone := [name for name in there if name not in asked]:
        differ.append(f"{', '.join(alone)}, for which was not asked")
    if lacking := [name for name in asked if name not in there]:
        differ.append(f"no {', '.join(lacking)}")
    if differ:
        raise _checks.ArgumentError(
            f"Argument `store` must be a new folder, or one with chunks of the same request, but "
            f"{str(chunks.path)!r} is of another: it has {'; '.join(differ)}. Give another path."
        )


def create(
    path: str | os.PathLike[str],
    record: str,
    request: Mapping[str, str],
    layout: Layout,
    arrays: Mapping[str, np.ndarray],
    *,
    coordinates: Mapping[str, np.ndarray],
    dims: Sequence[str],
    details: Mapping[str, Any],
    provenance: Sequence[tuple[str, str]],
    fill: Mapping[str, Any] | None = None,
    more_dims: Mapping[str, tuple[str, ...]] | None = None,
) -> Chunks:
    """Make a store without chunks; return the one that another process made first, if so.

    Args:
        path: of the folder.
        record: what its chunks are of: "Sweep" or "Basins".
        request: what was asked for, which another call must repeat.
        layout: its chunks.
        arrays: examples of what is kept, with the cells as first axis.
        coordinates: values along axes, by the name of the axis.
        dims: names of the axes of the grid.
        details: what else the record needs, as JSON.
        provenance: of the record.
        fill: what arrays hold where nothing is computed; NaN, an empty word, False and the least
            integer by default.
        more_dims: names of the further axes of arrays, by name.

    """
    zarr, path = _zarr(), Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    kept = {
        "request": dict(request),
        "details": dict(details),
        "dims": list(dims),
        "arrays": list(arrays),
        "shape": list(layout.shape),
        "chunk": list(layout.chunk),
    }
    attributes = {**dict(provenance), "record": record, _STORE: json.dumps(kept)}
    try:
        group = zarr.create_group(temporary, zarr_format=3, attributes=attributes)
        for name, values in coordinates.items():
            made = group.create_array(
                name, shape=values.shape, chunks=values.shape, dtype=values.dtype,
                dimension_names=(name,),
            )  # fmt: skip
            made[:] = values
        for name, example in arrays.items():
            more = example.shape[1:]
            words = example.dtype.kind == "U"
            own = (more_dims or {}).get(name) or tuple(f"{name}_{i}" for i in range(len(more)))
            group.create_array(
                name,
                shape=(*layout.shape, *more),
                chunks=(*layout.chunk, *(max(n, 1) for n in more)),
                dtype=str if words else example.dtype,
                fill_value=(fill or {}).get(name, _fill(example.dtype)),
                dimension_names=(*dims, *own),
                compressors=zarr.codecs.ZstdCodec(level=1, checksum=True),
            )
        group.create_array(
            DONE, shape=(layout.count,), chunks=(1,), dtype=bool, fill_value=False,
            dimension_names=("chunk",),
        )  # fmt: skip
        with warnings.catch_warnings():  # that other readers may not know the index
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(temporary)
        try:
            os.rename(temporary, path)
        except OSError:
            if not is_store(path):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    chunks = open_chunks(path)
    check_same(chunks, request, layout)
    return chunks


def _fill(dtype: np.dtype) -> Any:
    if dtype.kind in "fc":
        return np.nan
    return {"U": "", "b": False}.get(dtype.kind) if dtype.kind in "Ub" else np.iinfo(dtype).min


def _zarr() -> Any:
    return optional("zarr", "A store of chunks")


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
