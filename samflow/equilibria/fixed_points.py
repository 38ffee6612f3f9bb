"""Where a system stands still: all of it where that can be proved, by many starts otherwise."""

import dataclasses
from collections import Counter
from typing import Annotated, Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from samflow import _checks
from samflow._status import Kind, Status, Verdict
from samflow._types import Box
from samflow.equilibria._multistart import (
    distinct_points,
    facts,
    multistart,
    normalised,
    sampled_points,
    vanishing,
)
from samflow.equilibria._units import box_width
from samflow.equilibria.continua.records import Continuum
from samflow.equilibria.stability import classify
from samflow.equilibria.stability_record import Stability, by_proof
from samflow.losses.expression import weight_names
from samflow.proofs._certify import COVERS, certify_fixed_points
from samflow.proofs.certificates import Certificate, CertifiedPoint
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.rules import Ascent
from samflow.systems import AbstractSystem, AdaptiveMap, Flow, FunctionFlow, Map
from samflow.systems.base import check_system

EXHAUSTIVE = "exhaustive"
MULTISTART = "multistart"
ALGEBRA = "algebra"
_MOST_LINES = 8
"""So many continua are described by `str`."""
_ROUNDED = 1e-12
"""The same point, computed twice, in units of the box."""


class FixedPoints(AbstractRecord):
    """The fixed points found in a box, each classified.

    Attributes:
        w: the points, shape (points, dim), in lexicographic order.
        critical: whether the loss's gradient vanishes there; a fixed point of SAM or USAM where
            it does not is called hallucinated (arXiv 2509.21818). SAM has no direction at a
            critical point, which is listed all the same.
        residual: norm of the equation solved, in units of the gradient.
        status: located, or residual too large, one a point.
        sampled: whether Newton's method found others next to it, of a curve or surface that could
            not be followed. Points of those that were are not listed: they are in `continua`.
        exact: whether exact algebra proves that it is there, and alone: degenerate points too.
        stability: the classification of each. Where the certificate proves the kind, or whether
            the point is critical, that is said, whatever floating point makes of it.
        method: "exhaustive" (subdivision with proof), "algebra" (the critical set of a polynomial,
            with proof) or "multistart" (Newton's method from random starts, which can miss points).
        complete: whether it is proved that `covers` in the box are all listed: isolated points
            one by one, curves and surfaces as the real zeros of the `equations` in `continua`.
        covers: which fixed points were looked for.
        note: how the search went; for multistart how many starts ended where.
        certificate: the proof where there is one, with what it left undecided.
        weights: their names, of a loss with a formula; else empty.
        continua: the curves and surfaces of fixed points, each with the spectrum across it, where
            stability changes along it, and how sure it is: see `Continuum`.

    """

    rows: ClassVar[Names] = ("point",)
    printed: ClassVar[Names] = ("w", "kind", "critical", "proved", "spectrum")
    w: Float[Array, "points dim"] = eqx.field(metadata=axes("point", "weight", units="weight"))
    critical: Bool[np.ndarray, " points"] = eqx.field(metadata=axes("point"))
    residual: Float[Array, " points"] = eqx.field(metadata=axes("point"))
    status: Int[np.ndarray, " points"] = eqx.field(metadata=axes("point", words=Status))
    sampled: Bool[np.ndarray, " points"] = eqx.field(metadata=axes("point"))
    exact: Bool[np.ndarray, " points"] = eqx.field(metadata=axes("point"))
    stability: tuple[Stability, ...] = eqx.field(
        metadata=axes(
            "point", prefix="", rename={"status": "jacobian", "state": "", "discrete": ""}
        )
    )
    method: str = eqx.field(static=True)
    complete: bool = eqx.field(static=True)
    covers: str = eqx.field(static=True)
    note: str = eqx.field(static=True)
    box: Box = eqx.field(static=True, metadata=axes("weight", "end", units="weight"))
    certificate: Certificate | None = eqx.field(
        static=True, metadata=axes(rename={"point": "certified_point"})
    )
    provenance: Provenance = eqx.field(static=True)
    weights: tuple[str, ...] = eqx.field(
        static=True, default=(), metadata=axes("weight", rename={"weights": "weight"})
    )
    continua: tuple[Continuum, ...] = eqx.field(
        default=(), metadata=axes("continuum", prefix="continuum_")
    )

    def __len__(self) -> int:
        return len(self.stability)

    @property
    def hallucinated(self) -> Bool[np.ndarray, " points"]:
        """Whether the gradient of the loss does not vanish there."""
        return ~self.critical

    @property
    def proved(self) -> Annotated[Bool[np.ndarray, " points"], axes("point")]:
        """Whether it is proved that the point exists, alone in some neighbourhood."""
        known = [_proof(w, self.certificate) is not None for w in self.w]
        return np.array(known, dtype=bool) | self.exact

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kind of each point."""
        return tuple(stability.kind for stability in self.stability)

    def __str__(self) -> str:
        """Return a line for the isolated points, and one for each curve or surface.

        The first says how many, how sure, of which kinds, how many hallucinated.
        """
        alone = [s for s, sampled in zip(self.stability, self.sampled, strict=True) if not sampled]
        whose = ["" if s.local is None else s.local.whose for s in alone]
        higher = ["" if s.higher is None else f" ({s.higher.brief})" for s in alone]
        parts = zip(alone, whose, higher, strict=True)
        counts = Counter(f"{s.kind}{of}{beyond}" for s, of, beyond in parts)
        kinds = ", ".join(f"{many} {kind}" for kind, many in sorted(counts.items()))
        sure = "all, proved" if self.complete else f"{self.method}, more may exist"
        noun = "fixed point" if len(alone) == 1 else "fixed points"
        noun = f"isolated {noun}" if self.continua or self.sampled.any() else noun
        elsewhere = int((self.hallucinated & ~self.sampled).sum())
        text = f"{len(alone)} {noun} ({sure})" + (f": {kinds}" if kinds else "")
        text += f"; {elsewhere} hallucinated" if elsewhere else ""
        lines = [str(continuum) for continuum in self.continua[:_MOST_LINES]]
        if len(self.continua) > _MOST_LINES:
            lines.append(f"and {len(self.continua) - _MOST_LINES} more curves or surfaces")
        if self.sampled.any():
            many = int(self.sampled.sum())
            noun = "sample" if many == 1 else "samples"
            lines.append(f"{many} {noun} of a curve or surface that could not be followed")
        return "\n".join([text, *lines])


@_checks.untraced()
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
    where the proof is inconclusive, Newton's method runs from random starts. Degenerate critical
    points, and curves and surfaces of critical points, of a polynomial or a quotient of two are
    found by exact algebra, if it is of modest size. Of other losses curves and surfaces are
    followed from the points that Newton's method finds, and accepted where they lead on, at
    machine precision, to the box, to themselves or to a singular point.

    Of normalised SAM the critical points are listed beside the fixed points, see `covers`; these
    are also looked for on spheres of radius rho about critical points, where they lie.

    Args:
        system: a map or a flow. Fixed points of a map with momentum are at rest. An `AdaptiveMap`
            without decoupled weight decay rests where the map without its base does: the
            certificate is of that map, the classification of its own.
        box: one pair (low, high) for each weight, or one for all.
        method: "exhaustive", "multistart", or "auto" for the first, with algebra and the second
            to fall back on.
        num_starts: starts of the multistart search.
        tol: largest accepted residual, relative to the largest |entry| of the Hessian, or of the
            equation's Jacobian, times the width of the box.
        key: for the random starts; by default a fixed one.

    Returns:
        `FixedPoints`; empty where none was found, which for multistart proves nothing.

    Raises:
        ArgumentError: for a wrong or empty box, an unknown method, single precision, or
            `method="exhaustive"` for a system of which nothing can be proved.

    """
    _checks.double_precision("`find_fixed_points`")
    check_system(system)
    box = _checks.box("box", box, system.dim)
    _checks.known("method", method, ("auto", EXHAUSTIVE, MULTISTART))
    num_starts = _checks.count("num_starts", num_starts)
    tol = _checks.positive("tol", tol)
    where = provenance(system.describe(), box=box, method=method, tol=tol)
    if isinstance(system, AdaptiveMap):
        asked = {"method": method, "num_starts": num_starts, "tol": tol, "key": key}
        return _of_adaptive(system, box, where, asked)
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
    search = Search(num_starts, tol, jr.key(0) if key is None else key)
    return searched(system, box, search, certificate, note, where, algebra=method == "auto").points


