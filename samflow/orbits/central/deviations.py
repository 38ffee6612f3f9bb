"""Whether deviations of the run from a central flow die out: the multipliers of its 2-cycle."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from samflow._types import NumpyArray, Point
from samflow.orbits.central.oscillation import Oscillation, Stepping, rank
from samflow.systems import Map

LARGEST_STATE = 64


def growth(system: Map, w: Point, found: Oscillation, stepping: Stepping) -> float:
    """Return the logarithmic growth a step of deviations along the critical direction.

    About w̄ the map has nearly the 2-cycle z± = z̄ ± ζ. The multipliers of the two steps have a pair
    near 1 that belongs to the size of the oscillation and to μ, which it drives. That z± is no
    cycle, as the size changes by a factor a in a step, is taken out: where the cycle is, a = 1.
    """
    if rank(found.variance) != 1 or system.state_dim > LARGEST_STATE:
        return float("nan")
    sizes, mixes = np.linalg.eigh(found.variance)
    sigma, u = np.sqrt(sizes[-1]), mixes[:, -1] @ found.modes.right
    v = mixes[:, -1] @ found.modes.left
    right, left = _state_vectors(u, v, stepping, system)
    z, shift = np.asarray(system.lift(w)), sigma * right
    images, jacobians = zip(*(_image(system, z + s * shift) for s in (1, -1)), strict=True)
    grown = -float(left @ (np.asarray(images[0]) - np.asarray(images[1]))) / (2 * sigma)
    back = np.eye(len(z)) + (1 / grown - 1) * np.outer(right, left)
    plus, minus = (back @ np.asarray(each) for each in jacobians)
    values, vectors = np.linalg.eig(minus @ plus)
    duals = np.linalg.inv(vectors)
    share = np.abs((duals @ right) * (left @ vectors))
    value = values[np.argmax(share)]
    return 0.5 * float(np.log(np.abs(value)))


def _state_vectors(
    u: NumpyArray, v: NumpyArray, stepping: Stepping, system: Map
) -> tuple[NumpyArray, NumpyArray]:
    """Return the map's right and left eigenvectors of the multiplier −1, with left·right = 1."""
    if system.momentum is None:
        return u, v
    lr, beta, curvature = stepping.lr, stepping.momentum, stepping.limit
    inner = lr * curvature
    if system.nesterov:
        block = [[1 - inner * (1 + beta), -lr * beta**2], [curvature, beta]]
    else:
        block = [[1 - inner, -lr * beta], [curvature, beta]]
    matrix = np.array(block)
    right, left = (_null(each + np.eye(2)) for each in (matrix, matrix.T))
    right = right / right[0]
    left = left / (left @ right)
    return np.kron(right, u), np.kron(left, v)


def _null(matrix: NumpyArray) -> NumpyArray:
    return np.linalg.svd(matrix)[2][-1]


@eqx.filter_jit
def _image(system: Map, z: Any) -> tuple[Any, Any]:
    return system.step(z), jax.jacfwd(system.step)(jnp.asarray(z))
