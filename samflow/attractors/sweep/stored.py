"""A sweep in a folder of chunks: what is in it, read when it is asked for."""

import math
from typing import Any

import numpy as np

from samflow.attractors.chunks import Chunks, Slices, check_memory
from samflow.attractors.sweep.records import Sweep
from samflow.records import plain, to_json

_WORD = 64
"""Bytes that a word may take in memory."""


class StoredSweep:
    """An analysis over a grid, in chunks on disk.

    `found["period"][10:20, 3]` reads the chunks that these cells are in. `to_dataset` is lazy, too.

    Attributes:
        axes: the values of each parameter, by its name; the grid is their product.
        quantity: what was swept: the name of an analysis, or of a function.
        compiled: whether a chunk is one program; else cell by cell.
        names: what there is for each cell.

    """

    def __init__(self, chunks: Chunks) -> None:
        """Hold an open store."""
        self.chunks = chunks
        self.axes = {name: chunks.coordinate(name) for name in chunks.dims}
        self.quantity: str = chunks.details["quantity"]
        self.compiled: bool = chunks.details["compiled"]
        self.names = chunks.names

    def __getitem__(self, name: str) -> Slices:
        return self.chunks.slices(name)

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each parameter has."""
        return self.chunks.layout.shape

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the chunks that are not computed yet."""
        return self.chunks.missing

    def to_dataset(self) -> Any:
        """Return an xarray Dataset that reads what is asked of it.

        Where a chunk is missing, numbers are NaN, words empty, integers the least there is, and
        booleans False; `chunk_done` says which chunks there are.
        """
        return self.chunks.to_dataset()

    def load(self) -> Sweep:
        """Return the whole sweep in memory, as `sweep` without a store returns it.

        Raises:
            ArgumentError: where chunks are missing, or memory does not suffice.

        """
        arrays = {name: self[name] for name in self.names}
        size = sum(
            math.prod(each.shape) * (_WORD if each.dtype.kind == "T" else each.dtype.itemsize)
            for each in arrays.values()
        )
        check_memory(size, math.prod(self.shape), "cells")
        return Sweep(
            self.axes,
            {name: np.asarray(array) for name, array in arrays.items()},
            self.quantity,
            self.compiled,
            self.chunks.provenance,
            {name: self.chunks.more_dims(name) for name in self.names},
            self.chunks.details.get("units", {}),
        )

    def summary(self) -> str:
        """Return what over which axes, and what is in it."""
        axes = " × ".join(f"{name} ({len(values)})" for name, values in self.axes.items())
        return f"{self.quantity} over {axes}: {', '.join(self.names)}"

    def to_json(self) -> str:
        """Return what there is, and how much is missing, as JSON; not the values."""
        axes = {name: len(values) for name, values in self.axes.items()}
        own = {"quantity": self.quantity, "axes": axes, "names": self.names}
        return to_json(plain(own | self.chunks.counts()))

    def __str__(self) -> str:
        """Return the summary, and what is missing."""
        return self.summary() + self.chunks.told_missing()
