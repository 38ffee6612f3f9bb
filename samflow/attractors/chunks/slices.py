"""An array on disk that reads what is asked of it, and no cell that is not computed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from samflow import _checks
from samflow.attractors.chunks.layout import Layout


class Slices:
    """An array of a store: `array[10:20, 3]` reads the chunks that these cells are in.

    Reading a cell of a chunk that is not computed is an `ArgumentError`.
    """

    def __init__(self, array: Any, layout: Layout, has: Callable[[int], bool], path: str) -> None:
        """Hold an array of zarr, and how to ask whether a chunk is computed."""
        self._array, self._layout, self._has, self._path = array, layout, has, path

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape."""
        return self._array.shape

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of the numbers; texts are read as `str`."""
        return self._array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        self._check(key)
        found = np.asarray(self._array[key])
        if found.dtype.kind != "T":
            return found
        longest = int(np.strings.str_len(found).max(initial=1))
        return found.astype(f"U{longest}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self[...]
        return found if dtype is None else found.astype(dtype)

    def _check(self, key: Any) -> None:
        """Refuse to read cells of chunks that are not computed."""
        layout = self._layout
        lows, highs = [], []
        for part, n in zip(_spread(key, self.ndim), layout.shape, strict=False):
            try:
                chosen = np.arange(n)[part]
            except IndexError as error:
                raise IndexError(f"{error}: the array has shape {self.shape}") from None
            chosen = np.atleast_1d(chosen)
            if not chosen.size:
                return
            lows.append(chosen.min())
            highs.append(chosen.max())
        spans = [
            np.arange(low // size, high // size + 1)
            for low, high, size in zip(lows, highs, layout.chunk, strict=True)
        ]
        touched = np.ravel_multi_index(np.meshgrid(*spans, indexing="ij"), layout.counts).ravel()
        missing = [k for k in touched.tolist() if not self._has(k)]
        if missing:
            raise _checks.ArgumentError(
                f"{len(missing)} of the {len(touched)} chunks asked for of {self._path!r} "
                "are not computed yet. Call the same function with the same store again."
            )


def _spread(key: Any, ndim: int) -> list[Any]:
    """Return one index for each axis of a key with an ellipsis or too few of them."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if not any(each is Ellipsis for each in keys):
        keys.append(Ellipsis)
    at = next(i for i, each in enumerate(keys) if each is Ellipsis)
    filling = [slice(None)] * (ndim - len(keys) + 1)
    return [*keys[:at], *filling, *keys[at + 1 :]]
