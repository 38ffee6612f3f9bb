"""Frames of tangent vectors: orthogonal, with the stretches since the last rescaling as lengths.

A frame is orthogonalised at every step and rescaled every few, so that a step takes no square root
and no logarithm: the product of the stretches is the length of the vector. In few dimensions this
is Gram–Schmidt in scalars, one array per coordinate; a library's QR in the loop costs 40 times
more. In the plane the second vector is the first one, turned and stretched, and its stretch alone
is carried along.
"""

import abc
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow._components import Components, inner
from samflow._kernel import apart, stored

if TYPE_CHECKING:  # type checkers would take abstract variables for constructor arguments
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

MAX_COMPONENTS = 4
"""Longer states take QR: the unrolled Gram–Schmidt grows with the cube of the dimension."""


class AbstractFrames(eqx.Module):
    """The operations on frames of `size` vectors in `dim` dimensions, in one layout.

    A vector of which a projection leaves only rounding errors, whose stretch thus is 0 up to
    rounding, becomes 0 for good. Its log is −inf.
    """

    size: AbstractVar[int]
    dim: AbstractVar[int]

    @abc.abstractmethod
    def start(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an orthonormal frame in general position for every member of a block."""

    @abc.abstractmethod
    def orthogonalise(self, frame: Any) -> Any:
        """Take from every vector its projections on those before it."""

    @abc.abstractmethod
    def rescale(self, frame: Any) -> tuple[Any, Any]:
        """Return the vectors at length 1 and the logs of their lengths."""

    @abc.abstractmethod
    def renew(self, frame: Any, where: Array) -> Any:
        """Return an orthonormal frame with the vectors in `where` (..., size) begun anew."""

    @abc.abstractmethod
    def any_vector(self, holds: Callable[..., Any], *logs: Any) -> Any:
        """Say of each member whether `holds` of the logs of any of its vectors."""

    @abc.abstractmethod
    def stack(self, logs: Any) -> Array:
        """Return logs as an array (..., size)."""

    @abc.abstractmethod
    def to_array(self, frame: Any) -> Array:
        """Return a frame as an array (..., size, dim)."""

    @abc.abstractmethod
    def from_array(self, rows: Array) -> Any:
        """Return an array (..., size, dim) as a frame."""


def frames(size: int, dim: int) -> AbstractFrames:
    """Return the layout that is faster in `dim` dimensions."""
    return ScalarFrames(size, dim) if dim <= MAX_COMPONENTS else ArrayFrames(size, dim)


class ScalarFrames(AbstractFrames):
    """Frames as tuples of `Components`, by modified Gram–Schmidt."""

    size: int
    dim: int

    def start(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return constants, one per coordinate."""
        rows = _general_position(self.size, self.dim)
        return tuple(Components(*(jnp.full(shape, entry, dtype) for entry in row)) for row in rows)

    def orthogonalise(self, frame: Any) -> Any:
        """Project, without dividing by lengths but for one reciprocal per vector."""
        done = []
        for v in frame:
            before = inner(v, v)
            for u, inverse in done:
                share = inner(u, v) * inverse
                v = v - (stored(share) if jnp.ndim(share) else share) * u
            if done:
                nothing = inner(v, v) <= _rounding(before) ** 2 * before
                v = v.map(lambda a, nothing=nothing: jnp.where(nothing, 0.0, a))
            # The larger of the two: nothing is projected on a vector of length 0.
            done.append((v, 1 / jnp.maximum(inner(v, v), _smallest(before))))
        return tuple(v for v, _ in done)

    def rescale(self, frame: Any) -> tuple[Any, Any]:
        """Divide by lengths, with one square root per vector."""
        vectors, logs = [], []
        for v in frame:
            factor, log = _factor_and_log(inner(v, v))
            vectors.append(factor * v)
            logs.append(log)
        return tuple(vectors), tuple(logs)

    def renew(self, frame: Any, where: Array) -> Any:
        """Select, vector by vector, and make the choice orthonormal."""
        rows = _general_position(self.size, self.dim)
        mixed = tuple(
            Components(*(jnp.where(where[..., i], p, q) for p, q in zip(row, v, strict=True)))
            for i, (row, v) in enumerate(zip(rows, frame, strict=True))
        )
        return self.rescale(self.orthogonalise(mixed))[0]

    def any_vector(self, holds: Callable[..., Any], *logs: Any) -> Any:
        """Ask vector by vector."""
        return functools.reduce(jnp.logical_or, map(holds, *logs))

    def stack(self, logs: Any) -> Array:
        """Stack the arrays of the vectors."""
        return jnp.stack(logs, axis=-1)

    def to_array(self, frame: Any) -> Array:
        """Stack coordinates, then vectors."""
        return jnp.stack([jnp.stack(v.parts, axis=-1) for v in frame], axis=-2)

    def from_array(self, rows: Array) -> Any:
        """Take vectors and coordinates apart."""
        return tuple(
            Components(*(rows[..., i, j] for j in range(self.dim))) for i in range(self.size)
        )


class PlaneFrames(eqx.Module):
    """A frame of two vectors in the plane between two rescalings: (u, t), with t u⊥ the second.

    u⊥ is u turned by a right angle. With DF u = u' the second vector becomes the part of t DF u⊥
    that is orthogonal to u', which is t' u'⊥ with t' = t (u' × DF u⊥)/‖u'‖².
    """

    def open(self, frame: Any) -> Any:
        """Begin with an orthonormal frame of `ScalarFrames`, whose first vector is not 0."""
        u, v = frame
        return u, jnp.where(inner(v, v) > 0, jnp.ones_like(u[0]), 0.0)

    def push(self, linear: Callable[[Any], Any], opened: Any) -> Any:
        """Return the frame carried by DF, the function `linear`, and made orthogonal."""
        u, t = opened
        carried = linear(u)
        stretch = lambda t, u, carried: t * _stretch(carried, linear(_turned(u)))  # noqa: E731
        return carried, (apart(stretch) if jnp.ndim(t) else stretch)(t, u, carried)

    def close(self, opened: Any) -> Any:
        """Return the frame as `ScalarFrames` has it."""
        u, t = opened
        return u, t * _turned(u)


def _stretch(carried: Components, other: Components) -> Any:
    """Return (u' × DF u⊥)/‖u'‖², 0 where the product is rounding."""
    area, squared = _cross(carried, other), inner(carried, carried)
    # Sums of sizes, not roots of squares: products take the time of a step.
    first, second = (abs(v[0]) + abs(v[1]) for v in (carried, other))
    nothing = abs(area) <= _rounding(area) * first * second
    return jnp.where(nothing, 0.0, area) * (1 / jnp.maximum(squared, _smallest(squared)))


def _turned(u: Components) -> Components:
    return Components(-u[1], u[0])


def _cross(u: Components, v: Components) -> Any:
    return u[0] * v[1] - u[1] * v[0]


class ArrayFrames(AbstractFrames):
    """Frames as arrays (..., size, dim), by Householder's QR."""

    size: int
    dim: int

    def start(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return the same rows for every member."""
        rows = jnp.asarray(_general_position(self.size, self.dim), dtype)
        return jnp.broadcast_to(rows, (*shape, self.size, self.dim))

    def orthogonalise(self, frame: Any) -> Any:
        """Return the rows of Q with the lengths on the diagonal of R."""
        q, r = jnp.linalg.qr(jnp.swapaxes(frame, -1, -2))
        lengths = jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1))
        nothing = lengths <= _rounding(r) * jnp.linalg.norm(r, axis=-2)
        lengths = jnp.where(nothing, 0.0, lengths)
        return jnp.swapaxes(q * lengths[..., None, :], -1, -2)

    def rescale(self, frame: Any) -> tuple[Any, Any]:
        """Divide rows by their lengths."""
        factor, logs = _factor_and_log(jnp.sum(frame * frame, axis=-1))
        return factor[..., None] * frame, logs

    def renew(self, frame: Any, where: Array) -> Any:
        """Select, row by row, and make the choice orthonormal."""
        rows = jnp.asarray(_general_position(self.size, self.dim), frame.dtype)
        mixed = jnp.where(where[..., None], rows, frame)
        return self.rescale(self.orthogonalise(mixed))[0]

    def any_vector(self, holds: Callable[..., Any], *logs: Any) -> Any:
        """Ask at once."""
        return jnp.any(holds(*logs), axis=-1)

    def stack(self, logs: Any) -> Array:
        """Return `logs`."""
        return logs

    def to_array(self, frame: Any) -> Array:
        """Return `frame`."""
        return frame

    def from_array(self, rows: Array) -> Any:
        """Return `rows`."""
        return rows


def _general_position(size: int, dim: int) -> np.ndarray:
    """Return orthonormal rows that lie in no coordinate plane, the same at every call.

    With the unit vectors instead, a map that keeps its axes would give its exponents in the
    order of the axes, not of their sizes.
    """
    entries = np.random.default_rng(0).standard_normal((dim, dim))
    return np.linalg.qr(entries)[0].T[:size]


def _factor_and_log(squared: Any) -> tuple[Any, Any]:
    """Return 1/length and log(length) from the square; 0 and −inf for a vector that is lost."""
    info = jnp.finfo(jnp.result_type(squared))
    gone = squared <= info.tiny / info.eps  # below, digits are lost to underflow
    factor = jnp.sqrt(jnp.where(gone, 0.0, 1 / squared))
    return factor, 0.5 * jnp.log(jnp.where(gone, 0.0, squared))


def _smallest(like: Any) -> Any:
    return jnp.finfo(jnp.result_type(like)).tiny


def _rounding(like: Any) -> Any:
    return 4 * jnp.finfo(jnp.result_type(like)).eps
