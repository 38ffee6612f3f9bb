"""Where a system stands still: all of it where that can be proved, by many starts otherwise."""

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from samflow import _checks
from samflow._status import Kind, Status, Verdict
from samflow._types import Box
from samflow.equilibria.newton import ERROR_IN_STEPS, distinct, unit_points
from samflow.equilibria.stability import Stability, classify
from samflow.proofs.certificates import Certificate
from samflow.proofs.certify import COVERS, certify_fixed_points
from samflow.records import AbstractRecord, Provenance, axes, provenance
from samflow.rules import SAM
from samflow.rules.base import AbstractMemoryRule, AbstractNormalisedRule
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem, Flow, Map

EXHAUSTIVE = "exhaustive"
MULTISTART = "multistart"
_SPHERES = 8
"""How many times as many starts there are on spheres, which share them, as in the box."""

Equation: TypeAlias = Callable[..., Array]
"""What must vanish: a function of the system, the unknowns, and parameters."""


class FixedPoints(AbstractRecord):
    """The fixed points found in a box, each classified.

    Attributes:
        w: the points, shape (points, dim), in lexicographic order.
        critical: whether the loss's gradient vanishes there; a fixed point of SAM or USAM where
            it does not is called hallucinated (arXiv 2509.21818). SAM has no direction at a
            critical point, which is listed all the same.
        residual: norm of the equation solved, in units of the gradient.
        status: located, or residual too large, one a point.
        stability: the classification of each.
        method: "exhaustive" (subdivision with proof) or "multistart" (Newton's method from
            random starts, which can miss points).
        complete: whether it is proved that `covers` in the box are all listed.
        covers: which fixed points were looked for.
        note: how the search went; for multistart how many starts ended where.
        certificate: the proof where there is one, with what it left undecided.

    """

    w: Float[Array, "points dim"] = eqx.field(metadata=axes("point", "dim"))
    critical: Bool[np.ndarray, " points"] = eqx.field(metadata=axes("point"))
    residual: Float[Array, " points"] = eqx.field(metadata=axes("point"))
    status: Int[np.ndarray, " points"] = eqx.field(metadata=axes("point"))
    stability: tuple[Stability, ...]
    method: str = eqx.field(static=True)
    complete: bool = eqx.field(static=True)
    covers: str = eqx.field(static=True)
    note: str = eqx.field(static=True)
    box: Box = eqx.field(static=True)
    certificate: Certificate | None = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)

    def __len__(self) -> int:
        return len(self.stability)

    @property
    def hallucinated(self) -> Bool[np.ndarray, " points"]:
        """Whether the gradient of the loss does not vanish there."""
        return ~self.critical

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kind of each point."""
        return tuple(stability.kind for stability in self.stability)

    def __str__(self) -> str:
        """Return one line: how many points, how sure, of which kinds, how many hallucinated."""
        counts = Counter(str(kind) for kind in self.kinds)
        kinds = ", ".join(f"{many} {kind}" for kind, many in sorted(counts.items()))
        sure = "all, proved" if self.complete else f"{self.method}, more may exist"
        noun = "fixed point" if len(self) == 1 else "fixed points"
        elsewhere = int(self.hallucinated.sum())
        text = f"{len(self)} {noun} ({sure})" + (f": {kinds}" if kinds else "")
        return text + (f"; {elsewhere} hallucinated" if elsewhere else "")


def find_fixed_points(
    system: AbstractSystem,
    box: Any,
    *,
    method: str = "auto",
    num_starts: int = 256,
    tol: float = 1e-9,
    key: Array | None = None,
) -> FixedPoints:
    """Find and classify the fixed points of `system` with weights in `box`.

    >>> import jax; jax.config.update("jax_enable_x64", True)
    >>> import samflow as sf
    >>> print(find_fixed_points(sf.Map(sf.losses.beale(), sf.GD(), lr=0.01), ((-4, 4), (-4, 4))))
    3 fixed points (all, proved): 1 attracting, 1 repelling, 1 saddle

    For a loss with a formula the box is searched exhaustively by ball arithmetic
    (`certify_fixed_points`), and the answer says whether that ended in a proof. Otherwise, or
    where the proof is inconclusive (fixed points that are degenerate or form a continuum),
    Newton's method runs from random starts. Of normalised SAM the critical points are listed
    beside the fixed points, see `covers`; these are also looked for on spheres of radius rho
    about critical points, where they lie.

    Args:
        system: a map or a flow. Fixed points of a map with momentum are at rest.
        box: one pair (low, high) a weight.
        method: "exhaustive", "multistart", or "auto" for the first with the second to fall back
            on.
        num_starts: starts of the multistart search.
        tol: largest accepted residual, relative to 1 + the largest |entry| of the Hessian.
        key: for the random starts; by default a fixed one.

    Returns:
        `FixedPoints`; empty where none was found, which for multistart proves nothing.

    Raises:
        ArgumentError: for a wrong or empty box, an unknown method, single precision, or
            `method="exhaustive"` for a system of which nothing can be proved.

    """
    _checks.double_precision("`find_fixed_points`")
    box = _checks.box("box", box, system.dim)
    _checks.known("method", method, ("auto", EXHAUSTIVE, MULTISTART))
    num_starts = _checks.count("num_starts", num_starts)
    tol = float(_checks.positive("tol", tol))
    where = provenance(system.describe(), box=box, method=method, tol=tol)
    certificate, note = None, ""
    if method != MULTISTART:
        certificate = certify_fixed_points(system, box)
        if certificate.verdict is Verdict.unsupported:
            if method == EXHAUSTIVE:
                raise _checks.ArgumentError(
                    f"Argument `method` cannot be `{EXHAUSTIVE}`: {certificate.reason}. "
                    f"Use `{MULTISTART}`."
                )
            certificate, note = None, f"no proof: {certificate.reason}. "
        elif method == EXHAUSTIVE or certificate.verdict is Verdict.proved:
            return _from_certificate(system, certificate, box, tol, where)
        else:
            note = "The proof left sub-boxes undecided. "
    key = jr.key(0) if key is None else key
    points, how = _multistart(system, box, num_starts, tol, key)
    if certificate is not None:
        proved = np.array([point.midpoint for point in certificate.points])
        points = np.concatenate([proved.reshape(-1, system.dim), points])
        points = _distinct(points, box)
    return _record(system, points, box, tol, MULTISTART, False, note + how, certificate, where)


def _from_certificate(
    system: AbstractSystem, certificate: Certificate, box: Box, tol: float, where: Provenance
) -> FixedPoints:
    points = np.array([point.midpoint for point in certificate.points]).reshape(-1, system.dim)
    complete = certificate.verdict is Verdict.proved
    note = certificate.summary()
    return _record(system, points, box, tol, EXHAUSTIVE, complete, note, certificate, where)


def _record(
    system: AbstractSystem,
    points: np.ndarray,
    box: Box,
    tol: float,
    method: str,
    complete: bool,
    note: str,
    certificate: Certificate | None,
    where: Provenance,
) -> FixedPoints:
    order = np.lexsort(points.T[::-1]) if len(points) else np.arange(0)
    points = points[order]
    facts = [_facts(system, jnp.asarray(point)) for point in points]
    residual = np.array([float(f[0]) for f in facts])
    small = np.array([float(f[0]) <= tol * float(f[2]) for f in facts], dtype=bool)
    critical = np.array([float(f[1]) <= tol * float(f[2]) for f in facts], dtype=bool)
    status = np.where(small, Status.located, Status.residual_too_large)
    rule = getattr(getattr(system, "rule", None), "name", "")
    covers = COVERS["sam"] if _normalised(system) else COVERS.get(rule, "all fixed points")
    return FixedPoints(
        w=jnp.asarray(points),
        critical=critical,
        residual=jnp.asarray(residual),
        status=status,
        stability=tuple(classify(system, point) for point in points),
        method=method,
        complete=complete,
        covers=covers,
        note=note,
        box=box,
        certificate=certificate,
        provenance=where,
    )


def _motion(system: AbstractSystem, w: Array) -> Array:
    """Return what vanishes at a fixed point at rest, in units of the gradient."""
    if isinstance(system, (Map, Flow)):
        rule, loss = system.rule, system.loss
        if isinstance(rule, AbstractMemoryRule):
            d = rule.direction(loss, w, rule.start(loss, w))[0]
        else:
            d = rule.direction(loss, w)
        decay = system.weight_decay if isinstance(system, Map) else None
        return jnp.asarray(d if decay is None else d + decay * w)
    if isinstance(system, AbstractMap):
        return jnp.asarray(system.step(w) - w)
    assert isinstance(system, AbstractFlow)
    return jnp.asarray(system.velocity(w))


def _residual(system: AbstractSystem, w: Array) -> Array:
    """Return the norm of the motion at rest, and of what a step makes of the rule's memory."""
    motion = _motion(system, w)
    if isinstance(system, Map) and isinstance(system.rule, AbstractMemoryRule):
        rule, loss = system.rule, system.loss
        memory = rule.start(loss, w)
        motion = jnp.concatenate([motion, rule.direction(loss, w, memory)[1] - memory])
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


