"""Multi-start search for fixed points, with numbers in units of the problem."""

from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from samflow._types import Box
from samflow.equilibria._units import bounded, box_width
from samflow.equilibria.continua.samples import on_continua
from samflow.equilibria.newton import ERROR_IN_STEPS, distinct, unit_points
from samflow.rules import Ascent, is_normalised
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem, Flow, Map
from samflow.systems.angles import rebased, shortest

_SPHERES = 8
"""How many times as many starts there are on spheres, which share them, as in the box."""

_BATCH = 256
"""Starts solved for at once where curves of fixed points are looked for."""

_SMALL = 0.02
"""The share of the starts at which the equation is less than its unit."""

Equation: TypeAlias = Callable[..., Array]
"""What must vanish: a function of the system, the unknowns, and parameters."""


def _motion(system: AbstractSystem, w: Array) -> Array:
    """Return what vanishes at a fixed point at rest, in units of the gradient."""
    if isinstance(system, (Map, Flow)):
        rule, loss = system.rule, system.loss
        d = rule.step(loss, w, rule.init(loss, w))[0]
        decay = system.weight_decay if isinstance(system, Map) else None
        return jnp.asarray(d if decay is None else d + decay * w)
    if isinstance(system, AbstractMap):
        return shortest(system, jnp.asarray(system.step(w) - w))
    assert isinstance(system, AbstractFlow)
    return jnp.asarray(system.velocity(w))


def _residual(system: AbstractSystem, w: Array) -> Array:
    """Return the norm of the motion at rest, and of what a step makes of the rule's memory."""
    motion = _motion(system, w)
    if isinstance(system, Map) and system.rule.num_memories:
        rule, loss = system.rule, system.loss
        memory = rule.init(loss, w)
        motion = jnp.concatenate([motion, rule.step(loss, w, memory)[1] - memory])
    return jnp.linalg.norm(motion)


def _gradient(system: AbstractSystem, w: Array) -> Array:
    """Return g(w), which vanishes where a normalised rule is undefined."""
    assert isinstance(system, (Map, Flow))
    return jnp.asarray(system.loss.gradient(w))


def _across(system: AbstractSystem, u: Array, centre: Array) -> Array:
    """Return the part of g across u at w = centre − rho u/‖u‖: 0 where SAM stands still."""
    g = _gradient(system, _on_sphere(system, u, centre))
    return g - jnp.vdot(u, g) / jnp.vdot(u, u) * u


def _on_sphere(system: AbstractSystem, u: Array, centre: Array) -> Array:
    return centre - _radius(system) * u / jnp.linalg.norm(u)


def normalised(system: AbstractSystem) -> bool:
    """Say whether the rule divides by a gradient, and so has no direction at critical points."""
    return isinstance(system, (Map, Flow)) and is_normalised(system.rule)


def _has_spheres(system: AbstractSystem) -> bool:
    """Say whether the fixed points of SAM lie on spheres about critical points."""
    decays = isinstance(system, Map) and system.weight_decay is not None
    of_rule = isinstance(system, (Map, Flow))
    return of_rule and system.rule.ascent is Ascent.unit and not decays


def _radius(system: AbstractSystem) -> Array:
    assert isinstance(system, (Map, Flow))
    rule: Any = system.rule
    return jnp.asarray(rule.rho)


@eqx.filter_jit
def facts(system: AbstractSystem, w: Array, width: Array) -> tuple[Array, Array, Array]:
    """Return the residual, ‖gradient‖, and what both are measured by: max |Jacobian| · width.

    A normalised rule is undefined at critical points, and its Jacobian unbounded near them.
    """
    loss = getattr(system, "loss", None)
    gradient = _motion(system, w) if loss is None else loss.gradient(w)
    residual, equation = _residual(system, w), _motion
    if normalised(system):
        residual, equation = jnp.fmin(residual, jnp.linalg.norm(gradient)), _gradient
    largest = jnp.max(jnp.abs(jax.jacfwd(lambda x: equation(system, x))(w)))
    if loss is not None:  # where USAM turns an eigenvalue to 0, its own Jacobian may vanish
        largest = jnp.maximum(largest, jnp.max(jnp.abs(loss.hessian(w))))
    return residual, jnp.linalg.norm(gradient), largest * width


