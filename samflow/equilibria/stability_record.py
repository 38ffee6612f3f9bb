"""The record of a classification."""

from dataclasses import replace
from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from samflow import _checks
from samflow._status import Kind, Status
from samflow.equilibria.higher import HigherOrder
from samflow.equilibria.nonsmooth.records import Nonsmooth
from samflow.proofs.certificates import CertifiedPoint
from samflow.records import AbstractRecord, Names, Provenance, axes

_OF_MAPS, _OF_FLOWS = ("sam cycle", "sam saddle", "sam ball"), ("sam flow", "sliding")
"""Formulas of normalised rules at a point without a Jacobian."""


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
        distance: estimate ‖(DF − I)⁻¹(F(z) − z)‖ of how far the true fixed point is from the point
            asked about; a velocity counts as the length lr·v.
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


def _shown(value: complex) -> str:
    if value.imag == 0:
        return f"{value.real:.6g}"
    return f"{value.real:.6g}{value.imag:+.6g}i"
