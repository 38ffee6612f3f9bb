"""Cycles of a map on the loss itself, about a critical point where its rule has no Jacobian.

Orbits from beside the point settle; the order in which they change sides, or the recurrence of
their states where they stay on one side, suggests a period q, and Newton's method on q steps
locates the cycle. Its multipliers are those of the map on the loss.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from samflow.equilibria._units import units
from samflow.equilibria.leaps import MOST_STATES
from samflow.equilibria.nonsmooth.records import LossCycle, OnLoss
from samflow.losses.eager import AbstractEagerLoss
from samflow.rules.critical import EQUAL
from samflow.systems import Map

MAX_PERIOD = 128
WINDOW = 2 * MAX_PERIOD
"""Consecutive steps in which a period is looked for."""
_SETTLING = (16, 64)
"""Windows of steps before each look, if the one before decided nothing."""
_NEWTON_STEPS = 10
_RESIDUAL = 1e-9
"""Of a cycle's own size: what its points may be off by after q steps."""
_APART = 1e3
"""Points of a cycle are farther apart than so many times that."""
_ROUNDING = 64 * float(np.finfo(float).eps)
_BESIDE = 1e-3
"""Distance of the starts in units of the ascent step; and of a start on a 2-cycle, of its size."""
_RANDOM = 4
"""Starts in random directions, beside four along the last eigenvector."""
_STARTS = 4 + _RANDOM
_LEAVE = 5.0
"""An orbit has left that is farther than so many ascent steps."""
_RECURS = 1e-3
"""States a period apart differ by no more than this part of the orbit's size."""
_FEW = 5.0
"""A cycle within so many of its steps of the point is one about it, on whichever side it lies."""
_LYAPUNOV_STEPS = 16 * WINDOW


Jacobian = Callable[[np.ndarray], np.ndarray]
"""The Jacobian of a step at a state."""


class _Window(NamedTuple):
    """Steps of each start: states (starts, WINDOW + 1, state), and the loss's gradients there."""

    states: np.ndarray
    gradients: np.ndarray


def can_locate(system: Map, hessian: np.ndarray) -> bool:
    """Say whether cycles are looked for.

    Not with weight decay or more than 64 states; on a loss that Python computes; or where the
    Hessian is singular, as on a curve of minima, along which orbits drift.
    """
    sizes = np.abs(np.linalg.eigvalsh(hessian))
    regular = sizes.min() > EQUAL * sizes.max()
    eager = isinstance(system.loss, AbstractEagerLoss)
    few = system.state_dim <= MOST_STATES and system.weight_decay is None
    return bool(regular) and few and not eager