def multistart(
    system: AbstractSystem, box: Box, num_starts: int, tol: float, key: Array
) -> tuple[np.ndarray, str]:
    """Return the distinct fixed points found in `box`, and how the search went."""
    system = bounded(system, box)
    starts, width = _random_starts(key, box, num_starts), jnp.asarray(box_width(box))
    if not normalised(system):
        return _kept(_solve(system, _motion, starts, width, tol), box, system)
    critical, note = _kept(_solve(system, _gradient, starts, width, tol), box)
    if _has_spheres(system):
        elsewhere, how = _on_spheres(system, critical, box, num_starts, tol, key)
    else:
        elsewhere, how = _kept(_solve(system, _motion, starts, width, tol), box)
    points = distinct_points(np.concatenate([critical, elsewhere]), box)
    return points, f"Critical points: {note} Others: {how}"


def sampled_points(
    system: AbstractSystem, points: np.ndarray, critical: np.ndarray, box: Box, tol: float
) -> np.ndarray:
    """Say which points are samples of a curve or surface of them."""
    sampled = np.zeros(len(points), dtype=bool)
    width = jnp.asarray(box_width(box))
    undefined = critical & normalised(system)  # there the rule has no motion to ask
    for equation, chosen in ((_gradient, undefined), (_motion, ~undefined)):
        if chosen.any():
            sampled[chosen] = _sampled(system, equation, points[chosen], box, width, tol)
    return sampled


def _sampled(
    system: AbstractSystem,
    equation: Equation,
    points: np.ndarray,
    box: Box,
    width: Array,
    tol: float,
) -> np.ndarray:
    """Say which zeros of an equation are samples of a curve or surface of its zeros."""

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ends, zeros, _ = _solve(system, equation, jnp.asarray(starts), width, tol)
        return np.asarray(ends), np.asarray(zeros)

    vanishes = jax.tree_util.Partial(equation, system)
    return on_continua(vanishes, points, box, solve, _BATCH)


def vanishing(system: AbstractSystem, critical: bool) -> Any:
    """Return what vanishes on a continuum: the gradient, or the motion, as a function of JAX."""
    of_loss = isinstance(system, (Map, Flow)) and critical
    return jax.tree_util.Partial(_gradient if of_loss else _motion, system)


def _on_spheres(
    system: AbstractSystem, critical: np.ndarray, box: Box, num_starts: int, tol: float, key: Array
) -> tuple[np.ndarray, str]:
    """Return where SAM stands still on spheres about critical points: in the box or near it."""
    rho = float(_radius(system))
    reach = tuple((low - rho, high + rho) for low, high in box)
    key, beside = jr.split(jr.fold_in(key, num_starts))
    around, width = _random_starts(beside, reach, num_starts), jnp.asarray(box_width(box))
    near, _ = _kept(_solve(system, _gradient, around, width, tol), reach)
    centres = distinct_points(np.concatenate([critical, near]), box)
    if not len(centres):
        return centres, "none, since there is no critical point."
    directions = jr.normal(key, (_SPHERES * num_starts, system.dim))
    centres = jnp.asarray(centres)[jnp.arange(len(directions)) % len(centres)]
    return _kept(_solve(system, _across, directions, width, tol, centres), box)


def _random_starts(key: Array, box: Box, num_starts: int) -> Array:
    low, high = np.array(box).T
    return low + (high - low) * unit_points(num_starts, len(box), key)


