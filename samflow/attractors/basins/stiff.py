"""Solutions that an explicit solver cannot follow: stiff ones, and ones that go to infinity.

At w = (−3.75, −3.75) the velocity of USAM on Beale's function is 1e22 at rho = 0.05, and 1 a moment
later. A solution may also reach infinity in finite time: ẇ = w^p from 1 does at t = 1/(p − 1), and
where p is large no step is small enough long before the escape radius. Their paths are followed in
another time, by an implicit method (Kvaerno 2004, order 5):

    dw/ds = f T / (1 + T ‖f‖/(1 + ‖w‖)),

in which nothing grows faster than e^s, and what is slow goes by T in each unit of s.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from samflow._components import largest, norm
from samflow._status import Status
from samflow._types import Scalar, V, Vector
from samflow.systems import AbstractFlow

_LENGTH = 64.0
"""In s: from 1 to the escape radius are 14, and 64 T is more than all rounds before."""
_RTOL, _ATOL, _RADIUS = 1e-6, 1e-9, 1e6
_STEPS = 2000
_TINY = 1e-300
_AHEAD = 1e-6


@eqx.filter_jit
def along(flow: AbstractFlow, states: Array, length: Array) -> tuple[Array, Array]:
    """Return where the paths through states lead, and how they ended.

    Args:
        flow: a flow that does not jump.
        states: where the solutions were when they could still be followed, shape (N, state).
        length: T: for how long they were to be followed from there.

    Returns:
        The last state of each path, and its status: `reached_end` where it was followed for 64 T
        or more, `diverged` where it left the escape radius, or why the solver gave up.

    """
    import diffrax  # slow to import, and seldom needed

    from samflow.orbits import segments

    slowed = _Slowed(flow, length)
    numbers = (jnp.array([0.0, _LENGTH]), *map(jnp.asarray, (_RTOL, _ATOL, _RADIUS)))
    settings = segments.SolverSettings(*numbers)

    def one(start: Array) -> tuple[Array, Array]:
        events = [lambda w: segments.outside_but_for_angles(slowed, w, settings)]
        made = segments.solve_segment(
            lambda t, w: slowed.velocity(w),
            start,
            settings.times[0],
            settings,
            events,
            max_steps=_STEPS,
            solver=diffrax.Kvaerno5(),
        )
        status = segments.smooth_status(made, slowed, start, settings)
        # Only where the field ends just ahead is it that which made the steps too small.
        vanished = (status == Status.step_size_vanished) & _goes_on(flow, made.w)
        return made.w, jnp.where(vanished, Status.out_of_steps, status)

    return jax.vmap(one)(states)


def _goes_on(flow: AbstractFlow, w: Array) -> Array:
    """Say whether field and loss have values a little ahead of a state."""
    f = flow.velocity(w)
    f = f / (jnp.max(jnp.abs(f)) + _TINY)
    ahead = w + _AHEAD * (1 + norm(w)) * f
    known = jnp.all(jnp.isfinite(flow.velocity(ahead)))
    loss = getattr(flow, "loss", None)
    return known if loss is None else known & ~jnp.isnan(loss(ahead))


class _Slowed(AbstractFlow):
    """The paths of a flow, at a speed of at most 1 + ‖w‖.

    Attributes:
        flow: the flow.
        unit: T.

    """

    flow: AbstractFlow
    unit: Scalar

    @property
    def dim(self) -> int:
        """That of the flow."""
        return self.flow.dim

    @property
    def elementwise(self) -> bool:
        """Never: states are arrays."""
        return False

    def velocity(self, z: V) -> V:
        """Return dw/ds."""
        f: Any = self.flow.velocity(z)
        # In units of its largest entry: neither squares nor what derivatives make of them overflow.
        small = lax.stop_gradient(1 / (largest(abs(f)) + _TINY))
        f, far = small * f, 1 + norm(z)
        return f * (far / (far * small / self.unit + norm(f)))

    def singularity(self, z: Vector) -> Scalar:
        """Return that of the flow."""
        return self.flow.singularity(z)

    def describe(self) -> str:
        """Say what the system is."""
        return f"paths of {self.flow.describe()}"
