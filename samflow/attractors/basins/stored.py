"""Basins in a folder of chunks: made in parts, and read when it is asked for."""

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from samflow._status import Kind
from samflow.attractors import chunks
from samflow.attractors.basins.labelling import label
from samflow.attractors.basins.records import (
    Attractor,
    Basins,
    Ending,
    Region,
    Share,
    names_of,
    told,
    wilson,
)
from samflow.attractors.basins.starts import Starts
from samflow.attractors.chunks import Chunks, Slices
from samflow.records import plain, to_json
from samflow.systems import AbstractSystem

_CLASSES = {cls.__name__: cls for cls in (Attractor, Region, Kind)}
_COPIES = 12
"""Arrays of states that are held at once while orbits are followed."""


class StoredBasins:
    """Where the orbits from the points of a box end, in chunks on disk.

    `found["labels"][1000:1100, 40]` reads the chunks that these cells are in, and `to_dataset` is
    lazy, too; arrays have one axis for each weight of a grid, and one for a sample.

    Attributes:
        attractors: in the order of their numbers.
        box: the box.

    """

    def __init__(self, store: Chunks) -> None:
        """Hold an open store."""
        self.chunks = store
        self._counted: dict[int, dict[int, int]] = {}
        self.attractors = attractors_in(store)
        self.box = tuple(map(tuple, store.details["box"]))
        grid, seed = tuple(store.details["grid"]), store.details["seed"]
        self._starts = Starts(np.array(self.box), grid, store.layout.total, seed)

    def __getitem__(self, name: str) -> Slices:
        return self.chunks.slices(name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the grid, one number a weight; empty where the starts are a random sample."""
        return self._starts.shape

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the chunks that are not computed yet."""
        return self.chunks.missing

    def counts(self) -> dict[int, int]:
        """Return how many starts have each label, of the chunks that are computed."""
        for number in np.flatnonzero(self.chunks.done()).tolist():
            if number not in self._counted:
                labels = self["labels"][self.chunks.layout.place(number)]
                values, times = np.unique(labels, return_counts=True)
                self._counted[number] = dict(zip(values.tolist(), times.tolist(), strict=True))
        return dict(sum(map(Counter, self._counted.values()), Counter[int]()))

    def names(self) -> dict[int, str]:
        """Return what each label that occurs means."""
        return names_of(self.attractors, self.counts())

    def shares(self) -> dict[int, Share]:
        """Return the share of each label that occurs, of the starts that are computed."""
        counts = self.counts()
        total = sum(counts.values())
        names = names_of(self.attractors, counts)
        return {number: wilson(counts.get(number, 0), total) for number in names}

    def to_dataset(self) -> Any:
        """Return an xarray Dataset that reads what is asked of it.

        Where a chunk is missing, labels are `Ending.missing` and steps NaN.
        """
        found = self.chunks.to_dataset()
        found["labels"].attrs["meaning"] = "; ".join(
            f"{number}: {name}" for number, name in names_of(self.attractors, Ending).items()
        )
        return found

    def load(self, every: int = 1) -> Basins:
        """Return the basins in memory, as `basins` without a store returns them.

        Args:
            every: of a grid take the middle one of so many cells along each axis only, as for a
                picture; of a sample of so many starts one.

        What is missing has the label `Ending.missing`.

        Raises:
            ArgumentError: where memory does not suffice.

        """
        layout = self.chunks.layout
        part = tuple(slice(min(every // 2, n - 1), None, every) for n in layout.shape)
        rows = [np.arange(n)[each] for n, each in zip(layout.shape, part, strict=True)]
        shape = tuple(map(len, rows))
        total = math.prod(shape)
        chunks.check_memory(8 * total * (len(self.box) + 3), total, "starts")
        data = self.chunks.to_dataset()
        numbers = np.ravel_multi_index(np.ix_(*rows), layout.shape).ravel()
        return Basins(
            self._starts.at(numbers) if every > 1 else self._starts.range(0, total),
            data["labels"][part].values.ravel().astype(int),
            data["steps"][part].values.ravel(),
            self.attractors,
            shape if self.shape else (),
            self.box,
            self.chunks.provenance,
        )

    def summary(self) -> str:
        """Return one line for each attractor and ending, with its share."""
        return told(self.chunks.layout.total, self.attractors, self.counts())

    def to_json(self) -> str:
        """Return attractors and shares, and how much is missing, as JSON; not the labels."""
        names = self.names()
        own = {
            "attractors": [
                {name: value for name, value in one._asdict().items() if name != "region"}
                for one in self.attractors
            ],
            "shares": {names[label]: share for label, share in self.shares().items()},
            "box": self.box,
            "shape": self.shape,
        }
        return to_json(plain(own | self.chunks.counts()))

    def __str__(self) -> str:
        """Return the summary, and what is missing."""
        return self.summary() + self.chunks.told_missing()


def attractors_in(store: Chunks) -> tuple[Attractor, ...]:
    """Return the attractors with which all chunks of a store are labelled."""
    return chunks.from_plain(store.details["attractors"], _CLASSES)


def run(
    system: AbstractSystem,
    starts: Starts,
    find: Callable[[], Sequence[Attractor]],
    *,
    longest: float,
    path: str | os.PathLike[str],
    part: tuple[int, int] | None,
    chunk_cells: int | None,
    request: dict[str, str],
    provenance: tuple[tuple[str, str], ...],
    progress: Callable[[int, int], None],
) -> StoredBasins:
    """Label all starts in chunks, with attractors that are found first, once.

    Args:
        system: the map or flow.
        starts: the starts.
        find: finds the attractors; it is called if the store does not have them yet.
        longest: how many steps, or how much time, orbits are followed at most.
        path: of the store.
        part: which of the chunks, (i, n).
        chunk_cells: starts of a chunk at most.
        request: settings that another call must repeat.
        provenance: of the record.
        progress: is called with how many starts are decided, of how many.

    """
    width = _COPIES * system.state_dim
    shape = starts.shape or (starts.total,)
    plan = chunks.layout(shape, chunks.chunk_cells(starts.total, chunk_cells, width=width))
    names = tuple(f"w{i + 1}" for i in range(len(shape))) if starts.shape else ("start",)
    request = {
        **chunks.of_system(system),
        "box": chunks.of_array(starts.sides),
        "resolution": str(starts.shape or "none"),
        "samples": f"{starts.total} of seed {starts.seed}",
        **request,
        **{name: dict(provenance)[name] for name in ("samflow", "jax")},
    }

    def details() -> dict[str, Any]:
        return {
            "attractors": chunks.to_plain(tuple(find())),
            "box": starts.sides.tolist(),
            "grid": list(starts.shape),
            "seed": starts.seed,
        }

    def compute(
        store: Chunks | None, plan: chunks.Layout, begin: int, end: int
    ) -> dict[str, np.ndarray]:
        assert store is not None
        here = starts.range(begin, end)
        size = plan.cells
        filled = np.concatenate(
            [here, np.broadcast_to(here[-1], (size - len(here), here.shape[1]))]
        )
        found = label(system, filled, attractors_in(store), longest=longest)
        made = {"labels": found.labels[: len(here)], "steps": found.steps[: len(here)]}
        return made if starts.shape else {**made, "starts": here}

    arrays = {"labels": np.zeros(0, np.int32), "steps": np.zeros(0)}
    if not starts.shape:
        arrays["starts"] = np.zeros((0, len(starts.sides)))
    job = chunks.Job(
        path, "Basins", request, plan, chunk_cells is not None,
        dict(zip(names, starts.middles(), strict=True)) if starts.shape else {},
        names, details, provenance, {"labels": int(Ending.missing)}, arrays,
    )  # fmt: skip
    return StoredBasins(chunks.run(job, compute, part, progress))
