"""What holds a rule near a critical point where it has no Jacobian: cycles, traps, sliding.

Most of these rules ascend by ρMz/‖Nz‖, z = H(w − w*), near a critical point w*: SAM with
M = N = I, ASAM with M = T², N = T, GCSAM with a projection. On the quadratic part of the loss this
gives all symmetric 2-cycles by an eigenvalue problem, and the flow's attraction by one inequality:
sections 3 and 5 of docs/theory.md.
"""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array

from samflow import theory
from samflow._status import Kind
from samflow.losses import ExpressionLoss
from samflow.losses.base import AbstractLoss
from samflow.losses.finite_sum import FiniteSum
from samflow.rules import (
    ASAM,
    FSAM,
    GCSAM,
    MSAM,
    NSAM,
    SAM,
    SSAM,
    AbstractNormalisedRule,
    MultiStepSAM,
    OptimisticSAM,
    PenalisedGradientNorm,
    Rule,
    VaSSO,
)
from samflow.systems import Flow, Map

_EQUAL = 1e-9
"""Relative: an eigenvalue this small is 0, a multiplier this near to the unit circle neutral."""
_SAME = 1e-7
"""Relative to the largest: eigenvalues nearer than this are one of several multiplicity."""
_DIRECTIONS = 64
"""Random directions in which a flow without a closed form is asked whether it comes in."""


class Cycle(NamedTuple):
    """The 2-cycles w* ± radius·direction, on the quadratic part of the loss.

    Attributes:
        direction: a unit vector; for SAM an eigenvector of the Hessian.
        curvature: directionᵀ H direction, for SAM the eigenvalue.
        multiplicity: of the eigenspace of such directions; from 2 on the cycles fill a sphere.
        radius: distance of the cycle from the critical point.
        gradient: ‖g‖ on it.
        multipliers: over two steps, in the state, largest first.
        attracts: whether the cycle, or the sphere of cycles as a whole, attracts; None where a
            multiplier is neutral for another reason (a zero eigenvalue).

    """

    direction: tuple[float, ...]
    curvature: float
    multiplicity: int
    radius: float
    gradient: float
    multipliers: tuple[complex, ...]
    attracts: bool | None


class Trap(NamedTuple):
    """A ball of gradients that the map keeps for ever, on the quadratic part of the loss.

    Attributes:
        radius: every orbit ends with ‖g‖ ≤ radius.
        entered_from: if it begins with ‖g‖ < entered_from.
        exponent: the Lyapunov exponent log(1 + η|λ|) inside, where all eigenvalues are one λ < 0
            and chaos is proved; None otherwise.

    """

    radius: float
    entered_from: float
    exponent: float | None


class Sliding(NamedTuple):
    """How a flow comes to the critical point.

    Attributes:
        radius: the flow comes to the point from every ‖Ng‖ < radius, N = I but for ASAM (N = T); it
            may be infinite. None where no radius is known.
        exact: whether the loss is quadratic, so that the radius is proved for the loss itself;
            otherwise it is that of its quadratic part.
        finite_time: whether the flow arrives, rather than approaching for ever.
        measured: the radius in ‖Hw‖ that was measured on the loss itself, an upper estimate; None
            where it was not asked for, or where nothing within the largest radius tried fails.

    """

    radius: float | None
    exact: bool
    finite_time: bool
    measured: float | None = None


class Nonsmooth(NamedTuple):
    """What is known at a critical point without a Jacobian; see `Cycle`, `Trap`, `Sliding`."""

    kind: Kind
    cycles: tuple[Cycle, ...] = ()
    trap: Trap | None = None
    sliding: Sliding | None = None

    def __str__(self) -> str:
        """Return one line with what holds the system there."""
        return "; ".join(_sentences(self)) or "nothing that holds it is known"


class LinearAscent(NamedTuple):
    """An ascent step ρMz/‖Nz‖ near a critical point."""

    rho: float
    spread: np.ndarray
    measure: np.ndarray


