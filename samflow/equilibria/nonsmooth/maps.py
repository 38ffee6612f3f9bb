"""What holds a map near a critical point where its rule has no Jacobian: 2-cycles and a trap.

On the quadratic part of the loss all symmetric 2-cycles of a linear ascent come from an eigenvalue
problem; rules with a memory or several ascent steps know those along eigenvectors.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow import theory
from samflow._status import Kind
from samflow.equilibria._units import power_of_two
from samflow.equilibria.nonsmooth.records import Cycle, Nonsmooth, Trap
from samflow.losses.base import AbstractLoss
from samflow.losses.quadratic import is_quadratic
from samflow.rules.critical import EQUAL, LinearAscent
from samflow.systems import Map
from samflow.systems.hyperparameters import theory_settings

_SAME = 1e-7
"""Relative to the largest: eigenvalues nearer than this are one of several multiplicity."""


def holds_map(system: Map, hessian: np.ndarray, ascent: LinearAscent | None) -> Nonsmooth:
    """Return the 2-cycles and the trap of `system`; nothing with weight decay."""
    if system.weight_decay is not None:
        return Nonsmooth(Kind.undefined)
    exact = is_quadratic(system.loss)
    if ascent is None:
        cycles, trap = _aligned_cycles(system, hessian), _own_trap(system, hessian)
    elif ascent.rho == 0:
        return Nonsmooth(Kind.undefined)
    else:
        cycles, trap = symmetric_cycles(system, hessian, ascent), _trap(system, hessian, ascent)
    return Nonsmooth(_kind(cycles, trap), cycles, trap, exact=exact)


def symmetric_cycles(system: Map, hessian: np.ndarray, ascent: LinearAscent) -> tuple[Cycle, ...]:
    """Return every 2-cycle {w* + u, w* − u} of a map on the quadratic part, largest ‖g‖ first.

    HMHu = ν(κI − ηH)u with ν = ‖NHu‖/(ηρ) > 0, κ the flip threshold of the momentum.
    """
    step, beta, scheme = (theory_settings(system)[name] for name in ("lr", "momentum", "scheme"))
    kappa = float(_flip(scheme, beta))
    # In units of the largest curvature: squares of it need not be numbers.
    unit = power_of_two(float(np.abs(hessian).max())) if hessian.any() else 1.0
    hessian, step = hessian / unit, float(step) * unit
    left = hessian @ ascent.spread @ hessian
    right = kappa * np.eye(len(hessian)) - step * hessian
    values, vectors = _generalised(left, right)
    largest = max(np.abs(values).max(initial=0.0), 1e-300)
    cycles: list[Cycle] = []
    seen: list[float] = []
    for value, vector in zip(values, vectors.T, strict=True):
        if any(abs(value - other) <= _SAME * largest for other in seen):
            continue  # the same eigenspace
        seen.append(float(value))
        measured = np.linalg.norm(ascent.measure @ hessian @ vector)
        if not (value > EQUAL * largest and measured > 0):
            continue
        radius = step * ascent.rho * value / measured
        multiplicity = int((np.abs(values - value) <= _SAME * largest).sum())
        jacobian = _step_jacobian(hessian, ascent, radius * vector, step, beta, scheme)
        multipliers = np.linalg.eigvals(jacobian) ** 2
        multipliers = multipliers[np.argsort(-np.abs(multipliers), kind="stable")]
        cycles.append(
            Cycle(
                direction=tuple(map(float, vector)),
                curvature=float(unit * (vector @ hessian @ vector)),
                multiplicity=multiplicity,
                radius=float(radius),
                gradient=float(radius * unit * np.linalg.norm(hessian @ vector)),
                multipliers=tuple(map(complex, multipliers)),
                attracts=_attracts(np.abs(multipliers), multiplicity),
            )
        )
    return tuple(sorted(cycles, key=lambda cycle: -cycle.gradient))


def quadratic_rho(
    system: Map, w: Array, hessian: np.ndarray, ascent: LinearAscent, cycle: Cycle
) -> float | None:
    """Return the rho up to which the quadratic part's 2-cycle is the loss's to 1 %; SAM's only."""
    identity = np.eye(len(hessian))
    if not (np.array_equal(ascent.spread, identity) and np.array_equal(ascent.measure, identity)):
        return None
    lams, vectors = np.linalg.eigh(hessian)
    main = int(np.argmax(np.abs(vectors.T @ np.array(cycle.direction))))
    if cycle.multiplicity > 1:
        return None
    v = vectors[:, main]
    third, fourth = map(np.asarray, _bends(system.loss, jnp.asarray(w), jnp.asarray(v)))
    bends = vectors.T @ third
    # In units of the largest curvature, as the 2-cycle itself: see `symmetric_cycles`.
    unit = power_of_two(float(np.abs(lams).max()))
    settings = {name: theory_settings(system)[name] for name in ("momentum", "scheme")}
    found = theory.quadratic_cycle_rho(
        lams[main] / unit,
        bends[main] / unit,
        across=[(lams[j] / unit, bends[j] / unit) for j in range(len(lams)) if j != main],
        fourth=float(fourth) / unit,
        lr=float(system.lr) * unit,
        **settings,
    )
    return float(found)


@eqx.filter_jit
def _bends(loss: AbstractLoss, w: Array, v: Array) -> tuple[Array, Array]:
    """Return ∇³L[v, v] and ∇⁴L[v, v, v, v]."""

    def third(t: Array) -> Array:
        return jax.jvp(lambda s: loss.hvp(w + s * v, v), (t,), (jnp.ones_like(t),))[1]

    zero = jnp.zeros(())
    bend, change = jax.jvp(third, (zero,), (jnp.ones_like(zero),))
    return bend, jnp.vdot(v, change)


