"""Lengths and units of a system, so that no verdict depends on those of weights and losses."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samflow._types import Box, Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem, Flow, Map
from samflow.systems.angles import Angles, angles_of

_RADII = 2.0 ** np.arange(-110, 111, 2)
"""Distances at which a Jacobian is compared with that at a point: 1e-33 to 1e33."""
_DIRECTIONS = 3
_FAR = 10.0
"""Solutions of flows are followed so many times the size of the box in a search."""
_CHANGED = 0.5
"""The Jacobian has changed where it differs by this part of what it was."""


def box_width(box: Box) -> float:
    """Return the length of the longest side of a box."""
    return max(high - low for low, high in box)


def power_of_two(value: float) -> float:
    """Return the power of two next to a positive number: a unit that divides without rounding."""
    return float(2.0 ** np.round(np.log2(value)))


def bounded(system: Any, box: Box) -> Any:
    """Return the system as a search in `box` follows it: of a flow, not far from the box."""
    within = getattr(system, "within", None)
    return (
        system if within is None else within(_FAR * float(np.linalg.norm(np.abs(box).max(axis=1))))
    )


def units(system: AbstractSystem) -> Float[np.ndarray, " state"]:
    """Return the unit of each entry of a state, of which all become lengths.

    Velocities of a map, and memories of its rule, are in units of the gradient; times lr, here the
    power of two next to it, they are lengths. In these units the Jacobian of a map has none.
    """
    made = np.ones(system.state_dim)
    if isinstance(system, Map):
        made[system.dim :] = 1 / power_of_two(float(system.lr))
    return made


class Unitless(AbstractMap):
    """A map whose states are numbers, z in units of `unit`: Newton's method sees no others."""

    system: AbstractMap
    unit: Float[Array, " state"]
    angles: Angles | None = eqx.field(static=True, default=None)

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.system.dim

    @property
    def state_dim(self) -> int:
        """Length of a state."""
        return self.system.state_dim

    @property
    def elementwise(self) -> bool:
        """Never: states are arrays."""
        return False

    @property
    def loss(self) -> Callable[[Array], Array]:
        """The loss of weights in these units; a system without one has none."""
        made = self.system.loss  # pyright: ignore[reportAttributeAccessIssue]
        return lambda w: made(w * self.unit[: self.dim])

    def step(self, z: V) -> V:
        """Return the next state."""
        return self.system.step(z * self.unit) / self.unit

    def lift(self, w: V) -> V:
        """Return the state at rest."""
        return self.system.lift(w * self.unit[: self.dim]) / self.unit

    def position(self, z: V) -> V:
        """Return the weights of a state."""
        return z[: self.dim]

    def singularity(self, z: Vector) -> Scalar:
        """Return the distance from where the map is not smooth, in its own units."""
        return self.system.singularity(z * self.unit)

    def describe(self) -> str:
        """Say what the system is."""
        return self.system.describe()


def unitless(system: AbstractMap, unit: np.ndarray) -> Unitless:
    """Return the map in units of `unit`, its angles, too."""
    angles = angles_of(system)
    if angles is not None:
        angles = tuple(
            None if one is None else (one[0] / float(u), one[1] / float(u))
            for one, u in zip(angles, unit, strict=True)
        )
    return Unitless(system, jnp.asarray(unit), angles)


def ascent_length(system: AbstractSystem, w: Array) -> float:
    """Return the length in weight space that a rule brings with it at `w`; 0: none."""
    return system.rule.ascent_length(w) if isinstance(system, (Map, Flow)) else 0.0


def bending_length(system: AbstractMap | AbstractFlow, z: Array) -> float:
    """Return how far from the state `z` the Jacobian has changed by half of itself.

    In a few fixed directions, to within a factor of 4; 0 where it changes nowhere (on a quadratic,
    which has no length of its own).
    """
    dim = system.dim
    turns = np.random.default_rng(0).normal(size=(_DIRECTIONS, dim))
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    offsets = np.zeros((len(_RADII), _DIRECTIONS, len(z)))
    offsets[..., :dim] = _RADII[:, None, None] * turns
    here, there = map(np.asarray, _jacobians(system, z, jnp.asarray(offsets.reshape(-1, len(z)))))
    if isinstance(system, AbstractMap):
        here = here - np.eye(len(z))
        there = there - np.eye(len(z))
    unit = units(system)
    with np.errstate(over="ignore", invalid="ignore"):
        change = np.linalg.norm((there - here) * unit / unit[:, None], axis=(1, 2))
    size = np.linalg.norm(here * unit / unit[:, None])
    # Written so that what is not finite, as beyond the edge of a domain, is a change.
    changed = ~(change.reshape(len(_RADII), -1) <= _CHANGED * size).all(axis=1)
    return float(_RADII[np.argmax(changed)]) if changed.any() else 0.0


@eqx.filter_jit
def _jacobians(system: AbstractMap | AbstractFlow, z: Array, offsets: Array) -> tuple[Array, Array]:
    return system.jacobian(z), jax.lax.map(lambda offset: system.jacobian(z + offset), offsets)


def bending_along(loss: AbstractLoss, w: Array, v: Array) -> float:
    """Return how far from `w` the product H v has changed by half of itself; 0 if nowhere.

    As `bending_length`, from 333 products, along `v` and in two other directions.
    """
    turns = np.random.default_rng(0).normal(size=(_DIRECTIONS - 1, loss.dim))
    turns = np.vstack([np.asarray(v), turns / np.linalg.norm(turns, axis=1, keepdims=True)])
    offsets = (_RADII[:, None, None] * turns).reshape(-1, loss.dim)
    here, there = map(np.asarray, _products(loss, w, v, jnp.asarray(offsets)))
    with np.errstate(over="ignore", invalid="ignore"):
        change = np.linalg.norm(there - here, axis=1).reshape(len(_RADII), -1)
    changed = ~(change <= _CHANGED * np.linalg.norm(here)).all(axis=1)
    return float(_RADII[np.argmax(changed)]) if changed.any() else 0.0


@eqx.filter_jit
def _products(loss: AbstractLoss, w: Array, v: Array, offsets: Array) -> tuple[Array, Array]:
    return loss.hvp(w, v), jax.lax.map(lambda offset: loss.hvp(w + offset, v), offsets)