def nonsmooth(system: Map | Flow, w: Array, hessian: np.ndarray) -> Nonsmooth:
    """Return what holds `system` at its critical point `w`, where it has no Jacobian."""
    if not np.isfinite(hessian).all():
        return Nonsmooth(Kind.undefined)
    ascent = linear_ascent(system.rule, system.loss, np.asarray(w))
    if isinstance(system, Flow):
        return _flow(system, w, hessian, ascent)
    if system.weight_decay is not None:
        return Nonsmooth(Kind.undefined)
    if isinstance(system.rule, (FSAM, VaSSO, OptimisticSAM, MultiStepSAM)):
        cycles = _aligned_cycles(system, system.rule, hessian)
        return Nonsmooth(_map_kind(cycles, None), cycles)
    if ascent is None or ascent.rho == 0:
        return Nonsmooth(Kind.undefined)
    cycles = symmetric_cycles(system, hessian, ascent)
    trap = _trap(system, hessian, ascent)
    return Nonsmooth(_map_kind(cycles, trap), cycles, trap)


def linear_ascent(rule: Rule, loss: AbstractLoss, w: np.ndarray) -> LinearAscent | None:
    """Return a rule's ascent near the critical point `w`; None where it is not of that form."""
    identity = np.eye(len(w))
    if isinstance(rule, (SAM, NSAM)):
        return LinearAscent(float(rule.rho), identity, identity)
    if isinstance(rule, PenalisedGradientNorm):  # (1 − α)z + αH(w + ρẑ) = H(w + αρẑ)
        return LinearAscent(float(rule.alpha * rule.rho), identity, identity)
    if isinstance(rule, MSAM) and len(_shards(rule, loss)) == 1:
        return LinearAscent(float(rule.rho), identity, identity)
    if isinstance(rule, ASAM):
        scale = np.abs(w) + float(rule.shift)
        if scale.min() <= _EQUAL * (1 + scale.max()):
            return None  # a weight of 0 is not moved: the ascent is no such form
        return LinearAscent(float(rule.rho), np.diag(scale**2), np.diag(scale))
    if isinstance(rule, GCSAM):
        projection = identity - _block_means(rule, len(w))
        centred = rule.norm.name == "centralised"
        return LinearAscent(float(rule.rho), projection, projection if centred else identity)
    return None


def _shards(rule: MSAM, loss: AbstractLoss) -> tuple[AbstractLoss, ...]:
    return loss.shards(rule.shard_size) if isinstance(loss, FiniteSum) else (loss,)


def symmetric_cycles(system: Map, hessian: np.ndarray, ascent: LinearAscent) -> tuple[Cycle, ...]:
    """Return every 2-cycle {w* + u, w* − u} of a map on the quadratic part, largest ‖g‖ first.

    HMHu = ν(κI − ηH)u with ν = ‖NHu‖/(ηρ) > 0, κ the flip threshold of the momentum.
    """
    step, beta, kind = float(system.lr), 0.0, "none"
    if system.momentum is not None:
        beta, kind = float(system.momentum), "nesterov" if system.nesterov else "heavy_ball"
    kappa = float(_flip(kind, beta))
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
        if not (value > _EQUAL * largest and measured > 0):
            continue
        radius = step * ascent.rho * value / measured
        multiplicity = int((np.abs(values - value) <= _SAME * largest).sum())
        jacobian = _step_jacobian(hessian, ascent, radius * vector, step, beta, kind)
        multipliers = np.linalg.eigvals(jacobian) ** 2
        multipliers = multipliers[np.argsort(-np.abs(multipliers), kind="stable")]
        cycles.append(
            Cycle(
                direction=tuple(map(float, vector)),
                curvature=float(vector @ hessian @ vector),
                multiplicity=multiplicity,
                radius=float(radius),
                gradient=float(radius * np.linalg.norm(hessian @ vector)),
                multipliers=tuple(map(complex, multipliers)),
                attracts=_attracts(np.abs(multipliers), multiplicity),
            )
        )
    return tuple(sorted(cycles, key=lambda cycle: -cycle.gradient))


@functools.cache
def _flip(kind: str, momentum: float) -> Any:
    return theory.evaluate(theory.flip_threshold(kind), momentum=momentum)