def locate(
    system: Map, w: Array, hessian: np.ndarray, jacobian: Jacobian, radius: float
) -> OnLoss | None:
    """Return the attracting cycles that orbits from beside `w` come to.

    Args:
        system: the map.
        w: the critical point.
        hessian: of the loss there.
        jacobian: of a step.
        radius: of a 2-cycle along the top eigenvector, a guess; 0 for none.

    Returns:
        None for a rule whose ascent has no length.

    """
    if (length := system.rule.ascent_length(w)) == 0:
        return None
    point = _oriented(system, _Point(np.asarray(w), *np.linalg.eigh(hessian), length))
    starts = jnp.asarray(_starts(point, radius))
    states = np.asarray(jax.vmap(system.lift)(starts))
    found: dict[int, tuple[LossCycle, bool]] = {}
    outcomes = [""] * len(states)
    share = np.nan
    with np.errstate(all="ignore"):  # orbits that leave may overflow
        for settling in _SETTLING:
            gradients = []
            for _ in range(settling):
                passed = _look(system, states)
                states = passed.states[:, -1]
                gradients.append(passed.gradients)
            window = _look(system, states)
            sides, _ = point.sides(window.gradients)
            outcomes = [
                point.outcome(path[:, : system.dim], side)
                for path, side in zip(window.states, sides, strict=True)
            ]
            turning = [i for i, outcome in enumerate(outcomes) if outcome == "turns"]
            if turning:
                late = np.concatenate(gradients[settling // 2 :], axis=1)
                share = float((point.sides(late)[0][turning] < 0).mean())
            staying = [i for i, outcome in enumerate(outcomes) if outcome == "one side"]
            wanted = {i: _period(sides[i]) for i in turning}
            wanted |= {i: _recurrence(window.states[i] / units(system)) for i in staying}
            rests = {i for i in staying if wanted[i] == 1}
            found |= _newton(system, jacobian, point, window, wanted)
            if all(i in found or i in rests for i in turning + staying):
                break
        turning = [i for i in turning if i not in found]
        growth = _growth(system, window.states[turning, -1]) if turning else None
    for i, (_, about) in found.items():
        outcomes[i] = "cycle" if about else "elsewhere"
    cycles = _distinct([cycle for cycle, about in found.values() if about])
    return OnLoss(cycles, tuple(outcomes), share, MAX_PERIOD, growth=growth)


class _Point(NamedTuple):
    """A critical point, the eigenvalues and eigenvectors of its Hessian, the ascent's length."""

    w: np.ndarray
    lams: np.ndarray
    vectors: np.ndarray
    length: float

    def sides(self, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ±1 for each step, on which side of the point it begins, and of which eigenvalue.

        The side is the sign of the gradient along the eigenvector along which it changes most on
        the orbit, over λ: that of z where the motion is along one line. The eigenvector points
        to the steeper side, see `_oriented`.
        """
        parts = gradients @ self.vectors  # (starts, steps, dim)
        main = np.argmax(np.nan_to_num(parts.var(axis=1), posinf=0.0), axis=1)
        along = (
            np.sign(self.lams[main])[:, None]
            * np.take_along_axis(parts, main[:, None, None], axis=2)[..., 0]
        )
        return np.where(np.isfinite(along), np.sign(along), 0.0), self.lams[main]

    def outcome(self, path: np.ndarray, sides: np.ndarray) -> str:
        """Say what an orbit does, by its last weights and sides."""
        distances = np.linalg.norm(path - self.w, axis=1)
        near = np.nanmin(distances, initial=np.inf) <= _LEAVE * self.length
        if not np.isfinite(distances).all():
            return "undefined" if near else "leaves"
        if not near:
            return "leaves"
        return "turns" if (sides > 0).any() and (sides < 0).any() else "one side"


def _oriented(system: Map, point: _Point) -> _Point:
    """Turn each eigenvector to the side on which the slope an ascent step away is the steeper.

    So points that mirror each other have one rotation number. Where both slopes are one to
    rounding, or not both are defined, the largest entry is positive.
    """
    vectors = point.vectors
    largest = np.argmax(np.abs(vectors), axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(len(largest))])
    ends = point.w + point.length * np.concatenate([vectors.T, -vectors.T])
    padded = np.resize(ends, (-(-len(ends) // _STARTS) * _STARTS, len(point.w)))
    states = np.asarray(jax.vmap(system.lift)(jnp.asarray(padded)))
    with np.errstate(all="ignore"):
        looks = [_look(system, states[i : i + _STARTS]) for i in range(0, len(states), _STARTS)]
        slopes = np.concatenate([look.gradients[:, 0] for look in looks])[: len(ends)]
        ahead, behind = np.abs((slopes.reshape(2, *vectors.shape) * vectors.T).sum(axis=2))
        turned = behind - ahead > EQUAL * behind
    return point._replace(vectors=vectors * np.where(turned, -1.0, 1.0))


def _starts(point: _Point, radius: float) -> np.ndarray:
    """Return points on both sides along the last eigenvector, at two distances, and at random."""
    turns = np.random.default_rng(0).normal(size=(1 + _RANDOM, len(point.w)))
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    along = point.vectors[:, -1] + _BESIDE * turns[0]
    near = _BESIDE * point.length
    far = radius or 10 * near
    aligned = np.array([near, -near, far, -far])[:, None] * along
    return point.w + np.concatenate([aligned, far * turns[1:]])


def _newton(
    system: Map,
    jacobian: Jacobian,
    point: _Point,
    window: _Window,
    wanted: dict[int, int | None],
) -> dict[int, tuple[LossCycle, bool]]:
    """Locate the cycle of the period that is suggested for each start, or of twice that.

    And say of each whether it is one about the point.
    """
    unit = units(system)
    before, _ = point.sides(window.gradients)
    found: dict[int, tuple[LossCycle, bool]] = {}
    for factor in (1, 2):
        periods = {
            i: q * factor
            for i, q in wanted.items()
            if q is not None and 1 < q * factor <= MAX_PERIOD and i not in found
        }
        if not periods:
            continue
        states, here = window.states[:, 0].copy(), window
        for _ in range(_NEWTON_STEPS):
            moved = False
            for i, q in periods.items():
                residual = here.states[i, q] - here.states[i, 0]
                product = _product(jacobian, here.states[i, :q])
                step = _solve(np.eye(len(unit)) - product, residual)
                states[i] = here.states[i, 0] + step
                spread = np.ptp(here.states[i, :q] / unit, axis=0).max()
                moved |= bool(np.abs(step / unit).max() > EQUAL * spread)
            here = _look(system, states)
            if not moved:
                break
        seen, lams = point.sides(here.gradients)
        for i, q in periods.items():
            if not ((seen[i, :q] == before[i, :q]).all() and _closes(here.states[i] / unit, q)):
                continue
            multipliers = _multipliers(
                _product(jacobian, here.states[i, :q]) * unit / unit[:, None]
            )
            if np.abs(multipliers[0]) < 1 - EQUAL:
                path = here.states[i, : q + 1, : system.dim]
                away = np.linalg.norm(path[:q] - point.w, axis=1)
                cycle = LossCycle(
                    period=q,
                    negative=int((seen[i, :q] < 0).sum()),
                    curvature=float(lams[i]),
                    nearest=float(away.min()),
                    farthest=float(away.max()),
                    multipliers=tuple(map(complex, multipliers)),
                    residual=float(np.abs((here.states[i, q] - here.states[i, 0]) / unit).max()),
                )
                found[i] = cycle, _is_about(path - point.w, here.gradients[i, :q])
    return found


def _is_about(path: np.ndarray, gradients: np.ndarray) -> bool:
    """Say whether a cycle turns about the point, or lies within a few of its steps of it.

    The gradient is 0 at the point: about it gradients differ from their mean by more than that is.
    """
    mean = gradients.mean(axis=0)
    spread = np.linalg.norm(gradients - mean, axis=1).max()
    step = np.linalg.norm(np.diff(path, axis=0), axis=1).max()
    near = np.linalg.norm(path, axis=1).min() <= _FEW * step
    return bool(near or np.linalg.norm(mean) <= spread)


def _closes(path: np.ndarray, q: int) -> bool:
    """Say whether the orbit is back after q steps, to rounding, and not after a part of q."""
    gaps = np.abs(path[1 : q + 1] - path[0]).max(axis=1)
    tol = _RESIDUAL * np.ptp(path[:q], axis=0).max() + _ROUNDING * q * np.abs(path[:q]).max()
    parts = [r for r in range(1, q) if q % r == 0]
    return bool(gaps[q - 1] <= tol) and all(gaps[r - 1] > _APART * tol for r in parts)


def _multipliers(jacobian: np.ndarray) -> np.ndarray:
    multipliers = np.linalg.eigvals(jacobian).astype(complex)
    return multipliers[np.argsort(-np.abs(multipliers), kind="stable")]


def _period(sides: np.ndarray) -> int | None:
    """Return the least period of the order of sides, up to MAX_PERIOD; None where there is none."""
    lengths = range(1, MAX_PERIOD + 1)
    return next((q for q in lengths if (sides[q:] == sides[:-q]).all()), None)


def _recurrence(states: np.ndarray) -> int | None:
    """Return the least number of steps after which states come back; 1 at rest, None for none."""
    size = np.ptp(states, axis=0).max()
    if size <= _ROUNDING * np.abs(states).max():
        return 1
    lengths = range(1, MAX_PERIOD + 1)
    return next(
        (q for q in lengths if np.abs(states[q:] - states[:-q]).max() <= _RECURS * size), None
    )


def _growth(system: Map, states: np.ndarray) -> float:
    """Return the mean over orbits of the Lyapunov exponent: by how much tangents grow a step."""
    turns = np.random.default_rng(1).normal(size=states.shape) * units(system)
    return float(np.mean(_tangents(system, jnp.asarray(states), jnp.asarray(turns))))


def _product(jacobian: Jacobian, states: np.ndarray) -> np.ndarray:
    product = np.eye(states.shape[-1])
    for state in states:
        product = jacobian(state) @ product
    return product


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    if not (np.isfinite(matrix).all() and np.isfinite(right).all()):
        return np.full_like(right, np.nan)
    return np.linalg.lstsq(matrix, right, rcond=None)[0]


def _distinct(cycles: list[LossCycle]) -> tuple[LossCycle, ...]:
    """Return each cycle once; those that agree in all that is told of them are one."""
    kept: list[LossCycle] = []
    for cycle in cycles:
        same = [
            other.period == cycle.period
            and np.allclose(
                [other.nearest, other.farthest], [cycle.nearest, cycle.farthest], 1e-6, 0
            )
            for other in kept
        ]
        if not any(same):
            kept.append(cycle)
    return tuple(sorted(kept, key=lambda cycle: (cycle.period, cycle.farthest)))


@eqx.filter_jit
def _paths(system: Map, states: Array) -> tuple[Array, Array]:
    def one(z: Array) -> tuple[Array, Array]:
        def step(z: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
            return system.step(z), (z, system.loss.gradient(system.position(z)))

        end, (path, gradients) = lax.scan(step, z, length=WINDOW)
        return jnp.concatenate([path, end[None]]), gradients

    return jax.vmap(one)(states)


@eqx.filter_jit
def _tangents(system: Map, states: Array, tangents: Array) -> Array:
    def one(z: Array, v: Array) -> Array:
        def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
            z, v = carry
            z, v = jax.jvp(system.step, (z,), (v,))
            size = jnp.linalg.norm(v)
            return (z, v / size), jnp.log(size)

        start = (z, v / jnp.linalg.norm(v))
        return lax.scan(step, start, length=_LYAPUNOV_STEPS)[1].mean()

    return jax.vmap(one)(states, tangents)


def _look(system: Map, states: np.ndarray) -> _Window:
    return _Window(*map(np.asarray, _paths(system, jnp.asarray(states))))