def _normalised(system: AbstractSystem) -> bool:
    return isinstance(system, (Map, Flow)) and isinstance(system.rule, AbstractNormalisedRule)


def _has_spheres(system: AbstractSystem) -> bool:
    """Say whether the fixed points of SAM lie on spheres about critical points."""
    decays = isinstance(system, Map) and system.weight_decay is not None
    return isinstance(getattr(system, "rule", None), SAM) and not decays


def _radius(system: AbstractSystem) -> Array:
    assert isinstance(system, (Map, Flow))
    assert isinstance(system.rule, SAM)
    return jnp.asarray(system.rule.rho)


@eqx.filter_jit
def _facts(system: AbstractSystem, w: Array) -> tuple[Array, Array, Array]:
    """Return the residual, ‖gradient‖ and the scale 1 + max |Jacobian of the equation|.

    A normalised rule is undefined at critical points, and its Jacobian unbounded near them.
    """
    loss = getattr(system, "loss", None)
    gradient = _motion(system, w) if loss is None else loss.gradient(w)
    residual, equation = _residual(system, w), _motion
    if _normalised(system):
        residual, equation = jnp.fmin(residual, jnp.linalg.norm(gradient)), _gradient
    scale = 1.0 + jnp.max(jnp.abs(jax.jacfwd(lambda x: equation(system, x))(w)))
    return residual, jnp.linalg.norm(gradient), scale


