"""How a grid is cut into chunks: boxes of it whose cells follow one another."""

import math
from typing import NamedTuple

import numpy as np

from samflow import _checks

_FEWEST = 64
"""Chunks into which a grid is cut if it has the cells, so that parts of it can be shared out."""
_SMALL, _LARGE = 256, 2**17
"""Cells of a chunk where a block of them is one program: fewer waste its start, more its memory."""
_STEPS = 2**31
"""Steps of all orbits of a chunk at most: some seconds."""
_SLOW = 64
"""Cells of a chunk where they are computed one by one."""


class Layout(NamedTuple):
    """The chunks of a grid.

    Attributes:
        shape: of the grid.
        chunk: the shape of a chunk: the last axes whole, one axis in parts, the first ones in
            single steps. So the cells of each chunk are a range of all, in the order of the grid.

    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]

    @property
    def total(self) -> int:
        """How many cells there are."""
        return math.prod(self.shape)

    @property
    def cells(self) -> int:
        """How many cells a whole chunk has."""
        return math.prod(self.chunk)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many chunks lie along each axis."""
        return tuple(-(-n // size) for n, size in zip(self.shape, self.chunk, strict=True))

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return math.prod(self.counts)

    def place(self, number: int) -> tuple[slice, ...]:
        """Return the box of a chunk."""
        at = np.unravel_index(number, self.counts)
        return tuple(
            slice(int(i) * size, min((int(i) + 1) * size, n))
            for i, size, n in zip(at, self.chunk, self.shape, strict=True)
        )

    def range(self, number: int) -> tuple[int, int]:
        """Return the first cell of a chunk, and the one after its last."""
        place = self.place(number)
        begin = int(np.ravel_multi_index([part.start for part in place], self.shape))
        return begin, begin + math.prod(part.stop - part.start for part in place)


def layout(shape: tuple[int, ...], cells: int) -> Layout:
    """Return the chunks of a grid, each of at most `cells` cells."""
    chunk, left = [], max(1, cells)
    for n in reversed(shape):
        size = min(n, max(1, left))
        chunk.append(size)
        left = left // n if size == n else 0
    return Layout(shape, tuple(reversed(chunk)))


def chunk_cells(
    total: int, given: int | None, *, steps: int = 1, width: int = 1, together: bool = True
) -> int:
    """Return how many cells a chunk is to have.

    Args:
        total: cells of the grid.
        given: what the user wants, if anything.
        steps: of the orbit of a cell.
        width: numbers that a cell needs at once.
        together: whether many cells are one program.

    """
    if given is not None:
        return min(total, _checks.count("chunk_cells", given))
    some = -(-total // _FEWEST)
    if not together:
        return min(some, _SLOW)
    most = max(1, min(_LARGE, _STEPS // max(steps, 1), 2**24 // max(width, 1)))
    return min(total, max(some, min(_SMALL, most)), most)
