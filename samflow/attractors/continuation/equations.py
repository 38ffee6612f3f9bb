"""The equations whose zeros are followed: fixed points and cycles with one free number.

The unknowns are the state and the number, y = (z, p). Nothing else of a system changes along a
branch, and nothing is compiled again for another branch of the same system.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from samflow.systems import AbstractFlow, AbstractMap
from samflow.systems.angles import shortest
from samflow.systems.leaves import Leaf


class RestEquations(eqx.Module):
    """F^q(z; p) − z = 0 of a map, f(z; p) = 0 of a flow, in the state z and a leaf p.

    Attributes:
        system: the map or flow; its own value of the leaf plays no part.
        leaf: the place of the leaf that is free.
        period: q; 1 for a flow.

    """

    system: AbstractMap | AbstractFlow
    leaf: Leaf = eqx.field(static=True)
    period: int = eqx.field(static=True)

    @property
    def discrete(self) -> bool:
        """Whether the system is a map."""
        return isinstance(self.system, AbstractMap)

    def at(self, p: Any) -> Any:
        """Return the system whose leaf is `p`."""
        return self.leaf.replaced(self.system, p)

    def advance(self, z: Array, p: Any, steps: int | None = None) -> Array:
        """Return F^q(z), or after another number of steps; of a flow its velocity."""
        system = self.at(p)
        if isinstance(system, AbstractFlow):
            return system.velocity(z)
        steps = self.period if steps is None else steps
        return lax.scan(lambda z, _: (system.step(z), None), z, length=steps)[0]

    def residual(self, y: Array) -> Array:
        """Return what is 0 on the branch, shape (state,)."""
        z = y[:-1]
        moved = self.advance(z, y[-1])
        return shortest(self.system, moved - z) if self.discrete else moved

    def orbit(self, y: Array) -> Array:
        """Return the points of the cycle, shape (period, state)."""
        system = self.at(y[-1])
        if isinstance(system, AbstractFlow):
            return y[None, :-1]
        return lax.scan(lambda z, _: (system.step(z), z), y[:-1], length=self.period)[1]

    def singularity(self, y: Array) -> Array:
        """Return the least distance of a point of the cycle from where the map is not smooth."""
        return jnp.min(jax.vmap(self.at(y[-1]).singularity)(self.orbit(y)))


class CriticalEquations(eqx.Module):
    """A fixed point or cycle with one multiplier at +1 or −1, in the state and two leaves.

    What is 0 beside the residual is g in the bordered system

        [A − μI  b] [v]   [0]
        [  cᵀ    0] [g] = [1],

    A the Jacobian (Govaerts 2000, chapter 4): regular where A − μI has rank n − 1 and b, c are
    near its null vectors.

    Attributes:
        rest: the equations of the fixed point, with the first leaf.
        second: the second leaf.
        multiplier: μ: 1 at a fold of a map, −1 at a flip, 0 at a fold of a flow.
        left: b.
        right: c.

    """

    rest: RestEquations
    second: Leaf = eqx.field(static=True)
    multiplier: float = eqx.field(static=True)
    left: Array
    right: Array

    def given(self, q: Any) -> RestEquations:
        """Return the equations of the fixed point with a value of the second leaf."""
        system = self.second.replaced(self.rest.system, q)
        return RestEquations(system, self.rest.leaf, self.rest.period)

    def residual(self, y: Array) -> Array:
        """Return the residual of the fixed point and g, shape (state + 1,)."""
        rest = self.given(y[-1])

        def shifted(z: Array) -> Array:
            return rest.advance(z, y[-2]) - self.multiplier * z

        matrix = jax.jacfwd(shifted)(y[:-2])
        n = matrix.shape[0]
        bordered = jnp.block([[matrix, self.left[:, None]], [self.right[None], jnp.zeros((1, 1))]])
        g = jnp.linalg.solve(bordered, jnp.zeros(n + 1).at[n].set(1.0))[n]
        return jnp.append(rest.residual(y[:-1]), g)
