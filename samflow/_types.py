"""Names for the shapes that every module speaks of."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Array, Float

Point: TypeAlias = Float[Array, " dim"]
"""Weights, one entry a coordinate."""


class Vector(Protocol):
    """A point or a gradient in either layout: an array (dim,) or `Components`, one array each.

    What both answer to; the operators return the layout of the vector.
    """

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __getitem__(self, index: Any, /) -> Any: ...
    def __neg__(self) -> Any: ...
    def __abs__(self) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...


V = TypeVar("V", bound=Vector)
"""The layout of a vector: what is returned has the one that was given."""

Scalar: TypeAlias = Float[Array, ""]

Matrix: TypeAlias = Float[Array, "dim dim"]

Box: TypeAlias = tuple[tuple[float, float], ...]
"""A closed box: one pair (low, high) a coordinate."""

ArrayLike: TypeAlias = Any
"""Whatever `jax.numpy.asarray` takes."""

NumpyArray: TypeAlias = np.ndarray
