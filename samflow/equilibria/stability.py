"""What a fixed point is: linearisation, and the places where there is none."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samflow import _checks
from samflow._status import Kind, Status
from samflow._types import ArrayLike
from samflow.equilibria._units import ascent_length, bending_length, units
from samflow.equilibria.attraction import measured_attraction_radius
from samflow.equilibria.higher import HigherOrder
from samflow.equilibria.nonsmooth import cycles_beside, what_holds
from samflow.equilibria.nonsmooth.flows import brief_radius, practical_flow
from samflow.equilibria.nonsmooth.records import Nonsmooth
from samflow.orbits._iterate import start_states
from samflow.proofs.certificates import CertifiedPoint
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem, Flow, Map
from samflow.systems.angles import shortest
from samflow.systems.base import check_system

_SINGULAR_DISTANCE = 1e-9
"""A point this near to a singular point of the rule, relative to ‖w‖ and the rule's own length, is
taken to be at it: floating point does not resolve a critical point better when its Hessian's
condition is 1e6."""
_SINGULAR_GRADIENT = 1e-6
"""A rule whose distance from a singularity is more than this part of ‖H‖ times that length is not
at it."""
_ROUNDED_ZERO = 1e-13
"""On a quadratic, which has no length, this near to a fixed point counts as at it."""
_UNCERTAIN = 10.0
"""An eigenvalue may be off by so many times the change of the Jacobian over a Newton step."""
_ORDER = 9
"""Orders looked at where that is cheap."""
_RATIONAL = 1e-5
"""A rational fixed point this near, relative to the size, is the one that is meant: a degenerate
one is found to a root of the rounding error."""
_OF_MAPS, _OF_FLOWS = ("sam cycle", "sam saddle", "sam ball"), ("sam flow", "sliding")
"""Formulas of normalised rules at a point without a Jacobian."""
EIGENVALUE_ERROR = 1e-13
"""Rounding error of an eigenvalue, relative to the norm of its matrix."""


class Stability(AbstractRecord):
    """The linearisation of a system at one point.

    Attributes:
        state: the point, shape (state,).
        kind: attracting, repelling, saddle or nonhyperbolic by the Jacobian; where there is none,
            by `local`: sliding, cycle, rotation, chaotic trap or trap, and saddle for a flow of
            which a solution is proved to leave; undefined where that is not known either or the
            point is no fixed point (`status` says which).
        status: located, not differentiable, not a fixed point, or not finite.
        spectrum: multipliers of a map, eigenvalues of a flow's Jacobian, largest first by
            modulus (map) or real part (flow); NaN where there is no Jacobian.
        margin: 1 − max |multiplier| for a map, −max Re(eigenvalue) for a flow: positive exactly
            where attracting; NaN where there is no Jacobian.
        distance: estimate ‖(DF − I)⁻¹(F(z) − z)‖ of how far the true fixed point is; a velocity
            counts as the length lr·v.
        curvature: eigenvalues of the loss's Hessian, ascending; None for a system without loss.
        discrete: whether the system is a map.
        local: what holds the system at a critical point without a Jacobian: of a map the cycles
            on the loss itself (`local.on_loss`), and 2-cycles and a trap on its quadratic part; of
            a flow, on the loss itself, sliding with its radius of attraction. Where there is a
            Jacobian None, unless the rule has an ascent of a length, as practical SAM has, the
            point does not attract, and cycles beside it do; or of a flow with eps the radius that
            is proved to be kept.
        higher: at a nonhyperbolic point what terms of higher order decide, in exact arithmetic for
            GD and USAM on a formula at a rational point; None elsewhere, and where nothing was
            tried.

    """

    basis: ClassVar[Names] = ("effective curvature", "multipliers", "verdicts")
    rows: ClassVar[Names] = ()
    printed: ClassVar[Names] = ("state", "kind", "status", "spectrum", "margin")
    state: Float[Array, " state"] = eqx.field(metadata=axes("component"))
    kind: Kind = eqx.field(static=True)
    status: Status = eqx.field(static=True)
    spectrum: np.ndarray = eqx.field(metadata=axes("mode"))
    margin: float
    distance: float = eqx.field(metadata=axes(units="weight"))
    curvature: Float[Array, " dim"] | None = eqx.field(
        metadata=axes("eigenvalue", units="loss/weight^2")
    )
    discrete: bool = eqx.field(static=True)
    local: Nonsmooth | None = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    higher: HigherOrder | None = eqx.field(static=True, default=None)

    @property
    def multipliers(self) -> np.ndarray:
        """The multipliers of a map.

        Raises:
            ArgumentError: for a flow, which has eigenvalues.

        """
        if not self.discrete:
            raise _checks.ArgumentError("A flow has no multipliers; ask for `eigenvalues`.")
        return self.spectrum

    @property
    def eigenvalues(self) -> np.ndarray:
        """The eigenvalues of a flow.

        Raises:
            ArgumentError: for a map, which has multipliers.

        """
        if self.discrete:
            raise _checks.ArgumentError(
                "A map has multipliers, no eigenvalues; ask for `multipliers`."
            )
        return self.spectrum

    @property
    def _known_without_jacobian(self) -> bool:
        local = self.local
        if local is None:
            return False
        quadratic = local.two_cycle is not None or local.trap is not None
        lost = local.on_loss is not None and quadratic
        return self.kind is not Kind.undefined or local.sliding is not None or lost

    def formulas_used(self) -> Names:
        """Return the formulas of the linearisation, or of what holds where there is none."""
        if self.local is not None:
            return _OF_MAPS if self.discrete else _OF_FLOWS
        return (*self.basis, *(() if self.higher is None else ("higher order",)))

    def __str__(self) -> str:
        """Return one line with the kind, the spectrum and, where there is none, the reason."""
        if self.status is Status.not_differentiable and self._known_without_jacobian:
            whose = "" if self.local is None or self.kind is Kind.undefined else self.local.whose
            return f"{self.kind}{whose}: no Jacobian; {self.local}"
        if self.kind is Kind.undefined:
            return f"{self.kind}: {self.status.message}"
        name = "multipliers" if self.discrete else "eigenvalues"
        shown = ", ".join(_shown(value) for value in self.spectrum)
        beside = "" if self.local is None else f"; {self.local}"
        beside += "" if self.higher is None else f"; {self.higher}"
        return f"{self.kind}, {name} {shown}, margin {self.margin + 0.0:.6g}{beside}"


@_checks.untraced('"classify", w0=w')
def classify(
    system: AbstractSystem,
    w: ArrayLike,
    *,
    tol: float = 1e-6,
    hyperbolic_tol: float = 1e-9,
    scale: float | None = None,
    measure: bool | None = None,
    order: int | None = None,
) -> Stability:
    """Say what the fixed point `w` is for `system`, by its Jacobian where one exists.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> at_saddle = classify(sf.Map(sf.losses.beale(), sf.USAM(rho=0.05), lr=0.01), [0.0, 1.0])
    >>> print(at_saddle)
    attracting, multipliers 0.892469, 0.337469, margin 0.107531

    Args:
        system: a map or a flow.
        w: weights (dim,), at rest; or a full state.
        tol: how near to a fixed point `w` must be, relative to ‖w‖ + `scale`.
        hyperbolic_tol: a multiplier with | |μ| − 1 | ≤ hyperbolic_tol, and rounding beside, counts
            as neutral, and so does an eigenvalue with |Re| ≤ hyperbolic_tol · ‖DF‖: the point is
            nonhyperbolic.
        scale: a length, as the size of the box in which `w` was found. None: rho where that is a
            length, and else, if ‖w‖ alone does not decide, how far one must go from `w` for the
            Jacobian to change by half of itself. No quadratic has one; there 1e-13 is near enough.
        measure: where a flow slides, also measure its radius of attraction on the loss itself
            (`measured_attraction_radius`): seconds at first, then less than one. Of a flow with
            eps, prove the radius within which ‖g‖ falls for ever: seconds. None: measure nothing;
            prove a radius, in half a second and perhaps a smaller one, at an attracting point of a
            formula in up to three dimensions.
        order: the last order of terms to look at where the point is nonhyperbolic, 2 or more. None:
            9 for GD and USAM on a formula, and none for other systems, for which every order is
            compiled: seconds.

    Returns:
        A `Stability`. At a critical point of normalised SAM there is no Jacobian: the status is
        `not differentiable`, whatever a guarded program would give, and kind and `local` say
        what there is instead. Cycles of a map are located on the loss itself, from orbits beside
        the point: others may exist. All else of a map is exact for the quadratic part of the loss,
        on which nothing but the ratio of lengths depends on rho; for the loss it holds for small
        rho. Of a flow it is said of the loss itself: proved where the loss is a formula
        (`certify_sliding`), else found by minimisation over the sphere; `local.sliding` says which.
        At a nonhyperbolic point `higher` has the verdict of higher order, or says what is missing.

    Raises:
        ArgumentError: for a wrong shape or numbers that are not finite, or in single precision.

    """
    _checks.double_precision("`classify`")
    check_system(system)
    tol = _checks.positive("tol", tol)
    hyperbolic_tol = _checks.nonnegative("hyperbolic_tol", hyperbolic_tol)
    scale = None if scale is None else _checks.positive("scale", scale)
    order = None if order is None else _checks.count("order", order, minimum=2)
    z = start_states(system, w, "w")
    if z.ndim != 1:
        raise _checks.ArgumentError(f"Argument `w` must be one point, but has shape {z.shape}.")
    near = {"tol": tol, "hyperbolic_tol": hyperbolic_tol, "scale": scale}
    where = provenance(system.describe(), **near)
    discrete = isinstance(system, AbstractMap)
    linearised = (np.asarray(a) for a in _linearise(system, z))
    motion, jacobian, hessian, gradient, value, singularity = linearised
    defined = bool(np.isfinite(value))  # beyond the edge of log(x), its gradient 1/x still is
    curvature = None if hessian.size == 0 else jnp.asarray(_eigvalsh(hessian))
    unknown = np.full(z.shape, np.nan + 0j)

    def undefined(
        status: Status, distance: float = np.nan, local: Nonsmooth | None = None
    ) -> Stability:
        kind = Kind.undefined if local is None else local.kind
        found = (z, kind, status, unknown, float("nan"), distance, curvature)
        return Stability(*found, discrete, local, where)

    size = float(jnp.linalg.norm(system.position(z)))
    size += ascent_length(system, system.position(z)) if scale is None else scale
    if gradient.size and _is_singular(hessian, gradient, float(singularity), size):
        assert isinstance(system, (Map, Flow))
        local = what_holds(system, system.position(z), hessian, _jacobian_of(system))
        if measure and local.kind is Kind.sliding and local.sliding is not None:
            assert isinstance(system, Flow)
            found = measured_attraction_radius(system, system.position(z)).radius
            local = local._replace(sliding=local.sliding._replace(measured=found))
        return undefined(Status.not_differentiable, _newton_step(hessian, gradient)[1], local)
    if not (defined and np.isfinite(motion).all() and np.isfinite(jacobian).all()):
        return undefined(Status.not_finite)
    unit = units(system)
    jacobian, motion = jacobian * unit / unit[:, None], motion / unit
    shifted = jacobian - np.eye(len(z)) if discrete else jacobian
    step, distance = _newton_step(shifted, motion)
    if not (distance <= tol * size or (scale is None and _is_near(system, z, distance, tol))):
        return undefined(Status.not_a_fixed_point, distance)
    spectrum = np.linalg.eigvals(jacobian).astype(complex)
    growth = np.abs(spectrum) - 1 if discrete else np.real(spectrum)
    ranks = np.argsort(-growth, kind="stable")
    norm = float(np.linalg.norm(jacobian, 2))
    neutral = hyperbolic_tol + EIGENVALUE_ERROR * norm if discrete else hyperbolic_tol * norm
    # At a degenerate point that is known to a few digits the Jacobian is small, but not 0.
    beside = np.asarray(_linearise(system, z - step * unit)[1]) * unit / unit[:, None]
    change = float(np.linalg.norm(beside - jacobian))
    neutral += _UNCERTAIN * change if np.isfinite(change) else np.inf
    kind = kind_of(growth, neutral)
    margin = -float(growth.max())
    local = None
    if kind in (Kind.repelling, Kind.saddle) and isinstance(system, Map):
        position = system.position(z)
        # Not for a rule whose ascent has no length, nor at a hallucinated point.
        if ascent_length(system, position):
            slope = np.asarray(system.loss.gradient(position))
            critical = _newton_step(hessian, slope)[1] <= tol * size
            beside = (system, position, hessian, _jacobian_of(system), kind)
            local = cycles_beside(*beside) if critical else None
    brief = measure is None
    if brief and kind is Kind.attracting and isinstance(system, Flow):
        slope = np.asarray(system.loss.gradient(system.position(z)))
        critical = _newton_step(hessian, slope)[1] <= tol * size
        measure = critical and brief_radius(system)
    if measure and isinstance(system, Flow):
        kept = practical_flow(system, np.asarray(system.position(z)), brief=brief)
        local = None if kept is None else Nonsmooth(kind, sliding=kept, exact=True)
    found = (z, kind, Status.located, spectrum[ranks], margin, distance, curvature)
    higher = None
    if kind is Kind.nonhyperbolic:
        from samflow.equilibria.degenerate import higher_order  # seldom needed

        tried = {"order": order or _ORDER, "functions": order is not None}
        higher = higher_order(system, np.asarray(z), reach=_RATIONAL * size, **tried)
    return Stability(*found, discrete, local, where, higher)


def by_proof(found: Stability, proof: CertifiedPoint) -> Stability:
    """Return the classification with the kind that is proved, where floating point had another.

    Multipliers, or eigenvalues, and the margin are then the middles of their enclosures. At a
    critical point of SAM nothing is proved of what there is instead of a Jacobian.
    """
    if proof.kind in (None, Kind.undefined, found.kind):
        return found
    middles = [0.5 * (low + high) for value in proof.eigenvalues for low, high in value]
    spectrum = np.array(middles[::2]) + 1j * np.array(middles[1::2])
    growth = np.abs(spectrum) - 1 if found.discrete else np.real(spectrum)
    return replace(
        found,
        kind=proof.kind,
        status=Status.located,
        spectrum=spectrum[np.argsort(-growth, kind="stable")],
        margin=-float(growth.max()),
    )


def _is_singular(
    hessian: np.ndarray, gradient: np.ndarray, singularity: float, size: float
) -> bool:
    """Say whether a point is, to rounding, a critical point at which the rule has no Jacobian."""
    if not _newton_step(hessian, gradient)[1] <= _SINGULAR_DISTANCE * size:
        return False
    # m-SAM can be smooth at a critical point of the mean: its singularities are the shards' own.
    return singularity <= _SINGULAR_GRADIENT * np.abs(hessian).max() * size


def _is_near(system: AbstractSystem, z: Array, distance: float, tol: float) -> bool:
    """Say whether a fixed point at this distance is near by the system's own length."""
    if not np.isfinite(distance):
        return False
    assert isinstance(system, (AbstractMap, AbstractFlow))
    length = bending_length(system, z)
    return distance <= (tol * length if length > 0 else _ROUNDED_ZERO)