@functools.cache
def _flip(scheme: str, momentum: float) -> Any:
    return theory.evaluate(theory.flip_threshold(scheme), momentum=momentum)


def _generalised(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the real eigenpairs of left u = ν right u, with unit vectors."""
    if np.linalg.eigvalsh(right)[0] > 0:
        root = np.linalg.inv(np.linalg.cholesky(right))
        values, vectors = np.linalg.eigh(root @ left @ root.T)
        vectors = root.T @ vectors
    else:  # beyond the flip of gradient descent: not definite, eigenvalues may be complex
        import scipy.linalg  # slow to import, and seldom needed

        found: Any = scipy.linalg.eig(left, right)
        real = np.isfinite(found[0]) & (np.abs(np.imag(found[0])) <= EQUAL * np.abs(found[0]))
        values, vectors = np.real(found[0][real]), np.real(found[1][:, real])
    return values, vectors / np.linalg.norm(vectors, axis=0)


def _step_jacobian(
    hessian: np.ndarray, ascent: LinearAscent, u: np.ndarray, step: float, beta: float, scheme: str
) -> np.ndarray:
    """Return the Jacobian of a step at w* + u; it is the same at w* − u."""
    z = hessian @ u
    measured = ascent.measure @ z
    length = np.linalg.norm(measured)
    turn = np.eye(len(z)) - np.outer(z, ascent.measure.T @ measured) / length**2
    d = hessian + ascent.rho / length * hessian @ ascent.spread @ turn @ hessian
    identity = np.eye(len(z))
    if scheme == "none":
        return identity - step * d
    if scheme == "heavy_ball":
        return np.block([[identity - step * d, -step * beta * identity], [d, beta * identity]])
    top = [identity - step * (1 + beta) * d, -step * beta**2 * identity]
    return np.block([top, [d, beta * identity]])


def _attracts(sizes: np.ndarray, multiplicity: int) -> bool | None:
    if not np.isfinite(sizes).all():
        return None
    if (sizes > 1 + EQUAL).any():
        return False
    neutral = int((np.abs(sizes - 1) <= EQUAL).sum())
    return True if neutral == multiplicity - 1 else None  # along a sphere of cycles: neutral


def _aligned_cycles(system: Map, hessian: np.ndarray) -> tuple[Cycle, ...]:
    """Return the 2-cycles along eigenvectors that the rule knows; none with momentum."""
    if system.momentum is not None or float(getattr(system.rule, "rho", 0.0)) == 0:
        return ()
    lams, vectors = np.linalg.eigh(hessian)
    largest, cycles = np.abs(lams).max(), []
    for i, lam in enumerate(lams.tolist()):
        others = np.delete(lams, i).tolist()
        simple = all(abs(other - lam) > _SAME * largest for other in others)
        if not simple or abs(lam) <= EQUAL * largest:
            continue
        found = system.rule.aligned_cycle(lam, others, float(system.lr))
        if found is None:
            continue
        radius, updates = found
        roots = np.concatenate([np.linalg.eigvals(np.atleast_2d(update)) for update in updates])
        multipliers = np.array(sorted(roots, key=abs, reverse=True), dtype=complex) ** 2
        cycles.append(
            Cycle(
                direction=tuple(map(float, vectors[:, i])),
                curvature=lam,
                multiplicity=1,
                radius=radius,
                gradient=abs(lam) * radius,
                multipliers=tuple(map(complex, multipliers)),
                attracts=_attracts(np.abs(multipliers), 1),
            )
        )
    return tuple(sorted(cycles, key=lambda cycle: -cycle.gradient))


def _trap(system: Map, hessian: np.ndarray, ascent: LinearAscent) -> Trap | None:
    plain = np.array_equal(ascent.spread, ascent.measure) and system.momentum is None
    if not plain or not np.array_equal(ascent.spread, np.eye(len(hessian))):
        return None
    lams = np.linalg.eigvalsh(hessian)
    if np.abs(lams).min() <= EQUAL * np.abs(lams).max():
        return None
    step = float(system.lr)
    ball = theory.invariant_ball(lams.tolist(), rho=ascent.rho, lr=step)
    if ball is None:
        return None
    one_value = lams[-1] < 0 and lams[-1] - lams[0] <= EQUAL * abs(lams[0])
    exponent = float(theory.trap_exponent(float(lams[0]), lr=step)) if one_value else None
    return Trap(float(ball[0]), float(ball[1]), exponent)


def _own_trap(system: Map, hessian: np.ndarray) -> Trap | None:
    """Return the trap that a rule without a linear ascent knows; none with momentum."""
    if system.momentum is not None or float(getattr(system.rule, "rho", 0.0)) == 0:
        return None
    lams = np.linalg.eigvalsh(hessian)
    if np.abs(lams).min() <= EQUAL * np.abs(lams).max():
        return None
    ball = system.rule.invariant_ball(lams.tolist(), float(system.lr))
    return None if ball is None else Trap(*ball, None)


def _kind(cycles: tuple[Cycle, ...], trap: Trap | None) -> Kind:
    if any(cycle.attracts for cycle in cycles):
        return Kind.cycle
    if trap is None or any(cycle.attracts is None for cycle in cycles):
        return Kind.undefined
    return Kind.trap if trap.exponent is None else Kind.chaotic_trap
