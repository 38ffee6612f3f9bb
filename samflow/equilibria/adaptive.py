"""Where a map with a base optimiser rests, and what its linearisation there is.

At rest the moments are those of the direction at the weights, and the powers of the bias
correction are 0. At a critical point both moments vanish: P is √eps_root + eps, and the step is
differentiable there, by m alone, though not in a neighbourhood. So everything follows from the
derivative D of the direction.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array

from samflow import _checks, theory
from samflow._status import Kind, Status
from samflow._types import ArrayLike
from samflow.equilibria.nearness import (
    EIGENVALUE_ERROR,
    eigvalsh,
    is_near,
    is_singular,
    kind_of,
    newton_step,
    spectrum_and_shifts,
)
from samflow.equilibria.stability_record import Stability
from samflow.records import Provenance
from samflow.systems import AbstractMoments, AdaptiveMap, Map
from samflow.theory.adaptive import decay, preconditioner
from samflow.theory.symbols import beta, lr
from samflow.theory.windows import Endpoint, Event, Window

_NEWTON_STEPS = 20


def classify_adaptive(
    system: AdaptiveMap,
    w: ArrayLike,
    where: Provenance,
    *,
    tol: float,
    hyperbolic_tol: float,
    scale: float | None,
) -> Stability:
    """Return what `classify` says of the weights `w`, or of those of a full state."""
    w = _weights(system, w)
    made = tuple(map(np.asarray, _facts(system, w)))
    balance, slope, gradient, hessian, value, singularity = made
    curvature = eigvalsh(hessian)
    z = system.rest(w)

    def undefined(status: Status, distance: float = np.nan) -> Stability:
        unknown = np.full(z.shape, np.nan + 0j)
        found = (z, Kind.undefined, status, unknown, float("nan"), distance)
        return Stability(*found, jnp.asarray(curvature), True, None, where)

    size = float(jnp.linalg.norm(w))
    size += system.rule.ascent_length(w) if scale is None else scale
    base = system.base
    if is_singular(hessian, gradient, float(singularity), size):
        return undefined(Status.not_differentiable, newton_step(hessian, gradient)[1])
    if not (np.isfinite(value) and np.isfinite(balance).all() and np.isfinite(slope).all()):
        return undefined(Status.not_finite)
    step, distance = newton_step(slope, balance)
    near = distance <= tol * size
    if not (near or (scale is None and is_near(system.plain(), w, distance, tol))):
        return undefined(Status.not_a_fixed_point, distance)
    if not isinstance(base, AbstractMoments) or (not base.decays and _size_at_rest(base) == 0):
        return undefined(Status.not_differentiable, distance)
    w, step = _settled(system, w, step, distance)
    z, curvature = system.rest(w), eigvalsh(np.asarray(system.loss.hessian(w)))
    jacobian = _jacobian(system, w)
    spectrum, shifts = spectrum_and_shifts(jacobian, _jacobian(system, w - jnp.asarray(step)))
    growth = np.abs(spectrum) - 1
    neutral = hyperbolic_tol + EIGENVALUE_ERROR * float(np.linalg.norm(jacobian, 2)) + shifts
    order = np.argsort(-growth, kind="stable")
    found = (z, kind_of(growth, neutral), Status.located, spectrum[order], -float(growth.max()))
    return Stability(*found, distance, jnp.asarray(curvature), True, None, where)


def _settled(
    system: AdaptiveMap, w: Array, step: np.ndarray, distance: float
) -> tuple[Array, np.ndarray]:
    """Return the fixed point that Newton's method reaches from weights near it, and its next step.

    The multipliers depend on the direction in units of eps: with decoupled decay and eps = 1e-8
    they differ by a tenth over 1e-9 of the weights, which `tol` does not resolve. Only steps that
    shrink are taken.
    """
    for _ in range(_NEWTON_STEPS):
        tried = w - jnp.asarray(step)
        balance, slope = (np.asarray(a) for a in _facts(system, tried)[:2])
        ahead, left = newton_step(slope, balance)
        if not left < distance:
            break
        w, step, distance = tried, ahead, left
    return w, step


def alike_at_rest(system: AdaptiveMap) -> Map | None:
    """Return the map with heavy ball that has the same linearisation in (w, m) at rest.

    Its step size is (1 − beta1) lr/P. None for Lion, and where P is 0: there is none.
    """
    base = system.base
    if not isinstance(base, AbstractMoments) or _size_at_rest(base) == 0:
        return None
    first = 0.0 if base.beta1 is None else float(base.beta1)
    step = (1 - first) * float(system.lr) / _size_at_rest(base)
    return Map(system.loss, system.rule, lr=step, momentum=first)


def texts_at_rest(family: str) -> list[tuple[str, str, str]]:
    """Return name, text and LaTeX of what is asked of one Hessian eigenvalue."""
    polynomial = theory.adaptive_polynomial().subs(decay, 0)
    limit = theory.adaptive_threshold().subs(decay, 0)
    limit = limit.factor() * preconditioner / lr
    made = [("effective curvature", "", theory.effective_curvature(family), "")]
    made += [("multipliers", "β₂, and the zeros of ", polynomial, " with x = η·U/P")]
    made += [("edge at the critical point, where P = √eps_root + eps", "U < ", limit, "")]
    made += [
        (
            "quasi-static edge, of U = P⁻¹D at a frozen P",
            "U < ",
            limit / preconditioner,
            "",
        )
    ]
    return [
        (name, before + theory.text(form) + after, before + theory.latex(form) + after)
        for name, before, form, after in made
    ]


def first_rate_window(system: AdaptiveMap, curvature: tuple[float, ...]) -> Window:
    """Return the beta1 for which a critical point attracts, all else as it is."""
    base: Any = system.base
    low = Endpoint(sympy.Integer(0), Event.none, closed=True)
    high, neutral = Endpoint(sympy.Integer(1), Event.none), 0
    form = theory.effective_curvature(str(system.rule.family))
    for lam in curvature:
        own = theory.evaluate(form, lam=lam, rho=system.rule.effective_rho())
        x = float(system.lr) * float(own) / _size_at_rest(base)
        end = (
            (sympy.Float((x - 2) / (x + 2)), Event.flip)
            if x > 0
            else (sympy.Integer(0), Event.plus_one)
        )
        if x == 0:
            neutral += 1
        elif x < 0:
            high = Endpoint(*end, eigenvalue=sympy.Float(lam))
        elif end[0] > low.value:
            low = Endpoint(*end, eigenvalue=sympy.Float(lam))
    return Window(beta, low, high, neutral)


def _weights(system: AdaptiveMap, w: ArrayLike) -> Array:
    full = np.shape(w) == (system.state_dim,)
    made = _checks.point("w", w, system.state_dim if full else system.dim)
    made = made[: system.dim]
    _checks.inside("w", made, getattr(system.loss, "domain", None))
    return made


def _size_at_rest(base: AbstractMoments) -> float:
    return float(base.rest_preconditioner)


@eqx.filter_jit
def _facts(system: AdaptiveMap, w: Array) -> tuple[Array, ...]:
    """Return the balance and its derivative, gradient, Hessian, value, and the singularity."""
    loss, memory = system.loss, system.rule.init(system.loss, w)
    singularity = system.rule.singularity(loss, w, memory)
    gradient = jnp.where(jnp.isinf(singularity), jnp.nan, loss.gradient(w))
    slope = jax.jacfwd(system.balance)(w)
    return system.balance(w), slope, gradient, loss.hessian(w), loss(w), singularity


def _jacobian(system: AdaptiveMap, w: Array) -> np.ndarray:
    """Return the Jacobian at rest in (w, m lr/P, ±√v lr/P, powers), from D, d and P.

    The root of v is smooth where v is not. Without decoupled decay d is 0: numbers of rounding in
    its place would be compared with eps. Of a rule with a memory that of the map, as it is.
    """
    if system.rule.num_memories:
        return np.asarray(_differentiated(system, system.rest(w)))
    base: Any = system.base
    step, (first, second) = float(system.lr), (base.beta1, base.beta2)
    slope, d = (np.asarray(a) for a in _slope(system, w))
    d = d if base.decays else np.zeros_like(d)
    eps, eps_root = float(base.eps), float(base.eps_root)
    root = np.sqrt(d**2 + eps_root)
    kept, shrink = 0.0 if first is None else float(first), step * float(base.weight_decay or 0.0)
    forget = float(second)
    # The coordinate is √v times the sign of d; −∂u/∂√v = d√v/(root·P²) with √v = |d|.
    back = np.divide(d**2, root, out=np.zeros_like(d), where=root > 0) / (root + eps)
    eye, rise = np.eye(len(d)), (step / (root + eps))[:, None] * slope
    by_mean = np.hstack([(1 - kept) * rise, kept * eye, 0 * eye])
    by_root = np.hstack([(1 - forget) * rise, 0 * eye, forget * eye])
    moved = np.hstack([(1 - shrink) * eye, 0 * eye, 0 * eye])
    made = np.vstack([moved - by_mean + back[:, None] * by_root, by_mean, by_root])
    if first is None:
        left = np.r_[: len(d), 2 * len(d) : 3 * len(d)]
        made = made[np.ix_(left, left)]
    powers = [float(rate) for rate in (first, second) if rate is not None]
    powers = powers if base.num_powers else []
    size = len(made) + len(powers)
    whole = np.zeros((size, size))
    whole[: len(made), : len(made)] = made
    whole[len(made) :, len(made) :] = np.diag(powers)
    return whole


@eqx.filter_jit
def _slope(system: AdaptiveMap, w: Array) -> tuple[Array, Array]:
    """Return the derivative of the direction, and the direction."""
    memory = system.rule.init(system.loss, w)

    def direction(w: Array) -> tuple[Array, Array]:
        d = system.direction(w, memory)[0]
        return d, d

    return jax.jacfwd(direction, has_aux=True)(w)


@eqx.filter_jit
def _differentiated(system: AdaptiveMap, z: Array) -> Array:
    return system.jacobian(z)
