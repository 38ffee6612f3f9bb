"""Where a system stands still: all of it where that can be proved, by many starts otherwise."""

from collections import Counter
from typing import Annotated, Any, ClassVar

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
)
from samflow.equilibria._units import box_width
from samflow.equilibria.stability import Stability, by_proof, classify
from samflow.losses.expression import weight_names
from samflow.proofs._certify import COVERS, certify_fixed_points
from samflow.proofs.certificates import Certificate, CertifiedPoint
from samflow.records import AbstractRecord, Names, Provenance, axes, provenance
from samflow.rules import Ascent
from samflow.systems import AbstractSystem
from samflow.systems.base import check_system

EXHAUSTIVE = "exhaustive"
MULTISTART = "multistart"


class FixedPoints(AbstractRecord):
    """The fixed points found in a box, each classified.

    Attributes:
        w: the points, shape (points, dim), in lexicographic order.
        critical: whether the loss's gradient vanishes there; a fixed point of SAM or USAM where
            it does not is called hallucinated (arXiv 2509.21818). SAM has no direction at a
            critical point, which is listed all the same.
        residual: norm of the equation solved, in units of the gradient.
        status: located, or residual too large, one a point.
        sampled: whether it is a sample of a curve or surface of them, as far as Newton sees.
        stability: the classification of each. Where the certificate proves the kind, or whether
            the point is critical, that is said, whatever floating point makes of it.
        method: "exhaustive" (subdivision with proof) or "multistart" (Newton's method from
            random starts, which can miss points).
        complete: whether it is proved that `covers` in the box are all listed.
        covers: which fixed points were looked for.
        note: how the search went; for multistart how many starts ended where.
        certificate: the proof where there is one, with what it left undecided.
        weights: their names, of a loss with a formula; else empty.

    """

    rows: ClassVar[Names] = ("point",)
    printed: ClassVar[Names] = ("w", "kind", "critical", "proved", "spectrum")
    w: Float[Array, "points dim"] = eqx.field(metadata=axes("point", "weight", units="weight"))
    critical: Bool[np.ndarray, " points"] = eqx.field(metadata=axes("point"))
    residual: Float[Array, " points"] = eqx.field(metadata=axes("point"))
    status: Int[np.ndarray, " points"] = eqx.field(metadata=axes("point", words=Status))
    sampled: Bool[np.ndarray, " points"] = eqx.field(metadata=axes("point"))
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

    def __len__(self) -> int:
        return len(self.stability)

    @property
    def hallucinated(self) -> Bool[np.ndarray, " points"]:
        """Whether the gradient of the loss does not vanish there."""
        return ~self.critical

    @property
    def proved(self) -> Annotated[Bool[np.ndarray, " points"], axes("point")]:
        """Whether the certificate proves that the point exists, alone in its enclosure."""
        return np.array([_proof(w, self.certificate) is not None for w in self.w], dtype=bool)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kind of each point."""
        return tuple(stability.kind for stability in self.stability)

    def __str__(self) -> str:
        """Return one line: how many points, how sure, of which kinds, how many hallucinated."""
        locals_ = (stability.local for stability in self.stability)
        whose = ["" if local is None else local.whose for local in locals_]
        counts = Counter(f"{kind}{of}" for kind, of in zip(self.kinds, whose, strict=True))
        kinds = ", ".join(f"{many} {kind}" for kind, many in sorted(counts.items()))
        sure = "all, proved" if self.complete else f"{self.method}, more may exist"
        samples = int(self.sampled.sum())
        noun = "fixed point" if len(self) == 1 else "fixed points"
        noun += f", {samples} of them samples of a curve or surface" if samples else ""
        elsewhere = int(self.hallucinated.sum())
        text = f"{len(self)} {noun} ({sure})" + (f": {kinds}" if kinds else "")
        return text + (f"; {elsewhere} hallucinated" if elsewhere else "")


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
    where the proof is inconclusive (fixed points that are degenerate or form a continuum),
    Newton's method runs from random starts. Of normalised SAM the critical points are listed
    beside the fixed points, see `covers`; these are also looked for on spheres of radius rho
    about critical points, where they lie.

    Args:
        system: a map or a flow. Fixed points of a map with momentum are at rest.
        box: one pair (low, high) for each weight, or one for all.
        method: "exhaustive", "multistart", or "auto" for the first with the second to fall back
            on.
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
    points, how = multistart(system, box, num_starts, tol, key)
    if certificate is not None:
        proved = np.array([point.midpoint for point in certificate.points])
        points = np.concatenate([proved.reshape(-1, system.dim), points])
        points = distinct_points(points, box)
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
