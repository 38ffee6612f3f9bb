"""Growth of tangent vectors along the solutions of a flow, by diffrax.

The variational equation V̇ = Df(z) V is solved together with ż = f(z), and the frame V is made
orthonormal after every step of the solver. No interval has to be chosen, and the solver's steps are
short enough, for stiff flows too, that the vectors do not align.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from samflow._status import Status
from samflow.attractors._frames import frames
from samflow.attractors._map_growth import NUM_BATCHES, Growth
from samflow.orbits.segments import SMALLEST_STEP
from samflow.systems.angles import on_lines
from samflow.systems.base import AbstractFlow

_RUNNING = -1


class FlowSettings(NamedTuple):
    """Traced numbers: one program serves all."""

    t1: Any
    t_transient: Any
    rtol: Any
    atol: Any
    escape_radius: Any
    max_steps: Any


class _Carry(NamedTuple):
    """A solution: the solver's next step leads from t to t_next."""

    t: Any
    t_next: Any
    y: Any
    solver: Any
    controller: Any
    logs: Any
    steps: Any
    status: Any


@eqx.filter_jit
def flow_growth(
    system: AbstractFlow, z0: Array, num_exponents: int, settings: FlowSettings
) -> Growth:
    """Follow solutions from the states z0 (N, state_dim) and the frames on them."""
    batches = settings.t1 * jnp.arange(NUM_BATCHES + 1) / NUM_BATCHES
    ends = settings.t_transient + batches  # the first batch is the transient
    logs, status, stopped_at = jax.vmap(
        lambda start: _follow(system, start, num_exponents, ends, settings)
    )(z0)
    return Growth(logs, jnp.diff(batches), status, stopped_at)


def _follow(
    system: AbstractFlow, start: Array, num_exponents: int, ends: Array, settings: FlowSettings
) -> tuple[Array, Array, Array]:
    import diffrax  # takes half a second to import, which maps do not need

    def field(t: Any, y: tuple[Array, Array], args: None) -> tuple[Array, Array]:
        z, frame = y
        velocity, linear = jax.linearize(system.velocity, z)
        return velocity, jax.vmap(linear)(frame)

    term, solver = diffrax.ODETerm(field), diffrax.Tsit5()
    order, smallest = solver.order(term), SMALLEST_STEP * ends[-1]
    controller = diffrax.PIDController(
        settings.rtol, settings.atol, dtmin=smallest, force_dtmin=False
    ).wrap(1)
    ops = frames(num_exponents, system.state_dim)
    fresh = ops.to_array(ops.start((), start.dtype))

    def step(carry: _Carry, end: Array) -> _Carry:
        t, t_next = carry.t, jnp.where(carry.t_next > end - smallest, end, carry.t_next)
        y, error, _, state, _ = solver.step(
            term, t, t_next, carry.y, None, carry.solver, made_jump=True
        )
        keep, t, t_next, _, controls, result = controller.adapt_step_size(
            t, t_next, carry.y, y, None, error, order, carry.controller
        )
        z, frame = y
        frame, grown = ops.rescale(ops.orthogonalise(ops.from_array(frame)))
        undefined = system.singularity(z) <= 0
        size = jnp.sum((z * on_lines(system)) ** 2)
        outside = ~(size <= settings.escape_radius**2)
        beyond = jnp.where(jnp.isfinite(size), Status.diverged, Status.not_finite)
        spent = carry.steps + 1 >= settings.max_steps
        vanished = result == diffrax.RESULTS.dt_min_reached
        status = jnp.asarray(_RUNNING)
        status = jnp.where(spent & (t < ends[-1]), Status.out_of_steps, status)
        status = jnp.where(vanished, Status.step_size_vanished, status)
        status = jnp.where(keep & outside, beyond, status)
        status = jnp.where(keep & undefined, Status.undefined, status)
        y = jax.tree.map(
            lambda new, old: jnp.where(keep, new, old), (z, ops.to_array(frame)), carry.y
        )
        logs = jnp.where(keep, carry.logs + ops.stack(grown), carry.logs)
        return _Carry(t, t_next, y, state, controls, logs, carry.steps + 1, status)

    def phase(index: Any, state: tuple[_Carry, Array]) -> tuple[_Carry, Array]:
        carry, sums = state
        end = ends[index]
        carry = lax.while_loop(
            lambda c: (c.t < end) & (c.status == _RUNNING),
            lambda c: step(c, end),
            carry._replace(logs=jnp.zeros_like(carry.logs)),
        )
        return carry, sums.at[index].set(carry.logs)

    y, zero = (start, fresh), jnp.zeros((), ends.dtype)
    t_next, controls = controller.init(term, zero, ends[-1], y, None, None, solver.func, order)
    undefined = system.singularity(start) <= 0
    carry = _Carry(
        zero,
        t_next,
        y,
        solver.init(term, zero, t_next, y, None),
        controls,
        jnp.zeros(num_exponents, start.dtype),
        jnp.asarray(0),
        jnp.where(undefined, Status.undefined, _RUNNING),
    )
    sums = jnp.zeros((NUM_BATCHES + 1, num_exponents), start.dtype)
    carry, sums = lax.fori_loop(0, NUM_BATCHES + 1, phase, (carry, sums))
    status = jnp.where(carry.status == _RUNNING, Status.reached_end, carry.status)
    return sums[1:], status, carry.t
