"""Solutions of Itô equations at a fixed step, by diffrax.

This module loads diffrax, which takes half a second; import it where an equation is solved.
"""

from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from samflow._status import Status
from samflow.systems.diffusion import AbstractDiffusion


class DiffusionSettings(NamedTuple):
    """The times to keep, evenly spaced; how many steps each interval has; the escape radius."""

    times: Any
    substeps: Any
    radius: Any


@eqx.filter_jit
def diffuse(
    system: AbstractDiffusion, starts: Array, key: PRNGKeyArray, settings: DiffusionSettings
) -> tuple[Array, Array, Array]:
    """Return states, status and last time of one solution per start, by Euler and Maruyama.

    Member i is driven by a virtual Brownian tree of the key (key, i). Where the number of steps is
    a power of 2, solutions of one key with other such numbers are driven by the same motion.
    """
    times, radius = settings.times, settings.radius
    dt = times[-1] / (settings.substeps * (times.shape[0] - 1))

    def one(start: Array, member: Array) -> tuple[Array, Array, Array]:
        shape = jax.ShapeDtypeStruct((system.num_noises,), start.dtype)
        motion = diffrax.VirtualBrownianTree(
            times[0], times[-1], tol=dt / 2, shape=shape, key=jr.fold_in(key, member)
        )
        solution = diffrax.diffeqsolve(
            diffrax.MultiTerm(
                diffrax.ODETerm(lambda t, y, args: system.at(t).drift(y)),
                diffrax.ControlTerm(lambda t, y, args: system.at(t).diffusion(y), motion),
            ),
            diffrax.Euler(),
            times[0],
            times[-1],
            dt,
            start,
            saveat=diffrax.SaveAt(ts=times, t1=True),
            event=diffrax.Event(lambda t, y, args, **_: ~(jnp.sum(y * y) <= radius**2)),
            max_steps=None,
            throw=False,
        )
        assert solution.ys is not None
        assert solution.ts is not None
        last = jnp.maximum(jnp.sum(jnp.isfinite(solution.ts)) - 1, 0)
        end, t = solution.ys[last], jnp.minimum(solution.ts[last], times[-1])
        beyond = jnp.sum(end * end) > radius**2
        status = jnp.where(jnp.all(jnp.isfinite(end)), Status.reached_end, Status.not_finite)
        status = jnp.where(beyond & jnp.isfinite(jnp.sum(end)), Status.diverged, status)
        undefined = (system.at(times[0]).singularity(start) <= 0) & (status == Status.not_finite)
        status = jnp.where(undefined, Status.undefined, status)
        kept = (times < t) | ((times <= t) & (status == Status.reached_end))
        return jnp.where(kept[:, None], solution.ys[:-1], jnp.nan), status, t

    return jax.vmap(one)(starts, jnp.arange(starts.shape[0]))