def kind_of(growth: np.ndarray, neutral: float) -> Kind:
    """Return the kind of a fixed point from its growth rates: |μ| − 1, or Re of eigenvalues."""
    if not np.isfinite(growth).all():
        return Kind.undefined
    if (np.abs(growth) <= neutral).any():
        return Kind.nonhyperbolic
    if (growth < 0).all():
        return Kind.attracting
    return Kind.repelling if (growth > 0).all() else Kind.saddle


def _jacobian_of(system: AbstractSystem) -> Callable[[np.ndarray], np.ndarray]:
    """Return the Jacobian as a function of the state, by the program that is compiled already."""
    return lambda z: np.asarray(_linearise(system, jnp.asarray(z))[1])


@eqx.filter_jit
def _linearise(system: AbstractSystem, z: Array) -> tuple[Array, ...]:
    """Return the motion, its Jacobian, and of the loss Hessian, for SAM gradient, and value.

    Last how far the rule is from where it is not smooth.
    """
    if isinstance(system, AbstractMap):
        motion = shortest(system, system.step(z) - z)
    else:
        assert isinstance(system, AbstractFlow)
        motion = system.velocity(z)
    jacobian = system.jacobian(z)
    loss: Any = getattr(system, "loss", None)
    nothing = jnp.zeros((0, 0))
    hessian = nothing if loss is None else loss.hessian(system.position(z))
    # Only a rule that is singular somewhere needs the distance to a critical point.
    singularity = system.singularity(z)
    smooth = jnp.isinf(singularity)
    gradient = nothing if loss is None else loss.gradient(system.position(z))
    gradient = jnp.where(smooth, jnp.nan, gradient)
    value = jnp.zeros(()) if loss is None else loss(system.position(z))
    return motion, jacobian, hessian, gradient, value, singularity


def _newton_step(matrix: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the least-squares step −δ to the zero of an equation, and how far that is.

    What the step leaves over, where the matrix is singular, counts in units of ‖matrix‖.
    """
    if not (np.isfinite(matrix).all() and np.isfinite(residual).all()):
        return np.zeros_like(residual), float("inf")
    step = np.linalg.lstsq(matrix, residual, rcond=1e-12)[0]
    left = np.linalg.norm(residual - matrix @ step)
    scale = np.linalg.norm(matrix, 2)
    rest = 0.0 if left == 0 else left / scale if scale > 0 else float("inf")
    return step, float(np.linalg.norm(step) + rest)


def _eigvalsh(hessian: np.ndarray) -> np.ndarray:
    finite = np.isfinite(hessian).all()
    return np.linalg.eigvalsh(hessian) if finite else np.full(len(hessian), np.nan)


def _shown(value: complex) -> str:
    if value.imag == 0:
        return f"{value.real:.6g}"
    return f"{value.real:.6g}{value.imag:+.6g}i"
