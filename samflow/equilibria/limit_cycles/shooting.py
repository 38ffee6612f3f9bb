"""Newton's method on the periodic orbits of a flow, in segments.

The unknowns are points zᵢ at equal intervals of time, i mod m, and the period T (multiple
shooting; Keller 1968, Seydel 2010, chapter 7):

    Rᵢ = φ(T/m, zᵢ) − zᵢ₊₁ = 0,   f(z₀)·δ₀ = 0,

where the last fixes the phase: a step does not move z₀ along the flow. The derivatives of the
segments come from the variational equation. A short segment stretches little, so that cycles are
found as well if they repel or attract by many powers of ten.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from samflow.orbits.returns.solver import Solver, advance
from samflow.systems.angles import Angles, angles_of, shortest
from samflow.systems.base import AbstractFlow

SEGMENTS = 30
"""A multiple of 2, 3 and 5: cycles that are gone around as often are recognised."""
_KEPT = 4
"""Points kept of each segment."""
_STEPS, _FINE_STEPS = 16, 3
_COARSE, _FINE = 1e-9, 1e-12
"""Relative tolerances of the solver on the way, and at the end."""
_ATOL = 1e-2
"""The absolute tolerance over the relative one, in units of the size of the cycle."""
_LARGEST = 0.25
"""The longest step, in units of the size of the cycle and of the period."""
_RCOND = 1e-12
_REACH = 1e3
_MAX_STEPS = 2000


class Shot(NamedTuple):
    """Where Newton's method ended, one item a guess.

    Attributes:
        points: zᵢ.
        period: T.
        residual: the largest |Rᵢ|.
        moved: by how much points moved when the tolerance was cut, and in the last step.
        period_moved: the same of the period.
        derivatives: of φ(T/m, ·) at zᵢ.
        divergence: the integral of div f over each segment.
        along: the points kept, in the order of the motion.
        turns: φ(T/m, zᵢ) − zᵢ summed around: whole turns of the angles.

    """

    points: Float[Array, "guesses segments state"]
    period: Float[Array, " guesses"]
    residual: Float[Array, " guesses"]
    moved: Float[Array, " guesses"]
    period_moved: Float[Array, " guesses"]
    derivatives: Float[Array, "guesses segments state state"]
    divergence: Float[Array, "guesses segments"]
    along: Float[Array, "guesses points state"]
    turns: Float[Array, "guesses state"]


class _WithDivergence(eqx.Module):
    """A flow with the integral of its divergence as one more coordinate."""

    flow: AbstractFlow

    @property
    def angles(self) -> Angles:
        """Those of the flow, and the integral, which no radius bounds either."""
        own = angles_of(self.flow) or (None,) * self.flow.dim
        return (*own, (0.0, 1.0))

    def at(self, t: Array) -> "_WithDivergence":
        """Return itself: it is autonomous."""
        return self

    def velocity(self, y: Array) -> Array:
        """Return f(z) and div f(z)."""
        z = y[:-1]
        return jnp.append(self.flow.velocity(z), jnp.trace(self.flow.jacobian(z)))


@eqx.filter_jit
def shoot(
    flow: AbstractFlow,
    points: Float[Array, "guesses segments state"],
    period: Float[Array, " guesses"],
) -> Shot:
    """Solve for a periodic orbit from each guess."""
    return jax.vmap(lambda z, t: _solve(flow, z, t))(points, period)


def _solve(flow: AbstractFlow, points: Array, period: Array) -> Shot:
    size = jnp.max(jnp.abs(shortest(flow, points - points[0])))
    reach = _REACH * (size + jnp.max(jnp.abs(points)))

    def solver(rtol: Array) -> Solver:
        return Solver(rtol, _ATOL * rtol * size, reach, jnp.asarray(_MAX_STEPS))

    def move(carry: tuple[Array, ...], rtol: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        z, t, *_ = carry
        step, stretch, residual, derivatives = _newton(flow, z, t, size, solver(rtol))
        longest = jnp.maximum(jnp.max(jnp.abs(step)) / size, jnp.abs(stretch))
        share = jnp.minimum(1.0, _LARGEST / longest)
        moved = jnp.max(jnp.abs(step)), t * jnp.abs(stretch)
        z, t = z + share * step, t * (1 + share * stretch)
        return (z, t, residual, derivatives), moved

    n = points.shape[1]
    tolerances = jnp.array([_COARSE] * _STEPS + [_FINE] * _FINE_STEPS)
    rest = jnp.inf * jnp.ones(()), jnp.zeros((SEGMENTS, n, n))
    carry, (moved, stretched) = lax.scan(move, (points, period, *rest), tolerances)
    z, t, residual, derivatives = carry
    fine = solver(jnp.asarray(_FINE))

    def piece(y: Array, _: None) -> tuple[Array, Array]:
        made = advance(_WithDivergence(flow), y, 0.0, t / (SEGMENTS * _KEPT), fine).z
        return made, y[:-1]

    begin = jnp.concatenate([z, jnp.zeros((SEGMENTS, 1))], axis=1)
    ends, along = jax.vmap(lambda y: lax.scan(piece, y, length=_KEPT))(begin)
    return Shot(
        z,
        t,
        residual,
        moved[_STEPS] + moved[-1],
        stretched[_STEPS] + stretched[-1],
        derivatives,
        ends[:, -1],
        along.reshape(-1, n),
        jnp.sum(ends[:, :-1] - z, axis=0),
    )


def _newton(
    flow: AbstractFlow, z: Array, t: Array, size: Array, solver: Solver
) -> tuple[Array, Array, Array, Array]:
    """Return Newton's step, that of log T, the residual and the derivatives of the segments.

    By singular values, so that cycles that form a continuum are found, too.
    """
    import lineax as lx  # slow to import, and needed for flows only

    m, n = z.shape

    def segment(z: Array, stretch: Array) -> tuple[Array, Array]:
        end = advance(flow, z, 0.0, t * (1 + stretch) / m, solver).z
        return end, end

    zero = jnp.zeros(())
    both = jax.vmap(jax.jacfwd(segment, argnums=(0, 1), has_aux=True), in_axes=(0, None))
    (derivatives, stretches), ends = both(z, zero)
    residual = shortest(flow, ends - jnp.roll(z, -1, axis=0))
    eye = jnp.eye(m)
    states = jnp.einsum("ij,iab->iajb", eye, derivatives)
    states -= jnp.einsum("ij,ab->iajb", jnp.roll(eye, 1, axis=1), jnp.eye(n))
    f = flow.velocity(z[0])
    phase = jnp.zeros((1, m * n + 1)).at[0, :n].set(f / jnp.linalg.norm(f))
    in_time = stretches.reshape(-1, 1) / size  # all unknowns and equations are numbers
    rows = jnp.concatenate([states.reshape(m * n, m * n), in_time], axis=1)
    matrix = jnp.concatenate([rows, phase])
    right = -jnp.append(residual.reshape(-1) / size, 0.0)
    finite = jnp.all(jnp.isfinite(matrix)) & jnp.all(jnp.isfinite(right))
    safe = jnp.where(finite, matrix, jnp.eye(m * n + 1))  # LAPACK may never return from others
    operator = lx.MatrixLinearOperator(safe)
    solved = lx.linear_solve(operator, right, lx.SVD(rcond=_RCOND), throw=False).value
    solved = jnp.where(finite, solved, jnp.nan)
    step = size * solved[:-1].reshape(m, n)
    return step, solved[-1], jnp.max(jnp.abs(residual)), derivatives
