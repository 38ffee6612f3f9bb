"""Cycles of a map on the loss itself, about a critical point where its rule has no Jacobian.

Orbits from beside the point settle; the order in which they change sides suggests a period q, and
Newton's method on q steps locates the cycle. Its multipliers are those of the map on the loss.
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
_LEAVE = 5.0
"""An orbit has left that is farther than so many ascent steps."""


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
    point = _Point(np.asarray(w), *np.linalg.eigh(hessian), length)
    starts = jnp.asarray(_starts(point, radius))
    states = np.asarray(jax.vmap(system.lift)(starts))
    found: dict[int, LossCycle] = {}
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
                share = min(share, 1 - share)
            wanted = {i: _period(sides[i]) for i in turning}
            found |= _newton(system, jacobian, point, window, wanted)
            if all(i in found for i in turning):
                break
    outcomes = ["cycle" if i in found else outcome for i, outcome in enumerate(outcomes)]
    return OnLoss(_distinct(list(found.values())), tuple(outcomes), share, MAX_PERIOD)


class _Point(NamedTuple):
    """A critical point, the eigenvalues and eigenvectors of its Hessian, the ascent's length."""

    w: np.ndarray
    lams: np.ndarray
    vectors: np.ndarray
    length: float

    def sides(self, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ±1 for each step, on which side of the point it begins, and of which eigenvalue.

        The side is the sign of the gradient along the eigenvector along which it changes most on
        the orbit, over λ: that of z where the motion is along one line.
        """
        parts = gradients @ self.vectors  # (starts, steps, dim)
        main = np.argmax(np.nan_to_num(parts.var(axis=1), posinf=0.0), axis=1)
        vectors = self.vectors[:, main]
        largest = np.argmax(np.abs(vectors), axis=0)
        turn = np.sign(vectors[largest, np.arange(len(main))]) * np.sign(self.lams[main])
        along = turn[:, None] * np.take_along_axis(parts, main[:, None, None], axis=2)[..., 0]
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
) -> dict[int, LossCycle]:
    """Locate the cycle of the period that each start's sides suggest, or of twice that."""
    unit = units(system)
    before, _ = point.sides(window.gradients)
    found: dict[int, LossCycle] = {}
    for factor in (1, 2):
        periods = {
            i: q * factor
            for i, q in wanted.items()
            if q is not None and q * factor <= MAX_PERIOD and i not in found
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
                away = np.linalg.norm(here.states[i, :q, : system.dim] - point.w, axis=1)
                found[i] = LossCycle(
                    period=q,
                    negative=int((seen[i, :q] < 0).sum()),
                    curvature=float(lams[i]),
                    nearest=float(away.min()),
                    farthest=float(away.max()),
                    multipliers=tuple(map(complex, multipliers)),
                    residual=float(np.abs((here.states[i, q] - here.states[i, 0]) / unit).max()),
                )
    return found


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


def _look(system: Map, states: np.ndarray) -> _Window:
    return _Window(*map(np.asarray, _paths(system, jnp.asarray(states))))
