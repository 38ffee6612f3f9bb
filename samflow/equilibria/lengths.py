"""A length of a system itself: how far from a point its motion is of one and the same form."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from samflow.equilibria.leaps import is_exact, moved_by
from samflow.losses.eager import AbstractEagerLoss
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem

_EXPONENTS = np.arange(-80, 81, 2)
"""Lengths tried, as powers of 2."""
_RESOLVED = 1e-5
"""Below this part of ‖w‖, differences between neighbours are rounding."""
_ROUNDING = 1e4 * float(np.finfo(float).eps)
_SIDES = 8
_DEPARTS = 0.1


def natural_length(system: AbstractSystem, w: Array) -> float:
    """Return the least length at which the motion about `w` changes its form.

    Next to w a motion is a power of the distance: the first, at most points. What tells is the
    second difference, V(w + se) − 2V(w + se/2) + V(w), relative to V(w + se) − V(w), along some
    fixed directions e: the length is the least s at which it differs by 0.1 from what it is for the
    smallest s, or is no number. Infinite where there is none, as on quadratic losses: whatever
    happens, happens at every length; and for a loss that Python computes, which is not asked.
    """
    if isinstance(getattr(system, "loss", None), AbstractEagerLoss):
        return float("inf")
    sizes = 2.0 ** _EXPONENTS.astype(float)
    sizes = sizes[sizes >= _RESOLVED * float(jnp.linalg.norm(w))]
    bent = np.asarray(_bends(system, w, jnp.asarray(sizes)))
    begins = np.argmax(bent >= 0, axis=1)  # where differences are no rounding any more; NaN is not
    first = bent[np.arange(len(bent)), begins][:, None]
    later = np.arange(len(sizes)) > begins[:, None]
    with np.errstate(invalid="ignore"):
        departs = ~(np.abs(bent - first) <= _DEPARTS) & np.isfinite(first) & later
    some = departs.any(axis=0)
    return float(sizes[np.argmax(some)]) if some.any() else float("inf")


@eqx.filter_jit
def _bends(system: AbstractSystem, w: Array, sizes: Array) -> Array:
    """Return the second difference over the first, a row for each direction.

    NaN where that is not defined, -1 where the first is rounding.
    """
    sides = np.random.default_rng(0).normal(size=(_SIDES, w.size))
    sides /= np.linalg.norm(sides, axis=1, keepdims=True)

    def motion(x: Array) -> Array:
        if isinstance(system, AbstractFlow):
            return system.velocity(x)
        assert isinstance(system, AbstractMap)
        z = system.lift(x)
        return system.position(moved_by(system, z, 0.0 * z))

    def bend(e: Array, s: Array) -> Array:
        half, full = motion(w + 0.5 * s * e) - motion(w), motion(w + s * e) - motion(w)
        noise = 0.0 if is_exact(system) else _ROUNDING * (jnp.linalg.norm(w) + s)
        size = jnp.linalg.norm(full)
        return jnp.where(size <= noise, -1.0, jnp.linalg.norm(full - 2 * half) / size)

    # One after the other: a network's activations are there once.
    return lax.map(lambda e: lax.map(lambda s: bend(e, s), sizes), jnp.asarray(sides))