@eqx.filter_jit
def _solve(
    system: AbstractSystem, equation: Equation, starts: Array, width: Array, tol: float, *at: Array
) -> tuple[Array, Array, Array]:
    """Return where root finding ends from each start, whether at a zero, and the error's size.

    Each start has parameters of its own in `at`: then the unknowns are directions, else weights.
    Solvers know numbers only: they see unknowns in units of the box, and the equation in units of
    what it is at the starts where it is least, since damping must be small near a zero.
    """
    import lineax as lx
    import optimistix as optx  # slow to import, and not needed where there is a proof

    # Levenberg–Marquardt comes near from afar, Newton closes in where the Jacobian is singular
    # (by singular values), which the first does too slowly.
    near = optx.LevenbergMarquardt(rtol=1e-14, atol=1e-14)
    close = optx.Newton(rtol=1e-14, atol=1e-14, linear_solver=lx.SVD())
    unit = jnp.asarray(1.0) if at else _power_of_two(width)
    values = jax.vmap(lambda start, *rest: equation(system, start, *rest))(starts, *at)
    size = _power_of_two(jnp.nanquantile(jnp.linalg.norm(values, axis=1), _SMALL))

    def solve(start: Array, *parameters: Array) -> tuple[Array, Array, Array]:
        def zero(u: Array, _: None = None) -> Array:
            return equation(system, unit * u, *parameters) / size

        found = optx.root_find(zero, near, start / unit, max_steps=100, throw=False)
        end = optx.root_find(zero, close, found.value, max_steps=100, throw=False).value
        last = jnp.linalg.norm(jnp.linalg.lstsq(jax.jacfwd(zero)(end), zero(end))[0])
        w = _on_sphere(system, end, *parameters) if parameters else unit * end
        error = _radius(system) * last / jnp.linalg.norm(end) if parameters else unit * last
        loss = getattr(system, "loss", None)
        defined = True if loss is None else jnp.isfinite(loss(w))
        residual = size * jnp.linalg.norm(zero(end))
        value = residual if equation is _gradient else _residual(system, w)
        small = value <= tol * facts(system, w, width)[2]
        return w, defined & small, ERROR_IN_STEPS * error

    return jax.vmap(solve)(starts, *at)


def _power_of_two(value: Array) -> Array:
    """Return the power of two next to `value`, by which division is exact; 1 where there is none.

    Infinite and zero values come of losses that are not finite, or flat, from most starts.
    """
    usable = jnp.isfinite(value) & (value > 0)
    exponent = jnp.round(jnp.log2(jnp.where(usable, value, 1.0))).astype(int)
    return jnp.ldexp(1.0, exponent)


def _kept(
    solutions: tuple[Array, Array, Array], box: Box, system: AbstractSystem | None = None
) -> tuple[np.ndarray, str]:
    """Return the distinct zeros in `box`, and how the starts ended; angles of `system` turn."""
    ends, accurate, errors = (np.asarray(a) for a in solutions)
    ends = rebased(system, ends, box)
    low, high = np.array(box).T
    inside = ((ends >= low) & (ends <= high)).all(axis=1)
    kept = accurate & inside
    note = (
        f"Newton from {len(ends)} random starts: {int(kept.sum())} converged in the box, "
        f"{int((accurate & ~inside).sum())} outside it, {int((~accurate).sum())} did not converge."
    )
    return distinct_points(ends[kept], box, errors[kept], system), note


def distinct_points(
    points: np.ndarray,
    box: Box,
    errors: np.ndarray | None = None,
    system: AbstractSystem | None = None,
) -> np.ndarray:
    """Keep the most accurate of every group of points that are one, relative to the box."""
    errors = np.zeros(len(points)) if errors is None else errors
    scale = np.array([high - low for low, high in box])
    sizes = np.ones(len(points))
    turned = lambda apart: shortest(system, apart * scale) / scale  # noqa: E731
    group = distinct((points / scale)[:, None], errors / scale.min(), sizes, turned)
    order = np.argsort(errors, kind="stable")
    return points[order[group[order] == order]]