def _of_adaptive(
    system: AdaptiveMap, box: Box, where: Provenance, asked: dict[str, Any]
) -> FixedPoints:
    """Return where the weights rest, each classified for the map with its base."""
    note = ""
    if system.base.decays:
        rests: Any = FunctionFlow(lambda w: -system.balance(w), system.dim, name="balance")
        note = "Decoupled weight decay moves fixed points off the critical points. "
    else:
        rests = system.plain()
    found = find_fixed_points(rests, box, **asked)
    width = box_width(box)
    stability = tuple(classify(system, w, scale=width) for w in np.asarray(found.w))
    more = {"stability": stability, "note": note + found.note, "provenance": where}
    return dataclasses.replace(found, **more)


class Search(NamedTuple):
    """How to look for points where subdivision proves no complete list."""

    num_starts: int = 256
    tol: float = 1e-9
    key: Array | None = None


class Searched(NamedTuple):
    """What a search found: the points, the exact critical set if there is one, and continua."""

    points: FixedPoints
    exactly: Any
    geometries: list[Any]


def searched(
    system: AbstractSystem,
    box: Box,
    search: Search,
    certificate: Certificate | None,
    note: str,
    where: Provenance,
    *,
    algebra: bool,
) -> Searched:
    """Return the fixed points by algebra and by many starts.

    Args:
        system: a map or a flow.
        box: where to look.
        search: how.
        certificate: what subdivision has proved.
        note: how that went.
        where: the provenance of the record.
        algebra: whether to decompose the critical set.

    """
    from samflow.equilibria.continua import gathered  # not needed where there is a proof

    tol = search.tol
    exactly = gathered.critical_set_of(system, box, search.num_starts) if algebra else None
    proved = np.array([] if certificate is None else [p.midpoint for p in certificate.points])
    proved = proved.reshape(-1, system.dim)
    complete = exactly is not None and exactly.complete and _at_critical_points_only(system)
    if complete:
        points, how = proved[:0], "Exact algebra gives the critical points."
    else:
        key = jr.key(0) if search.key is None else search.key
        points, how = multistart(system, box, search.num_starts, tol, key)
    if exactly is not None:
        points = gathered.others(exactly, points, _critical(system, points, box, tol))
        hallucinated, points = _followed(system, points, box, tol)
        geometries = [*exactly.continua, *hallucinated]
        known = [proved, exactly.isolated]
    else:
        geometries, points = _followed(system, points, box, tol)
        known = [proved]
    points = distinct_points(np.concatenate([*known, points]), box)
    method = ALGEBRA if complete else MULTISTART
    record = _record(system, points, box, tol, method, complete, note + how, certificate, where)
    exact = np.zeros(len(points), dtype=bool)
    if exactly is not None and len(exactly.proved):
        size = np.array([high - low for low, high in box])
        gaps = np.abs((np.asarray(record.w)[:, None] - exactly.proved) / size).max(axis=2)
        exact = (gaps <= _ROUNDED).any(axis=1)
    described = gathered.described(system, geometries, where)
    record = dataclasses.replace(record, continua=described, exact=exact)
    return Searched(record, exactly, geometries)