def _generalised(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the real eigenpairs of left u = ν right u, with unit vectors."""
    if np.linalg.eigvalsh(right)[0] > 0:
        values, vectors = scipy.linalg.eigh(left, right)
    else:  # beyond the flip of gradient descent: not definite, eigenvalues may be complex
        found: Any = scipy.linalg.eig(left, right)
        real = np.isfinite(found[0]) & (np.abs(np.imag(found[0])) <= _EQUAL * np.abs(found[0]))
        values, vectors = np.real(found[0][real]), np.real(found[1][:, real])
    return values, vectors / np.linalg.norm(vectors, axis=0)


def _step_jacobian(
    hessian: np.ndarray, ascent: LinearAscent, u: np.ndarray, step: float, beta: float, kind: str
) -> np.ndarray:
    """Return the Jacobian of a step at w* + u; it is the same at w* − u."""
    z = hessian @ u
    measured = ascent.measure @ z
    length = np.linalg.norm(measured)
    turn = np.eye(len(z)) - np.outer(z, ascent.measure.T @ measured) / length**2
    d = hessian + ascent.rho / length * hessian @ ascent.spread @ turn @ hessian
    identity = np.eye(len(z))
    if kind == "none":
        return identity - step * d
    if kind == "heavy_ball":
        return np.block([[identity - step * d, -step * beta * identity], [d, beta * identity]])
    top = [identity - step * (1 + beta) * d, -step * beta**2 * identity]
    return np.block([top, [d, beta * identity]])


def _attracts(sizes: np.ndarray, multiplicity: int) -> bool | None:
    if not np.isfinite(sizes).all():
        return None
    if (sizes > 1 + _EQUAL).any():
        return False
    neutral = int((np.abs(sizes - 1) <= _EQUAL).sum())
    return True if neutral == multiplicity - 1 else None  # along a sphere of cycles: neutral


def _aligned_cycles(system: Map, rule: Rule, hessian: np.ndarray) -> tuple[Cycle, ...]:
    """Return the 2-cycles along eigenvectors of rules across whose cycles each λⱼ is by itself.

    None with momentum, and none along a negative or a multiple eigenvalue of multi-step SAM,
    where the ascent turns round.
    """
    if system.momentum is not None or float(getattr(rule, "rho", 0.0)) == 0:
        return ()
    lams, vectors = np.linalg.eigh(hessian)
    largest, cycles = np.abs(lams).max(), []
    for i, lam in enumerate(lams.tolist()):
        others = np.delete(lams, i).tolist()
        simple = all(abs(other - lam) > _SAME * largest for other in others)
        if not simple or abs(lam) <= _EQUAL * largest:
            continue
        found = _ALIGNED[type(rule)](rule, lam, others, float(system.lr))
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


Aligned = tuple[float, list[Any]] | None
"""A radius, and the update of a step along the cycle and across it, one for each eigenvalue."""


def _numbers(matrix: Any) -> np.ndarray:
    return np.array(matrix, dtype=float)


def _with_sams_cycle(
    update: Any, forgets: float, rho: float, lam: float, others: list[float], lr: float
) -> Aligned:
    if lr * lam >= 2:
        return None
    symbols = (theory.curvature_across, theory.ascent_across)
    across = []
    for other in others:
        at = (lr * other, (other / lam) ** 2 * (2 - lr * lam))
        across.append(_numbers(update.subs(dict(zip(symbols, at, strict=True)))))
    radius = float(theory.cycle_radius(lam, rho=rho, lr=lr))
    return radius, [1 - lr * lam, forgets, *across]


def _friendly(rule: FSAM, lam: float, others: list[float], lr: float) -> Aligned:
    update = theory.friendly_update(float(rule.sigma), float(rule.decay))
    return _with_sams_cycle(update, float(rule.decay), float(rule.rho), lam, others, lr)


def _suppressed(rule: VaSSO, lam: float, others: list[float], lr: float) -> Aligned:
    update = theory.suppressed_update(float(rule.theta))
    return _with_sams_cycle(update, 1 - float(rule.theta), float(rule.rho), lam, others, lr)


def _optimistic(rule: OptimisticSAM, lam: float, others: list[float], lr: float) -> Aligned:
    about = {"lr": lr, "lookahead": float(rule.lookahead)}
    if lam < 0 or (lr + 2 * about["lookahead"]) * lam >= 2:
        return None
    curvatures = [lam, *(theory.optimistic_curvature(lam, other, **about) for other in others)]
    updates = [_numbers(theory.optimistic_update(value, **about)) for value in curvatures]
    return float(theory.optimistic_cycle_radius(lam, rho=float(rule.rho), **about)), updates


def _multistep(rule: MultiStepSAM, lam: float, others: list[float], lr: float) -> Aligned:
    about = {"lr": lr, "num_steps": rule.num_steps, "average": rule.average}
    if lam < 0 or lr * lam >= 2:
        return None
    across = [1 - float(theory.multistep_curvature(lam, other, **about)) for other in others]
    radius = theory.multistep_cycle_radius(lam, rho=float(rule.rho), **about)
    return float(radius), [1 - lr * lam, *across]


_ALIGNED: dict[type, Any] = {
    FSAM: _friendly,
    VaSSO: _suppressed,
    OptimisticSAM: _optimistic,
    MultiStepSAM: _multistep,
}


def _trap(system: Map, hessian: np.ndarray, ascent: LinearAscent) -> Trap | None:
    plain = np.array_equal(ascent.spread, ascent.measure) and system.momentum is None
    if not plain or not np.array_equal(ascent.spread, np.eye(len(hessian))):
        return None
    lams = np.linalg.eigvalsh(hessian)
    if np.abs(lams).min() <= _EQUAL * np.abs(lams).max():
        return None
    step = float(system.lr)
    ball = theory.invariant_ball(lams.tolist(), rho=ascent.rho, lr=step)
    if ball is None:
        return None
    one_value = lams[-1] < 0 and lams[-1] - lams[0] <= _EQUAL * abs(lams[0])
    exponent = float(theory.trap_exponent(float(lams[0]), lr=step)) if one_value else None
    return Trap(float(ball[0]), float(ball[1]), exponent)


def _map_kind(cycles: tuple[Cycle, ...], trap: Trap | None) -> Kind:
    if any(cycle.attracts for cycle in cycles):
        return Kind.cycle
    if trap is None or any(cycle.attracts is None for cycle in cycles):
        return Kind.undefined
    return Kind.trap if trap.exponent is None else Kind.chaotic_trap


def _flow(system: Flow, w: Array, hessian: np.ndarray, ascent: LinearAscent | None) -> Nonsmooth:
    exact = is_quadratic(system.loss)
    lams, vectors = np.linalg.eigh(hessian)
    regular = np.abs(lams).min() > _EQUAL * np.abs(lams).max()
    if not regular or (ascent is not None and ascent.rho == 0):
        return Nonsmooth(Kind.undefined)
    if isinstance(system.rule, GCSAM):
        return _centralised(system.rule, hessian)
    if isinstance(system.rule, SSAM):
        radius = float(theory.attraction_radius(lams.tolist(), rho=float(system.rule.rho)))
        return Nonsmooth(Kind.attracting, sliding=Sliding(radius, exact, finite_time=False))
    if ascent is not None:
        radius = _sliding_radius(hessian, ascent)
        return Nonsmooth(Kind.sliding, sliding=Sliding(radius, exact, finite_time=True))
    if isinstance(system.rule, MSAM):
        # ½d‖u‖²/dt = −uᵀHu − ρ mean ‖Hᵢu‖: what holds it is that no direction is flat for all.
        hessians = [np.asarray(part.hessian(w)) for part in _shards(system.rule, system.loss)]
        weakest = np.linalg.svd(np.concatenate(hessians), compute_uv=False)[-1]
        if weakest <= _EQUAL * np.abs(hessian).max():
            return Nonsmooth(Kind.undefined)
        return Nonsmooth(Kind.sliding, sliding=Sliding(None, exact, finite_time=True))
    if isinstance(system.rule, AbstractNormalisedRule) and _comes_in(system, w, hessian, vectors):
        return Nonsmooth(Kind.sliding, sliding=Sliding(None, exact, finite_time=True))
    return Nonsmooth(Kind.undefined)


def _sliding_radius(hessian: np.ndarray, ascent: LinearAscent) -> float:
    """Return the r up to which rS + ρTH²T is positive definite, S the symmetric part of THT⁻¹.

    d‖Tz‖/dt = −uᵀ(rS + ρTH²T)u with u = Tz/r. For SAM, T = I, this is ρ min|λ₋|.
    """
    scale = ascent.measure
    pull = scale @ hessian @ hessian @ scale
    push = scale @ hessian @ np.linalg.inv(scale)
    largest = scipy.linalg.eigh(-(push + push.T) / 2, pull, eigvals_only=True)[-1]
    return float(ascent.rho / largest) if largest > 0 else float("inf")


def _centralised(rule: GCSAM, hessian: np.ndarray) -> Nonsmooth:
    """Return what GCSAM's flow does along the directions that it does not ascend in."""
    blocks = _block_means(rule, len(hessian))
    inverse = np.linalg.inv(hessian)
    basis = scipy.linalg.orth(blocks)
    form = np.linalg.eigvalsh(basis.T @ inverse @ basis)
    if np.abs(form).min() <= _EQUAL * np.abs(form).max():
        return Nonsmooth(Kind.nonhyperbolic)
    return Nonsmooth(Kind.attracting if form[0] > 0 else Kind.saddle)


def _block_means(rule: GCSAM, dim: int) -> np.ndarray:
    """Return the projection on vectors that are constant in every block."""
    sizes = (dim,) if rule.blocks is None else rule.blocks
    return np.asarray(scipy.linalg.block_diag(*(np.full((n, n), 1 / n) for n in sizes)))


def _comes_in(system: Flow, w: Array, hessian: np.ndarray, vectors: np.ndarray) -> bool:
    """Say whether ‖g‖ falls at the point from every direction tried: eᵀH lim d > 0.

    Undefined limits, as those of ASAM along a weight of 0, count as no.
    """
    random = np.random.default_rng(0).normal(size=(_DIRECTIONS, len(hessian)))
    sides = np.concatenate([vectors.T, -vectors.T, np.eye(len(hessian)), random])
    e = sides / np.linalg.norm(sides, axis=1, keepdims=True)
    limits = np.asarray(_limits(system.rule, system.loss, w, jnp.asarray(e)))
    speeds = np.einsum("ki,ij,kj->k", e, hessian, limits)
    return bool((speeds > _EQUAL * np.abs(hessian).max() * np.abs(limits).max()).all())


@eqx.filter_jit
def _limits(rule: Any, loss: AbstractLoss, w: Array, e: Array) -> Array:
    return jax.vmap(lambda one: rule.limit(loss, w, one))(e)


@functools.cache
def _third_derivatives_vanish(expression: Any, symbols: tuple[Any, ...]) -> bool:
    polynomial = expression.as_poly(*symbols)
    return polynomial is not None and polynomial.total_degree() <= 2


def is_quadratic(loss: AbstractLoss) -> bool:
    """Say whether a loss is known to be a quadratic polynomial."""
    if not isinstance(loss, ExpressionLoss):
        return False
    return _third_derivatives_vanish(loss.expression, tuple(loss.symbols))


def _sentences(found: Nonsmooth) -> list[str]:
    parts = []
    for cycle in found.cycles:
        if cycle.attracts:
            sphere = f", {cycle.multiplicity}-fold" if cycle.multiplicity > 1 else ""
            parts.append(
                f"attracting 2-cycle ±{cycle.radius:.6g} along λ = {cycle.curvature:.6g}{sphere}"
            )
    if found.trap is not None:
        inside = f"‖g‖ ≤ {found.trap.radius:.6g}"
        parts.append(
            f"kept in {inside} from ‖g‖ < {found.trap.entered_from:.6g}"
            if np.isfinite(found.trap.entered_from)
            else f"kept in {inside} from everywhere"
        )
        if found.trap.exponent is not None:
            parts.append(f"Lyapunov exponent {found.trap.exponent:.6g}")
    if found.sliding is not None:
        how = "arrives in finite time" if found.sliding.finite_time else "approaches for ever"
        if found.sliding.radius is None:
            parts.append(f"{how}, from every direction tried")
        else:
            whose = "" if found.sliding.exact else " (of the quadratic part)"
            parts.append(f"{how} from ‖g‖ < {found.sliding.radius:.6g}{whose}")
        if found.sliding.measured is not None:
            parts.append(f"measured {found.sliding.measured:.6g}")
    return parts
