"""The inverse of a map near the identity, by Newton's method."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from samflow._types import V, Vector
from samflow.systems.base import AbstractMap, AbstractWeightSystem

_STEPS = 30
_SOLVED = 1e-11
_FLOOR = 1e-3


class Inverse(AbstractWeightSystem, AbstractMap):
    """z ↦ the w with F(w) = z that Newton's method finds; NaN where it finds none.

    It begins where F is the identity plus a displacement, at 2z − F(z), or where F is linear about
    the fixed point, whichever is nearer. An optimiser's map has an inverse where lr is so small
    that det DF does not vanish. Beyond, several w have one image; the one that is returned lies
    where det DF has the sign that it has at the fixed point.

    Attributes:
        forward: F.
        fixed: a fixed point.
        linear: DF there.

    """

    forward: AbstractMap
    fixed: Array
    linear: Array

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.forward.dim

    @property
    def elementwise(self) -> bool:
        """Never: Newton's method solves with arrays."""
        return False

    def step(self, z: V) -> V:
        """Return the preimage."""
        target: Any = jnp.asarray(z)  # pyright: ignore[reportArgumentType]

        def miss(w: Array) -> Array:
            return jnp.linalg.norm(self.forward.step(w) - target)

        def improve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            w, _, count = carry
            change = jnp.linalg.solve(self.forward.jacobian(w), self.forward.step(w) - target)
            return w - change, jnp.max(jnp.abs(change)), count + 1

        def going(carry: tuple[Array, Array, Array]) -> Array:
            w, change, count = carry
            return (count < _STEPS) & (change > _SOLVED * (_FLOOR + jnp.max(jnp.abs(w))))

        near = 2 * target - self.forward.step(target)
        far = self.fixed + jnp.linalg.solve(self.linear, target - self.fixed)
        guess = jnp.where(miss(near) <= miss(far), near, far)
        start = (guess, jnp.asarray(jnp.inf), jnp.asarray(0))
        w, change, _ = lax.while_loop(going, improve, start)
        signs = (jnp.linalg.slogdet(a)[0] for a in (self.forward.jacobian(w), self.linear))
        same = next(signs) == next(signs)
        good = (change <= _SOLVED * (_FLOOR + jnp.max(jnp.abs(w)))) & same
        found: Any = jnp.where(good, w, jnp.nan)
        return found

    def singularity(self, z: Vector) -> Array:
        """Return infinity: a point without a preimage is NaN."""
        return jnp.asarray(jnp.inf)

    def describe(self) -> str:
        """Say what the system is."""
        return f"inverse of {self.forward.describe()}"


class Twice(AbstractWeightSystem, AbstractMap):
    """Two steps of a map: where a multiplier is negative its curve is kept by every second one."""

    once: AbstractMap

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.once.dim

    @property
    def elementwise(self) -> bool:
        """Whether the map takes components."""
        return self.once.elementwise

    def step(self, z: V) -> V:
        """Return F(F(z))."""
        return self.once.step(self.once.step(z))

    def singularity(self, z: Vector) -> Array:
        """Return the lesser of the distances at z and F(z)."""
        return jnp.minimum(self.once.singularity(z), self.once.singularity(self.once.step(z)))

    def describe(self) -> str:
        """Say what the system is."""
        return f"two steps of {self.once.describe()}"