def _followed(
    system: AbstractSystem, points: np.ndarray, box: Box, tol: float
) -> tuple[list[Any], np.ndarray]:
    """Return curves and surfaces through points found by many starts, and the points on none."""
    from samflow.equilibria.continua import gathered

    critical = _critical(system, points, box, tol)
    sampled = sampled_points(system, points, critical, box, tol)
    found: list[Any] = []
    for of_loss in (True, False):
        asked = points[sampled & (critical == of_loss)]
        if len(asked):
            found += gathered.followed(vanishing(system, of_loss), asked, box)
    left = [not any(one.holds(w) for one in found) for w in points]
    return found, points[np.array(left, dtype=bool)]


def _at_critical_points_only(system: AbstractSystem) -> bool:
    """Say whether all fixed points are zeros of one gradient, as those of GD are."""
    return isinstance(system, (Map, Flow)) and system.rule.ascent is Ascent.none


def _critical(
    system: AbstractSystem, points: np.ndarray, box: Box, tol: float
) -> Bool[np.ndarray, " points"]:
    width = jnp.asarray(box_width(box))
    seen = [facts(system, jnp.asarray(point), width) for point in points]
    return np.array([float(f[1]) <= tol * float(f[2]) for f in seen], dtype=bool)


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
    width = box_width(box)
    seen = [facts(system, jnp.asarray(point), jnp.asarray(width)) for point in points]
    proofs = [_proof(point, certificate) for point in points]
    residual = np.array([float(f[0]) for f in seen])
    small = np.array([float(f[0]) <= tol * float(f[2]) for f in seen], dtype=bool)
    critical = np.array(
        [
            float(f[1]) <= tol * float(f[2]) if proof is None else proof.origin == "critical"
            for f, proof in zip(seen, proofs, strict=True)
        ],
        dtype=bool,
    )
    status = np.where(small, Status.located, Status.residual_too_large)
    rule: Any = getattr(system, "rule", None)
    none = np.zeros(len(points), dtype=bool)
    form = Ascent.other if rule is None else rule.ascent
    covers = COVERS.get(Ascent.unit if normalised(system) else form, "all fixed points")
    return FixedPoints(
        w=jnp.asarray(points),
        critical=critical,
        residual=jnp.asarray(residual),
        status=status,
        sampled=none if complete else sampled_points(system, points, critical, box, tol),
        exact=none,
        stability=tuple(
            _classified(system, point, width, proof)
            for point, proof in zip(points, proofs, strict=True)
        ),
        method=method,
        complete=complete,
        covers=covers,
        note=note,
        box=box,
        certificate=certificate,
        provenance=where,
        weights=weight_names(getattr(system, "loss", None)),
    )


def _proof(point: np.ndarray, certificate: Certificate | None) -> CertifiedPoint | None:
    """Return what is proved of a point in the list; None where it is not a proved one."""
    at = tuple(map(float, point))
    known = () if certificate is None else certificate.points
    return next((proof for proof in known if proof.midpoint == at), None)


def _classified(
    system: AbstractSystem, point: np.ndarray, width: float, proof: CertifiedPoint | None
) -> Stability:
    """Return what a point is: by proof where there is one, else in floating point."""
    found = classify(system, point, scale=width, measure=False)
    if proof is None or proof.kind_verdict is not Verdict.proved:
        return found
    return by_proof(found, proof)
