"""The cells of a chart in a folder of chunks."""

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from samflow import _checks
from samflow.attractors import chunks
from samflow.attractors.charts.everywhere import MISSING
from samflow.attractors.charts.plane import Plane
from samflow.records import provenance

Cells = dict[str, np.ndarray]


class Place(NamedTuple):
    """Where cells are kept, if anywhere, which part of them is computed, and of what request."""

    store: str | os.PathLike[str] | None
    part: tuple[int, int] | None
    chunk_cells: int | None
    progress: Callable[[int, int], None]
    request: dict[str, str]

    def about(self, **more: str) -> "Place":
        """Return the place for a request that says more."""
        return self._replace(request=self.request | more)


def in_chunks(plane: Plane, of_cells: Callable[[Plane], Cells], place: Place) -> Cells:
    """Return what `of_cells` returns of the plane, computed and kept in chunks if there is a store.

    Where a chunk is missing there are the word "missing", −1 and NaN.
    """
    if place.store is None:
        if place.part is not None or place.chunk_cells is not None:
            raise _checks.ArgumentError(
                "Arguments `part` and `chunk_cells` are of a `store`: give its path."
            )
        return of_cells(plane)
    total = plane.shape[0] * plane.shape[1]
    steps = int(place.request["num_steps"])
    plan = chunks.layout(plane.shape, chunks.chunk_cells(total, place.chunk_cells, steps=8 * steps))
    where = provenance(plane.system.describe(), **place.request)
    request = {
        **chunks.of_system(plane.system),
        **{name: chunks.of_array(row) for name, row in plane.grid.items()},
        **place.request,
        **{name: dict(where)[name] for name in ("samflow", "jax")},
    }

    def compute(store: object, plan: chunks.Layout, begin: int, end: int) -> Cells:
        rows = np.unravel_index(np.arange(begin, end), plan.shape)
        part = {
            name: row[np.unique(numbers)]
            for (name, row), numbers in zip(plane.grid.items(), rows, strict=True)
        }
        found = of_cells(plane._replace(grid=part))
        return {name: array.reshape(-1, *array.shape[2:]) for name, array in found.items()}

    details = {"quantity": "stability chart", "compiled": True}
    job = chunks.Job(
        place.store, "Sweep", request, plan, place.chunk_cells is not None,
        plane.grid, plane.names, lambda: details, where,
    )  # fmt: skip
    made = chunks.run(job, compute, place.part, place.progress)
    data = made.to_dataset()
    missing = np.zeros(plane.shape, bool)
    for number in made.missing:
        missing[made.layout.place(number)] = True
    return {name: _marked(data[name].values, missing) for name in made.names}


def _marked(array: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return an array with marks in the cells that are missing."""
    if array.dtype.kind == "T":
        array = array.copy()
        array[missing] = MISSING
        longest = int(np.strings.str_len(array).max(initial=1))
        return array.astype(f"U{longest}")
    if array.dtype.kind == "i":
        array = array.copy()
        array[missing] = -1
    return array
