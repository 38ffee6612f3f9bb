"""Equations whose zeros form a continuum, in units of a box, and Newton's method beside them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

_BATCH = 32
"""Points evaluated by one compiled program; fewer are filled up."""
_NEWTON_STEPS = 12
_ARRIVED = 1e-13
"""Newton's method stops at a step this small, in units of the box."""
_SOLVED = 1e-9
"""A point counts as a zero where Newton's last step was no larger."""
_NOISE = 1e-11
"""And where the equations are at most this part of what they are a unit of the box away."""
_REGULAR = 1e-6
"""The least singular value across a continuum, relative to the largest, where it is regular."""
_KERNEL = 1e-8
"""The largest along it."""


class Functions(Protocol):
    """m functions of n weights with their Jacobian, at many points."""

    def value(self, points: np.ndarray, /) -> np.ndarray:
        """Return the functions at points (k, n), shape (k, m)."""
        ...

    def jacobian(self, points: np.ndarray, /) -> np.ndarray:
        """Return their Jacobian, shape (k, m, n)."""
        ...


class Compiled:
    """A function of JAX as `Functions`: one program for any number of points."""

    def __init__(self, function: Callable[[Array], Array]) -> None:
        """Take a `jax.tree_util.Partial`, so that programs can be told apart."""
        self._function: Any = function

    def value(self, points: np.ndarray) -> np.ndarray:
        """Return the function at points (k, n)."""
        return self._filled(_values, points)

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        """Return its Jacobian."""
        return self._filled(_jacobians, points)

    def _filled(self, program: Any, points: np.ndarray) -> np.ndarray:
        count = len(points)
        filled = np.concatenate([points, np.repeat(points[-1:], -count % _BATCH, axis=0)])
        parts = filled.reshape(-1, _BATCH, points.shape[1])
        found = [np.asarray(program(self._function, jnp.asarray(part))) for part in parts]
        return np.concatenate(found)[:count]


@eqx.filter_jit
def _values(function: Any, points: Array) -> Array:
    return jax.vmap(function)(points)


@eqx.filter_jit
def _jacobians(function: Any, points: Array) -> Array:
    return jax.vmap(jax.jacfwd(function))(points)


class Frame(NamedTuple):
    """An orthonormal frame at a zero, in units of the box.

    Attributes:
        along: spans the kernel of the Jacobian, shape (n, d).
        across: its complement, shape (n, n − d).
        regular: whether the Jacobian has rank n − d there.

    """

    along: np.ndarray
    across: np.ndarray
    regular: bool


class Zeros(NamedTuple):
    """Equations in units of a box: weights are low + size·u, and the box is the unit cube.

    Attributes:
        functions: of weights.
        low: a corner of the box.
        size: its sides.
        scale: what the Jacobian is measured by: its largest singular value on the box.

    """

    functions: Functions
    low: np.ndarray
    size: np.ndarray
    scale: float

    @classmethod
    def of(cls, functions: Functions, box: Any, at: np.ndarray) -> "Zeros":
        """Return the equations on a box, with the scale that they have at weights (k, n)."""
        low, high = np.array(box).T
        slopes = functions.jacobian(at) * (high - low)
        sizes = np.linalg.norm(slopes, axis=(1, 2))
        sizes = sizes[np.isfinite(sizes)]
        return cls(functions, low, high - low, float(sizes.max(initial=0.0)) or 1.0)

    def weights(self, u: np.ndarray) -> np.ndarray:
        """Return points in units of the weights."""
        return self.low + self.size * u

    def units(self, w: np.ndarray) -> np.ndarray:
        """Return points in units of the box."""
        return (w - self.low) / self.size

    def value(self, u: np.ndarray) -> np.ndarray:
        """Return the equations at points (k, n), in units of their scale."""
        return self.functions.value(self.weights(u)) / self.scale

    def jacobian(self, u: np.ndarray) -> np.ndarray:
        """Return their Jacobian at points (k, n)."""
        return self.functions.jacobian(self.weights(u)) * (self.size / self.scale)

    def inside(self, u: np.ndarray, room: float = 0.0) -> np.ndarray:
        """Say of points (k, n) whether they lie in the box, with room at its faces."""
        return np.asarray(((u >= -room) & (u <= 1 + room)).all(axis=-1))

    def frame(self, u: np.ndarray, dimension: int) -> Frame:
        """Return tangent and normal space at one zero."""
        _, singular, rows = np.linalg.svd(self.jacobian(u[None])[0])
        singular = np.append(singular, np.zeros(len(u) - len(singular)))
        codimension = len(u) - dimension
        across, along = rows[:codimension].T, rows[codimension:].T
        largest = singular[0] if codimension else 1.0
        fine = codimension == 0 or singular[codimension - 1] > _REGULAR * largest
        flat = codimension == len(u) or singular[codimension] <= _KERNEL * largest
        return Frame(along, across, bool(fine and flat and largest > 0))

    def dimension(self, u: np.ndarray) -> int:
        """Return the dimension of the kernel of the Jacobian at one point."""
        singular = np.linalg.svd(self.jacobian(u[None])[0], compute_uv=False)
        singular = np.append(singular, np.zeros(len(u) - len(singular)))
        return int((singular <= _KERNEL * max(singular[0], 1e-300)).sum())

    def solve(
        self, guess: np.ndarray, planes: np.ndarray, rank: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solve by Gauss-Newton in the planes through guesses (k, n) across `planes` (k, n, d).

        Args:
            guess: points, in units of the box.
            planes: directions in which the solution does not move; (k, n, 0) for none.
            rank: of the Jacobian on the continuum; further singular values are left out.

        Returns:
            The solutions (k, n), and whether each is one.

        """
        u, last = guess.copy(), np.full(len(guess), np.inf)
        going = np.arange(len(u))
        for _ in range(_NEWTON_STEPS):
            if not len(going):
                break
            value, slope = self.value(u[going]), self.jacobian(u[going])
            finite = np.isfinite(value).all(axis=1) & np.isfinite(slope).all(axis=(1, 2))
            last[going[~finite]] = np.inf
            going, value, slope = going[finite], value[finite], slope[finite]
            step = _steps(value, slope, u[going] - guess[going], planes[going], rank)
            u[going] -= step
            last[going] = np.abs(step).max(axis=1)
            small = last[going] <= _ARRIVED * (1 + np.abs(u[going]).max(axis=1))
            going = going[~small]
        residual = np.linalg.norm(self.value(u), axis=1)
        return u, (last <= _SOLVED) & (residual <= _NOISE)


def _steps(
    value: np.ndarray, slope: np.ndarray, moved: np.ndarray, planes: np.ndarray, rank: int
) -> np.ndarray:
    """Return Newton's steps, of least length where they are not unique."""
    left, singular, right = np.linalg.svd(slope, full_matrices=False)
    left, singular, right = left[:, :, :rank], singular[:, :rank], right[:, :rank]
    kept = singular > 1e-10 * singular[:, :1]
    parts = np.einsum("kmr,km->kr", left, value) / np.where(kept, singular, 1.0)
    across = np.swapaxes(planes, 1, 2)
    matrix = np.concatenate([right * kept[:, :, None], across], axis=1)
    wanted = np.concatenate([parts * kept, np.einsum("kdn,kn->kd", across, moved)], axis=1)
    return np.einsum("knr,kr->kn", np.linalg.pinv(matrix, rcond=1e-12), wanted)
