"""Tables: rows of a Dataset, one for each item."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from samflow import _checks

if TYPE_CHECKING:
    import pandas
    import xarray

Names = tuple[str, ...]

MOST_COLUMNS = 24
"""Of one variable; what has more entries in a row is not for a table."""


def table(
    dataset: "xarray.Dataset", rows: Names, columns: Sequence[str] | None = None
) -> "pandas.DataFrame":
    """Return a DataFrame with a row for each entry of the dimensions `rows`."""
    import pandas

    for name in rows:
        _checks.known("rows", name, [str(dim) for dim in dataset.sizes])
    shown = list(map(str, (*dataset.coords, *dataset.data_vars)))
    if columns is not None:
        shown = [_checks.known("columns", name, shown) for name in columns]
    # Of an ensemble every member has rows of its own.
    batch = [str(dim) for dim in dataset.sizes if str(dim).startswith("batch_")] if rows else []
    dims = (*(dim for dim in batch if dim not in rows), *rows)
    sizes = [dataset.sizes[dim] for dim in dims]
    found: dict[str, Any] = {}
    if len(dims) > 1 and columns is None:
        for dim, numbers in zip(dims, np.indices(sizes), strict=True):
            labels = dataset[dim].values if dim in dataset.coords else np.arange(dataset.sizes[dim])
            found[dim] = labels[numbers.ravel()]
    left_out = []
    for name in shown:
        array = dataset[name]
        own = [dim for dim in dims if dim in array.dims]
        rest = [str(dim) for dim in array.dims if dim not in dims]
        if (rows and not own) or name in found or (name in dataset.coords and rest):
            continue
        if math.prod(dataset.sizes[dim] for dim in rest) > MOST_COLUMNS:
            left_out.append(name)
            continue
        shape = [dataset.sizes[dim] if dim in own else 1 for dim in dims]
        values = array.transpose(*own, *rest).values
        values = values.reshape((*shape, *(dataset.sizes[dim] for dim in rest)))
        values = np.broadcast_to(values, (*sizes, *values.shape[len(dims) :]))
        values = values.reshape(math.prod(sizes), math.prod(dataset.sizes[dim] for dim in rest))
        titles = [name + "".join(entry) for entry in itertools.product(*_entries(dataset, rest))]
        for title, column in zip(titles, values.T, strict=False):
            found |= dict(_columns(title, column, array.attrs.get("flag_meanings")))
    frame = pandas.DataFrame(found, index=range(math.prod(sizes)))
    frame.attrs["left_out"] = left_out
    return frame


def _entries(dataset: "xarray.Dataset", dims: list[str]) -> Iterator[list[str]]:
    """Return for each dimension what the entries add to a column's name."""
    for i, dim in enumerate(dims):
        if dim in dataset.coords:
            yield [f"_{each}" for each in dataset[dim].values]
        else:
            yield [f"{'_' if i else ''}{k + 1}" for k in range(dataset.sizes[dim])]


def _columns(title: str, values: np.ndarray, words: str | None) -> Iterator[tuple[str, Any]]:
    if np.iscomplexobj(values):
        yield f"{title}_real", np.real(values)
        yield f"{title}_imag", np.where(np.isnan(values), np.nan, np.imag(values))
    elif words is not None:
        told = np.array(words.split())
        known = np.isfinite(values)
        yield title, np.where(known, told[np.where(known, values, 0).astype(int)], "")
    else:
        yield title, values
