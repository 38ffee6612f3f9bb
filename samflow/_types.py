"""Names for the shapes that every module speaks of."""

from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Array, Float

Point: TypeAlias = Float[Array, " dim"]
"""Weights, one entry a coordinate."""

Vector: TypeAlias = Any
"""A point or a gradient in either layout: an array (dim,) or `Components`, one array a coordinate.

Both answer to the same operators, which no type that Python has can say."""

Scalar: TypeAlias = Float[Array, ""]

Matrix: TypeAlias = Float[Array, "dim dim"]

Box: TypeAlias = tuple[tuple[float, float], ...]
"""A closed box: one pair (low, high) a coordinate."""

ArrayLike: TypeAlias = Any
"""Whatever `jax.numpy.asarray` takes."""

NumpyArray: TypeAlias = np.ndarray