def _multistart(
    system: AbstractSystem, box: Box, num_starts: int, tol: float, key: Array
) -> tuple[np.ndarray, str]:
    starts = _random_starts(key, box, num_starts)
    if not _normalised(system):
        return _kept(_solve(system, _motion, starts, tol), box)
    critical, note = _kept(_solve(system, _gradient, starts, tol), box)
    if _has_spheres(system):
        elsewhere, how = _on_spheres(system, critical, box, num_starts, tol, key)
    else:
        elsewhere, how = _kept(_solve(system, _motion, starts, tol), box)
    points = _distinct(np.concatenate([critical, elsewhere]), box)
    return points, f"Critical points: {note} Others: {how}"


def _on_spheres(
    system: AbstractSystem, critical: np.ndarray, box: Box, num_starts: int, tol: float, key: Array
) -> tuple[np.ndarray, str]:
    """Return where SAM stands still on spheres about critical points: in the box or near it."""
    rho = float(_radius(system))
    reach = tuple((low - rho, high + rho) for low, high in box)
    key, beside = jr.split(jr.fold_in(key, num_starts))
    near, _ = _kept(
        _solve(system, _gradient, _random_starts(beside, reach, num_starts), tol), reach
    )
    centres = _distinct(np.concatenate([critical, near]), box)
    if not len(centres):
        return centres, "no critical point, and so no other."
    directions = jr.normal(key, (_SPHERES * num_starts, system.dim))
    centres = jnp.asarray(centres)[jnp.arange(len(directions)) % len(centres)]
    return _kept(_solve(system, _across, directions, tol, centres), box)


def _random_starts(key: Array, box: Box, num_starts: int) -> Array:
    low, high = np.array(box).T
    return low + (high - low) * unit_points(num_starts, len(box), key)


@eqx.filter_jit
def _solve(
    system: AbstractSystem, equation: Equation, starts: Array, tol: float, *at: Array
) -> tuple[Array, Array, Array]:
    """Return where root finding ends from each start, whether at a zero, and the error's size.

    Each start has parameters of its own in `at`.
    """
    import lineax as lx
    import optimistix as optx  # slow to import, and not needed where there is a proof

    # Levenberg–Marquardt comes near from afar, Newton closes in where the Jacobian is singular
    # (by singular values), which the first does too slowly.
    near = optx.LevenbergMarquardt(rtol=1e-14, atol=1e-14)
    close = optx.Newton(rtol=1e-14, atol=1e-14, linear_solver=lx.SVD())

    def solve(start: Array, *parameters: Array) -> tuple[Array, Array, Array]:
        def zero(w: Array, _: None = None) -> Array:
            return equation(system, w, *parameters)

        found = optx.root_find(zero, near, start, max_steps=100, throw=False)
        end = optx.root_find(zero, close, found.value, max_steps=100, throw=False).value
        last = jnp.linalg.lstsq(jax.jacfwd(zero)(end), zero(end))[0]
        w = _on_sphere(system, end, *parameters) if parameters else end
        loss = getattr(system, "loss", None)
        defined = True if loss is None else jnp.isfinite(loss(w))
        value = jnp.linalg.norm(zero(end)) if equation is _gradient else _residual(system, w)
        small = value <= tol * _facts(system, w)[2]
        return w, defined & small, ERROR_IN_STEPS * jnp.linalg.norm(last)

    return jax.vmap(solve)(starts, *at)


def _kept(solutions: tuple[Array, Array, Array], box: Box) -> tuple[np.ndarray, str]:
    """Return the distinct zeros in `box`, and how the starts ended."""
    ends, accurate, errors = (np.asarray(a) for a in solutions)
    low, high = np.array(box).T
    inside = ((ends >= low) & (ends <= high)).all(axis=1)
    kept = accurate & inside
    note = (
        f"Newton from {len(ends)} random starts: {int(kept.sum())} converged in "
        f"the box, {int((accurate & ~inside).sum())} outside it, {int((~accurate).sum())} did not."
    )
    return _distinct(ends[kept], box, errors[kept]), note


def _distinct(points: np.ndarray, box: Box, errors: np.ndarray | None = None) -> np.ndarray:
    """Keep the most accurate of every group of points that are one, relative to the box."""
    errors = np.zeros(len(points)) if errors is None else errors
    scale = np.array([high - low for low, high in box])
    sizes = np.ones(len(points))
    group = distinct((points / scale)[:, None], errors / scale.min(), sizes)
    order = np.argsort(errors, kind="stable")
    return points[order[group[order] == order]]
