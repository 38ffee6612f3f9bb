"""What lies across a continuum of fixed points: the spectrum without its tangential part."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samflow import theory
from samflow._status import Kind
from samflow.equilibria._units import units
from samflow.equilibria.nearness import EIGENVALUE_ERROR, kind_of
from samflow.proofs.balls import exact
from samflow.proofs.enclosures import Dynamics
from samflow.proofs.windows import lr_window, rho_window
from samflow.rules import Ascent, is_normalised
from samflow.systems import AbstractMap, AbstractSystem, Flow, Map
from samflow.systems.hyperparameters import theory_settings
from samflow.theory.windows import Event, Window

_NEUTRAL = 1e-9
"""A multiplier this near to the unit circle counts as on it; an eigenvalue relative to the norm."""
_CRITICAL = 1e-5
"""Gradients count as 0 up to this part of what the Hessian makes over the size of a continuum: a
degenerate zero is found to a root of the rounding error. At hallucinated points it is about 1."""
_BATCH = 32


class Across(NamedTuple):
    """What lies across a continuum at one of its points.

    Attributes:
        curvature: eigenvalues of the Hessian there, ascending; NaN without a loss.
        spectrum: multipliers or eigenvalues, largest first; NaN without a Jacobian.
        kind: by these.
        critical: whether the loss has no gradient there; where it has one, the fixed point is
            hallucinated, and what holds at critical points does not.

    """

    curvature: np.ndarray
    spectrum: np.ndarray
    kind: Kind
    critical: bool


_UNKNOWN = (float("nan"), float("nan"))


def across(
    system: AbstractSystem, points: np.ndarray, tangents: np.ndarray, *, neutral: float = _NEUTRAL
) -> list[Across]:
    """Return what lies across a continuum at each of its points.

    With an orthonormal basis Q of the complement of the tangent space T, QᵀDF Q has the spectrum
    of DF without the d multipliers of T, which DF leaves as it is.

    Args:
        system: a map or a flow.
        points: shape (k, n).
        tangents: orthonormal, shape (k, d, n).
        neutral: how near to the unit circle a multiplier counts as on it; of a flow relative.

    """
    loss: Any = getattr(system, "loss", None)
    count, dimension, n = tangents.shape
    normals = np.array([_complement(frame, n) for frame in tangents])  # (k, n, n − d)
    curvature = np.full((count, n - dimension), np.nan)
    critical = False
    if loss is not None:
        hessians = hessians_at(loss, points)
        reduced = np.einsum("kia,kij,kjb->kab", normals, hessians, normals)
        finite = np.isfinite(reduced).all(axis=(1, 2))
        curvature[finite] = np.linalg.eigvalsh(reduced[finite])
        critical = _are_critical(loss, points, hessians)
    if critical and isinstance(system, (Map, Flow)) and is_normalised(system.rule):
        nothing = np.full(system.state_dim - dimension, np.nan + 0j)
        return [Across(c, nothing, _without_jacobian(system, c), critical) for c in curvature]
    if critical and _in_closed_form(system):
        spectra = [_closed_form(system, c) for c in curvature]
    else:
        jacobians = _batched(_jacobians, system, points)
        spectra = [_reduced(system, a, q) for a, q in zip(jacobians, tangents, strict=True)]
    return [
        Across(c, s, _kind(system, s, neutral), critical)
        for c, s in zip(curvature, spectra, strict=True)
    ]


def _are_critical(loss: Any, points: np.ndarray, hessians: np.ndarray) -> bool:
    """Say whether all points of a continuum are critical."""
    size = max(float(np.ptp(points, axis=0).max()), float(np.abs(points).max())) or np.inf
    gradients = np.linalg.norm(_batched(_gradients, loss, points), axis=1)
    return not (gradients > _CRITICAL * size * np.linalg.norm(hessians, axis=(1, 2)).max()).any()


def hessians_at(loss: Any, points: np.ndarray) -> np.ndarray:
    """Return the Hessian at points (k, n), shape (k, n, n)."""
    return _batched(_hessians, loss, points)


def event_between(system: AbstractSystem, one: Across, other: Across) -> Event:
    """Return what the spectrum does between two points of different kinds."""
    if not np.isfinite(one.spectrum).all() or not np.isfinite(other.spectrum).all():
        return Event.unknown
    ends = [one.spectrum, other.spectrum]
    if not isinstance(system, AbstractMap):
        critical = min(np.concatenate(ends), key=lambda z: abs(np.real(z)))
        return Event.plus_one if abs(np.imag(critical)) <= abs(np.real(critical)) else Event.unknown
    critical = min(np.concatenate(ends), key=lambda z: abs(abs(z) - 1))
    if abs(np.imag(critical)) > 1e-6:
        return Event.neimark_sacker
    return Event.plus_one if np.real(critical) > 0 else Event.flip


def _in_closed_form(system: AbstractSystem) -> bool:
    """Say whether the spectrum at critical points follows from the Hessian's, as USAM's does."""
    if not isinstance(system, (Map, Flow)) or system.rule.num_memories:
        return False
    return system.rule.has_closed_form and getattr(system, "weight_decay", None) is None


def _closed_form(system: Any, curvature: np.ndarray) -> np.ndarray:
    """Return multipliers (or eigenvalues) for λ across: those of U = λ(1 + ρλ)."""
    drive = curvature * (1 + system.rule.effective_rho() * curvature)
    if isinstance(system, Flow):
        return _sorted(-drive + 0j, discrete=False)
    step = 1 - float(system.lr) * drive
    if system.momentum is None:
        return _sorted(step + 0j, discrete=True)
    beta = float(system.momentum)
    found = []
    for x in step:
        trace, determinant = ((1 + beta) * x, beta * x) if system.nesterov else (beta + x, beta)
        found += np.roots([1.0, -trace, determinant]).tolist()
    return _sorted(np.array(found) + 0j, discrete=True)


def _reduced(system: AbstractSystem, jacobian: np.ndarray, tangents: np.ndarray) -> np.ndarray:
    """Return the spectrum of the Jacobian on the quotient by the tangent space."""
    if not np.isfinite(jacobian).all():
        return np.full(len(jacobian) - len(tangents), np.nan + 0j)
    unit = units(system)
    jacobian = jacobian * unit / unit[:, None]
    lifted = np.zeros((len(tangents), len(jacobian)))
    lifted[:, : tangents.shape[1]] = tangents
    normal = _complement(lifted, len(jacobian))
    return _sorted(
        np.linalg.eigvals(normal.T @ jacobian @ normal).astype(complex),
        discrete=isinstance(system, AbstractMap),
    )


def _kind(system: AbstractSystem, spectrum: np.ndarray, neutral: float) -> Kind:
    discrete = isinstance(system, AbstractMap)
    if not len(spectrum):
        return Kind.nonhyperbolic
    size = float(np.abs(spectrum).max())
    growth = np.abs(spectrum) - 1 if discrete else np.real(spectrum)
    rounding = EIGENVALUE_ERROR if neutral else 0.0
    return kind_of(growth, neutral + rounding * size if discrete else (neutral + rounding) * size)


def _without_jacobian(system: Map | Flow, curvature: np.ndarray) -> Kind:
    """Return what holds SAM across a continuum, by the quadratic part of the loss; or undefined.

    Of its map the 2-cycle along the largest eigenvalue across, of its flow sliding onto minima.
    """
    if system.rule.ascent is not Ascent.unit or not np.isfinite(curvature).all():
        return Kind.undefined
    if (np.abs(curvature) <= _NEUTRAL * np.abs(curvature).max(initial=0.0)).any():
        return Kind.undefined
    if isinstance(system, Flow):
        return Kind.sliding if (curvature > 0).all() else Kind.undefined
    settings = theory_settings(system)
    step = {name: settings[name] for name in ("lr", "momentum", "scheme")}
    return Kind.cycle if theory.stable_cycles(curvature.tolist(), **step) else Kind.undefined


def windows(system: AbstractSystem, seen: Across) -> tuple[tuple[float, float], ...]:
    """Return the windows in lr and rho: of attraction across, or of what holds SAM by a cycle.

    NaN where they are not known, as at hallucinated points.
    """
    curvature = seen.curvature
    if not seen.critical:
        return _UNKNOWN, _UNKNOWN
    if not isinstance(system, (Map, Flow)) or not np.isfinite(curvature).all():
        return _UNKNOWN, _UNKNOWN
    if getattr(system, "weight_decay", None) is not None or not len(curvature):
        return _UNKNOWN, _UNKNOWN
    dynamics = Dynamics()
    if isinstance(system, Map):
        momentum = None if system.momentum is None else exact(system.momentum)
        dynamics = Dynamics(exact(system.lr), momentum, system.nesterov)
    lams = [exact(float(value)) for value in curvature]
    if system.rule.ascent is Ascent.unit and isinstance(system, Map):
        # A cycle along the largest eigenvalue at minima, for every rho, up to GD's own edge.
        return (
            _pair(lr_window(lams, exact(0), dynamics)) if (curvature > 0).all() else _UNKNOWN
        ), _UNKNOWN
    if not system.rule.ascent.is_linear:
        return _UNKNOWN, _UNKNOWN
    in_lr = in_rho = _UNKNOWN
    if dynamics.lr is not None:
        in_lr = _pair(lr_window(lams, exact(system.rule.effective_rho()), dynamics))
    if system.rule.ascent is Ascent.gradient:
        in_rho = _pair(rho_window(lams, dynamics))
    return in_lr, in_rho


def _pair(window: Window) -> tuple[float, float]:
    """Return the ends of a window; (0, 0) of an empty one, NaN where it is not decided."""
    if not window.decided:
        return _UNKNOWN
    return (0.0, 0.0) if window.is_empty else (float(window.low.value), float(window.high.value))


def _complement(frame: np.ndarray, n: int) -> np.ndarray:
    """Return an orthonormal basis of what is orthogonal to the rows of `frame`, as columns."""
    return np.linalg.svd(frame, full_matrices=True)[2][len(frame) :].T.reshape(n, n - len(frame))


def _sorted(values: np.ndarray, *, discrete: bool) -> np.ndarray:
    growth = np.abs(values) if discrete else np.real(values)
    return values[np.argsort(-growth, kind="stable")]


def _batched(program: Any, owner: Any, points: np.ndarray) -> np.ndarray:
    """Run a program on points, always as many at once, so that it is compiled once."""
    filled = np.concatenate([points, np.repeat(points[-1:], -len(points) % _BATCH, axis=0)])
    parts = filled.reshape(-1, _BATCH, points.shape[1])
    found = [np.asarray(program(owner, jnp.asarray(part))) for part in parts]
    return np.concatenate(found)[: len(points)]


@eqx.filter_jit
def _hessians(loss: Any, points: Array) -> Array:
    return jax.vmap(loss.hessian)(points)


@eqx.filter_jit
def _gradients(loss: Any, points: Array) -> Array:
    return jax.vmap(loss.gradient)(points)


@eqx.filter_jit
def _jacobians(system: AbstractSystem, points: Array) -> Array:
    return jax.vmap(lambda w: system.jacobian(system.lift(w)))(points)  # pyright: ignore
